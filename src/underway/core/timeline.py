"""The run as a picture: hosts x time, probes above them on the same axis. Pure geometry.

All positions and widths are percent of the run's length, so that the same picture fits a phone, a screen and paper.
Colour, height and text belong to ``report``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from underway.core import words
from underway.core.rows import HostRow, OutageRow, ProbeFigures, StepRow, Summary

MOST_SPANS = 20_000
"""Drawn spans at most: with more, neighbours of one phase are drawn as one, so that the page stays quick to open."""

THINNEST = 0.12
"""Percent: what is shorter is still drawn this wide, since one that cannot be seen did not happen for the reader."""

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Seconds between two ticks of the axis: what people count in."""

PAD = 0.01
"""The picture begins and ends this share of the run's length outside it, so that its edges can be seen."""

ROOMS = (0.27, 1, 2, 4, 8)
"""Widths of the picture, in screens of ``SCREEN`` units: a phone, a screen, and what a page can magnify it to."""

SCREEN = 900
LETTER = 6.5
"""Units that a letter of a label takes, at most."""

SegmentKind = Literal["up", "down", "unobserved"]


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the axis; ``text`` is the time of day, UTC. ``minor`` ones are left out on a narrow screen."""

    x: float
    text: str
    minor: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a probe's strip."""

    x: float
    width: float
    kind: SegmentKind
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """What one probe saw. ``direct``: it asks one back-end, not the service as its users do."""

    probe: str
    service: str
    direct: bool
    segments: tuple[Segment, ...]
    figure: str


@dataclass(frozen=True, slots=True)
class Span:
    """A step on a host's lane; ``room``: how wide the picture must be for its label (index in ``ROOMS``, -1: never)."""

    x: float
    width: float
    phase: str
    outcome: str
    label: str
    room: int
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One host."""

    host: str
    state: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The hosts of a role. ``load``: pieces of time with how many of them were at work at once (0 to 1 of ``peak``)."""

    role: str
    lanes: tuple[Lane, ...]
    states: tuple[tuple[str, int], ...]
    peak: int
    load: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, slots=True)
class Band:
    """One or more outages of services that overlap: a mark over the whole height. ``cause`` is in few words."""

    x: float
    width: float
    label: str
    title: str
    anchor: str
    cause: str


@dataclass(frozen=True, slots=True)
class Marker:
    """An operator's word (``number`` counts them)."""

    x: float
    number: int
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole picture."""

    start: float
    end: float
    ticks: tuple[Tick, ...]
    bands: tuple[Band, ...]
    markers: tuple[Marker, ...]
    strips: tuple[Strip, ...]
    groups: tuple[Group, ...]
    merged: bool
    """whether steps were drawn together because there were too many"""


class _Scale:
    def __init__(self, start: float, end: float) -> None:
        pad = max((end - start) * PAD, 0.05)
        self.start, self.end = start - pad, end + pad

    def x(self, at: float) -> float:
        return round(min(max((at - self.start) / (self.end - self.start) * 100, 0.0), 100.0), 3)

    def piece(self, start: float, end: float) -> tuple[float, float]:
        x = self.x(start)
        return x, round(max(self.x(end) - x, THINNEST), 3)


def timeline(summary: Summary) -> Timeline:
    """The picture of a run, from its first fact to its last."""
    moments = [
        *(row.start for row in summary.steps),
        *(row.end for row in summary.steps if row.end is not None),
        *(row.at for row in summary.operator),
    ]
    start = min([*moments, summary.started] if summary.started else moments, default=summary.written)
    end = max([*moments, summary.ended or summary.written])
    scale = _Scale(start, end)
    groups, merged = _groups(summary, scale)
    return Timeline(
        start=scale.start,
        end=scale.end,
        ticks=_ticks(scale),
        bands=_bands(summary.outages, scale),
        markers=tuple(
            Marker(scale.x(row.at), number, f"{words.clock(row.at)} {row.who}: {row.why or row.kind}")
            for number, row in enumerate(summary.operator, start=1)
        ),
        strips=tuple(_strip(figures, summary, scale) for figures in summary.probes),
        groups=groups,
        merged=merged,
    )


def _ticks(scale: _Scale) -> tuple[Tick, ...]:
    length = scale.end - scale.start
    step = next((step for step in TICKS if length / step <= 11), TICKS[-1])
    first = int(scale.start // step) + 1
    ticks = []
    for number in range(first, int(scale.end // step) + 1):
        at = number * step
        text = words.clock(at, tenths=step < 1) if step < 60 else words.clock(at)[:5]
        ticks.append(Tick(scale.x(at), text, minor=number % 3 != first % 3))
    return tuple(tick for tick in ticks if 2 < tick.x < 97)


def _bands(outages: Iterable[OutageRow], scale: _Scale) -> tuple[Band, ...]:
    """Outages of services; those that overlap (or touch, as drawn) share a band."""
    runs: list[list[OutageRow]] = []
    until = 0.0
    for row in sorted((row for row in outages if row.label.startswith("O")), key=lambda row: row.start):
        x, width = scale.piece(row.start, row.end)
        if runs and x <= until:
            runs[-1].append(row)
            until = max(until, x + width)
        else:
            runs.append([row])
            until = x + width
    bands = []
    for rows in runs:
        x, width = scale.piece(min(row.start for row in rows), max(row.end for row in rows))
        label = rows[0].label if len(rows) == 1 else f"{rows[0].label}–{rows[-1].label[1:]}"
        bands.append(Band(x, width, label, "\n".join(outage_title(row) for row in rows), rows[0].label, _causes(rows)))
    return tuple(bands)


def _causes(rows: Sequence[OutageRow]) -> str:
    """What a band is put on, in few words."""
    told = [f"{cause.host}: {cause.step or cause.action}" for row in rows for cause in row.causes]
    once = list(dict.fromkeys(told))
    return once[0] if len(once) == 1 else f"shared by {len(once)}" if once else "unattributed"


def outage_title(row: OutageRow) -> str:
    """An outage in one line, for a tooltip."""
    length = f"{words.duration(row.length)} ± {words.duration(row.resolution)}{' (not over)' if row.open else ''}"
    when = words.clock(row.start, tenths=True)
    return f"{row.label} {row.probe}: {when} for {length}, {words.plural(row.failed, 'bad answer')}; {row.cause}"


def _strip(figures: ProbeFigures, summary: Summary, scale: _Scale) -> Strip:
    begin, end = summary.started or scale.start, summary.ended or summary.written
    blind = [(gap.start, gap.end, gap.why) for gap in summary.gaps if gap.probe == figures.probe]
    down = [row for row in summary.outages if row.probe == figures.probe]
    segments: list[Segment] = []
    if figures.requests:
        interval = ((figures.up or 0) + (figures.down or 0)) / figures.requests
        if figures.start is not None and figures.start > begin + 1.5 * interval:
            blind.append((begin, figures.start, "the probe had not begun"))
        if figures.end is not None and end > figures.end + 1.5 * interval:
            blind.append((figures.end, end, "the probe had ended"))
        segments.append(Segment(*scale.piece(begin, end), "up", "", f"{figures.probe}: answered"))
    else:
        blind = [(begin, end, "the probe never asked")]
    for start, stop, why in blind:
        title = f"{figures.probe}: not observed from {words.clock(start)} for {words.duration(stop - start)}: {why}"
        segments.append(Segment(*scale.piece(start, stop), "unobserved", "", title))
    segments.extend(
        Segment(*scale.piece(row.start, row.end), "down", row.label, outage_title(row))
        for row in down
    )  # fmt: skip
    up, down_for = figures.up or 0.0, figures.down or 0.0
    return Strip(
        probe=figures.probe,
        service=figures.service,
        direct=bool(figures.host),
        segments=tuple(segments),
        figure=words.share(up, up + down_for),
    )


def _groups(summary: Summary, scale: _Scale) -> tuple[tuple[Group, ...], bool]:
    by_host: dict[str, list[StepRow]] = {}
    for row in summary.steps:
        by_host.setdefault(row.host, []).append(row)
        if row.on != row.host:
            by_host.setdefault(row.on, []).append(row)
    coarse = 100.0 * max(len(by_host), 1) / MOST_SPANS if len(summary.steps) > MOST_SPANS else 0.0
    roles: dict[str, list[HostRow]] = {}
    for host in summary.hosts:
        roles.setdefault(host.role, []).append(host)
    end = summary.ended or summary.written
    groups = []
    for role, hosts in roles.items():
        lanes = tuple(
            Lane(host.host, host.state, _spans(by_host.get(host.host, ()), scale, end, coarse)) for host in hosts
        )
        states: dict[str, int] = {}
        for host in hosts:
            states[host.state] = states.get(host.state, 0) + 1
        peak, load = _load([row for host in hosts for row in by_host.get(host.host, ())], scale, end)
        groups.append(Group(role, lanes, tuple(sorted(states.items())), peak, load))
    return tuple(groups), coarse > 0


def _until(row: StepRow, end: float) -> float:
    """Where a step is drawn to: one at work to the end of the picture, one that nobody knows the end of not at all."""
    if row.end is not None:
        return row.end
    known = [task.end or task.start for task in row.tasks]
    return max(end, row.start) if row.outcome == "running" else max([row.start, *known])


def _spans(rows: Sequence[StepRow], scale: _Scale, end: float, coarse: float) -> tuple[Span, ...]:
    spans: list[Span] = []
    joined = 0
    for row in rows:
        x, width = scale.piece(row.start, _until(row, end))
        last = spans[-1] if spans else None
        plain = row.outcome == "ok" and width < coarse
        if plain and last and last.phase == row.phase and last.outcome == "ok" and x - last.x - last.width < coarse:
            joined += 1
            spans[-1] = Span(
                last.x, round(x + width - last.x, 3), row.phase, "ok", "", -1,
                f"{row.host}: {joined + 1} steps of phase {row.phase} until {words.clock(row.end)}",
            )  # fmt: skip
            continue
        joined = 0
        spans.append(Span(x, width, row.phase, row.outcome, row.phase, _room(row.phase, width), span_title(row)))
    return tuple(spans)


def _room(label: str, width: float) -> int:
    wanted = (len(label) * LETTER + 10) / SCREEN * 100
    return next((index for index, room in enumerate(ROOMS) if width * room >= wanted), -1)


def span_title(row: StepRow) -> str:
    """A step in a few lines, for a tooltip: what, where, when, how it ended, and its tasks."""
    length = "" if row.duration is None else f", {words.duration(row.duration)}"
    where = row.host if row.on == row.host else f"{row.host} (done on {row.on})"
    lines = [
        f"{where}: {row.name}",
        f"{row.service} {row.phase}, {row.outcome}, {words.clock(row.start)} to "
        f"{words.clock(row.end) if row.end else 'not known'}{length}"
        + (f", attempt {row.attempt}" if row.attempt > 1 else ""),
    ]
    if row.text:
        lines.append(row.text)
    return "\n".join(lines)


def _load(rows: Sequence[StepRow], scale: _Scale, end: float) -> tuple[int, tuple[tuple[float, float, float], ...]]:
    """How many hosts were at work at once, in 200 pieces: (x, width, share of the most)."""
    pieces = 200
    wide = 100 / pieces
    hosts: list[set[str]] = [set() for _ in range(pieces)]
    for row in rows:
        x, width = scale.piece(row.start, _until(row, end))
        for index in range(int(x / wide), min(int((x + width) / wide) + 1, pieces)):
            hosts[index].add(row.host)
    peak = max(len(names) for names in hosts)
    found: list[tuple[float, float, float]] = []
    for index, names in enumerate(hosts):
        height = round(len(names) / peak, 3) if peak else 0.0
        if found and found[-1][2] == height:
            found[-1] = (found[-1][0], round(found[-1][1] + wide, 3), height)
        elif height:
            found.append((round(index * wide, 3), wide, height))
        elif found and found[-1][2]:
            found.append((round(index * wide, 3), wide, 0.0))
    return peak, tuple(piece for piece in found if piece[2])
