"""Everything that a simulated run needs, put together: store, hosts, coordinators, health, operators.

``Stage`` serves ``underway simulate`` (no faults but those of a scenario) and the schedules of faults in the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from underway.core.model.base import canonical
from underway.core.model.event import Event
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.state import ActionRecord, Leader, RunRecord
from underway.core.rules import Decider
from underway.engine.control import Control
from underway.engine.coordinator import ACTOR, Coordinator, Tick
from underway.engine.leadership import RENEW, Leadership
from underway.engine.measure import HostAnswer, Measurement
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.errors import Conflict, StoreUnavailable
from underway.records.repository import Repository
from underway.sim.faults import FaultyStore, Killed, Trouble
from underway.sim.hosts import Durations, Effect, Failures, SimHost
from underway.sim.network import SimExecutor, Weather
from underway.sim.oracle import JudgedStore, Oracle
from underway.sim.world import World
from underway.store.base import Store
from underway.store.memory import MemoryStore

RUN = "sim"
CALM = Trouble()
IDLE_LOOK = 30.0
"""Seconds after which a coordinator looks again though nothing woke it."""


Led = Literal["", "near", "far"]
"""Whether one coordinator leads: none does (both act), one does and others on its machine see that it is gone, or they
are on other machines and wait for its lease."""

PROBE_EVERY = 1.0
"""Seconds between two answers of a host's probes, for a coordinator that waits for one."""


SILENT = 13.0
"""Seconds without a prober after which its last answers say nothing any more."""


class SimHealth:
    """The health of all hosts, as probes would see it: only hosts that ever changed are spoken of.

    ``outage``: seconds per service. While ``blind_since`` is set there is no prober: its answers grow old.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers: dict[str, tuple[bool, float]] = {}
        self.outage: dict[str, float] = {}
        self.blind_since = 0.0

    def set(self, host: str, healthy: bool) -> None:
        """From now on the host's probes answer so."""
        self._answers[host] = (healthy, self._world.now())

    def knows(self, host: str) -> bool:
        """Whether the host has probes."""
        return host in self._answers

    @property
    def asked(self) -> bool:
        """Whether any host has probes."""
        return bool(self._answers)

    def look(self, now: float, actions: Mapping[str, ActionRecord]) -> Measurement:  # noqa: ARG002  the contract's
        """See Measure."""
        if self.blind_since:
            return Measurement(outage=dict(self.outage), hosts=self._old(now))
        return Measurement(
            outage=dict(self.outage),
            hosts={
                host: HostAnswer(healthy, since, now, "answers" if healthy else "does not answer")
                for host, (healthy, since) in self._answers.items()
            },
        )

    def _old(self, now: float) -> dict[str, HostAnswer]:
        asked = self.blind_since
        if now - asked > SILENT:
            return {host: HostAnswer(False, asked, now, "nobody asked") for host in self._answers}
        return {
            host: HostAnswer(healthy, since, asked, "answered")
            for host, (healthy, since) in self._answers.items()
            if since <= asked
        }

    def close(self) -> None:
        """See Measure."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a mutant may replace: how coordinators and the store (of a clock) are made, how it is wrapped for them."""

    decider: Callable[[Plan, Policy], Decider] = Decider
    wrap: Callable[[Store], Store] = lambda store: store
    coordinator: type[Coordinator] = Coordinator
    store: Callable[[Callable[[], float]], Store] = MemoryStore


class SimCoordinator:
    """One coordinator process: ticks, dies, and is started again."""

    def __init__(self, stage: Stage, name: str, trouble: Trouble) -> None:
        self._stage, self._name, self.trouble = stage, name, trouble
        self._due = 0.0
        self.kills = 0
        self.alive = False
        self.frozen = False
        self.last: Tick | None = None
        self.start()

    def start(self) -> None:
        """A new process: it knows nothing but what the store holds."""
        stage = self._stage
        self.frozen = False
        stage.oracle.stopped.discard(ACTOR + self._name)
        self._store = FaultyStore(stage.parts.wrap(stage.judged), stage.world, self.trouble, self.freeze)
        self.executor = SimExecutor(stage.world, stage.hosts, stage.weather, stage.lines)
        self.executor.wake = self.wake
        run = stage.run
        name = f"{self._name}.{self.kills}"
        stage.living.add(name)
        repository = Repository(self._store, stage.plan.cluster)
        leadership = None
        if stage.led:
            leadership = Leadership(repository, run.id, name, stage.world.clock, name, stage.sees_gone)
        self.coordinator = stage.parts.coordinator(
            repository=repository,
            executor=self.executor,
            plan=stage.plan,
            run=run.id,
            orders=OrderBook(stage.plan, b"", run, lambda _, data: data, lambda *_: {}),
            mirror=Mirror(),
            measure=stage.health,
            clock=stage.world.clock,
            name=self._name,
            decider=stage.parts.decider,
            leadership=leadership,
        )
        self._leading = False
        self.alive = True
        self._plan_tick(0.0)

    def calm(self) -> None:
        """No more faults of this process."""
        self.trouble = CALM
        self._store.trouble = CALM
        self.executor.weather = self._stage.weather

    def freeze(self, share: float = -1.0) -> None:
        """SIGSTOP in the middle of what it does: everybody else goes on, until SIGCONT (or kill -9) some time later."""
        world, process = self._stage.world, self.coordinator
        if self.frozen or not world.odds(self.trouble.frozen if share < 0 else share, "coordinator-frozen"):
            return
        self.frozen = True
        world.pass_time(world.chance.uniform(1.0, 90.0))
        if process is not self.coordinator or not self.alive:
            raise Killed  # a stopped process that is killed never wakes
        self.frozen = False

    def interrupt(self, twice: bool) -> None:
        """Ctrl-C: no more grants, once; twice: its hosts are told to stop. A frozen process hears of it later."""
        if not self.alive or self.frozen:
            return
        self._stage.world.happened["interrupted-twice" if twice else "interrupted"] += 1
        try:
            if twice:
                self.coordinator.cancel_all()
            else:
                self.coordinator.stop_granting()
        except (Killed, StoreUnavailable):
            self.kill(1.0)
            return
        if self.alive:
            self._stage.oracle.stopped.add(ACTOR + self._name)

    def kill(self, restart: float) -> None:
        """kill -9, and a new process after ``restart`` seconds."""
        if not self.alive:
            return
        self._stage.living.discard(f"{self._name}.{self.kills}")
        self.kills += 1
        self.alive = False
        self.executor.die()
        self._stage.world.after(restart, self.start)

    def wake(self) -> None:
        """A report came in."""
        self._plan_tick(self._stage.quantum)

    def _plan_tick(self, delay: float) -> None:
        due = self._stage.world.now() + delay
        if self._due > self._stage.world.now() and self._due <= due:
            return  # it will look before that anyway
        self._due = due
        process = self.coordinator
        self._stage.world.after(delay, lambda: self._tick(process, due))

    def _tick(self, process: Coordinator, due: float) -> None:
        if not self.alive or self.frozen or process is not self.coordinator or due != self._due:
            return
        world = self._stage.world
        try:
            tick = process.tick()
        except Killed:
            if process is self.coordinator:
                self.kill(1.0 + 10.0 * world.chance.random())
            return
        except (StoreUnavailable, Conflict):
            self._due = 0.0
            self._plan_tick(1.0)
            return
        self.last = tick
        self._stage.saw(tick)
        self._due = 0.0
        if self._stage.led:
            world.happened["stood-by" if tick.leader else "led" if self._leading else "took-the-lead"] += 1
            self._leading = not tick.leader
        if tick.changed:
            self._plan_tick(0.0)
        elif self._stage.health.asked and any(record.state == "soaking" for record in tick.snapshot.actions.values()):
            self._plan_tick(PROBE_EVERY)
        elif tick.decision.wake and not tick.leader:
            self._plan_tick(min(max(tick.decision.wake - world.now(), 0.01), self._stage.idle_look))
        elif not self._stage.finished():
            self._plan_tick(self._stage.idle_look)


class Stage:
    """A world with one run in it."""

    def __init__(
        self,
        plan: Plan,
        *,
        seed: int,
        durations: Durations,
        failures: Failures,
        weather: Weather | None = None,
        trouble: tuple[Trouble, ...] = (CALM,),
        parts: Parts | None = None,
        lines: bool = True,
        quantum: float = 0.0,
        restless: Mapping[str, bool] | None = None,
        probed: Sequence[str] = (),
        led: Led = "",
    ) -> None:
        self.plan = plan
        self.led = led
        self.idle_look = RENEW if led else IDLE_LOOK
        self.living: set[str] = set()
        self.leaves: random.Random | None = None  # hosts that die are dropped, by this chance
        self.world = World(seed)
        self.parts = parts or Parts()
        self.weather = weather or Weather()
        self.lines, self.quantum = lines, quantum
        self.effects: list[Effect] = []
        self.oracle = Oracle(plan, RUN, self.world.now)
        self.judged = JudgedStore(self.parts.store(self.world.clock.monotonic), self.oracle)
        self.health = SimHealth(self.world)
        for host, healthy in (restless or {}).items():
            self.health.set(host, healthy)
        for host in probed:
            self.health.set(host, True)
        self.listeners: list[Callable[[Effect], None]] = [self.effects.append, self.oracle.see]
        self.hosts = {name: SimHost(name, self.world, plan, self._happened, durations, failures) for name in plan.hosts}
        for machine in self.hosts.values():
            machine.on_renewal(self.oracle.witness.renewed)
        self.run = RunRecord(
            id=RUN, cluster=plan.cluster, plan=plan.digest(), source=plan.source, target=plan.target,
            started=self.world.now(),
        )  # fmt: skip
        began = Event(at=self.world.now(), kind="run-started", actor="operator:sim", text="a simulated run")
        self.repository = Repository(self.judged, plan.cluster)
        self.repository.create_run(self.run, canonical(plan), began)
        self.control = Control(self.repository, plan, RUN, self.world.clock, "sim")
        self.watchers: list[Callable[[Tick], None]] = []
        self.coordinators = [SimCoordinator(self, f"c{number}", kind) for number, kind in enumerate(trouble)]

    def saw(self, tick: Tick) -> None:
        """Tell whoever watches of a tick."""
        for watch in self.watchers:
            watch(tick)

    def sees_gone(self, leader: Leader) -> bool:
        """Whether coordinators can see that a leader's process has ended."""
        return self.led == "near" and leader.process not in self.living

    def _happened(self, effect: Effect) -> None:
        for tell in self.listeners:
            tell(effect)

    def calm(self) -> None:
        """Faults stop: what is broken stays so until somebody repairs it, and nothing more breaks."""
        self.weather = Weather()
        for process in self.coordinators:
            process.calm()
        for host in self.hosts.values():
            host.crash = 0.0

    def finished(self) -> bool:
        """Whether the run is done, by the store."""
        return self.oracle.state == "done"
