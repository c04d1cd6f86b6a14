"""What follows from an operator's word that a host's machine is gone for good and nobody takes its place. Pure.

Assumptions
    1. The operator knows: nothing here can tell a dead machine from one that is cut off.
Invariants
    1. What the host may still be doing is not given up: while something is at work there or through it, the word is
       refused; where nobody can tell, it needs his further word that the machine is off (P7).
    2. Nothing that the other hosts need is lost silently: work that is once for all, or that this host does for
       others, is done or waived by itself first (P2).
    3. What is left of the host in this run is waived, and the host is in no count from then on (``Snapshot.dropped``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import BUSY, FINISHED, ActionRecord
from underway.core.replacement import refuse_at_work
from underway.core.words import plural, some
from underway.errors import Refused


@dataclass(frozen=True, slots=True)
class Dropping:
    """``waived``: actions of the host that were not finished -> the record as seen (None: none). ``held``: roles and
    groups whose limit is a percentage that comes to no host from now on, as ``limit`` takes their names."""

    waived: dict[str, ActionRecord | None]
    held: tuple[str, ...]


def dropping(plan: Plan, snapshot: Snapshot, host: str, off: bool) -> Dropping:
    """What is given up once ``host`` is gone. ``off``: the operator says that its machine is off, and stays so.

    Raises Refused, with what to do instead, while something may be at work there, and for a host that others need.
    """
    refuse_at_work(plan, snapshot, host)
    _refuse_elsewhere(snapshot, host)
    if not off:
        _refuse_unknown(snapshot, host)
    if snapshot.run.state not in ("done", "aborted"):
        _refuse_needed(plan, snapshot, host)
    waived = {
        action: snapshot.actions.get(action)
        for action in (action_id(work.id, member) for work, member in plan.actions() if member == host)
        if snapshot.state(action) not in FINISHED
    }
    return Dropping(waived, tuple(_held(plan, snapshot, host)))


def _refuse_elsewhere(snapshot: Snapshot, host: str) -> None:
    found = snapshot.elsewhere.get(host)
    if found is not None and found.state in BUSY:
        raise Refused(
            f"{host} is believed to be at work on {found.action} of run {found.run}; nothing was changed (if it is "
            f"dead, wait until that is called unknown, or 'underway --run {found.run} skip {host}'; then say it again)"
        )


def _refuse_unknown(snapshot: Snapshot, host: str) -> None:
    mine = [name for name, record in snapshot.actions.items() if record.state == "unknown"]
    open_ = [name for name in mine if split_action(name)[1] == host]
    there = snapshot.elsewhere.get(host)
    if there is not None and there.state == "unknown":
        open_.append(f"{there.action} of run {there.run}")
    if open_:
        raise Refused(
            f"nobody can tell whether {host} is still at work on {some(open_)}; nothing was changed (see that the "
            f"machine is off and stays so, then 'underway drop {host} --off --reason WHY')"
        )


def _refuse_needed(plan: Plan, snapshot: Snapshot, host: str) -> None:
    once = [
        action_id(work.id, host)
        for work, member in plan.actions()
        if member == host and work.once and snapshot.state(action_id(work.id, host)) not in FINISHED
    ]
    if once:
        raise Refused(
            f"{host} is to do {some(once)} once for all hosts, and that is not finished; nothing was changed ("
            f"'underway replace {host}' has another machine do it; or do it by hand, waive it by 'underway skip "
            f"{host}', then say it again)"
        )
    served = sorted(set(_served(plan, snapshot, host)))
    if served:
        raise Refused(
            f"{host} does a part of the work of {plural(len(served), 'other host')} ({some(served)}), and that is not "
            f"finished; nothing was changed ('underway replace {host}' has another machine do it; or 'underway abort', "
            f"and plan without {host})"
        )


def _served(plan: Plan, snapshot: Snapshot, host: str) -> Iterator[str]:
    """Other hosts that wait for a leg which this host would execute."""
    for work, member in plan.actions():
        record = snapshot.actions.get(action_id(work.id, member))
        if member == host or (record is not None and record.state in FINISHED):
            continue
        if any(leg.on == host for leg in work.legs[record.leg if record is not None else 0 :]):
            yield member


def _held(plan: Plan, snapshot: Snapshot, host: str) -> Iterator[str]:
    """Of the units that the host counts in: those whose percentage comes to no host without it."""
    away = {*snapshot.dropped(), host}
    sizes: dict[str, int] = {}
    for name, other in plan.hosts.items():
        sizes[other.role] = sizes.get(other.role, 0) + (name not in away)
    role = plan.hosts[host].role
    units = [(role, plan.roles[role].percent, sizes[role])] if role in plan.roles else []
    units += [
        (group.name, group.percent, sum(sizes.get(one, 0) for one in group.roles))
        for group in plan.groups.values()
        if role in group.roles
    ]
    for name, percent, size in units:
        if percent and size and size * percent // 100 == 0:
            yield name
