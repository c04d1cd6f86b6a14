"""The world moves after a plan was made: every difference is named, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fast.planner.made import NEW, OLD, Group, Host, Limit, Policy, catalogue, cluster, many, service, whole
from fast.planner.made import plan as planned
from underway.core.drift import differing, drift
from underway.core.model.base import canonical, decode, replace
from underway.core.model.cluster import Cluster, Probe
from underway.core.model.plan import Plan
from underway.core.model.policy import Window
from underway.core.model.service import Catalogue
from underway.core.model.state import HostRecord

HAS = catalogue(whole("keystone", ["mariadb"]), service("mariadb"), service("unused"), vars={"series": 1})
MADE = cluster(
    {"api": (["keystone"], ["a1", "a2"]), "db": (["mariadb"], ["d1", "d2"])},
    groups={"g": Group(name="g", roles=("api",))},
    probes={"vip": Probe(name="vip", kind="tcp", address="10.0.0.9:5000")},
    settings={"db": {"pool": 5, "password": "vault:db"}, "region": "eu"},
)
FILES = {"cluster": "1", "services/keystone.yaml": "2", "files/policy.j2": "3"}
KNOWN = {"d2": HostRecord(release="2025.1")}

World = tuple[Cluster, Catalogue, dict[str, str], dict[str, HostRecord]]


def role(name: str, **more: Any) -> Callable[[World], World]:
    return lambda w: (replace(w[0], roles={**w[0].roles, name: replace(w[0].roles[name], **more)}), *w[1:])


def host(name: str, **more: Any) -> Callable[[World], World]:
    return lambda w: (replace(w[0], hosts={**w[0].hosts, name: replace(w[0].hosts[name], **more)}), *w[1:])


def whole_cluster(**more: Any) -> Callable[[World], World]:
    return lambda w: (replace(w[0], **more), *w[1:])


def changed(**more: Any) -> Callable[[World], World]:
    return lambda w: (w[0], replace(w[1], **more), *w[2:])


def files(**more: str) -> Callable[[World], World]:
    return lambda w: (*w[:2], {**w[2], **more}, w[3])


def known(**more: str) -> Callable[[World], World]:
    return lambda w: (*w[:3], {**w[3], **{name: HostRecord(release=release) for name, release in more.items()}})


def without(name: str) -> Callable[[World], World]:
    return lambda w: (replace(w[0], hosts={key: value for key, value in w[0].hosts.items() if key != name}), *w[1:])


NEWER = {**HAS.services, "keystone": replace(HAS.services["keystone"], vars={"x": 1})}
WINDOW = Window(days=(5,), start=0, end=60, text="Sat 0:00-1:00")

CASES: list[tuple[str, Callable[[World], World], list[str]]] = [
    ("release of a host", known(a2=NEW), [f"host a2 runs {NEW}, planned from {OLD}"]),
    ("releases of hosts", known(a1=NEW, a2=NEW, d2=OLD), [
        f"host d2 runs {OLD}, planned from 2025.1", f"hosts a1, a2 run {NEW}, planned from {OLD}"]),
    ("release in the file", host("a1", release=NEW), [f"host a1 runs {NEW}, planned from {OLD}"]),
    ("release of the cluster", whole_cluster(release=NEW), [
        f"the cluster's release is {NEW}, planned from {OLD}",
        f"hosts a1, a2, d1 run {NEW}, planned from {OLD}"]),
    ("name", whole_cluster(name="other"), ["the cluster is other, planned for prod"]),
    ("delivery", whole_cluster(delivery="package"), ["delivery is package, planned with venv"]),
    ("host added", whole_cluster(hosts={**MADE.hosts, "a3": Host(name="a3", role="api")}), ["host added: a3"]),
    ("host removed", without("a1"), ["host removed: a1"]),
    ("address", host("a1", address="10.9.9.9"), ["host a1: address is 10.9.9.9, planned with 10.0.0.1"]),
    ("host moved", host("a1", role="db"), ["host a1: role is db, planned with api"]),
    ("host var", host("a1", vars={"secret": "s3cret"}), ["host a1: vars.secret changed"]),
    ("services of a role", role("api", services=("keystone", "mariadb")), [
        "role api: services changed to keystone, mariadb"]),
    ("limit", role("api", limit=Limit(percent=50)), ["role api: limit changed to 50%"]),
    ("after", role("api", after=("db",)), ["role api: after changed to db"]),
    ("canary", role("api", canary=("a2",)), ["role api: canary changed to a2"]),
    ("role var", role("api", vars={"workers": 9}), ["role api: vars.workers changed"]),
    ("role added", whole_cluster(roles={**MADE.roles, "x": replace(MADE.roles["db"], name="x")}), ["role added: x"]),
    ("role removed", whole_cluster(roles={"api": MADE.roles["api"]}), ["role removed: db"]),
    ("group", whole_cluster(groups={"g": Group(name="g", roles=("db",))}), ["group g changed"]),
    ("groups", whole_cluster(groups={"h": Group(name="h", roles=("db",))}), ["group removed: g", "group added: h"]),
    ("service", changed(services=NEWER), ["service keystone changed in the catalogue"]),
    ("release", changed(releases={NEW: replace(HAS.releases[NEW], notes={"a": "b"})}), [
        f"release {NEW} changed in the catalogue"]),
    ("release gone", changed(releases={}), [f"release {NEW} is no longer in the catalogue"]),
    ("settings", whole_cluster(settings={"db": {"pool": 6, "password": "x"}, "zone": 1}), [
        "setting db.password changed", "setting db.pool changed", "setting region changed", "setting zone changed"]),
    ("policy", whole_cluster(policy=Policy(soak=5.0, windows=(WINDOW,), limit=Limit(count=2))), [
        "policy: limit is 2, planned with not stated", "policy: soak is 5.0, planned with 0.0",
        "policy: windows is Sat 0:00-1:00, planned with none"]),
    ("budget", whole_cluster(policy=Policy(outage_budget={"api": 3.0})), ["policy: outage_budget.api changed"]),
    ("probe", whole_cluster(probes={"vip": replace(MADE.probes["vip"], every=5.0)}), ["probe vip: every changed"]),
    ("probes", whole_cluster(probes={"v": replace(MADE.probes["vip"], name="v")}), [
        "probe added: v", "probe removed: vip"]),
    ("a file", files(**{"files/policy.j2": "9"}), ["file files/policy.j2 changed"]),
    ("a new file", files(**{"files/more.sh": "9"}), ["file files/more.sh is new"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Plan:
    """As it comes back from where it was saved."""
    return decode(canonical(planned(MADE, HAS, digests=FILES, known=KNOWN)), Plan)


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_differs_is_named(made: Plan, change: Callable[[World], World], expected: list[str]) -> None:
    assert list(drift(made, *change((MADE, HAS, FILES, KNOWN)))) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w,
        files(cluster="9", **{"services/keystone.yaml": "9"}),  # a comment: by meaning nothing changed
        changed(services={**HAS.services, "unused": service("unused", ["mariadb"])}),
        changed(releases={**HAS.releases, OLD: replace(HAS.releases[OLD], supports=())}),
        host("a1", release=OLD),  # says what was assumed
        whole_cluster(hosts=dict(reversed(MADE.hosts.items()))),
        known(gone=NEW),
    ],
)
def test_what_the_plan_does_not_rest_on_is_no_drift(made: Plan, change: Callable[[World], World]) -> None:
    assert drift(made, *change((MADE, HAS, FILES, KNOWN))) == ()


def test_a_file_that_is_gone_is_named(made: Plan) -> None:
    assert drift(made, MADE, HAS, {"cluster": "1"}, KNOWN) == ("file files/policy.j2 is gone",)


def test_many_hosts_are_counted(made: Plan) -> None:
    more = {name: Host(name=name, role="api") for name in many("n", 100)}
    (told,) = drift(made, replace(MADE, hosts={**MADE.hosts, **more}), HAS, FILES, KNOWN)
    assert told.startswith("hosts added: n1, n2, n3, ")
    assert told.endswith("n20 and 80 others")


def test_no_value_of_a_setting_or_a_variable_is_told(made: Plan) -> None:
    world = host("a1", vars={"a": "s3cret"})((MADE, HAS, FILES, KNOWN))
    world = role("db", vars={"b": {"c": "s3cret"}})(world)
    world = whole_cluster(settings={"db": "s3cret"})(world)
    told = drift(made, *world)
    assert len(told) == 4
    assert "s3cret" not in "".join(told)


def test_paths_compare_as_saved() -> None:
    assert differing({"a": (1, 2)}, {"a": [1, 2]}) == []
    assert differing({"a": 1, "b": True, "c": {"d": 1}}, {"a": 1.5, "b": 1, "c": {}}) == ["a", "b", "c.d"]


def test_inputs_stay_small() -> None:
    few = planned(cluster({"api": (["mariadb"], many("a", 10))}), HAS)
    lots = planned(cluster({"api": (["mariadb"], many("a", 1000))}), HAS)
    assert few.inputs.keys() == lots.inputs.keys()
