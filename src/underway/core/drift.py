"""What differs between the world that a plan was made for and the world as it is now (promise P8). Pure.

Most of the input stands in the plan as it is (hosts, settings, policy, probes) and is compared by value; the rest
(catalogue, roles, groups) by digest, and hosts whose release was not the cluster's are named in ``Plan.inputs``. So the
inputs of a plan of 10,000 hosts stay as small as those of a plan of three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from underway.core.facts import known_running
from underway.core.model.base import Value, canonical, digest
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Plan
from underway.core.model.service import Catalogue
from underway.core.model.state import HostRecord
from underway.core.names import ordered
from underway.core.words import some

ROLE_FIELDS = ("services", "limit", "after", "canary")

MODEL_FILES = (".yaml", ".yml", ".json")
"""Inputs that the plan takes in by meaning: a comment that was added to one of them is no drift."""

NAMED = 20
"""Hosts that one sentence names; a number stands for the rest."""


def input_digests(
    cluster: Cluster,
    catalogue: Catalogue,
    target: str,
    digests: Mapping[str, str],
    known: Mapping[str, HostRecord],
    reached: Iterable[tuple[str, str]],
) -> dict[str, str]:
    """``Plan.inputs``: part of the input -> its digest (``runs/<host>`` -> release, and the services that run another
    one). ``reached``: (service, phase) that earlier runs did for the whole deployment (``milestones.standing``).
    """
    found = {f"file/{name}": value for name, value in digests.items()}
    for name, role in cluster.roles.items():
        for part in ROLE_FIELDS:
            found[f"role/{name}/{part}"] = digest(getattr(role, part))
    for name, group in cluster.groups.items():
        found[f"group/{name}"] = digest(group)
    for name in _used_services(cluster, catalogue):
        found[f"service/{name}"] = digest(catalogue.services[name])
    source = catalogue.releases.get(cluster.release)
    if source is not None and source.manifest is not None:
        found["manifest"] = digest(source.manifest)
    if target in catalogue.releases:
        found[f"release/{target}"] = digest(catalogue.releases[target])
    for name, release in _releases(cluster, known):
        if release != cluster.release:
            found[f"runs/{name}"] = release
    found |= {f"done/{service}/{phase}": target for service, phase in reached}
    found["delivery"] = cluster.delivery
    if cluster.strategy != "rolling":
        found["strategy"] = cluster.strategy
    if cluster.numbers:
        found["numbers"] = ", ".join(map(str, cluster.numbers))
    for name, role in cluster.roles.items():
        if role.operator_driven:
            found[f"driven/{name}"] = "by operators"
    return found


def drift(
    plan: Plan,
    cluster: Cluster,
    catalogue: Catalogue,
    digests: Mapping[str, str],
    known: Mapping[str, HostRecord] | None = None,
    reached: Iterable[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """A sentence for each difference, empty where the plan still fits. Values of settings and vars are never named:
    they may be secret."""
    now = input_digests(cluster, catalogue, plan.target, digests, known or {}, () if plan.every else reached)
    return (
        *_cluster(plan, cluster, now),
        *_hosts(plan, cluster, known or {}),
        *_roles(plan, cluster, now),
        *_by_digest("group", plan.inputs, now),
        *_catalogue(plan, catalogue, now),
        *_manifest(plan, now),
        *_done(plan, now),
        *_settings(plan, cluster),
        *_fields("policy", plan.policy, cluster.policy),
        *_probes(plan, cluster),
        *_files(plan, now),
    )


def _cluster(plan: Plan, cluster: Cluster, now: Mapping[str, str]) -> Iterator[str]:
    if plan.cluster != cluster.name:
        yield f"the cluster is {cluster.name}, planned for {plan.cluster}"
    if plan.source != cluster.release:
        yield f"the cluster's release is {cluster.release}, planned from {plan.source}"
    if plan.inputs.get("delivery") not in (None, now["delivery"]):
        yield f"delivery is {now['delivery']}, planned with {plan.inputs['delivery']}"
    if plan.inputs.get("strategy") != now.get("strategy"):
        yield f"strategy is {cluster.strategy}, planned with {plan.inputs.get('strategy', 'rolling')}"
    if plan.inputs.get("numbers") != now.get("numbers"):
        was = plan.inputs.get("numbers", "all of them")
        yield f"numbers of steps that are run: {now.get('numbers', 'all of them')}, planned with {was}"
    for role in cluster.roles.values():
        if role.operator_driven != (f"driven/{role.name}" in plan.inputs) and role.name in plan.roles:
            who = "operators upgrade it themselves" if role.operator_driven else "operators do not upgrade it any more"
            yield f"role {role.name}: {who}, which the plan does not know"


def _hosts(plan: Plan, cluster: Cluster, known: Mapping[str, HostRecord]) -> Iterator[str]:
    added = ordered(cluster.hosts.keys() - plan.hosts.keys())
    gone = ordered(plan.hosts.keys() - cluster.hosts.keys())
    if added:
        yield f"host{'s' if len(added) > 1 else ''} added: {some(added, NAMED)}"
    if gone:
        yield f"host{'s' if len(gone) > 1 else ''} removed: {some(gone, NAMED)}"
    moved: dict[tuple[str, str], list[str]] = {}
    for name, release in _releases(cluster, known):
        planned = plan.inputs.get(f"runs/{name}", plan.source)
        if name in plan.hosts and release != planned:
            moved.setdefault((release, planned), []).append(name)
    for (release, planned), names in sorted(moved.items()):
        one = len(names) == 1
        who = f"host {names[0]} runs" if one else f"hosts {some(ordered(names), NAMED)} run"
        yield f"{who} {release}, planned from {planned}"
    changed = [name for name, host in plan.hosts.items() if name in cluster.hosts and host != cluster.hosts[name]]
    for name in ordered(changed):
        yield from _fields(f"host {name}", plan.hosts[name], cluster.hosts[name], skip=("release",))


def _releases(cluster: Cluster, known: Mapping[str, HostRecord]) -> Iterator[tuple[str, str]]:
    for name, host in cluster.hosts.items():
        yield name, known_running(name, host.release, known, cluster.release)


def _roles(plan: Plan, cluster: Cluster, now: Mapping[str, str]) -> Iterator[str]:
    then = {key.split("/")[1] for key in plan.inputs if key.startswith("role/")}
    for name in ordered(cluster.roles.keys() - then):
        yield f"role added: {name}"
    for name in ordered(then - cluster.roles.keys()):
        yield f"role removed: {name}"
    for name in ordered(then & cluster.roles.keys()):
        for part in ROLE_FIELDS:
            if plan.inputs.get(f"role/{name}/{part}") != now[f"role/{name}/{part}"]:
                yield f"role {name}: {part} changed to {_shown(getattr(cluster.roles[name], part))}"
        for path in differing(plan.role_vars.get(name, {}), cluster.roles[name].vars):
            yield f"role {name}: vars.{path} changed"


def _catalogue(plan: Plan, catalogue: Catalogue, now: Mapping[str, str]) -> Iterator[str]:
    yield from _by_digest("service", plan.inputs, now)
    if plan.target not in catalogue.releases:
        yield f"release {plan.target} is no longer in the catalogue"
    elif plan.inputs.get(f"release/{plan.target}") != now[f"release/{plan.target}"]:
        yield f"release {plan.target} changed in the catalogue"


def _manifest(plan: Plan, now: Mapping[str, str]) -> Iterator[str]:
    if plan.inputs.get("manifest") != now.get("manifest"):
        yield f"what hosts of {plan.source} are made of (its manifest) changed in the catalogue"


def _done(plan: Plan, now: Mapping[str, str]) -> Iterator[str]:
    """Work for the whole deployment that another run did since, or that the plan takes for done and is not."""
    for key in ordered({key for key in (*plan.inputs, *now) if key.startswith("done/")}):
        service, _, phase = key.removeprefix("done/").partition("/")
        if key not in now:
            yield f"{phase} of {service} is no longer known to be done for {plan.target}"
        elif key not in plan.inputs:
            yield f"{phase} of {service} was done for {plan.target} since"


def _by_digest(kind: str, then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    prefix = kind + "/"
    for key in ordered({key for key in (*then, *now) if key.startswith(prefix)}):
        name = key.removeprefix(prefix)
        where = " in the catalogue" if kind == "service" else ""
        if key not in now:
            yield f"{kind} {name} is no longer used" if kind == "service" else f"{kind} removed: {name}"
        elif key not in then:
            yield f"{kind} added: {name}"
        elif then[key] != now[key]:
            yield f"{kind} {name} changed{where}"


def _settings(plan: Plan, cluster: Cluster) -> Iterator[str]:
    for path in differing(plan.settings, cluster.settings):
        yield f"setting {path} changed"


def _probes(plan: Plan, cluster: Cluster) -> Iterator[str]:
    for name in ordered(cluster.probes.keys() | plan.probes.keys()):
        if name not in plan.probes:
            yield f"probe added: {name}"
        elif name not in cluster.probes:
            yield f"probe removed: {name}"
        elif plan.probes[name] != cluster.probes[name]:
            old, new = plan.probes[name], cluster.probes[name]
            fields = [part for part in old.__struct_fields__ if getattr(old, part) != getattr(new, part)]
            yield f"probe {name}: {', '.join(fields)} changed"


def _files(plan: Plan, now: Mapping[str, str]) -> Iterator[str]:
    for key in ordered({key for key in (*plan.inputs, *now) if key.startswith("file/")}):
        name = key.removeprefix("file/")
        if name.endswith(MODEL_FILES) or "." not in name.rpartition("/")[2]:
            continue
        if key not in now:
            yield f"file {name} is gone"
        elif key not in plan.inputs:
            yield f"file {name} is new"
        elif plan.inputs[key] != now[key]:
            yield f"file {name} changed"


def _fields(what: str, old: Value, new: Value, skip: tuple[str, ...] = ()) -> Iterator[str]:
    for part in old.__struct_fields__:
        before, after = getattr(old, part), getattr(new, part)
        if before == after or part in skip:
            continue
        if isinstance(before, dict):
            for path in differing(before, after):
                yield f"{what}: {part}.{path} changed"
        else:
            yield f"{what}: {part} is {_shown(after)}, planned with {_shown(before)}"


def _shown(value: object) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value) or "none"
    if isinstance(value, Value) and hasattr(value, "text"):
        return str(value.text)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if str(value) else "empty"


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Dotted paths of the keys that differ; where both sides are mappings, of the keys inside.

    Both are compared in the form that a saved plan has, so that what JSON cannot tell apart is no difference.
    """
    return list(_paths(msgspec.json.decode(canonical(old)), msgspec.json.decode(canonical(new))))


def _paths(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in ordered(old.keys() | new.keys()):
        before, after = old.get(key, msgspec.UNSET), new.get(key, msgspec.UNSET)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from (f"{key}.{path}" for path in _paths(before, after))
        elif before is msgspec.UNSET or after is msgspec.UNSET or canonical(before) != canonical(after):
            yield key


def _used_services(cluster: Cluster, catalogue: Catalogue) -> list[str]:
    """Services that the cluster's roles run, and what those need at any distance."""
    queue = [name for role in cluster.roles.values() for name in role.services]
    found: set[str] = set()
    while queue:
        name = queue.pop()
        if name not in found and name in catalogue.services:
            found.add(name)
            queue += catalogue.services[name].waits_for
    return ordered(found)
