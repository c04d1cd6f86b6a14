"""Random plans for schedules: some put together part by part (shapes that no planner would make, too), some by the
real planner from a random cluster and catalogue."""

from __future__ import annotations

import random

from underway.core.model.base import replace
from underway.core.model.cluster import Cluster, Group, Host, Probe, Role
from underway.core.model.plan import Edge, GroupLimits, Leg, Pass, Plan, RoleLimits, Stage, StageKind
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.service import Catalogue, Phase, PhaseSpec, Release, Service, Step, Task
from underway.core.planner import build_plan
from underway.errors import OrderImpossible, Refused

TASK: Task = {"name": "x", "ansible.builtin.command": "true"}
TRIES = 20


def random_plan(chance: random.Random) -> Plan:
    """A plan of two to twelve hosts."""
    if chance.random() < 0.4:
        for _ in range(TRIES):
            plan = planned(chance)
            if plan is not None and plan.stages:
                return plan
    return made_up(chance)


def random_policy(chance: random.Random, services: list[str]) -> Policy:
    """Limits and budgets of every kind, each in a share of the policies."""
    return Policy(
        limit=_limit(chance, 4) if chance.random() < 0.4 else None,
        domain_limit=Limit(count=1) if chance.random() < 0.3 else None,
        domains_at_once=1 if chance.random() < 0.15 else 0,
        failure_budget=chance.randint(1, 3),
        soak=chance.choice([0.0, 0.0, 5.0, 20.0]),
        health_timeout=60.0,
        deadline=chance.choice([100.0, 3600.0]),
        prepare_limit=Limit(count=chance.randint(1, 4)),
        windows=random_windows(chance) if chance.random() < 0.15 else (),
        outage_budget={services[0]: chance.uniform(1, 30)} if chance.random() < 0.25 else {},
        approvals=("control",) if chance.random() < 0.1 else (),
        allow_full_outage=True,
    )


def _limit(chance: random.Random, most: int) -> Limit:
    if chance.random() < 0.3:
        return Limit(percent=chance.choice([34, 50, 100]))
    return Limit(count=chance.randint(1, most))


def random_windows(chance: random.Random) -> tuple[Window, ...]:
    """Five minutes open, five closed, for the first hour (worlds begin on a Friday at 08:00 UTC); then always open."""
    first = 480 + chance.randint(0, 4)
    short = tuple(
        Window(days=(4,), start=start, end=start + chance.randint(2, 6), text="a short one")
        for start in range(first, 540, 10)
    )
    return (*short, Window(days=(4,), start=550, end=545, text="the rest of the day"))


def random_probes(chance: random.Random, plan: Plan) -> Plan:
    """The same plan with a probe of its own for some hosts, or for all."""
    share = chance.choice([0.0, 0.3, 1.0])
    probes = {
        f"p-{name}": Probe(name=f"p-{name}", kind="tcp", host=name, address="127.0.0.1:1", every=1.0, timeout=1.0)
        for name in plan.hosts
        if name != "lb" and chance.random() < share
    }
    return replace(plan, probes=probes)


def random_step(chance: random.Random, identity: str, service: str, phase: Phase) -> Step:
    """Idempotent, with a check, or neither."""
    return Step(
        id=identity, name=identity, service=service, phase=phase, tasks=(TASK,), idempotent=chance.random() < 0.5,
        check=TASK if chance.random() < 0.25 else None,
    )  # fmt: skip


def planned(chance: random.Random) -> Plan | None:
    """A plan of the real planner; None where it refuses what chance has made."""
    services: dict[str, Service] = {}
    names = [f"svc{number}" for number in range(chance.randint(1, 4))]
    drained = chance.random() < 0.5
    for number, name in enumerate(names):
        phases: dict[str, PhaseSpec] = {}

        def phase(kind: Phase, once: bool = False, on: str = "", name: str = name) -> PhaseSpec:
            count = chance.randint(1, 2)
            steps = tuple(random_step(chance, f"{name}.{kind}.s{n}", name, kind) for n in range(count))
            return PhaseSpec(steps=steps, once=once, on=on)

        shares: dict[Phase, float] = {"preflight": 0.2, "prepare": 0.5, "upgrade": 1.0, "verify": 0.2}
        for kind, share in shares.items():
            if chance.random() < share:
                phases[kind] = phase(kind)
        if chance.random() < 0.3:
            phases["expand"] = phase("expand", once=True)
            phases["contract"] = phase("contract", once=True)
        if chance.random() < 0.15:
            phases["migrate"] = phase("migrate", once=True)
        if drained and chance.random() < 0.7:
            phases["drain"], phases["undrain"] = phase("drain", on="balance"), phase("undrain", on="balance")
        needs = tuple(other for other in names[:number] if chance.random() < 0.3)
        services[name] = Service(
            name=name, plane=chance.choice(["control", "data"]), needs=needs, phases=phases,
            quorum=chance.random() < 0.2, gate=TASK if chance.random() < 0.1 else None,
        )  # fmt: skip
    services["balance"] = Service(name="balance")
    roles: dict[str, Role] = {}
    hosts: dict[str, Host] = {}
    for number in range(chance.randint(1, 3)):
        role = f"role{number}"
        mine = tuple(name for name in names if chance.random() < 0.6) or (names[number % len(names)],)
        members = []
        for _ in range(chance.randint(1, 4)):
            name = f"h{len(hosts) + 1}"
            hosts[name] = Host(name=name, role=role, domain=chance.choice(["", "a", "b"]))
            members.append(name)
        roles[role] = Role(
            name=role, services=mine, limit=_limit(chance, 3) if chance.random() < 0.7 else None,
            after=tuple(other for other in roles if chance.random() < 0.2),
            canary=tuple(members[:1]) if chance.random() < 0.3 else (),
        )  # fmt: skip
    if drained:
        roles["lb"] = Role(name="lb", services=("balance",))
        hosts["lb"] = Host(name="lb", role="lb")
    groups = {}
    if len(roles) > 1 and chance.random() < 0.3:
        groups["g"] = Group(name="g", roles=("role0", list(roles)[1]), limit=_limit(chance, 2))
    cluster = Cluster(
        name="sim", release="1", roles=roles, hosts=hosts, groups=groups, policy=random_policy(chance, names)
    )
    return plan_of(chance, cluster, services)


def plan_of(chance: random.Random, cluster: Cluster, services: dict[str, Service]) -> Plan | None:
    """The cluster's plan to release 2, with probes and the durations of the simulator; None where it is refused."""
    catalogue = Catalogue(services=services, releases={"2": Release(name="2", supports=("1",))})
    try:
        plan = build_plan(cluster, catalogue, "2", digests={})
    except (Refused, OrderImpossible):
        return None
    passes = {name: replace(work, p50=20, p90=40) for name, work in plan.passes.items()}
    return random_probes(chance, replace(plan, passes=passes))


def made_up(chance: random.Random) -> Plan:
    """One to three roles, legs at a balancer for some, an order, a group, canaries, each with its own chance."""
    roles = [f"role{number}" for number in range(chance.randint(1, 3))]
    hosts: dict[str, Host] = {}
    for role in roles:
        for _ in range(chance.randint(1, 4)):
            name = f"h{len(hosts) + 1}"
            hosts[name] = Host(name=name, role=role, domain=chance.choice(["", "a", "b"]))
    if chance.random() < 0.4:
        hosts["lb"] = Host(name="lb", role="lb")
    steps: dict[str, Step] = {}

    def step(kind: str, number: int) -> str:
        identity = f"s.{kind}.{number}"
        steps[identity] = random_step(chance, identity, "s", "upgrade")
        return identity

    passes: dict[str, Pass] = {}
    found: list[Stage] = []

    def members(role: str) -> tuple[str, ...]:
        return tuple(name for name, host in hosts.items() if host.role == role)

    def stage(kind: StageKind, rolling: bool, some: list[str]) -> None:
        ids: list[str] = []
        for role in some:
            legs = [Leg(steps=tuple(step(f"{kind}-{role}", number) for number in range(chance.randint(1, 3))))]
            if rolling and "lb" in hosts and chance.random() < 0.7:
                legs = [Leg(steps=(step(f"drain-{role}", 0),), on="lb"), *legs,
                        Leg(steps=(step(f"undrain-{role}", 0),), on="lb")]  # fmt: skip
            identity = f"{kind}/{role}"
            after: tuple[Edge, ...] = ()
            if ids and chance.random() < 0.4:
                after = (Edge(before=ids[-1], after=identity, reason="an order of the schedule"),)
            canaries = 1 if rolling and chance.random() < 0.3 else 0
            passes[identity] = Pass(
                id=identity, stage=kind, role=role, services=("s",), hosts=members(role), legs=tuple(legs),
                after=after, rolling=rolling, canaries=canaries, p50=20, p90=40,
            )  # fmt: skip
            ids.append(identity)
        found.append(Stage(kind=kind, passes=tuple(ids), approval=chance.random() < 0.15))

    if chance.random() < 0.5:
        stage("prepare", False, roles)
    if chance.random() < 0.4:
        role = roles[0]
        identity = "expand/s"
        passes[identity] = Pass(
            id=identity, stage="expand", role=role, services=("s",), hosts=members(role)[:1],
            legs=(Leg(steps=(step("expand", 0),)),), once=True,
        )  # fmt: skip
        found.append(Stage(kind="expand", passes=(identity,)))
    split = chance.randint(1, len(roles))
    stage("control", True, roles[:split])
    if roles[split:]:
        stage("data", True, roles[split:])
    if chance.random() < 0.3:  # a point of no return that restarts hosts, by their slots and gates
        stage("finalize", True, roles[: chance.randint(1, len(roles))])
    groups = {}
    if len(roles) > 1 and chance.random() < 0.3:
        groups["g"] = GroupLimits(name="g", roles=tuple(roles[:2]), limit=chance.randint(1, 2), stated="chance")
    limits = {
        role: RoleLimits(
            name=role, limit=chance.randint(1, 3), stated="chance", group="g" if groups and role in roles[:2] else ""
        )
        for role in [*roles, "lb"]
    }
    plan = Plan(
        cluster="sim", source="1", target="2", stages=tuple(found), passes=passes, steps=steps, hosts=hosts,
        roles=limits, groups=groups, policy=random_policy(chance, ["s"]),
    )  # fmt: skip
    return random_probes(chance, plan)
