"""Batches for Ansible's ``serial``: never above any limit, in the order of the pass, all hosts once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.render_samples import fleet, sample
from underway.core.model.base import replace
from underway.core.model.plan import GroupLimits, Pass, Plan, RoleLimits
from underway.core.model.policy import Limit, Policy
from underway.render.batches import sizes


def plan_of(
    size: int, limit: int, policy: Policy | None = None, canaries: int = 0, domains: tuple[str, ...] = ()
) -> tuple[Plan, Pass]:
    plan = fleet(size)
    pass_ = replace(plan.passes["data/compute"], canaries=canaries)
    hosts = dict(plan.hosts)
    for name, domain in zip(pass_.hosts, domains, strict=False):
        hosts[name] = replace(hosts[name], domain=domain)
    roles = {**plan.roles, "compute": RoleLimits(name="compute", limit=limit, stated=str(limit))}
    changed = replace(plan, roles=roles, hosts=hosts, policy=policy or Policy())
    return changed, pass_


def batches(plan: Plan, pass_: Pass) -> list[list[str]]:
    """As Ansible cuts them: the last size goes on."""
    found = sizes(plan, pass_)
    hosts = list(pass_.hosts)
    cut: list[list[str]] = []
    while hosts:
        size = found[min(len(cut), len(found) - 1)]
        cut.append(hosts[:size])
        hosts = hosts[size:]
    return cut


@pytest.mark.parametrize(
    ("size", "limit", "canaries", "expected"),
    [
        (9, 3, 0, [3]),
        (8, 3, 0, [3]),
        (3, 5, 0, [3]),
        (9, 3, 1, [1, 3]),
        (9, 3, 2, [2, 3]),
        (9, 2, 3, [2, 1, 2]),
        (5, 1, 2, [1]),
        (4, 3, 4, [3]),
        (5, 0, 1, []),
    ],
)
def test_sizes(size: int, limit: int, canaries: int, expected: list[int]) -> None:
    assert sizes(*plan_of(size, limit, canaries=canaries)) == expected


def test_the_smallest_of_role_group_and_cluster_holds() -> None:
    plan, pass_ = plan_of(20, 10)
    assert sizes(plan, pass_) == [10]
    group = GroupLimits(name="all", roles=("compute", "controller"), limit=4, stated="4")
    assert sizes(replace(plan, groups={"all": group}), pass_) == [4]
    assert sizes(replace(plan, groups={"all": replace(group, roles=("controller",))}), pass_) == [10]
    assert sizes(replace(plan, policy=Policy(limit=Limit(percent=25))), pass_) == [6]
    assert sizes(replace(plan, policy=Policy(limit=Limit(count=0))), pass_) == []


def test_hosts_that_others_drain_go_one_by_one() -> None:
    plan = sample()
    roles = {**plan.roles, "controller": RoleLimits(name="controller", limit=3, stated="3")}
    assert sizes(replace(plan, roles=roles), plan.passes["control/controller"]) == [1]


def test_what_restarts_nothing_has_a_limit_of_its_own() -> None:
    plan = replace(sample(), policy=Policy(prepare_limit=Limit(percent=100)))
    assert sizes(plan, plan.passes["prepare/controller"]) == [3]


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 6),
    canaries=st.integers(0, 4),
    domains=st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=16),
    at_once=st.integers(0, 2),
    cap=st.one_of(st.none(), st.integers(1, 3)),
)
def test_no_batch_is_above_any_limit(
    limit: int, canaries: int, domains: list[str], at_once: int, cap: int | None
) -> None:
    policy = Policy(domains_at_once=at_once, domain_limit=None if cap is None else Limit(count=cap))
    plan, pass_ = plan_of(len(domains), limit, policy, canaries, tuple(domains))
    cut = batches(plan, pass_)
    assert [host for batch in cut for host in batch] == list(pass_.hosts)
    done = 0
    for batch in cut:
        assert len(batch) <= limit
        assert done >= canaries or done + len(batch) <= canaries or (done == 0 and canaries == 0), "canaries go first"
        counted = Counter(plan.hosts[host].domain for host in batch if plan.hosts[host].domain)
        assert not at_once or len(counted) <= at_once
        assert cap is None or all(count <= cap for count in counted.values())
        done += len(batch)


def test_a_held_domain_holds_its_hosts() -> None:
    policy = Policy(domain_limit=Limit(percent=10))
    assert sizes(*plan_of(4, 2, policy, domains=("a", "a", "a", "a"))) == [], "10% of 4 is none"
