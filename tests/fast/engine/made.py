"""A small plan and a coordinator over a memory store, with an executor whose answers the test gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from underway.core.model.base import canonical
from underway.core.model.cluster import Host
from underway.core.model.event import Event
from underway.core.model.plan import Leg, Pass, Plan, RoleLimits, Stage
from underway.core.model.policy import Policy
from underway.core.model.service import Step
from underway.core.model.state import RunRecord
from underway.engine.clock import ManualClock
from underway.engine.control import Control
from underway.engine.coordinator import Coordinator
from underway.engine.leadership import Leadership
from underway.engine.measure import Measure, NoMeasure
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.executors.base import Order, Report, ReportKind
from underway.records.repository import Repository
from underway.store.base import Store
from underway.store.memory import MemoryStore

RUN = "r1"


def plan_of(hosts: int = 3, *, policy: Policy | None = None, limit: int = 1, approval: bool = False) -> Plan:
    """``prepare`` on all hosts, then a rolling ``control`` of two legs, the first at the balancer."""
    names = [f"h{number}" for number in range(1, hosts + 1)]
    ids = ("s.prepare.bits", "s.drain.off", "s.upgrade.turn")
    steps = {name: Step(id=name, name=name, service="s", phase="upgrade", tasks=(), idempotent=True) for name in ids}
    members = tuple(names)
    prepare = Pass(
        id="prepare/web", stage="prepare", role="web", services=("s",), hosts=members, legs=(Leg(steps=ids[:1]),)
    )
    control = Pass(
        id="control/web", stage="control", role="web", services=("s",), hosts=members,
        legs=(Leg(steps=ids[1:2], on="lb"), Leg(steps=ids[2:])), rolling=True, p50=10, p90=20,
    )  # fmt: skip
    return Plan(
        cluster="c", source="1", target="2",
        stages=(
            Stage(kind="prepare", passes=(prepare.id,)),
            Stage(kind="control", passes=(control.id,), approval=approval),
        ),
        passes={prepare.id: prepare, control.id: control}, steps=steps,
        hosts={**{name: Host(name=name, role="web") for name in names}, "lb": Host(name="lb", role="lb")},
        roles={name: RoleLimits(name=name, limit=limit, stated=str(limit)) for name in ("web", "lb")},
        policy=policy or Policy(),
    )  # fmt: skip


class Script:
    """An executor that remembers what it was given; reports are what the test says, and waiting moves the clock."""

    def __init__(self, clock: ManualClock, at_once: Callable[[Order], Iterable[ReportKind]] | None = None) -> None:
        self.clock, self.at_once = clock, at_once
        self.orders: list[Order] = []
        self.cancelled: list[Order] = []
        self.withdrawn: list[tuple[str, str]] = []
        self.inbox: list[Report] = []
        self.closed = False

    def submit(self, order: Order) -> None:
        self.orders.append(order)
        for kind in self.at_once(order) if self.at_once else ():
            self.say(order, kind)

    def say(self, order: Order, kind: ReportKind, step: str = "", text: str = "") -> None:
        self.inbox.append(
            Report(
                run=order.run, action=order.action, leg=order.leg, token=order.token, host=order.host.name, kind=kind,
                step=step, text=text, duration=1.0,
            )
        )  # fmt: skip

    def cancel(self, order: Order) -> None:
        self.cancelled.append(order)
        self.say(order, "failed", text="cancelled")

    def withdraw(self, run: str, action: str) -> None:
        self.withdrawn.append((run, action))

    def reports(self, timeout: float) -> list[Report]:
        if not self.inbox:
            self.clock.advance(timeout)
        found, self.inbox = self.inbox, []
        return found

    def close(self) -> None:
        self.closed = True


def works(order: Order) -> tuple[ReportKind, ...]:
    """Every leg is accepted and finishes."""
    return ("accepted", "finished")


class Bench:
    """A run of a plan, a coordinator that the test ticks, and an operator."""

    def __init__(
        self,
        plan: Plan | None = None,
        at_once: Callable[[Order], Iterable[ReportKind]] | None = None,
        store: Store | None = None,
        measure: Measure | None = None,
    ) -> None:
        self.plan = plan or plan_of()
        self.clock = ManualClock()
        self.store = store or MemoryStore(clock=self.clock.monotonic)
        self.repository = Repository(self.store, self.plan.cluster)
        self.run = RunRecord(
            id=RUN, cluster="c", plan=self.plan.digest(), source="1", target="2", started=self.clock.now()
        )
        began = Event(at=self.clock.now(), kind="run-started", actor="operator:me", text="begun")
        self.repository.create_run(self.run, canonical(self.plan), began)
        self.control = Control(self.repository, self.plan, RUN, self.clock, "me")
        self.script = Script(self.clock, at_once)
        self.measure: Measure = measure or NoMeasure()
        self.coordinator = self.process()

    def process(
        self, store: Store | None = None, name: str = "one", leadership: Leadership | None = None
    ) -> Coordinator:
        """A coordinator that knows nothing but what the store holds."""
        return Coordinator(
            repository=Repository(store or self.store, self.plan.cluster), executor=self.script, plan=self.plan,
            run=RUN, orders=OrderBook(self.plan, b"", self.run, lambda _, data: data, lambda *_: {}), mirror=Mirror(),
            measure=self.measure, clock=self.clock, name=name, leadership=leadership,
        )  # fmt: skip

    def settle(self, coordinator: Coordinator | None = None) -> None:
        """Tick until nothing changes."""
        process = coordinator or self.coordinator
        for _ in range(500):
            if not process.tick().changed:
                return
        raise AssertionError("it never settles")

    def states(self) -> dict[str, str]:
        return {name: record.state for name, record in self.repository.snapshot(RUN).actions.items()}

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.repository.events(RUN)]
