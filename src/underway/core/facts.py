"""What the planner knows of a cluster before it plans: who runs what, what changes, what is already done. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from underway.core.losses import limit_problems
from underway.core.model.cluster import Cluster
from underway.core.model.part import Part
from underway.core.model.plan import STAGES
from underway.core.model.policy import Policy
from underway.core.model.service import PHASES, Catalogue, Phase, PhaseSpec, Release, Service
from underway.core.model.state import HostRecord
from underway.core.names import listing, ordered, span
from underway.core.nearest import nearest
from underway.core.ordering import role_cycles, service_cycles
from underway.errors import OrderImpossible, Refused


@dataclass(frozen=True, slots=True)
class Facts:
    """A cluster as the planner sees it; made by ``gather``.

    ``members``: hosts of each role, canaries first, then in natural order. ``pending``: those of them that are to
    be upgraded now. ``releases``: hosts whose known release is not the cluster's. ``running``: service -> roles.
    ``services``: what takes part. ``catch_up``: the cluster is on the target already, only hosts that lag behind
    are upgraded. ``part``: what is planned now by choice. ``done``: services that earlier runs brought to the
    target, by host, of hosts that as a whole are not on it. ``outside``: hosts with services that wait for another
    plan, because ``part`` left them out. ``same``: services of the release of which nothing really changes.
    ``finished``: (service, phase) that earlier runs did for the whole deployment. ``driven``: hosts of roles that
    operators upgrade themselves; they are in none of the above but ``running``.
    """

    cluster: Cluster
    catalogue: Catalogue
    release: Release
    members: Mapping[str, tuple[str, ...]]
    pending: Mapping[str, tuple[str, ...]]
    canaries: Mapping[str, int]
    releases: Mapping[str, str]
    running: Mapping[str, tuple[str, ...]]
    services: tuple[str, ...]
    unchanged: tuple[str, ...]
    catch_up: bool
    part: Part = field(default_factory=Part)
    done: Mapping[str, frozenset[str]] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()
    finished: frozenset[tuple[str, Phase]] = frozenset()
    same: tuple[str, ...] = ()
    driven: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts_cache: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The release that is planned for."""
        return self.release.name

    def service(self, name: str) -> Service:
        """A service of the catalogue."""
        return self.catalogue.services[name]

    def phase(self, service: str, phase: Phase, once: bool) -> PhaseSpec | None:
        """A phase of a service, where it has steps and is (or is not) done once for all hosts."""
        spec = self.catalogue.services[service].phases.get(phase)
        return spec if spec is not None and spec.steps and (spec.once or phase in ALWAYS_ONCE) == once else None

    def hosts_of(self, service: str) -> tuple[str, ...]:
        """All hosts that run a service, in natural order."""
        if service not in self.hosts_cache:
            hosts = [host for role in self.running.get(service, ()) for host in self.members[role]]
            self.hosts_cache[service] = tuple(ordered(hosts))
        return self.hosts_cache[service]

    def primary(self, service: str) -> tuple[str, str, str]:
        """(host, its role, why) that does the once-only work of a service: a canary, else the first by name."""
        for role in self.running[service]:
            if role in self.driven:
                continue
            for host in self.cluster.roles[role].canary:
                return host, role, f"canary of {role}"
        hosts = self.hosts_of(service)
        first = hosts[0]
        return (
            first,
            self.cluster.hosts[first].role,
            f"first of {len(hosts):,} hosts" if len(hosts) > 1 else "its only host",
        )

    def once(self, phase: Phase) -> Iterator[str]:
        """Services that take part, have hosts, and have ``phase`` still to do, once for all of them."""
        return (
            name
            for name in self.services
            if self.phase(name, phase, once=True) and self.hosts_of(name) and (name, phase) not in self.finished
        )

    def behind(self, host: str) -> bool:
        """Whether a host as a whole is not known to be on the target."""
        return self.releases.get(host, self.cluster.release) != self.target


VISIT: tuple[Phase, ...] = ("drain", "upgrade", "undrain", "verify")
"""Phases of a rolling visit, in order. The drain goes against the needs: who needs others lets go first."""

ALWAYS_ONCE: frozenset[Phase] = frozenset({"expand", "contract", "migrate"})
"""Phases that change what all hosts share, and so are done once whether ``once`` says so or not."""


def gather(
    cluster: Cluster,
    catalogue: Catalogue,
    target: str,
    known: Mapping[str, HostRecord],
) -> Facts:
    """Check the inputs and derive what the planner needs for the whole upgrade (``parts.chosen``: for a part of it).

    Raises ``Refused`` (or ``OrderImpossible``, where that is all that is wrong) with every problem found.
    """
    problems: list[str | OrderImpossible] = [*_reference_problems(cluster, catalogue)]
    problems += _policy_problems(cluster.policy, cluster)
    release = catalogue.releases.get(target)
    releases = {
        name: found
        for name, host in cluster.hosts.items()
        if (found := known_release(name, host.release, known) or cluster.release) != cluster.release
    }
    if release is None:
        problems.append(_no_release(target, cluster.release, catalogue))
    else:
        problems += _jump_problems(cluster, catalogue, release, releases)
    problems += limit_problems(cluster)
    needs = {name: service.waits_for for name, service in catalogue.services.items()}
    deployed = {service for role in cluster.roles.values() for service in role.services if service in needs}
    problems += service_cycles(_closure(deployed, needs), needs)
    problems += role_cycles({name: role.after for name, role in cluster.roles.items()})
    refuse(problems)
    assert release is not None
    return _facts(cluster, catalogue, release, releases, known)


def known_release(name: str, stated: str, known: Mapping[str, HostRecord]) -> str:
    """The release that a host is known to run: the record of the last run, else what the file states, else nothing."""
    record = known.get(name)
    return record.release if record is not None and record.release else stated


def known_running(name: str, stated: str, known: Mapping[str, HostRecord], usual: str) -> str:
    """What a host runs, for people: its release (``usual`` where nothing else is known), and behind it the services
    that run another one: ``2025.2, keystone 2026.1``."""
    record = known.get(name)
    apart = sorted(record.services.items()) if record is not None else ()
    return ", ".join(
        (known_release(name, stated, known) or usual, *(f"{service} {release}" for service, release in apart))
    )


def refuse(problems: list[str | OrderImpossible]) -> None:
    """Raise what the problems ask for: nothing, one error, or one with a line for each."""
    if not problems:
        return
    cycles = [problem for problem in problems if isinstance(problem, OrderImpossible)]
    if len(cycles) == len(problems):
        first = cycles[0]
        first.args = ("\n".join(str(cycle) for cycle in cycles),)
        raise first
    raise Refused("\n".join(str(problem) for problem in problems))


def _facts(
    cluster: Cluster,
    catalogue: Catalogue,
    release: Release,
    releases: Mapping[str, str],
    known: Mapping[str, HostRecord],
) -> Facts:
    by_role: dict[str, list[str]] = {role: [] for role in cluster.roles}
    for name, host in cluster.hosts.items():
        by_role[host.role].append(name)
    members, pending, canaries, driven = {}, {}, {}, {}
    for role in ordered(cluster.roles):
        first = dict.fromkeys(cluster.roles[role].canary)
        members[role] = (*first, *(name for name in ordered(by_role[role]) if name not in first))
        if cluster.roles[role].operator_driven:
            driven[role], members[role] = members[role], ()
        left = tuple(name for name in members[role] if releases.get(name, cluster.release) != release.name)
        pending[role] = left if len(left) < len(members[role]) else members[role]
        canaries[role] = sum(1 for name in left[: len(first)] if name in first)
    running: dict[str, list[str]] = {}
    for role in ordered(cluster.roles):
        for service in cluster.roles[role].services:
            running.setdefault(service, []).append(role)
    changes = {name for name in running if not release.services or name in release.services}
    return Facts(
        cluster=cluster,
        catalogue=catalogue,
        release=release,
        members=members,
        pending=pending,
        canaries=canaries,
        releases=releases,
        running={name: tuple(roles) for name, roles in running.items()},
        services=tuple(ordered(changes)),
        unchanged=tuple(ordered(set(running) - changes)),
        catch_up=cluster.release == release.name,
        done={
            name: frozenset(done)
            for name, record in known.items()
            if name in cluster.hosts
            and releases.get(name, cluster.release) != release.name
            and (done := [service for service, runs in record.services.items() if runs == release.name])
        },
        driven=driven,
    )


def _closure(services: Collection[str], needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    found = set(services)
    queue = list(services)
    while queue:
        for need in needs.get(queue.pop(), ()):
            if need not in found:
                found.add(need)
                queue.append(need)
    return found


def _no_release(target: str, source: str, catalogue: Catalogue) -> str:
    reachable = ordered(name for name, release in catalogue.releases.items() if source in release.supports)
    names = (
        f"from {source} there {'are' if len(reachable) > 1 else 'is'} {listing(reachable)}"
        if reachable
        else (f"it has {listing(ordered(catalogue.releases)) or 'none'}, none of which supports a jump from {source}")
    )
    return f"the catalogue has no release {target!r}{nearest(target, catalogue.releases)}: {names}"


def _jump_problems(
    cluster: Cluster, catalogue: Catalogue, release: Release, releases: Mapping[str, str]
) -> Iterator[str]:
    supports = listing(ordered(release.supports)) or "none"
    if cluster.release != release.name and cluster.release not in release.supports:
        near = nearest(cluster.release, release.supports)
        steps = ordered(
            name
            for name, other in catalogue.releases.items()
            if cluster.release in other.supports and name in release.supports
        )
        way = f" (go by {listing(steps)} first)" if steps else ""
        yield (
            f"{release.name} cannot be reached from {cluster.release}{near or way}: it supports jumps from {supports}"
        )
    behind: dict[str, list[str]] = {}
    for host, found in releases.items():
        if found != release.name and found not in release.supports:
            behind.setdefault(found, []).append(host)
    for found in ordered(behind):
        hosts = ordered(behind[found])
        who = f"hosts {span(hosts)} run" if len(hosts) > 1 else f"host {hosts[0]} runs"
        yield f"{who} {found}, from which {release.name} cannot be reached: it supports jumps from {supports}"


def _reference_problems(cluster: Cluster, catalogue: Catalogue) -> Iterator[str]:
    """Names that do not exist. ``config`` finds them with their place; a cluster made otherwise is checked here."""
    for name in ordered(cluster.roles):
        role = cluster.roles[name]
        for service in role.services:
            if service not in catalogue.services:
                yield f"roles.{name}.services: there is no service {service!r}{nearest(service, catalogue.services)}"
        for other in role.after:
            if other not in cluster.roles:
                yield f"roles.{name}.after: there is no role {other!r}{nearest(other, cluster.roles)}"
            elif cluster.roles[other].operator_driven and not role.operator_driven:
                yield f"roles.{name}.after: operators upgrade role {other} themselves, so nothing can wait for it"
        for host in role.canary:
            if host not in cluster.hosts or cluster.hosts[host].role != name:
                yield f"roles.{name}.canary: {host!r} is no host of the role"
    for name, host_ in cluster.hosts.items():
        if host_.role not in cluster.roles:
            yield f"hosts.{name}.role: there is no role {host_.role!r}{nearest(host_.role, cluster.roles)}"
    grouped: dict[str, str] = {}
    for name in ordered(cluster.groups):
        for role_name in cluster.groups[name].roles:
            if role_name not in cluster.roles:
                yield f"groups.{name}.roles: there is no role {role_name!r}{nearest(role_name, cluster.roles)}"
            elif grouped.setdefault(role_name, name) != name:
                yield f"role {role_name} is in two groups, {grouped[role_name]} and {name}: expected one"
    used = {service for role in cluster.roles.values() for service in role.services}
    served = {service for role in cluster.roles.values() if not role.operator_driven for service in role.services}
    for name in ordered(used & set(catalogue.services)):
        for phase, spec in catalogue.services[name].phases.items():
            if phase not in PHASES:
                yield f"service {name}: there is no phase {phase!r}{nearest(phase, PHASES)}"
            if spec.on and spec.on not in served:
                yield f"service {name}, phase {phase}: 'on: {spec.on}' has no hosts{nearest(spec.on, used)}"


def _policy_problems(policy: Policy, cluster: Cluster) -> Iterator[str]:
    for name in policy.approvals:
        if name not in STAGES:
            yield f"policy.approvals: there is no stage {name!r}{nearest(name, STAGES)}: expected {', '.join(STAGES)}"
    for name in ordered(policy.role_limits):
        if name not in cluster.roles:
            yield f"policy.role_limits: there is no role {name!r}{nearest(name, cluster.roles)}"
    for name in ordered(policy.group_limits):
        if name not in cluster.groups:
            yield f"policy.group_limits: there is no group {name!r}{nearest(name, cluster.groups)}"


def phases_in_order(service: Service) -> list[Phase]:
    """The phases that a service has steps in, in the order of a run."""
    return [phase for phase in PHASES if phase in service.phases and service.phases[phase].steps]
