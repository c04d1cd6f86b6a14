"""What was understood of a tree, as files of ours: a service a template, a role a role, parameters as settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from underway.config import names
from underway.config.words import shown
from underway.core.names import slug
from underway.errors import FileProblems, Problem
from underway.importers.native import Native
from underway.importers.tripleo.collect import Collection, Placed, Service, counts
from underway.importers.tripleo.inputs import Environment, Role
from underway.importers.tripleo.made import FORWARD, FORWARD_POST, MadeOf, made_of
from underway.importers.tripleo.nodes import Node, Refusal
from underway.importers.tripleo.parameters import Reference, snake
from underway.importers.tripleo.puppet import CONFIGURE, configuration, manifest_of
from underway.importers.tripleo.settings import Settings, settings_of
from underway.importers.tripleo.steps import CONFIGURATION, OFFSETS, modules
from underway.importers.tripleo.tasks import STEPS
from underway.importers.tripleo.tidy import LATEST
from underway.importers.tripleo.variables import outside, references

STACK = "overcloud"
CONTROL = "undercloud"
_BOOTSTRAP = re.compile(r"(\w+)_short_bootstrap_node_name")


@dataclass(slots=True)
class Converted:
    """The files, and what is to be told about them.

    ``refused``: by the key of a template, why it could not become a service of ours. ``asked``: tasks that run only
    when a tag is asked for; they are not in the files. ``needed``: variables that TripleO's inventory had.
    """

    native: Native
    refused: dict[str, Problem] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    needed: dict[str, list[str]] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    """Roles with nothing to do: they and their hosts are not in the files."""
    modules: set[str] = field(default_factory=set)
    """Modules that hosts must have beside ansible-core."""
    settings: Settings = field(default_factory=Settings)
    services: dict[str, str] = field(default_factory=dict)
    """Name of a service -> key of its template."""


def convert(
    collection: Collection, environment: Environment, source: str, target: str, forward: Sequence[str] = ()
) -> Converted:
    """The files of a collection. Raises ``FileProblems`` for what no file of ours can say (no host, name clashes)."""
    named = _names([placed for placed in collection.placed if placed.services])
    converted = Converted(Native({}))
    made: dict[str, MadeOf] = {}
    for service, name in named.values():
        try:
            made[name] = made_of(service, collection.selector, forward)
        except Refusal as refusal:
            converted.refused[service.template.key] = refusal.problem
            continue
        converted.services[name] = service.template.key
        if made[name].asked:
            converted.asked[service.template.key] = [task.label for task in made[name].asked]
    used = {service.template.key: (name, service) for service, name in named.values() if name in made}
    converted.settings = settings_of(
        (
            (name, reference, node)
            for name, service in used.values()
            for reference, node in _references(service, forward)
        ),
        environment.defaults,
    )
    control: list[str] = []
    for name, service in used.values():
        _service(converted, name, service, made[name], target)
        if made[name].control:
            control.append(_control(converted, name, service, made[name], target))
    _cluster(converted, collection, environment, used, source, target, forward)
    if control:
        converted.native.cluster["roles"][CONTROL] = {"services": control}
        converted.native.cluster["hosts"][CONTROL] = {"role": CONTROL}
        converted.native.notes["roles", CONTROL] = "The host from which TripleO runs external_upgrade_tasks (B24)"
    if converted.settings.problems:
        raise FileProblems(converted.settings.problems)
    return converted


def _references(service: Service, forward: Sequence[str]) -> Iterator[tuple[Reference, Node]]:
    for key in (FORWARD, FORWARD_POST) if forward else OFFSETS:
        for task in service.lists.get(key, []):
            if not task.asked:
                yield from references(task.node)


def _names(placed: Sequence[Placed]) -> dict[str, tuple[Service, str]]:
    """A name for each template: ``cinder-api``, or with its directory where two templates would have one name."""
    services = {service.template.key: service for one in placed for service in one.services}
    found: dict[str, list[str]] = {}
    for key, service in services.items():
        found.setdefault(slug(service.name or service.template.stem), []).append(key)
    named: dict[str, tuple[Service, str]] = {}
    for name, keys in found.items():
        for key in keys:
            whole = slug(key.removesuffix(".yaml"))[-63:].strip("-")
            chosen = name if len(keys) == 1 and names.name(name, "service") is None else whole
            named[key] = services[key], chosen
    return named


def _service(converted: Converted, name: str, service: Service, made: MadeOf, target: str) -> None:
    phases: dict[str, Any] = {}
    if made.upgrade:
        phases["upgrade"] = made.upgrade
    if made.once:
        phases["migrate"] = {"once": True, "steps": made.once}
    tasks = [task for step in (*made.upgrade, *made.once) for task in step["tasks"]]
    converted.native.services[name] = _written(converted, name, tasks, phases)
    converted.native.service_heads[name] = f"Imported from {service.template.key} of TripleO, for {target}."


def _control(converted: Converted, name: str, service: Service, made: MadeOf, target: str) -> str:
    own = f"{name}-external"[:63]
    tasks = [task for step in made.control for task in step["tasks"]]
    converted.native.services[own] = _written(converted, own, tasks, {"upgrade": made.control})
    head = f"Imported from external_upgrade_tasks of {service.template.key} of TripleO, for {target}."
    converted.native.service_heads[own] = head
    return own


def _written(converted: Converted, name: str, tasks: list[dict[str, Any]], phases: dict[str, Any]) -> dict[str, Any]:
    """A service's file: its defaults, a look at what must be set, its phases."""
    converted.modules |= {module for task in tasks for module in modules(task)}
    own = dict(converted.settings.used_by(name))
    if any(LATEST in str(task) for task in tasks):
        own[LATEST] = "latest"
    needed = []
    for variable in outside(tasks, {*converted.settings.values, *converted.settings.missing, *own}):
        bootstrap = _BOOTSTRAP.fullmatch(variable)
        if bootstrap is not None and slug(bootstrap[1]) in converted.services:
            first = f"(underway_hosts_by_service['{slug(bootstrap[1])}'] | first).name"
            own[variable] = f"{{{{ {first}.split('.')[0] }}}}"
        else:
            needed.append(variable)
    if needed:
        converted.needed[name] = needed
    written: dict[str, Any] = {"service": name, "duplicates": "once"}
    if own:
        written["vars"] = own
    unset = sorted(variable for variable in converted.settings.missing if any(variable in str(task) for task in tasks))
    if needed or unset:
        assertion = {
            "name": "What the tasks read is set",
            "ansible.builtin.assert": {
                "that": [f"{variable} is defined" for variable in (*unset, *needed)],
                "fail_msg": "set these in 'settings' of cluster.yaml",
            },
        }
        preflight = [{"step": "settings are there", "read_only": True, "tasks": [assertion]}]
        phases = {"preflight": preflight, **phases}
    if phases:
        written["phases"] = phases
    return written


def _cluster(
    converted: Converted,
    collection: Collection,
    environment: Environment,
    used: Mapping[str, tuple[str, Service]],
    source: str,
    target: str,
    forward: Sequence[str],
) -> None:
    roles: dict[str, Any] = {}
    hosts: dict[str, Any] = {}
    notes: dict[tuple[str, ...], str] = {}
    wrong: list[Problem] = []
    puppet = not forward and collection.notation == "tags" and any(manifest_of(placed) for placed in collection.placed)
    for placed in collection.placed:
        role = placed.role
        name = snake(role.name).replace("_", "-")
        found = names.name(name, "role")
        if found is not None:
            wrong.append(Problem(*role.place, *found))
            continue
        services = [used[service.template.key][0] for service in placed.services if service.template.key in used]
        body: dict[str, Any] = {"services": services}
        if puppet and manifest_of(placed):
            body["services"] = [*services, CONFIGURE]
            body["vars"] = {"tripleo_manifest": manifest_of(placed)}
        body["limit"] = role.batch if collection.notation == "tags" else role.serial
        if role.disabled:
            body["operator_driven"] = True
        if not body["services"]:
            converted.idle.append(role.name)
            continue
        roles[name] = body
        notes["roles", name] = f"{role.name}, {role.place}" + (
            "\ndisable_upgrade_deployment: an operator upgrades its hosts one by one" if role.disabled else ""
        )
        try:
            count = counts(role, environment)
        except Refusal as refusal:
            wrong.append(refusal.problem)
            continue
        hosts |= {host: {"role": name} for host in _hosts(role, count)}
    if not hosts:
        at = collection.placed[0].role.place if collection.placed else None
        message = "no role has a host: CountDefault is 0 or absent everywhere"
        hint = "give their number in an environment: parameter_defaults: {ControllerCount: 3}"
        if at is not None and not wrong:
            wrong.append(Problem(*at, "no-hosts", message, hint))
    if wrong:
        raise FileProblems(wrong)
    if puppet:
        converted.native.services[CONFIGURE] = configuration()
        converted.native.service_heads[CONFIGURE] = "Puppet, as TripleO runs it after the upgrade steps (B18)."
    native = converted.native
    native.cluster = {
        "cluster": STACK,
        "release": source,
        "delivery": "package",
        "strategy": "lockstep",
        "numbers": _numbers(native.services, forward, puppet=puppet),
        "roles": roles,
        "hosts": hosts,
        "policy": {"allow_full_outage": True},
    }
    settings = converted.settings
    if settings.values:
        native.cluster["settings"] = {name: settings.values[name] for name in sorted(settings.values)}
    for name in settings.values:
        notes["settings", name] = settings.origins[name]
    notes["policy",] = (
        "All hosts of all roles do a step together, and the next one when all have: TripleO's order, with\nits outage."
    )
    notes["numbers",] = (
        "Batch steps 0-2, upgrade steps 10-15 (step 0-5), Puppet 21-25 (step 1-5), post steps 30-33, external 40-42.\n"
        "Of fast forward, 100 and more: a hundred for each release. 99 is the number of what TripleO never selects."
    )
    notes["hosts",] = "Names and numbers as TripleO would make them. Give each host its 'address'."
    native.notes = notes
    native.head = _head(converted)
    native.releases = {
        target: {
            "release": target,
            "supports": [source],
            "services": dict.fromkeys(native.services, target),
        }
    }
    native.release_heads = {target: f"All that was imported changes with {target}."}


def _hosts(role: Role, count: int) -> list[str]:
    pattern = role.hostnames or f"%stackname%-{role.name.lower()}-%index%"
    found = []
    for index in range(count):
        name = pattern.replace("%stackname%", STACK).replace("%index%", str(index)).lower()
        wrong = names.host_name(name)
        if wrong is not None or (count > 1 and "%index%" not in pattern):
            message = f"HostnameFormatDefault {shown(role.hostnames)} gives no names of hosts"
            raise FileProblems([Problem(*role.place, "name", message, "for example '%stackname%-controller-%index%'")])
        found.append(name)
    return found


def _numbers(services: Mapping[str, Any], forward: Sequence[str], *, puppet: bool) -> list[int]:
    """The numbers that are run: those of every list that any service has."""
    present: set[int] = set()
    for service in services.values():
        for step in service.get("phases", {}).get("upgrade", ()):
            present |= {step["number"]} if "number" in step else set(step["numbers"])
    numbers: list[int] = []
    for key, (offset, _) in OFFSETS.items():
        own = [offset + step for step in STEPS[key]]
        if key == "upgrade_tasks" or present & set(own):
            numbers += own
    if forward:
        numbers = [100 * place + step for place in range(1, len(forward) + 1) for step in range(10)]
    return sorted({*numbers, *(CONFIGURATION if puppet else ())})


def _head(converted: Converted) -> str:
    lines = ["Imported from TripleO by 'underway import tripleo'. Look at 'hosts', then: underway validate"]
    if converted.settings.missing:
        lines.append("")
        lines.append("To be set in 'settings' before anything runs (preflight asks):")
        for name in sorted(converted.settings.missing):
            origin = converted.settings.origins[name].splitlines()[0]
            lines.append(f"  {name}: {converted.settings.missing[name]}; {origin}")
    needed = sorted({name for found in converted.needed.values() for name in found})
    if needed:
        lines.append("")
        lines.append("Variables that TripleO's own inventory gives, and this file must (preflight asks):")
        lines += [f"  {name}" for name in needed]
    if converted.idle:
        lines += ["", f"Roles that have nothing to do, and are left out: {', '.join(converted.idle)}"]
    if converted.modules:
        lines.append("")
        lines.append("Modules beside ansible-core that hosts must have (collections, or TripleO's own):")
        lines += [f"  {name}" for name in sorted(converted.modules)]
    return "\n".join(lines)
