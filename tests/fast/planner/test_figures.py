"""Losses and times: by hand where they can be counted, by a schedule drawn at random where not."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.planner.drawn import worlds
from fast.planner.made import Group, Limit, Policy, catalogue, cluster, many, phase, plan, service, whole
from underway.core.estimates import estimate, quantile
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Loss, Plan
from underway.core.model.service import Catalogue
from underway.core.model.state import HostRecord
from underway.errors import Refused

TWO = {"a": (["s"], many("a", 6)), "b": (["s"], many("b", 4))}
HAS = catalogue(service("s"))


def loss(made: Cluster, has: Catalogue = HAS) -> tuple[int, int, str]:
    found = {item.service: item for item in plan(made, has).losses}
    return found["s"].lost, found["s"].total, found["s"].why


def test_roles_that_go_at_once_are_lost_at_once() -> None:
    assert loss(cluster(TWO, limits={"a": 2})) == (3, 10, "limit 2 of a + limit 1 of b (default 1)")


def test_roles_that_wait_for_each_other_are_not() -> None:
    assert loss(cluster(TWO, limits={"a": 2}, after={"b": ["a"]})) == (2, 10, "limit 2 of a")


def test_a_group_bounds_its_roles_together() -> None:
    made = cluster(TWO, limits={"a": 3, "b": 2}, groups={"g": Group(name="g", roles=("a", "b"), limit=Limit(count=4))})
    assert loss(made) == (4, 10, "limit 4 of group g (a and b)")


def test_the_total_bounds_all() -> None:
    made = cluster(TWO, limits={"a": 3, "b": 2}, policy=Policy(limit=Limit(percent=20)))
    assert loss(made) == (2, 10, "limit 20% in all")


def test_domains_bound_what_they_hold() -> None:
    made = cluster(TWO, limits={"a": 3, "b": 3}, policy=Policy(domain_limit=Limit(count=1), domains_at_once=2))
    hosts = {name: replace(host, domain=f"rack-{int(name[1:]) % 3}") for name, host in made.hosts.items()}
    assert loss(replace(made, hosts=hosts)) == (2, 10, "limit 1 per domain, 2 domains at once")
    hosts["a1"] = replace(hosts["a1"], domain="")
    assert loss(replace(made, hosts=hosts)) == (3, 10, "limit 1 per domain, 2 domains at once")


def test_canaries_are_never_out_with_the_others() -> None:
    made = cluster({"a": (["s"], many("a", 3))}, limits={"a": 3}, canary={"a": ["a2"]})
    assert loss(made) == (2, 3, "2 of a go at once")


def test_a_held_role_loses_nothing() -> None:
    assert loss(cluster({"a": (["s"], many("a", 3))}, limits={"a": 0})) == (0, 3, "a is held (limit 0)")


def test_a_service_that_is_left_alone_has_no_loss() -> None:
    has = catalogue(service("s"), service("t", phases={"prepare": phase("t", "prepare", "fetch")}))
    assert [item.service for item in plan(cluster({"a": (["s", "t"], ["a1"])}), has).losses] == ["s"]


def worst(made: Plan, seed: int) -> dict[str, int]:
    """The worst loss per service in one run whose durations and order of starts are drawn, under the plan's limits."""
    drawn = random.Random(seed)
    sizes: dict[str, int] = {}
    for known in made.hosts.values():
        sizes[known.domain] = sizes.get(known.domain, 0) + 1
    lost = {item.service: 0 for item in made.losses}
    for stage in made.stages:
        left = {name: list(made.passes[name].hosts) for name in stage.passes}
        done: dict[str, set[str]] = {name: set() for name in stage.passes}
        out: list[tuple[str, str]] = []
        while any(left.values()) or out:
            free = []
            for name in stage.passes:
                work = made.passes[name]
                if any(set(made.passes[edge.before].hosts) - done[edge.before] for edge in work.after):
                    continue
                front = set(work.hosts[: work.canaries])
                for host in left[name]:
                    waits = host not in front and front - done[name]
                    if waits or host in {other for _, other in out}:
                        continue
                    if not work.rolling or fits(made, {other for _, other in out} | {host}, sizes):
                        free.append((name, host))
            if free and (not out or drawn.random() < 0.8):
                chosen = drawn.choice(free)
                left[chosen[0]].remove(chosen[1])
                out.append(chosen)
                if stage.kind in ("control", "data"):
                    for name in lost:
                        now = {host for work, host in out if name in made.passes[work].services}
                        lost[name] = max(lost[name], len(now))
            elif out:
                name, host = out.pop(drawn.randrange(len(out)))
                done[name].add(host)
            else:
                break  # held by a limit of 0
    return lost


def fits(made: Plan, busy: set[str], sizes: dict[str, int]) -> bool:
    hosts, policy = made.hosts, made.policy
    for name, role in made.roles.items():
        if sum(hosts[host].role == name for host in busy) > role.limit:
            return False
    for group in made.groups.values():
        if sum(hosts[host].role in group.roles for host in busy) > group.limit:
            return False
    if policy.limit is not None and len(busy) > policy.limit.resolve(len(hosts)):
        return False
    domains = [hosts[host].domain for host in busy if hosts[host].domain]
    if policy.domain_limit is not None and any(
        domains.count(name) > policy.domain_limit.resolve(sizes[name]) for name in set(domains)
    ):
        return False
    return not policy.domains_at_once or len(set(domains)) <= policy.domains_at_once


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 1000))
def test_no_schedule_loses_more_than_the_plan_says(
    world: tuple[Cluster, Catalogue, dict[str, HostRecord]], seed: int
) -> None:
    try:
        made = plan(world[0], world[1], known=world[2])
    except Refused:
        return
    told: dict[str, Loss] = {item.service: item for item in made.losses}
    for name, lost in worst(made, seed).items():
        assert lost <= told[name].lost, told[name]


def test_a_loss_is_not_merely_an_upper_bound() -> None:
    made = plan(cluster(TWO, limits={"a": 3}, canary={"a": ["a1"]}), HAS)
    assert max(worst(made, seed)["s"] for seed in range(200)) == made.losses[0].lost == 4


# -- time


def test_past_runs_count_from_three_on() -> None:
    made = cluster({"a": (["s"], ["a1"])})
    work = plan(made, HAS, durations={"control/a": [30.0, 10.0, 20.0]}).passes["control/a"]
    assert (work.p50, work.p90, work.basis) == (20.0, 28.0, "3 past runs")
    work = plan(made, HAS, durations={"control/a": [30.0, 10.0]}).passes["control/a"]
    assert (work.p50, work.p90, work.basis) == (75.0, 150.0, "guess: 2 steps")


def test_once_only_passes_and_second_visits_have_figures_of_their_own() -> None:
    past = {"expand/a": [1.0, 1.0, 1.0], "control/a": [2.0, 2.0, 2.0]}
    made = plan(cluster({"a": (["s"], ["a1"])}), catalogue(whole("s")), durations=past)
    assert made.passes["expand/s"].basis == "guess: 1 step"
    assert made.passes["control/a"].basis == "3 past runs"
    split = {"a": (["q", "s"], ["a1"]), "b": (["d"], ["b1"])}
    has = catalogue(service("q"), service("d", ["q"]), service("s", ["d"]))
    made = plan(cluster(split), has, durations={**past, "control/a.2": [3.0, 3.0, 3.0]})
    assert [work.basis for work in made.passes.values()] == ["3 past runs", "guess: 2 steps", "3 past runs"]


def test_a_guess_is_never_longer_than_the_step_may_take() -> None:
    has = catalogue(service("s", phases={"upgrade": phase("s", "upgrade", "quick", timeout=7.0)}))
    assert plan(cluster({"a": (["s"], ["a1"])}), has).passes["control/a"].p50 == 12.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.9, 3.7)])
def test_quantiles_lie_between_values(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(value)


TEN = {"control/a": [10.0] * 3, "control/b": [100.0] * 3}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"limits": {"a": 1}}, 60.0),
        ({"limits": {"a": 4}}, 20.0),
        ({"limits": {"a": 4}, "policy": Policy(soak=5.0)}, 30.0),
        ({"limits": {"a": 6}, "canary": {"a": ["a1"]}, "policy": Policy(allow_full_outage=True)}, 20.0),
        ({"limits": {"a": 4}, "policy": Policy(limit=Limit(count=2))}, 30.0),
        ({"limits": {"a": 4}, "policy": Policy(domain_limit=Limit(count=1), domains_at_once=1)}, 60.0),
        ({"limits": {"a": 0}}, math.inf),
    ],
)
def test_slots_are_refilled_in_the_estimate(more: dict[str, object], seconds: float) -> None:
    made = cluster({"a": (["s"], many("a", 6))}, **more)
    made = replace(made, hosts={name: replace(host, domain="rack") for name, host in made.hosts.items()})
    assert estimate(plan(made, HAS, durations=TEN)) == seconds


def test_roles_share_a_group_s_slots_and_wait_for_each_other_in_the_estimate() -> None:
    free = cluster(TWO, limits={"a": 2, "b": 2})
    assert estimate(plan(free, HAS, durations=TEN)) == 200.0
    shared = cluster(
        TWO, limits={"a": 2, "b": 2}, groups={"g": Group(name="g", roles=("a", "b"), limit=Limit(count=2))}
    )
    assert estimate(plan(shared, HAS, durations=TEN)) == 230.0
    assert estimate(plan(cluster(TWO, limits={"a": 2, "b": 2}, after={"b": ["a"]}), HAS, durations=TEN)) == 230.0


def test_stages_without_disruption_use_their_own_limit() -> None:
    has = catalogue(service("s", phases={"prepare": phase("s", "prepare", "fetch")}))
    made = cluster({"a": (["s"], many("a", 6))}, policy=Policy(prepare_limit=Limit(count=4), soak=100.0))
    assert estimate(plan(made, has, durations={"prepare/a": [10.0] * 3})) == 20.0


# -- a service on two roles


def test_roles_that_would_lose_a_service_together_are_set_apart() -> None:
    made = plan(cluster({"a": (["s"], ["a1"]), "b": (["s"], ["b1"])}), HAS)
    (edge,) = made.passes["control/b"].after
    assert (edge.before, edge.reason) == ("control/a", "both run s: all hosts of it could be out at once")
    assert (made.losses[0].lost, made.losses[0].total) == (1, 2)


def test_roles_that_would_lose_a_quorum_together_are_set_apart() -> None:
    has = catalogue(service("s", quorum=True))
    made = plan(cluster({"a": (["s"], ["a1", "a2"]), "b": (["s"], ["b1"])}), has)
    (edge,) = made.passes["control/b"].after
    assert edge.reason == "both run s: 2 of 3 hosts of it could be out at once, and its quorum with them"
    assert made.losses[0].lost == 1


def test_roles_are_not_set_apart_without_need_or_against_the_policy_s_word() -> None:
    two = cluster({"a": (["s"], ["a1"]), "b": (["s"], ["b1"])}, policy=Policy(allow_full_outage=True))
    assert not plan(two, HAS).passes["control/b"].after
    assert not plan(cluster(TWO), HAS).passes["control/b"].after


def test_the_fullest_domains_are_the_worst() -> None:
    made = cluster({"a": (["s"], many("a", 6))}, limits={"a": 5}, policy=Policy(domains_at_once=1))
    racks = dict(zip(made.hosts, ["x", "y", "y", "y", "z", "z"], strict=True))
    hosts = {name: replace(host, domain=racks[name]) for name, host in made.hosts.items()}
    assert loss(replace(made, hosts=hosts)) == (3, 6, "1 domain at once")
