"""The plan that brings hosts back to the old release. Pure.

A rollback is an ordinary run with its own plan (TRUST.md §2, 47): drained, undone by the services' ``rollback`` phases,
undrained and soaked under the same limits, in the reverse order. It is possible until the point of no return; expanded
schemas and prepared environments stay, as the old release runs with them.
"""

from __future__ import annotations

from underway.core.model.base import replace
from underway.core.model.plan import Edge, Leg, Pass, Plan, Stage, action_id
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import BUSY
from underway.errors import Refused


def rollback_plan(plan: Plan, snapshot: Snapshot) -> Plan:
    """The plan that undoes what ``plan`` did so far, by the states in ``snapshot``; not sealed yet.

    Raises Refused after the point of no return, while a host is at work, for a role without a ``rollback`` phase, and
    where no host was changed.
    """
    if plan.mode == "rollback":
        raise Refused("the current run is a rollback itself; make a new plan to go forward")
    _before_the_point_of_no_return(plan, snapshot)
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
    return replace(
        plan, mode="rollback", stages=tuple(stages), passes=passes, losses=(), warnings=(), rollback={},
        inputs={"rollback-of": plan.digest()},
    )  # fmt: skip


def _after(earlier: Pass, later: Pass) -> Edge:
    return Edge(before=earlier.id, after=later.id, reason="a rollback goes in the reverse order of the upgrade")


def _before_the_point_of_no_return(plan: Plan, snapshot: Snapshot) -> None:
    passed = False
    for stage in plan.stages:
        passed |= stage.point_of_no_return
        for pass_id in stage.passes:
            for host in plan.passes[pass_id].hosts:
                state = snapshot.state(action_id(pass_id, host))
                if passed and state != "pending":
                    raise Refused(
                        f"the point of no return is passed: {action_id(pass_id, host)} is {state}; go forward instead"
                    )
                if state in BUSY:
                    raise Refused(
                        f"{host} is at work ({pass_id}): 'underway pause', wait until it has finished, try again"
                    )


def _undo(plan: Plan, work: Pass, snapshot: Snapshot) -> Pass | None:
    """The pass that undoes ``work`` on the hosts that it had begun on, or None."""
    if not work.rolling:
        return None
    hosts = tuple(
        host for host in reversed(work.hosts) if snapshot.state(action_id(work.id, host)) not in ("pending", "skipped")
    )
    if not hosts:
        return None
    undo = tuple(step for step in plan.rollback.get(work.role, ()) if plan.steps[step].service in work.services)
    without = sorted(set(work.services) - {plan.steps[step].service for step in undo})
    if without:
        raise Refused(f"role {work.role} cannot be rolled back: {', '.join(without)} has no rollback phase")
    legs = (*_phase(plan, work, "drain"), Leg(steps=undo), *_phase(plan, work, "undrain"))
    return replace(work, hosts=hosts, legs=_joined(legs), after=(), canaries=0, why="undoes the upgrade of these hosts")


def _phase(plan: Plan, work: Pass, phase: str) -> tuple[Leg, ...]:
    """The legs of ``work`` with the steps of one phase only."""
    found = []
    for leg in work.legs:
        steps = tuple(step for step in leg.steps if plan.steps[step].phase == phase)
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
