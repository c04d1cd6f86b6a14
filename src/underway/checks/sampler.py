"""The fixed clock: question n of a probe is due at ``start + n * every``, however long answers take.

Questions overlap where answers are slow; each has a hard time-out; each due time gives exactly one sample. A due time
at which nothing could be asked (this process was stopped, too many questions are open) is no gap in the
record but a sample with the result "lost" that says why.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from underway.checks.base import Answer, Check
from underway.checks.errors import classify, proves_contact
from underway.checks.vantage import Vantage
from underway.core.model.cluster import Probe
from underway.core.model.sample import Sample, SampleResult

MOST_OPEN = 4000
MOST_OPEN_EACH = 1000
"""Questions that may be open at once, in all and per probe: memory stays bounded whatever hangs."""

GRID = 0.005
"""Probes with the same interval are spread over it in steps of five milliseconds: together they neither burst
nor wake the process a thousand times a second."""

LATE = 0.25
"""Seconds after its time-out up to which a question is said to have timed out. Where it is seen later than that, this
process did not run: the answer may have come meanwhile, and nobody looked."""

_TIMEOUT = Answer(ok=False, error="timeout")


class Exchange(Protocol):
    """What a quick check gives back for a question that is under way."""

    def abort(self) -> None:
        """Drop it; its callback is not called any more."""
        ...


@runtime_checkable
class QuickCheck(Protocol):
    """A check that can also be asked without a task."""

    def begin(self, now: float, done: Callable[[Answer], None]) -> Exchange | None:
        """Ask; None where only ``ask`` can (a name must be looked up first)."""
        ...


@dataclass(slots=True)
class Counts:
    """What the clock did: questions, how many began more than 5 ms late, the latest, and the skipped ones."""

    asked: int = 0
    late: int = 0
    worst: float = 0.0
    skipped: int = 0


class _Track:
    """A probe, its check and its place on the clock."""

    __slots__ = ("check", "every", "flights", "local", "n", "name", "quick", "start", "timeout", "timer")

    def __init__(self, probe: Probe, check: Check, start: float, local: bool) -> None:
        self.name = probe.name
        self.every = probe.every
        self.timeout = probe.timeout
        self.check = check
        self.quick: QuickCheck | None = check if isinstance(check, QuickCheck) else None
        self.start = start
        self.n = 0
        self.local = local
        self.flights: deque[_Flight] = deque()  # in the order sent, so in the order of their deadlines
        self.timer: asyncio.TimerHandle | None = None


class _Flight:
    """A question that is under way."""

    __slots__ = ("due", "exchange", "open", "sampler", "sent", "track")

    def __init__(self, sampler: Sampler, track: _Track, due: float, sent: float) -> None:
        self.sampler = sampler
        self.track = track
        self.due = due
        self.sent = sent
        self.open = True
        self.exchange: Exchange | None = None

    def done(self, answer: Answer) -> None:
        if self.open:
            self.open = False
            self.sampler._answered(self, answer)


class Sampler:
    """Asks probes by their checks and hands each sample to ``emit``, in the order in which they become known.

    ``stamp`` turns loop time into Unix seconds. ``local`` names probes whose target is this machine.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        checks: Mapping[str, Check],
        emit: Callable[[Sample], None],
        *,
        stamp: Callable[[float], float],
        vantage: Vantage,
        local: frozenset[str] = frozenset(),
        most_open: int = MOST_OPEN,
    ) -> None:
        self._probes = tuple(probes)
        self._checks = checks
        self._emit = emit
        self._stamp = stamp
        self._vantage = vantage
        self._local = local
        self._most = most_open
        self._tracks: list[_Track] = []
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0
        self.counts = Counts()

    def start(self) -> None:
        """Begin; the first questions are due at once."""
        self._loop = asyncio.get_running_loop()
        begin = self._loop.time() + 0.01
        alike: dict[float, int] = {}
        for probe in self._probes:
            place = alike[probe.every] = alike.get(probe.every, -1) + 1
            steps = max(1, int(probe.every / GRID))
            same = sum(1 for other in self._probes if other.every == probe.every)
            spread = place * steps // same if same <= steps else place % steps
            track = _Track(probe, self._checks[probe.name], begin + spread * GRID, probe.name in self._local)
            self._heap.append((track.start, len(self._tracks)))
            self._tracks.append(track)
        heapq.heapify(self._heap)
        if self._heap:
            self._timer = self._loop.call_at(self._heap[0][0], self._tick)

    def _tick(self) -> None:
        heap = self._heap
        loop = self._loop
        now = loop.time()
        while heap[0][0] <= now:
            due, index = heap[0]
            track = self._tracks[index]
            missed = int((now - due) / track.every) if now - due > track.every else 0
            if missed:
                self._skip(track, due, missed)
                track.n += missed
                due = track.start + track.n * track.every
            track.n += 1
            heapq.heapreplace(heap, (track.start + track.n * track.every, index))
            self._ask(track, due)
            now = loop.time()
        self._timer = loop.call_at(heap[0][0], self._tick)

    def _skip(self, track: _Track, due: float, missed: int, why: str = "the prober was late") -> None:
        self.counts.skipped += missed
        at = self._stamp(due)
        self._emit(
            Sample(probe=track.name, due=at, sent=at, took=0.0, result="lost", error=f"local: skipped {missed}: {why}")
        )

    def _ask(self, track: _Track, due: float) -> None:
        if self._open >= self._most or len(track.flights) >= MOST_OPEN_EACH:
            self._skip(track, due, 1, "too many questions are open")
            return
        sent = self._loop.time()
        counts = self.counts
        counts.asked += 1
        late = sent - due
        if late > 0.005:
            counts.late += 1
        if late > counts.worst:
            counts.worst = late
        flight = _Flight(self, track, due, sent)
        self._open += 1
        if track.quick is not None:
            exchange = track.quick.begin(sent, flight.done)
            if not flight.open:
                return
            flight.exchange = exchange
        if flight.exchange is None:
            task = self._loop.create_task(self._run(flight))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            track.flights.append(flight)
            if track.timer is None:
                track.timer = self._loop.call_at(sent + track.timeout, self._expire, track)

    async def _run(self, flight: _Flight) -> None:
        """A question that takes a task; cancelling cleans up before the sample is written."""
        try:
            async with asyncio.timeout_at(flight.sent + flight.track.timeout):
                answer = await flight.track.check.ask()
        except TimeoutError:
            answer = _TIMEOUT
        except asyncio.CancelledError:
            answer = Answer(ok=False, error="local: the prober ended")
        except Exception as error:  # noqa: BLE001 - the boundary to plug-in checks: one bad check must not end the prober
            answer = Answer(ok=False, error=f"local: the check failed: {classify(error)} ({type(error).__name__})")
        flight.done(answer)

    def _expire(self, track: _Track) -> None:
        """Time is up for the oldest open question of a probe; the timer goes on to the next one's."""
        flights = track.flights
        now = self._loop.time()
        while flights:
            flight = flights[0]
            if not flight.open:
                flights.popleft()
            elif flight.sent + track.timeout <= now:
                if flight.exchange is not None:
                    flight.exchange.abort()
                late = now - flight.sent - track.timeout
                why = Answer(ok=False, error=f"local: the prober was late by {late:.1f} s") if late > LATE else _TIMEOUT
                flight.done(why)  # takes it out of the row as well
            else:
                break
        track.timer = self._loop.call_at(flights[0].sent + track.timeout, self._expire, track) if flights else None

    def _answered(self, flight: _Flight, answer: Answer) -> None:
        ended = self._loop.time()
        self._open -= 1
        track = flight.track
        flights = track.flights
        while flights and not flights[0].open:
            flights.popleft()
        if answer.ok:
            self._vantage.contact(flight.sent, track.local)
            self._record(flight, ended, answer, "ok")
            return
        if proves_contact(False, answer.error):
            self._vantage.contact(flight.sent, track.local)
        self._vantage.judge(
            flight.sent,
            ended,
            answer,
            track.local,
            lambda result: self._record(flight, ended, answer, result),
        )

    def _record(self, flight: _Flight, ended: float, answer: Answer, result: SampleResult) -> None:
        due = self._stamp(flight.due)
        self._emit(
            Sample(
                probe=flight.track.name,
                due=round(due, 6),
                sent=round(due + (flight.sent - flight.due), 6),
                took=round(ended - flight.sent, 6),
                result=result,
                error=answer.error,
                status=answer.status,
                built=round(answer.built, 3),
            )
        )

    async def stop(self) -> None:
        """Ask no more, wait for what is open (each has its time-out), settle what is undecided."""
        if self._timer is not None:
            self._timer.cancel()
        longest = max((probe.timeout for probe in self._probes), default=0.0)
        try:
            async with asyncio.timeout(longest + 5.0):
                while self._open:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            for track in self._tracks:
                for flight in track.flights:
                    if flight.exchange is not None:
                        flight.exchange.abort()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for track in self._tracks:
            if track.timer is not None:
                track.timer.cancel()
        await self._vantage.close()
