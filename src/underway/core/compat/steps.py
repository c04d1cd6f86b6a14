"""What is written, in transactions none of which leaves anything that could do harm.

Every step of the program's own goes with a write of its record, compared with what was seen: so of two that act on the
same look at most one succeeds (SEMANTICS D22), and the other one looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from underway.core.compat.rollout import Round
from underway.core.compat.status import Status
from underway.core.compat.tree import Start, Tree
from underway.core.names import ordered

TRUE, FALSE = b"True", b"False"

MOST_PARTS = 60
"""Parts of a step beside the record and the current version; Consul takes 64 in all. A deletion counts twice."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction: key -> value, None deletes. ``starts``: who is let in once it is done, for the record."""

    writes: Mapping[str, bytes | None]
    starts: Mapping[str, Start] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The writes in words, in order."""
        return [
            f"delete {key}" if value is None else f"set {key} to {value.decode()}" for key, value in self.writes.items()
        ]


def round_steps(status: Status, found: Round, now: float) -> list[Step]:
    """The steps of a decision: host keys, role keys, then host keys that roles make superfluous (SEMANTICS D(b)).

    A step with no keys only notes what was seen: hosts at work that somebody else let in, or whose key was taken away.
    """
    tree, keys = status.tree, status.tree.keys
    starts = at_work(status, now)
    steps: list[Step] = []
    release = found.release
    for part in _parts([(keys.switch("host", name), TRUE) for name in release.hosts]):
        names = [name for name in release.hosts if keys.switch("host", name) in part]
        starts = starts | {name: Start(now, status.hosts[name].ran) for name in names}
        steps.append(Step(part, starts))
    for part in _parts([(keys.switch("role", role), TRUE) for role in release.roles]):
        roles = {role for role in release.roles if keys.switch("role", role) in part}
        names = [name for name in found.granted if status.hosts[name].role in roles]
        starts = starts | {name: Start(now, status.hosts[name].ran) for name in names}
        steps.append(Step(part, starts))
    host_keys = [keys.switch("host", name) for name in release.delete_hosts]
    # one that says no is an operator's, and stays; so do all that are not there
    steps += [Step(part, starts) for part in _parts([(key, None) for key in host_keys if tree.switches.get(key)])]
    if not steps and starts != tree.record.starts():
        steps.append(Step({}, starts))
    return steps


def disable_steps(status: Status, now: float, version: str = "") -> list[Step]:
    """Take every key away and let nobody in; with ``version``, then set that as the current one (SEMANTICS D3, D4).

    Nobody ever sees no key at all: the global one says no before the first other one goes.
    """
    tree, keys = status.tree, status.tree.keys
    starts = at_work(status, now) if tree.current else {}
    wanted: list[tuple[str, bytes | None]] = [(keys.switch("global"), FALSE)]
    wanted += [(key, None) for key in ordered(tree.switches) if key != keys.switch("global")]
    steps = [Step(part, starts) for part in _parts(wanted)]
    if version:
        last = steps.pop()
        steps += [Step(part, starts) for part in _parts([*last.writes.items(), (keys.current, version.encode())])]
    return steps


def at_work(status: Status, now: float) -> dict[str, Start]:
    """Who was let in and has not reported since, and since when; those that nobody noted, from now on."""
    index = status.tree.index
    return {
        name: Start(host.since or now, host.ran, (host.withdrawn or index) if host.left else 0)
        for name, host in status.hosts.items()
        if host.since or host.state == "upgrading"
    }


def lost_by_hand(tree: Tree) -> list[str]:
    """Keys that say no to one host or role, which an operator must have set: a disable takes them away (D3), and says
    so."""
    return [key for key in ordered(tree.switches) if tree.switches[key] is False and key != tree.keys.switch("global")]


def after(tree: Tree, steps: Iterable[Step]) -> Tree:
    """The tree as it is once the steps are done: what ``--noop`` goes on from."""
    switches = dict(tree.switches)
    current, record = tree.current, tree.record
    for step in steps:
        record = record.next(step.starts)
        for key, value in step.writes.items():
            if key == tree.keys.current:
                current = (value or b"").decode()
            elif value is None:
                switches.pop(key, None)
            else:
                switches[key] = value == TRUE
    return replace(tree, switches=switches, current=current, record=record)


def register_writes(tree: Tree, host: str, version: str, now: float) -> dict[str, bytes | None]:
    """A host's word that it runs ``version``: its entries at other versions go with it (SEMANTICS D18), and those of
    the older tree, so that one place says it."""
    keys = tree.keys
    writes: dict[str, bytes | None] = {keys.running(version, host): f"{now:.6f}".encode()}
    for other in tree.registered.get(host, ()):
        for key in (keys.running(other, host), f"{keys.older_versions}{other}/{host}"):
            if key in tree.indexes and key not in writes:
                writes[key] = None
    return writes


def _parts(wanted: list[tuple[str, bytes | None]]) -> Iterator[dict[str, bytes | None]]:
    part: dict[str, bytes | None] = {}
    size = 0
    for key, value in wanted:
        cost = 2 if value is None else 1
        if size + cost > MOST_PARTS:
            yield part
            part, size = {}, 0
        part[key] = value
        size += cost
    if part:
        yield part
