"""What happened, taken from the facts: steps from the hosts' own journals, losses from the run's events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from underway.core.model.event import Event, HostLine
from underway.core.model.plan import Plan, split_action
from underway.core.model.state import BUSY, TROUBLED, ActionRecord
from underway.core.rows import TEXT_LIMIT, LossRow, StepOutcome, StepRow, TaskRow
from underway.core.words import clean


class _Open:
    """A step that has begun and not ended (the only thing here that changes, and it never leaves this file)."""

    __slots__ = ("attempt", "begin", "changed", "notices", "tasks")

    def __init__(self, begin: HostLine, attempt: int) -> None:
        self.begin, self.attempt, self.changed = begin, attempt, 0
        self.tasks: list[TaskRow] = []
        self.notices: list[str] = []


def steps(
    plan: Plan, run: str, actions: Mapping[str, ActionRecord], lines: Mapping[str, Sequence[HostLine]]
) -> tuple[StepRow, ...]:
    """Every execution of every step of the run, by start, from each executing host's journal lines.

    A step that began and never ended is ``running`` while its action is at work, else ``unknown``. A step that was
    not executed (it had happened before, or the operator said skip) is ``skipped`` unless the same host's journal
    shows that this run itself finished it earlier.
    """
    rows = [row for host in sorted(lines) for row in _steps_of(plan, run, actions, host, lines[host])]
    return tuple(sorted(rows, key=lambda row: (row.start, row.host, row.on)))


def spans_of(steps: Iterable[StepRow]) -> dict[str, float]:
    """Seconds from the first begin to the last end of each action's steps, all its attempts included."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in steps:
        first[row.action] = min(first.get(row.action, row.start), row.start)
        last[row.action] = max(last.get(row.action, row.start), row.end if row.end is not None else row.start)
    return {action: last[action] - start for action, start in first.items()}


def _steps_of(
    plan: Plan, run: str, actions: Mapping[str, ActionRecord], host: str, lines: Sequence[HostLine]
) -> Iterator[StepRow]:
    passes: dict[tuple[str, int], _Open] = {}  # one step at a time per action and leg
    attempts: dict[tuple[str, int, str], int] = {}
    finished: set[tuple[str, int, str]] = set()
    for line in lines:
        if line.run and line.run != run:
            continue
        leg, step = (line.action, line.leg), (line.action, line.leg, line.step)
        now = passes.get(leg)
        match line.kind:
            case "begin":
                if now is not None:
                    yield _row(plan, host, now, None, "unknown", "the host began anew and never said how this ended")
                attempts[step] = attempts.get(step, 0) + 1
                passes[leg] = _Open(line, attempts[step])
            case "task" if now is not None:
                now.tasks.append(TaskRow(task=clean(line.task, TEXT_LIMIT), start=line.at))
            case "task-end" if now is not None:
                _end_task(now, line)
            case "notice" if now is not None:
                now.notices.append(clean(line.text, TEXT_LIMIT))
            case "end" if now is not None and now.begin.step == line.step:
                del passes[leg]
                if line.rc == 0:
                    finished.add(step)
                yield _row(plan, host, now, line, "ok" if line.rc == 0 else "failed", line.text)
            case "skip" if step not in finished:
                yield _row(plan, host, _Open(line, attempts.get(step, 0)), line, "skipped", line.text)
            case "unknown" | "cancelled" if now is not None:
                del passes[leg]
                yield _row(plan, host, now, line if line.kind == "cancelled" else None, line.kind, line.text)
            case "new-machine":
                for left in passes.values():
                    yield _row(plan, host, left, None, "unknown", "its machine died and never said how this ended")
                passes.clear()
            case _:
                pass
    for now in passes.values():
        record = actions.get(now.begin.action)
        working = record is not None and record.state in BUSY
        yield _row(plan, host, now, None, "running" if working else "unknown", "" if working else "no end was recorded")


def _end_task(now: _Open, line: HostLine) -> None:
    now.changed += line.changed
    name = clean(line.task, TEXT_LIMIT)
    for index in range(len(now.tasks) - 1, -1, -1):
        task = now.tasks[index]
        if task.task == name and task.end is None:
            now.tasks[index] = TaskRow(task=name, start=task.start, end=line.at, rc=line.rc, changed=line.changed)
            return


def _row(plan: Plan, on: str, now: _Open, end: HostLine | None, outcome: StepOutcome, text: str) -> StepRow:
    begin = now.begin
    spec = plan.steps.get(begin.step)
    pass_id, host = split_action(begin.action)
    stage = plan.passes[pass_id].stage if pass_id in plan.passes else ""
    length: float | None = None
    if end is not None and outcome != "skipped":
        # Another boot has another monotonic clock: then the runner's own figure, or nothing.
        length = end.duration or (max(end.mono - begin.mono, 0.0) if end.boot == begin.boot else None)
    return StepRow(
        host=host or on,
        on=on,
        action=begin.action,
        stage=stage,
        leg=begin.leg,
        step=clean(begin.step, TEXT_LIMIT),
        name=clean(spec.name if spec else begin.step, TEXT_LIMIT),
        service=spec.service if spec else "",
        phase=spec.phase if spec else "",
        start=begin.at,
        end=None if end is None else max(end.at, begin.at),
        duration=length,
        outcome=outcome,
        attempt=now.attempt,
        changed=now.changed,
        text=clean(text, TEXT_LIMIT),
        tasks=tuple(now.tasks),
        notices=tuple(now.notices),
    )


def dropped(events: Iterable[Event]) -> frozenset[str]:
    """Hosts that an operator dropped in the run, and that have not come back in it."""
    found: set[str] = set()
    for event in events:
        if event.kind == "dropped":
            found.add(event.host)
        elif event.kind in ("enrolled", "replaced"):
            found.discard(event.host)
    return frozenset(found)


Interval = tuple[float, float, str]
"""Start, end, host."""


def absences(
    plan: Plan, actions: Mapping[str, ActionRecord], events: Sequence[Event], end: float
) -> dict[str, list[Interval]]:
    """Pass id -> intervals in which a rolling pass had a host out of service; ``*`` -> intervals of bad health.

    From the claim until the gate was passed, the action was skipped or the claim revoked; a failed or unknown host
    stays out (it keeps its slot, P7), and one whose machine was replaced is out until it is done on the new one. Where
    the events of an action are missing, its record is used.
    """
    found: dict[str, list[Interval]] = {}
    since: dict[str, float] = {}
    ill: dict[str, float] = {}
    told: set[str] = set()
    for event in events:
        pass_id, host = split_action(event.action)
        if event.kind == "unhealthy":
            ill.setdefault(event.host, event.at)
        elif event.kind in ("healthy", "dropped") and event.host in ill:  # well, or in no count any more
            found.setdefault("*", []).append((ill.pop(event.host), event.at, event.host))
        elif pass_id in plan.passes and plan.passes[pass_id].rolling:
            # again: its machine was replaced, so it is out from the operator's word on, also if it had been done
            if event.kind == "claimed" or (event.kind == "again" and event.token):
                told.add(event.action)
                since.setdefault(event.action, event.at)
            elif event.kind in ("done", "skipped", "revoked") and event.action in since:
                found.setdefault(pass_id, []).append((since.pop(event.action), event.at, host))
        elif event.kind == "skipped" and not event.action:  # the operator's word on all that a host has open
            for action in [action for action in since if split_action(action)[1] == event.host]:
                found.setdefault(split_action(action)[0], []).append((since.pop(action), event.at, event.host))
    for action, start in since.items():
        pass_id, host = split_action(action)
        found.setdefault(pass_id, []).append((start, end, host))
    found.setdefault("*", []).extend((start, end, host) for host, start in ill.items())
    for action, record in actions.items():
        pass_id, host = split_action(action)
        if action in told or not record.claimed or pass_id not in plan.passes or not plan.passes[pass_id].rolling:
            continue
        busy = record.state in BUSY or record.state in TROUBLED
        found.setdefault(pass_id, []).append((record.claimed, end if busy else record.ended or record.finished, host))
    return found


def losses(plan: Plan, absent: Mapping[str, Sequence[Interval]]) -> tuple[LossRow, ...]:
    """The worst simultaneous loss per role and per service that the run showed, against what was allowed."""
    ill = absent.get("*", ())
    rolling = [found for found in plan.passes.values() if found.rolling]
    rows = []
    for role in sorted({found.role for found in rolling}):
        members = {name for name, host in plan.hosts.items() if host.role == role}
        spans = [span for found in rolling for span in absent.get(found.id, ()) if span[2] in members]
        limits = plan.roles.get(role)
        rows.append(_loss("role", role, members, (*spans, *ill), limits.limit if limits else None))
    planned = {loss.service: loss for loss in plan.losses}
    for service in sorted({name for found in rolling for name in found.services}):
        passes = [found for found in rolling if service in found.services]
        members = {host for found in passes for host in found.hosts}
        spans = [span for found in passes for span in absent.get(found.id, ())]
        allowed = planned[service].lost if service in planned else None
        rows.append(_loss("service", service, members, (*spans, *ill), allowed))
    return tuple(rows)


def _loss(
    kind: Literal["role", "service"], name: str, members: set[str], spans: Iterable[Interval], allowed: int | None
) -> LossRow:
    """Sweep over the ends of the intervals; an end comes before a start at the same moment (the slot was refilled)."""
    edges = [
        (at, way, host)
        for start, end, host in spans
        if host in members and end > start
        for at, way in ((start, 1), (end, -1))
    ]
    out: dict[str, int] = {}
    worst: tuple[str, ...] = ()
    when: float | None = None
    for at, way, host in sorted(edges, key=lambda edge: (edge[0], edge[1])):
        out[host] = out.get(host, 0) + way
        if out[host] == 0:
            del out[host]
        if len(out) > len(worst):
            worst, when = tuple(sorted(out)), at
    return LossRow(kind=kind, name=name, lost=len(worst), allowed=allowed, total=len(members), at=when, hosts=worst)
