"""Events: the facts in a run's journal, and the lines of a host's journal."""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

EventKind = Literal[
    "run-started", "run-resumed", "run-paused", "run-halted", "run-aborted", "run-done",
    "claimed", "started", "leg-done", "work-done", "done", "failed", "unknown", "stuck", "revoked", "skipped",
    "retry", "replaced", "again", "dropped", "enrolled", "hold", "release", "approve", "policy", "finalize", "rollback",
    "unhealthy", "healthy", "outage-began", "outage-ended", "checks-waived", "stamped", "note",
]  # fmt: skip


class Event(Value, frozen=True, kw_only=True):
    """One fact: what, to whom, when, by whom. Written in the transaction of the change that it tells of."""

    seq: int = 0
    at: float
    kind: EventKind
    actor: str  # "coordinator:<id>", "host:<name>" or "operator:<user>"
    action: str = ""
    host: str = ""
    text: str = ""  # one sentence
    token: int = 0


HostLineKind = Literal[
    "accepted", "refused", "begin", "end", "skip", "task", "task-end", "notify", "handler", "output",
    "notice", "leg-end", "unknown", "resumed", "cancelled", "new-machine",
]  # fmt: skip

VOLATILE: frozenset[HostLineKind] = frozenset({"task", "task-end", "notify", "output", "notice"})
"""Lines that a host does not make durable by themselves: a power cut may lose them after they were seen."""

MACHINE_LINES = 1_000_000
"""Numbers of journal lines that one machine has: the second machine of a host's name begins at this one, the third at
twice this. More than a machine writes in its life, so that no line of the one before is mistaken for one of its own."""


def machine_of(seq: int) -> int:
    """Which machine of a host's name wrote a line: 0 is the first, 1 the one that took its place."""
    return seq // MACHINE_LINES


class HostLine(Value, frozen=True, kw_only=True):
    """A line of a host's own journal, as the runner writes it and the coordinator mirrors it.

    ``at`` is the host's wall clock, ``mono`` its monotonic clock (seconds). ``begin``/``end`` bracket a step
    (``step``), ``task``/``task-end`` an Ansible task (``task`` is its name). ``notice`` is what a task tells operators.
    ``new-machine`` is the first line of one that stands in the place of another. ``rc`` 0 is success. ``boot`` is the
    boot id of the host. ``run``, ``action``, ``leg`` and ``token`` say under which ticket.
    """

    seq: int
    at: float
    mono: float
    kind: HostLineKind
    run: str = ""
    action: str = ""
    leg: int = 0
    token: int = 0
    step: str = ""
    task: str = ""
    rc: int = 0
    changed: bool = False
    text: str = ""
    boot: str = ""
    duration: float = 0.0
