"""Variables of a host, by rank: defaults of services, the release's, settings, the role's, the host's.

Values of services and releases are catalogue content: they may be templates. Values of ``cluster.yaml`` (settings,
roles, hosts) are data: every string in them goes out under ``!unsafe`` and reaches Ansible as text, whatever it holds
(TRUST.md §4, 61). ``{"__ansible_vault": text}`` goes out under ``!vault``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from underway.core.model.base import canonical
from underway.core.model.cluster import Host
from underway.core.model.plan import Leg, Pass, Plan
from underway.errors import InputError
from underway.render.names import check_variable, pass_group, role_group
from underway.render.yamltext import Tagged, block

VAULT = "__ansible_vault"
UNSAFE = "__ansible_unsafe"

BY_ROLE = "underway_hosts_by_role"
BY_SERVICE = "underway_hosts_by_service"
TARGET_VARS = "underway_target_vars"
DELIVERY = "underway_delivery"
ON_DEMAND = (BY_ROLE, BY_SERVICE, TARGET_VARS, DELIVERY)
"""Long values and rare ones, written only where the tasks (or the catalogue's variables) of what is run name them: a
list of 10,000 hosts in 10,000 orders would be 100 million lines."""

_ADDRESS = re.compile(r"[A-Za-z0-9._:%\[\]-]*")
_USER = re.compile(r"[A-Za-z0-9._@\\-]*")


_READ_OTHERWISE = re.compile(
    r"|~|=|<<|(?i:null|true|false|yes|no|on|off|[-+]?\.(?:inf|nan))|[-+.0-9][-+.:_0-9a-fA-FxXtTzZ \t]*"
)
"""Text that YAML 1.1 reads as a number, a date, a truth value or nothing, unless it is in quotes. Under ``!unsafe``
Ansible 2.19 does so in spite of quotes (``"2.10"`` becomes 2.1). None of it can be a template: it needs no mark."""


def data(value: Any) -> Any:
    """Data of the operator's files, every string marked as such, but where the mark would make it another value."""
    match value:
        case str():
            return value if _READ_OTHERWISE.fullmatch(value) else Tagged("!unsafe", value)
        case Mapping():
            return _marked(value) or {key: data(item) for key, item in value.items()}
        case list() | tuple():
            return [data(item) for item in value]
        case _:
            return value


def content(value: Any) -> Any:
    """Content of the catalogue: templates stay templates; only the marks of Ansible's JSON become tags."""
    match value:
        case Mapping():
            return _marked(value) or {key: content(item) for key, item in value.items()}
        case list() | tuple():
            return [content(item) for item in value]
        case _:
            return value


def _marked(value: Mapping[str, Any]) -> Tagged | None:
    for mark, tag in ((VAULT, "!vault"), (UNSAFE, "!unsafe")):
        if set(value) == {mark} and isinstance(value[mark], str):
            return Tagged(tag, value[mark])
    return None


class Variables:
    """Variables of a plan's hosts. Built once per plan; what many hosts share is worked out once.

    Raises ``InputError`` for a name that no variable may have, with its place in the files.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._check_names()
        self.scoped = self._scoped()
        self._needs: dict[tuple[str, int], frozenset[str]] = {}

    def _check_names(self) -> None:
        plan = self.plan
        for service, values in plan.service_vars.items():
            _check_all(values, f"services.{service}.vars")
        _check_all(plan.release_vars, f"releases.{plan.target}.vars")
        _check_all(plan.settings, "settings")
        for role, values in plan.role_vars.items():
            _check_all(values, f"roles.{role}.vars")
        for host in plan.hosts.values():
            _check_all(host.vars, f"hosts.{host.name}.vars")
            if not _ADDRESS.fullmatch(host.address) or not _USER.fullmatch(host.user):
                raise InputError(f"hosts.{host.name}: expected an address and a user without blanks, quotes or braces")

    def _scoped(self) -> frozenset[str]:
        """Names with different defaults in several services: no service may see another's value."""
        plan = self.plan
        seen: dict[str, bytes] = {}
        several: set[str] = set()
        for values in plan.service_vars.values():
            for name, value in values.items():
                if seen.setdefault(name, canonical(value)) != canonical(value):
                    several.add(name)
        return frozenset(several - set(plan.settings) - set(plan.release_vars))

    def of_service(self, service: str) -> dict[str, str]:
        """``vars`` for the blocks of a service: its defaults of names that other services default differently.

        Such a default ranks below roles and hosts as any other: ``underway_set`` holds what those say.
        """
        return {
            name: f"{{{{ underway_set['{name}'] if '{name}' in underway_set"
            f" else underway_defaults['{service}']['{name}'] }}}}"
            for name in sorted(set(self.plan.service_vars.get(service, {})) & self.scoped)
        }

    def shared(self, needs: Iterable[str]) -> dict[str, Any]:
        """What all hosts have: defaults, the release's values, settings, facts of the plan."""
        plan = self.plan
        found: dict[str, Any] = {}
        for service in sorted(plan.service_vars):
            found |= {
                name: content(value) for name, value in plan.service_vars[service].items() if name not in self.scoped
            }
        found |= content(plan.release_vars)
        found |= {name: data(value) for name, value in plan.settings.items()}
        found |= {
            "underway_cluster": plan.cluster,
            "underway_release_from": plan.source,
            "underway_release_to": plan.target,
        }
        if self.scoped:
            found["underway_defaults"] = {
                service: {name: content(value) for name, value in values.items() if name in self.scoped}
                for service, values in sorted(plan.service_vars.items())
                if self.scoped & set(values)
            }
            found["underway_set"] = {}
        wanted = set(needs)
        if DELIVERY in wanted:
            found[DELIVERY] = plan.inputs.get("delivery", "venv")
        if BY_ROLE in wanted:
            found[BY_ROLE] = {role: [self._brief(host) for host in hosts] for role, hosts in self.by_role().items()}
        if BY_SERVICE in wanted:
            found[BY_SERVICE] = {
                name: [self._brief(host) for host in hosts] for name, hosts in self.by_service().items()
            }
        return found

    def own(self, host: Host) -> dict[str, Any]:
        """What the role and the host itself say, the host's word over the role's."""
        values = {**self.plan.role_vars.get(host.role, {}), **host.vars}
        found = {name: data(value) for name, value in values.items()}
        return found | self.set_of(values)

    def set_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``underway_set``, where ``values`` (of a role or host) have names that services default differently."""
        overriding = {name: data(values[name]) for name in sorted(self.scoped & set(values))}
        return {"underway_set": overriding} if overriding else {}

    def by_role(self) -> dict[str, list[str]]:
        """Role -> its hosts, by name of role, hosts in the plan's order."""
        found: dict[str, list[str]] = {role: [] for role in sorted(self.plan.roles)}
        for name in sorted(self.plan.hosts):
            found.setdefault(self.plan.hosts[name].role, []).append(name)
        return found

    def by_service(self) -> dict[str, list[str]]:
        """Service -> hosts of the roles that run it, as far as the plan's passes tell."""
        by_role = self.by_role()
        roles: dict[str, set[str]] = {}
        for pass_ in self.plan.passes.values():
            for service in pass_.services:
                roles.setdefault(service, set()).add(pass_.role)
        return {
            service: [host for role in sorted(roles[service]) for host in by_role.get(role, ())]
            for service in sorted(roles)
        }

    def needs(self, pass_: Pass, number: int) -> frozenset[str]:
        """Which of the long values a leg's tasks name."""
        key = (pass_.id, number)
        if key not in self._needs:
            self._needs[key] = self.needs_of(pass_.legs[number].steps)
        return self._needs[key]

    def needs_of(self, steps: Iterable[str]) -> frozenset[str]:
        """Which of the long values these steps, or their services' handlers and variables, name."""
        found = [self.plan.steps[step] for step in steps]
        services = sorted({step.service for step in found})
        handlers = [self.plan.handlers.get(service, ()) for service in services]
        text = canonical([[step.tasks for step in found], [step.check for step in found], handlers])
        text += canonical([self.plan.service_vars, self.plan.release_vars])
        return frozenset(name for name in ON_DEMAND if name.encode() in text)

    def _brief(self, name: str) -> dict[str, str]:
        return {"name": name, "address": address(self.plan.hosts[name])}


def address(host: Host) -> str:
    """Where a host is reached; its name where no address is stated."""
    return host.address or host.name


def connection(host: Host, *, on_itself: bool) -> dict[str, Any]:
    """How Ansible gets to a host: ``on_itself`` where the runner starts it there, else from elsewhere.

    A local Ansible uses the interpreter that it runs with itself, unless the role or the host names another.
    """
    if on_itself or host.connection == "local":
        return {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    found: dict[str, Any] = {"ansible_connection": "ssh", "ansible_host": address(host)}
    if host.port != 22:
        found["ansible_port"] = host.port
    if host.user:
        found["ansible_user"] = host.user
    return found


def target_vars(variables: Variables, target: Host) -> dict[str, Any]:
    """What a leg on another machine may want to know of the host that the action is about."""
    own = variables.own(target)
    own.pop("underway_set", None)
    return own


def host_vars(variables: Variables, executing: Host, target: Host, needs: frozenset[str]) -> dict[str, Any]:
    """All that one host of an order has beyond ``shared``."""
    found = connection(executing, on_itself=executing.ansible == "host")
    found |= variables.own(executing)
    found |= {
        "underway_host": executing.name,
        "underway_role": executing.role,
        "underway_limit": variables.plan.roles[executing.role].limit,
        "underway_target": target.name,
        "underway_target_address": address(target),
        "underway_target_role": target.role,
        "underway_target_limit": variables.plan.roles[target.role].limit,
    }
    if TARGET_VARS in needs:
        found[TARGET_VARS] = target_vars(variables, target)
    return found


def inventory_head(shared: Mapping[str, Any]) -> str:
    """The part of a bundle's inventory that is the same for all hosts of a leg."""
    return "---\nall:\n  vars:\n" + block(shared, 4)


def inventory(head: str, plan: Plan, pass_: Pass | None, executing: Host, values: Mapping[str, Any]) -> bytes:
    """The inventory of a bundle: one host, in its role's group and its pass's, with all its variables."""
    groups = [role_group(plan, executing.role)]
    if pass_ is not None:
        groups.append(pass_group(plan, pass_))
    children: dict[str, Any] = {group: {"hosts": {executing.name: {}}} for group in groups}
    rest = {"children": children, "hosts": {executing.name: dict(values)}}
    return (head + block(rest, 2)).encode()


def executing_host(plan: Plan, leg: Leg, host: str) -> Host:
    """The machine that does a leg of the action on ``host``."""
    return plan.hosts[leg.on or host]


def _check_all(values: Mapping[str, Any], place: str) -> None:
    for name in values:
        check_variable(name, place)
