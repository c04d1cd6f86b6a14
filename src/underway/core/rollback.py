"""The plan that brings hosts back to the old release. Pure.

A rollback is an ordinary run with its own plan (TRUST.md §2, 47): drained, undone by the services' ``rollback`` phases,
undrained, asked by the services' gates and soaked under the limits in force, in the reverse order. It is possible until
the point of no return; expanded schemas and prepared environments stay, as the old release runs with them.
"""

from __future__ import annotations

from collections.abc import Collection

from underway.core.estimates import timed
from underway.core.gatestep import gate_id
from underway.core.model.base import replace
from underway.core.model.plan import Edge, Leg, Pass, Plan, Stage, action_id, split_action
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import BUSY
from underway.core.words import some
from underway.errors import Refused


def rollback_plan(plan: Plan, snapshot: Snapshot, policy: Policy | None = None) -> Plan:
    """The plan that undoes what ``plan`` did so far, by the states in ``snapshot``; not sealed yet.

    ``policy`` is the one in force where it was changed during the run. Raises Refused after the point of no return,
    while a host is at work, for a lockstep, a role without a ``rollback`` phase, and where no host was changed.
    """
    if plan.mode == "rollback":
        raise Refused("the current run is a rollback itself; make a new plan to go forward")
    if plan.mode == "roll":
        raise Refused(f"what was rolled out ({plan.title}) cannot be rolled back: roll out what undoes it")
    if any(work.number is not None for work in plan.passes.values()):
        raise Refused("the upgrade goes in lockstep over all hosts: there is no way back host by host")
    if (action := past_no_return(plan, snapshot)) is not None:
        raise Refused(f"the point of no return is passed: {action} is {snapshot.state(action)}; go forward instead")
    if busy := at_work(snapshot):
        last = "" if snapshot.run.state == "aborted" else "'underway pause', then "
        follow = f"{last}'underway upgrade' follows them to their end; try again"
        raise Refused(f"{some(busy)} at work in run {snapshot.run.id}: {follow}")
    passes: dict[str, Pass] = {}
    stages: list[Stage] = []
    for stage in reversed(plan.stages):
        made = [undone for pass_id in reversed(stage.passes) if (undone := _undo(plan, plan.passes[pass_id], snapshot))]
        if not made:
            continue
        ids = tuple(work.id for work in made)
        for earlier, work in zip((None, *made), made, strict=False):
            edge = () if earlier is None else (_after(earlier, work),)
            passes[work.id] = replace(work, after=edge)
        stages.append(Stage(kind=stage.kind, passes=ids, why=f"stage {stage.kind} of the upgrade is undone"))
    if not passes:
        raise Refused(f"no host was taken to {plan.target} yet: there is nothing to roll back")
    # tasks ask how bits come to a host (``render.variables``), on the way back as on the way there
    inputs = {"rollback-of": plan.digest()} | {key: plan.inputs[key] for key in ("delivery",) if key in plan.inputs}
    return replace(
        plan, mode="rollback", stages=tuple(stages), passes=passes, losses=(), warnings=(), rollback={},
        policy=policy or plan.policy, inputs=inputs,
    )  # fmt: skip


def _after(earlier: Pass, later: Pass) -> Edge:
    return Edge(before=earlier.id, after=later.id, reason="a rollback goes in the reverse order of the upgrade")


def past_no_return(plan: Plan, snapshot: Snapshot) -> str | None:
    """The first action at or after the point of no return that was begun; None: the old release can still run.

    Passes whose steps only look (the proof that no old service is left, say) bar no way back, whatever they found.
    """
    passed = False
    for stage in plan.stages:
        passed |= stage.point_of_no_return
        if not passed:
            continue
        for pass_id in stage.passes:
            work = plan.passes[pass_id]
            if all(plan.steps[step].read_only for leg in work.legs for step in leg.steps):
                continue
            for host in work.hosts:
                if _was_begun(snapshot, action_id(pass_id, host)):
                    return action_id(pass_id, host)
    return None


def at_work(snapshot: Snapshot) -> tuple[str, ...]:
    """Hosts that a run still has at work, whatever became of the run; in the order of their names."""
    return tuple(sorted({split_action(name)[1] for name, record in snapshot.actions.items() if record.state in BUSY}))


def _was_begun(snapshot: Snapshot, action: str) -> bool:
    """Whether a host may have done some of an action; one that was waived before it began has not."""
    record = snapshot.actions.get(action)
    return record is not None and (record.attempt > 0 if record.state == "skipped" else record.state != "pending")


def _undo(plan: Plan, work: Pass, snapshot: Snapshot) -> Pass | None:
    """The pass that undoes ``work`` on the hosts that it had begun on and that were not dropped, or None."""
    if not work.upgrades:
        return None
    gone = snapshot.dropped()
    begun = (host for host in reversed(work.hosts) if _was_begun(snapshot, action_id(work.id, host)))
    hosts = tuple(host for host in begun if host not in gone)
    if not hosts:
        return None
    undo = tuple(step for step in plan.rollback.get(work.role, ()) if plan.steps[step].service in work.services)
    without = sorted(_services(plan, work, "upgrade") - {plan.steps[step].service for step in undo})
    if without:
        raise Refused(f"role {work.role} cannot be rolled back: no rollback phase in {some(without)}")
    gates = {gate_id(service) for service in work.services}
    asked = _only(work, {step for leg in work.legs for step in leg.steps} & gates)
    own = (Leg(steps=undo),) if undo else ()
    legs = _joined((*_phase(plan, work, "drain"), *own, *_phase(plan, work, "undrain"), *asked))
    undone = replace(work, hosts=hosts, legs=legs, after=(), canaries=0, why="undoes the upgrade of these hosts")
    p50, p90, basis = timed(undone, plan.steps, {})
    return replace(undone, p50=p50, p90=p90, basis=basis)


def _services(plan: Plan, work: Pass, phase: str) -> set[str]:
    found = (plan.steps[step] for leg in work.legs for step in leg.steps)
    return {step.service for step in found if step.phase == phase}


def _phase(plan: Plan, work: Pass, phase: str) -> tuple[Leg, ...]:
    """The legs of ``work`` with the steps of one phase only."""
    return _only(work, {step for leg in work.legs for step in leg.steps if plan.steps[step].phase == phase})


def _only(work: Pass, wanted: Collection[str]) -> tuple[Leg, ...]:
    """The legs of ``work`` with some of its steps only."""
    found = []
    for leg in work.legs:
        steps = tuple(step for step in leg.steps if step in wanted)
        if steps:
            found.append(Leg(steps=steps, on=leg.on))
    return tuple(found)


def _joined(legs: tuple[Leg, ...]) -> tuple[Leg, ...]:
    """Neighbouring legs on the same machine become one: each leg costs a connection and an Ansible process."""
    found: list[Leg] = []
    for leg in legs:
        if found and found[-1].on == leg.on:
            found[-1] = Leg(steps=(*found[-1].steps, *leg.steps), on=leg.on)
        else:
            found.append(leg)
    return tuple(found)
