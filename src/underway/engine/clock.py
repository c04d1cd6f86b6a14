"""The only place that reads the time and makes ids; a simulator hands in a clock that it moves itself."""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time (Unix seconds, UTC), time for durations, and ids that no two processes share."""

    def now(self) -> float:
        """Unix seconds; may step when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    def new_id(self) -> str:
        """A short id for a run or a coordinator: lower-case letters and digits."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """See Clock."""
        return time.time()  # noqa: TID251  the one place that may

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()

    def new_id(self) -> str:
        """See Clock. Sorts by time: ``20261121-081400-3f9a``."""
        return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(2)


class ManualClock:
    """A clock that stands still until it is moved; ids count up. For simulation and tests."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._ids = 0

    def now(self) -> float:
        """See Clock."""
        return self._now

    def monotonic(self) -> float:
        """See Clock."""
        return self._now

    def new_id(self) -> str:
        """See Clock."""
        self._ids += 1
        return f"sim-{self._ids}"

    def advance(self, seconds: float) -> None:
        """Move on; never back."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._now += seconds

    def advance_to(self, moment: float) -> None:
        """Move on to a moment; a moment in the past changes nothing."""
        self._now = max(self._now, moment)
