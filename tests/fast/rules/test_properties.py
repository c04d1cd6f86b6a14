"""Properties of the decision over seeded histories and over any records at all, judged by ``oracle``."""

from __future__ import annotations

import os
from dataclasses import replace as copy_of
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast.rules.fleets import RUN, one_role
from fast.rules.oracle import BUSY, TROUBLE, Judge
from fast.rules.world import START, World, violations
from underway.core.model.base import replace
from underway.core.model.decision import Decision
from underway.core.model.policy import Limit, Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Approval, Health, Hold
from underway.core.rules import Changes, Decider, decide

SCHEDULES = int(os.environ.get("UNDERWAY_SCHEDULES", "150"))
"""Schedules of 60 steps in the fast tier; a nightly run asks for more."""

NEEDS_SOMEBODY = {
    "failed", "unknown", "stuck", "held", "host-unhealthy", "limit-zero", "over-limit", "approval-wanted", "paused",
    "aborted", "run-done", "halted-failures", "halted-outage", "other-run", "dropped",
}  # fmt: skip


def test_no_schedule_breaks_a_promise() -> None:
    for seed in range(10_000, 10_000 + SCHEDULES):
        assert not violations(seed, decide)


def test_no_schedule_of_a_rollback_breaks_a_promise() -> None:
    for seed in range(50_000, 50_000 + SCHEDULES // 5):
        assert not violations(seed, decide, mode="rollback")


def test_the_schedules_are_worth_something() -> None:
    """Grants, halts, gates and finished runs occur: a world in which nothing happens would prove nothing."""
    kinds: dict[str, int] = {}
    grants = verdicts = finished = replaced = dropped = 0
    for seed in range(40):
        world = World(seed)
        for _ in range(60):
            decision = decide(world.plan, world.snapshot(), world.policy, world.now)
            grants += len(decision.grants)
            verdicts += len(decision.verdicts)
            for reason in decision.reasons.values():
                kinds[reason.kind] = kinds.get(reason.kind, 0) + 1
            world.apply(decision)
            world.happen()
        finished += decision.finished
        replaced, dropped = replaced + world.replaced, dropped + world.dropped
    print(
        f"40 schedules: {grants} grants, {verdicts} verdicts, {finished} finished, {replaced} replaced, "
        f"{dropped} dropped, reasons {kinds}"
    )
    assert dropped > 10
    assert replaced > 10
    assert grants > 200
    assert verdicts > 50
    assert finished > 2
    assert len(kinds) > 20


def test_incremental_equals_whole() -> None:
    """With and without being told what changed; and earlier decisions stay as they were."""
    for seed in range(20_000, 20_000 + SCHEDULES // 3):
        world = World(seed)
        found_out, told = Decider(world.plan, world.policy), Decider(world.plan, world.policy)
        policy, before = world.policy, world.snapshot()
        kept: list[tuple[Decision, dict[str, object]]] = []
        for _ in range(60):
            snapshot = world.snapshot()
            if policy != world.policy:
                policy = world.policy
                found_out, told = Decider(world.plan, policy), Decider(world.plan, policy)
            whole = decide(world.plan, snapshot, policy, world.now)
            assert found_out.decide(snapshot, world.now) == whole
            decision = told.decide(snapshot, world.now, differences(before, snapshot))
            assert decision == whole
            assert list(decision.reasons) == list(whole.reasons)
            assert len(decision.reasons) == len(whole.reasons)
            kept.append((decision, dict(whole.reasons)))
            before = snapshot
            world.apply(whole)
            world.happen()
        assert all(dict(decision.reasons) == reasons for decision, reasons in kept)


def differences(old: Snapshot, new: Snapshot) -> Changes:
    def names(a: object, b: object) -> list[str]:
        assert isinstance(a, dict)
        assert isinstance(b, dict)
        return [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]

    return Changes(
        names(old.actions, new.actions),
        names(old.health, new.health),
        names(old.holds, new.holds),
        names(old.elsewhere, new.elsewhere),
    )


def test_a_decision_depends_on_values_alone() -> None:
    """Not on the order in which records lie in the snapshot, nor on a call before."""
    for seed in range(30_000, 30_000 + SCHEDULES // 5):
        world = World(seed)
        for _ in range(30):
            world.apply(decide(world.plan, world.snapshot(), world.policy, world.now))
            world.happen()
        snapshot = world.snapshot()
        turned = Snapshot(
            revision=snapshot.revision, run=snapshot.run, approvals=snapshot.approvals, outage=snapshot.outage,
            actions=dict(reversed(list(snapshot.actions.items()))),
            holds=dict(reversed(list(snapshot.holds.items()))),
            health=dict(reversed(list(snapshot.health.items()))),
            elsewhere=dict(reversed(list(snapshot.elsewhere.items()))),
            machines=dict(reversed(list(snapshot.machines.items()))),
        )  # fmt: skip
        first = decide(world.plan, snapshot, world.policy, world.now)
        assert decide(world.plan, turned, world.policy, world.now) == first


def test_nothing_changes_before_wake() -> None:
    """Time alone changes the answer at ``wake`` at the earliest; without one, never."""
    rng = Random(1)
    looks = 0
    for seed in range(40_000, 40_000 + SCHEDULES // 3):
        world = World(seed)
        for _ in range(40):
            snapshot = world.snapshot()
            decision = decide(world.plan, snapshot, world.policy, world.now)
            end = decision.wake or world.now + 40 * 86400
            assert not decision.wake or decision.wake > world.now
            later = world.now + (end - world.now) * rng.random() * 0.999
            same = decide(world.plan, snapshot, world.policy, later)
            assert copy_of(same, wake=decision.wake) == decision
            looks += decision.wake > 0
            world.apply(decision)
            world.happen()
    assert looks > 100


def test_who_must_act_is_named_when_nothing_can_move() -> None:
    """L2: without grants, work, verdicts or a wake, some host's reason asks for somebody."""
    stalls = 0
    for seed in range(50_000, 50_000 + SCHEDULES // 2):
        world = World(seed)
        for _ in range(60):
            snapshot = world.snapshot()
            decision = decide(world.plan, snapshot, world.policy, world.now)
            moving = any(record.state in BUSY and not record.stuck for record in snapshot.actions.values())
            moving = moving or any(found.state in BUSY for found in snapshot.elsewhere.values())
            if not (decision.grants or decision.verdicts or decision.finished or decision.wake or moving):
                stalls += 1
                named = [
                    r for r in decision.reasons.values() if r.kind in NEEDS_SOMEBODY or "plan does not" in r.sentence
                ]
                assert named, seed
            world.apply(decision)
            world.happen()
    assert stalls > 20


def test_a_run_ends_when_faults_end() -> None:
    """L1: everybody healthy, held ones released, trouble retried, limits above what is down: every host is done."""
    ended = 0
    for seed in range(60_000, 60_000 + SCHEDULES // 3):
        world = World(seed)
        for _ in range(30):
            world.apply(decide(world.plan, world.snapshot(), world.policy, world.now))
            world.happen()
        edges = [edge.before for work in world.plan.passes.values() for edge in work.after]
        if world.run.state in ("aborted", "done") or not set(edges) <= set(world.plan.passes):
            continue
        heal(world)
        bound = 6 * sum(len(work.hosts) for work in world.plan.passes.values()) + 20
        for _ in range(bound):
            decision = decide(world.plan, world.snapshot(), world.policy, world.now)
            assert not Judge(world.plan, world.snapshot(), world.policy, world.now).violations(decision)
            if decision.finished:
                break
            world.apply(decision)
            finish_work(world)
            world.now = max(world.now + 30, decision.wake if not decision.grants else 0)
        else:
            raise AssertionError(f"seed {seed}: not finished in {bound} steps: {decision.reasons}")
        ended += 1
    assert ended > SCHEDULES // 8


def heal(world: World) -> None:
    """Faults stop, and the operator answers everything."""
    most, one = Limit(percent=100), Limit(count=1)
    world.policy = replace(
        world.policy,
        role_limits=dict.fromkeys(world.plan.roles, most),
        group_limits=dict.fromkeys(world.plan.groups, most),
        limit=None,
        domain_limit=None,
        prepare_limit=one,
        outage_budget={},
        windows=(),
        deadline=1e9,
    )
    world.run = replace(world.run, state="running")
    world.holds.clear()
    world.elsewhere.clear()
    for stage in world.plan.stages:
        world.approvals[stage.kind] = Approval(stage=stage.kind, by="ana", at=world.now)
    finish_work(world)
    for action, record in world.actions.items():
        if record.state in TROUBLE:
            world.actions[action] = replace(record, retry=True)
    for host in world.machines:
        if world.machines[host].gone:
            world.waive(host)


def finish_work(world: World) -> None:
    """Hosts at work finish, and checks answer well."""
    for action, record in world.actions.items():
        if record.state in ("claimed", "running"):
            world.actions[action] = replace(record, state="soaking", finished=world.now)
    for host in world.plan.hosts:
        since = world.health[host].since if host in world.health and world.health[host].healthy else world.now
        world.health[host] = Health(healthy=True, since=since, checked=world.now + 0.5)


@st.composite
def any_look(draw: st.DrawFn) -> tuple[World, Snapshot]:
    """Any records at all, whether a history could lead there or not."""
    world = World(draw(st.integers(0, 2000)))
    times = st.sampled_from([0.0, START - 5000, START - 10, START, START + 3])
    record = st.builds(
        ActionRecord,
        state=st.sampled_from(
            ["pending", "claimed", "running", "soaking", "done", "done", "done", "failed", "unknown", "skipped"]
        ),
        claimed=times,
        started=times,
        finished=times,
        stuck=st.booleans(),
        retry=st.booleans(),
        attempt=st.integers(0, 2),
    )
    health = st.builds(Health, healthy=st.sampled_from([True, True, False]), since=times, checked=times)
    hosts = list(world.plan.hosts)
    actions = [f"{work.id}/{host}" for work, host in world.plan.actions()]
    snapshot = Snapshot(
        revision=1,
        run=world.run,
        actions=draw(st.dictionaries(st.sampled_from(actions), record, max_size=16)),
        health=draw(st.dictionaries(st.sampled_from(hosts), health)),
        holds={
            host: Hold(host=host, reason="", by="", at=0)
            for host in draw(st.sets(st.sampled_from([*hosts, "*"]), max_size=2))
        },
        approvals={
            stage.kind: Approval(stage=stage.kind, by="", at=0) for stage in world.plan.stages if draw(st.booleans())
        },
    )
    return world, snapshot


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_look())
def test_any_records_at_all(look: tuple[World, Snapshot]) -> None:
    world, snapshot = look
    decision = decide(world.plan, snapshot, world.policy, START)
    assert not Judge(world.plan, snapshot, world.policy, START).violations(decision)
    decider = Decider(world.plan, world.policy)
    decider.decide(Snapshot(revision=0, run=world.run), START)
    assert decider.decide(snapshot, START) == decision
    assert decider.decide(Snapshot(revision=0, run=world.run), START) == decide(
        world.plan, Snapshot(revision=0, run=world.run), world.policy, START
    )


def test_default_policy_is_one_host_at_a_time() -> None:
    for seed in range(20):
        world = World(seed)
        plan = replace(world.plan, roles={n: replace(r, limit=1) for n, r in world.plan.roles.items()}, groups={})
        decision = decide(plan, world.snapshot(), Policy(), START)
        rolling = [grant for grant in decision.grants if plan.pass_of(grant.action).rolling]
        roles = [plan.hosts[grant.host].role for grant in rolling]
        assert len(roles) == len(set(roles))


def test_incremental_equals_whole_over_many_changes() -> None:
    """A larger fleet: earlier decisions stay as they were although thousands of records changed since."""
    rng = Random(5)
    plan = one_role(700, limit=60)
    policy = Policy(failure_budget=1000)
    decider = Decider(plan, policy)
    actions: dict[str, ActionRecord] = {}
    health: dict[str, Health] = {}
    kept: list[tuple[Decision, dict[str, object]]] = []
    for step in range(150):
        snapshot = Snapshot(revision=step, run=RUN, actions=dict(actions), health=dict(health))
        decision = decider.decide(snapshot, START + step)
        if step % 10 == 0:
            assert decision == decide(plan, snapshot, policy, START + step)
            kept.append((decision, dict(decision.reasons)))
        for grant in decision.grants:
            actions[grant.action] = ActionRecord(state="running", claimed=START + step, started=START + step)
        running = [action for action, record in actions.items() if record.state == "running"]
        for action in rng.sample(running, min(12, len(running))):
            actions[action] = replace(actions[action], state=rng.choice(("done",) * 40 + ("failed",)))
        for host in rng.sample(list(plan.hosts), 3):
            health[host] = Health(healthy=rng.random() < 0.9, since=START, checked=START + step)
    assert sum(record.state == "done" for record in actions.values()) > 550
    assert all(dict(decision.reasons) == reasons for decision, reasons in kept)
