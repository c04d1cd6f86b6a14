"""``underway status``: the whole truth in lines, or as JSON. Nothing here decides; ``core.outlook`` does.

Every line has passed ``words.clean``: what a host, a file or an operator wrote cannot move the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from underway.core import words
from underway.core.model.base import Value
from underway.core.model.decision import Decision
from underway.core.model.plan import Plan
from underway.core.model.snapshot import Snapshot
from underway.core.names import ordered
from underway.core.notices import counted
from underway.core.outlook import Busy, Dropped, Extras, Outlook, Replaced, Trouble, outlook

STATUS_SCHEMA = 1

MOST = 12
"""Rows of a list; ``--json`` has all."""

VERDICTS = {
    "done": "done", "behind": "over, with hosts behind", "running": "under way", "paused": "paused", "halted": "halted",
    "aborted": "aborted",
}  # fmt: skip

ORDER = ("failed", "unknown", "upgrading", "pending", "skipped", "upgraded", "untouched", "dropped")
"""Host states in the order in which a reader needs them."""


TOLD = ("failed", "unknown", "held", "dropped")
"""Kinds of reasons whose hosts are listed by name already."""


def status_lines(
    plan: Plan, snapshot: Snapshot, decision: Decision, extras: Extras | None, now: float, width: int = 80
) -> list[str]:
    """How the run stands and what to do, each line at most ``width`` columns (not below 40)."""
    found = outlook(plan, snapshot, decision, extras, now)
    return [words.clean(line) for line in _lines(plan, snapshot, decision, found, now, max(width, 40))]


def _lines(plan: Plan, snapshot: Snapshot, decision: Decision, found: Outlook, now: float, width: int) -> Iterator[str]:
    run = snapshot.run
    yield from words.fold(f"{head(plan)} · run {run.id}", width, "", "  ")
    yield from _say(f"{VERDICTS[found.verdict]}{': ' + found.why if found.why else ''}", width)
    if found.extras.coordinator is False and run.state in ("running", "paused"):
        yield from _say("no coordinator is at work: hosts at work go on, no other starts until one is", width)
    if found.extras.prober is False and plan.probes and run.state == "running":
        yield from _say("no prober is at work: whether the cluster serves is not observed now", width)
    yield from _say(f"began {words.moment(run.started)}, {_end(found, run.ended, run.started, now)}", width)
    yield ""
    yield from words.fold(f"Hosts   {hosts(found)}", width, "", "        ")
    yield from words.fold(f"Stages  {stages(found, decision)}", width, "", "        ")
    if decision.slots:
        yield from words.fold(f"Slots   {slots(decision)}", width, "", "        ")
    if found.extras.notices:
        yield from words.fold(
            f"Notices {counted(found.extras.notices)}: 'underway report --text' tells them", width, "", "        "
        )
    yield from _part("At work", [busy(row) for row in found.busy], width)
    yield from _part("In trouble", [trouble(row) for row in found.trouble], width)
    yield from _part("Held", [_hold(hold.host, hold.by, hold.reason, hold.at, now) for hold in found.held], width)
    yield from _part("Replaced", [replaced(row, now) for row in found.replaced], width)
    yield from _part("Dropped", [dropped(row, now) for row in found.dropped], width)
    yield from _part("By hand", by_hand(plan, found.extras.by_hand), width)
    yield from _part("Not as in the plan", list(found.extras.registered.lines()), width)
    if run.state in ("running", "paused"):
        groups = [group for group in found.waiting if group.kind not in TOLD]
        yield from _part("Waiting", [waiting(str(group), group.count, group.hosts) for group in groups], width)
    elif found.behind:
        titles = {"rollback": "Not back on the old release", "roll": "Not done"}
        yield from _part(titles.get(found.mode, "Not on the new release"), [words.some(found.behind, 8)], width)
    yield from _part("Outages", outages(found, now), width)
    if found.commands:
        yield from _title("What to do")
        wide = min(max(len(command.line) for command in found.commands), width // 2)
        for command in found.commands:
            yield from words.fold(f"{command.line:<{wide}}  {command.why}", width, "  ", " " * (wide + 4))


def by_hand(plan: Plan, there: Sequence[str]) -> list[str]:
    """Who is on the release by an operator's word, and who of the roles that operators upgrade themselves is not."""
    told = []
    if there and plan.mode != "roll":
        told.append(
            f"{words.some(there, 8)}: on {plan.target} by an operator's word ('underway log --all' tells whose)"
        )
    members = [name for name, host in plan.hosts.items() if host.role in plan.by_hand and name not in there]
    awaited = ordered(name for name in members if plan.inputs.get(f"runs/{name}", plan.source) != plan.target)
    if awaited and plan.mode == "upgrade":
        say = f"underway stamp {awaited[0]} --release {plan.target} --reason ..."
        told.append(f"{words.some(awaited, 8)}: left to operators, who say when it is done: '{say}'")
    return told


def head(plan: Plan) -> str:
    """Which cluster, from where to where."""
    return f"{plan.cluster}: {plan.way}"


def _end(found: Outlook, ended: float, started: float, now: float) -> str:
    if ended:
        return f"took {words.duration(ended - started)}"
    ago = f"{words.duration(now - started)} ago"
    if found.progress.eta is None:
        return f"{ago}; when it ends is up to an operator"
    return f"{ago}; about {words.duration(found.progress.eta)} left by {found.progress.basis}"


def hosts(found: Outlook) -> str:
    """Hosts by state, those that need a look first."""
    held = f", {len(found.held)} held" if found.held else ""
    told = (f"{words.count(found.hosts[s])} {words.host_word(s, found.mode)}" for s in ORDER if s in found.hosts)
    return ", ".join(told) + held


def stages(found: Outlook, decision: Decision) -> str:
    """Stages with how many of their actions are finished; the present one is marked."""
    told = []
    for stage in found.progress.stages:
        if stage.kind == decision.stage or 0 < stage.finished < stage.total:
            told.append(f"{stage.kind} {words.count(stage.finished)} of {words.count(stage.total)}")
        else:
            told.append(f"{stage.kind} {'done' if stage.finished == stage.total else 'to come'}")
    return ", ".join(told)


def slots(decision: Decision) -> str:
    """Slots in use: of each role or group that uses one or has none, and in all."""
    used = [(name, use, limit) for name, (use, limit) in sorted(decision.slots.items()) if use or limit == 0]
    return ", ".join(f"{name} {use} of {limit}" for name, use, limit in used) or "none in use"


def busy(row: Busy) -> str:
    """A host at work: since when, and at what."""
    at = f", “{row.step}”" if row.step else ""
    task = f" › {row.task}" + (f" ({words.duration(row.in_task)})" if row.in_task else "") if row.task else ""
    stuck = "; past its deadline, its slot stays used" if row.stuck else ""
    holds = "" if row.slot else ", no slot"
    return f"{row.host} {row.state} for {words.duration(row.seconds)}{holds}{at}{task}{stuck}"


def trouble(row: Trouble) -> str:
    """A host in trouble: since when, where, why, and that it keeps its slot."""
    at = f" at “{row.step_name}”" if row.step_name else ""
    keeps = "; keeps its slot" if row.slot else ""
    retry = "; will be tried again" if row.retry else ""
    return f"{row.host} {row.state}{at} {words.duration(row.seconds)} ago: {row.reason}{keeps}{retry}"


def _hold(host: str, by: str, reason: str, at: float, now: float) -> str:
    who = "all hosts" if host == "*" else host
    return f"{who} by {by or 'an operator'} {words.duration(now - at)} ago: {reason or 'no reason was given'}"


def replaced(row: Replaced, now: float) -> str:
    """Who said that a host died for good, when and why, and what its new machine has still to do again."""
    left = f"to be done again: {', '.join(row.left)}" if row.left else "nothing left to be done again"
    return f"{row.host} by {row.by} {words.duration(now - row.at)} ago: {row.reason}; another machine, {left}"


def dropped(row: Dropped, now: float) -> str:
    """Who said that a host is gone for good, when and why, and what is still waited for there."""
    left = f"this run waits for {', '.join(row.left)}" if row.left else "in no count"
    return f"{row.host} by {row.by} {words.duration(now - row.at)} ago: {row.reason}; {left}"


def waiting(sentence: str, count: int, names: Sequence[str]) -> str:
    """A group of hosts that wait for the same thing, with some of their names."""
    if count <= 1:
        return sentence
    more = f", … ({words.count(count - len(names))} more)" if count > len(names) else ""
    return f"{sentence} [{', '.join(names)}{more}]"


def outages(found: Outlook, now: float) -> list[str]:
    """What probes saw so far, open outages first; where nobody observed, that."""
    told = [
        f"{row.probe} down since {words.clock(row.start)} ({words.duration(now - row.start)}): {_errors(row.errors)}"
        for row in found.extras.outages
        if row.open
    ]
    over = [row for row in found.extras.outages if not row.open and not row.host]
    behind = sum(1 for row in found.extras.outages if not row.open and row.host)
    if over:
        longest = max(over, key=lambda row: row.end - row.start)
        length = words.duration(longest.end - longest.start)
        told.append(
            f"{words.plural(len(over), 'outage')} that ended, the longest {length} "
            f"± {words.duration(longest.resolution)} ({longest.probe} at {words.clock(longest.start)})"
        )
    if behind:
        told.append(f"{words.plural(behind, 'interval')} in which one back-end did not answer its own probe")
    asked = [row for row in found.extras.stats if row.samples and not row.host]
    if asked:
        failed = sum(row.failed for row in asked)
        requests = sum(row.samples - row.lost for row in asked)
        told.append(f"{words.plural(requests, 'request')}, {words.count(failed)} failed")
    elif not found.extras.outages:
        told.append("not observed: no probe has asked")
    return told


def _errors(errors: dict[str, int]) -> str:
    return ", ".join(f"{number} × {error}" for error, number in sorted(errors.items())) or "bad answers"


def _say(text: str, width: int) -> list[str]:
    return words.fold(text, width, "", "  ")


def _title(text: str) -> Iterator[str]:
    yield ""
    yield text


def _part(title: str, rows: Sequence[str], width: int) -> Iterator[str]:
    if not rows:
        return
    yield from _title(title)
    for row in rows[:MOST]:
        yield from words.fold(row, width, "  ", "    ")
    if len(rows) > MOST:
        yield f"  and {words.count(len(rows) - MOST)} more (--json has all)"


def status_json(
    plan: Plan, snapshot: Snapshot, decision: Decision, extras: Extras | None, now: float
) -> dict[str, Any]:
    """The same for machines: every host with its reason, nothing left out."""
    found = outlook(plan, snapshot, decision, extras, now)
    run = snapshot.run
    return {
        "schema": STATUS_SCHEMA,
        "at": now,
        "cluster": plan.cluster,
        "run": run.id,
        "mode": run.mode,
        "source": plan.source,
        "target": plan.target,
        "plan": run.plan,
        "state": run.state,
        "verdict": found.verdict,
        "why": found.why,
        "coordinator": found.extras.coordinator,
        "prober": found.extras.prober,
        "started": run.started or None,
        "ended": run.ended or None,
        "eta": found.progress.eta,
        "eta_basis": found.progress.basis,
        "stage": decision.stage or None,
        "stages": [
            {"stage": stage.kind, "actions": stage.total, "done": stage.finished, "states": dict(stage.states)}
            for stage in found.progress.stages
        ],
        "hosts": dict(found.hosts),
        "behind": list(found.behind),
        "slots": {name: {"used": used, "limit": limit} for name, (used, limit) in decision.slots.items()},
        "at_work": [plain(row) for row in found.busy],
        "trouble": [plain(row) for row in found.trouble],
        "held": [{"host": hold.host, "by": hold.by, "reason": hold.reason, "at": hold.at} for hold in found.held],
        "replaced": [plain(row) for row in found.replaced],
        "dropped": [plain(row) for row in found.dropped],
        "by_hand": list(found.extras.by_hand),
        "unregistered": list(found.extras.registered.unregistered),
        "strangers": {
            "agents": list(found.extras.registered.agents),
            "records": list(found.extras.registered.records),
        },
        "waiting": [
            {"kind": group.kind, "hosts": group.count, "some": list(group.hosts), "sentence": group.sentence}
            for group in found.waiting
        ],
        "reasons": {
            host: {"kind": reason.kind, "sentence": words.clean(reason.sentence), "until": reason.until or None}
            for host, reason in decision.reasons.items()
        },
        "notices": [plain(row) for row in found.extras.notices],
        "outages": [plain(outage) for outage in found.extras.outages],
        "requests": sum(row.samples - row.lost for row in found.extras.stats) if found.extras.stats else None,
        "failed": sum(row.failed for row in found.extras.stats) if found.extras.stats else None,
        "next": [{"command": command.line, "why": command.why} for command in found.commands],
    }


def plain(value: Any) -> dict[str, Any]:
    """A row as a dictionary with all of its fields (values of the model leave defaults out of their own JSON)."""
    if isinstance(value, Value):
        return {name: msgspec.to_builtins(getattr(value, name)) for name in value.__struct_fields__}
    made: dict[str, Any] = msgspec.to_builtins(value)
    return made
