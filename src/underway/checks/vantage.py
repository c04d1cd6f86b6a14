"""Did the service not answer, or could this machine not ask? (TRUST: the probe host's own loss is no outage.)

An answer such as "refused" or "status 503" came from the other side: it is bad, at once. A time-out, a failed lookup or
an unreachable network may be ours. Then the control targets decide, which are asked four times a second all the
while: the sample is *lost* if a round of all control targets failed that began shortly before it was sent or while it
waited, and other probes did not get through at that time. A loss that lies between two rounds is charged.

Where no control target is configured, a loopback listener of the prober stands in: it tells only whether this machine
can open connections at all, so that a network that is lost is charged to the services, unless the system itself says
that it has no route, and no probe got through both shortly before and shortly after.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from underway.checks.base import Answer, Check
from underway.checks.errors import proves_contact
from underway.core.model.sample import SampleResult

PERIOD = 0.25
PATIENCE = 1.0
"""Seconds between two rounds of the control targets, and that one may take."""

NEAR = 0.5
"""Seconds before and after a question within which others tell whether there was a network."""

_KEEP = 400
_NO_ROUTE = frozenset({"network: unreachable", "network: down", "network: no route"})

Verdict = Callable[[SampleResult], None]


class Vantage:
    """Decides between bad and lost. ``controls``: checks of the control targets; none of them is a probe."""

    def __init__(self, controls: Sequence[Check], *, far: bool) -> None:
        self._controls = tuple(controls)
        self._far = far  # the control targets lie outside this machine
        self._contacts: dict[bool, deque[float]] = {True: deque(maxlen=_KEEP), False: deque(maxlen=_KEEP)}
        self._rounds: deque[tuple[float, bool]] = deque(maxlen=_KEEP)
        self._open: dict[int, float] = {}  # rounds under way: number -> start
        self._waiting: list[tuple[float, float, bool, Verdict]] = []
        self._doubts: dict[int, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._next = 0.0
        self._closed = False

    def start(self) -> None:
        """Begin asking the control targets."""
        if self._controls:
            self._next = asyncio.get_running_loop().time()
            self._begin_round()

    def contact(self, sent: float, local: bool) -> None:
        """A probe that was sent then reached its target (``local``: on this machine)."""
        known = self._contacts[local]
        if not known or sent - known[-1] > 0.02:
            known.append(sent)

    def judge(self, sent: float, ended: float, answer: Answer, local: bool, verdict: Verdict) -> None:
        """Call ``verdict`` with "bad" or "lost", now or within about a second. Times are loop time."""
        if answer.error.startswith("local"):
            verdict("lost")
        elif proves_contact(answer.ok, answer.error) or self._closed:
            verdict("bad")
        elif not local and not self._far and answer.error in _NO_ROUTE:
            self._doubt(sent, verdict)
        elif not self._controls or (local and self._far):
            verdict("bad")  # a target on this machine needs no network
        else:
            self._waiting.append((sent, ended, local, verdict))

    def _doubt(self, sent: float, verdict: Verdict) -> None:
        """No route, and no control target outside: others that get through before and after tell whose it is."""

        def settle() -> None:
            del self._doubts[key]
            there = self._reached(False, sent - NEAR, sent) and self._reached(False, sent, sent + NEAR)
            verdict("bad" if there else "lost")

        key = self._number = self._number + 1
        self._doubts[key] = (asyncio.get_running_loop().call_later(NEAR, settle), settle)

    def _reached(self, local: bool, start: float, end: float) -> bool:
        return any(start <= at <= end for at in self._contacts[local])

    def _begin_round(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        number = self._number = self._number + 1
        self._open[number] = now
        task = loop.create_task(self._round(number, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._next = max(self._next + PERIOD, now)
        self._timer = loop.call_at(self._next, self._begin_round)

    async def _round(self, number: int, start: float) -> None:
        answers: asyncio.Queue[bool] = asyncio.Queue()

        async def ask(control: Check) -> None:
            reached = False
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        answer = await control.ask()
                        reached = proves_contact(answer.ok, answer.error)
            finally:
                answers.put_nowait(reached)

        asking = [asyncio.create_task(ask(control)) for control in self._controls]
        try:
            good = False
            for _ in asking:  # the first that is reached decides
                if good := await answers.get():
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            self._open.pop(number, None)
        self._rounds.append((start, good))
        self._decide()

    def _decide(self) -> None:
        """Settle those for whom all rounds are over, and others have had time to get through."""
        now = asyncio.get_running_loop().time()
        earliest = min(self._open.values(), default=self._next)
        waiting, self._waiting = self._waiting, []
        for sent, ended, local, verdict in waiting:
            if min(earliest, self._next) <= ended or now < ended + 2 * PERIOD:
                self._waiting.append((sent, ended, local, verdict))
            elif any(
                not good and sent - PERIOD <= begin <= ended and not self._refuted(local, begin, sent)
                for begin, good in self._rounds
            ):
                verdict("lost")
            else:
                verdict("bad")

    def _refuted(self, local: bool, begin: float, sent: float) -> bool:
        """Whether others got through when a round failed, so that it is the control targets that failed.

        What counts is when something was sent: a round that failed says that nothing came through from ``begin`` on.
        """
        if begin <= sent and self._reached(local, begin, sent):
            return True
        until = max(begin, sent)
        return self._reached(local, begin - PERIOD, begin) and self._reached(local, until, until + PERIOD)

    async def close(self) -> None:
        """Settle what waits (undecided: bad), stop asking."""
        if self._timer is not None and self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE + PERIOD + 0.5):
                    while self._waiting:
                        await asyncio.sleep(0.02)
        self._closed = True
        for timer, settle in list(self._doubts.values()):
            timer.cancel()
            settle()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        waiting, self._waiting = self._waiting, []
        for *_, verdict in waiting:
            verdict("bad")
