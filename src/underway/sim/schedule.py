"""One seeded schedule of faults: a random small cluster, two coordinators, and everything that may go wrong.

A schedule is right when the oracle finds nothing and, once the faults have stopped and an operator has answered what
was asked of him, every host is done within a bound (L1). ``docs/found-bugs.md`` keeps a seed for each bug found here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from underway.core.model.cluster import Host
from underway.core.model.plan import Edge, GroupLimits, Leg, Pass, Plan, RoleLimits, Stage, StageKind
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Step
from underway.core.model.state import TROUBLED, RunRecord
from underway.errors import InputError, Refused, StoreError
from underway.sim import stage as stages
from underway.sim.faults import Trouble
from underway.sim.network import Weather

HORIZON = 400.0
"""Seconds of virtual time in which faults happen; then they stop."""

STEPS = 20_000
"""Things that may happen before a schedule counts as stuck."""


@dataclass(slots=True)
class Result:
    """What a schedule came to; ``violations`` is empty when every promise held."""

    seed: int
    violations: list[str]
    claims: int = 0
    effects: int = 0
    kills: int = 0
    unknowns: int = 0
    operator: int = 0
    finished: bool = False
    log: list[str] = field(default_factory=list)


def random_plan(chance: random.Random) -> Plan:
    """A small cluster: one to three roles, two to nine hosts, legs at a balancer for some, every kind of limit."""
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
        steps[identity] = Step(
            id=identity, name=identity, service="s", phase="upgrade", tasks=(), idempotent=chance.random() < 0.6
        )
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
    groups = {}
    if len(roles) > 1 and chance.random() < 0.3:
        both = tuple(roles[:2])
        groups["g"] = GroupLimits(name="g", roles=both, limit=chance.randint(1, 2), stated="chance")
    policy = Policy(
        limit=Limit(count=chance.randint(1, 4)) if chance.random() < 0.4 else None,
        domain_limit=Limit(count=1) if chance.random() < 0.3 else None,
        failure_budget=chance.randint(1, 3),
        soak=chance.choice([0.0, 0.0, 5.0]),
        health_timeout=60.0,
        deadline=chance.choice([100.0, 3600.0]),
        prepare_limit=Limit(count=chance.randint(1, 4)),
    )
    limits = {
        role: RoleLimits(
            name=role, limit=chance.randint(1, 3), stated="chance", group="g" if groups and role in roles[:2] else ""
        )
        for role in [*roles, "lb"]
    }
    return Plan(
        cluster="sim", source="1", target="2", stages=tuple(found), passes=passes, steps=steps, hosts=hosts,
        roles=limits, groups=groups, policy=policy,
    )  # fmt: skip


def run_schedule(
    seed: int, parts: stages.Parts | None = None, host_fault: Callable[[object], None] | None = None
) -> Result:
    """Run one schedule. Equal seeds give equal schedules; ``parts`` and ``host_fault`` make mutants."""
    chance = random.Random(seed)  # noqa: S311  a schedule is repeatable
    plan = random_plan(chance)
    rough = chance.random()

    def trouble() -> Trouble:
        return Trouble(
            kill_before=0.02 * rough, kill_after=0.04 * rough, lost=0.05 * rough, refused=0.05 * rough,
            stale=0.2 * rough,
        )  # fmt: skip

    fails = chance.random() * 0.06

    def failure(host: str, step: str, before: int) -> bool:  # noqa: ARG001  the contract's arguments
        return before < 2 and chance.random() < fails

    here = stages.Stage(
        plan, seed=seed, durations=lambda *_: chance.uniform(1, 25), failures=failure,
        weather=Weather(latency=0.05, loss=0.1 * rough, again=4.0),
        trouble=tuple(trouble() for _ in range(2)), parts=parts, restless={},
    )  # fmt: skip
    result = Result(seed, [])
    if host_fault is not None:
        for host in here.hosts.values():
            host_fault(host)
    _plan_faults(here, chance, result)
    finished = here.world.run(here.finished, STEPS)
    here.oracle.judge_effects(here.effects)
    if finished:
        here.oracle.judge_end(here.effects)
    result.violations = list(here.oracle.violations)
    if not finished:
        result.violations.append(f"L1: not done at {here.world.now() - here.run.started:.0f} s: {_left(here)}")
    _, problems = here.repository.verify()
    result.violations.extend(f"I13: {problem}" for problem in problems)
    result.finished, result.claims, result.effects = finished, here.oracle.claims, len(here.effects)
    result.kills = sum(process.kills for process in here.coordinators)
    return result


def _left(here: stages.Stage) -> str:
    last = next((process.last for process in here.coordinators if process.last is not None), None)
    if last is None:
        return "no coordinator ever looked"
    reasons = sorted({f"{host}: {reason.sentence}" for host, reason in last.decision.reasons.items()})
    return "; ".join(reasons[:4])


def _plan_faults(here: stages.Stage, chance: random.Random, result: Result) -> None:
    """Faults and operators until the horizon; after it an operator who answers until the run is done."""
    world = here.world
    names = [name for name in here.plan.hosts if name != "lb"]

    def at_random(count: int, deed: Callable[[], None]) -> None:
        for _ in range(count):
            world.after(chance.uniform(1, HORIZON), deed)

    def flap() -> None:
        host = chance.choice(names)
        here.health.set(host, False)
        world.after(chance.uniform(2, 60), lambda: here.health.set(host, True))

    def cut() -> None:
        host = here.hosts[chance.choice(list(here.plan.hosts))]
        host.reachable = False

        def heal() -> None:
            host.reachable = True

        world.after(chance.uniform(2, 200), heal)

    at_random(chance.randint(0, 3), lambda: chance.choice(here.coordinators).kill(chance.uniform(0.5, 30)))
    at_random(chance.randint(0, 3), lambda: here.hosts[chance.choice(list(here.plan.hosts))].kill())
    at_random(chance.randint(0, 2), flap)
    at_random(chance.randint(0, 2), cut)
    at_random(chance.randint(0, 4), lambda: _operate(here, chance, result, names))

    def answer() -> None:
        if here.finished():
            return
        if world.now() - here.run.started > HORIZON:
            for process in here.coordinators:
                process.calm()
        _answer(here, result)
        world.after(60.0, answer)

    world.after(60.0, answer)


def _operate(here: stages.Stage, chance: random.Random, result: Result, names: list[str]) -> None:
    """A verb of an operator who is not always right; refusals are part of the game."""
    control, host = here.control, chance.choice(names)
    verbs: list[Callable[[], object]] = [
        lambda: control.pause("chance"),
        lambda: control.resume("chance"),
        lambda: control.hold(host, "chance"),
        lambda: control.hold("*", "chance"),
        lambda: control.release(host, "chance"),
        lambda: control.limit(here.plan.hosts[host].role, Limit(count=chance.randint(0, 3)), "chance"),
        lambda: control.limit("total", Limit(count=chance.randint(1, 3)), "chance"),
        lambda: control.retry(host, "chance", chance.choice(["", "rerun", "skip"])),
    ]
    result.operator += 1
    _try(chance.choice(verbs))


def _answer(here: stages.Stage, result: Result) -> None:
    """What a diligent operator does once a minute: approve, answer, retry; after the horizon also lift what holds."""
    control = here.control
    seen = here.repository.snapshot(stages.RUN)
    for stage in here.plan.stages:
        if stage.approval and stage.kind not in seen.approvals:
            _try(lambda kind=stage.kind: control.approve(kind))  # type: ignore[misc]
    for action, record in list(seen.actions.items()):
        if record.state in TROUBLED and not record.retry:
            result.unknowns += record.state == "unknown"
            host = action.rpartition("/")[2]
            _try(lambda host=host: control.retry(host, "look", "rerun"))  # type: ignore[misc]
    run: RunRecord = seen.run
    room = Limit(count=len(here.plan.hosts))
    if here.world.now() - here.run.started > HORIZON:
        if run.state == "paused":
            _try(lambda: control.resume("the horizon is passed"))
        for host in list(seen.holds):
            _try(lambda host=host: control.release(host, "the horizon is passed"))  # type: ignore[misc]
        for host in here.plan.hosts:
            if host in seen.health and not seen.health[host].healthy:
                here.health.set(host, True)
        if run.state == "running":  # what was lowered may leave no room for what failed: an operator would see that
            _try(lambda: control.limit("total", room, "the horizon is passed"))
        for role in here.plan.roles:
            if any(host.role == role for host in here.plan.hosts.values()):
                policy = seen.policy.policy if seen.policy else here.plan.policy
                if role in policy.role_limits:
                    _try(lambda role=role: control.limit(role, room, "the horizon is passed"))  # type: ignore[misc]


def _try(verb: Callable[[], object]) -> None:
    try:
        verb()
    except (InputError, Refused, StoreError):
        return
