"""The figures of each service in the words of the probe tool of Nova's rolling upgrade tests (``call_test.py``). Pure.

Fields and status lines are that tool's, so that what reads its files reads ours. Its faults are mended:
``avg_build_time`` is a mean (it was a sum); without attempts, percentages are None (it divided by zero); all times are
UTC and say so; and the down time of a failed attempt is not the attempt's own length (30 s for a server that was
refused at once, 0 s for the time between two attempts) but the rule of :mod:`underway.core.availability`: from when the
attempt was due until the next one was. ``down_time`` of a service is the union of the outages of its probes, as in an
outage budget.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from underway.core.availability import Stats, backend_seconds, service_seconds
from underway.core.model.cluster import Probe
from underway.core.model.sample import Gap, Outage, Sample
from underway.core.rows import ServiceCalls

Interval = tuple[float, float]


def utc(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def services(stats: Iterable[Stats], outages: Sequence[Outage], gaps: Iterable[Gap]) -> tuple[ServiceCalls, ...]:
    """One row for each service that a probe asks, by name.

    The probes that ask as users do count; those of single back-ends only where a service has no other.
    """
    by_service: dict[str, list[Stats]] = {}
    for row in stats:
        if row.service and row.samples:
            by_service.setdefault(row.service, []).append(row)
    blind: dict[str, list[Interval]] = {}
    for gap in gaps:
        blind.setdefault(gap.probe, []).append((gap.start, gap.end))
    front, single = service_seconds(outages), backend_seconds(outages)
    found = []
    for service, rows in sorted(by_service.items()):
        asked = [row for row in rows if not row.host]
        if asked:
            down = front.get(service, 0.0)
        else:
            asked = rows
            down = max((seconds for (name, _), seconds in single.items() if name == service), default=0.0)
        found.append(_row(service, asked, down, [blind.get(row.probe, []) for row in asked]))
    return tuple(found)


def _row(service: str, rows: Sequence[Stats], down: float, blind: Sequence[Sequence[Interval]]) -> ServiceCalls:
    total = sum(row.samples - row.lost for row in rows)
    failed = sum(row.failed for row in rows)
    start, end = min(row.start for row in rows), max(row.end for row in rows)
    seen = end - start - common(blind)
    builds = sum(row.builds for row in rows)
    return ServiceCalls(
        project=service,
        success_pct=round(100.0 * (total - failed) / total, 2) if total else None,
        total_requests=total,
        successful_requests=total - failed,
        failed_requests=failed,
        start_time=utc(start),
        end_time=utc(end),
        uptime_pct=round(100.0 - 100.0 * min(down / seen, 1.0), 2) if seen > 0 else None,
        down_time=round(down, 3),
        avg_build_time=round(sum(row.built * row.builds for row in rows) / builds, 3) if builds else None,
    )


def common(each: Sequence[Sequence[Interval]]) -> float:
    """Seconds that are in an interval of every one of the lists."""
    if not each or not all(each):
        return 0.0
    edges: list[tuple[float, int]] = []
    for intervals in each:
        for start, end in _joined(intervals):
            edges += [(start, 1), (end, -1)]
    total, depth, since = 0.0, 0, 0.0
    for at, step in sorted(edges):
        if depth == len(each):
            total += at - since
        depth, since = depth + step, at
    return total


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as intervals that do not touch, in order."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


class _Downs:
    """How long a service had been down by a moment."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        self._joined = _joined(intervals)
        self._starts = [start for start, _ in self._joined]
        self._before = [0.0]
        for start, end in self._joined:
            self._before.append(self._before[-1] + end - start)

    def until(self, at: float) -> float:
        """Seconds of outage before ``at``."""
        place = bisect_right(self._starts, at)
        if place == 0:
            return 0.0
        start, end = self._joined[place - 1]
        return self._before[place - 1] + min(end, at) - start


def status_lines(
    samples: Iterable[Sample], probes: Mapping[str, Probe], outages: Iterable[Outage], started: float
) -> Iterator[dict[str, Any]]:
    """One line for each attempt, in the order in which they were due, as the tool wrote them.

    ``<service>_status`` is 1 or 0; ``<service>_total_down`` and ``<service>_duration`` are seconds of outage, and since
    the run started, by the time for which the attempt speaks. Attempts that say nothing of a service (the prober had no
    network) have no line; nor have those of single back-ends and of no service.
    """
    spells: dict[str, list[Interval]] = {}
    for outage in outages:
        if not outage.host:
            spells.setdefault(outage.service, []).append((outage.start, outage.end))
    downs = {service: _Downs(found) for service, found in spells.items()}
    for sample in sorted(samples, key=lambda one: one.due):
        probe = probes.get(sample.probe)
        if probe is None or probe.control or probe.host or not probe.service or sample.result == "lost":
            continue
        service, until = probe.service, sample.due + probe.every
        yield {
            "service": service,
            f"{service}_status": 1 if sample.result == "ok" else 0,
            "timestamp": utc(sample.due),
            "error": sample.error,
            f"{service}_total_down": round(downs[service].until(until), 3) if service in downs else 0.0,
            f"{service}_duration": round(until - started, 3),
            "time_run_started": utc(started),
        }
