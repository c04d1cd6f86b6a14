"""The probers' samples as the coordinator needs them: health of hosts, outages as they begin, and their causes.

Health follows probes that ask a host directly (``Probe.host``): ``SETTLED`` answers in a row change it, and a host that
nobody has asked for a while is not called healthy (TRUST.md §2, 28 and 29).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace as copy_of
from pathlib import Path

from underway.checks.samples import Tail
from underway.core.attribution import attribute, is_own_work, spans
from underway.core.availability import Account, Ledger
from underway.core.clocks import corrected
from underway.core.model.cluster import Probe
from underway.core.model.plan import Plan
from underway.core.model.sample import Outage, Sample
from underway.core.model.state import ActionRecord, RunRecord
from underway.engine.measure import HostAnswer, Measurement
from underway.engine.mirror import Mirror

SETTLED = 2
"""Answers in a row that change a host's health: one bad answer is noise, two are a fact."""

SILENT = 10.0
"""Seconds beyond a probe's interval and time-out after which its last answer says nothing any more."""

LOOK_EVERY = 0.25
"""Seconds between two readings of the sample files."""

ATTRIBUTE_EVERY = 2.0
"""Seconds between two attributions while the run goes on; the report attributes everything again at its end."""


class _Streak:
    """Answers of one probe in a row."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.good: bool | None = None  # the settled answer
        self.since = 0.0
        self.sent = 0.0
        self.error = ""
        self._latest: bool | None = None
        self._count = 0
        self._began = 0.0

    def take(self, sample: Sample) -> None:
        if sample.result == "lost" or sample.error.startswith("auth:"):
            return  # nothing was asked of the host itself
        good = sample.result == "ok"
        if good != self._latest:
            self._latest, self._count, self._began = good, 0, sample.sent
        self._count += 1
        self.sent = sample.sent
        if not good:
            self.error = sample.error
        if self._count >= SETTLED and good != self.good:
            self.good, self.since = good, self._began

    def stale(self, now: float) -> bool:
        return now - self.sent > self.probe.every + self.probe.timeout + SILENT


class SampleMeasure:
    """Reads what the probers of a run write into ``directory``; ``mirror`` tells what was at work meanwhile."""

    def __init__(self, plan: Plan, directory: Path, mirror: Mirror, run: RunRecord) -> None:
        self._plan, self._mirror, self._run = plan, mirror, run.id
        self._tail = Tail(directory)
        self._account = Account(plan.probes, run.started)
        self._streaks = {name: _Streak(probe) for name, probe in plan.probes.items() if probe.host}
        self._looked = self._attributed = float("-inf")
        self._last = Measurement()
        self._caused: Sequence[Outage] = ()
        self._bare: Sequence[Outage] = ()

    def look(self, now: float, actions: Mapping[str, ActionRecord]) -> Measurement:
        """See Measure."""
        if 0 <= now - self._looked < LOOK_EVERY:
            return Measurement(hosts=self._last.hosts, outage=self._last.outage, outages=self._last.outages)
        self._looked = now
        while samples := self._tail.poll():
            self._account.feed(samples)
            for sample in samples:
                streak = self._streaks.get(sample.probe)
                if streak is not None:
                    streak.take(sample)
        self._account.settle(now)
        ledger = self._account.ledger(now)
        changes = self._account.changes()
        self._last = Measurement(
            hosts=self._hosts(now),
            outage=ledger.services,
            outages=self._outages(ledger, now, actions),
            began=[change.outage for change in changes if change.kind == "outage-began"],
            ended=[change.outage for change in changes if change.kind == "outage-ended"],
        )
        return self._last

    def close(self) -> None:
        """Nothing is held open."""

    def _hosts(self, now: float) -> Mapping[str, HostAnswer]:
        found: dict[str, HostAnswer] = {}
        asked: Counter[str] = Counter()
        for streak in self._streaks.values():
            if streak.good is None:
                continue
            stale = streak.stale(now)
            answer = HostAnswer(
                healthy=streak.good and not stale,
                since=streak.since,
                checked=now if stale else streak.sent,
                detail=self._detail(streak, stale, now),
            )
            known = found.get(streak.probe.host)
            found[streak.probe.host] = answer if known is None else _worse(known, answer)
            asked[streak.probe.host] += 1
        return {
            host: copy_of(answer, detail=f"all of its {asked[host]} probes answer")
            if answer.healthy and asked[host] > 1
            else answer
            for host, answer in found.items()
        }

    @staticmethod
    def _detail(streak: _Streak, stale: bool, now: float) -> str:
        if stale:
            return f"probe {streak.probe.name} was last asked {now - streak.sent:.0f} s ago"
        return f"probe {streak.probe.name} {'answers' if streak.good else 'says: ' + streak.error}"

    def _outages(self, ledger: Ledger, now: float, actions: Mapping[str, ActionRecord]) -> Sequence[Outage]:
        """The outages with their causes; worked out anew only when they changed, and not at every look."""
        if ledger.outages == self._bare:
            return self._caused
        if now - self._attributed < ATTRIBUTE_EVERY and len(ledger.outages) == len(self._bare):
            return self._caused
        self._attributed = now
        self._bare = ledger.outages
        journals, _ = corrected(self._mirror.lines(), actions, self._run)
        lines = [line for host in journals.values() for line in host]
        self._caused = attribute(ledger.outages, spans(lines, self._plan, now=now), self._plan.probes, self._plan.needs)
        return self._caused


def _worse(one: HostAnswer, other: HostAnswer) -> HostAnswer:
    """Both probes of a host together: unhealthy if either is, healthy since both are."""
    if one.healthy != other.healthy:
        return other if one.healthy else one
    return HostAnswer(
        one.healthy,
        max(one.since, other.since) if one.healthy else min(one.since, other.since),
        min(one.checked, other.checked),
        one.detail,
    )


def told(outages: Sequence[Outage]) -> list[Outage]:
    """The outages that clients met: without back-ends that were down because of the work on their own host."""
    return [outage for outage in outages if not is_own_work(outage)]
