"""One seeded schedule of faults: a random small cluster, two coordinators, and everything that may go wrong.

A schedule is right when the oracle finds nothing and, once the faults have stopped and an operator has answered what
was asked of him, every host is done within a bound (L1). ``docs/found-bugs.md`` keeps a seed for each bug found here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from underway.core.model.plan import Plan
from underway.engine.coordinator import Tick
from underway.sim import stage as stages
from underway.sim.faults import Trouble
from underway.sim.hosts import Effect, SimHost
from underway.sim.network import Weather
from underway.sim.operators import answer, operate
from underway.sim.plans import random_plan

HORIZON = 400.0
"""Seconds of virtual time in which faults happen; then they stop."""

STEPS = 20_000
PATIENCE = 4 * 3600.0
"""Things that may happen, and seconds after the horizon, before a schedule counts as stuck."""

FAULTS = (
    "asked-about-failed", "asked-about-unknown", "coordinator-frozen", "coordinator-killed",
    "host-broken-by-upgrade", "host-cut-off", "host-flapped", "interrupted", "interrupted-twice", "journal-lost",
    "kill-after-commit", "kill-before-commit", "leg-cancelled",
    "machine-died", "machine-new", "machine-unsaid", "message-late", "order-lost", "order-twice",
    "outage", "prober-killed", "report-lost", "report-twice", "runner-killed", "runner-killed-accepting",
    "runner-killed-alone", "runner-killed-beginning", "runner-killed-ending", "stale-look", "step-failed",
    "store-blocked", "store-refused", "store-reply-lost", "verb-abort", "verb-approve", "verb-finalize", "verb-hold",
    "verb-hold-all", "verb-limit-budget", "verb-limit-domain", "verb-limit-outage", "verb-limit-prepare",
    "verb-limit-role", "verb-limit-total", "verb-pause", "verb-refused", "verb-release", "verb-resume", "verb-retry",
    "verb-drop", "verb-enrolled", "verb-replace", "verb-skip",
)  # fmt: skip
"""Every class of fault and every verb: over a few hundred schedules each must have happened, or nothing was tested."""


@dataclass(slots=True)
class Result:
    """What a schedule came to; ``violations`` is empty when every promise held."""

    seed: int
    violations: list[str]
    claims: int = 0
    begins: int = 0
    again: int = 0
    unknowns: int = 0
    ended: str = ""
    happened: Counter[str] = field(default_factory=Counter)


def run_schedule(
    seed: int,
    parts: stages.Parts | None = None,
    host_fault: Callable[[SimHost], None] | None = None,
    change_plan: Callable[[Plan], Plan] | None = None,
    led: stages.Led = "",
    plans: Callable[[random.Random], Plan] = random_plan,
) -> Result:
    """Run one schedule. Equal seeds give equal schedules; ``parts`` and ``host_fault`` make mutants.

    ``led``: whether one coordinator leads, or both act, which is the harder case. ``plans``: what makes the plan.
    """
    chance = random.Random(seed)  # noqa: S311  a schedule is repeatable
    plan = plans(chance)
    if change_plan is not None:
        plan = change_plan(plan)
    rough = chance.random()
    fails = chance.random() * 0.08

    def failure(host: str, step: str, before: int) -> bool:  # noqa: ARG001  the contract's arguments
        if before < 2 and chance.random() < fails:
            here.world.happened["step-failed"] += 1
            return True
        return False

    here = stages.Stage(
        plan, seed=seed, durations=lambda *_: chance.uniform(1, 25), failures=failure,
        weather=Weather(latency=0.05, loss=0.1 * rough, late=0.1 * rough, twice=0.1 * rough,
                        delay=chance.choice([20.0, 90.0, 300.0]), again=4.0),
        trouble=tuple(_trouble(chance, rough) for _ in range(chance.choice([1, 2, 2]))), parts=parts,
        probed=sorted(probe.host for probe in plan.probes.values()), led=led,
    )  # fmt: skip
    cursed = chance.choice(list(plan.hosts)) if chance.random() < 0.2 else ""
    for host in here.hosts.values():
        host.crash = 0.3 if host.name == cursed else 0.03 * rough
        if host_fault is not None:
            host_fault(host)
    result = Result(seed, [])
    unexplained: list[str] = []
    here.watchers.append(lambda tick: _explained(plan, tick, unexplained))
    here.listeners.append(lambda effect: _shaken(here, chance, effect))
    _plan_faults(here, chance, seed)
    ends = here.run.started + HORIZON + PATIENCE
    here.world.run(lambda: _over(here) or here.world.now() > ends, STEPS)
    finished = _over(here)
    if here.oracle.state == "done":
        here.oracle.judge_end()
    result.violations = [*here.oracle.violations, *unexplained[:3]]
    if not finished:
        result.violations.append(f"L1: not done at {here.world.now() - here.run.started:.0f} s: {_left(here)}")
    count, problems = here.repository.verify()
    result.violations.extend(f"I13: {problem}" for problem in problems)
    if count < here.oracle.changes:
        result.violations.append(f"I13: {here.oracle.changes} changes of state, {count} audit entries")
    result.ended = here.oracle.state if finished else "stuck"
    result.claims = here.oracle.claims
    result.begins, result.again = here.oracle.witness.begins, here.oracle.witness.again
    result.happened = here.world.happened
    result.unknowns = "unknown" in here.oracle.reached
    result.happened["coordinator-killed"] = sum(process.kills for process in here.coordinators)
    return result


def _trouble(chance: random.Random, rough: float) -> Trouble:
    return Trouble(
        kill_before=0.02 * rough, kill_after=0.04 * rough, lost=0.05 * rough, refused=0.05 * rough,
        blocked=0.01 * rough, stale=0.2 * rough, frozen=chance.choice([0.0, 0.01, 0.03, 0.1]),
    )  # fmt: skip


def _over(here: stages.Stage) -> bool:
    """Done; or aborted, and everything that was at work has come to its end."""
    if here.oracle.state == "aborted":
        return not any(
            record["state"] in ("claimed", "running", "soaking") for record in here.oracle.actions.values()
        )  # fmt: skip
    return here.finished()


def _explained(plan: Plan, tick: Tick, bad: list[str]) -> None:
    """Each host has a grant or exactly one reason (I13: every non-admission is answerable)."""
    granted = {grant.host for grant in tick.decision.grants}
    reasons = tick.decision.reasons
    bad.extend(
        f"I13: {host} has a grant and a reason, or neither"
        for host in plan.hosts
        if (host in granted) == (host in reasons)
    )


def _left(here: stages.Stage) -> str:
    last = next((process.last for process in here.coordinators if process.last is not None), None)
    if last is None:
        return "no coordinator ever looked"
    reasons = sorted({f"{host}: {reason.sentence}" for host, reason in last.decision.reasons.items()})
    return "; ".join(reasons[:4])


def _shaken(here: stages.Stage, chance: random.Random, effect: Effect) -> None:
    """A host with probes does not answer while its service is restarted; some stay ill for a while."""
    work = here.plan.pass_of(effect.action)
    if not work.rolling or effect.kind not in ("begin", "end") or not here.health.knows(effect.host):
        return
    if effect.kind == "begin" and chance.random() < 0.5:
        here.health.set(effect.host, False)
    elif effect.kind == "end":
        ill = chance.uniform(0.5, 10)
        if chance.random() < 0.05:
            here.world.happened["host-broken-by-upgrade"] += 1
            ill = chance.uniform(30, 150)
        here.world.after(ill, lambda: here.health.set(effect.host, True))


def _plan_faults(here: stages.Stage, chance: random.Random, seed: int) -> None:
    """Faults and operators until the horizon; after it an operator who answers until the run is done."""
    world = here.world
    everybody = list(here.plan.hosts)
    names = [name for name in everybody if name != "lb"]

    def at_random(most: int, deed: Callable[[], None]) -> None:
        for _ in range(chance.randint(0, most)):
            world.after(chance.uniform(1, HORIZON), deed)

    def kill_coordinator() -> None:
        chance.choice(here.coordinators).kill(chance.uniform(0.5, 30))

    def flap() -> None:
        host = chance.choice(names)
        world.happened["host-flapped"] += 1
        here.health.set(host, False)
        world.after(chance.uniform(2, 60), lambda: here.health.set(host, True))

    def cut() -> None:
        host = here.hosts[chance.choice(everybody)]
        world.happened["host-cut-off"] += 1
        host.reachable = False

        def heal() -> None:
            host.reachable = not host.dead

        world.after(chance.uniform(2, 200), heal)

    def lose() -> None:
        here.hosts[chance.choice(names)].lose_journal()

    def die(name: str) -> None:
        if not here.hosts[name].dead:
            here.hosts[name].die()

    def blind() -> None:
        world.happened["prober-killed"] += 1
        here.health.blind_since = world.now()
        world.after(chance.uniform(2, 60), see)

    def see() -> None:
        here.health.blind_since = 0.0

    def outage() -> None:
        for service in here.plan.policy.outage_budget:
            world.happened["outage"] += 1
            here.health.outage[service] = here.health.outage.get(service, 0.0) + chance.uniform(0.2, 20)

    def interrupt() -> None:
        process = chance.choice(here.coordinators)
        process.interrupt(twice=False)
        if chance.random() < 0.3:
            process.interrupt(twice=True)
        world.after(chance.uniform(1, 60), lambda: process.kill(chance.uniform(0.5, 10)))

    at_random(3, kill_coordinator)
    at_random(3, lambda: here.hosts[chance.choice(everybody)].kill(whole=chance.random() < 0.5))
    at_random(chance.choice([0, 2, 6]), flap)
    at_random(2, cut)
    at_random(1, blind)
    at_random(2, outage)
    at_random(1, interrupt)
    at_random(5, lambda: operate(here, chance, names))
    if chance.random() < 0.1:
        at_random(2, lose)
    if seed % 5 == 3:  # a chance of its own: the other schedules stay what they were, with the seeds of found bugs
        fate = random.Random(seed)  # noqa: S311  as above
        for _ in range(fate.randint(1, 3)):
            world.after(fate.uniform(1, HORIZON), lambda: die(fate.choice(everybody)))
        if seed % 15 == 3:
            here.leaves = random.Random(seed)  # noqa: S311  as above

    def attend() -> None:
        if _over(here):
            return
        late = world.now() - here.run.started > HORIZON
        if late:
            here.calm()
        answer(here, late)
        world.after(60.0, attend)

    world.after(60.0, attend)
