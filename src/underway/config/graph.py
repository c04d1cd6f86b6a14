"""Cycles of a small directed graph, as paths that people can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

MAX_CYCLES = 10


def cycles(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Cycles as ``[a, b, a]``, at most one for each edge that closes one, at most ``MAX_CYCLES``.

    Without recursion: a chain of 100,000 is as good as one of three.
    """
    done: set[str] = set()
    found = 0
    for start in edges:
        if start in done:
            continue
        path: list[str] = []
        at: dict[str, int] = {}
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(edges.get(start, ())))]
        path.append(start)
        at[start] = 0
        while stack:
            node, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                stack.pop()
                path.pop()
                del at[node]
                done.add(node)
            elif target in at:
                yield [*path[at[target] :], target]
                found += 1
                if found >= MAX_CYCLES:
                    return
            elif target not in done and target in edges:
                at[target] = len(path)
                path.append(target)
                stack.append((target, iter(edges[target])))
