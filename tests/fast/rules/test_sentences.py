"""Each row by an example: the kind, and the sentence that an operator reads at three in the morning."""

from __future__ import annotations

from dataclasses import replace as copy_of
from typing import Any

import pytest

from fast.rules.fleets import RUN, make_pass, make_plan, names, one_role, seen
from underway.core.model.base import replace
from underway.core.model.decision import Decision, Reason
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.snapshot import Elsewhere, Snapshot
from underway.core.model.state import ActionRecord, Approval, Health, Hold
from underway.core.rules import RULES, decide

T0 = 1_790_000_000.0  # Mon 2026-09-21 14:13:20 UTC
RUNNING = ActionRecord(state="running", claimed=T0, started=T0, step="keystone.upgrade.turn-the-link")


def look(plan: Plan, snapshot: Snapshot, policy: Policy | None = None, now: float = T0 + 10) -> Decision:
    return decide(plan, snapshot, policy or plan.policy, now)


def why(host: str, plan: Plan, snapshot: Snapshot, policy: Policy | None = None, now: float = T0 + 10) -> Reason:
    return look(plan, snapshot, policy, now).reasons[host]


def two_roles(**more: Any) -> Plan:
    ctrl, cmp = names("ctrl", 2), names("cmp", 3)
    return make_plan([make_pass("control/ctrl", ctrl), make_pass("data/cmp", cmp)], {"ctrl": ctrl, "cmp": cmp}, **more)


def test_role_limit() -> None:
    reason = why("web2", one_role(3), seen({"data/web/web1": RUNNING}))
    assert reason.kind == "role-limit"
    assert reason.sentence == "waits for a slot: role web has 1 of 1 unavailable (web1 at work)"
    assert dict(reason.args) == {"used": "1", "limit": "1", "unit": "web"}


def test_what_another_run_has_is_not_taken_and_uses_the_limit() -> None:
    plan = one_role(3)
    busy = copy_of(seen(), elsewhere={"web1": Elsewhere("r2", "roll/web/web1", "running")})
    assert why("web1", plan, busy).sentence == (
        "at work on roll/web of run r2, which shares its slots with this run; waits until that is finished"
    )
    assert why("web2", plan, busy).sentence == (
        "waits for a slot: role web has 1 of 1 unavailable (web1 in another run)"
    )
    broken = copy_of(seen(), elsewhere={"web1": Elsewhere("r2", "roll/web/web1", "failed")})
    assert why("web1", plan, broken).sentence == (
        "failed in roll/web of run r2 (it keeps its slot; underway --run r2 retry web1, or skip)"
    )
    assert look(plan, broken).grants == ()


def test_the_same_reason_is_one_value() -> None:
    decision = look(one_role(50), seen({"data/web/web1": RUNNING}))
    assert len({id(reason) for reason in decision.reasons.values()}) == 2


def test_grants_of_this_decision_count() -> None:
    decision = look(one_role(3), seen())
    assert [grant.action for grant in decision.grants] == ["data/web/web1"]
    assert decision.grants[0].why == "next in order; role web 1 of 1 unavailable with it"
    assert decision.reasons["web2"].sentence == "waits for a slot: role web has 1 of 1 unavailable (web1 at work)"
    assert decision.slots == {"web": (1, 1)}


def test_hosts_down_for_other_reasons_use_the_limit() -> None:
    plan = one_role(6, limit=2)
    snapshot = seen({"data/web/web1": "done", "data/web/web2": ActionRecord(state="failed")}, sick=["web1"])
    reason = why("web3", plan, snapshot, Policy(failure_budget=5))
    assert reason.sentence == "waits for a slot: role web has 2 of 2 unavailable (web1 unhealthy, web2 failed)"


def test_many_are_counted_by_cause() -> None:
    plan = one_role(9, limit=4)
    actions = {f"data/web/web{n}": RUNNING for n in (1, 2, 3)} | {"data/web/web4": ActionRecord(state="failed")}
    reason = why("web5", plan, seen(actions), Policy(failure_budget=5))
    assert reason.sentence == "waits for a slot: role web has 4 of 4 unavailable (3 at work, 1 failed)"


def test_group_domain_and_total() -> None:
    plan = make_plan(
        [make_pass("data/a", ["a1"]), make_pass("data/b", ["b1"])],
        {"a": ["a1"], "b": ["b1"]},
        groups={"store": (["a", "b"], 1)},
        domains={"a1": "rack1", "b1": "rack1"},
    )
    busy = seen({"data/a/a1": RUNNING})
    assert why("b1", plan, busy).sentence == "waits for a slot: group store has 1 of 1 unavailable (a1 at work)"
    free = replace(plan, groups={})
    total = why("b1", free, busy, Policy(limit=Limit(count=1)))
    assert (total.kind, total.sentence) == (
        "total-limit", "waits for a slot: the whole cluster has 1 of 1 unavailable (a1 at work)",
    )  # fmt: skip
    domain = why("b1", free, busy, Policy(domain_limit=Limit(percent=50)))
    assert (domain.kind, domain.sentence) == (
        "domain-limit", "waits for a slot: domain rack1 has 1 of 1 unavailable (a1 at work)",
    )  # fmt: skip


def test_domains_at_once() -> None:
    hosts = names("web", 4)
    plan = make_plan(
        [make_pass("data/web", hosts)],
        {"web": hosts},
        limits={"web": 4},
        domains={"web1": "r1", "web2": "r2", "web3": "r1", "web4": "r2"},
        policy=Policy(domains_at_once=1),
    )
    decision = look(plan, seen())
    assert [grant.host for grant in decision.grants] == ["web1", "web3"]
    assert decision.reasons["web2"].sentence == ("waits for its failure domain: 1 of 1 at once have hosts down (r1)")


def test_zero_means_held() -> None:
    reason = why("web1", one_role(2, limit=0), seen())
    assert (reason.kind, reason.sentence) == ("limit-zero", "role web has a limit of 0: held, no host moves")
    changed = why("web1", one_role(2, limit=2), seen(), Policy(role_limits={"web": Limit(count=0)}))
    assert changed.kind == "limit-zero"
    rounded = why("web1", one_role(2, limit=2), seen(), Policy(role_limits={"web": Limit(percent=10)}))
    assert rounded.kind == "limit-zero"


def test_a_role_without_a_stated_limit_has_one() -> None:
    plan = replace(one_role(3), roles={})
    assert [grant.host for grant in look(plan, seen()).grants] == ["web1"]


def test_stage_barrier_counts_silent_and_held_hosts() -> None:
    plan = two_roles()
    reason = why("cmp1", plan, seen({"control/ctrl/ctrl1": "done"}, held=["ctrl2"]))
    assert (reason.kind, reason.sentence) == (
        "stage-waits", "waits for stage data: 1 action of stage control not finished",
    )  # fmt: skip


def test_a_control_host_that_fell_ill_again_stops_the_next_stage() -> None:
    plan = two_roles()
    done = {"control/ctrl/ctrl1": "done", "control/ctrl/ctrl2": "done"}
    reason = why("cmp1", plan, seen(done, sick=["ctrl2"]))
    assert (reason.kind, reason.sentence) == (
        "order",
        "waits for control/ctrl: ctrl2 fell ill after it (repair, or underway skip)",
    )


def test_a_retry_is_not_stopped_by_its_own_illness() -> None:
    """What failed in the second stage made the host sick: that must not stop the retry that repairs it."""
    plan = make_plan(
        [make_pass("control/ctrl", ["c1"]), make_pass("data/ctrl", ["c1"])], {"ctrl": ["c1"]}
    )  # fmt: skip
    again = ActionRecord(state="failed", retry=True)
    decision = look(plan, seen({"control/ctrl/c1": "done", "data/ctrl/c1": again}, sick=["c1"]))
    assert [grant.action for grant in decision.grants] == ["data/ctrl/c1"]


def test_a_lost_host_that_was_waived_does_not_stop_the_rest() -> None:
    ctrl, cmp = names("ctrl", 2), names("cmp", 1)
    plan = make_plan(
        [make_pass("control/ctrl", ctrl), make_pass("data/cmp", cmp), make_pass("verify/ctrl", ctrl)],
        {"ctrl": ctrl, "cmp": cmp},
    )
    done = {"control/ctrl/ctrl1": "done", "control/ctrl/ctrl2": "done"}
    assert not look(plan, seen(done, sick=["ctrl2"])).grants
    assert look(plan, seen({**done, "verify/ctrl/ctrl2": "skipped"}, sick=["ctrl2"])).grants


def test_order_names_what_is_missing_and_why() -> None:
    plan = make_plan(
        [make_pass("data/db", ["db1", "db2"]), make_pass("data/web", ["web1"], after=["data/db"])],
        {"db": ["db1", "db2"], "web": ["web1"]},
    )
    reason = why("web1", plan, seen({"data/db/db1": "done"}))
    assert reason.sentence == "waits for data/db: 1 of 2 hosts not done (data/web needs it)"
    both = {"data/db/db1": "done", "data/db/db2": "done"}
    assert why("web1", plan, seen(both, sick=["db2"])).sentence == (
        "waits for data/db: db2 fell ill after it (repair, or underway skip) (data/web needs it)"
    )
    waived = {"data/db/db1": "done", "data/db/db2": "skipped"}
    assert [grant.host for grant in look(plan, seen(waived, sick=["db2"])).grants] == ["web1"]


def test_order_after_what_the_plan_does_not_have() -> None:
    plan = make_plan([make_pass("data/web", ["web1"], after=["data/dbb"])], {"web": ["web1"]})
    assert why("web1", plan, seen()).sentence == (
        "ordered after data/dbb, which the plan does not have: make a new plan"
    )


def test_canaries_first() -> None:
    plan = one_role(5, limit=5, canaries=2)
    decision = look(plan, seen({"data/web/web1": "done"}))
    assert [grant.host for grant in decision.grants] == ["web2"]
    assert decision.reasons["web3"].sentence == "waits for the canaries of data/web: web2 not done and healthy"
    done = {"data/web/web1": "done", "data/web/web2": "done"}
    assert why("web3", plan, seen(done, sick=["web1"])).kind == "canary-first"


def test_at_work_soaking_stuck() -> None:
    plan = one_role(1)
    assert why("web1", plan, seen({"data/web/web1": RUNNING})).sentence == (
        "at work on data/web, step keystone.upgrade.turn-the-link since 14:13:20 UTC"
    )
    claimed = ActionRecord(state="claimed", claimed=T0)
    assert why("web1", plan, seen({"data/web/web1": claimed})).sentence == (
        "granted data/web at 14:13:20 UTC; the host has not taken it yet"
    )
    soaking = ActionRecord(state="soaking", finished=T0)
    sick = {"web1": Health(healthy=False, since=T0, checked=T0 + 1, detail="status 503")}
    assert why("web1", plan, seen({"data/web/web1": soaking}, health=sick)).sentence == (
        "finished the work of data/web at 14:13:20 UTC; not healthy yet: status 503"
    )
    stuck = why("web1", plan, seen({"data/web/web1": replace(RUNNING, stuck=True)}))
    assert stuck.kind == "stuck"
    assert "beyond its deadline" in stuck.sentence


def test_failed_and_unknown_say_what_to_do() -> None:
    failed = ActionRecord(state="failed", step="keystone.upgrade.turn", reason="rc 1\x1b[31m\nmore")
    reason = why("web1", one_role(2), seen({"data/web/web1": failed}))
    assert reason.sentence == (
        "failed in data/web, step keystone.upgrade.turn: rc 1 more (it keeps its slot; underway retry web1, or skip)"
    )
    unknown = why("web1", one_role(2), seen({"data/web/web1": ActionRecord(state="unknown")}))
    assert unknown.sentence.startswith("nobody can tell what happened in data/web")


def test_halted_by_failures() -> None:
    decision = look(one_role(3, limit=3), seen({"data/web/web1": "failed"}))
    assert decision.grants == ()
    assert decision.halt is not None
    assert decision.halt.sentence == (
        "halted: 1 host in trouble (web1 failed), the failure budget is 1 (underway retry, or skip)"
    )
    assert decision.reasons["web2"] == decision.halt
    assert look(one_role(3, limit=3), seen({"data/web/web1": "failed"}), Policy(failure_budget=0)).halt is not None
    assert look(one_role(3, limit=3), seen({"data/web/web1": "failed"}), Policy(failure_budget=2)).halt is None


def test_halted_by_outage() -> None:
    policy = Policy(outage_budget={"keystone": 5.0})
    decision = look(one_role(3), seen(outage={"keystone": 6.0}), policy)
    assert decision.halt is not None
    assert decision.halt.sentence == "halted: keystone was down for 6.0 s of 5.0 s allowed (raise the budget to go on)"
    assert look(one_role(3), seen(outage={"keystone": 5.0}), policy).halt is None


def test_a_retry_goes_first_in_its_own_slot() -> None:
    plan = one_role(3)
    waiting = ActionRecord(state="failed", retry=True, attempt=1)
    decision = look(plan, seen({"data/web/web1": "done", "data/web/web3": waiting}, sick=["web3"]))
    assert [grant.action for grant in decision.grants] == ["data/web/web3"]
    assert decision.grants[0].why.startswith("tried again")


def test_a_retry_does_not_go_over_an_exceeded_limit() -> None:
    again = ActionRecord(state="failed", retry=True)
    decision = look(one_role(3), seen({"data/web/web1": again, "data/web/web2": again}), Policy(failure_budget=9))
    assert decision.grants == ()
    assert decision.reasons["web1"].sentence == (
        "role web has 2 of 1 unavailable (web1 failed, web2 failed), this one among them: more than its limit are out, "
        "and none comes back without your word (underway limit web 2, or skip one)"
    )


def test_a_replaced_host_is_out_until_its_pass_is_done_on_the_new_machine() -> None:
    """It goes first, in its own slot; one that was never taken out of service is as any host before its turn."""
    renewed = ActionRecord(state="pending", token=3, attempt=1, voided=3)
    records: dict[str, ActionRecord | str] = {"data/web/web1": "done", "data/web/web3": renewed}
    decision = look(one_role(4), seen(records))
    assert [grant.action for grant in decision.grants] == ["data/web/web3"]
    assert decision.grants[0].why == "on its new machine; role web 1 of 1 unavailable with it"
    assert decision.reasons["web2"].sentence == "waits for a slot: role web has 1 of 1 unavailable (web3 at work)"
    held = look(one_role(4), seen(records, held=["web3"]))
    assert held.grants == ()
    assert held.reasons["web2"].sentence == "waits for a slot: role web has 1 of 1 unavailable (web3 replaced)"
    untouched = ActionRecord(state="pending")
    assert len(look(one_role(4), seen({"data/web/web3": untouched})).grants) == 1


def test_unhealthy_before_its_turn() -> None:
    reason = why("web1", one_role(2, limit=2), seen(sick=["web1"]))
    assert reason.kind == "host-unhealthy"
    assert "repair it, or underway skip web1" in reason.sentence


def test_a_rollback_starts_a_host_that_is_ill() -> None:
    """What is undone may be why it is ill. It uses a slot already, so the others wait."""
    plan = replace(one_role(2, limit=1), mode="rollback")
    assert [grant.host for grant in look(plan, seen(sick=["web2"])).grants] == ["web2"]
    assert why("web1", plan, seen(sick=["web2"])).kind == "role-limit"


def test_holds_pause_abort_and_the_end() -> None:
    plan = one_role(2)
    assert why("web1", plan, seen(held=["web1"])).sentence == "held by ana: disk (underway release web1)"
    assert [grant.host for grant in look(plan, seen(held=["web1"])).grants] == ["web2"]
    everyone = seen(holds={"*": Hold(host="*", reason="", by="ana", at=1)})
    assert why("web2", plan, everyone).sentence == "all hosts are held by ana (underway release '*')"
    paused = replace(RUN, state="paused", by="ana", reason="lunch")
    assert why("web1", plan, seen(run=paused)).sentence == "the run is paused by ana: lunch (underway resume)"
    assert why("web1", plan, seen(run=replace(RUN, state="aborted"))).kind == "aborted"
    assert why("web1", plan, seen(run=replace(RUN, state="done"))).kind == "run-done"
    ended = look(plan, seen({"data/web/web1": "done", "data/web/web2": "skipped"}))
    assert ended.finished
    assert (ended.stage, ended.reasons["web1"].kind, ended.reasons["web2"].kind) == ("", "done", "skipped")


def test_those_at_work_finish_while_the_run_is_paused() -> None:
    soaking = ActionRecord(state="soaking", finished=T0)
    decision = look(one_role(2), seen({"data/web/web1": soaking}, run=replace(RUN, state="paused")))
    assert [(verdict.action, verdict.kind) for verdict in decision.verdicts] == [("data/web/web1", "done")]


def test_approval() -> None:
    plan = one_role(2, approvals=("data",))
    assert why("web1", plan, seen()).sentence == "stage data, waits for an approval (underway approve data)"
    assert look(plan, seen(approvals={"data": Approval(stage="data", by="ana", at=1)})).grants


NIGHT = Window(days=(0,), start=22 * 60, end=4 * 60, zone="UTC", text="Mon 22:00-04:00")


def test_window_closed_and_too_short() -> None:
    plan = one_role(2, p90=1800.0, policy=Policy(windows=(NIGHT,)))
    closed = look(plan, seen())
    assert closed.reasons["web1"].kind == "window-closed"
    assert closed.reasons["web1"].sentence.endswith("the next opens 2026-09-21 22:00:00 UTC")
    opens = closed.reasons["web1"].until
    assert closed.wake == opens
    assert look(plan, seen(), now=opens).grants
    ends = opens + 6 * 3600
    assert look(plan, seen(), now=ends - 1801).grants
    late = look(plan, seen(), now=ends - 1799)
    assert late.reasons["web1"].kind == "window-too-short"
    assert late.wake == ends


def test_a_pass_that_fits_no_window_is_told_so() -> None:
    plan = one_role(1, p90=8 * 3600.0, policy=Policy(windows=(NIGHT,)))
    assert why("web1", plan, seen()).sentence == (
        "its p90 of 8 h fits in no maintenance window: the longest is 6 h (widen the windows)"
    )


def test_windows_do_not_bind_what_takes_nothing_out() -> None:
    plan = make_plan([make_pass("prepare/web", ["web1"])], {"web": ["web1"]}, policy=Policy(windows=(NIGHT,)))
    assert look(plan, seen()).grants


def test_prepare_has_a_limit_of_its_own() -> None:
    hosts = names("web", 4)
    plan = make_plan([make_pass("prepare/web", hosts)], {"web": hosts}, policy=Policy(prepare_limit=Limit(count=2)))
    decision = look(plan, seen(sick=["web1"]))
    assert [grant.host for grant in decision.grants] == ["web1", "web2"]
    assert decision.reasons["web3"].sentence == "waits for its turn: 2 of 2 at work at once in stage prepare"
    assert decision.slots == {"prepare": (2, 2)}


def test_a_balancer_does_one_thing_at_a_time() -> None:
    plan = make_plan(
        [make_pass("data/lb", ["lb1"]), make_pass("data/web", ["web1"], on=["lb1"])], {"lb": ["lb1"], "web": ["web1"]}
    )
    away = why("web1", plan, seen({"data/lb/lb1": RUNNING}))
    assert away.sentence == "waits for lb1, which does a part of it and is at work on data/lb"
    busy = why("lb1", plan, seen({"data/web/web1": RUNNING}))
    assert busy.sentence == "executes a part of 1 action of other hosts; waits until they are finished"
    assert [grant.host for grant in look(plan, seen()).grants] == ["lb1"]


def test_gate_waits_for_a_fresh_answer() -> None:
    plan = one_role(1, probed=True, policy=Policy(soak=30.0, health_timeout=100.0))
    soaking = {"data/web/web1": ActionRecord(state="soaking", finished=T0)}
    stale = seen(soaking, health={"web1": Health(healthy=True, since=T0 - 99, checked=T0)})
    assert look(plan, stale, now=T0 + 50).verdicts == ()
    assert [verdict.kind for verdict in look(plan, stale, now=T0 + 100).verdicts] == ["failed"]
    fresh = seen(soaking, health={"web1": Health(healthy=True, since=T0 + 10, checked=T0 + 10)})
    assert look(plan, fresh, now=T0 + 39).verdicts == ()
    assert look(plan, fresh, now=T0 + 39).wake == T0 + 40
    assert [verdict.kind for verdict in look(plan, fresh, now=T0 + 40).verdicts] == ["done"]


def test_a_verdict_frees_the_slot_with_the_next_look() -> None:
    decision = look(one_role(2), seen({"data/web/web1": ActionRecord(state="soaking", finished=T0)}))
    assert [verdict.kind for verdict in decision.verdicts] == ["done"]
    assert decision.grants == ()


def test_stuck_is_told_once_and_keeps_the_slot() -> None:
    plan = one_role(2, policy=Policy(deadline=60.0))
    late = look(plan, seen({"data/web/web1": RUNNING}), now=T0 + 60)
    assert [verdict.kind for verdict in late.verdicts] == ["stuck"]
    told = look(plan, seen({"data/web/web1": replace(RUNNING, stuck=True)}), now=T0 + 1e6)
    assert told.verdicts == ()
    assert told.reasons["web2"].kind == "role-limit"


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: replace(plan, passes={}),
        lambda plan: replace(plan, hosts={}),
        lambda plan: replace(plan, roles={}, groups={}),
        lambda plan: replace(plan, stages=()),
        lambda plan: replace(plan, stages=(*plan.stages, *plan.stages)),
        lambda plan: replace(plan, policy=Policy(windows=(Window(days=(0,), start=0, end=0, zone="no/zone"),))),
    ],
)
def test_it_cannot_fail_only_hold(damage: Any) -> None:
    """A damaged plan gives a decision; it never starts what it does not know."""
    plan: Plan = damage(one_role(3))
    snapshot = seen(
        {"data/web/web1": "running", "no/such/pass": "failed", "noslash": "done"}, sick=["ghost"], held=["x"]
    )
    decision = look(plan, snapshot)
    assert {grant.host for grant in decision.grants} <= set(plan.hosts)
    assert set(decision.reasons) | {grant.host for grant in decision.grants} == set(plan.hosts)


def test_the_table_reads_as_a_table() -> None:
    assert RULES.names()[:6] == ("dropped", "unknown", "failed", "stuck", "soaking", "at-work")
    assert "role-limit" in RULES.names()
