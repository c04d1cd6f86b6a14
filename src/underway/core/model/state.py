"""What a run's records say: states of actions and the transitions that are allowed.

All times are Unix seconds (UTC) as read from the clock of the machine that wrote them; durations are measured
on the machine that did the work.
"""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value
from underway.core.model.event import MACHINE_LINES
from underway.core.model.policy import Policy

ActionState = Literal["pending", "claimed", "running", "soaking", "done", "failed", "unknown", "skipped"]
"""``soaking``: the work is finished, the gate (health for the soak time) is not yet passed; uses its slot."""

TRANSITIONS: frozenset[tuple[ActionState, ActionState]] = frozenset(
    {
        ("pending", "claimed"),  # a grant was committed
        ("pending", "skipped"),  # the operator waived it
        ("claimed", "running"),  # the host accepted the ticket
        ("claimed", "pending"),  # revoked: the host never accepted it (a later start would be refused)
        ("claimed", "failed"),  # the host refused the ticket
        ("claimed", "unknown"),  # whether the host accepted it cannot be told
        ("running", "running"),  # the next leg, or a step further
        ("running", "soaking"),  # all legs finished; health not yet proven
        ("running", "done"),  # all legs finished and there is no gate
        ("running", "failed"),  # the host says that a step failed
        ("running", "unknown"),  # nobody can say what the host did
        ("soaking", "done"),  # healthy for the soak time
        ("soaking", "failed"),  # not healthy in time
        ("failed", "claimed"),  # the operator said retry
        ("failed", "soaking"),  # all its steps had finished: the operator said to look at its health again
        ("failed", "skipped"),  # the operator waived it
        ("failed", "done"),  # the operator recorded that it was finished by hand
        ("unknown", "running"),  # the host's journal says: at work
        ("unknown", "soaking"),  # the host's journal says: finished
        ("unknown", "done"),
        ("unknown", "failed"),  # the host's journal, or the operator, says: failed
        ("unknown", "claimed"),  # the operator said retry
        ("unknown", "skipped"),  # the operator waived it
        ("soaking", "pending"),  # the operator said replace: another machine stands there, and all is to be done again
        ("done", "pending"),  # the same
        ("failed", "pending"),
        ("unknown", "pending"),
        ("skipped", "pending"),
        ("soaking", "skipped"),  # the operator said drop: nobody stands there any more
    }
)

BUSY: frozenset[ActionState] = frozenset({"claimed", "running", "soaking"})
"""States of a host that is at work for the program."""

FINISHED: frozenset[ActionState] = frozenset({"done", "skipped"})
"""States that later stages may build on (a skipped one by the operator's recorded waiver)."""

TROUBLED: frozenset[ActionState] = frozenset({"failed", "unknown"})
"""States that count against the failure budget and keep using a slot (P7)."""


class IllegalTransition(ValueError):
    """A programming error: a state change that the table does not allow."""


def check_transition(old: ActionState, new: ActionState) -> None:
    """Raise IllegalTransition unless (old, new) is in the table. Every change goes through here."""
    if (old, new) not in TRANSITIONS:
        raise IllegalTransition(f"{old} -> {new} is not allowed")


class ActionRecord(Value, frozen=True, kw_only=True):
    """One action as the store has it; an absent record means pending.

    ``token`` is the fencing number of the latest claim (a store revision; grows). ``leg`` counts the legs that
    are finished. ``attempt`` counts claims. ``step`` is the last step that the host named. ``reason`` says why
    it failed or is unknown, in one line. ``duration`` is the host's own measure of its work, seconds. ``retry``: the
    operator said retry; the action keeps its state and slot until it is claimed again, and no longer counts
    against the failure budget. ``voided``: what was done under tokens up to this one was done for a machine that has
    been replaced.
    """

    state: ActionState
    token: int = 0
    attempt: int = 0
    leg: int = 0
    claimed: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    ended: float = 0.0
    step: str = ""
    reason: str = ""
    by: str = ""
    duration: float = 0.0
    stuck: bool = False
    retry: bool = False
    answers: dict[str, Literal["rerun", "skip"]] = {}  # the operator's words on steps that were interrupted
    voided: int = 0

    @property
    def again(self) -> bool:
        """Whether it had begun on a machine that was replaced, and waits to be done on the new one."""
        return self.state == "pending" and self.voided > 0


RunState = Literal["running", "paused", "aborted", "done"]

RUN_TRANSITIONS: frozenset[tuple[RunState, RunState]] = frozenset(
    {
        ("running", "paused"),
        ("paused", "running"),
        ("running", "aborted"),
        ("paused", "aborted"),
        ("running", "done"),
    }
)


class RunRecord(Value, frozen=True, kw_only=True):
    """One application of one plan. ``halted`` is not a state but follows from budgets at every look."""

    id: str
    cluster: str
    plan: str  # digest of the plan
    source: str
    target: str
    state: RunState = "running"
    reason: str = ""
    by: str = ""
    started: float = 0.0
    ended: float = 0.0
    mode: Literal["upgrade", "rollback", "roll"] = "upgrade"


class Admission(Value, frozen=True, kw_only=True):
    """The group's record: every grant is one compare-and-set over it (TRUST.md §0, 3).

    Whatever could make a grant wrong (a claim, a host becoming unhealthy, pause, hold, policy, approval
    withdrawn, host set) bumps ``serial`` in its own transaction; so a decision made on an older look
    cannot be committed. What only frees capacity need not.
    """

    serial: int = 0
    why: str = ""


class Hold(Value, frozen=True, kw_only=True):
    """An operator's mark on a host (or on ``*``: all hosts); never written or cleared by the program."""

    host: str
    reason: str
    by: str
    at: float


class Approval(Value, frozen=True, kw_only=True):
    """An operator's word that a stage may begin."""

    stage: str
    by: str
    at: float
    reason: str = ""


class Health(Value, frozen=True, kw_only=True):
    """A host's health as checked: ``since`` is when the present answer began (continuous)."""

    healthy: bool
    since: float
    checked: float
    detail: str = ""
    flaps: int = 0


class PolicyRecord(Value, frozen=True, kw_only=True):
    """The policy in force, when it was changed mid-run."""

    policy: Policy
    by: str
    at: float
    reason: str = ""


class HostRecord(Value, frozen=True, kw_only=True):
    """What is known of a host over runs: the release that it runs as a whole, and its ``services`` that run another one
    (service -> release) where a run brought only some of them to it. ``by_run`` "": an operator said so (``stamp``)."""

    release: str
    by_run: str = ""
    at: float = 0.0
    services: dict[str, str] = {}


class Leader(Value, frozen=True, kw_only=True):
    """Which coordinator leads: an optimisation, for two are as safe as one (P4).

    ``name``: who ("": nobody, the one before resigned). ``term`` grows by one with every coordinator that takes over,
    and is its fencing token: every write of a coordinator expects the record as it wrote it last. ``renewals`` counts
    how often it said that it lives; ``process``: what tells on its own machine whether it does.
    """

    name: str
    term: int
    renewals: int = 0
    process: str = ""


class Machine(Value, frozen=True, kw_only=True):
    """The machine that stands in the place of one that died for good, by an operator's word.

    ``number`` counts the replacements of the host. ``by``, ``at`` and ``reason``: who said so, when and why; ``run``:
    in which run. Tokens above ``serial`` are of the new machine. ``gone``: the host was dropped, and nobody stands
    there until a new machine is enrolled; it would be the one of this number.
    """

    host: str
    number: int
    by: str
    at: float
    reason: str
    run: str
    serial: int
    gone: bool = False

    @property
    def base(self) -> int:
        """Number above which its journal's lines count."""
        return self.number * MACHINE_LINES

    def base_for(self, token: int) -> int:
        """The same of the machine that stood there when a token was claimed: no other one takes its ticket."""
        return self.base if token > self.serial else self.base - MACHINE_LINES
