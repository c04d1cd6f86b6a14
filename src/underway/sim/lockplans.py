"""Random plans in lockstep, by the real planner: numbers of every kind, batches, steps that gather, once-only work."""

from __future__ import annotations

import random

from underway.core.model.base import replace
from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit
from underway.core.model.service import Phase, PhaseSpec, Service, Step
from underway.sim.plans import TASK, plan_of, random_policy, random_step

NUMBERS = (0, 1, 2, 10, 11, 25)


def lockstep_plan(chance: random.Random) -> Plan:
    """A plan of two to nine hosts."""
    while True:
        plan = _planned(chance)
        if plan is not None and any(work.number is not None for work in plan.passes.values()):
            return plan


def _planned(chance: random.Random) -> Plan | None:
    names = [f"svc{number}" for number in range(chance.randint(1, 4))]
    services: dict[str, Service] = {}
    for number, name in enumerate(names):
        phases: dict[str, PhaseSpec] = {"upgrade": PhaseSpec(steps=_steps(chance, name, "upgrade"))}
        if chance.random() < 0.2:
            phases["prepare"] = PhaseSpec(steps=(random_step(chance, f"{name}.prepare.s0", name, "prepare"),))
        if chance.random() < 0.2:
            phases["drain"] = PhaseSpec(steps=(random_step(chance, f"{name}.drain.s0", name, "drain"),))
        needs = tuple(other for other in names[:number] if chance.random() < 0.3)
        gate = TASK if chance.random() < 0.3 else None
        services[name] = Service(name=name, needs=needs, phases=phases, gate=gate)
    once = PhaseSpec(
        steps=tuple(replace(step, batch=False) for step in _steps(chance, "data", "upgrade")), once=True
    )  # fmt: skip
    services["data"] = Service(name="data", phases={"upgrade": once})
    roles: dict[str, Role] = {}
    hosts: dict[str, Host] = {}
    for number in range(chance.randint(1, 3)):
        mine = [name for name in names if chance.random() < 0.6] or [names[number % len(names)]]
        if chance.random() < 0.3:
            mine.append("data")
        role = f"role{number}"
        for _ in range(chance.randint(1, 3)):
            name = f"h{len(hosts) + 1}"
            hosts[name] = Host(name=name, role=role, domain=chance.choice(["", "a", "b"]))
        limit = Limit(count=chance.randint(1, 3)) if chance.random() < 0.7 else None
        after = tuple(other for other in roles if chance.random() < 0.1)
        roles[role] = Role(name=role, services=tuple(mine), limit=limit, after=after)
    cluster = Cluster(
        name="sim", release="1", roles=roles, hosts=hosts, strategy="lockstep", policy=random_policy(chance, names)
    )
    return plan_of(chance, cluster, services)


def _steps(chance: random.Random, service: str, phase: Phase) -> tuple[Step, ...]:
    found = []
    for index in range(chance.randint(1, 4)):
        number = chance.choice([None, *NUMBERS])
        step = replace(random_step(chance, f"{service}.{phase}.s{index}", service, phase), number=number)
        if chance.random() < 0.3:
            step = replace(step, gathers=True, idempotent=True, check=None)
        elif number in (0, 1) and chance.random() < 0.6:
            step = replace(step, batch=True)
        found.append(step)
    return tuple(found)
