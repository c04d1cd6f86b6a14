"""Any work on any hosts under the rules of an upgrade: a slot each, with gate, budget, order and resume. Pure.

A roll is a plan like any other (mode ``roll``), made by the planner from a catalogue in which every service keeps its
gate and, where it is taken away, its drain, and one service does the work: one of the catalogue its action, else one of
the roll's own (SEMANTICS D24). It changes no host's release, is possible at any time beside an upgrade, and shares its
slots.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as copy_of
from typing import Any

from underway.core.gatestep import gate_step
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster, Role
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.service import Catalogue, Phase, PhaseSpec, Release, Service, Step, Task
from underway.core.model.state import HostRecord
from underway.core.names import ordered, slug
from underway.core.nearest import nearest
from underway.core.planner import build_plan
from underway.errors import InputError, Refused

SERVICE = "roll"
"""The service that does a command or a playbook, in the plan and in its playbooks."""

REBOOT = "systemctl reboot"
"""What reboots a host, unless ``reboot_command`` says otherwise."""

REBOOT_DUE = (
    "test -e /run/reboot-required || test -e /var/run/reboot-required"
    " || if command -v needs-restarting > /dev/null; then needs-restarting -r > /dev/null; test $? -eq 1;"
    " else false; fi"
)
"""What succeeds on a host that waits for a reboot, unless ``reboot_due`` says otherwise: Debian's mark, or Red Hat's
program (which ends with 1 where a reboot is due)."""

REBOOT_STARTED = "if test -d /run/systemd/system; then systemctl is-system-running --wait; fi; true"
"""What ends on a host once it has started its services, unless ``reboot_started`` says otherwise. Whether they are
healthy is told by their gates."""

_REBOOTS = ("reboot", "reboot-where-due")
"""Actions that need no service; one that a service declares under such a name takes its place."""

_TARGET = "rolled"  # a release that no cluster has: hosts that are not chosen are said to run it


@dataclass(frozen=True, slots=True)
class Work:
    """What is done on each host. ``title`` says it in a few words; ``worker`` is the service that does it.

    ``drained``: services taken from their balancer meanwhile. ``settings`` are values for the tasks that are never
    templates (a command as it was typed, say). ``downs``: all that the host runs goes down with it, so its gates are
    asked before balancers send it anything again, too.
    """

    title: str
    worker: Service
    drained: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    downs: bool = False


def own_work(
    title: str,
    step: str,
    tasks: tuple[Task, ...],
    *,
    handlers: tuple[Task, ...] = (),
    variables: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
    drained: tuple[str, ...] = (),
    idempotent: bool = False,
    timeout: float = 3600.0,
) -> Work:
    """Tasks that belong to no service, as one step called ``step`` (its name is a template's: no braces)."""
    done = Step(
        id=f"{SERVICE}.upgrade.{slug(step)}", name=step, service=SERVICE, phase="upgrade", tasks=tasks,
        idempotent=idempotent, timeout=timeout,
    )  # fmt: skip
    phases = {"upgrade": PhaseSpec(steps=(done,))}
    worker = Service(name=SERVICE, plane="data", phases=phases, handlers=handlers, vars=dict(variables or {}))
    return Work(title, worker, drained, settings or {})


def reboot_work(name: str, drained: tuple[str, ...], timeout: float) -> Work:
    """``reboot``: every host; ``reboot-where-due``: those of which ``reboot_due`` says so, when their turn comes."""
    told: Task = {"name": "Reboot", "ansible.builtin.command": "{{ reboot_command }}"}
    variables = {"reboot_command": REBOOT, "reboot_started": REBOOT_STARTED}
    tasks: tuple[Task, ...] = (told,)
    if name != "reboot":
        look: Task = {
            "name": "Look whether a reboot is due",
            "ansible.builtin.shell": "{{ reboot_due }}",
            "register": "roll_due",
            "changed_when": False,
            "failed_when": "roll_due.rc not in [0, 1]",
        }
        tasks = (look, {**told, "when": "roll_due.rc == 0"})
        variables["reboot_due"] = REBOOT_DUE
    made = own_work(f"action {name}", name, tasks, variables=variables, drained=drained, timeout=timeout)
    [step] = made.worker.phases["upgrade"].steps
    started: Task = {
        "name": "Wait until it has started what it starts",
        "ansible.builtin.shell": "{{ reboot_started }}",
        "changed_when": False,
    }
    wait = Step(
        id=f"{SERVICE}.upgrade.started", name="wait until the host has started", service=SERVICE, phase="upgrade",
        tasks=(started,), idempotent=True, read_only=True, timeout=timeout,
    )  # fmt: skip
    phases: dict[Phase, PhaseSpec] = {"upgrade": PhaseSpec(steps=(replace(step, reboot=True), wait))}
    return copy_of(made, worker=replace(made.worker, phases=phases), downs=True)


def is_reboot(catalogue: Catalogue, name: str) -> bool:
    """Whether an action's name is one of ours, and no service has it."""
    return name in _REBOOTS and not any(name in service.actions for service in catalogue.services.values())


def action_work(catalogue: Catalogue, name: str, drained: tuple[str, ...] = ()) -> Work:
    """An action that a service declares. Raises ``InputError`` for a name that none has, or several."""
    found = [service for service in catalogue.services.values() if name in service.actions]
    if not found:
        known = ordered({*_REBOOTS, *(one for service in catalogue.services.values() for one in service.actions)})
        raise InputError(
            f"--action {name}: there is no such action{nearest(name, known)} (there are {', '.join(known)})"
        )
    if len(found) > 1:
        raise InputError(
            f"--action {name}: services {', '.join(one.name for one in found)} have one: rename all but one"
        )
    [service] = found
    action = service.actions[name]
    worker = _kept(service, action.drain or service.name in drained)
    worker = replace(
        worker, phases={**worker.phases, "upgrade": PhaseSpec(steps=action.steps)}, handlers=service.handlers
    )
    return Work(f"action {name}", worker, drained)


def roll_plan(
    cluster: Cluster, catalogue: Catalogue, work: Work, hosts: Collection[str], policy: Policy | None = None
) -> Plan:
    """The plan that does ``work`` on ``hosts``; not sealed yet. ``policy``: instead of the cluster's.

    Hosts that do not run the service of an action are left alone. Raises ``InputError`` where no host is left, and
    ``Refused`` as the planner does.
    """
    own = work.worker.name == SERVICE
    if own and SERVICE in catalogue.services:
        raise Refused(f"the catalogue has a service called {SERVICE!r}, the name of what is rolled out: rename it")
    hosts = [name for name in hosts if own or work.worker.name in cluster.roles[cluster.hosts[name].role].services]
    if not hosts:
        raise InputError("no host is chosen: nothing to do (look at --role and --where)")
    chosen = {cluster.hosts[host].role for host in hosts}
    roles = {
        name: replace(
            role,
            # in the order in which they are done
            services=role.services
            if not own or name not in chosen
            else (SERVICE, *role.services)
            if work.downs
            else (*role.services, SERVICE),
            after=tuple(one for one in role.after if name in chosen and one in chosen),
        )
        for name, role in cluster.roles.items()
    }
    services = {
        name: _kept(service, name in work.drained, downs=work.downs) for name, service in catalogue.services.items()
    }
    services[work.worker.name] = work.worker
    release = Release(
        name=_TARGET,
        supports=tuple({cluster.release, *(host.release for host in cluster.hosts.values())} - {""}),
        services=dict.fromkeys(services, _TARGET),
    )
    plan = build_plan(
        replace(cluster, roles=roles, policy=policy or cluster.policy),
        Catalogue(services=services, releases={_TARGET: release}),
        _TARGET,
        digests={},
        known={host: HostRecord(release=_TARGET) for host in cluster.hosts if host not in hosts},
    )
    needs = {name: service.waits_for for name, service in catalogue.services.items() if service.waits_for}
    return replace(
        plan, mode="roll", title=work.title, source=cluster.release, target=cluster.release, warnings=(), defaults=(),
        rollback={}, needs=needs, settings={**plan.settings, **work.settings},
        service_vars=_variables(roles, services),
        release_vars=catalogue.releases[cluster.release].vars if cluster.release in catalogue.releases else {},
        stages=tuple(replace(stage, why="host by host, one slot after another") for stage in plan.stages),
        losses=tuple(loss for loss in plan.losses if loss.service != SERVICE),
    )  # fmt: skip


def _variables(roles: Mapping[str, Role], services: Mapping[str, Service]) -> dict[str, dict[str, Any]]:
    """Those of every service that runs anywhere: the tasks of one may use what another one defines."""
    used = {name for role in roles.values() for name in role.services}
    return {name: service.vars for name, service in services.items() if name in used and service.vars}


def _kept(service: Service, drained: bool, *, downs: bool = False) -> Service:
    """A service as far as a roll has to do with it: its gate, and its drain where it is taken away."""
    phases = {name: spec for name, spec in service.phases.items() if drained and name in ("drain", "undrain")}
    if downs and service.gate is not None:
        up = gate_step(service, "upgrade", f"wait until {service.name} is healthy here")
        phases["upgrade"] = PhaseSpec(steps=(up,))
    return replace(service, plane="data", needs=(), after=(), phases=phases, handlers=(), probes={}, actions={})
