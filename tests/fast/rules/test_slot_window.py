"""A true slot window: a slot is refilled as soon as its host has passed its gate (PEERS §4, 1)."""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from random import Random

from fast.rules.fleets import RUN, make_pass, make_plan, names, one_role
from fast.rules.oracle import Judge
from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord
from underway.core.rules import Decider


def makespan(plan: Plan, policy: Policy, takes: dict[str, float], judge: bool = True) -> tuple[float, list[str]]:
    """Virtual seconds until all is done, and the order of starts; at every event a judge looks on."""
    decider = Decider(plan, policy)
    actions: dict[str, ActionRecord] = {}
    events: list[tuple[float, str]] = []
    starts: list[str] = []
    now, revision = 0.0, 0
    while True:
        revision += 1
        snapshot = Snapshot(revision=revision, run=RUN, actions=dict(actions))
        decision = decider.decide(snapshot, now)
        if judge:
            assert not Judge(plan, snapshot, policy, now).violations(decision)
        for verdict in decision.verdicts:
            assert verdict.kind == "done"
            actions[verdict.action] = replace(actions[verdict.action], state="done", ended=now)
        for grant in decision.grants:
            starts.append(grant.host)
            actions[grant.action] = ActionRecord(state="running", claimed=now, started=now)
            heappush(events, (now + takes[grant.host], grant.action))
        if decision.finished:
            return now, starts
        if decision.grants or decision.verdicts:
            continue
        times = [events[0][0]] if events else []
        now = min([*times, decision.wake] if decision.wake else times)
        while events and events[0][0] <= now:
            at, action = heappop(events)
            actions[action] = replace(actions[action], state="soaking", finished=at)


def test_the_case_of_ansible_18390() -> None:
    """10 hosts of a minute, the 1st and the 6th take ten, 5 at once: 11 minutes (in batches of 5: 20)."""
    plan = one_role(10, limit=5)
    takes = dict.fromkeys(plan.hosts, 60.0) | {"web1": 600.0, "web6": 600.0}
    span, starts = makespan(plan, Policy(), takes)
    assert span == 11 * 60
    assert starts == names("web", 10)
    print(f"slot window: {span / 60:g} min; batches of 5: 20 min")


def test_soak_holds_the_slot() -> None:
    plan = one_role(4, limit=1)
    span, _ = makespan(plan, Policy(soak=30.0), dict.fromkeys(plan.hosts, 60.0))
    assert span == 4 * 90


def test_within_the_bound_of_list_scheduling() -> None:
    """300 hosts with log-normal durations: at most max(longest, work / slots) + one longest, and close in practice."""
    rng = Random(7)
    plan = one_role(300, limit=20)
    takes = {host: rng.lognormvariate(4.5, 0.6) for host in plan.hosts}
    span, _ = makespan(plan, Policy(deadline=1e9), takes, judge=False)
    bound = max(max(takes.values()), sum(takes.values()) / 20)
    print(f"300 hosts, 20 slots: {span:.0f} s, bound {bound:.0f} s ({span / bound:.3f})")
    assert bound <= span <= bound * 1.10


def test_at_no_event_is_a_budget_exceeded() -> None:
    """Random fleets with roles, groups, domains and a total; each is finished, and in no more rounds than needed."""
    rng = Random(11)
    for _ in range(25):
        roles = {role: names(role, rng.randint(1, 5)) for role in ("web", "db", "lb")}
        every = [host for hosts in roles.values() for host in hosts]
        plan = make_plan(
            [make_pass(f"data/{role}", hosts) for role, hosts in roles.items()],
            roles,
            limits={role: rng.randint(1, 3) for role in roles},
            groups={"g": (("web", "db"), rng.randint(1, 3))},
            domains={host: rng.choice("abc") for host in every},
        )
        policy = Policy(
            limit=Limit(count=rng.randint(1, 5)),
            domain_limit=Limit(count=rng.randint(1, 2)),
            domains_at_once=rng.randint(0, 2),
            deadline=1e9,
        )
        takes = {host: float(rng.choice((10, 20, 100))) for host in every}
        span, starts = makespan(plan, policy, takes)
        assert sorted(starts) == sorted(every)
        assert span <= ceil(sum(takes.values()))
