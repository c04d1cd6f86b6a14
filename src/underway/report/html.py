"""One HTML file that needs nothing else: no network, no script to be read, no second file.

Every value reaches the page through Jinja's escaping, after ``words.clean``. Should that ever fail, the page's own
Content-Security-Policy lets no script run but the one whose hash it names, and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from underway.core import words
from underway.core.model.service import PHASES
from underway.core.rows import HostRow, StepRow, Summary
from underway.core.timeline import ROOMS, SCREEN, Band, Group, Lane, Marker, Timeline, timeline

MOST_STEPS = 3000
"""Rows of the table of steps: more would be slow to open on a phone; the JSON form has all."""

MOST_NOTICES = 500
"""Rows of the table of notices; the JSON form has all."""

LANES_AT_ONCE = 25
"""Hosts per drawing: paper breaks between drawings, never inside one."""

OPEN_HOSTS = 40
"""Roles with at most this many hosts are unfolded at first."""

LOOK = ("failed", "unknown", "skipped")
"""States of a host that a reader must not have to unfold anything to see."""

GLYPHS = {
    "done": "✓", "behind": "!", "running": "…", "paused": "‖", "halted": "✕", "aborted": "✕", "upgraded": "✓",
    "pending": "·", "upgrading": "…", "failed": "✕", "unknown": "?", "skipped": "↷", "untouched": "–", "dropped": "†",
    "ok": "✓", "cancelled": "■", "caused": "●", "shared": "◐", "unattributed": "○",
}  # fmt: skip
"""State -> sign, so that colour is never the only carrier."""

VERDICTS = {
    "done": "done", "behind": "over, hosts behind", "running": "under way", "paused": "paused", "halted": "halted",
    "aborted": "aborted",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the head of the page. ``tone``: good, bad, none (not observed) or empty."""

    name: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """A label on the axis; on a picture of width ``room`` (index into ``ROOMS``) it does not touch its neighbour.

    ``cause`` is written after it, in at most ``space`` percent.
    """

    x: float
    label: str
    title: str
    anchor: str
    half: int
    room: int
    cause: str = ""
    space: float = 0.0


@dataclass(frozen=True, slots=True)
class Flags:
    """The rows of flags under the axis and how high all of it is."""

    bands: tuple[Flag, ...]
    markers: tuple[Flag, ...]
    height: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """A role's lanes, cut into drawings. ``fold`` names what is folded away (empty: nothing is); ``look`` never is."""

    role: str
    words: str
    fold: str
    load: tuple[tuple[float, float, float], ...]
    look: tuple[tuple[Lane, ...], ...]
    lanes: tuple[tuple[Lane, ...], ...]


def render(summary: Summary) -> str:
    """The report as one HTML document. The same summary always gives the same text."""
    line = timeline(summary)
    css, js = _asset("page.css"), _asset("page.js")
    page = _environment(summary.mode).get_template("page.html.j2")
    return page.render(
        s=summary,
        line=line,
        chunks=[_chunks(group) for group in line.groups],
        flags=_flags(line),
        phases=_phases(summary),
        date=words.moment(line.start)[:10],
        tiles=_tiles(summary),
        felt=[row for row in summary.outages if row.label.startswith("O")],
        behind=[row for row in summary.outages if not row.label.startswith("O")],
        hosts=summary.hosts,
        look=[row for row in summary.hosts if row.state in LOOK],
        steps=_steps(summary.steps),
        most_notices=MOST_NOTICES,
        strict=not limits_changed(summary),
        css=Markup(css),  # noqa: S704  our own files, never input
        js=Markup(js),  # noqa: S704
        policy=f"default-src 'none'; script-src '{_hash(js)}'; style-src '{_hash(css)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )


def _environment(mode: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("underway.report", "."),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        said=partial(words.host_word, mode=mode), glyphs=GLYPHS, verdicts=VERDICTS, work=_work, clock=words.clock,
        count=words.count, duration=words.duration, moment=words.moment, plural=words.plural, share=words.share,
        some=words.some, stamp=words.stamp,
    )  # fmt: skip
    return environment


def _finalize(value: Any) -> Any:
    """Runs on every value that the page prints: foreign text loses what a reader must not be shown."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(words.clean(line) for line in value.split("\n"))
    return value


def _asset(name: str) -> str:
    return files("underway.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tiles(s: Summary) -> list[Tile]:
    work = [row for row in s.hosts if row.state not in ("untouched", "dropped")]
    ready = sum(row.state == "upgraded" for row in work)
    moved = words.host_word("upgraded", s.mode)
    lasted = f"from {words.clock(s.started)}" + (f" to {words.clock(s.ended)}" if s.ended else "")
    tiles = [
        Tile("Duration", words.duration(s.duration), lasted),
        Tile(
            f"Hosts {moved}", f"{words.count(ready)} of {words.count(len(work))}", _rest(work),
            "good" if ready == len(work) else "",
        ),
    ]  # fmt: skip
    if s.requests is None:
        tiles.append(Tile("Requests", words.NOT_OBSERVED, "no probe asked", "none"))
    else:
        failed = s.failed or 0
        tiles.append(
            Tile(
                "Requests failed", words.count(failed), f"of {words.count(s.requests)}: "
                f"{words.share(s.requests - failed, s.requests)} answered", "bad" if failed else "good",
            )
        )  # fmt: skip
    if s.longest is not None:
        row = s.longest
        note = f"± {words.duration(row.resolution)}, {row.probe}" + (", not over" if row.open else "")
        tiles.append(Tile("Longest outage", words.duration(row.length), note, "bad"))
    elif s.requests is not None:
        tiles.append(Tile("Longest outage", "none", "in the time that was observed", "good"))
    else:
        tiles.append(Tile("Longest outage", words.NOT_OBSERVED, "no probe asked", "none"))
    if s.unobserved:
        tiles.append(Tile("Not observed", words.duration(s.unobserved), "summed over the probes; neither up nor down"))
    roles = [row for row in s.losses if row.kind == "role"]
    if roles:
        worst = max(roles, key=lambda row: (row.lost - (row.allowed or 0), row.lost))
        over = worst.allowed is not None and worst.lost > worst.allowed and not limits_changed(s)
        limit = f"{worst.name}, limit {'not stated' if worst.allowed is None else worst.allowed}"
        tiles.append(Tile("Most hosts out at once", words.count(worst.lost), limit, "bad" if over else ""))
    return tiles


def limits_changed(s: Summary) -> bool:
    """Whether an operator changed a limit: then more than the plan allowed need not be more than was allowed."""
    return any(row.kind == "policy" for row in s.operator)


def _rest(work: Sequence[HostRow]) -> str:
    """What the hosts are that are not upgraded."""
    states: dict[str, int] = {}
    for row in work:
        if row.state != "upgraded":
            states[row.state] = states.get(row.state, 0) + 1
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none is left"


def _work(row: HostRow) -> str:
    """What a host did, stage by stage."""
    done = [action.stage for action in row.actions if action.state in ("done", "skipped")]
    rest = [f"{action.stage}: {action.state}" for action in row.actions if action.state not in ("done", "skipped")]
    if not row.actions:
        return "the plan has no work for it"
    return "; ".join(part for part in (", ".join(dict.fromkeys(done)), ", ".join(dict.fromkeys(rest))) if part)


def _steps(steps: Sequence[StepRow]) -> list[StepRow]:
    if len(steps) <= MOST_STEPS:
        return list(steps)
    odd = [row for row in steps if row.outcome != "ok" or row.attempt > 1][:MOST_STEPS]
    plain = sorted(
        (row for row in steps if row.outcome == "ok" and row.attempt <= 1), key=lambda row: -(row.duration or 0)
    )
    return sorted((*odd, *plain[: MOST_STEPS - len(odd)]), key=lambda row: (row.start, row.host))


def _phases(summary: Summary) -> list[str]:
    seen = {row.phase for row in summary.steps}
    return [phase for phase in PHASES if phase in seen] + (["other"] if seen - set(PHASES) else [])


def _chunks(group: Group) -> Chunks:
    size = len(group.lanes)
    told = ", ".join(f"{words.count(number)} {state}" for state, number in group.states)
    folded = size > OPEN_HOSTS
    look = [lane for lane in group.lanes if folded and lane.state in LOOK]
    rest = [lane for lane in group.lanes if lane not in look]
    return Chunks(
        role=group.role,
        words=f"{words.plural(size, 'host')}: {told}",
        fold=f"Show {'the other ' if look else ''}{words.plural(len(rest), 'host')}" if folded and rest else "",
        load=group.load if size > 5 else (),
        look=_cut(look),
        lanes=_cut(rest),
    )


def _cut(lanes: Sequence[Lane]) -> tuple[tuple[Lane, ...], ...]:
    return tuple(tuple(lanes[index : index + LANES_AT_ONCE]) for index in range(0, len(lanes), LANES_AT_ONCE))


def _flags(line: Timeline) -> Flags:
    bands = _apart([(band, 5 + round(len(band.label) * 3.4)) for band in line.bands])
    told = [flag for flag in bands if flag.room <= 1]  # a cause is written where a screen has room up to the next flag
    space = {}
    for index, flag in enumerate(told):
        end = told[index + 1].x if index + 1 < len(told) else 100.0
        space[flag.anchor] = round(end - flag.x - flag.half / 9, 3)
    bands = [replace(flag, space=space.get(flag.anchor, 0.0)) for flag in bands]
    markers = _apart([(marker, 10) for marker in line.markers])
    return Flags(tuple(bands), tuple(markers), 24 + (24 if bands else 0) + (24 if markers else 0))


def _apart(marks: Sequence[tuple[Band | Marker, int]]) -> list[Flag]:
    """Flags that do not touch, with the width of the picture from which on there is room for each.

    One that has no room anywhere is left out: its mark is drawn, and its row is in the table.
    """
    last = dict.fromkeys(range(len(ROOMS)), -99.0)
    flags = []
    for mark, half in marks:
        x = round(mark.x + (mark.width / 2 if isinstance(mark, Band) else 0), 3)
        wanted = (half * 2 + 4) / SCREEN * 100
        room = next((room for room in last if (x - last[room]) * ROOMS[room] >= wanted), -1)
        if room < 0:
            continue
        last.update({wider: x for wider in last if wider >= room})
        if isinstance(mark, Band):
            flags.append(Flag(x, mark.label, mark.title, mark.anchor, half, room, mark.cause))
        else:
            flags.append(Flag(x, str(mark.number), mark.title, f"A{mark.number}", half, room))
    return flags
