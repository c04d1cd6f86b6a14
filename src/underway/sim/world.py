"""Virtual time: a heap of things to come, a clock that jumps to the next of them, one source of chance."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

from underway.engine.clock import ManualClock

Deed = Callable[[], None]


class World:
    """Everything that happens, in order of time; equal seeds give equal worlds.

    ``happened`` counts faults by name: a schedule in which nothing went wrong proves nothing.
    """

    def __init__(self, seed: int = 0) -> None:
        self.clock = ManualClock()
        self.chance = random.Random(seed)  # noqa: S311  a simulation wants repeatable chance
        self.happened: Counter[str] = Counter()
        self._heap: list[tuple[float, int, Deed]] = []
        self._count = 0

    def now(self) -> float:
        """Unix seconds in this world."""
        return self.clock.now()

    def odds(self, share: float, fault: str) -> bool:
        """Whether a fault of this chance happens now; counted if it does."""
        if share > 0 and self.chance.random() < share:
            self.happened[fault] += 1
            return True
        return False

    def after(self, seconds: float, deed: Deed) -> None:
        """Do ``deed`` in so many seconds (at once: after what is due now)."""
        self._count += 1
        heapq.heappush(self._heap, (self.now() + max(0.0, seconds), self._count, deed))

    def step(self) -> bool:
        """Do the next thing; False where nothing is to come."""
        if not self._heap:
            return False
        moment, _, deed = heapq.heappop(self._heap)
        self.clock.advance_to(moment)
        deed()
        return True

    def run(self, until: Callable[[], bool], steps: int) -> bool:
        """Step until ``until`` holds; False if that took more than ``steps`` or nothing was left to happen."""
        for _ in range(steps):
            if until():
                return True
            if not self.step():
                return until()
        return until()

    def pass_time(self, seconds: float) -> None:
        """Everything that happens in so many seconds, for somebody who is stopped meanwhile (even within a deed)."""
        end = self.now() + seconds
        while self._heap and self._heap[0][0] <= end:
            self.step()
        self.clock.advance_to(end)
