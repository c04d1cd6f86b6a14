"""Limits in hosts, and the worst simultaneous loss of each service under them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from underway.core import graphs
from underway.core.model.cluster import Cluster
from underway.core.model.plan import GroupLimits, Loss, Pass, RoleLimits
from underway.core.model.policy import Limit
from underway.core.names import listing, natural, ordered

EXACT = 16
"""Passes of one service and stage up to which the worst set at work at once is searched; more are all counted."""


def role_sizes(cluster: Cluster) -> dict[str, int]:
    """Hosts per role, in all (those that are already upgraded count: they serve)."""
    sizes = dict.fromkeys(cluster.roles, 0)
    for host in cluster.hosts.values():
        if host.role in sizes:
            sizes[host.role] += 1
    return sizes


def role_limits(cluster: Cluster) -> dict[str, RoleLimits]:
    """Every role's limit in hosts; a limit that is not stated is 1. A policy's own role limits come first."""
    sizes = role_sizes(cluster)
    group_of = {role: group.name for group in cluster.groups.values() for role in group.roles}
    found = {}
    for name in ordered(cluster.roles):
        limit = cluster.policy.role_limits.get(name, cluster.roles[name].limit)
        found[name] = RoleLimits(
            name=name,
            limit=1 if limit is None else limit.resolve(sizes[name]),
            stated="default 1" if limit is None else str(limit),
            group=group_of.get(name, ""),
            percent=(limit.percent or 0) if limit is not None else 0,
        )
    return found


def group_limits(cluster: Cluster) -> dict[str, GroupLimits]:
    """Every group's limit in hosts; a limit that is not stated is 1."""
    sizes = role_sizes(cluster)
    found = {}
    for name in ordered(cluster.groups):
        group = cluster.groups[name]
        limit = cluster.policy.group_limits.get(name, group.limit)
        size = sum(sizes.get(role, 0) for role in group.roles)
        found[name] = GroupLimits(
            name=name,
            roles=group.roles,
            limit=1 if limit is None else limit.resolve(size),
            stated="default 1" if limit is None else str(limit),
            percent=(limit.percent or 0) if limit is not None else 0,
        )
    return found


def limit_problems(cluster: Cluster) -> list[str]:
    """Percentages that round down to no host (TRUST.md §4, 15), each with its place."""
    sizes = role_sizes(cluster)
    policy = cluster.policy
    stated: list[tuple[str, Limit | None, int]] = [
        (f"roles.{name}.limit", policy.role_limits.get(name, cluster.roles[name].limit), sizes[name])
        for name in ordered(cluster.roles)
    ]
    for name in ordered(cluster.groups):
        group = cluster.groups[name]
        size = sum(sizes.get(role, 0) for role in group.roles)
        stated.append((f"groups.{name}.limit", policy.group_limits.get(name, group.limit), size))
    stated.append(("policy.limit", policy.limit, len(cluster.hosts)))
    stated.append(("policy.prepare_limit", policy.prepare_limit, len(cluster.hosts)))
    domains: dict[str, int] = {}
    for host in cluster.hosts.values():
        if host.domain:
            domains[host.domain] = domains.get(host.domain, 0) + 1
    stated += [(f"policy.domain_limit, domain {name}", policy.domain_limit, domains[name]) for name in ordered(domains)]
    return [
        f"{where}: {limit} of {size} hosts rounds to 0; give a number of hosts (0 holds them)"
        for where, limit, size in stated
        if limit is not None and limit.percent is not None and size and limit.resolve(size) == 0
    ]


class Losses:
    """Works out the worst simultaneous loss of services under the limits of a plan."""

    def __init__(
        self,
        cluster: Cluster,
        roles: Mapping[str, RoleLimits],
        groups: Mapping[str, GroupLimits],
    ) -> None:
        self._policy, self._roles, self._groups = cluster.policy, roles, groups
        self._sizes = role_sizes(cluster)
        self._all = len(cluster.hosts)
        self._running: dict[str, list[str]] = {}
        for name in ordered(cluster.roles):
            for service in cluster.roles[name].services:
                self._running.setdefault(service, []).append(name)
        self._domain_sizes: dict[str, int] = {}
        self._role_domains: dict[str, dict[str, int]] = {name: {} for name in cluster.roles}
        for host in cluster.hosts.values():
            self._domain_sizes[host.domain] = self._domain_sizes.get(host.domain, 0) + 1
            counts = self._role_domains.setdefault(host.role, {})
            counts[host.domain] = counts.get(host.domain, 0) + 1

    def of(self, passes: Mapping[str, Pass]) -> dict[str, tuple[Loss, list[Pass]]]:
        """For every service that a rolling pass touches, by name: its loss, and the passes that are at work then."""
        touching: dict[str, list[Pass]] = {}
        for work in passes.values():
            if work.rolling:
                for service in work.services:
                    touching.setdefault(service, []).append(work)
        edges = {name: [edge.before for edge in work.after] for name, work in passes.items()}
        above = graphs.ancestors(graphs.topological(passes, edges, natural), edges)
        return {service: self._worst(service, touching[service], above) for service in ordered(touching)}

    def _worst(self, service: str, passes: Sequence[Pass], above: Mapping[str, set[str]]) -> tuple[Loss, list[Pass]]:
        total = sum(self._sizes[role] for role in self._running.get(service, ()))
        worst: tuple[int, str, list[Pass]] | None = None
        for together in _together(passes, above):
            lost, why = self._bound(together)
            if worst is None or lost > worst[0]:
                worst = lost, why, together
        assert worst is not None, "a service is touched by a pass"
        return Loss(service=service, lost=worst[0], total=total, why=worst[1]), worst[2]

    def _bound(self, passes: Collection[Pass]) -> tuple[int, str]:
        """The most hosts that these passes can have out at once, and which limit says so."""
        by_role: dict[str, int] = {}
        whole = {found.role for found in passes if found.whole}
        for found in passes:
            # Canaries are finished before the others start: the larger part is the most that can be out.
            most = max(found.canaries, len(found.hosts) - found.canaries)
            by_role[found.role] = min(by_role.get(found.role, 0) + most, self._sizes[found.role])
        parts = []
        for role, most in by_role.items():
            limit = self._roles[role]
            if role in whole and limit.limit:
                parts.append((most, f"lockstep takes all of {role}"))
            elif limit.limit == 0:
                parts.append((0, f"{role} is held (limit 0)"))
            elif limit.limit < most:
                parts.append((limit.limit, f"limit {limit.limit} of {role}{_stated(limit.stated)}"))
            elif most < self._sizes[role]:
                parts.append((most, f"{most} of {role} go at once"))
            else:
                parts.append((most, f"all of {role} (limit {limit.limit})"))
        lost = sum(count for count, _ in parts)
        why = " + ".join(reason for _, reason in parts)
        for name in ordered(self._groups):
            group = self._groups[name]
            inside = [parts[index][0] for index, role in enumerate(by_role) if role in group.roles]
            if sum(inside) > group.limit:
                lost -= sum(inside) - group.limit
                why = f"limit {group.limit} of group {name} ({listing(group.roles)})"
        for bound, reason in (self._domains(by_role), self._total()):
            if bound is not None and bound < lost:
                lost, why = bound, reason
        return lost, why

    def _total(self) -> tuple[int | None, str]:
        limit = self._policy.limit
        return (None, "") if limit is None else (limit.resolve(self._all), f"limit {limit} in all")

    def _domains(self, by_role: Mapping[str, int]) -> tuple[int | None, str]:
        """The most that failure domains allow; hosts without a domain are not bound by it."""
        policy = self._policy
        if policy.domain_limit is None and not policy.domains_at_once:
            return None, ""
        counts: dict[str, int] = {}
        for role in by_role:
            for domain, count in self._role_domains[role].items():
                counts[domain] = counts.get(domain, 0) + count
        free = counts.pop("", 0)
        allowed = [
            min(count, policy.domain_limit.resolve(self._domain_sizes[domain])) if policy.domain_limit else count
            for domain, count in counts.items()
        ]
        allowed.sort(reverse=True)
        if policy.domains_at_once:
            allowed = allowed[: policy.domains_at_once]
        texts = [f"limit {policy.domain_limit} per domain"] if policy.domain_limit else []
        if policy.domains_at_once:
            texts.append(f"{policy.domains_at_once} domain{'s' if policy.domains_at_once > 1 else ''} at once")
        return free + sum(allowed), ", ".join(texts)


def _together(passes: Sequence[Pass], above: Mapping[str, set[str]]) -> Iterator[list[Pass]]:
    """Largest sets of passes that may be at work at once: of one stage, and none waits for another."""
    for stage in sorted({(work.stage, work.number or 0) for work in passes}):
        inside = [work for work in passes if (work.stage, work.number or 0) == stage]
        if len(inside) > EXACT:
            yield inside  # an upper bound: more than these are never at work at once
        elif inside:
            yield from _cliques([], inside, [], above)


def _cliques(
    chosen: list[Pass], free: list[Pass], past: list[Pass], above: Mapping[str, set[str]]
) -> Iterator[list[Pass]]:
    if not free and not past:
        yield chosen
    for index, one in enumerate(free):
        at_once = [work for work in (*past, *free) if work.id not in above[one.id] and one.id not in above[work.id]]
        later = set(map(id, free[index + 1 :]))
        yield from _cliques(
            [*chosen, one],
            [work for work in at_once if id(work) in later],
            [work for work in at_once if id(work) not in later and work is not one],
            above,
        )


def _stated(stated: str) -> str:
    return "" if stated.isdigit() else f" ({stated})"
