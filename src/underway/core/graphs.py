"""Small graphs of names: what waits for what. Pure; every answer depends on the graph alone, not on its dict order."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

Node = TypeVar("Node", bound=Hashable)


def topological(
    nodes: Iterable[Node], before: Mapping[Node, Collection[Node]], key: Callable[[Node], Any]
) -> list[Node]:
    """The nodes in an order in which each comes after its ``before``; of those that are free, the least ``key`` first.

    ``before`` may name nodes that are not in ``nodes``; they are ignored. Nodes of a cycle are left out.
    """
    members = list(nodes)
    known = set(members)
    left = {node: len({other for other in before.get(node, ()) if other in known}) for node in members}
    behind: dict[Node, list[Node]] = {node: [] for node in members}
    for node in members:
        for other in {other for other in before.get(node, ()) if other in known}:
            behind[other].append(node)
    rank = {node: index for index, node in enumerate(sorted(members, key=key))}
    free = [(rank[node], node) for node in members if left[node] == 0]
    heapq.heapify(free)
    found = []
    while free:
        _, node = heapq.heappop(free)
        found.append(node)
        for other in behind[node]:
            left[other] -= 1
            if left[other] == 0:
                heapq.heappush(free, (rank[other], other))
    return found


def components(nodes: Iterable[Node], edges: Mapping[Node, Collection[Node]]) -> list[list[Node]]:
    """Strongly connected components, each after those that its edges lead to (Tarjan, without recursion)."""
    order: dict[Node, int] = {}
    low: dict[Node, int] = {}
    stack: list[Node] = []
    waiting: set[Node] = set()
    found: list[list[Node]] = []
    members = list(nodes)
    rank = {node: index for index, node in enumerate(members)}

    def ahead(node: Node) -> Iterator[Node]:
        """In the order of the nodes: that of a set is another one in each process."""
        return iter(sorted((other for other in edges.get(node, ()) if other in rank), key=rank.__getitem__))

    for root in members:
        if root in order:
            continue
        work = [(root, ahead(root))]
        order[root] = low[root] = len(order)
        stack.append(root)
        waiting.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in order:
                    order[other] = low[other] = len(order)
                    stack.append(other)
                    waiting.add(other)
                    work.append((other, ahead(other)))
                    break
                if other in waiting:
                    low[node] = min(low[node], order[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    part = []
                    while True:
                        top = stack.pop()
                        waiting.discard(top)
                        part.append(top)
                        if top == node:
                            break
                    found.append(part)
    return found


def cycles(
    nodes: Iterable[Node], edges: Mapping[Node, Collection[Node]], key: Callable[[Node], Any]
) -> list[list[Node]]:
    """One shortest cycle of every knot of the graph, its least member first and repeated at the end."""
    found = []
    for part in components(nodes, edges):
        if len(part) == 1 and part[0] not in edges.get(part[0], ()):
            continue
        inside = set(part)
        rank = {node: index for index, node in enumerate(sorted(part, key=key))}
        best: list[Node] = []
        for start in sorted(part, key=rank.__getitem__)[:SEARCHED]:
            path = _way_back(start, edges, inside, rank)
            if path and (not best or len(path) < len(best)):
                best = path
        found.append(best)
    return sorted(found, key=lambda path: [key(node) for node in path])


SEARCHED = 200
"""Members of a knot from which a shortest cycle is looked for: bounds the work, any cycle of the knot is true."""


def _way_back(
    start: Node, edges: Mapping[Node, Collection[Node]], inside: set[Node], rank: Mapping[Node, int]
) -> list[Node]:
    came: dict[Node, Node] = {}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for other in sorted((far for far in edges.get(node, ()) if far in inside), key=rank.__getitem__):
            if other == start:
                back = []
                while node != start:
                    back.append(node)
                    node = came[node]
                return [start, *reversed(back), start]
            if other not in came:
                came[other] = node
                queue.append(other)
    return []


def reduced(order: list[Node], before: Mapping[Node, Collection[Node]]) -> dict[Node, list[Node]]:
    """The transitive reduction: of each node's ``before``, those that no other of them implies, in ``order``.

    ``order`` is a topological order of all nodes.
    """
    place = {node: index for index, node in enumerate(order)}
    reach: list[int] = []
    kept: dict[Node, list[Node]] = {}
    for node in order:
        mask = 0
        chosen = []
        for index in sorted((place[other] for other in before.get(node, ()) if other in place), reverse=True):
            if not mask >> index & 1:
                chosen.append(index)
                mask |= reach[index]
        reach.append(mask | 1 << place[node])
        kept[node] = [order[index] for index in sorted(chosen)]
    return kept


def ancestors(order: list[Node], before: Mapping[Node, Collection[Node]]) -> dict[Node, set[Node]]:
    """All nodes that each node waits for, at any distance. ``order`` is a topological order of all nodes."""
    found: dict[Node, set[Node]] = {}
    for node in order:
        mine: set[Node] = set()
        for other in before.get(node, ()):
            if other in found:
                mine.add(other)
                mine |= found[other]
        found[node] = mine
    return found
