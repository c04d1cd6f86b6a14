"""What a report says of a run in sentences: verdict, headline, result line, causes, warnings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from underway.core import words
from underway.core.clocks import best
from underway.core.model.plan import Plan
from underway.core.model.sample import Attribution
from underway.core.model.state import RunRecord
from underway.core.rows import SETTLED, TEXT_LIMIT, CauseRow, HostRow, OutageRow, ProbeFigures, Verdict
from underway.core.words import clean

SKEW = 1.0
"""Seconds by which a host's clock may differ before the report says so; a smaller difference is corrected as well."""


def verdict(run: RunRecord, hosts: Sequence[HostRow]) -> tuple[Verdict, str]:
    """How the run stands, and why. A run that is over with hosts behind is never called done."""
    reason = clean(run.reason, TEXT_LIMIT)
    if run.state == "done":
        behind = [row.host for row in hosts if row.state not in SETTLED]
        return ("behind", f"{words.some(behind)} not {_moved(run)}") if behind else ("done", reason)
    if run.state == "running":
        return ("halted" if reason else "running"), reason
    return run.state, reason


def jump(plan: Plan) -> str:
    """Which cluster, from where to where."""
    return f"{plan.cluster}: {plan.way}"


def claim(
    run: RunRecord,
    hosts: Sequence[HostRow],
    outages: Sequence[OutageRow],
    length: float | None,
    requests: int | None,
    failed: int | None,
) -> str:
    """The run in one sentence: how far, how long, and whether it served. ``outages`` are those of services."""
    found, reason = verdict(run, hosts)
    work = [row for row in hosts if row.state not in ("untouched", "dropped")]
    if found == "done":
        said = f"{words.plural(len(work), 'host')} {_moved(run)} in {words.duration(length)}"
    else:
        ready = sum(row.state == "upgraded" for row in work)
        state = {"behind": "over with hosts behind", "running": "under way"}.get(found, found)
        said = f"{state}, {words.count(ready)} of {words.plural(len(work), 'host')} {_moved(run)}"
        # A rule's own sentence opens with the state that was just said.
        said += f" ({reason.removeprefix(f'{found}: ')})" if reason else ""
    gone = sum(row.state == "dropped" for row in hosts)
    said += f", {words.count(gone)} dropped" if gone else ""
    if requests is None:
        served = "nobody observed whether it served"
    elif not outages and not failed:
        served = f"all {words.plural(requests, 'request')} answered"
    else:
        served = words.plural(len(outages), "outage") if outages else "no outage"
        served += f", {words.count(failed or 0)} of {words.plural(requests, 'request')} failed"
    return f"{said}; {served}."


def _moved(run: RunRecord) -> str:
    return words.host_word("upgraded", run.mode)


def result_line(hosts: Sequence[HostRow], requests: int | None, failed: int | None, most: int = 8) -> str:
    """The run in one line: how many requests, how many failed, how long each host took."""
    served = "no request was made" if requests is None else words.plural(requests, "request")
    served += "" if requests is None else f", {words.count(failed or 0)} failed"
    told = [(row.host, row.took) for row in hosts if row.took is not None]
    if not told:
        return f"{served}; no host has finished"
    if len(told) <= most:
        return f"{served}; " + ", ".join(f"{host} {words.duration(took)}" for host, took in told)
    slowest, longest = max(told, key=lambda pair: pair[1])
    middle = words.duration(median(took for _, took in told))
    return (
        f"{served}; {words.count(len(told))} hosts, half within {middle}, longest {slowest} {words.duration(longest)}"
    )


def cause_sentence(attribution: Attribution, causes: Sequence[CauseRow]) -> str:
    """What an outage is put on, as every form of the report says it."""
    if attribution == "unattributed" or not causes:
        return "unattributed: nothing was at work that could have caused it"
    told = []
    for cause in causes:
        parts = [f"{cause.service} “{cause.step}”" if cause.step else "", f"task “{cause.task}”" if cause.task else ""]
        told.append(clean(f"{cause.host}: " + (", ".join(part for part in parts if part).lstrip() or cause.action)))
    return told[0] if attribution == "caused" and len(told) == 1 else "shared: " + "; ".join(told)


def warnings(
    skews: Mapping[str, tuple[float, float]], probes: Sequence[ProbeFigures], limits_changed: bool
) -> list[str]:
    """What a reader must know before trusting the figures: clocks that differ, probes that saw nothing."""
    told = []
    if limits_changed:
        told.append("limits were changed during the run: what the report calls allowed is the plan's")
    for host, bounds in sorted(skews.items()):
        off = best(bounds)
        if abs(off) > SKEW:
            way = "ahead of" if off > 0 else "behind"
            told.append(
                f"{host}'s clock is {words.duration(abs(off))} {way} the coordinator's: its steps are shown, and "
                "outages put on them, by the coordinator's clock"
            )
    for figures in probes:
        if not figures.requests:
            told.append(f"probe {figures.probe} never asked: whether it would have been answered was not observed")
        elif figures.unobserved:
            told.append(f"probe {figures.probe} did not observe {words.duration(figures.unobserved)}")
    return told
