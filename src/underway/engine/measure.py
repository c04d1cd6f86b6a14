"""What the probes say, as the coordinator needs it: health per host, outage seconds per service, outages as they begin.

The samples come from the prober, a process of its own; a coordinator that was killed blinds nobody, and one that
starts again reads the samples from the first line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from underway.core.model.event import EventKind
from underway.core.model.sample import Outage
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """The latest settled answer of a host's own probes: ``since`` it holds without a break, ``checked`` last asked."""

    healthy: bool
    since: float
    checked: float
    detail: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One look at the samples: everything up to now."""

    hosts: Mapping[str, HostAnswer] = field(default_factory=dict)
    outage: Mapping[str, float] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    began: Sequence[Outage] = ()
    ended: Sequence[Outage] = ()


class Measure(Protocol):
    """The contract: look (never blocks), close."""

    def look(self, now: float, actions: Mapping[str, ActionRecord]) -> Measurement:
        """What is known up to now; ``began`` and ``ended`` are each told once. ``actions``: the run's, as just seen."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class NoMeasure:
    """For a plan without probes: knows nothing and says so by silence."""

    def look(self, now: float, actions: Mapping[str, ActionRecord]) -> Measurement:  # noqa: ARG002  the contract's
        """See Measure."""
        return Measurement()

    def close(self) -> None:
        """See Measure."""


def health_changes(snapshot: Snapshot, measured: Measurement) -> dict[str, Health]:
    """The health records that must be written: a changed answer, or a fresh one that a soaking host waits for.

    Unchanged answers are not written at every look: the store would grow with time instead of with facts.
    """
    if not measured.hosts:
        return {}
    soaking = {
        action.rpartition("/")[2]: record.finished
        for action, record in snapshot.actions.items()
        if record.state == "soaking"
    }
    changes: dict[str, Health] = {}
    for host, answer in measured.hosts.items():
        before = snapshot.health.get(host)
        changed = before is None or before.healthy != answer.healthy
        awaited = before is not None and host in soaking and before.checked <= soaking[host] < answer.checked
        if changed or awaited:
            flaps = (before.flaps if before else 0) + (1 if before is not None and changed else 0)
            changes[host] = Health(
                healthy=answer.healthy, since=answer.since, checked=answer.checked, detail=answer.detail, flaps=flaps
            )
    return changes


def outage_news(measured: Measurement) -> Iterator[tuple[EventKind, str, str]]:
    """(kind, text, host) of the outages that began and ended.

    One a probe and look: behind a balancer a broken back-end makes an outage of every third request.
    """
    for name in dict.fromkeys(outage.probe for outage in (*measured.began, *measured.ended)):
        began = [outage for outage in measured.began if outage.probe == name]
        ended = [outage for outage in measured.ended if outage.probe == name]
        host = (began or ended)[0].host
        if began and len(began) == len(ended):
            last = max(outage.end - outage.start for outage in ended)
            many = "an outage" if len(ended) == 1 else f"{len(ended)} outages"
            yield "outage-ended", f"{name}: {many} of at most {last:.1f} s: {_errors(ended[0])}", host
        elif len(began) > len(ended):
            yield "outage-began", f"{name}: {_errors(began[-1])}", host
        else:
            yield "outage-ended", f"{name}: after {ended[0].end - ended[0].start:.1f} s", host


def _errors(outage: Outage) -> str:
    return ", ".join(f"{error} ({count})" for error, count in sorted(outage.errors.items())) or "bad answers"
