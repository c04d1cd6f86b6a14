"""What is refused, with the sentence that says so; all of it at once."""

from __future__ import annotations

import pytest

from fast.planner.made import (
    NEW,
    OLD,
    Group,
    Host,
    Limit,
    Policy,
    catalogue,
    cluster,
    many,
    phase,
    plan,
    service,
)  # fmt: skip
from underway.core.model.base import replace
from underway.core.model.part import Part
from underway.core.model.service import Catalogue, Release
from underway.core.model.state import HostRecord
from underway.errors import OrderImpossible, Refused

ONE = {"api": (["keystone"], ["a1", "a2", "a3"])}
KEYSTONE = catalogue(service("keystone"))


def lines(made, has=KEYSTONE, **more) -> list[str]:  # type: ignore[no-untyped-def]
    with pytest.raises(Refused) as caught:
        plan(made, has, **more)
    return str(caught.value).splitlines()


def test_a_release_that_does_not_exist_names_the_nearest_and_what_can_be_reached() -> None:
    assert lines(cluster(ONE), target="2026.11") == [
        "the catalogue has no release '2026.11' (did you mean '2026.1'?): from 2025.2 there is 2026.1"
    ]


def test_a_jump_that_is_not_supported_names_those_that_are() -> None:
    assert lines(cluster(ONE, release="2024.2")) == [
        "2026.1 cannot be reached from 2024.2 (did you mean '2025.2'?): it supports jumps from 2025.1 and 2025.2"
    ]


def test_a_jump_over_a_release_names_the_way() -> None:
    ice, jam, keen = (
        Release(name="ice", supports=()),
        Release(name="jam", supports=("ice",)),
        Release(name="keen", supports=("jam",)),
    )
    has = Catalogue(services=KEYSTONE.services, releases={"ice": ice, "jam": jam, "keen": keen})
    assert lines(cluster(ONE, release="ice"), has, target="keen") == [
        "keen cannot be reached from ice (go by jam first): it supports jumps from jam"
    ]


def test_hosts_on_a_release_that_the_jump_does_not_support_are_named() -> None:
    made = cluster(ONE)
    made = replace(made, hosts={**made.hosts, "a2": replace(made.hosts["a2"], release="2024.1")})
    known = {"a3": HostRecord(release="2024.1"), "a1": HostRecord(release="2023.2")}
    assert lines(made, known=known) == [
        "host a1 runs 2023.2, from which 2026.1 cannot be reached: it supports jumps from 2025.1 and 2025.2",
        "hosts a2, a3 run 2024.1, from which 2026.1 cannot be reached: it supports jumps from 2025.1 and 2025.2",
    ]


def test_services_that_need_each_other_are_shown_as_a_path() -> None:
    has = catalogue(service("api", ["db"]), service("db", ["queue"]), service("queue", ["api"]))
    with pytest.raises(OrderImpossible) as caught:
        plan(cluster({"r": (["api"], ["h1"])}), has)
    assert caught.value.path == ("api", "db", "queue", "api")
    assert caught.value.edges == ("api needs db", "db needs queue", "queue needs api")
    assert str(caught.value) == (
        "the needs of services form a cycle: api -> db -> queue -> api (api needs db; db needs queue; queue needs api)"
    )
    assert caught.value.kind == "order-impossible"


def test_a_service_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(OrderImpossible) as caught:
        plan(cluster({"r": (["api"], ["h1"])}), catalogue(service("api", ["api"])))
    assert caught.value.path == ("api", "api")


def test_roles_after_each_other_are_shown_as_a_path() -> None:
    made = cluster({"a": (["keystone"], ["h1"]), "b": (["keystone"], ["h2"])}, after={"a": ["b"], "b": ["a"]})
    with pytest.raises(OrderImpossible) as caught:
        plan(made, KEYSTONE)
    assert caught.value.path == ("a", "b", "a")
    assert "role a comes after role b; role b comes after role a" in str(caught.value)


def test_needs_against_the_order_of_roles_are_shown_with_what_each_edge_is() -> None:
    made = cluster({"api": (["keystone"], ["a1"]), "db": (["mariadb"], ["d1"])}, after={"db": ["api"]})
    with pytest.raises(OrderImpossible) as caught:
        plan(made, catalogue(service("keystone", ["mariadb"]), service("mariadb")))
    assert caught.value.path == ("keystone on api", "mariadb on db", "keystone on api")
    assert caught.value.edges == ("keystone needs mariadb", "role db comes after role api")


def test_the_order_of_roles_holds_through_a_role_without_work() -> None:
    made = cluster(
        {"api": (["keystone"], ["a1"]), "idle": ([], []), "db": (["mariadb"], ["d1"])},
        after={"db": ["idle"], "idle": ["api"]},
    )
    with pytest.raises(OrderImpossible) as caught:
        plan(made, catalogue(service("keystone", ["mariadb"]), service("mariadb")))
    assert caught.value.edges == (
        "keystone needs mariadb", "role db comes after role idle", "role idle comes after role api",
    )  # fmt: skip


def test_two_knots_are_told_together() -> None:
    has = catalogue(service("a", ["b"]), service("b", ["a"]), service("c", ["d"]), service("d", ["c"]))
    with pytest.raises(OrderImpossible) as caught:
        plan(cluster({"r": (["a", "c"], ["h1"])}), has)
    assert [line.partition(" (")[0] for line in str(caught.value).splitlines()] == [
        "the needs of services form a cycle: a -> b -> a",
        "the needs of services form a cycle: c -> d -> c",
    ]


def test_a_cycle_of_services_that_no_role_runs_or_needs_is_nobodys_business() -> None:
    has = catalogue(service("keystone"), service("c", ["d"]), service("d", ["c"]))
    assert plan(cluster(ONE), has).stages


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            Policy(limit=Limit(percent=20)),
            "policy.limit: 20% of 3 hosts rounds to 0; give a number of hosts (0 holds them)",
        ),
        (
            Policy(domain_limit=Limit(percent=50)),
            "policy.domain_limit, domain rack-1: 50% of 1 hosts rounds to 0; give a number of hosts (0 holds them)",
        ),
        (
            Policy(prepare_limit=Limit(percent=30)),
            "policy.prepare_limit: 30% of 3 hosts rounds to 0; give a number of hosts (0 holds them)",
        ),
        (
            Policy(approvals=("finalise",)),
            "policy.approvals: there is no stage 'finalise' (did you mean 'finalize'?): expected preflight, prepare, "
            "expand, control, data, finalize, migrate, contract, verify",
        ),
        (
            Policy(role_limits={"apy": Limit(count=1)}),
            "policy.role_limits: there is no role 'apy' (did you mean 'api'?)",
        ),
        (Policy(group_limits={"x": Limit(count=1)}), "policy.group_limits: there is no group 'x'"),
    ],
)
def test_a_policy_that_cannot_be_meant(policy: Policy, expected: str) -> None:
    made = cluster(ONE, policy=policy)
    hosts = {**made.hosts, "a1": replace(made.hosts["a1"], domain="rack-1")}
    assert lines(replace(made, hosts=hosts)) == [expected]


def test_a_limit_in_percent_that_rounds_to_none() -> None:
    made = cluster(
        ONE, limits={"api": "33%"}, groups={"all": Group(name="all", roles=("api",), limit=Limit(percent=10))}
    )
    assert lines(made) == [
        "roles.api.limit: 33% of 3 hosts rounds to 0; give a number of hosts (0 holds them)",
        "groups.all.limit: 10% of 3 hosts rounds to 0; give a number of hosts (0 holds them)",
    ]


def test_a_service_that_is_taken_down_whole_needs_a_word() -> None:
    made = cluster(ONE, limits={"api": 3})
    assert lines(made) == [
        "keystone: the whole group at once, all 3 hosts (all of api (limit 3)); lower the limit, or allow it with "
        "policy.allow_full_outage: true (--allow-full-outage)"
    ]
    allowed = plan(replace(made, policy=Policy(allow_full_outage=True)), KEYSTONE)
    assert "role api: limit 3 is the whole group at once (3 hosts)" in allowed.warnings
    assert "keystone: all 3 hosts at once, allowed by policy.allow_full_outage" in allowed.warnings


def test_a_limit_that_loses_the_quorum_needs_a_word() -> None:
    made = cluster({"db": (["mariadb"], many("d", 5))}, limits={"db": 3})
    has = catalogue(service("mariadb", quorum=True))
    assert lines(made, has) == [
        "mariadb: 3 of 5 hosts at once lose its quorum (limit 3 of db); expected at most 2, or "
        "policy.allow_full_outage: true"
    ]
    assert plan(cluster({"db": (["mariadb"], many("d", 5))}, limits={"db": 2}), has).stages


def test_names_that_do_not_exist_are_told_all_at_once() -> None:
    drained = service("glance", phases={"drain": phase("glance", "drain", "out", on="haproxi")})
    made = cluster(
        {"api": (["keystne", "glance"], ["a1"]), "lb": (["haproxy"], ["l1"])},
        after={"api": ["bl"]},
        canary={"lb": ["a1"]},
        groups={"g": Group(name="g", roles=("api", "lbb")), "h": Group(name="h", roles=("api",))},
    )
    made = replace(made, hosts={**made.hosts, "x": Host(name="x", role="appi")})
    has = catalogue(service("keystone"), drained, service("haproxy"))
    assert lines(made, has, target="2026.2") == [
        "roles.api.services: there is no service 'keystne' (did you mean 'keystone'?)",
        "roles.api.after: there is no role 'bl'",
        "roles.lb.canary: 'a1' is no host of the role",
        "hosts.x.role: there is no role 'appi' (did you mean 'api'?)",
        "groups.g.roles: there is no role 'lbb' (did you mean 'lb'?)",
        "role api is in two groups, g and h: expected one",
        "service glance, phase drain: 'on: haproxi' has no hosts (did you mean 'haproxy'?)",
        "the catalogue has no release '2026.2' (did you mean '2026.1'?): from 2025.2 there is 2026.1",
    ]


def test_only_some_roles_are_refused_if_they_come_after_others_that_lag() -> None:
    made = cluster({"api": (["keystone"], ["a1", "a2"]), "db": (["mariadb"], ["d1"]), "edge": (["nova"], ["e1"])})
    has = catalogue(service("keystone", ["mariadb"]), service("mariadb"), service("nova", plane="data"))
    assert lines(made, has, part=Part(roles=("api",))) == [
        "keystone (api) comes after mariadb (db), and d1 is left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --role db)"
    ]
    assert lines(made, has, part=Part(roles=("edge",))) == [
        "nova (edge) comes after keystone (api), and a1, a2 are left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --plane control)",
        "nova (edge) comes after mariadb (db), and d1 is left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --plane control)",
    ]
    known = {"d1": HostRecord(release=NEW)}
    part = plan(made, has, part=Part(hosts=("a2",)), known=known)
    assert [work.hosts for work in part.passes.values()] == [("a2",)]
    assert part.source == OLD
