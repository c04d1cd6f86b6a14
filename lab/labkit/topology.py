"""Which hosts the laboratory has, what runs on them, and in which order. Pure data and functions.

Addresses, names and ports are the ones that ``lab/cluster`` describes to Underway: change them in both places.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal


def numbered(text: str) -> int:
    """The number of a laboratory: 0 to 99. Ends the program, in one line, for anything else."""
    if not text.isdecimal() or int(text) > 99:
        raise SystemExit(f"lab: UNDERWAY_LAB_NUMBER is {text!r}: expected a number from 0 to 99")
    return int(text)


Role = Literal["balancer", "controller", "compute"]
Size = Literal["small", "full"]

NUMBER = numbered(os.environ.get("UNDERWAY_LAB_NUMBER", "0"))
"""Which laboratory of this machine it is: a second one beside the first needs a number, and a directory, of its own."""
MARK = str(NUMBER or "")  # in the names of its bridge, ports and namespaces
BRIDGE = f"br-lab{MARK}"
NETWORK = f"10.77.{NUMBER}"
PREFIX = 24  # bits of the private network NETWORK.0/24; it has no route out
MACHINE = f"{NETWORK}.1"  # this machine's own address on the bridge
VIP = f"{NETWORK}.10"  # held by the balancer that keepalived made the master
REGION = "RegionOne"

# A release of the lab: the version of each service that is named by hand. Everything else comes from the lock files.
# They are the versions that were tried together on trixie's Python 3.13.
VERSIONS: dict[str, dict[str, str]] = {
    "2025.1": {"keystone": "27.1.0", "glance": "30.2.0", "openstack-placement": "13.0.1", "nova": "31.3.1"},
    "2025.2": {"keystone": "28.1.0", "glance": "31.1.0", "openstack-placement": "14.0.0", "nova": "32.2.1"},
    "2026.1": {"keystone": "29.1.0", "glance": "32.0.0", "openstack-placement": "15.0.0", "nova": "33.0.2"},
    "2026.2": {"keystone": "30.0.0", "glance": "33.0.0", "openstack-placement": "16.0.0", "nova": "34.0.0"},
}
RELEASES = tuple(VERSIONS)
FIRST_RELEASE = RELEASES[0]


@dataclass(frozen=True)
class Api:
    """A service behind the balancers: its name there, its unit, its port, and what the balancer asks for health."""

    backend: str
    unit: str
    port: int
    health: str


KEYSTONE = Api("keystone", "keystone", 5000, "/healthcheck")
APIS = (
    KEYSTONE,
    Api("glance", "glance-api", 9292, "/healthcheck"),
    Api("placement", "placement-api", 8778, "/"),
    Api("nova", "nova-api", 8774, "/"),
    Api("ledger", "ledger", 8099, "/healthcheck"),
)


@dataclass(frozen=True)
class Host:
    """One machine of the laboratory."""

    name: str
    role: Role
    address: str


@dataclass(frozen=True)
class Topology:
    """The hosts of one size of the laboratory, and what they run."""

    size: Size
    hosts: tuple[Host, ...]

    def of(self, role: Role) -> tuple[Host, ...]:
        """The hosts of a role, in the order of their names."""
        return tuple(host for host in self.hosts if host.role == role)

    def host(self, name: str) -> Host | None:
        """The host of that name, or None."""
        return next((host for host in self.hosts if host.name == name), None)

    @property
    def apis(self) -> tuple[Api, ...]:
        """What stands behind the balancers."""
        return APIS if self.size == "full" else (KEYSTONE,)

    def released(self, role: Role) -> tuple[str, ...]:
        """Units that run from a release's environment: each has its link ``/opt/current/<unit>``."""
        if role == "controller":
            apis = tuple(api.unit for api in self.apis)
            return (*apis, "nova-conductor", "nova-scheduler") if self.size == "full" else apis
        return ("nova-compute",) if role == "compute" else ()

    def units(self, role: Role) -> tuple[str, ...]:
        """All units of a role that ``status`` asks for."""
        if role == "balancer":
            return ("haproxy", "keepalived", *(("network-stub",) if self.size == "full" else ()))
        if role == "controller":
            bus = ("rabbitmq-server",) if self.size == "full" else ()
            return ("mariadb", *bus, "memcached", *self.released(role))
        return (*self.released(role), "ledger-instance")


_BALANCERS = (Host("lb1", "balancer", f"{NETWORK}.5"), Host("lb2", "balancer", f"{NETWORK}.6"))
_CONTROLLERS = tuple(Host(f"c{n}", "controller", f"{NETWORK}.{10 + n}") for n in (1, 2, 3))
_COMPUTES = tuple(Host(f"n{n}", "compute", f"{NETWORK}.{20 + n}") for n in (1, 2, 3))

FULL = Topology("full", (*_BALANCERS, *_CONTROLLERS, *_COMPUTES))
SMALL = Topology("small", (_BALANCERS[0], *_CONTROLLERS))


def topology(size: Size) -> Topology:
    """The laboratory of that size."""
    return FULL if size == "full" else SMALL
