"""Hosts of a simulated world: a model of the runner (``docs/reference/runner.md``), with its journal and its faults.

The *effects* list is the true world: what was really done, in order; the oracle judges by it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from underway.core.model.base import decode
from underway.core.model.event import HostLine, HostLineKind
from underway.core.model.plan import Plan
from underway.core.model.ticket import Ticket
from underway.executors.base import Order, Report, ReportKind
from underway.sim.world import World


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a host really did: ``begin`` or ``end`` of a step, under a token."""

    at: float
    host: str
    action: str
    step: str
    token: int
    kind: str  # begin, end, fail


Durations = Callable[[str, str], float]
"""(host, step id) -> seconds."""

Failures = Callable[[str, str, int], bool]
"""(host, step id, how often it was begun before) -> whether it fails."""


@dataclass(slots=True)
class Leg:
    """A leg as the host remembers it, for ever."""

    ticket: Ticket
    token: int
    state: ReportKind = "accepted"
    step: str = ""
    text: str = ""
    began: float = 0.0
    duration: float = 0.0
    done: dict[str, str] = field(default_factory=dict)  # step -> begun, done, failed
    begun: dict[str, int] = field(default_factory=dict)  # step -> token under which it was begun last
    alive: bool = False  # a runner process is at work


class SimHost:
    """One host. ``forgets``, ``reruns`` and ``takes_any_token`` are faults of the *program*, for mutants only."""

    def __init__(
        self, name: str, world: World, plan: Plan, effects: list[Effect], durations: Durations, failures: Failures
    ) -> None:
        self.name = name
        self.reachable = True
        self.forgets = False
        self.reruns = False
        self.takes_any_token = False
        self._world, self._plan, self._effects = world, plan, effects
        self._durations, self._failures = durations, failures
        self._legs: dict[tuple[str, str, int], Leg] = {}
        self._running: Leg | None = None
        self._begun: dict[str, int] = {}
        self._followers: list[Callable[[Leg], None]] = []
        self._lines: list[HostLine] = []

    def follow(self, tell: Callable[[Leg], None]) -> None:
        """Tell of every change of every leg from now on."""
        self._followers.append(tell)

    def lines(self, since: int) -> list[HostLine]:
        """The journal above a number."""
        return self._lines[since:]

    def leg(self, order: Order) -> Leg | None:
        """What the host remembers of an order."""
        return self._legs.get((order.run, order.action, order.leg))

    def start(self, order: Order, ticket: Ticket) -> ReportKind:
        """The runner's ``start``: accepted, refused or busy; the work then goes on by itself."""
        known = self.leg(order)
        highest = max((leg.token for key, leg in self._legs.items() if key[:2] == (order.run, order.action)), default=0)
        if order.token < highest and not self.takes_any_token:
            return "refused"
        if known is not None and known.token == order.token:
            if known.alive or known.state in ("finished", "failed"):
                return "accepted"
            if known.state == "unknown" and not self.reruns:
                return "accepted"
        if self._running is not None and self._running.alive:
            return "busy"
        done = dict(known.done) if known is not None and not self.forgets else {}
        begun = dict(known.begun) if known is not None and not self.forgets else {}
        leg = Leg(ticket=ticket, token=order.token, done=done, begun=begun, alive=True, began=self._world.now())
        self._legs[(order.run, order.action, order.leg)] = leg
        self._running = leg
        self._line(leg, "accepted")
        self._next(leg)
        return "accepted"

    def kill(self) -> None:
        """The runner and its Ansible are gone; the step at work is left as it is, nobody knows how far."""
        leg = self._running
        if leg is not None and leg.alive:
            leg.alive = False
            self._running = None
            self._tell(leg)  # the follower sees its connection end

    def _next(self, leg: Leg) -> None:
        for step in leg.ticket.steps:
            state = leg.done.get(step, "")
            if state in ("done", "skipped"):
                continue
            if state == "begun":
                # an answer is about an interruption before this ticket, not about one under it
                answer = leg.ticket.answers.get(step, "") if leg.begun[step] < leg.token else ""
                if answer == "skip":
                    leg.done[step] = "skipped"
                    self._line(leg, "skip", step)
                    continue
                if answer != "rerun" and not self._plan.steps[step].idempotent and not self.reruns:
                    self._end(leg, "unknown", step, f"step {step} was interrupted and may have happened")
                    return
            self._begin(leg, step)
            return
        self._end(leg, "finished", "", "")

    def _begin(self, leg: Leg, step: str) -> None:
        leg.done[step] = "begun"
        leg.begun[step] = leg.token
        leg.step = step
        count = self._begun[step] = self._begun.get(step, 0) + 1
        self._effects.append(Effect(self._world.now(), self.name, leg.ticket.action, step, leg.token, "begin"))
        self._line(leg, "begin", step)
        leg.state = "progress"
        self._tell(leg)

        def ended() -> None:
            if not leg.alive or leg.done.get(step) != "begun":
                return
            if self._failures(self.name, step, count - 1):
                leg.done[step] = "failed"
                self._effects.append(Effect(self._world.now(), self.name, leg.ticket.action, step, leg.token, "fail"))
                self._line(leg, "end", step, rc=2)
                self._end(leg, "failed", step, f"step {step} failed on {self.name}")
                return
            leg.done[step] = "done"
            self._effects.append(Effect(self._world.now(), self.name, leg.ticket.action, step, leg.token, "end"))
            self._line(leg, "end", step)
            self._next(leg)

        self._world.after(self._durations(self.name, step), ended)

    def _end(self, leg: Leg, state: ReportKind, step: str, text: str) -> None:
        leg.state, leg.step, leg.text, leg.alive = state, step, text, False
        leg.duration = self._world.now() - leg.began
        if self._running is leg:
            self._running = None
        self._line(leg, "leg-end" if state == "finished" else "note" if state == "failed" else "unknown", step)
        self._tell(leg)

    def _tell(self, leg: Leg) -> None:
        for tell in list(self._followers):
            tell(leg)

    def _line(self, leg: Leg, kind: str, step: str = "", rc: int = 0) -> None:
        if kind == "note":
            return
        known: HostLineKind = kind  # type: ignore[assignment]
        now, ticket = self._world.now(), leg.ticket
        self._lines.append(
            HostLine(
                seq=len(self._lines) + 1,
                at=now,
                mono=now,
                kind=known,
                run=ticket.run,
                action=ticket.action,
                leg=ticket.leg,
                token=leg.token,
                step=step,
                rc=rc,
            )
        )


def report_of(host: SimHost, order: Order, kind: ReportKind, text: str = "", since: int = 0) -> Report:
    """A report on an order, with what the host's journal has above ``since``."""
    leg = host.leg(order)
    return Report(
        run=order.run, action=order.action, leg=order.leg, token=order.token, host=host.name, kind=kind,
        lines=host.lines(since), text=text or (leg.text if leg else ""), step=leg.step if leg else "",
        duration=leg.duration if leg else 0.0,
    )  # fmt: skip


def read_ticket(order: Order) -> Ticket:
    """The simulated signature is the payload itself."""
    return decode(order.ticket, Ticket)
