"""The clusters whose plans are kept as golden files."""

from __future__ import annotations

from collections.abc import Callable

from fast.planner.made import (
    OLD,
    Group,
    Limit,
    Policy,
    catalogue,
    cluster,
    many,
    phase,
    plan,
    service,
    step,
    whole,
)  # fmt: skip
from underway.core.model.base import replace
from underway.core.model.cluster import Probe
from underway.core.model.plan import Plan
from underway.core.model.service import ReleaseCheck, Service
from underway.core.model.state import HostRecord


def all_in_one() -> Plan:
    """One host that runs everything; a release that changes two of four services and brings a check."""
    made = cluster({"aio": (["mariadb", "memcached", "keystone", "nova-compute"], ["box"])})
    known = catalogue(
        service("mariadb"),
        service("memcached"),
        whole("keystone", ["mariadb", "memcached"]),
        service("nova-compute", ["keystone"], plane="data"),
        changes=["keystone", "nova-compute"],
        checks=(ReleaseCheck(name="Policy files", service="keystone", task={"ansible.builtin.command": "/bin/check"}),),
    )
    return plan(made, known)


def three_controllers() -> Plan:
    """Controllers one by one, a canary and tenths of computes; durations known for one role; approval of finalize."""
    made = cluster(
        {
            "controller": (["rabbitmq", "keystone", "nova-conductor", "nova-api"], ["cp1", "cp2", "cp10"]),
            "compute": (["nova-compute"], many("cmp", 40)),
        },
        limits={"controller": 1, "compute": "10%"},
        after={"compute": ["controller"]},
        canary={"compute": ["cmp7"]},
        policy=Policy(approvals=("finalize",), soak=30.0, failure_budget=2),
        probes={"vip": Probe(name="vip", kind="http", service="keystone", url="http://10.0.0.9:5000/v3")},
    )
    known = catalogue(
        service("rabbitmq", quorum=True),
        whole("keystone", ["rabbitmq"]),
        service("nova-conductor", ["keystone", "rabbitmq"]),
        service("nova-api", ["nova-conductor"]),
        service("nova-compute", ["nova-conductor"], plane="data"),
    )
    return plan(made, known, durations={"data/compute": [80.0, 100.0, 90.0, 300.0], "control/controller": [1.0]})


def forced_split() -> Plan:
    """Roles that need each other: keystone waits for the database, that for a queue beside keystone."""
    made = cluster(
        {
            "api": (["rabbitmq", "keystone", "nova-api"], ["a1", "a2", "a3"]),
            "database": (["mariadb"], ["d1", "d2", "d3"]),
            "network": (["ovn", "neutron-agent"], ["n1", "n2"]),
            "compute": (["ovn", "nova-compute"], many("c", 6)),
        }
    )
    known = catalogue(
        service("rabbitmq"),
        service("mariadb", ["rabbitmq"], quorum=True),
        service("keystone", ["mariadb"]),
        service("nova-api", ["keystone", "ovn"]),
        service("ovn", plane="data"),
        service("neutron-agent", ["nova-api", "ovn"], plane="data"),
        service("nova-compute", ["nova-api", "ovn"], plane="data"),
    )
    return plan(made, known)


def hyperconverged() -> Plan:
    """Every host is controller, storage and compute; domains, a group limit, and two hosts upgraded before."""
    made = cluster(
        {
            "hyper": (["ceph-mon", "keystone", "ceph-osd", "nova-compute"], many("h", 6)),
            "storage": (["ceph-osd"], many("s", 12)),
        },
        limits={"hyper": 1, "storage": "25%"},
        groups={"ceph": Group(name="ceph", roles=("hyper", "storage"), limit=Limit(count=2))},
        policy=Policy(limit=Limit(percent=20), domain_limit=Limit(count=1), domains_at_once=1),
    )
    racks = {
        name: replace(host, domain=f"rack-{'abc'[int(name[1:]) % 3]}", release=OLD if name == "h2" else "")
        for name, host in made.hosts.items()
    }
    known = catalogue(
        service("ceph-mon", quorum=True),
        service("ceph-osd", ["ceph-mon"], plane="data", phases={"upgrade": phase("ceph-osd", "upgrade", "restart")}),
        service("keystone"),
        service("nova-compute", ["keystone", "ceph-osd"], plane="data"),
    )
    records = {"h3": HostRecord(release="2026.1"), "s4": HostRecord(release="2026.1")}
    return plan(replace(made, hosts=racks), known, known=records)


def balancer() -> Plan:
    """Two balancers take each controller out and put it back; one service is switched once for all."""
    made = cluster(
        {
            "balancer": (["haproxy"], ["lb1", "lb2"]),
            "controller": (["keystone", "glance", "vip"], ["c1", "c2", "c3"]),
        },
        canary={"controller": ["c3"]},
    )
    vip = Service(
        name="vip",
        needs=("keystone",),
        phases={
            "upgrade": phase("vip", "upgrade", "update-resource", once=True),
            "verify": phase("vip", "verify", "smoke-test", once=True),
        },
    )
    known = catalogue(
        service("haproxy"),
        whole("keystone", balancer="haproxy"),
        whole("glance", ["keystone"], balancer="haproxy"),
        vip,
    )
    slow = replace(
        known.services["haproxy"],
        phases={
            "upgrade": replace(
                phase("haproxy", "upgrade"), steps=(step("haproxy", "upgrade", "reload", idempotent=False),)
            )
        },
    )
    return plan(made, replace(known, services={**known.services, "haproxy": slow}))


CASES: dict[str, Callable[[], Plan]] = {
    "all-in-one": all_in_one,
    "three-controllers": three_controllers,
    "forced-split": forced_split,
    "hyperconverged": hyperconverged,
    "balancer": balancer,
}
