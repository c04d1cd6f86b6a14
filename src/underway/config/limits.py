"""Limits against the sizes that they meet: what rounds to none, takes a whole role, or breaks a quorum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from underway.config.crosscheck import Known, Loc
from underway.config.documents import ClusterFile
from underway.config.located import Document
from underway.config.words import shown
from underway.core.model.policy import Limit
from underway.errors import Problem

ONE = Limit(count=1)
"""The limit that holds where none was stated."""


def check_limits(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    """Everything that is wrong with limits once the number of hosts is known (TRUST.md §4, 15-18)."""
    if not known.counted:
        return
    allow = cluster.policy.allow_full_outage
    for name, role in cluster.roles.items():
        yield from _whole(doc, ("roles", name, "limit"), role.limit, known.sizes[name], f"role {name}", allow)
    for name, group in cluster.groups.items():
        size = sum(known.sizes[role] for role in set(group.roles))
        yield from _whole(doc, ("groups", name, "limit"), group.limit, size, f"group {name}", allow)
    policy = cluster.policy
    for key, limit in (("limit", policy.limit), ("prepare_limit", policy.prepare_limit)):
        yield from _rounds(doc, ("policy", key), limit, len(known.hosts), "the cluster")
    domains = Counter(host.domain for host in cluster.hosts.values() if host.domain)
    for name, size in domains.items():
        found = list(_rounds(doc, ("policy", "domain_limit"), policy.domain_limit, size, f"failure domain {name}"))
        yield from found
        if found:
            break  # one domain is enough to show it
    if not allow:
        yield from _quorums(doc, cluster, known)


def _rounds(doc: Document, at: Loc, limit: Limit | None, size: int, whose: str) -> Iterator[Problem]:
    if limit is not None and limit.percent is not None and size and limit.resolve(size) == 0:
        message = f"{limit} of {size} host{'s' if size > 1 else ''} of {whose} rounds to 0"
        least = -(-100 // size)
        hint = f"write a number of hosts, or at least {least}%; 0 holds all hosts on purpose"
        yield doc.problem(at, "rounds-to-zero", message, hint)


def _whole(doc: Document, at: Loc, limit: Limit | None, size: int, whose: str, allow: bool) -> Iterator[Problem]:
    yield from _rounds(doc, at, limit, size, whose)
    # a role of one host cannot be upgraded without taking all of it: the plan says so, nobody needs to allow it
    if limit is not None and size > 1 and not allow and limit.resolve(size) >= size:
        message = f"limit {limit} takes all {size} hosts of {whose} at once"
        hint = f"write at most {size - 1}, or set allow_full_outage: true in policy"
        yield doc.problem(at, "full-outage", message, hint)


def _quorums(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    """A service with a quorum keeps serving while fewer than half of its hosts are down."""
    for name, service in known.services.items():
        if service is None or not service.quorum:
            continue
        roles = [role for role, found in cluster.roles.items() if name in found.services and known.sizes[role]]
        total = sum(known.sizes[role] for role in roles)
        may_lose = (total - 1) // 2
        if total == 0:
            continue
        lost = {role: min((cluster.roles[role].limit or ONE).resolve(known.sizes[role]), total) for role in roles}
        worst = max(lost, key=lambda role: lost[role])
        if total == 1:
            message = f"service {name} keeps a quorum on one host: it is out whenever that host is upgraded"
            yield doc.problem(("roles", worst), "quorum", message, of="key", severity="warning")
        elif lost[worst] > may_lose:
            message = (
                f"limit {cluster.roles[worst].limit or '1 (no limit was stated)'} of role {worst} breaks the quorum of "
                f"{name}: {lost[worst]} of {total} hosts would be out, it bears {may_lose}"
            )
            hint = f"write at most {may_lose}" if may_lose else "add a host, or set allow_full_outage: true in policy"
            stated = cluster.roles[worst].limit is not None
            yield doc.problem(("roles", worst, "limit"), "quorum", message, hint, of="value" if stated else "key")
        elif _together(cluster, roles, lost) > may_lose:
            at_once = _together(cluster, roles, lost)
            message = f"roles {', '.join(roles)} may be upgraded at once and break the quorum of {shown(name)}: "
            message += f"{at_once} of {total} hosts would be out, it bears {may_lose}"
            hint = f"put them into a group with limit {may_lose}, or order them with 'after'"
            yield doc.problem(("roles", worst, "services"), "quorum", message, hint)


def _together(cluster: ClusterFile, roles: Sequence[str], lost: dict[str, int]) -> int:
    """An upper bound of the hosts of ``roles`` that limits and order let be out at the same time."""
    before = {role: _ancestors(cluster, role) for role in roles}
    if all(
        first in before[second] or second in before[first] for first in roles for second in roles if first != second
    ):
        return max(lost.values())
    grouped: Counter[str] = Counter()
    alone = 0
    for role in roles:
        group = next((name for name, found in cluster.groups.items() if role in found.roles), None)
        if group is None:
            alone += lost[role]
        else:
            grouped[group] += lost[role]
    for name, count in grouped.items():
        group_limit = cluster.groups[name].limit or ONE
        # a percentage is of the whole group, which is larger than what is asked for here; count is then the bound
        alone += min(count, group_limit.count) if group_limit.count is not None else count
    total = cluster.policy.limit
    return min(alone, total.count) if total is not None and total.count is not None else alone


def _ancestors(cluster: ClusterFile, role: str) -> set[str]:
    found: set[str] = set()
    waiting = [role]
    while waiting:
        for before in cluster.roles[waiting.pop()].after:
            if before not in found and before in cluster.roles:
                found.add(before)
                waiting.append(before)
    return found
