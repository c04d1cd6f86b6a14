"""Who may start in a lockstep: whole roles, batches by the limit, hosts whose services are stopped on purpose."""

from __future__ import annotations

import pytest

from fast.rules.fleets import RUN
from support.numbered_plan import numbered_plan
from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health
from underway.core.rollback import rollback_plan
from underway.core.rules import Decider
from underway.errors import Refused

NOW = 1000.0


def grants(plan: Plan, states: dict[str, str], ill: tuple[str, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """Granted actions, and the sentence of each host that has none."""
    actions = {name: ActionRecord(state=state, claimed=1.0, ended=2.0) for name, state in states.items()}  # type: ignore[arg-type]
    health = {host: Health(healthy=False, since=3.0, checked=NOW, detail="stopped") for host in ill}
    snapshot = Snapshot(revision=1, run=RUN, actions=actions, health=health)
    decision = Decider(plan, plan.policy).decide(snapshot, NOW)
    return [grant.action for grant in decision.grants], {
        host: reason.sentence for host, reason in decision.reasons.items()
    }


def done(plan: Plan, *numbers: int) -> dict[str, str]:
    return {f"{work.id}/{host}": "done" for work, host in plan.actions() if work.number in numbers}


def test_batches_keep_to_the_limit_and_other_numbers_take_all() -> None:
    plan = numbered_plan("/x")
    assert grants(plan, {})[0] == ["control/front.step0/w1"]
    assert grants(plan, done(plan, 0))[0] == ["control/front.step10/w1", "control/front.step10/w2"]
    held = replace(plan, roles={**plan.roles, "front": replace(plan.roles["front"], limit=0)})
    assert grants(held, done(plan, 0))[0] == [], "a limit of 0 holds a whole role, too"


def test_a_host_that_was_stopped_on_purpose_goes_on() -> None:
    plan = numbered_plan("/x")
    states = done(plan, 0, 10, 11)
    found, said = grants(plan, states, ill=("w1", "w2"))
    assert found == ["control/back.step12/d1"]
    assert "control/back.step12" in said["w1"]
    states |= {"control/back.step12/d1": "done"}
    assert grants(plan, states, ill=("w1", "w2"))[0] == ["control/front.step12/w1", "control/front.step12/w2"]


def test_a_host_that_is_ill_before_the_first_number_does_not() -> None:
    found, said = grants(numbered_plan("/x"), {}, ill=("w1",))
    assert found == []
    assert "not started: unhealthy" in said["w1"]


def test_the_next_number_waits_for_all_and_says_so() -> None:
    plan = numbered_plan("/x")
    states = done(plan, 0) | {"control/front.step10/w1": "done", "control/front.step10/w2": "running"}
    found, said = grants(plan, states)
    assert found == []
    assert said["d1"] == "waits for stage control 11: 1 action of stage control 10 not finished"


def test_there_is_no_way_back() -> None:
    plan = numbered_plan("/x")
    with pytest.raises(Refused, match="goes in lockstep over all hosts: there is no way back host by host"):
        rollback_plan(plan, Snapshot(revision=1, run=RUN))
