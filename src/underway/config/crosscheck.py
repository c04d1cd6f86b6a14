"""What spans the keys of ``cluster.yaml``: names that refer to names, limits that meet sizes, hosts that are twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from underway.config import names
from underway.config.documents import ClusterFile, HostFile, ServiceFile
from underway.config.graph import cycles
from underway.config.located import Document
from underway.config.secrets import variables
from underway.config.words import listing, nearest, one_of, path_text, shown
from underway.core.model.plan import STAGES
from underway.errors import Problem

Loc = tuple[str | int, ...]
MAX_HOSTS = 100_000


@dataclass(slots=True)
class Known:
    """Names that may be referred to, also those of parts that are wrong in themselves (one mistake, one message).

    ``sizes``: hosts of each role. ``services``: None where one could not be read. ``targets``: releases that have
    a file; ``sources``: releases that some release supports a jump from. ``abstract``: services that are there to be
    extended only. ``complete`` is false when a file of services or a directory could not be read: then nothing is
    called unknown for its absence.
    ``counted`` is false when a host's role is not known: then no limit is compared with a size.
    """

    roles: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    sizes: Counter[str] = field(default_factory=Counter)
    services: dict[str, ServiceFile | None] = field(default_factory=dict)
    abstract: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    complete: bool = True
    counted: bool = True


def known_of(value: Mapping[str, Any]) -> Known:
    """The names that the raw document of a cluster defines."""

    def keys(part: str) -> dict[str, Any]:
        found = value.get(part)
        return found if isinstance(found, dict) else {}

    known = Known(set(keys("roles")), set(keys("groups")), set(keys("hosts")))
    for host in keys("hosts").values():
        role = host.get("role") if isinstance(host, dict) else None
        if isinstance(role, str) and role in known.roles:
            known.sizes[role] += 1
        else:
            known.counted = False
    return known


def duplicates(doc: Document, loc: Loc, listed: Sequence[str | int]) -> Iterator[Problem]:
    """Entries of a list that stand in it twice."""
    seen: dict[str | int, int] = {}
    for index, one in enumerate(listed):
        if one in seen:
            first = doc.place((*loc, seen[one]))[0]
            message = f"{shown(one)} stands twice in this list: here and at line {first}"
            yield doc.problem((*loc, index), "duplicate", message, "keep one")
        else:
            seen[one] = index


def unknown(
    doc: Document, loc: Loc, word: str, what: str, valid: Collection[str], abstract: Collection[str] = ()
) -> Iterator[Problem]:
    """A name that refers to nothing. ``abstract``: names of services that no host can run."""
    if word in abstract and word not in valid:
        message = f"{shown(word)} is abstract: others extend it, no host runs it"
        yield doc.problem(loc, f"unknown-{what}", message, "name a service that extends it")
    elif word not in valid:
        hint = one_of(word, sorted(valid), f"{what}s")
        yield doc.problem(loc, f"unknown-{what.replace(' ', '-')}", f"unknown {what} {shown(word)}", hint)


def check_cluster(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    """Everything that is wrong with a cluster beyond the shape of its keys (limits: ``underway.config.limits``)."""
    yield from _presence(doc, cluster, known)
    yield from _roles(doc, cluster, known)
    yield from _groups(doc, cluster, known)
    yield from _hosts(doc, cluster, known)
    yield from _policy(doc, cluster, known)
    yield from variables(doc, ("settings",), cluster.settings)
    yield from duplicates(doc, ("catalogue",), cluster.catalogue)
    yield from duplicates(doc, ("numbers",), cluster.numbers)


def _presence(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    # the raw value is asked: what was left out because it is wrong has its own message
    if doc.value.get("hosts") == {}:
        yield doc.problem(("hosts",), "no-hosts", "the cluster has no hosts", "name at least one")
    if doc.value.get("roles") == {}:
        yield doc.problem(("roles",), "no-roles", "the cluster has no roles", "name at least one")
    if len(known.hosts) > MAX_HOSTS:
        yield doc.problem(
            ("hosts",), "too-big", f"{len(known.hosts):,} hosts; at most {MAX_HOSTS:,}", "split the cluster"
        )
    releases = known.targets | known.sources
    if known.complete and releases and "release" in doc.value and cluster.release not in releases:
        message = f"no release supports a jump from {shown(cluster.release)}"
        hint = nearest(cluster.release, sorted(releases)) or "add it to 'supports' of a release"
        yield doc.problem(("release",), "no-jump", message, hint, severity="warning")


def _roles(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    for name, role in cluster.roles.items():
        at: Loc = ("roles", name)
        for index, service in enumerate(role.services):
            if known.complete:
                yield from unknown(doc, (*at, "services", index), service, "service", known.services, known.abstract)
        yield from duplicates(doc, (*at, "services"), role.services)
        if not role.services and "services" in (doc.value["roles"][name] or {}):
            yield doc.problem((*at, "services"), "empty-role", "the role runs no services", severity="warning")
        for index, before in enumerate(role.after):
            where = (*at, "after", index)
            if before == name:
                yield doc.problem(where, "order-cycle", f"role {shown(name)} comes after itself: {name} -> {name}")
            elif before in known.groups and before not in known.roles:
                members = cluster.groups[before].roles if before in cluster.groups else []
                hint = f"name its roles: {listing(members)}" if members else "name its roles"
                yield doc.problem(where, "order-group", f"{shown(before)} is a group; roles come after roles", hint)
            else:
                yield from unknown(doc, where, before, "role", known.roles)
        yield from duplicates(doc, (*at, "after"), role.after)
        for index, host in enumerate(role.canary):
            where = (*at, "canary", index)
            yield from unknown(doc, where, host, "host", known.hosts)
            if host in cluster.hosts and cluster.hosts[host].role != name:
                message = f"canary {shown(host)} is a host of role {shown(cluster.hosts[host].role)}"
                yield doc.problem(where, "canary", message, f"name a host of role {name}")
        yield from duplicates(doc, (*at, "canary"), role.canary)
        yield from variables(doc, (*at, "vars"), role.vars)
        if name not in known.sizes:
            message = f"role {shown(name)} has no hosts"
            yield doc.problem(
                at, "empty-role", message, "give a host this role, or remove it", of="key", severity="warning"
            )
        elif known.complete and role.services:
            yield from _health(doc, at, name, role.services, known)
    order = {name: [before for before in role.after if before != name] for name, role in cluster.roles.items()}
    for cycle in cycles(order):
        index = order[cycle[0]].index(cycle[1])
        message = f"the order of roles is a cycle: {path_text(cycle)}"
        yield doc.problem(("roles", cycle[0], "after", index), "order-cycle", message, "remove one of these")


def _health(doc: Document, at: Loc, name: str, services: Sequence[str], known: Known) -> Iterator[Problem]:
    """A role of which nothing says whether its hosts are healthy (TRUST.md §4, 38)."""
    found = [known.services.get(service) for service in services]
    if all(one is not None and one.gate is None and "verify" not in one.phases for one in found):
        message = f"nothing says whether a host of role {shown(name)} is healthy"
        hint = "give one of its services a 'gate' or a 'verify' phase"
        yield doc.problem(at, "no-health", message, hint, of="key", severity="warning")


def _groups(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    member_of: dict[str, str] = {}
    for name, group in cluster.groups.items():
        if name in known.roles:
            message = f"{shown(name)} is a role, too: groups and roles share one set of names"
            yield doc.problem(("groups", name), "name-taken", message, "rename one", of="key")
        for index, role in enumerate(group.roles):
            where: Loc = ("groups", name, "roles", index)
            yield from unknown(doc, where, role, "role", known.roles)
            first = member_of.setdefault(role, name)
            if first != name:
                message = f"role {shown(role)} is in two groups: {first} and {name}"
                yield doc.problem(where, "two-groups", message, "a role is in at most one")
        yield from duplicates(doc, ("groups", name, "roles"), group.roles)


def _hosts(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    releases = known.targets | known.sources | {cluster.release}
    places: dict[tuple[str, int, str], str] = {}
    for name, host in cluster.hosts.items():
        if host.role not in known.roles:
            yield from unknown(doc, ("hosts", name, "role"), host.role, "role", known.roles)
        if name in known.roles or name in known.groups:
            message = f"{shown(name)} is also a role or group: Ansible patterns mean both"
            yield doc.problem(("hosts", name), "name-taken", message, "rename one", of="key", severity="warning")
        if host.release and host.release not in releases and known.complete:
            yield from unknown(doc, ("hosts", name, "release"), host.release, "release", releases)
        place = _place(name, host)
        first = places.setdefault(place, name)
        if first != name:
            line = doc.place(("hosts", first), "key")[0]
            what = f"directory {shown(place[2])}" if host.connection == "local" else f"{place[0]}:{place[1]}"
            message = f"hosts {first} (line {line}) and {name} are the same machine: {what}"
            at: Loc = ("hosts", name, "directory" if host.connection == "local" else "address")
            yield doc.problem(at, "same-machine", message, "give one of them another address, port or directory")
        if host.vars:
            yield from variables(doc, ("hosts", name, "vars"), host.vars)
    yield from _twins(doc)


def _place(name: str, host: HostFile) -> tuple[str, int, str]:
    """What tells one runner from another: on this machine its directory, else the way to it, too."""
    directory = host.directory.rstrip("/")
    if host.connection == "local":
        return "", 0, directory
    return names.same_address(host.address or name), host.port, directory


def _twins(doc: Document) -> Iterator[Problem]:
    """Names that differ in upper and lower case only: one machine, written twice (TRUST.md §4, 55)."""
    hosts = doc.value.get("hosts")
    seen: dict[str, str] = {}
    for name in hosts if isinstance(hosts, dict) else ():
        first = seen.setdefault(name.lower(), name)
        if first != name:
            line = doc.place(("hosts", first), "key")[0]
            message = f"host {shown(name)} is {shown(first)} of line {line}: names differ in upper and lower case only"
            yield doc.problem(("hosts", name), "duplicate-host", message, "keep one, in lower case", of="key")


def _policy(doc: Document, cluster: ClusterFile, known: Known) -> Iterator[Problem]:
    policy = cluster.policy
    for index, stage in enumerate(policy.approvals):
        yield from unknown(doc, ("policy", "approvals", index), stage, "stage", STAGES)
    yield from duplicates(doc, ("policy", "approvals"), policy.approvals)
    for service in policy.outage_budget:
        if known.complete and service not in known.services:
            hint = one_of(service, sorted(known.services), "services")
            message = f"unknown service {shown(service)}"
            yield doc.problem(("policy", "outage_budget", service), "unknown-service", message, hint, of="key")
    for key in ("domain_limit", "domains_at_once"):
        if key in policy.model_fields_set and not any(host.domain for host in cluster.hosts.values()):
            message = f"'{key}' has no effect: no host names its failure domain"
            yield doc.problem(
                ("policy", key), "no-domains", message, "give hosts a 'domain'", of="key", severity="warning"
            )
