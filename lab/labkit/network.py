"""A bridge of this machine's own and one network namespace per host: a private network without a way out.

What is made is written down before it is made, so that a crash leaves nothing that ``down`` does not know. What was
there before us is never taken: ``up`` refuses.
"""

from __future__ import annotations

import json
from pathlib import Path

from labkit.errors import Refused
from labkit.places import Places
from labkit.shell import run, succeeds
from labkit.topology import BRIDGE, MACHINE, MARK, PREFIX, Topology


def namespace(host: str) -> str:
    """The name of a host's network namespace."""
    return f"lab{MARK}-{host}"


def port(host: str) -> str:
    """The name of this machine's end of a host's cable."""
    return f"vl{MARK}-{host}"


class Made:
    """The record of bridges, ports and namespaces that this laboratory made (``run/network.json``)."""

    def __init__(self, places: Places) -> None:
        self._path = places.run / "network.json"

    def read(self) -> list[tuple[str, str]]:
        """(kind, name) of each, in the order of making; kinds are ``link`` and ``netns``."""
        return [(kind, name) for kind, name in json.loads(self._path.read_text())] if self._path.exists() else []

    def write(self, things: list[tuple[str, str]]) -> None:
        """Replace the record, whole or not at all."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(things))
        new.rename(self._path)

    def claim(self, kind: str, name: str) -> bool:
        """Write down that we are about to make it; False if we have it already.

        Raises ``Refused`` if somebody else has one of that name.
        """
        things = self.read()
        there = exists(kind, name)
        if (kind, name) in things:
            return not there
        if there:
            raise Refused(
                f"the {kind} {name} is there and is not this laboratory's: remove it, or end the other laboratory"
            )
        self.write([*things, (kind, name)])
        return True


def exists(kind: str, name: str) -> bool:
    """Whether there is a link or a network namespace of that name."""
    if kind == "netns":
        return (Path("/run/netns") / name).exists()
    return (Path("/sys/class/net") / name).exists()


def lay(places: Places, lab: Topology) -> None:
    """Make the bridge and each host's namespace with its address. What is there already stays.

    Balancers may bind the address that the other one holds (``ip_nonlocal_bind``), so that both are ready to serve it.
    """
    made = Made(places)
    if made.claim("link", BRIDGE):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{MACHINE}/{PREFIX}", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
    for host in lab.hosts:
        space, end = namespace(host.name), port(host.name)
        if made.claim("netns", space):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        if made.claim("link", end):
            run("ip", "link", "add", end, "type", "veth", "peer", "name", "host0", "netns", space)
            run("ip", "link", "set", end, "master", BRIDGE, "up")
            run("ip", "-n", space, "address", "add", f"{host.address}/{PREFIX}", "dev", "host0")
            run("ip", "-n", space, "link", "set", "host0", "up")
        if host.role == "balancer":
            run("ip", "netns", "exec", space, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind")


def remove(places: Places) -> tuple[int, list[str]]:
    """Remove what was made, the last first: how many there were, and what is still there, which stays in the record."""
    made = Made(places)
    things = made.read()
    there = [(kind, name) for kind, name in things if exists(kind, name)]
    for kind, name in reversed(there):
        if exists(kind, name):
            succeeds("ip", "netns" if kind == "netns" else "link", "delete", name)
    left = [(kind, name) for kind, name in there if exists(kind, name)]
    made.write(left)
    return len(there) - len(left), [f"{kind} {name}" for kind, name in left]


def cut(host: str, *, off: bool) -> None:
    """Take a host off the network, or put it back (its port goes down or up)."""
    run("ip", "link", "set", port(host), "down" if off else "up")
