"""``underway simulate``: a plan in virtual time, with the real coordinator and the real rules.

Beside what the run came to, the result holds what the *oracle* saw, which counts on its own: the most hosts of each
role, group and service that were down at once.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from underway.config.scenario import Scenario
from underway.core.model.plan import Pass, Plan, action_id
from underway.core.model.state import TROUBLED
from underway.core.words import clean, duration, fold, plural
from underway.engine.coordinator import Tick
from underway.errors import InputError
from underway.sim.stage import RUN, Parts, Stage
from underway.sim.world import World

OPERATOR_AFTER = 60.0
"""Seconds after which the operator of a scenario retries what failed."""


JUDGED = 500
"""Hosts up to which the oracle judges a simulation as well: it counts everything anew at each claim."""

QUANTUM = 1e-4
"""Seconds per action for which reports are gathered before a look: 10,000 hosts are looked at every few seconds."""


@dataclass(slots=True)
class Simulation:
    """What a simulated run came to; times are seconds of virtual time from its start."""

    cluster: str
    source: str
    target: str
    seed: int
    ended: str  # done, halted, waits
    why: str
    makespan: float
    actions: int
    hosts: int
    failures: int
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    order: list[tuple[float, str]] = field(default_factory=list)
    worst: dict[str, int] = field(default_factory=dict)  # role or service -> most hosts down at once
    sizes: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    looks: int = 0

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"schema": 1, **dataclasses.asdict(self)}

    def lines(self, width: int) -> Iterator[str]:
        """For people, at most ``width`` columns."""
        yield f"{self.cluster}: {self.source} to {self.target}, simulated (seed {self.seed})"
        yield from fold(f"{self.ended} after {duration(self.makespan)}{': ' + clean(self.why) if self.why else ''}",
                        width, "", "  ")  # fmt: skip
        did = f"{plural(self.actions, 'action')} on {plural(self.hosts, 'host')}, {plural(self.failures, 'failure')}"
        yield from fold(did, width, "", "  ")
        yield ""
        yield "Stages"
        for kind, start, end in self.stages:
            yield f"  {kind:<10} {duration(start):>14} to {duration(end)}"
        yield ""
        yield "Worst simultaneous loss"
        for name, lost in sorted(self.worst.items()):
            yield f"  {lost} of {self.sizes.get(name, 0)}  {name}"
        for text in self.violations:
            yield from fold(f"VIOLATION {text}", width, "", "  ")


class _Watch:
    """Notes, at every look, what the records say."""

    def __init__(self, plan: Plan, start: float) -> None:
        self.plan, self.start = plan, start
        self.looks = 0
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.order: list[tuple[float, str]] = []
        self._stage_of = {name: stage.name for stage in plan.stages for name in stage.passes}
        self._down: dict[str, tuple[str, ...]] = {}
        served: dict[str, set[str]] = {}
        for work in plan.passes.values():
            if work.rolling:
                for name in _touched(work):
                    served.setdefault(name, set()).update(work.hosts)
        self.sizes = {name: len(hosts) for name, hosts in served.items()}
        self.worst = dict.fromkeys(served, 0)
        self._now_down = dict.fromkeys(served, 0)

    def saw(self, tick: Tick) -> None:
        self.looks += 1
        for event in tick.events:
            if not event.action:
                continue
            work = self.plan.pass_of(event.action)
            if event.kind == "claimed":
                self.began.setdefault(self._stage_of[work.id], event.at - self.start)
                self.order.append((round(event.at - self.start, 3), event.action))
                if work.rolling:
                    self._change(event.host, _touched(work))
            if event.kind in ("done", "skipped"):
                self.ended[self._stage_of[work.id]] = event.at - self.start
                if work.rolling:
                    self._change(event.host, ())

    def _change(self, host: str, down: tuple[str, ...]) -> None:
        """What of a host is down from now on: as the plan counts it, what the pass at work touches."""
        before = self._down.get(host, ())
        self._down[host] = down
        for name in before:
            self._now_down[name] -= 1
        for name in down:
            self._now_down[name] += 1
            self.worst[name] = max(self.worst[name], self._now_down[name])


def _touched(work: Pass) -> tuple[str, ...]:
    return f"role {work.role}", *(f"service {service}" for service in work.services)


def simulate(plan: Plan, scenario: Scenario, seed: int = 1, parts: Parts | None = None) -> Simulation:
    """Run ``plan`` to its end, or to where only an operator could go on. Equal arguments give equal results."""
    if not plan.stages:
        raise InputError("the plan has no stages: there is nothing to simulate")
    draw = random.Random(seed)  # noqa: S311  a simulation wants repeatable chance
    failed: set[tuple[str, str]] = set()
    share: dict[str, float] = {}
    pass_of_step = {
        step: (work, len([name for leg in work.legs for name in leg.steps]))
        for work in plan.passes.values()
        for leg in work.legs
        for step in leg.steps
    }

    def length(host: str, step: str) -> float:
        work, count = pass_of_step[step]
        action = action_id(work.id, host)
        if action not in share:
            low, high = scenario.durations.get(action) or scenario.durations.get(work.id) or (work.p50, work.p50)
            share[action] = draw.uniform(low, high) / count if high > low else low / count
        return share[action]

    def failing(host: str, step: str, before: int) -> bool:  # noqa: ARG001  the contract's arguments
        if (host, step) in scenario.fail and (host, step) not in failed:
            failed.add((host, step))
            return True
        return False

    stage = Stage(
        plan,
        seed=seed,
        durations=length,
        failures=failing,
        parts=parts,
        lines=False,
        quantum=QUANTUM * sum(len(work.hosts) for work in plan.passes.values()) if len(plan.hosts) > JUDGED else 0.0,
        restless=dict.fromkeys(scenario.unhealthy, False),
        probed=tuple({probe.host for probe in plan.probes.values() if probe.host} - set(scenario.unhealthy)),
    )
    stage.oracle.watching = len(plan.hosts) <= JUDGED
    watch = _Watch(plan, stage.run.started)
    stage.watchers.append(watch.saw)
    ended, why = _run(stage, scenario)
    if ended == "done" and stage.oracle.watching:
        stage.oracle.judge_end()
    last = stage.coordinators[0].last
    states = [record.state for record in last.snapshot.actions.values()] if last else []
    return Simulation(
        cluster=plan.cluster,
        source=plan.source,
        target=plan.target,
        seed=seed,
        ended=ended,
        why=why,
        makespan=round(stage.world.now() - stage.run.started, 3),
        actions=sum(1 for state in states if state == "done"),
        hosts=len({host for work in plan.passes.values() for host in work.hosts}),
        failures=len(failed),
        stages=[
            (kind.name, watch.began[kind.name], watch.ended.get(kind.name, stage.world.now() - stage.run.started))
            for kind in plan.stages
            if kind.name in watch.began
        ],
        order=watch.order,
        worst=watch.worst,
        sizes=watch.sizes,
        violations=stage.oracle.violations,
        looks=watch.looks,
    )


def _run(stage: Stage, scenario: Scenario) -> tuple[str, str]:
    """Step the world until the run is done or only an operator could move it."""
    world: World = stage.world
    process = stage.coordinators[0]
    for kind in stage.plan.stages:
        if kind.approval:
            stage.control.approve(kind.kind, "the simulated operator approves")
    quiet = 0
    while not stage.finished():
        before = process.last
        if not world.step():
            break
        tick = process.last
        if tick is None or tick is before:
            continue
        stuck = not tick.changed and not tick.decision.wake and not _busy(tick)
        quiet = quiet + 1 if stuck else 0
        if quiet < 2:
            continue
        troubled = {action for action, record in tick.snapshot.actions.items() if record.state in TROUBLED}
        if scenario.retry and troubled:
            world.after(OPERATOR_AFTER, lambda hosts=troubled: _retry(stage, hosts))  # type: ignore[misc]
            quiet = -1000
            continue
        if tick.decision.halt is not None:
            return "halted", tick.decision.halt.sentence
        first = next(iter(tick.decision.reasons.values()))
        waiting = [reason for reason in tick.decision.reasons.values() if reason.kind not in ("done", "stage-waits")]
        return "waits", (waiting[0] if waiting else first).sentence
    return "done", ""


def _busy(tick: Tick) -> bool:
    return any(record.state in ("claimed", "running", "soaking") for record in tick.snapshot.actions.values())


def _retry(stage: Stage, actions: set[str]) -> None:
    for host in sorted({action.rpartition("/")[2] for action in actions}):
        seen = stage.repository.snapshot(RUN)
        if any(
            record.state in TROUBLED and not record.retry and action.rpartition("/")[2] == host
            for action, record in seen.actions.items()
        ):
            stage.control.retry(host, "the simulated operator retries", "rerun")
