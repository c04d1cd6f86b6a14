"""Progress while a run goes on: a screen on a terminal, one line per event elsewhere, JSON lines for machines.

Only drawing: what is drawn comes from ``core.outlook``. Every text passes ``words.clean``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

from underway.cli import view
from underway.core import words
from underway.core.model.decision import Decision
from underway.core.model.event import Event
from underway.core.model.plan import Plan
from underway.core.model.sample import Outage
from underway.core.model.snapshot import Snapshot
from underway.core.outlook import AtWork, Extras, Outlook, outlook
from underway.core.progress import Progress

if TYPE_CHECKING:
    from rich.live import Live

Mode = Literal["rich", "plain", "json"]
Style = Literal["", "bold", "dim", "red", "yellow", "green"]
Line = tuple[str, Style]

HEARTBEAT = 60.0
"""Seconds after which a plain log says how far the run is, though nothing happened."""

REDRAW = 0.2
"""Seconds between two drawings of the screen: a tick of the coordinator may be faster."""

LOUD = frozenset({"failed", "unknown", "stuck", "run-halted", "run-aborted", "unhealthy", "outage-began"})

_TONES: dict[str, Style] = {
    "done": "green", "behind": "yellow", "paused": "yellow", "halted": "red", "aborted": "red", "running": "bold",
}  # fmt: skip


def frame(
    plan: Plan, snapshot: Snapshot, decision: Decision, extras: Extras, now: float, width: int = 80, height: int = 40
) -> list[Line]:
    """The screen: at most ``height`` lines of at most ``width`` columns, the most important first.

    Whatever the size, how the run stands, hosts by state, what is in trouble and the top reason of waiting are there;
    lists give way first.
    """
    found = outlook(plan, snapshot, decision, extras, now)
    top = _top(plan, snapshot, decision, found, now, width)
    lines = list(top)
    for title, rows, style in _shared(_parts(found, now, width), height - len(top)):
        lines += [("", ""), (title, "bold"), *((line, style) for row in rows for line in row)]
    return [(words.clip(words.clean(text), width), style) for text, style in lines[:height]]


def _top(plan: Plan, snapshot: Snapshot, decision: Decision, found: Outlook, now: float, width: int) -> list[Line]:
    stands = view.VERDICTS[found.verdict] + (f": {found.why}" if found.why else "")
    lines: list[Line] = [(f"{view.head(plan)} · {words.duration(now - snapshot.run.started)}", "bold")]
    lines += [(line, _TONES[found.verdict]) for line in words.fold(stands, width, "", "  ")[:2]]
    progress = found.progress
    done = f"{words.count(progress.finished)} of {words.count(progress.total)} actions"
    left = _left(progress) or "waits for an operator"
    lines.append(
        (f"{bar(progress.finished, progress.total, max(width - len(done) - len(left) - 6, 10))} {done}, {left}", "")
    )
    lines.append((f"Hosts   {view.hosts(found)}", ""))
    lines += [(line, "") for line in words.fold(f"Stages  {view.stages(found, decision)}", width, "", "        ")[:3]]
    lines.append((f"Slots   {view.slots(decision)}", ""))
    return lines


def _left(progress: Progress) -> str:
    """How long it will take still, and whether that is but a guess; nothing where only an operator can say."""
    if progress.eta is None:
        return ""
    return f"about {words.duration(progress.eta)} left{' (a guess)' if progress.guessed else ''}"


def bar(part: int, whole: int, width: int) -> str:
    """A bar of ``width`` columns; full only when all is done."""
    full = width if whole and part >= whole else min(part * width // max(whole, 1), width - 1)
    return "━" * full + "─" * (width - full)


Part = tuple[str, list[list[str]], Style]
"""Title, rows of one or more lines each, style."""


def _parts(found: Outlook, now: float, width: int) -> list[Part]:
    groups = [group for group in found.waiting if group.kind not in view.TOLD]

    def rows(texts: Iterable[str], most: int = 1) -> list[list[str]]:
        return [_short(text, most, width) for text in texts if text]

    parts: list[Part] = [
        ("In trouble", rows((view.trouble(row) for row in found.trouble), 2), "red"),
        ("Waiting", rows((view.waiting(str(group), group.count, group.hosts[:2]) for group in groups), 3), ""),
        ("At work", rows(view.busy(row) for row in found.busy), ""),
        ("Outages", rows(view.outages(found, now)), "red" if any(row.open for row in found.extras.outages) else ""),
        ("What to do", rows(f"{c.line}  ({c.why})" for c in found.commands if c.line != "underway report"), "yellow"),
        ("Held", rows(f"{hold.host} by {hold.by}: {hold.reason}" for hold in found.held), "yellow"),
        ("Next", rows([", ".join(action.rpartition("/")[2] for action in found.progress.next)]), ""),
    ]
    return [part for part in parts if part[1]]


def _short(text: str, most: int, width: int) -> list[str]:
    lines = words.fold(text, width, "  ", "    ")
    if len(lines) <= most:
        return lines
    rest = " ".join(line.strip() for line in lines[most - 1 :])
    return [*lines[: most - 1], words.clip(("    " if most > 1 else "  ") + rest, width)]


def _shared(parts: Sequence[Part], room: int) -> list[Part]:
    """Parts cut to ``room`` lines: each has a blank, a title and at first one row; what is left goes round in turn."""
    shown: list[Part] = []
    for part in parts:
        cost = 2 + len(part[1][0]) + (len(part[1]) > 1)
        if cost <= room:
            shown.append(part)
            room -= cost
    taken = [1] * len(shown)
    grown = True
    while grown:
        grown = False
        for index, (_, rows, _) in enumerate(shown):
            if taken[index] < len(rows):
                last = taken[index] + 1 == len(rows)  # then the line that counts the others is not needed
                cost = len(rows[taken[index]]) - last
                if cost <= room:
                    taken[index] += 1
                    room -= cost
                    grown = True
    return [(title, _cut(rows, taken[index]), style) for index, (title, rows, style) in enumerate(shown)]


def _cut(rows: list[list[str]], most: int) -> list[list[str]]:
    return rows if len(rows) <= most else [*rows[:most], [f"  and {words.count(len(rows) - most)} more"]]


class LiveView:
    """Shows one run until ``close``. ``mode``: ``rich`` redraws a screen, ``plain`` and ``json`` only ever append.

    Not thread-safe. ``width`` and ``height`` are for output that is no terminal; a terminal is asked at each drawing.
    """

    def __init__(self, plan: Plan, out: TextIO, mode: Mode, width: int = 0, height: int = 0) -> None:
        self._plan = plan
        self._out = out
        self._mode = mode
        self._size = (width, height)
        self._live: Live | None = None
        self._drawn = float("-inf")
        self._spoken = float("-inf")
        self._last: str = ""
        self._frame: list[Line] = []
        self._gone = False

    def update(
        self,
        snapshot: Snapshot,
        decision: Decision,
        progress: Progress | None,
        at_work: Sequence[AtWork],
        outages: Sequence[Outage],
        now: float,
    ) -> None:
        """Show how the run stands at ``now`` (Unix seconds). Cheap to call at every tick."""
        extras = Extras(at_work=at_work, outages=outages, progress=progress)
        if self._mode == "rich":
            if now - self._drawn < REDRAW and decision.stage == self._last:
                return
            self._drawn, self._last = now, decision.stage
            self._frame = frame(self._plan, snapshot, decision, extras, now, *self._measure())
            self._draw()
        elif now - self._spoken >= HEARTBEAT or decision.stage != self._last:
            self._spoken, self._last = now, decision.stage
            found = outlook(self._plan, snapshot, decision, extras, now)
            if self._mode == "json":
                self._write_json(progress_json(found, decision, now))
            else:
                self._write(f"{words.stamp(now)} progress     {progress_line(found)}")

    def event(self, event: Event) -> None:
        """Tell of a committed event."""
        if self._mode == "json":
            self._write_json({**view.plain(event), "kind": "event", "event": event.kind})
        elif self._mode == "plain":
            self._write(event_line(event))
        elif event.kind in LOUD or (event.actor.startswith("operator:") and event.kind != "again"):
            self._print_above(event)

    def close(self) -> None:
        """Leave the last picture on the screen and the cursor below it."""
        if self._live is not None:
            self._guarded(self._live.stop)
            self._live = None
        self._guarded(self._out.flush)

    # --- output ----------------------------------------------------------------------------------------------

    def _measure(self) -> tuple[int, int]:
        width, height = self._size
        if not width or not height:
            columns, rows = shutil.get_terminal_size((80, 40))
            width, height = width or columns, height or rows - 1  # the cursor stands below
        return max(width, 40), max(height, 10)

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        text = Text("\n").join(Text(self._printable(line), style=style, no_wrap=True) for line, style in self._frame)
        if self._live is None:

            class Screen(Console):
                def on_broken_pipe(self) -> None:  # rich's own ends the process: an upgrade has better to do
                    raise BrokenPipeError

            console = Screen(file=self._out, highlight=False, markup=False, emoji=False)
            self._live = Live(text, console=console, auto_refresh=False, vertical_overflow="crop")
            self._guarded(self._live.start)
        live = self._live
        self._guarded(lambda: live.update(text, refresh=True))

    def _print_above(self, event: Event) -> None:
        if self._live is None:
            self._write(event_line(event))
            return
        from rich.text import Text

        line = Text(self._printable(event_line(event)), style="red" if event.kind in LOUD else "dim")
        console = self._live.console
        self._guarded(lambda: console.print(line))

    def _write(self, line: str) -> None:
        self._guarded(lambda: self._out.write(self._printable(words.clean(line)) + "\n"))
        self._guarded(self._out.flush)

    def _write_json(self, value: dict[str, Any]) -> None:
        self._guarded(lambda: self._out.write(json.dumps(value, sort_keys=True) + "\n"))
        self._guarded(self._out.flush)

    def _printable(self, text: str) -> str:
        """``text`` as far as the output's encoding has its characters."""
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        return text.encode(encoding, "replace").decode(encoding)

    def _guarded(self, write: Callable[[], object]) -> None:
        """A reader who has gone (closed pipe or terminal) is no reason to stop an upgrade: nothing more is shown."""
        if self._gone:
            return
        try:
            write()
        except OSError:
            self._gone = True


def event_line(event: Event) -> str:
    """An event on one line: when, what, to whom, by whom, and the sentence."""
    what = event.action or event.host
    by = "" if event.actor.startswith("coordinator:") else f" ({event.actor})"
    said = ": ".join(part for part in (what, event.text) if part)
    return words.clean(f"{words.stamp(event.at)} {event.kind:<12} {said}{by}")


def progress_line(found: Outlook) -> str:
    """How far the run is, on one line: counts, what is open, why the rest waits."""
    done = found.progress
    left = _left(done)
    actions = f"{words.count(done.finished)} of {words.count(done.total)} actions{', ' + left if left else ''}"
    parts = [f"{actions}; hosts: {view.hosts(found)}"]
    if found.why:
        parts.append(f"{view.VERDICTS[found.verdict]}: {found.why}")
    elif found.waiting:
        parts.append(str(found.waiting[0]))
    open_ = [row.probe for row in found.extras.outages if row.open]
    if open_:
        parts.append(f"down now: {words.some(open_)}")
    return words.clean("; ".join(parts))


def progress_json(found: Outlook, decision: Decision, now: float) -> dict[str, Any]:
    """How far the run is, for machines."""
    return {
        "kind": "progress",
        "at": now,
        "verdict": found.verdict,
        "why": found.why,
        "stage": decision.stage or None,
        "actions": found.progress.total,
        "done": found.progress.finished,
        "hosts": dict(found.hosts),
        "slots": {name: {"used": used, "limit": limit} for name, (used, limit) in decision.slots.items()},
        "at_work": [view.plain(row) for row in found.busy],
        "trouble": [view.plain(row) for row in found.trouble],
        "waiting": [{"kind": group.kind, "hosts": group.count, "sentence": group.sentence} for group in found.waiting],
        "outages": [view.plain(row) for row in found.extras.outages if row.open],
        "next": list(found.progress.next),
        "eta": found.progress.eta,
    }
