"""From keys to what people ask: who is upgraded, upgrading, pending, and what does not fit the picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from underway.core.compat.keys import Keys, role_of
from underway.core.compat.tree import Start, Tree
from underway.core.names import ordered
from underway.core.words import clock, plural, some

HostState = Literal["upgraded", "upgrading", "pending", "unregistered"]


@dataclass(frozen=True, slots=True)
class HostNow:
    """One host at one moment.

    ``switch``: the key that decides about it, empty for none. ``paused``: the key by which an operator paused it.
    ``since``: when it was let in (Unix seconds), 0 where that is not known or it was not, or it has reported.
    ``left``: it was let in, has not reported since, and has nothing to do any more by its keys: it may be at work.
    ``withdrawn``: the index at which that was first seen. ``failing``: why its last run failed. ``versions``: what it
    says it runs.
    """

    name: str
    role: str
    state: HostState
    switch: str = ""
    paused: str = ""
    since: float = 0.0
    left: bool = False
    withdrawn: int = 0
    failing: str = ""
    versions: tuple[str, ...] = ()

    @property
    def ran(self) -> str:
        """The versions in one word, to tell whether it has reported since."""
        return " ".join(self.versions)


@dataclass(frozen=True, slots=True)
class Status:
    """All hosts at one moment. ``inventory`` is false where only hosts are known that have registered."""

    tree: Tree
    hosts: Mapping[str, HostNow]
    strangers: Mapping[str, HostNow]
    inventory: bool

    def names(self, state: HostState) -> list[str]:
        """The hosts of a state, in natural order, strangers left out."""
        return [name for name, host in self.hosts.items() if host.state == state]

    def hash(self) -> dict[str, list[str]]:
        """The documented answer: each registered host once (SEMANTICS D2)."""
        return {
            "upgraded": self.names("upgraded"),
            "upgrading": self.names("upgrading"),
            "pending": self.names("pending"),
        }

    def by_role(self) -> dict[str, dict[str, list[str]]]:
        """State -> role -> hosts."""
        found: dict[str, dict[str, list[str]]] = {"upgraded": {}, "upgrading": {}, "pending": {}}
        for name, host in self.hosts.items():
            if host.state in found:
                found[host.state].setdefault(host.role, []).append(name)
        return found

    @property
    def complete(self) -> bool:
        """Whether every host that is known runs the current version, and none may be at work on another one."""
        return all(host.state == "upgraded" and not host.left for host in self.hosts.values())

    @property
    def roles(self) -> set[str]:
        """The roles of all hosts."""
        return {host.role for host in self.hosts.values() if host.role}

    def versions(self) -> dict[str, list[str]]:
        """Version -> hosts that say they run it."""
        found: dict[str, list[str]] = {}
        for name, host in self.hosts.items():
            for version in host.versions:
                found.setdefault(version, []).append(name)
        return {version: found[version] for version in ordered(found)}

    def notes(self) -> list[str]:
        """What an operator should know beside the three lists, a sentence each."""
        found = list(self.tree.problems)
        if not self.tree.current:
            found.append(f"no version is set: key {self.tree.keys.current} does not exist, so no host is upgraded")
        silent = self.names("unregistered")
        if silent:
            found.append(
                f"{plural(len(silent), 'host')} of the cluster file never registered a version: {some(silent)} (each "
                "counts as out; roles that wait for theirs do not start)"
            )
        if self.strangers:
            found.append(
                f"{plural(len(self.strangers), 'stranger')} registered, but not in the cluster file: "
                f"{some(list(self.strangers))} (left out of all rules)"
            )
        roleless = [name for name, host in self.hosts.items() if not host.role]
        if roleless:
            found.append(
                f"the role of {some(roleless)} is not known: no letters directly before digits in the name (name it in "
                "the cluster file); this program never lets it in"
            )
        versions = self.versions()
        if len(versions) > 2:
            listed = [f"{version} on {plural(len(hosts), 'host')}" for version, hosts in versions.items()]
            found.append(f"{len(versions)} versions are in use: {some(listed, 9)}")
        double = [name for name, host in self.hosts.items() if len(host.versions) > 1]
        if double:
            found.append(f"registered at more than one version: {some(double)} (one that is current counts)")
        failing = [f"{name}: {host.failing}" for name, host in self.hosts.items() if host.failing]
        if failing:
            found.append(f"failing: {some(failing)}")
        back = [name for name, host in self.hosts.items() if host.state == "upgraded" and host.left]
        if back:
            found.append(f"let in to another version before, and not heard of since: {some(back)} (may be at work)")
        paused = [name for name, host in self.hosts.items() if host.paused]
        if paused:
            found.append(f"paused by an operator: {some(paused)}")
        return found


def status_of(tree: Tree, inventory: Mapping[str, str] | None = None) -> Status:
    """The status; ``inventory`` has the role of every host that there should be, None where nobody said.

    A host's role is what its name tells, as the old hosts work it out; the inventory's is for names that tell none.
    """
    starts = tree.record.starts()
    names: Iterable[str] = tree.registered if inventory is None else {**dict.fromkeys(tree.registered), **inventory}
    hosts: dict[str, HostNow] = {}
    strangers: dict[str, HostNow] = {}
    for name in ordered(names):
        known = inventory is None or name in inventory
        role = role_of(name) or (inventory or {}).get(name, "")
        host = _host(tree, name, role, starts.get(name))
        (hosts if known else strangers)[name] = host
    return Status(tree, hosts, strangers, inventory is not None)


def _host(tree: Tree, name: str, role: str, start: Start | None) -> HostNow:
    versions = tree.registered.get(name, ())
    free = tree.let_in(name, role)
    state: HostState
    if not versions:
        state = "unregistered"
    elif tree.current and tree.current in versions:
        state = "upgraded"
    else:
        state = "upgrading" if free else "pending"
    if start is not None and (start.ran != " ".join(versions) or 0 < start.withdrawn < tree.reported.get(name, 0)):
        start = None
    left = start is not None and state in ("pending", "upgraded")
    return HostNow(
        name=name,
        role=role,
        state=state,
        switch=tree.decided_by(name, role),
        paused=tree.paused_by(name, role),
        since=start.at if start is not None else 0.0,
        left=left,
        withdrawn=start.withdrawn if start is not None and left else 0,
        failing=tree.failing.get(name, ""),
        versions=versions,
    )


def since_words(at: float) -> str:
    """``since 03:12:44 UTC``, or that nobody noted it."""
    return f"since {clock(at)} UTC" if at else "since when is not recorded"


__all__ = ["HostNow", "HostState", "Keys", "Status", "since_words", "status_of"]
