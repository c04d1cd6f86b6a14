"""Any work on any hosts under the rules of an upgrade: a slot each, with gate, budget, order and resume. Pure.

A roll is a plan like any other (mode ``roll``), made by the planner from a catalogue in which every service keeps its
gate and, where it is taken away, its drain, and a service of its own does the work (SEMANTICS D24). It changes no
host's release, is possible at any time beside an upgrade, and shares its slots.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.service import Catalogue, PhaseSpec, Release, Service, Step, Task
from underway.core.model.state import HostRecord
from underway.core.names import slug
from underway.core.planner import build_plan
from underway.errors import InputError, Refused

SERVICE = "roll"
"""The service that does the work, in the plan and in its playbooks."""

_TARGET = "rolled"  # a release that no cluster has: hosts that are not chosen are said to run it


@dataclass(frozen=True, slots=True)
class Work:
    """What is done on each host. ``title`` says it, and ``step`` names it in few words without braces; ``drained``: services taken from their balancer meanwhile.

    ``settings`` are values for the tasks that are never templates (a command as it was typed, say).
    """

    title: str
    step: str
    tasks: tuple[Task, ...]
    handlers: tuple[Task, ...] = ()
    vars: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    drained: tuple[str, ...] = ()
    idempotent: bool = False
    timeout: float = 3600.0


def roll_plan(
    cluster: Cluster, catalogue: Catalogue, work: Work, hosts: Collection[str], policy: Policy | None = None
) -> Plan:
    """The plan that does ``work`` on ``hosts``; not sealed yet. ``policy``: instead of the cluster's.

    Raises ``InputError`` where no host is chosen, and ``Refused`` as the planner does.
    """
    if not hosts:
        raise InputError("no host is chosen: nothing to do (look at --role and --where)")
    if SERVICE in catalogue.services:
        raise Refused(
            f"the catalogue has a service called {SERVICE!r}: rename it, its name is that of what is rolled out"
        )
    chosen = {cluster.hosts[host].role for host in hosts}
    roles = {
        name: replace(role, services=(*role.services, SERVICE), after=tuple(one for one in role.after if one in chosen))
        if name in chosen
        else replace(role, after=())
        for name, role in cluster.roles.items()
    }
    services = {name: _kept(service, name in work.drained) for name, service in catalogue.services.items()}
    services[SERVICE] = _worker(work)
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
        stages=tuple(replace(stage, why="host by host, one slot after another") for stage in plan.stages),
        losses=tuple(loss for loss in plan.losses if loss.service != SERVICE),
    )  # fmt: skip


def _kept(service: Service, drained: bool) -> Service:
    """A service as far as a roll has to do with it: its gate, and its drain where it is taken away."""
    phases = {name: spec for name, spec in service.phases.items() if drained and name in ("drain", "undrain")}
    return replace(service, plane="data", needs=(), after=(), phases=phases, handlers=(), probes={})


def _worker(work: Work) -> Service:
    step = Step(
        id=f"{SERVICE}.upgrade.{slug(work.step) or SERVICE}",
        name=work.step,
        service=SERVICE,
        phase="upgrade",
        tasks=work.tasks,
        idempotent=work.idempotent,
        timeout=work.timeout,
    )
    return Service(
        name=SERVICE,
        plane="data",
        phases={"upgrade": PhaseSpec(steps=(step,))},
        handlers=work.handlers,
        vars=dict(work.vars),
    )
