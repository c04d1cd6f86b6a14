"""What a run leaves known of a host: the release that it runs, service by service where it is on its way. Pure.

Invariants
    1. A host is recorded as a whole on the release only when every service of it is: by this run, and by earlier ones
       where the plan says that they did theirs (``Plan.partial``). What an operator waived is not done.
    2. A service counts only when every visit that does something to it on that host is done.
    3. A rollback takes back what the plan that it undoes had brought, and nothing of the runs before that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from underway.core.model.part import Partial
from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import HostRecord, RunRecord
from underway.core.names import ordered
from underway.core.words import some
from underway.errors import Refused


def host_record(plan: Plan, snapshot: Snapshot, action: str, done: Collection[str], now: float) -> HostRecord | None:
    """What is known of the host of ``action`` now that it is done; None where that says nothing of its release.

    ``done``: actions that are done and of which ``snapshot`` does not know yet.
    """
    host = split_action(action)[1]
    if plan.mode == "roll" or not plan.pass_of(action).upgrades:
        return None
    run = snapshot.run.id
    before = next((one for one in plan.partial if host in one.hosts), Partial(hosts=(host,)))
    machine = snapshot.machines.get(host)
    if machine is not None and machine.run == run:  # what earlier runs did was lost with the machine before
        before = Partial(hosts=(host,), left=(*before.left, *before.done))
    release = plan.inputs.get(f"runs/{host}", plan.source).partition(",")[0]
    left, brought = set(before.left), set[str]()
    for work in plan.passes.values():
        if work.upgrades and host in work.hosts:
            mine = action_id(work.id, host)
            brought.update(work.services)
            if mine not in done and snapshot.state(mine) != "done":
                left.update(work.services)
    if plan.mode == "rollback":
        there = set(before.done)
        release = plan.source
    elif not left:
        return HostRecord(release=plan.target, by_run=run, at=now)
    else:
        there = {*before.done, *(brought - left)}
        if not brought - left:
            return None
    services = dict.fromkeys(sorted(there), plan.target)
    return HostRecord(release=release, by_run=run, at=now, services=services)


def refuse_later(run: RunRecord, known: Mapping[str, HostRecord]) -> None:
    """Raise Refused where later runs than ``run`` brought hosts to its target, and are not rolled back: what they did
    comes after what it did, so it goes back first."""
    later: dict[str, list[str]] = {}
    for host, record in known.items():
        there = record.release == run.target or run.target in record.services.values()
        if there and record.by_run not in ("", run.id) and record.at > run.started:
            later.setdefault(record.by_run, []).append(host)
    stamped = ordered(name for name, record in known.items() if _is_stamped(record, run))
    if stamped:
        raise Refused(
            f"{some(stamped)} {'runs' if len(stamped) == 1 else 'run'} {run.target} by an operator's word since run "
            f"{run.id} began; nothing was changed (bring back by hand what was brought there so, then say it: "
            f"underway stamp {stamped[0]} --release {run.source} --reason ...)"
        )
    if later:
        newest = max(later, key=lambda name: max(known[host].at for host in later[name]))
        hosts = ordered(later[newest])
        raise Refused(
            f"{some(hosts)} {'was' if len(hosts) == 1 else 'were'} brought to {run.target} after run {run.id}, by run "
            f"{newest}; nothing was changed (the latest goes back first: underway --run {newest} rollback)"
        )


def _is_stamped(record: HostRecord, run: RunRecord) -> bool:
    """Whether an operator said, after ``run`` began, that a host runs what that run brings."""
    return record.by_run == "" and record.release == run.target and record.at > run.started


def by_hand(known: Mapping[str, HostRecord], plan: Plan) -> list[str]:
    """Hosts of the plan that run its release by an operator's word."""
    there = (name for name, record in known.items() if record.by_run == "" and record.release == plan.target)
    return ordered(name for name in there if name in plan.hosts)
