"""What to look at when something went wrong: which hosts and services, around which moment, which lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from underway.core.model.base import replace
from underway.core.model.cluster import Cluster, Role
from underway.core.model.plan import Plan
from underway.core.rows import Summary
from underway.core.words import some

BEFORE = 600.0
AFTER = 120.0
"""Seconds around the moment that logs are kept of: what led to it, and what followed."""

UNDATED = 500
"""Last lines that are kept of a log without times."""


@dataclass(frozen=True, slots=True)
class Concern:
    """``at``: the moment (Unix seconds). ``services`` by host. ``why``: one sentence."""

    at: float
    services: Mapping[str, tuple[str, ...]]
    why: str


def concern(summary: Summary, cluster: Cluster, needs: Mapping[str, Sequence[str]]) -> Concern | None:
    """What a run's trouble is about: hosts that failed or are unknown, else outages; None where there was none.

    Of a host, the services of the step that did not end well (all of its role, where no step is known); and of those
    the ones that they need, on every host that runs them: a service fails for what stands below it.
    """
    bad = [row for row in summary.steps if row.outcome in ("failed", "unknown")]
    hosts = [row.host for row in summary.hosts if row.state in ("failed", "unknown")]
    services: dict[str, set[str]] = {}
    if hosts:
        for name in hosts:
            of_steps = {row.service for row in bad if row.host == name and row.service}
            services[name] = of_steps or set(_of_host(cluster, name))
        ends = [row.end or row.start for row in bad if row.host in hosts]
        at = max(ends, default=summary.ended or summary.written)
        why = f"{some(hosts)} did not end well"
    else:
        out = [row for row in summary.outages if row.label.startswith("O")]
        if not out:
            return None
        longest = max(out, key=lambda row: row.length)
        at = longest.start
        why = f"{longest.label}: {longest.probe} was out: {longest.cause}"
        for cause in longest.causes:
            services.setdefault(cause.host, set()).add(cause.service)
        for name in _hosts_of(cluster, longest.service):
            services.setdefault(name, set()).add(longest.service)
    below = {need for found in services.values() for service in found for need in needs.get(service, ())}
    for need in below:
        for name in _hosts_of(cluster, need):
            services.setdefault(name, set()).add(need)
    return Concern(at, {name: tuple(sorted(found - {""})) for name, found in sorted(services.items())}, why)


def with_plan(cluster: Cluster, plan: Plan) -> Cluster:
    """A cluster as written now, with the hosts of a run's plan that are no longer in it (and their roles), where the
    plan has them: a run that goes on or that failed is also about these."""
    hosts = {name: host for name, host in plan.hosts.items() if name not in cluster.hosts}
    roles: dict[str, Role] = {}
    for role in sorted({host.role for host in hosts.values()} - set(cluster.roles)):
        services = dict.fromkeys(one for found in plan.passes.values() if found.role == role for one in found.services)
        roles[role] = Role(name=role, services=tuple(services), vars=plan.role_vars.get(role, {}))
    return replace(cluster, hosts={**hosts, **cluster.hosts}, roles={**roles, **cluster.roles})


def _of_host(cluster: Cluster, name: str) -> tuple[str, ...]:
    host = cluster.hosts.get(name)
    return cluster.roles[host.role].services if host is not None else ()


def _hosts_of(cluster: Cluster, service: str) -> list[str]:
    return [name for name in cluster.hosts if service in _of_host(cluster, name)]


_STAMP = re.compile(
    r"^\W{0,2}(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,6})\d*)?\s?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


def stamp_of(line: str, offset: float) -> float | None:
    """When a log line says that it was written (Unix seconds): ISO 8601, or as oslo.log does; None where it does not.

    ``offset``: seconds that the host's local time is ahead of UTC, for lines that name no zone.
    """
    match = _STAMP.match(line)
    if match is None:
        return None
    try:
        found = datetime.fromisoformat(f"{match['date']}T{match['time']}").replace(tzinfo=UTC)
        part = float(f"0.{match['part']}") if match["part"] else 0.0
        zone = match["zone"]
        if zone in (None, ""):
            return found.timestamp() + part - offset
        if zone == "Z":
            return found.timestamp() + part
        sign = -1 if zone[0] == "-" else 1
        ahead = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        return found.timestamp() + part - sign * ahead
    except ValueError:
        return None


def around(lines: Iterable[str], at: float, offset: float, before: float = BEFORE, after: float = AFTER) -> list[str]:
    """The lines of a log around a moment; a line without a time belongs to the one before it.

    The last ``UNDATED`` lines of a log in which no line has a time.
    """
    kept: list[str] = []
    undated: list[str] = []
    inside = dated = False
    for line in lines:
        stamp = stamp_of(line, offset)
        if stamp is not None:
            dated = True
            inside = at - before <= stamp <= at + after
        if not dated:
            undated = [*undated[-UNDATED:], line]
        elif inside:
            kept.append(line)
    return kept if dated else undated[-UNDATED:]
