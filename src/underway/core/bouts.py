"""Outages that are one trouble to a reader: of one probe, on the same work, close upon each other. Pure.

Behind a balancer that asks its back-ends in turn, one broken back-end makes every third request fail: to the account
each failure is an outage of its own, to an operator it is one bout. Nothing is lost by that: a bout keeps its number of
intervals, the seconds that were really down, and every failed answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from underway.core.model.base import replace
from underway.core.model.cluster import Probe
from underway.core.model.sample import Cause, Outage

CLOSE = 2.0
"""Seconds of good answers (or, for slow probes, ``INTERVALS`` of theirs) after which trouble counts as new."""

INTERVALS = 3.0


@dataclass(frozen=True, slots=True)
class Bout:
    """``outage`` spans from the first to the last; ``intervals`` is how many there were, ``down`` their seconds."""

    outage: Outage
    intervals: int
    down: float


def bouts(outages: Iterable[Outage], probes: Mapping[str, Probe]) -> list[Bout]:
    """The outages in bouts, in order of their start."""
    found: list[Bout] = []
    latest: dict[tuple[str, ...], int] = {}
    for outage in sorted(outages, key=lambda outage: (outage.start, outage.probe)):
        key = (outage.probe, outage.attribution, *sorted(cause.action for cause in outage.causes))
        index = latest.get(key)
        if index is not None and not found[index].outage.open:
            gap = outage.start - found[index].outage.end
            every = probes[outage.probe].every if outage.probe in probes else 0.0
            if gap <= max(CLOSE, INTERVALS * every):
                found[index] = _joined(found[index], outage)
                continue
        latest[key] = len(found)
        found.append(Bout(outage, 1, outage.end - outage.start))
    return found


def _joined(bout: Bout, later: Outage) -> Bout:
    first = bout.outage
    errors = dict(first.errors)
    for error, count in later.errors.items():
        errors[error] = errors.get(error, 0) + count
    overlap = {cause.action: cause.overlap for cause in later.causes}
    causes: tuple[Cause, ...] = tuple(
        replace(cause, overlap=round(cause.overlap + overlap.get(cause.action, 0.0), 6)) for cause in first.causes
    )
    whole = replace(
        first,
        end=later.end,
        open=later.open,
        answered=max(first.answered, later.answered),
        errors=errors,
        failed=first.failed + later.failed,
        resolution=max(first.resolution, later.resolution),
        causes=causes,
    )
    return Bout(whole, bout.intervals + 1, bout.down + later.end - later.start)
