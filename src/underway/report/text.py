"""The report for a terminal: the run in one line, and the summary in 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from underway.core import words
from underway.core.rows import NoticeRow, OutageRow, Summary

WIDTH = 80

MOST = 20
"""Rows of a list; the HTML and JSON forms have all."""


def headline(summary: Summary) -> str:
    """The run in one sentence; ``Summary.result`` is its line of figures."""
    return words.clean(summary.headline)


def lines(summary: Summary, width: int = WIDTH) -> list[str]:
    """The summary, each line at most ``width`` columns."""
    return [words.clean(line) for line in _lines(summary, width)]


def _lines(s: Summary, width: int) -> Iterator[str]:
    yield from _fold(s.headline, "", width)
    yield from _fold(s.result, "", width)
    yield ""
    lasted = f"{words.moment(s.started)}, {words.duration(s.duration)}"
    yield from _fold(f"run {s.run} from {lasted}" + ("" if s.ended else ", not over"), "", width)
    for row in s.losses:
        if row.kind == "role":
            allowed = "not stated" if row.allowed is None else str(row.allowed)
            out = f"{row.name}: {row.lost} of {words.plural(row.total, 'host')} out at once at most (limit {allowed})"
            yield from _fold(out, "", width)
    yield from _outages(s, width)
    yield from _hosts(s, width)
    yield from _probes(s, width)
    if s.notices:
        yield from _title("Notices")
        yield from _some([_notice(row) for row in s.notices], width)
    if s.operator:
        yield from _title("What operators said")
        said = [f"{words.clock(row.at)} {row.who}: {row.why or row.kind}" for row in s.operator]
        yield from _some(said, width)
    if s.warnings:
        yield from _title("Warnings")
        yield from _some(s.warnings, width)
    yield ""
    yield from _fold(f"plan {s.plan[:16] or words.NOT_KNOWN}, audit {_audit(s)}", "", width)


def _notice(row: NoticeRow) -> str:
    return f"{row.service}, {words.some(row.hosts)}: {row.text}"


def _audit(s: Summary) -> str:
    return f"entry {s.audit_sequence} {s.audit_head[:16]}" if s.audit_head else words.NOT_KNOWN


def _outages(s: Summary, width: int) -> Iterator[str]:
    felt = [row for row in s.outages if row.label.startswith("O")]
    behind = len(s.outages) - len(felt)
    yield from _title("Outages")
    if s.requests is None:
        yield "  whether there was one was not observed"
    elif not felt:
        yield "  none in the time that was observed"
    for row in felt[:MOST]:
        yield from _fold(_outage(row), "  ", width)
    if len(felt) > MOST:
        yield f"  and {words.count(len(felt) - MOST)} more"
    if behind:
        told = f"{words.plural(behind, 'interval')} in which one back-end did not answer its own probe"
        yield from _fold(told, "  ", width)


def _outage(row: OutageRow) -> str:
    length = f"{words.duration(row.length)} ± {words.duration(row.resolution)}"
    if row.intervals > 1:
        length += f" in {row.intervals} intervals ({words.duration(row.down)} down)"
    return (
        f"{row.label} {words.clock(row.start, tenths=True)} {row.probe} {length}{', not over' if row.open else ''}, "
        f"{words.plural(row.failed, 'bad answer')}; {row.cause}"
    )


def _hosts(s: Summary, width: int) -> Iterator[str]:
    yield from _title("Hosts")
    states: dict[str, int] = {}
    for host in s.hosts:
        state = words.host_word(host.state, s.mode)
        states[state] = states.get(state, 0) + 1
    if len(s.hosts) > MOST:
        told = ", ".join(f"{words.count(number)} {state}" for state, number in sorted(states.items()))
        yield from _fold(f"{words.plural(len(s.hosts), 'host')}: {told}", "  ", width)
    look = [row for row in s.hosts if row.state in ("failed", "unknown", "skipped")]
    rows = look if len(s.hosts) > MOST else list(s.hosts)
    wide = max((len(row.host) for row in rows), default=0)
    for row in rows[:MOST]:
        took = f", out for {words.duration(row.took)}" if row.took is not None else ""
        why = f": {row.reason}" if row.reason else ""
        yield from _fold(f"{row.host:<{wide}}  {words.host_word(row.state, s.mode)}{took}{why}", "  ", width)
    if len(rows) > MOST:
        yield f"  and {words.count(len(rows) - MOST)} more"


def _probes(s: Summary, width: int) -> Iterator[str]:
    if not s.probes:
        return
    yield from _title("Probes")
    wide = min(max(len(row.probe) for row in s.probes), 30)
    for row in s.probes[:MOST]:
        name = f"{words.clip(row.probe, wide):<{wide}}"
        if not row.requests:
            yield from _fold(f"{name}  {words.NOT_OBSERVED}: it never asked", "  ", width)
            continue
        up = words.share(row.up or 0, (row.up or 0) + (row.down or 0))
        blind = f", {words.duration(row.unobserved)} not observed" if row.unobserved else ""
        told = f"{words.plural(row.requests, 'request')}, {words.count(row.failed or 0)} failed, {up} answered{blind}"
        yield from _fold(f"{name}  {told}", "  ", width)
    if len(s.probes) > MOST:
        yield f"  and {words.count(len(s.probes) - MOST)} more"


def _title(text: str) -> Iterator[str]:
    yield ""
    yield text


def _some(texts: Sequence[str], width: int) -> Iterator[str]:
    for text in texts[:MOST]:
        yield from _fold(text, "  ", width)
    if len(texts) > MOST:
        yield f"  and {words.count(len(texts) - MOST)} more"


def _fold(text: str, indent: str, width: int) -> list[str]:
    return words.fold(text, width, indent, indent + "  ")
