"""The rows of a report: plain values, written the same in HTML, JSON and text.

What is not known says so: ``None`` is "not known" (or "not observed"), never 0.
"""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value
from underway.core.model.sample import Attribution, Gap
from underway.core.model.state import ActionState

SUMMARY_SCHEMA = 1

HostState = Literal["pending", "upgrading", "upgraded", "failed", "unknown", "skipped", "untouched", "dropped"]
"""``untouched``: the plan has no work for it. ``skipped``: an operator waived its pass, so it was not upgraded.
``dropped``: it died for good, and is in no count any more."""

SETTLED: frozenset[HostState] = frozenset({"upgraded", "untouched", "dropped"})
"""States of hosts for which a run that is over leaves nothing to be done."""

Verdict = Literal["done", "behind", "running", "paused", "halted", "aborted"]
"""``behind``: the run is over, and hosts were not upgraded."""

StepOutcome = Literal["ok", "failed", "skipped", "unknown", "cancelled", "running"]

TEXT_LIMIT = 500
"""Characters of a foreign text that a report keeps; the journal has all of it."""


class Row(Value, frozen=True, kw_only=True, omit_defaults=False):
    """A row of the report. All fields are always written, so that a reader of the JSON form need not guess."""


class TaskRow(Row, frozen=True, kw_only=True):
    """One Ansible task of a step. ``end`` and ``rc`` are None where the host never said that it ended."""

    task: str
    start: float
    end: float | None = None
    rc: int | None = None
    changed: bool = False


class StepRow(Row, frozen=True, kw_only=True):
    """One execution of one step.

    ``host`` is the host that the work is about, ``on`` the one that did it (a balancer that drains ``host``, say),
    whose clock ``start`` and ``end`` were read from. ``duration`` is by that host's monotonic clock. ``attempt``
    counts executions of the same step for the same action. ``end`` and ``duration`` are None where nobody knows.
    ``notices`` are what its tasks tell operators.
    """

    host: str
    on: str
    action: str
    stage: str
    leg: int
    step: str
    name: str
    service: str
    phase: str
    start: float
    end: float | None
    duration: float | None
    outcome: StepOutcome
    attempt: int
    changed: int
    text: str
    tasks: tuple[TaskRow, ...]
    notices: tuple[str, ...] = ()


class NoticeRow(Row, frozen=True, kw_only=True):
    """What tasks of a step (by its name) told operators, once for all ``hosts`` that said the same."""

    service: str
    phase: str
    step: str
    text: str
    hosts: tuple[str, ...]


class LossRow(Row, frozen=True, kw_only=True):
    """The most hosts of a role (or of a service) that were out of service at once.

    ``allowed`` is the role's limit, or the service's worst loss by the plan. ``hosts`` were out at ``at``;
    ``at`` is None where none ever was.
    """

    kind: Literal["role", "service"]
    name: str
    lost: int
    allowed: int | None
    total: int
    at: float | None
    hosts: tuple[str, ...]


class ProbeFigures(Row, frozen=True, kw_only=True):
    """One probe in figures; all but the names are None for a probe that never asked.

    ``requests`` counts questions with an answer that says something of the service, ``failed`` the bad ones among
    them, ``lost`` those that say nothing (the prober had no network). ``up``, ``down`` and ``unobserved`` are seconds
    and add up to the time from ``start`` to ``end``. ``mean`` and ``slowest`` are of good answers, seconds.
    """

    probe: str
    service: str
    host: str
    requests: int | None
    failed: int | None
    lost: int | None
    up: float | None
    down: float | None
    unobserved: float | None
    start: float | None
    end: float | None
    mean: float | None
    slowest: float | None


class ServiceCalls(Row, frozen=True, kw_only=True):
    """One service in the words of the probe tool of Nova's rolling upgrade tests (``core/calls.py`` has the rules).

    ``down_time`` and ``avg_build_time`` (of servers that became ACTIVE) are seconds, percentages have two decimals,
    times are ISO 8601 in UTC. None is "not known": nobody asked, or nothing was built.
    """

    project: str
    success_pct: float | None
    total_requests: int
    successful_requests: int
    failed_requests: int
    start_time: str
    end_time: str
    uptime_pct: float | None
    down_time: float
    avg_build_time: float | None


class ActionRow(Row, frozen=True, kw_only=True):
    """One action of a host. ``duration``: by the host's own clock where it said so, else by the coordinator's."""

    action: str
    stage: str
    rolling: bool
    state: ActionState
    claimed: float | None
    ended: float | None
    duration: float | None
    attempt: int
    reason: str


class HostRow(Row, frozen=True, kw_only=True):
    """One host. ``took``: seconds that its rolling passes took (it was out of service), from the first step
    to the last of all attempts; None where not known or not over."""

    host: str
    role: str
    domain: str
    state: HostState
    start: float | None
    end: float | None
    took: float | None
    reason: str
    actions: tuple[ActionRow, ...]


class StageRow(Row, frozen=True, kw_only=True):
    """One stage: how many of its actions are in which state, and when it was worked on."""

    stage: str
    why: str
    approval: bool
    point_of_no_return: bool
    passes: tuple[str, ...]
    actions: int
    done: int
    states: dict[str, int]
    start: float | None
    end: float | None


class OperatorRow(Row, frozen=True, kw_only=True):
    """What an operator said: when, who, what, to which host, and why."""

    at: float
    who: str
    kind: str
    host: str
    action: str
    why: str


class CauseRow(Row, frozen=True, kw_only=True):
    """A step (by its name) and task that was at work during an outage; ``overlap`` is seconds."""

    action: str
    host: str
    service: str
    step: str
    task: str
    overlap: float


class OutageRow(Row, frozen=True, kw_only=True):
    """An outage as the report labels it: ``O1`` of a service, ``B1`` of one back-end that a probe asks directly.

    ``length`` is true to ``resolution`` (seconds) at either end. Outages that follow close upon each other on the same
    work are one row: ``intervals`` says how many there were, ``down`` the seconds in which the probe really had no
    answer.
    """

    label: str
    probe: str
    service: str
    host: str
    start: float
    end: float
    length: float
    intervals: int
    down: float
    resolution: float
    open: bool
    failed: int
    errors: dict[str, int]
    attribution: Attribution
    causes: tuple[CauseRow, ...]
    cause: str


class PromiseRow(Row, frozen=True, kw_only=True):
    """Whether users met no outage by the work of a stage that stops nothing. Unix seconds; ``end`` is None while it
    goes on. ``outages`` are the labels of those put on its work; ``kept`` is None where nobody observed.
    """

    stage: str
    start: float
    end: float | None
    kept: bool | None
    outages: tuple[str, ...]


class Summary(Row, frozen=True, kw_only=True):
    """A run in figures.

    ``requests``, ``failed``, ``unobserved`` and ``longest`` are of the probes that ask the service as its users do; a
    back-end that a probe asks directly is expected to be away while it is worked on, and counts only where there is no
    other probe. They are None where nobody observed (``longest`` also where there was no outage).
    """

    schema: int
    version: str
    cluster: str
    run: str
    mode: str
    way: str
    source: str
    target: str
    plan: str
    audit_sequence: int | None
    audit_head: str
    state: str
    verdict: Verdict
    reason: str
    headline: str
    claim: str
    result: str
    written: float
    started: float | None
    ended: float | None
    duration: float | None
    requests: int | None
    failed: int | None
    unobserved: float | None
    longest: OutageRow | None
    hosts: tuple[HostRow, ...]
    stages: tuple[StageRow, ...]
    promises: tuple[PromiseRow, ...] = ()
    steps: tuple[StepRow, ...]
    outages: tuple[OutageRow, ...]
    gaps: tuple[Gap, ...]
    probes: tuple[ProbeFigures, ...]
    services: tuple[ServiceCalls, ...] = ()
    losses: tuple[LossRow, ...]
    operator: tuple[OperatorRow, ...]
    notices: tuple[NoticeRow, ...] = ()
    warnings: tuple[str, ...]
    defaults: tuple[str, ...]
