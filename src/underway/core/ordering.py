"""What waits for what: units of work, the needs between services, and the cycles that are refused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from underway.core import graphs
from underway.core.names import natural
from underway.errors import OrderImpossible


@dataclass(frozen=True, slots=True)
class Unit:
    """A service's work that cannot be cut: on all hosts of a role, or once for all.

    ``group`` is what is visited as one: a role, or one once-only piece. ``rank`` orders the units of one service among
    each other (a once-only drain is before the visits, say).
    """

    group: str
    service: str
    rank: int = 0


class Needs:
    """The needs between those services that have work, followed through services that have none.

    ``of`` maps a service to the services it waits for, each with the names that the need goes through. ``everywhere``
    holds those of them that must be finished on every host first, because ``after`` says so somewhere on the way.
    """

    def __init__(
        self,
        needs: Mapping[str, Sequence[str]],
        active: Collection[str],
        after: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.of: dict[str, dict[str, tuple[str, ...]]] = {}
        self.everywhere: dict[str, set[str]] = {}
        after = after or {}
        for service in sorted(active, key=natural):
            found: dict[str, tuple[str, ...]] = {}
            strict: set[str] = set()
            queue: list[tuple[str, bool, tuple[str, ...]]] = [(service, False, ())]
            seen = {(service, False), (service, True)}
            for name, whole, through in queue:
                for need in sorted(needs.get(name, ()), key=natural):
                    everywhere = whole or need in after.get(name, ())
                    if need in active and need != service:
                        found.setdefault(need, through)
                        if everywhere:
                            strict.add(need)
                    elif (need, everywhere) not in seen:
                        seen.add((need, everywhere))
                        queue.append((need, everywhere, (*through, need)))
            self.of[service] = found
            self.everywhere[service] = strict

    def reason(self, service: str, need: str, place: str, other: str) -> str:
        """The sentence of an edge: ``keystone on controller needs mariadb on database``."""
        through = self.of[service][need]
        by = f" (through {', '.join(through)})" if through else ""
        return f"{service}{place} needs {need}{other}{by}"


def service_order(services: Collection[str], needs: Mapping[str, Collection[str]]) -> list[str]:
    """Services so that each comes after what it needs; otherwise in the order given (or by name for a set)."""
    place = {name: index for index, name in enumerate(services)}
    return graphs.topological(services, needs, lambda name: place[name])


def closed(after: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """``after`` at any distance, so that it also holds through roles that have no work."""
    found: dict[str, set[str]] = {}
    for role in graphs.topological(after, after, natural):
        found[role] = set(after[role]).union(*(found[other] for other in after[role]))
    return found


def service_cycles(services: Collection[str], needs: Mapping[str, Sequence[str]]) -> list[OrderImpossible]:
    """An error for each knot of services that need each other."""
    found = []
    for path in graphs.cycles(sorted(services, key=natural), needs, natural):
        edges = [f"{a} needs {b}" for a, b in pairwise(path)]
        found.append(OrderImpossible(path, "needs of services", edges))
    return found


def role_cycles(after: Mapping[str, Sequence[str]]) -> list[OrderImpossible]:
    """An error for each knot of roles that come after each other."""
    found = []
    for path in graphs.cycles(sorted(after, key=natural), after, natural):
        edges = [f"role {a} comes after role {b}" for a, b in pairwise(path)]
        found.append(OrderImpossible(path, "'after' of roles", edges))
    return found


def place(group: str, roles: Collection[str]) -> str:
    """Where a group's work is done, for sentences: `` on controller``, or nothing for a once-only piece."""
    return f" on {group}" if group in roles else ""


def mixed_cycles(
    units: Sequence[Unit], needs: Needs, after: Mapping[str, Collection[str]], roles: Collection[str]
) -> list[OrderImpossible]:
    """An error for each knot of needs and ``after`` together (each alone has none).

    Nodes are units, services that are finished everywhere, and beginnings and ends of roles: so the graph stays small.
    """
    edges: dict[tuple[str, ...], set[tuple[str, ...]]] = {}

    def add(node: tuple[str, ...], waits_for: tuple[str, ...]) -> None:
        edges.setdefault(node, set()).add(waits_for)
        edges.setdefault(waits_for, set())

    for unit in units:
        node = ("unit", unit.group, unit.service)
        add(("all", unit.service), node)
        add(("end", unit.group), node)
        add(node, ("begin", unit.group))
        for need in needs.of[unit.service]:
            add(node, ("all", need))
        for other in units:
            if other.service == unit.service and other.rank < unit.rank:
                add(node, ("unit", other.group, other.service))
    for role in sorted(after, key=natural):
        add(("end", role), ("begin", role))
        for earlier in after[role]:
            add(("begin", role), ("end", earlier))
    knots = graphs.cycles(sorted(edges), edges, lambda node: [natural(part) for part in node])
    return [_mixed_error(path, roles) for path in knots]


def _group(name: str, roles: Collection[str]) -> str:
    return f"role {name}" if name in roles else f"the once-only work of {name.partition(':')[0]}"


def _mixed_error(path: list[tuple[str, ...]], roles: Collection[str]) -> OrderImpossible:
    units = [index for index, node in enumerate(path[:-1]) if node[0] == "unit"]
    start = min(units, key=lambda index: (natural(path[index][2]), natural(path[index][1])))
    turned = path[start:-1] + path[: start + 1]
    names, edges = [], []
    for node, following in pairwise(turned):
        if node[0] == "unit":
            names.append(f"{node[2]}{place(node[1], roles) or ' (once)'}")
        if node[0] == "unit" and following[0] == "all":
            edges.append(f"{node[2]} needs {following[1]}")
        elif node[0] == "begin" and following[0] == "end":
            edges.append(f"{_group(node[1], roles)} comes after {_group(following[1], roles)}")
        elif node[0] == "unit" and following[0] == "unit":
            edges.append(f"{node[2]} is done once before its visits")
    return OrderImpossible([*names, names[0]], "needs of services and the 'after' of roles", edges)
