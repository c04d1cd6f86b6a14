"""Realistic runs for tests of what is shown: a Keystone cluster of three hosts, and a fleet of 500. Seeded.

The records, events and journal lines are those that a coordinator and its hosts would have written; nothing here is
used to judge the rules (that is the simulator's business).
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from support.sample_plan import fleet_plan, keystone_plan
from underway.core.availability import Stats
from underway.core.clocks import corrected
from underway.core.model.base import replace
from underway.core.model.event import Event, EventKind, HostLine, HostLineKind
from underway.core.model.plan import Pass, Plan, split_action
from underway.core.model.sample import Attribution, Cause, Gap, Outage
from underway.core.model.state import ActionRecord, ActionState, RunRecord
from underway.core.summary import Summary, summarise

START = 1_795_251_600.0  # 2026-11-21 09:00:00 UTC

TASKS: dict[str, tuple[str, ...]] = {
    "preflight": ("Ask keystone-status for what stands in the way",),
    "prepare": ("Make the virtual environment", "Install the pinned distributions", "Compile the modules"),
    "expand": ("Add what the new release needs to the schema",),
    "drain": ("Take the back-end out", "Wait until its last request has ended"),
    "upgrade": ("Turn the link to the new release", "Restart keystone", "Wait for the port"),
    "undrain": ("Put the back-end in",),
    "verify": ("Ask for a token", "Ask for the release"),
    "contract": ("Drop what the old release needed",),
}
SECONDS = {
    "preflight": 3.0,
    "prepare": 24.0,
    "expand": 6.0,
    "drain": 5.0,
    "upgrade": 12.0,
    "undrain": 2.0,
    "verify": 4.0,
    "contract": 5.0,
}


@dataclass
class SampleRun:
    """All that ``summarise`` is given, and what it makes of it."""

    plan: Plan
    run: RunRecord
    now: float
    actions: dict[str, ActionRecord] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    lines: dict[str, list[HostLine]] = field(default_factory=dict)
    outages: list[Outage] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    stats: list[Stats] = field(default_factory=list)

    def summary(self) -> Summary:
        lines, skews = corrected(self.lines, self.actions, self.run.id)
        return summarise(
            self.plan,
            self.run,
            self.actions,
            self.events,
            lines,
            self.outages,
            self.gaps,
            self.stats,
            self.now,
            version="0.1.0",
            skews=skews,
            audit=(len(self.events), "9f" * 32),
        )


class Player:
    """Plays a plan through in its own time: windows of hosts per pass, stage by stage."""

    def __init__(self, plan: Plan, seed: int, until: float = float("inf")) -> None:
        self.random = random.Random(seed)
        self.until = until
        self.ended = False
        run = RunRecord(
            id="r-2026-11-21-0900",
            cluster=plan.cluster,
            plan=plan.digest(),
            source=plan.source,
            target=plan.target,
            started=START,
        )
        self.made = SampleRun(plan=plan, run=run, now=START)
        self.at = START
        self.sequence: dict[str, int] = {}
        self.fails: dict[str, ActionState] = {}
        self.slow: dict[str, float] = {}
        self.event(START, "run-started", "the run begins")

    def event(self, at: float, kind: EventKind, text: str, action: str = "", actor: str = "", host: str = "") -> None:
        self.made.events.append(
            Event(
                seq=0,
                at=at,
                kind=kind,
                actor=actor or "coordinator:c-1",
                action=action,
                host=host or split_action(action)[1],
                text=text,
            )
        )

    def line(self, host: str, at: float, kind: HostLineKind, action: str, leg: int, **more: object) -> None:
        self.sequence[host] = self.sequence.get(host, 0) + 1
        record = HostLine(
            seq=self.sequence[host],
            at=at,
            mono=at - START + 5000,
            kind=kind,
            run=self.made.run.id,
            action=action,
            leg=leg,
            token=7,
            boot="b1",
            **more,  # type: ignore[arg-type]
        )
        self.made.lines.setdefault(host, []).append(record)

    def play(self) -> SampleRun:
        plan, made = self.made.plan, self.made
        for stage in plan.stages:
            if self.ended:
                break
            if stage.approval:
                self.at += 20
                self.event(
                    self.at, "approve", f"stage {stage.kind} may begin: smoke tests looked at", actor="operator:ada"
                )
            for pass_id in stage.passes:
                if not self.ended:
                    self._pass(plan.passes[pass_id])
        made.events.sort(key=lambda event: event.at)
        for host in made.lines:
            made.lines[host].sort(key=lambda line: (line.at, line.seq))
        facts = [event.at for event in made.events] + [line.at for lines in made.lines.values() for line in lines]
        made.now = min(max(facts), self.until)
        if not self.ended:
            self.event(self.at, "run-done", "every action is done or was waived")
            made.run = replace(made.run, state="done", ended=self.at)
        return made

    def _pass(self, work: Pass) -> None:
        limit = self.made.plan.roles[work.role].limit if work.rolling else 20
        free = [self.at] * limit
        heapq.heapify(free)
        last = self.at
        for host in work.hosts:
            if not free:
                break
            at = heapq.heappop(free) + 0.2 + self.random.random() * 0.3
            if at >= self.until:
                last = self.until
                break
            end = self._action(work, host, at)
            if end is None:  # it keeps its slot
                self.ended = True
                if host in self.fails:
                    break
                continue
            last = max(last, end)
            heapq.heappush(free, end)
        self.at = last
        self.ended = self.ended or self.at >= self.until

    def _action(self, work: Pass, host: str, at: float) -> float | None:
        action = f"{work.id}/{host}"
        self.event(at, "claimed", f"slot free: {work.role} has a slot", action)
        claimed, started, now = at, at + 0.1, at + 0.15
        self.event(started, "started", "the host accepted the ticket", action, actor=f"host:{host}")
        begun = now
        for number, leg in enumerate(work.legs):
            on = leg.on or host
            self.line(on, now - 0.02, "accepted", action, number)
            for step in leg.steps:
                ended, state = self._step(action, host, on, number, step, now)
                if state != "done":
                    self.made.actions[action] = ActionRecord(
                        state=state,
                        token=7,
                        attempt=1,
                        leg=number,
                        claimed=claimed,
                        started=started,
                        step=step,
                        reason=self.reason(state),
                        by="coordinator:c-1",
                    )
                    if state in ("failed", "unknown"):
                        self.event(ended, state, self.reason(state), action, actor=f"host:{host}")
                        self.event(ended, "run-halted", "1 host failed, the budget is 1")
                        self.made.run = replace(self.made.run, reason=f"{host} {state}; the failure budget is 1")
                    return None
                now = ended
        gate = now + (3.0 if work.rolling else 0.0)
        self.event(gate, "done", "healthy for the soak time", action)
        self.made.actions[action] = ActionRecord(
            state="done",
            token=7,
            attempt=1,
            leg=len(work.legs),
            claimed=claimed,
            started=started,
            finished=now,
            ended=gate,
            by="coordinator:c-1",
            duration=now - begun,
        )
        return gate

    def reason(self, state: ActionState) -> str:
        if state == "failed":
            return "task “Restart keystone” ended with 1: Job for keystone.service failed"
        return "the host answers, and its journal has a beginning without an end" if state == "unknown" else ""

    def _step(self, action: str, host: str, on: str, leg: int, step: str, at: float) -> tuple[float, ActionState]:
        spec = self.made.plan.steps[step]
        whole = SECONDS[spec.phase] * (0.8 + self.random.random() * 0.5) * self.slow.get(host, 1.0)
        fails = self.fails.get(host) if spec.phase == "upgrade" else None
        self.line(on, at, "begin", action, leg, step=step)
        names = TASKS[spec.phase]
        for index, task in enumerate(names):
            begin = at + whole * index / len(names)
            end = at + whole * (index + 1) / len(names)
            if begin >= self.until:
                return self.until, "running"
            self.line(on, begin, "task", action, leg, step=step, task=task)
            if end >= self.until:
                return self.until, "running"
            if fails and index == 1:
                if fails == "failed":
                    self.line(on, end, "task-end", action, leg, step=step, task=task, rc=1)
                    self.line(on, end, "end", action, leg, step=step, rc=1, text="Restart keystone ended with 1")
                else:
                    self.line(on, end, "unknown", action, leg, step=step, text="the machine stopped during this step")
                return end, fails
            self.line(on, end, "task-end", action, leg, step=step, task=task, changed=index == 0)
        self.line(on, at + whole, "end", action, leg, step=step, duration=whole)
        return at + whole, "done"


def _begin_of(made: SampleRun, host: str, step: str, task: str) -> HostLine:
    return next(
        line
        for line in made.lines[host]
        if line.kind == "task" and step in line.step and task.lower() in line.task.lower()
    )


def keystone_run(seed: int = 7, broken: bool = False) -> SampleRun:
    """The three-host run with two outages (one caused, one shared); ``broken``: ctrl2 fails and the run halts."""
    player = Player(keystone_plan(), seed)
    player.slow = {"ctrl2": 1.3}
    if broken:
        player.fails["ctrl2"] = "failed"
    made = player.play()
    restart = _begin_of(made, "ctrl2", "upgrade", "restart")
    cause = Cause(
        action=restart.action, host="ctrl2", service="keystone", step=restart.step, task=restart.task, overlap=1.2
    )
    made.outages.append(_outage("token", restart.at + 0.4, 1.2, {"status 503": 11, "timeout": 1}, "caused", (cause,)))
    made.outages.append(_outage("projects", restart.at + 0.5, 1.0, {"status 503": 10}, "caused", (cause,)))
    if not broken:
        first = _begin_of(made, "ctrl3", "prepare", "install")
        both = tuple(
            Cause(
                action=f"prepare/controller/{host}",
                host=host,
                service="keystone",
                step=first.step,
                task=first.task,
                overlap=0.3,
            )
            for host in ("ctrl1", "ctrl3")
        )
        made.outages.append(_outage("create-project", first.at + 2, 0.6, {"timeout": 3}, "shared", both))
    for host in ("ctrl1", "ctrl2", "ctrl3"):
        restarts = [line for line in made.lines[host] if line.task == "Restart keystone" and line.kind == "task"]
        for line in restarts:
            own = Cause(action=line.action, host=host, service="keystone", step=line.step, task=line.task, overlap=4.1)
            made.outages.append(_outage(f"{host}-health", line.at, 4.2, {"refused": 42}, "caused", (own,), host=host))
    gap_at = made.run.started + 40
    made.gaps.append(
        Gap(probe="create-project", start=gap_at, end=gap_at + 6, why="the prober was stopped and started")
    )
    made.events.append(
        Event(
            at=START + 52, kind="run-paused", actor="operator:ada", text="the run is paused: looking at the dashboards"
        )
    )
    made.events.append(Event(at=START + 58, kind="run-resumed", actor="operator:ada", text="the run is running"))
    made.events.sort(key=lambda event: event.at)
    made.stats = _stats(made)
    made.now += 5
    return made


def _outage(
    probe: str,
    start: float,
    length: float,
    errors: dict[str, int],
    said: Attribution,
    causes: tuple[Cause, ...],
    host: str = "",
) -> Outage:
    return Outage(
        probe=probe,
        service="keystone",
        start=start,
        end=start + length,
        errors=errors,
        failed=sum(errors.values()),
        resolution=0.1,
        host=host,
        attribution=said,
        causes=causes,
    )


def _stats(made: SampleRun) -> list[Stats]:
    told = []
    whole = made.now - made.run.started
    for name, probe in made.plan.probes.items():
        mine = [outage for outage in made.outages if outage.probe == name]
        blind = sum(gap.end - gap.start for gap in made.gaps if gap.probe == name)
        down = sum(outage.end - outage.start for outage in mine)
        told.append(
            Stats(
                probe=name,
                service=probe.service,
                host=probe.host,
                samples=int((whole - blind) / probe.every),
                failed=sum(outage.failed for outage in mine),
                up=whole - blind - down,
                down=down,
                unobserved=blind,
                mean=0.018,
                slowest=0.074,
                start=made.run.started,
                end=made.now,
            )
        )
    return told


def fleet_run(seed: int = 11, hosts: int = 500, until: float = float("inf"), fails: bool = False) -> SampleRun:
    """A run over a fleet, to its end or until a moment (seconds after its start); ``fails``: one compute fails."""
    player = Player(fleet_plan(hosts), seed, START + until)
    player.fails = {"comp060": "unknown"} if fails else {}
    player.slow = {"comp017": 6.0, "comp101": 4.0}
    made = player.play()
    for number in range(6):
        at = START + 60 + number * 45
        cause = Cause(
            action="data/network/netw001", host="netw001", service="neutron-agent", step="turn the link", overlap=1
        )
        made.outages.append(
            Outage(
                probe="servers",
                service="nova-api",
                start=at,
                end=at + 2 + number,
                errors={"timeout": 2 + number},
                failed=2 + number,
                resolution=1.0,
                attribution="caused" if number % 2 else "unattributed",
                causes=(cause,) if number % 2 else (),
            )
        )
    made.stats = _stats(made)
    return made
