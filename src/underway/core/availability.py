"""Samples become an account: what was up, what was down, and what nobody saw.

The rule (told to operators in ``docs/reference/probes.md``): the answer to the question that was due at *d* speaks
for the time from *d* to the next due time. So an outage begins when the first bad sample was due and ends when
the first good one after it was. Where the next question is more than one and a half intervals away, the answer speaks
for one interval and the rest is a gap: unobserved, never up or down. Samples that say "lost" speak for nothing. For
each probe, up + down + unobserved is the wall time, always.

A sample whose error is ``auth: …`` says nothing of its service: no token could be had. It is booked as an outage of the
service that issues tokens, and the probe's own service is unobserved meanwhile.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from underway.core.model.base import Value
from underway.core.model.cluster import Probe
from underway.core.model.sample import Gap, Outage, Sample

HOLE = 1.5
"""Intervals between two samples above which the time between them is a gap."""

GRACE = 2.5
"""Seconds beyond the time-out for which an earlier sample is waited for: a doubtful one is written late, when the
control targets have answered."""

NO_SAMPLES = "no samples"
NETWORK_LOST = "the prober had no network"
UNASKED = "no token to ask with"

_View = Literal["up", "down", "auth"]


class Stats(Value, frozen=True, kw_only=True):
    """The account of one probe, seconds: ``up + down + unobserved == end - start``.

    ``samples`` counts all answers, ``failed`` the bad ones, ``lost`` those that say nothing. ``outages`` counts
    intervals, ``longest`` is the longest. ``slowest`` and ``mean`` are of good answers. ``worst_late`` is the most
    that a question was asked after it was due. ``builds`` counts good answers to which something was built, and
    ``built`` is the mean of the seconds that this took.
    """

    probe: str
    service: str = ""
    host: str = ""
    samples: int = 0
    failed: int = 0
    lost: int = 0
    up: float = 0.0
    down: float = 0.0
    unobserved: float = 0.0
    start: float = 0.0
    end: float = 0.0
    outages: int = 0
    longest: float = 0.0
    slowest: float = 0.0
    mean: float = 0.0
    worst_late: float = 0.0
    builds: int = 0
    built: float = 0.0
    resolution: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account at one moment. ``outages`` in order of their start (open ones included).

    ``services`` holds, per service, the seconds in which at least one probe through its front door was down
    (their union); outages of single back-ends are not in it.
    """

    outages: tuple[Outage, ...] = ()
    gaps: tuple[Gap, ...] = ()
    stats: dict[str, Stats] = field(default_factory=dict)
    services: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """An outage that began or ended."""

    kind: Literal["outage-began", "outage-ended"]
    outage: Outage


@dataclass(slots=True)
class _Spell:
    """Bad answers in a row, so far. ``blur``: seconds before its start that nobody saw."""

    view: _View
    start: float
    blur: float
    failed: int = 0
    answered: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    """What all tracks have found."""

    outages: list[Outage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def _view(sample: Sample) -> _View:
    if sample.result == "ok":
        return "up"
    return "auth" if sample.error.startswith("auth:") else "down"


class _Track:
    """The account of one probe: a fixed amount of state, beside the samples that wait for an earlier one."""

    def __init__(self, probe: Probe, begun: float, found: _Found) -> None:
        self.probe = probe
        self.begun = begun
        self.found = found
        self.waiting: list[tuple[float, int, Sample]] = []
        self.offered = 0
        self.newest = 0.0
        self.place: float | None = None  # due time of the latest sample taken
        self.last: float | None = None  # due time of the latest one that saw something
        self.view: _View = "up"  # and what it saw
        self.spell: _Spell | None = None
        self.why = NO_SAMPLES
        self.up = self.down = self.unobserved = 0.0
        self.samples = self.failed = self.lost = self.good = self.outages = 0
        self.longest = self.slowest = self.took = self.late = self.built = 0.0
        self.builds = 0

    def offer(self, sample: Sample) -> bool:
        """Put a sample in its place; False for one that comes too late, twice, or from before the beginning."""
        if sample.due < self.begun or (self.place is not None and sample.due <= self.place):
            return False
        self.offered += 1
        heapq.heappush(self.waiting, (sample.due, self.offered, sample))
        self.newest = max(self.newest, sample.sent + sample.took)
        return True

    def drain(self, now: float, *, final: bool = False) -> None:
        """Take the samples whose turn it is: those before which nothing can still come."""
        settled = max(now, self.newest) - self.probe.timeout - GRACE
        while self.waiting:
            due = self.waiting[0][0]
            follows = self.place is not None and due <= self.place + HOLE * self.probe.every
            if not (follows or due < settled or final):
                return
            sample = heapq.heappop(self.waiting)[2]
            if self.place is None or due > self.place:
                self._take(sample)

    def _take(self, sample: Sample) -> None:
        self.place = sample.due
        self.samples += 1
        self.late = max(self.late, sample.sent - sample.due)
        if sample.result == "lost":
            self.lost += 1
            local = sample.error.startswith("local")
            self.why = sample.error.removeprefix("local: ") if local else NETWORK_LOST
            return
        view = _view(sample)
        blur = self._advance(sample.due)
        if self.spell is not None and self.spell.view != view:
            self._close(sample.due, 0.0)
        self.last, self.view, self.why = sample.due, view, NO_SAMPLES
        if view == "up":
            self.good += 1
            self.took += sample.took
            self.slowest = max(self.slowest, sample.took)
            if sample.built:
                self.builds += 1
                self.built += sample.built
            return
        self.failed += 1
        began = self.spell is None
        if self.spell is None:
            self.spell = _Spell(view, sample.due, blur)
        self.spell.failed += 1
        self.spell.answered = max(self.spell.answered, sample.sent + sample.took)
        self.spell.errors[sample.error] = self.spell.errors.get(sample.error, 0) + 1
        if began:
            self.found.changes.append(Change("outage-began", self._outage(self.spell, sample.due, 0.0, open_=True)))

    def _advance(self, due: float) -> float:
        """Account for the time up to ``due``; returns the seconds right before it that nobody saw."""
        if self.last is None:
            if not self.begun:
                self.begun = due
            self._gap(self.begun, due)
            return due - self.begun
        if due - self.last <= HOLE * self.probe.every:
            self._add(due - self.last)
            return 0.0
        seen = self.last + self.probe.every
        self._add(self.probe.every)
        if self.spell is not None:
            self._close(seen, due - seen)
        self._gap(seen, due)
        return due - seen

    def _add(self, seconds: float) -> None:
        if self.view == "up":
            self.up += seconds
        elif self.view == "down":
            self.down += seconds
        else:
            self.unobserved += seconds

    def _gap(self, start: float, end: float) -> None:
        if end > start:
            self.unobserved += end - start
            self.found.gaps.append(Gap(probe=self.probe.name, start=start, end=end, why=self.why))

    def _close(self, end: float, blur: float) -> None:
        assert self.spell is not None
        outage = self._outage(self.spell, end, blur, open_=False)
        if self.spell.view == "auth":
            self.found.gaps.append(Gap(probe=self.probe.name, start=outage.start, end=end, why=UNASKED))
        else:
            self.outages += 1
            self.longest = max(self.longest, end - outage.start)
        self.spell = None
        self.found.outages.append(outage)
        self.found.changes.append(Change("outage-ended", outage))

    def _outage(self, spell: _Spell, end: float, blur: float, *, open_: bool) -> Outage:
        token = spell.view == "auth"
        return Outage(
            probe=self.probe.name,
            service=self.probe.auth.get("service", "keystone") if token else self.probe.service,
            host="" if token else self.probe.host,
            start=spell.start,
            end=end,
            errors=dict(spell.errors),
            failed=spell.failed,
            resolution=round(self.probe.every + max(spell.blur, blur), 6),
            open=open_,
            answered=spell.answered,
        )

    def tail(self, now: float, *, final: bool) -> tuple[Stats, list[Outage], list[Gap]]:
        """The account up to ``now``, with what is still open; changes nothing."""
        every = self.probe.every
        up, down, unobserved, outages, longest = self.up, self.down, self.unobserved, self.outages, self.longest
        found: list[Outage] = []
        gaps: list[Gap] = []
        seen = self.begun  # up to here somebody saw something
        if self.last is not None:
            seen = max(self.last, now if now - self.last <= HOLE * every else self.last + every)
            up += seen - self.last if self.view == "up" else 0.0
            down += seen - self.last if self.view == "down" else 0.0
            unobserved += seen - self.last if self.view == "auth" else 0.0
            if self.spell is not None:
                found.append(self._outage(self.spell, seen, 0.0, open_=True))
                if self.spell.view == "auth":
                    gaps.append(Gap(probe=self.probe.name, start=self.spell.start, end=seen, why=UNASKED))
                else:
                    outages += 1
                    longest = max(longest, seen - self.spell.start)
        end = max(now, seen) if seen else 0.0
        unobserved += end - seen
        # Answers that are still waited for are not a gap yet, though not seen either.
        if end > seen and (final or end - seen > self.probe.timeout + GRACE + every):
            gaps.append(Gap(probe=self.probe.name, start=seen, end=end, why=self.why))
        stats = Stats(
            probe=self.probe.name,
            service=self.probe.service,
            host=self.probe.host,
            samples=self.samples,
            failed=self.failed,
            lost=self.lost,
            up=up,
            down=down,
            unobserved=unobserved,
            start=self.begun,
            end=end,
            outages=outages,
            longest=longest,
            slowest=self.slowest,
            mean=self.took / self.good if self.good else 0.0,
            worst_late=self.late,
            builds=self.builds,
            built=self.built / self.builds if self.builds else 0.0,
            resolution=every,
        )
        return stats, found, gaps


class Account:
    """The account of all probes of a run, fed with samples as they are written.

    Samples may come in any order within a probe's time-out and ``GRACE``; the result is that of the sorted whole.
    ``start`` (Unix seconds) is when the wall time to be accounted for begins; 0: with each probe's first sample.
    ``dropped`` counts samples that came twice, too late, or of no known probe.
    """

    def __init__(self, probes: Mapping[str, Probe], start: float = 0.0) -> None:
        self._found = _Found()
        self._tracks = {name: _Track(probe, start, self._found) for name, probe in probes.items() if not probe.control}
        self.dropped = 0

    def feed(self, samples: Iterable[Sample]) -> None:
        """Take samples in."""
        for sample in samples:
            track = self._tracks.get(sample.probe)
            if track is None or not track.offer(sample):
                self.dropped += 1
            else:
                track.drain(0.0)

    def settle(self, now: float) -> None:
        """Stop waiting for samples that can no longer come at ``now``."""
        for track in self._tracks.values():
            track.drain(now)

    def close(self) -> None:
        """The probers have ended: nothing more will come."""
        for track in self._tracks.values():
            track.drain(0.0, final=True)

    def changes(self) -> list[Change]:
        """Outages that began or ended since the last call, in the order in which that became known."""
        changes, self._found.changes = self._found.changes, []
        return changes

    def ledger(self, now: float, *, final: bool = False) -> Ledger:
        """The account up to ``now``. ``final``: nothing more will come, so what is missing is a gap."""
        outages, gaps = list(self._found.outages), list(self._found.gaps)
        stats: dict[str, Stats] = {}
        for name, track in self._tracks.items():
            stats[name], more, holes = track.tail(now, final=final)
            outages += more
            gaps += holes
        outages.sort(key=lambda outage: (outage.start, outage.probe))
        gaps.sort(key=lambda gap: (gap.start, gap.probe))
        return Ledger(tuple(outages), tuple(gaps), stats, service_seconds(outages))


def account(samples: Iterable[Sample], probes: Mapping[str, Probe], now: float, start: float = 0.0) -> Ledger:
    """The whole account at once, of samples in any order."""
    whole = Account(probes, start)
    whole.feed(sorted(samples, key=lambda sample: sample.due))
    whole.close()
    return whole.ledger(now, final=True)


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Seconds that are in at least one of the intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def service_seconds(outages: Iterable[Outage]) -> dict[str, float]:
    """Per service, the seconds of outage at its front door: what an outage budget is about.

    An outage of a single back-end (``Outage.host``) is real and reported, but clients behind the balancer do not
    meet it, and an upgrade causes it on purpose: it is not counted.
    """
    intervals: dict[str, list[tuple[float, float]]] = {}
    for outage in outages:
        if outage.service and not outage.host:
            intervals.setdefault(outage.service, []).append((outage.start, outage.end))
    return {service: union(found) for service, found in sorted(intervals.items())}


def backend_seconds(outages: Iterable[Outage]) -> dict[tuple[str, str], float]:
    """Per (service, host), the seconds in which that back-end was down."""
    intervals: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for outage in outages:
        if outage.host:
            intervals.setdefault((outage.service, outage.host), []).append((outage.start, outage.end))
    return {key: union(found) for key, found in sorted(intervals.items())}
