"""From the graph of services to visits of hosts (DESIGN §3): as few visits as the needs allow. Pure.

Assumptions
    1. A need of S for T is met for S on role R when T is finished on every host of every *other* role that runs it, and
       comes earlier in the same visit (or in an earlier visit) on role R itself.
       A need in ``Needs.everywhere`` is met only when T is finished on every host of role R, too: by an earlier visit.
    2. A role's ``after`` is met when the roles that it names have no work left.
Invariants
    1. Every unit of work is in exactly one visit.
    2. Every need and every ``after`` is met by the edges between visits and the order inside them.
    3. The visits of all hosts together (a visit of a role is one of each of its hosts) are the fewest possible, unless
       ``exact`` is false (the search met its cap).

How the fewest are found: a role that can finish all that it has left is let do so at once; that is never worse, as it
needs one more visit in any case and what it finishes can only free others. Roles that do not wait for each other in a
circle are looked at one circle at a time, in order. Inside a circle where nobody can finish, an A* search tries every
role's largest possible visit (a smaller one is never better). Its bound: of roles that all wait for each other, all but
one must be split. Above ``CAP`` the circle is ordered greedily: the visit after which most work is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from underway.core import graphs
from underway.core.names import natural
from underway.core.ordering import Needs, Unit, place, service_order

CAP = 30_000
"""States times roles that the search for the fewest visits looks at in one circle of roles: about a second of work."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A group's units that are done at one visit, services in the order of their needs.

    ``number`` counts the visits of the group from 1, ``of`` is how many there are. ``after`` holds the indices of the
    visits that this one waits for directly (not those that follow from them), each with the reason. ``why`` says what
    forced the split, for the second visit and later ones.
    """

    group: str
    services: tuple[str, ...]
    number: int
    of: int
    after: tuple[tuple[int, str], ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Visits in an order in which they may be done one by one. ``exact``: fewer are not possible."""

    visits: tuple[Visit, ...]
    exact: bool = True


class _Board:
    """Units as bits: what each requires, what each group holds."""

    def __init__(
        self,
        units: Sequence[Unit],
        needs: Needs,
        after: Mapping[str, Collection[str]],
        alone: Collection[str],
        hosts: Mapping[str, int],
    ) -> None:
        members: dict[str, dict[str, Unit]] = {}
        for unit in units:
            members.setdefault(unit.group, {})[unit.service] = unit
        self.units = [
            members[group][service]
            for group in sorted(members, key=natural)
            for service in service_order(members[group], needs.of)
        ]
        self.groups: dict[str, list[int]] = {}
        of_service: dict[str, int] = {}
        for bit, unit in enumerate(self.units):
            self.groups.setdefault(unit.group, []).append(bit)
            of_service[unit.service] = of_service.get(unit.service, 0) | 1 << bit
        self.hosts = {group: max(1, hosts.get(group, 1)) for group in self.groups}
        self.mask = {group: sum(1 << bit for bit in bits) for group, bits in self.groups.items()}
        self.after: dict[str, int] = {}
        for group in self.groups:
            self.after[group] = 0
            for other in after.get(group, ()):
                self.after[group] |= self.mask.get(other, 0)
        self.requires: list[int] = []
        self.earlier: list[int] = []  # what of the unit's own group must be done by an earlier visit
        by_rank: dict[tuple[str, int], int] = {}
        for bit, unit in enumerate(self.units):
            key = (unit.service, unit.rank)
            by_rank[key] = by_rank.get(key, 0) | 1 << bit
        ranks = sorted({unit.rank for unit in self.units})
        for unit in self.units:
            mask = 0
            for need in needs.of[unit.service]:
                mask |= of_service.get(need, 0)
            for rank in ranks:
                if rank < unit.rank:
                    mask |= by_rank.get((unit.service, rank), 0)
            self.requires.append(mask)
            strict = 0
            for need in needs.everywhere[unit.service] if unit.group not in alone else ():
                strict |= of_service.get(need, 0)
            self.earlier.append(strict & self.mask[unit.group])

    def ready(self, group: str, done: int) -> int:
        """The largest part of the group's work that one visit can do now, as bits."""
        if self.after[group] & ~done:
            return 0
        found = 0
        for bit in self.groups[group]:  # in the order of needs: what a unit needs of its own group was looked at before
            if done >> bit & 1 or self.earlier[bit] & ~done:
                continue
            if not self.requires[bit] & ~(done | found):
                found |= 1 << bit
        return found

    def far(self) -> list[int]:
        """What each unit requires at any distance, through needs and ``after``."""
        closure: list[int] = [0] * len(self.units)
        waits = {bit: _bits(self.requires[bit] | self.after[unit.group]) for bit, unit in enumerate(self.units)}
        for bit in graphs.topological(range(len(self.units)), waits, lambda bit: bit):
            for other in waits[bit]:
                closure[bit] |= closure[other] | 1 << other
        return closure


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


Move = tuple[str, int]


def _finish(board: _Board, groups: Sequence[str], done: int) -> tuple[int, tuple[Move, ...]]:
    """Let every group that can finish do so, again and again."""
    moves: list[Move] = []
    open_groups = [group for group in groups if board.mask[group] & ~done]
    progress = True
    while progress:
        progress = False
        for group in list(open_groups):
            left = board.mask[group] & ~done
            if board.ready(group, done) == left:
                moves.append((group, left))
                done |= left
                open_groups.remove(group)
                progress = True
    return done, tuple(moves)


def _bound(board: _Board, groups: Sequence[str], far: Sequence[int], done: int) -> int:
    """Visits of hosts that are needed at least: one for each with work left, and one more for those that must split."""
    left = {group: board.mask[group] & ~done for group in groups if board.mask[group] & ~done}
    wants = {}
    for group, mask in left.items():
        wanted = 0
        for bit in _bits(mask):
            wanted |= far[bit]
        wants[group] = wanted & ~done
    cliques: list[list[str]] = []
    for group in left:
        for clique in cliques:
            if all(wants[group] & left[other] and wants[other] & left[group] for other in clique):
                clique.append(group)
                break
        else:
            cliques.append([group])
    return sum(
        2 * sum(board.hosts[group] for group in clique) - max(board.hosts[group] for group in clique)
        for clique in cliques
    )


def _circle(board: _Board, groups: Sequence[str], far: Sequence[int], done: int, cap: int) -> tuple[list[Move], bool]:
    """The fewest visits that finish ``groups``, and whether that is proven."""
    goal = 0
    for group in groups:
        goal |= board.mask[group]
    start, moves = _finish(board, groups, done)
    best: dict[int, int] = {start: 0}
    count = 0
    heap: list[tuple[int, int, int, int, tuple[Move, ...]]] = [(_bound(board, groups, far, start), 0, 0, start, moves)]
    pushed = 0
    while heap:
        _, cost, _, state, path = heapq.heappop(heap)
        if not goal & ~state:
            return list(path), True
        if cost > best[state]:
            continue
        count += 1
        if count * len(groups) > cap:
            return _greedy(board, groups, done), False
        for group in groups:
            ready = board.ready(group, state)
            if not ready:
                continue
            after, finishing = _finish(board, groups, state | ready)
            total = cost + board.hosts[group] + sum(board.hosts[other] for other, _ in finishing)
            if total < best.get(after, total + 1):
                best[after] = total
                pushed += 1
                bound = total + _bound(board, groups, far, after)
                heapq.heappush(heap, (bound, total, pushed, after, (*path, (group, ready), *finishing)))
    raise AssertionError("a cycle was not refused before the visits were arranged")


def _greedy(board: _Board, groups: Sequence[str], done: int) -> list[Move]:
    """The visit after which most work is done, again and again."""
    done, moves = _finish(board, groups, done)
    found = list(moves)
    while any(board.mask[group] & ~done for group in groups):
        best: tuple[int, str, int, int, tuple[Move, ...]] | None = None
        for group in groups:
            ready = board.ready(group, done)
            if ready:
                after, finishing = _finish(board, groups, done | ready)
                if best is None or after.bit_count() > best[0]:
                    best = (after.bit_count(), group, ready, after, finishing)
        assert best is not None, "a cycle was not refused before the visits were arranged"
        _, group, ready, done, finishing = best
        found += [(group, ready), *finishing]
    return found


def arrange(
    units: Sequence[Unit],
    needs: Needs,
    after: Mapping[str, Collection[str]] | None = None,
    roles: Collection[str] = (),
    alone: Collection[str] = (),
    cap: int = CAP,
    hosts: Mapping[str, int] | None = None,
) -> Arrangement:
    """The visits that do all ``units``.

    ``after`` maps a group to the groups that must have no work left before it begins (closed over what has no units).
    ``roles`` are those groups that are roles, ``alone`` those with one host: the order inside its visit is enough.
    ``hosts``: how many each role has, where they count; else each group is one. The caller has refused cycles
    (``service_cycles``, ``role_cycles``, ``mixed_cycles``) before.
    """
    after = after or {}
    board = _Board(units, needs, after, alone, hosts or {})
    groups = list(board.groups)
    owner = [unit.group for unit in board.units]
    waits: dict[str, set[str]] = {}
    for group in groups:
        wanted = board.after[group]
        for bit in board.groups[group]:
            wanted |= board.requires[bit]
        waits[group] = {owner[bit] for bit in _bits(wanted)} - {group}
    far: list[int] = []
    moves: list[Move] = []
    done, exact = 0, True
    for part in graphs.components(groups, waits):
        if len(part) > 1 and not far:
            far = board.far()
        found, proven = _circle(board, sorted(part, key=natural), far or [0] * len(owner), done, cap)
        exact = exact and proven
        moves += found
        for _, mask in found:
            done |= mask
    return Arrangement(_visits(board, needs, after, roles, moves), exact)


def _visits(
    board: _Board, needs: Needs, after: Mapping[str, Collection[str]], roles: Collection[str], moves: Sequence[Move]
) -> tuple[Visit, ...]:
    total: dict[str, int] = {}
    for group, _ in moves:
        total[group] = total.get(group, 0) + 1
    before: dict[int, set[int]] = {}
    for index, (group, mask) in enumerate(moves):
        wanted = board.after[group]
        for bit in _bits(mask):
            wanted |= board.requires[bit]
        before[index] = {
            other
            for other in range(index)
            if moves[other][1] & wanted or moves[other][0] == group  # a host does its visits one after another
        }
    direct = graphs.reduced(list(range(len(moves))), before)
    services = [tuple(board.units[bit].service for bit in _bits(mask)) for _, mask in moves]
    number: dict[str, int] = {}
    found = []
    for index, (group, mask) in enumerate(moves):
        number[group] = number.get(group, 0) + 1
        edges = tuple(
            (other, _reason(needs, after, roles, (group, services[index]), (moves[other][0], services[other])))
            for other in direct[index]
        )
        why = ""
        if number[group] > 1:
            why = _split(board, needs, roles, moves, index, mask)
        found.append(Visit(group, services[index], number[group], total[group], edges, why))
    return tuple(found)


def _reason(
    needs: Needs,
    after: Mapping[str, Collection[str]],
    roles: Collection[str],
    later: tuple[str, tuple[str, ...]],
    earlier: tuple[str, tuple[str, ...]],
) -> str:
    """Why one visit waits for another, in one sentence; the first need stands for the others."""
    here, there = place(later[0], roles), place(earlier[0], roles)
    found = []
    if later[0] == earlier[0]:
        return f"the visit before it{here}"
    for service in later[1]:
        found += [
            needs.reason(service, need, here, there or ("'s once-only work" if here else ""))
            for need in earlier[1]
            if need in needs.of[service]
        ]
    if earlier[0] in after.get(later[0], ()):
        if here and there:
            found.append(f"role {later[0]} comes after role {earlier[0]}")
        else:
            found.append("the role comes after it" if here else f"its role comes after{there.replace(' on', '')}")
    shared = [service for service in later[1] if service in earlier[1]]
    if shared and not found:
        found.append(f"what {shared[0]} does once comes " + (f"after its visits{there}" if there else "first"))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more


def _split(board: _Board, needs: Needs, roles: Collection[str], moves: Sequence[Move], index: int, mask: int) -> str:
    """What kept the visit's work out of the group's visit before: the way of needs back to the group itself."""
    group = moves[index][0]
    last = max(other for other in range(index) if moves[other][0] == group)
    done = 0
    for _, earlier in moves[:last]:
        done |= earlier
    own = board.mask[group]
    first = _bits(mask)
    for bit in first:
        for other in _bits(board.earlier[bit] & ~done):
            return f"because {board.units[bit].service} comes after {board.units[other].service} on every host"
    came: dict[int, int] = {}
    queue = [bit for bit in first if board.requires[bit] & ~(done | own)]
    seen = set(queue)
    blocked: tuple[int, int] | None = None
    for bit in queue:
        for other in _bits(board.requires[bit] & ~done):
            outside = board.units[other].group != group
            if other in seen or (not outside and board.units[bit].group == group):
                continue
            seen.add(other)
            came[other] = bit
            if outside and blocked is None:
                blocked = (bit, other)
            if not outside:
                return "because " + _chain(board, needs, roles, came, other)
            if outside:
                queue.append(other)
    if blocked is None:
        return "because its role had to wait"
    return "because " + _chain(board, needs, roles, came, blocked[1])


def _chain(board: _Board, needs: Needs, roles: Collection[str], came: Mapping[int, int], end: int) -> str:
    path = [end]
    while path[-1] in came:
        path.append(came[path[-1]])
    units = [board.units[bit] for bit in reversed(path)]
    text = f"{units[0].service}{place(units[0].group, roles)}"
    for index, (one, other) in enumerate(pairwise(units)):
        verb = "needs" if other.service in needs.of[one.service] else "waits for"
        what = (
            f"{other.service}{place(other.group, roles)}"
            if other.group in roles
            else f"{other.service}'s once-only work"
        )
        text += f"{', which' if index else ''} {verb} {what}"
    return text
