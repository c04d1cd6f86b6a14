"""What a rule is, and what it may look at. The rules themselves are rows of the table in ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from underway.core.layout import Layout, Visit
from underway.core.model.decision import Reason, ReasonKind
from underway.core.model.plan import Stage
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Elsewhere
from underway.core.model.state import (
    FINISHED,
    TROUBLED,
    ActionRecord,
    ActionState,
    Approval,
    Health,
    Hold,
    Machine,
    RunRecord,
)
from underway.core.tally import LimitOf, Spot, Tally, Unit, limit_of
from underway.core.windows import Opening


class Said(NamedTuple):
    """A rule's sentence, its arguments for machines, and when time alone may change the answer (0: never)."""

    sentence: str
    args: tuple[tuple[str, str], ...] = ()
    until: float = 0.0


def said(sentence: str, until: float = 0.0, **args: object) -> Said:
    """A sentence with named arguments."""
    return Said(sentence, tuple((name, str(value)) for name, value in args.items()), until)


@dataclass(slots=True)
class HostFacts:
    """One host as its own rules see it: nothing of other hosts, of counts or of the time.

    ``opened``: its actions with a record that are not finished (any stage). ``todo``: its passes of the present stage
    that are not finished, in order. ``later``: whether a later stage has work for it. ``waived``: passes whose
    action here was skipped, with the record. ``elsewhere``: what another run has open here. ``dropped``: the
    operator's word that nobody stands there any more.
    """

    host: str
    opened: tuple[tuple[Visit, ActionRecord], ...]
    todo: tuple[Visit, ...]
    later: bool
    health: Health | None
    hold: Hold | None
    waived: tuple[tuple[Visit, ActionRecord], ...] = ()
    elsewhere: Elsewhere | None = None
    dropped: Machine | None = None

    def open_in(self, *states: ActionState) -> tuple[Visit, ActionRecord] | None:
        """The first open action in one of these states; one that waits to be tried again is in no state."""
        for visit, record in self.opened:
            if record.state in states and not (record.retry and record.state in TROUBLED):
                return visit, record
        return None

    @property
    def retry(self) -> bool:
        """Whether the operator said retry for an action of the present stage."""
        return any(record.retry for visit, record in self.opened if visit in self.todo)


@dataclass(slots=True)
class Look:
    """The whole run as the rules see it at one moment."""

    layout: Layout
    policy: Policy
    run: RunRecord
    now: float
    stage: int  # the first stage that is not finished; -1: all are
    unfinished: Mapping[Visit, int]  # hosts of a pass that are not done or skipped
    unproven: Mapping[Visit, dict[str, None]]  # rolling passes -> hosts done with it that fell ill; no empty ones
    approvals: Mapping[str, Approval]
    hold_all: Hold | None
    outage: Mapping[str, float]
    troubled: Mapping[str, str]  # failed and unknown hosts that nobody said retry for -> their state
    tally: Tally
    parallel: Unit  # actions at once in passes that take nothing out of service
    at_work: Mapping[str, Visit]  # hosts that a claimed or running pass is about
    executing: Mapping[str, int]  # balancers -> claimed or running actions with legs on them
    window: Opening
    canaries_open: Callable[[Visit], tuple[str, ...]]  # canaries of a pass that are not (done and healthy)

    @property
    def present(self) -> Stage:
        """The stage that is at work (there is one: ``stage`` is not -1)."""
        return self.layout.stages[self.stage]

    def left(self, stage: int) -> int:
        """Actions of a stage that are not finished."""
        return sum(self.unfinished[visit] for visit in self.layout.by_stage[stage])


@dataclass(frozen=True, slots=True)
class IdleCase:
    """Hosts without unfinished work in the present stage; ``next`` is the stage that has more for them (-1: none)."""

    look: Look
    next: int


@dataclass(frozen=True, slots=True)
class PassCase:
    """A pass of the present stage, for all hosts that wait in it."""

    look: Look
    visit: Visit


@dataclass(slots=True)
class SlotCase:
    """Hosts of one kind that wait in one pass.

    ``canary``: they go before the others. ``counted``: they are unavailable already. ``placed``: they use a place of
    the parallel limit already. ``executor``: the host's name if it executes legs for others, else empty. ``spot``: the
    units that they count in.
    """

    look: Look
    visit: Visit
    canary: bool
    counted: bool
    placed: bool
    executor: str
    spot: Spot


S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """A row: if ``when`` holds, the host waits, for the reason that ``say`` words."""

    name: str
    kind: ReasonKind
    when: Callable[[S], bool]
    say: Callable[[S], Said]

    def reason(self, subject: S) -> Reason:
        """The reason of this row."""
        words = self.say(subject)
        return Reason(self.kind, words.sentence, words.args, words.until)


def first(rules: Iterable[Rule[S]], subject: S) -> Rule[S] | None:
    """The first row that holds."""
    for rule in rules:
        if rule.when(subject):
            return rule
    return None


@dataclass(frozen=True, slots=True)
class Contributor:
    """A row of the down accounting: why a host counts as unavailable."""

    cause: str
    holds: Callable[[HostFacts], bool]


@dataclass(frozen=True)
class Rulebook:
    """The whole table in its order: sections from the most specific question to the most shared one.

    A section's rows see only what its subject holds, and so one answer serves every host of that subject:
    ``host`` (one host), ``idle`` (hosts that wait for a stage), ``run`` (all), ``passes`` (all of a pass), ``slots``
    (all of a pass and kind), ``domains`` (those of one failure domain). ``down`` says who is unavailable,
    ``finished`` which states later work may build on, ``limits`` what a stated limit means.
    """

    host: tuple[Rule[HostFacts], ...]
    idle: tuple[Rule[IdleCase], ...]
    run: tuple[Rule[Look], ...]
    passes: tuple[Rule[PassCase], ...]
    slots: tuple[Rule[SlotCase], ...]
    domains: tuple[Rule[SlotCase], ...]
    down: tuple[Contributor, ...]
    finished: frozenset[ActionState] = FINISHED
    limits: LimitOf = limit_of

    def names(self) -> tuple[str, ...]:
        """The names of all rows, in order."""
        sections = (self.host, self.idle, self.run, self.passes, self.slots, self.domains)
        rows = tuple(row.name for section in sections for row in section)
        return rows + tuple(f"down:{row.cause}" for row in self.down)

    def without(self, *names: str) -> Rulebook:
        """The table without some rows (``down:<cause>`` for one of the accounting). Raises KeyError for no such row."""
        unknown = set(names) - set(self.names())
        if unknown:
            raise KeyError(", ".join(sorted(unknown)))
        return replace(
            self,
            host=_keep(self.host, names),
            idle=_keep(self.idle, names),
            run=_keep(self.run, names),
            passes=_keep(self.passes, names),
            slots=_keep(self.slots, names),
            domains=_keep(self.domains, names),
            down=tuple(row for row in self.down if f"down:{row.cause}" not in names),
        )


def _keep(rows: tuple[Rule[S], ...], without: tuple[str, ...]) -> tuple[Rule[S], ...]:
    return tuple(row for row in rows if row.name not in without)
