"""Hosts of a simulated world: a model of the runner (``docs/reference/runner.md``), with its journal and its faults.

What a host tells with ``Effect`` is the true world: what was really done, in order; the oracle judges by it alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from underway.core.model.base import decode
from underway.core.model.event import HostLine, HostLineKind
from underway.core.model.plan import Plan
from underway.core.model.ticket import Ticket
from underway.executors.base import Order, Report, ReportKind
from underway.sim.world import World

EffectKind = Literal["begin", "end", "end-unheard", "fail", "cut", "check"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a host really did to a step, under a ticket.

    ``end-unheard``: it happened, and the runner died before its journal said so. ``cut``: it was ended half-way.
    ``check``: the step's check was asked and told the truth: nothing was done.
    """

    at: float
    host: str
    action: str
    step: str
    token: int
    kind: EffectKind
    ticket: Ticket


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
    done: dict[str, str] = field(default_factory=dict)  # step -> begun, done, failed, skipped
    begun: dict[str, int] = field(default_factory=dict)  # step -> token under which it was begun last
    alive: bool = False  # a runner process is at work


@dataclass(slots=True)
class Wrong:
    """Faults of the *program*, for mutants only: each breaks one rule of the runner."""

    forgets: bool = False  # a new ticket begins with an empty journal
    reruns: bool = False  # an interrupted step runs again, whatever it is
    takes_any_token: bool = False  # no fence
    fresh_when_lost: bool = False  # a lost journal is a new one
    resumes_finished: bool = False  # a ticket that has ended starts again
    leaves_leftovers: bool = False  # starts beside what a killed runner left running
    writes_late: bool = False  # the journal's line comes after the step has begun
    old_answers: bool = False  # an operator's answer serves for later interruptions, too
    skips_open: bool = False  # an interrupted step counts as done
    starts_short: bool = False  # a journal that lacks what was seen of it is as good as any
    takes_for_others: bool = False  # a ticket for the machine that was there before, or after, is as good as any
    keeps_void: bool = False  # what was done for a machine that was replaced counts for the new one
    keeps_gathered: bool = False  # what was gathered before an interruption is not gathered again


class SimHost:
    """One host. ``crash`` is the chance that the runner is killed at each of its own transitions."""

    def __init__(
        self,
        name: str,
        world: World,
        plan: Plan,
        tell: Callable[[Effect], None],
        durations: Durations,
        failures: Failures,
    ) -> None:
        self.name = name
        self.reachable = True
        self.dead = False  # for good: only another machine answers again
        self.awaited = False  # another machine is on its way
        self._renewed_unsaid = False
        self.noticed = 0  # the last line of it that reached a coordinator
        self._least = 0
        self.damaged = False
        self.crash = 0.0
        self.wrong = Wrong()
        self._world, self._plan, self._tell_effect = world, plan, tell
        self._durations, self._failures = durations, failures
        self._legs: dict[tuple[str, str, int], Leg] = {}
        self._running: Leg | None = None
        self._at_work: tuple[Leg, str] | None = None  # a step that is really going on, whoever watches it
        self._happened: set[tuple[str, str]] = set()
        self._begun: dict[tuple[str, str], int] = {}
        self._followers: list[Callable[[Leg], None]] = []
        self._renewed: list[Callable[[str, bool], None]] = []
        self._lines: list[HostLine] = []

    def follow(self, tell: Callable[[Leg], None]) -> None:
        """Tell of every change of every leg from now on."""
        self._followers.append(tell)

    def lines(self, since: int) -> list[HostLine]:
        """The journal above a number."""
        return self._lines[bisect_right(self._lines, since, key=lambda line: line.seq) :]

    @property
    def last(self) -> int:
        """The number of the journal's last line."""
        return self._lines[-1].seq if self._lines else 0

    @property
    def base(self) -> int:
        """Where the journal begins: above 0 for a machine that stands in the place of another one."""
        first = self._lines[0] if self._lines else None
        return first.seq if first is not None and first.kind == "new-machine" else 0

    def stand_in(self, base: int) -> bool:
        """The runner's word on where its journal begins; False if it refuses: it was at work as another machine."""
        if base != self.base and not self._lines:
            self._renewed_unsaid = False
            now = self._world.now()
            self._lines.append(HostLine(seq=base, at=now, mono=now, kind="new-machine"))
        return base == self.base

    def leg(self, order: Order) -> Leg | None:
        """What the host remembers of an order."""
        return self._legs.get((order.run, order.action, order.leg))

    @property
    def busy(self) -> bool:
        """Whether a runner is at work."""
        return self._running is not None and self._running.alive

    def start(self, order: Order, ticket: Ticket) -> ReportKind:
        """The runner's ``start``: accepted, refused, busy or unknown; the work then goes on by itself."""
        if self.damaged and not self.wrong.fresh_when_lost:
            return "unknown"
        if max(order.known, self._least) > (self.last or ticket.base) and not self.wrong.starts_short:
            return "unknown"
        if not self.wrong.takes_for_others and not self.stand_in(ticket.base):
            return "refused"
        known = None if self.damaged else self.leg(order)
        highest = max((leg.token for key, leg in self._legs.items() if key[:2] == (order.run, order.action)), default=0)
        if order.token < highest and not self.wrong.takes_any_token:
            return "refused"
        if known is not None and known.token == order.token and self._ended(known):
            return "accepted"
        if self._running is not None and self._running.alive:
            return "busy"
        if self._at_work is not None and not self.wrong.leaves_leftovers:
            self._cut(*self._at_work)
        void = known is not None and known.token <= ticket.voided and not self.wrong.keeps_void
        keeps = known is not None and not self.wrong.forgets and not void
        if void:  # what it changed is undone: the host that it was done for is a new machine
            self._happened -= {(order.action, step) for step in ticket.steps}
        done = dict(known.done) if known is not None and keeps else {}
        if not self.wrong.keeps_gathered:
            self._gather_again(ticket, done)
        begun = dict(known.begun) if known is not None and keeps else {}
        leg = Leg(ticket=ticket, token=order.token, done=done, begun=begun, alive=True, began=self._world.now())
        self.damaged = False
        self._legs[(order.run, order.action, order.leg)] = leg
        self._running = leg
        self._line(leg, "accepted")
        if self._dies(leg, "runner-killed-accepting"):
            return "accepted"
        self._next(leg)
        return "accepted"

    def _gather_again(self, ticket: Ticket, done: dict[str, str]) -> None:
        """What is still to be done may use what was gathered before: forget that it was."""
        open_ = [place for place, step in enumerate(ticket.steps) if done.get(step) not in ("done", "skipped")]
        for step in ticket.steps[: max(open_, default=0)]:
            if done.get(step) == "done" and self._plan.steps[step].gathers:
                del done[step]

    def _ended(self, known: Leg) -> bool:
        """Whether the same ticket needs nothing more than the answer that the host has."""
        if known.alive:
            return True
        if known.state in ("finished", "failed"):
            return not self.wrong.resumes_finished
        return known.state == "unknown" and not self.wrong.reruns

    def kill(self, whole: bool = True) -> None:
        """The runner is gone, its step as it is, nobody knows how far; not ``whole``: Ansible goes on without it."""
        leg = self._running
        if leg is None or not leg.alive:
            return
        self._world.happened["runner-killed" if whole else "runner-killed-alone"] += 1
        if whole and self._at_work is not None and self._at_work[0] is leg:
            self._cut(*self._at_work)
        self._gone(leg)

    def cancel(self, order: Order) -> None:
        """The runner's ``cancel``: everything of this leg is ended, and the journal says what is known."""
        leg = self.leg(order)
        if leg is None or leg.token != order.token or not leg.alive:
            return
        self._world.happened["leg-cancelled"] += 1
        step = leg.step
        if self._at_work is not None and self._at_work[0] is leg:
            self._cut(*self._at_work)
        known = self._plan.steps[step].idempotent or self._plan.steps[step].check is not None if step else True
        self._end(leg, "failed" if known else "unknown", step, f"cancelled at step {step}")

    def lose_journal(self) -> None:
        """The host was reinstalled or its disk is broken: the runner finds that the journal is not what it was."""
        if not self.busy and self._at_work is None and self._legs:
            self._world.happened["journal-lost"] += 1
            self.damaged = True

    def die(self) -> None:
        """The machine is gone for good, with all that ran on it."""
        self._world.happened["machine-died"] += 1
        self.kill()
        if self._at_work is not None:
            self._cut(*self._at_work)
        self.dead, self.reachable = True, False

    def renew(self) -> None:
        """Another machine of this name and address: it knows nothing, and has done nothing."""
        self._world.happened["machine-new"] += 1
        seen = self.noticed > self.base
        self._legs.clear()
        self._lines = []
        self._running = self._at_work = None
        self._happened.clear()
        self.damaged = self.dead = self.awaited = False
        self._renewed_unsaid = True
        self._least = self.noticed  # its enrolment says what was seen of the host
        self.reachable = True
        for tell in self._renewed:
            tell(self.name, seen)

    @property
    def stranger(self) -> bool:
        """Whether it is another machine of which nobody has said so, and that has done nothing yet."""
        return self._renewed_unsaid and not self._lines

    def on_renewal(self, tell: Callable[[str, bool], None]) -> None:
        """Tell of every new machine of this name, before it does anything, and whether the one before was heard of."""
        self._renewed.append(tell)

    # --- the supervisor --------------------------------------------------------------------------------------------

    def _next(self, leg: Leg) -> None:
        for step in leg.ticket.steps:
            state = leg.done.get(step, "")
            if state in ("done", "skipped"):
                continue
            if state in ("begun", "failed"):
                # an answer is about an interruption before this ticket, not about one under it
                fits = self.wrong.old_answers or leg.begun[step] < leg.token
                answer = leg.ticket.answers.get(step, "") if fits else ""
                if answer == "skip" or (state == "begun" and self.wrong.skips_open):
                    leg.done[step] = "skipped"
                    self._line(leg, "skip", step)
                    continue
                if state == "begun" and answer != "rerun":
                    verdict = self._verdict(leg, step)
                    if verdict == "unknown":
                        self._end(leg, "unknown", step, f"step {step} was interrupted and may have happened")
                        return
                    if verdict == "done":
                        leg.done[step] = "done"
                        self._line(leg, "end", step)
                        continue
            self._begin(leg, step)
            return
        self._end(leg, "finished", "", "")

    def _verdict(self, leg: Leg, step: str) -> Literal["done", "rerun", "unknown"]:
        spec = self._plan.steps[step]
        if self.wrong.reruns:
            return "rerun"
        if spec.check is not None:
            self._effect(leg, step, "check")
            return "done" if (leg.ticket.action, step) in self._happened else "rerun"
        return "rerun" if spec.idempotent else "unknown"

    def _begin(self, leg: Leg, step: str) -> None:
        key = (leg.ticket.action, step)
        if not self.wrong.writes_late:
            self._note(leg, step)
            if self._dies(leg, "runner-killed-beginning"):
                return
        count = self._begun[key] = self._begun.get(key, 0) + 1
        self._happened.discard(key)
        self._at_work = (leg, step)
        self._effect(leg, step, "begin")
        if self.wrong.writes_late:
            if self._dies(leg, "runner-killed-beginning"):
                return
            self._note(leg, step)
        leg.state = "progress"
        self._tell(leg)

        def ended() -> None:
            if self._at_work != (leg, step) or self._begun[key] != count:
                return
            self._at_work = None
            if self._failures(self.name, step, count - 1):
                self._effect(leg, step, "fail" if leg.alive else "cut")
                if leg.alive:
                    leg.done[step] = "failed"
                    self._line(leg, "end", step, rc=2)
                    self._end(leg, "failed", step, f"step {step} failed on {self.name}")
                return
            self._happened.add(key)
            if not leg.alive or self._dies(leg, "runner-killed-ending"):
                self._effect(leg, step, "end-unheard")
                return
            leg.done[step] = "done"
            self._effect(leg, step, "end")
            self._line(leg, "end", step)
            self._next(leg)

        self._world.after(self._durations(self.name, step), ended)

    def _note(self, leg: Leg, step: str) -> None:
        leg.done[step], leg.begun[step], leg.step = "begun", leg.token, step
        self._line(leg, "begin", step)

    def _cut(self, leg: Leg, step: str) -> None:
        self._at_work = None
        self._effect(leg, step, "cut")

    def _dies(self, leg: Leg, where: str) -> bool:
        if not self._world.odds(self.crash, where):
            return False
        self._gone(leg)
        return True

    def _gone(self, leg: Leg) -> None:
        leg.alive = False
        if self._running is leg:
            self._running = None
        self._tell(leg)  # the follower sees its connection end

    def _end(self, leg: Leg, state: ReportKind, step: str, text: str) -> None:
        leg.state, leg.step, leg.text, leg.alive = state, step, text, False
        leg.duration = self._world.now() - leg.began
        if self._running is leg:
            self._running = None
        if state in ("finished", "unknown"):
            self._line(leg, "leg-end" if state == "finished" else "unknown", step)
        self._tell(leg)

    def _tell(self, leg: Leg) -> None:
        for tell in list(self._followers):
            tell(leg)

    def _effect(self, leg: Leg, step: str, kind: EffectKind) -> None:
        ticket = leg.ticket
        self._tell_effect(Effect(self._world.now(), self.name, ticket.action, step, leg.token, kind, ticket))

    def _line(self, leg: Leg, kind: HostLineKind, step: str = "", rc: int = 0) -> None:
        now, ticket = self._world.now(), leg.ticket
        self._lines.append(
            HostLine(
                seq=self.last + 1, at=now, mono=now, kind=kind, run=ticket.run, action=ticket.action,
                leg=ticket.leg, token=leg.token, step=step, rc=rc,
            )
        )  # fmt: skip


def report_of(host: SimHost, order: Order, kind: ReportKind, text: str = "", since: int = 0) -> Report:
    """A report on an order, with what the host's journal has above ``since``."""
    leg = host.leg(order)
    if leg is not None and leg.token != order.token:
        leg = None  # what is known under another ticket is no answer to this one
    return Report(
        run=order.run, action=order.action, leg=order.leg, token=order.token, host=host.name, kind=kind,
        lines=host.lines(since), text=text or (leg.text if leg else ""), step=leg.step if leg else "",
        duration=leg.duration if leg else 0.0,
    )  # fmt: skip


def read_ticket(order: Order) -> Ticket:
    """The simulated signature is the payload itself."""
    return decode(order.ticket, Ticket)
