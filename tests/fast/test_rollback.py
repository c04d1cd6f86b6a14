"""The plan of a rollback: who goes back, by which steps, in which order, and when it is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace as copy_of

import pytest

from fast.planner.made import catalogue, cluster, phase, plan, service, whole
from underway.core.model.base import replace
from underway.core.model.plan import Leg, Plan, action_id
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Service
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import TROUBLED, ActionRecord, ActionState, Health, Machine, RunRecord
from underway.core.outlook import outlook
from underway.core.preview import tree
from underway.core.rollback import at_work, past_no_return, rollback_plan
from underway.core.rules import decide
from underway.errors import Refused
from underway.render.seal import seal

RUN = RunRecord(id="r1", cluster="prod", plan="0" * 64, source="2025.2", target="2026.1")
ROLES = {"lb": (["haproxy"], ["lb1"]), "api": (["keystone", "nova"], ["a1", "a2", "a3"])}


def balanced(name: str, needs: tuple[str, ...] = ()) -> Service:
    """A service that is drained at the balancer, undone by one step, and asked by a gate."""
    found = whole(name, needs, balancer="haproxy")
    late = ("expand", "finalize", "contract", "migrate")
    return replace(found, phases={k: v for k, v in found.phases.items() if k not in late}, gate={"ping": {}})


def made(keystone: Service | None = None, policy: Policy | None = None) -> Plan:
    haproxy = service(
        "haproxy",
        phases={"upgrade": phase("haproxy", "upgrade", "swap"), "rollback": phase("haproxy", "rollback", "back")},
    )
    has = catalogue(haproxy, keystone or balanced("keystone", ("haproxy",)), balanced("nova", ("keystone",)))
    return plan(cluster(ROLES, policy=policy or Policy()), has)


def seen(states: Mapping[str, ActionState | ActionRecord], run: RunRecord = RUN) -> Snapshot:
    records = {
        action: state if isinstance(state, ActionRecord) else ActionRecord(state=state, attempt=1)
        for action, state in states.items()
    }
    return Snapshot(revision=1, run=run, actions=records)


def half(**last: ActionState | ActionRecord) -> Snapshot:
    """Balancer and a1 are done; others as given."""
    return seen(
        {"control/lb/lb1": "done", "control/api/a1": "done", **{f"control/api/{k}": v for k, v in last.items()}}
    )


def test_a_host_is_drained_undone_put_back_and_asked() -> None:
    back = rollback_plan(made(), half(a2="failed"))
    drain = ("nova.drain.drain", "keystone.drain.drain")
    undrain = ("keystone.undrain.undrain", "nova.undrain.undrain")
    undo = ("nova.rollback.turn-back", "keystone.rollback.turn-back")
    assert back.passes["control/api"].legs == (
        Leg(steps=drain, on="lb1"),
        Leg(steps=undo),
        Leg(steps=undrain, on="lb1"),
        Leg(steps=("keystone.verify.gate", "nova.verify.gate")),
    )
    upgraded = made().passes["control/api"]
    assert {step for leg in upgraded.legs for step in leg.steps} > set(drain) | set(undrain), "as the upgrade does it"


def test_a_host_that_was_dropped_is_not_brought_back() -> None:
    gone = Machine(host="a2", number=1, by="ana", at=1.0, reason="sold", run="r1", serial=0, gone=True)
    found = copy_of(half(a2="skipped"), machines={"a2": gone})
    assert rollback_plan(made(), found).passes["control/api"].hosts == ("a1",)


def test_steps_of_neighbouring_phases_on_one_machine_are_one_leg() -> None:
    back = rollback_plan(made(), half())
    assert back.passes["control/lb"].legs == (Leg(steps=("haproxy.rollback.back",)),)
    alone = plan(cluster({"api": (["keystone"], ["a1"])}), catalogue(whole("keystone")))
    legs = rollback_plan(alone, seen({"control/api/a1": "failed"})).passes["control/api"].legs
    assert legs == (Leg(steps=("keystone.drain.drain", "keystone.rollback.turn-back", "keystone.undrain.undrain")),)


def test_the_order_is_reversed() -> None:
    upgrade = made()
    order = [name for stage in upgrade.stages for name in stage.passes if upgrade.passes[name].rolling]
    assert order == ["control/lb", "control/api"]
    back = rollback_plan(upgrade, half(a2="done", a3="failed"))
    assert [stage.passes for stage in back.stages] == [("control/api", "control/lb")]
    assert back.passes["control/api"].hosts == ("a3", "a2", "a1")
    assert [edge.before for edge in back.passes["control/lb"].after] == ["control/api"]
    assert back.passes["control/api"].after == ()


@pytest.mark.parametrize(
    ("state", "goes_back"),
    [
        ("done", True),
        ("failed", True),
        ("unknown", True),
        (ActionRecord(state="failed", attempt=1, leg=0, step="keystone.drain.drain"), True),
        (ActionRecord(state="skipped", attempt=1), True),
        (ActionRecord(state="skipped"), False),
        (ActionRecord(state="pending", attempt=1), False),
    ],
)
def test_who_goes_back(state: ActionState | ActionRecord, goes_back: bool) -> None:
    """Whoever may have been changed, and be it only drained; not who never began (waived, or revoked)."""
    back = rollback_plan(made(), half(a2=state))
    assert ("a2" in back.passes["control/api"].hosts) is goes_back
    assert "a3" not in back.passes["control/api"].hosts


def test_it_is_a_plan_of_its_own_like_any_other() -> None:
    upgrade = made(policy=Policy(soak=30.0, approvals=("control",)))
    slower = replace(upgrade.policy, limit=Limit(count=1))
    back = rollback_plan(upgrade, half(a2="failed"), slower)
    assert (back.mode, back.source, back.target) == ("rollback", "2025.2", "2026.1")
    assert back.policy == slower, "limits that were lowered during the run stay so"
    assert back.inputs == {"rollback-of": upgrade.digest(), "delivery": upgrade.inputs["delivery"]}
    assert not any(stage.approval or stage.point_of_no_return for stage in back.stages)
    assert all(work.rolling for work in back.passes.values())
    assert "past runs" not in back.passes["control/api"].basis
    assert "prod: rollback to 2025.2" in tree(back)[0]
    sealed = seal(back)
    assert all(leg.digest for work in sealed.passes.values() for leg in work.legs)
    assert rollback_plan(upgrade, half(a2="failed"), slower) == back


def test_the_host_that_the_upgrade_broke_is_the_first_to_start() -> None:
    """It is ill because of what is undone; in an upgrade that would stop it."""
    back = rollback_plan(made(), half(a2="failed"))
    ill = copy_of(seen({}), health={"a2": Health(healthy=False, since=900.0, checked=999.0)})
    decision = decide(back, ill, back.policy, 1000.0)
    assert [grant.action for grant in decision.grants] == ["control/api/a2"]
    assert decide(replace(back, mode="upgrade"), ill, back.policy, 1000.0).grants == ()


def test_a_rollback_that_fails_halts_and_offers_no_rollback() -> None:
    back = rollback_plan(made(), half(a2="failed"))
    found = seen({"control/api/a2": "failed"}, replace(RUN, mode="rollback"))
    decision = decide(back, found, back.policy, 1000.0)
    assert decision.halt is not None
    said = [command.line for command in outlook(back, found, decision, None, 1000.0).commands]
    assert any(line.startswith("underway retry a2") for line in said)
    assert not any("rollback" in line for line in said)
    with pytest.raises(Refused, match="is a rollback itself"):
        rollback_plan(back, found)


# -- refusals


def with_contract() -> Plan:
    contracted = balanced("keystone", ("haproxy",))
    phases = {**contracted.phases, "contract": phase("keystone", "contract", "drop", once=True)}
    return made(replace(contracted, phases=phases))


def test_after_the_point_of_no_return_it_is_refused() -> None:
    upgrade = with_contract()
    done: dict[str, ActionState | ActionRecord] = {
        action_id(work.id, host): "done" for work, host in upgrade.actions() if work.rolling
    }
    assert rollback_plan(upgrade, seen(done)).passes
    for state in ("running", "done", "failed", "unknown"):
        with pytest.raises(Refused, match=rf"no return is passed: contract/keystone/a1 is {state}; go forward"):
            rollback_plan(upgrade, seen({**done, "contract/keystone/a1": ActionRecord(state=state)}))
    waived = {**done, "contract/keystone/a1": ActionRecord(state="skipped")}
    assert past_no_return(upgrade, seen(waived)) is None, "waived before it began: nothing was contracted"
    tried = {**done, "contract/keystone/a1": ActionRecord(state="skipped", attempt=1)}
    assert past_no_return(upgrade, seen(tried)) == "contract/keystone/a1"


def test_a_proof_at_the_point_of_no_return_bars_no_way_back() -> None:
    """C9, C20: where it fails nothing irreversible has happened; what comes after it is another matter."""
    upgrade = with_contract()
    done: dict[str, ActionState | ActionRecord] = {
        action_id(work.id, host): "done" for work, host in upgrade.actions() if work.rolling
    }
    [drop] = [step.id for step in upgrade.steps.values() if step.phase == "contract"]
    looks = replace(upgrade, steps={**upgrade.steps, drop: replace(upgrade.steps[drop], read_only=True)})
    for state in ("running", "done", "failed", "unknown"):
        found = seen({**done, "contract/keystone/a1": ActionRecord(state=state)})
        assert past_no_return(looks, found) is None
        assert past_no_return(upgrade, found) == "contract/keystone/a1"


@pytest.mark.parametrize("state", ["claimed", "running", "soaking"])
def test_while_hosts_are_at_work_it_is_refused(state: ActionState) -> None:
    found = half(a2=state)
    assert at_work(found) == ("a2",)
    with pytest.raises(Refused, match=r"a2 at work in run r1: 'underway pause', then 'underway upgrade' follows"):
        rollback_plan(made(), found)
    aborted = copy_of(found, run=replace(RUN, state="aborted"))
    with pytest.raises(Refused, match="a2 at work in run r1: 'underway upgrade' follows"):
        rollback_plan(made(), aborted)


def test_a_service_without_a_way_back_is_named() -> None:
    stuck = balanced("keystone")
    upgrade = made(replace(stuck, phases={k: v for k, v in stuck.phases.items() if k != "rollback"}))
    with pytest.raises(Refused, match=r"role api cannot be rolled back: no rollback phase in keystone$"):
        rollback_plan(upgrade, half())
    assert rollback_plan(upgrade, seen({"control/lb/lb1": "done"})).passes, "where it was not touched it is not missed"


def test_a_service_that_only_looks_needs_no_way_back() -> None:
    looks = replace(balanced("keystone"), phases={"verify": phase("keystone", "verify", "ask")})
    back = rollback_plan(made(looks), half())
    assert back.passes["control/api"].legs[1] == Leg(steps=("nova.rollback.turn-back",))


def test_where_nothing_was_changed_it_is_refused() -> None:
    upgrade = made()
    early: dict[str, ActionState | ActionRecord] = {
        action_id(work.id, host): "done" for work, host in upgrade.actions() if not work.rolling
    }
    assert early, "hosts were prepared"
    cases: list[Mapping[str, ActionState | ActionRecord]] = [{}, {**early}]
    cases.append({"control/lb/lb1": ActionRecord(state="skipped")})
    for states in cases:
        with pytest.raises(Refused, match=re.escape("no host was taken to 2026.1 yet: there is nothing to roll back")):
            rollback_plan(upgrade, seen(states))


def test_trouble_counts_as_changed() -> None:
    for state in sorted(TROUBLED):
        assert rollback_plan(made(), seen({"control/lb/lb1": state})).passes["control/lb"].hosts == ("lb1",)
