"""What follows from an operator's word that a host's machine died for good and another stands in its place. Pure.

Assumptions
    1. The new machine is installed with the release that the run comes from, and has done nothing of the run.
    2. What is done once for all changes what the hosts share, not the machine that does it: finished, it stays done.
Invariants
    1. Nothing that may still be at work on the host, or through it, is given to another machine.
    2. What the host had begun is pending again, and void up to its token: the host is out of service until its rolling
       passes are done again (the row ``replaced`` of the rule table), and no late report of the old machine counts.
    3. Without a second word nothing that is shared and not idempotent is begun again (P3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from underway.core.model.plan import Pass, Plan, action_id, split_action
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import TROUBLED, ActionRecord, Machine
from underway.core.rollback import past_no_return
from underway.core.words import clock, some
from underway.errors import Refused


@dataclass(frozen=True, slots=True)
class Replacement:
    """``again``: actions that are pending again -> (record as seen, new record). ``stays``: finished once-only work.

    ``stranded``: other hosts in trouble whose next part is on this host: they wait for *retry*, as ever.
    """

    again: dict[str, tuple[ActionRecord, ActionRecord]]
    stays: tuple[str, ...]
    stranded: tuple[str, ...]


def replacement(plan: Plan, snapshot: Snapshot, host: str, rerun: bool) -> Replacement:
    """What is done again once ``host`` is another machine. ``rerun``: the operator says so of shared work, too.

    Raises Refused, with what to do instead, where the run is over or is a rollback, after the point of no return,
    while something may be at work there, and for shared work that was cut off and is not idempotent.
    """
    _refuse_by_run(plan, snapshot, host)
    refuse_at_work(plan, snapshot, host)
    again: dict[str, tuple[ActionRecord, ActionRecord]] = {}
    stays: list[str] = []
    for work, member in plan.actions():
        action = action_id(work.id, host)
        record = snapshot.actions.get(action)
        if member != host or record is None or record.state == "pending":
            continue
        if work.once and record.state in ("done", "skipped"):
            stays.append(action)
            continue
        if work.once and record.attempt and not rerun:
            _refuse_shared(plan, work, host)
        new = ActionRecord(state="pending", token=record.token, attempt=record.attempt, voided=record.token)
        again[action] = (record, new)
    return Replacement(again, tuple(stays), tuple(sorted(_stranded(plan, snapshot, host))))


def worked_since(plan: Plan, snapshot: Snapshot, machine: Machine) -> bool:
    """Whether anything was begun on a machine since it took its place: else the same word again changes nothing."""
    return any(
        record.token > machine.serial and machine.host in executors(plan, action)
        for action, record in snapshot.actions.items()
    )


def executors(plan: Plan, action: str) -> set[str]:
    """The machines that do an action: the host that it is about, and balancers."""
    return {leg.on or split_action(action)[1] for leg in plan.pass_of(action).legs}


def _refuse_by_run(plan: Plan, snapshot: Snapshot, host: str) -> None:
    run = snapshot.run
    if run.state in ("done", "aborted"):
        raise Refused(
            f"run {run.id} is {run.state}: nothing of it is done again (install the new machine with the release that "
            f"the others run, then 'underway enrol {host}')"
        )
    waive = f"then 'underway enrol {host}' and waive what is left: 'underway skip {host} --reason WHY'"
    if plan.mode == "rollback":
        raise Refused(
            f"this run is a rollback: a new machine has nothing to undo (install it with {plan.source}, {waive})"
        )
    if (begun := past_no_return(plan, snapshot)) is not None:
        raise Refused(
            f"the point of no return is passed: {begun} is {snapshot.state(begun)}, and a machine with {plan.source} "
            f"can no longer join (install the new one with {plan.target}, {waive})"
        )


def refuse_at_work(plan: Plan, snapshot: Snapshot, host: str) -> None:
    """Raise Refused while something is believed to be at work on the host, or through it."""
    for action, record in snapshot.actions.items():
        if record.state not in ("claimed", "running") or not _concerns(plan, action, host):
            continue
        since = clock(record.started or record.claimed)
        if split_action(action)[1] != host:
            raise Refused(
                f"{host} does a part of {action}, which is at work since {since} UTC; nothing was changed (wait until "
                f"that is finished or called unknown, then say it again)"
            )
        raise Refused(
            f"{host} is believed to be at work on {action} since {since} UTC; nothing was changed (if it is dead, wait "
            f"until that is called unknown, about two minutes after a coordinator lost it, 'underway upgrade' if none "
            f"runs; then say it again)"
        )


def _concerns(plan: Plan, action: str, host: str) -> bool:
    return split_action(action)[1] == host or host in executors(plan, action)


def _refuse_shared(plan: Plan, work: Pass, host: str) -> None:
    bare = [step for leg in work.legs for step in leg.steps if not plan.steps[step].idempotent]
    if bare:
        raise Refused(
            f"{work.id} is done once for all hosts, and {host} had begun it and not finished: on the new machine it "
            f"begins anew, and {some(bare)} may have happened already and {'is' if len(bare) == 1 else 'are'} not "
            f"idempotent. Look, then 'underway replace {host} --rerun' (begin it anew), or 'underway skip {host}' first"
        )


def _stranded(plan: Plan, snapshot: Snapshot, host: str) -> Iterator[str]:
    for action, record in snapshot.actions.items():
        target = split_action(action)[1]
        if target == host or record.state not in TROUBLED or record.retry:
            continue
        legs = plan.pass_of(action).legs
        if record.leg < len(legs) and legs[record.leg].on == host:
            yield target
