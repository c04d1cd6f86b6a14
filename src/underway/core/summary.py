"""A run in figures: the one value from which every form of the report is written. Pure.

What is not known says so: ``None`` is "not known" (or "not observed"), never 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from underway.core import calls, headline, history, promises
from underway.core.availability import Stats
from underway.core.bouts import Bout, bouts
from underway.core.model.cluster import Host
from underway.core.model.event import Event, HostLine
from underway.core.model.plan import Plan, Stage, action_id, split_action
from underway.core.model.sample import Gap, Outage
from underway.core.model.state import BUSY, FINISHED, ActionRecord, ActionState, RunRecord
from underway.core.notices import notices
from underway.core.rows import (
    SUMMARY_SCHEMA,
    TEXT_LIMIT,
    ActionRow,
    CauseRow,
    HostRow,
    HostState,
    OperatorRow,
    OutageRow,
    ProbeFigures,
    StageRow,
    Summary,
)
from underway.core.words import clean

__all__ = ["ProbeFigures", "Summary", "figures", "host_state", "summarise"]


def summarise(
    plan: Plan,
    run: RunRecord,
    actions: Mapping[str, ActionRecord],
    events: Sequence[Event],
    lines: Mapping[str, Sequence[HostLine]],
    outages: Sequence[Outage],
    gaps: Sequence[Gap],
    stats: Iterable[Stats],
    now: float,
    *,
    version: str = "",
    skews: Mapping[str, tuple[float, float]] | None = None,
    audit: tuple[int, str] | None = None,
    beside: Sequence[str] = (),
) -> Summary:
    """Everything that a report says of a run.

    ``events`` are the run's, by sequence; ``lines`` the journal lines by *executing* host, by the coordinator's clock
    after a correction by ``skews`` (``core/clocks.py``); ``outages``, ``gaps`` and
    ``stats`` those of the ``Ledger`` (a probe of the plan without stats is listed as not observed); ``audit`` the
    sequence number and hash of the audit chain's last entry; ``beside`` what else is told as a warning. ``now`` (Unix
    seconds) stands in for the end of a run that is not over.
    """
    work = _actions(plan, actions, run.mode)
    steps = history.steps(plan, run.id, actions, lines)
    spans = history.spans_of(steps)
    gone = history.dropped(events)
    hosts = tuple(_host(host, work[name], spans, gone) for name, host in plan.hosts.items())
    over = run.state in ("done", "aborted")
    end = run.ended or (max((event.at for event in events), default=None) if over else None)
    told_stats = list(stats)
    probes = _probes(plan, told_stats)
    direct = bool(probes) and all(row.host for row in probes)  # no probe asks as users do: then all count
    told = _outages(plan, outages, now, direct)
    seen = [row for row in probes if row.requests and (direct or not row.host)]
    felt = [row for row in told if row.label.startswith("O")]
    requests = sum(row.requests or 0 for row in seen) if seen else None
    failed = sum(row.failed or 0 for row in seen) if seen else None
    verdict, reason = headline.verdict(run, hosts)
    length = (end or now) - run.started if run.started else None
    said = headline.claim(run, hosts, felt, length, requests, failed)
    changed = any(event.kind == "policy" for event in events)
    waived = [clean(event.text, TEXT_LIMIT) for event in events if event.kind == "checks-waived"]
    stages = tuple(_stage(plan, stage, actions) for stage in plan.stages)
    promised = promises.promises(stages, felt, seen, end or now)
    absent = history.absences(plan, actions, events, end or now)
    return Summary(
        schema=SUMMARY_SCHEMA,
        version=version,
        cluster=plan.cluster,
        run=run.id,
        mode=run.mode,
        way=clean(plan.way),
        source=run.source,
        target=run.target,
        plan=run.plan,
        audit_sequence=audit[0] if audit else None,
        audit_head=audit[1] if audit else "",
        state=run.state,
        verdict=verdict,
        reason=reason,
        headline=f"{headline.jump(plan)}: {said}",
        claim=said,
        result=headline.result_line(hosts, requests, failed),
        written=now,
        started=run.started or None,
        ended=end,
        duration=length,
        requests=requests,
        failed=failed,
        unobserved=sum(row.unobserved or 0.0 for row in seen) if seen else None,
        longest=max(felt, key=lambda row: row.length, default=None),
        hosts=hosts,
        stages=stages,
        promises=promised,
        steps=steps,
        outages=told,
        gaps=tuple(Gap(probe=gap.probe, start=gap.start, end=gap.end, why=clean(gap.why, TEXT_LIMIT)) for gap in gaps),
        probes=probes,
        services=calls.services(told_stats, outages, gaps),
        losses=history.losses(plan, absent),
        operator=tuple(
            _operator(event) for event in events if event.actor.startswith("operator:") and not _follows(event)
        ),
        notices=notices(steps),
        warnings=(
            *waived,
            *promises.warnings(promised),
            *(clean(event.text, TEXT_LIMIT) for event in events if event.kind in ("replaced", "dropped", "enrolled")),
            *(clean(text, TEXT_LIMIT) for text in (*beside, *plan.warnings)),
            *headline.warnings(skews or {}, probes, changed),
        ),
        defaults=tuple(clean(text, TEXT_LIMIT) for text in plan.defaults),
    )


def host_state(states: Sequence[tuple[bool, ActionState]]) -> HostState:
    """The state of a host from those of its actions, each with whether its pass is rolling.

    The rolling passes decide where there are any: a host whose services run the new release is upgraded, even if
    it has still to do once-only work for all.
    """
    every = [state for _, state in states]
    if not every:
        return "untouched"
    if "unknown" in every:
        return "unknown"
    if "failed" in every:
        return "failed"
    if any(state in BUSY for state in every):
        return "upgrading"
    deciding = [state for rolling, state in states if rolling] or every
    if not all(state in FINISHED for state in deciding):
        return "pending"
    return "skipped" if "skipped" in deciding else "upgraded"


def _actions(plan: Plan, actions: Mapping[str, ActionRecord], mode: str) -> dict[str, list[ActionRow]]:
    """Every host of the plan with its actions, in the order of the stages."""
    found: dict[str, list[ActionRow]] = {name: [] for name in plan.hosts}
    known = set()
    for work, host in plan.actions():
        action = action_id(work.id, host)
        known.add(action)
        found[host].append(_action(action, work.stage, work.rolling, actions.get(action)))
    for action, record in actions.items():  # work that is not of the plan's stages
        pass_id, host = split_action(action)
        if action not in known and host in found:
            found[host].append(_action(action, pass_id.partition("/")[0], mode == "rollback", record))
    return found


def _host(host: Host, rows: Sequence[ActionRow], spans: Mapping[str, float], gone: Collection[str]) -> HostRow:
    state = host_state([(row.rolling and row.stage != "finalize", row.state) for row in rows])
    state = "dropped" if host.name in gone else state
    out = [row for row in rows if row.rolling and row.claimed is not None] or (
        [] if any(row.rolling for row in rows) else [row for row in rows if row.claimed is not None]
    )
    # The last attempt's length is not the time that the host was out: it was out from its first step on.
    lengths = [
        None if row.duration is None or row.state not in FINISHED else max(row.duration, spans.get(row.action, 0.0))
        for row in out
    ]
    trouble = [row.reason for row in rows if row.reason and row.state in ("failed", "unknown", "skipped")]
    begun = [row.claimed for row in rows if row.claimed is not None]
    ended = [row.ended for row in rows if row.claimed is not None]
    return HostRow(
        host=host.name,
        role=host.role,
        domain=host.domain,
        state=state,
        start=min(begun, default=None),
        end=None if None in ended else max((end for end in ended if end is not None), default=None),
        took=None if not lengths or None in lengths else sum(length for length in lengths if length is not None),
        reason="; ".join(trouble),
        actions=tuple(rows),
    )


def _action(action: str, stage: str, rolling: bool, record: ActionRecord | None) -> ActionRow:
    record = record or ActionRecord(state="pending")
    length: float | None = record.duration or None
    if length is None and record.finished and record.started:
        length = max(record.finished - record.started, 0.0)
    return ActionRow(
        action=action,
        stage=stage,
        rolling=rolling,
        state=record.state,
        claimed=record.claimed or None,
        ended=None if record.state in BUSY else record.ended or record.finished or None,
        duration=length,
        attempt=record.attempt,
        reason=clean(record.reason, TEXT_LIMIT),
    )


def _stage(plan: Plan, stage: Stage, actions: Mapping[str, ActionRecord]) -> StageRow:
    ids = [f"{pass_id}/{host}" for pass_id in stage.passes for host in plan.passes[pass_id].hosts]
    states: dict[str, int] = {}
    for action in ids:
        state = actions[action].state if action in actions else "pending"
        states[state] = states.get(state, 0) + 1
    done = sum(states.get(state, 0) for state in FINISHED)
    ends = [actions[action].ended or actions[action].finished for action in ids if action in actions]
    return StageRow(
        stage=stage.name,
        why=clean(stage.why, TEXT_LIMIT),
        approval=stage.approval,
        point_of_no_return=stage.point_of_no_return,
        passes=stage.passes,
        actions=len(ids),
        done=done,
        states=states,
        start=min((actions[a].claimed for a in ids if a in actions and actions[a].claimed), default=None),
        end=max((end for end in ends if end), default=None) if done == len(ids) else None,
    )


def _follows(event: Event) -> bool:
    """Whether the event only spells out what another word of the operator says."""
    return event.kind == "again" or (event.kind == "skipped" and event.text.endswith(f": {event.host} was dropped"))


def _operator(event: Event) -> OperatorRow:
    return OperatorRow(
        at=event.at,
        who=clean(event.actor.removeprefix("operator:"), 80),
        kind=event.kind,
        host=event.host,
        action=event.action,
        why=clean(event.text, TEXT_LIMIT),
    )


def _outages(plan: Plan, outages: Sequence[Outage], now: float, direct: bool) -> tuple[OutageRow, ...]:
    told = []
    counts = {"O": 0, "B": 0}
    for bout in bouts(outages, plan.probes):
        letter = "B" if bout.outage.host and not direct else "O"
        counts[letter] += 1
        told.append(_outage(plan, f"{letter}{counts[letter]}", bout, now))
    return tuple(told)


def _outage(plan: Plan, label: str, bout: Bout, now: float) -> OutageRow:
    outage = bout.outage
    end = max(outage.end, now) if outage.open else outage.end
    causes = tuple(
        CauseRow(
            action=cause.action,
            host=cause.host,
            service=cause.service,
            step=plan.steps[cause.step].name if cause.step in plan.steps else clean(cause.step, TEXT_LIMIT),
            task=clean(cause.task, TEXT_LIMIT),
            overlap=cause.overlap,
        )
        for cause in outage.causes
    )
    return OutageRow(
        label=label,
        probe=outage.probe,
        service=outage.service,
        host=outage.host,
        start=outage.start,
        end=end,
        length=max(end - outage.start, 0.0),
        intervals=bout.intervals,
        down=max(bout.down + end - outage.end, 0.0),
        resolution=outage.resolution,
        open=outage.open,
        failed=outage.failed,
        errors={clean(error, 120): number for error, number in outage.errors.items()},
        attribution=outage.attribution,
        causes=causes,
        cause=headline.cause_sentence(outage.attribution, causes),
    )


def _probes(plan: Plan, stats: Iterable[Stats]) -> tuple[ProbeFigures, ...]:
    """One row for each probe of the plan (and of the samples), those that ask as users do first."""
    told = {found.probe: found for found in stats}
    silent = [Stats(probe=name, service=probe.service, host=probe.host) for name, probe in plan.probes.items()]
    every = [*told.values(), *(found for found in silent if found.probe not in told)]
    return tuple(figures(found) for found in sorted(every, key=lambda row: (bool(row.host), row.service, row.probe)))


def figures(stats: Stats) -> ProbeFigures:
    """The account of a probe as the report has it: what nobody observed is None, not 0."""
    requests = stats.samples - stats.lost
    asked = stats.samples > 0
    good = requests > stats.failed
    return ProbeFigures(
        probe=stats.probe,
        service=stats.service,
        host=stats.host,
        requests=requests if asked else None,
        failed=stats.failed if asked else None,
        lost=stats.lost if asked else None,
        up=stats.up if asked else None,
        down=stats.down if asked else None,
        unobserved=stats.unobserved if asked else None,
        start=stats.start if asked else None,
        end=stats.end if asked else None,
        mean=stats.mean if good else None,
        slowest=stats.slowest if good else None,
    )
