"""What is true now: read from the store, the mirrored journals and the samples; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from underway.app.place import Session
from underway.app.registered import registered
from underway.checks.samples import Tail
from underway.core import history
from underway.core.attribution import attribute, spans
from underway.core.availability import Account, Ledger
from underway.core.clocks import corrected
from underway.core.model.decision import Decision
from underway.core.model.event import HostLine
from underway.core.model.plan import Plan
from underway.core.model.sample import Outage, Sample
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import RunRecord
from underway.core.notices import notices
from underway.core.outlook import Extras
from underway.core.rows import NoticeRow
from underway.core.rules import decide
from underway.core.standing import by_hand
from underway.engine.coordinator import beat_name
from underway.engine.mirror import Mirror, read_lines
from underway.engine.strays import check_actions


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a run, with the decision that a coordinator would take on it."""

    plan: Plan
    snapshot: Snapshot
    decision: Decision
    extras: Extras
    now: float


def look(session: Session) -> Seen:
    """How the latest run stands; writes nothing."""
    run = session.current()
    plan, _ = session.plan_of(run.id)
    snapshot = session.repository.snapshot(run.id)
    check_actions(plan, run.id, snapshot.actions)
    now = session.clock.now()
    policy = snapshot.policy.policy if snapshot.policy is not None else plan.policy
    directory = session.place.run_directory(run.id)
    mirror = Mirror()
    lines, _ = corrected(read_lines(directory / "journals"), snapshot.actions, run.id)
    for host, found in lines.items():
        mirror.take(host, found)
    ledger = read_ledger(directory, plan, run, now)
    extras = Extras(
        coordinator=coordinator_alive(session, run.id),
        prober=prober_alive(directory),
        at_work=mirror.at_work(),
        outages=with_causes(ledger, lines, plan, run.ended or now),
        stats=tuple(ledger.stats.values()),
        policy=policy,
        notices=_notices(plan, run, snapshot, lines),
        registered=registered(session, plan, snapshot),
        by_hand=by_hand(session.repository.hosts(), plan),
    )
    return Seen(plan, snapshot, decide(plan, snapshot, policy, now), extras, now)


def _notices(
    plan: Plan, run: RunRecord, snapshot: Snapshot, lines: Mapping[str, Sequence[HostLine]]
) -> tuple[NoticeRow, ...]:
    """What tasks told operators; hosts without any are not gone through, so that a look stays cheap."""
    some = {host: found for host, found in lines.items() if any(line.kind == "notice" for line in found)}
    return notices(history.steps(plan, run.id, snapshot.actions, some))


def read_ledger(directory: Path, plan: Plan, run: RunRecord, now: float) -> Ledger:
    """The account of all probes of a run, from what the probers wrote into its directory."""
    account = Account(plan.probes, run.started)
    account.feed(read_samples(directory, run, now))
    if run.ended:
        account.close()
    return account.ledger(run.ended or now, final=bool(run.ended))


def read_samples(directory: Path, run: RunRecord, now: float) -> Iterator[Sample]:
    """What the probers of a run wrote while it went on, as they wrote it."""
    end = run.ended or now
    tail = Tail(directory / "samples")
    while samples := tail.poll():
        yield from (sample for sample in samples if run.started <= sample.due <= end)


def with_causes(ledger: Ledger, lines: Mapping[str, Sequence[HostLine]], plan: Plan, now: float) -> list[Outage]:
    """The outages of a ledger, each put on the work that fits."""
    if not ledger.outages:
        return []
    work = spans([line for host in lines.values() for line in host], plan, now=now)
    return attribute(ledger.outages, work, plan.probes, plan.needs)


def coordinator_alive(session: Session, run: str) -> bool:
    """Whether a coordinator of a run was heard of just now."""
    return any(name.startswith(beat_name(run)) and left > 0 for name, left in session.store.alive().items())


def prober_alive(directory: Path) -> bool:
    """Whether the prober that was started for a run is at work."""
    try:
        pid = int((directory / "prober.pid").read_text())
        return b"prober" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
