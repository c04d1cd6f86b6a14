"""What may start, and for all that may not: exactly one reason each, from a closed list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ReasonKind = Literal[
    # about the whole run
    "paused", "aborted", "run-done", "halted-failures", "halted-outage",
    # about the stage and the order
    "stage-waits", "approval-wanted", "order",
    # about the host
    "done", "at-work", "soaking", "failed", "unknown", "stuck", "skipped", "held", "other-run", "host-unhealthy",
    "dropped",
    # about capacity
    "limit-zero", "canary-first", "over-limit", "role-limit", "group-limit", "domain-limit", "domains-at-once",
    "total-limit", "window-closed", "window-too-short", "parallel-limit", "busy-elsewhere",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a host is where it is: a kind for machines, arguments, and the one sentence for people.

    CLI, API, web page, log and tests print ``sentence``. ``until`` is when the answer may change by time
    alone (Unix seconds), 0 where only an event can change it.
    """

    kind: ReasonKind
    sentence: str
    args: tuple[tuple[str, str], ...] = ()
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """An action that may start now, and why it may (rule, counts): the audit line's text."""

    action: str
    host: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A change that the gate asks for: a soaking action that is done, or failed; one at work that is stuck."""

    action: str
    kind: Literal["done", "failed", "stuck"]
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of one look.

    ``grants`` in order; ``reasons`` has exactly one reason for every host of the plan without a grant;
    ``verdicts`` are gate results to be recorded; ``halt`` names why the run is halted (no grants then);
    ``stage`` is the first stage that is not finished (empty when all are); ``finished`` is true when every
    action is done or skipped; ``wake`` is the earliest time at which looking again can give another answer
    without an event (0: none).
    """

    revision: int
    grants: tuple[Grant, ...]
    reasons: Mapping[str, Reason]
    verdicts: tuple[Verdict, ...] = ()
    halt: Reason | None = None
    stage: str = ""
    finished: bool = False
    wake: float = 0.0
    slots: dict[str, tuple[int, int]] = field(default_factory=dict)
    """role or group or ``total`` -> (used, limit)"""
