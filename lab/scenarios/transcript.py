"""What an operator saw, line by line in the order of time, and the part of it that is worth reading again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

Kind = Literal["told", "command", "line", "code"]

AROUND = 4
"""Lines kept before and after one that is kept for its own sake."""
USUAL = ("claimed", "started", "work-done", "leg-done", "done", "progress", "outage-began", "outage-ended", "healthy")
"""Kinds of lines of ``underway upgrade --plain`` that say nothing new when an upgrade goes well."""
SHORT = 4
"""Stretches shorter than this are not worth a line that says that they are left out."""
LONG = 30
"""A command's output of no more lines than this is kept whole."""
WIDTH = 150


@dataclass(frozen=True)
class Entry:
    """``told``: what was done to the laboratory; ``command``, its output's ``line`` s, and how it ended (``code``)."""

    kind: Kind
    text: str
    of: int = 0  # the number of the command that a line or a code belongs to


class Transcript:
    """Entries as they come, on the terminal and in a file at once. Safe for threads."""

    def __init__(self, log: Path) -> None:
        self.entries: list[Entry] = []
        self._log = log
        self._lock = threading.Lock()
        self._commands = 0

    def command(self, text: str) -> int:
        """A command begins; the number for its lines."""
        with self._lock:
            self._commands += 1
            self._add(Entry("command", text, self._commands))
            return self._commands

    def line(self, text: str, of: int) -> None:
        """A line of a command's output."""
        with self._lock:
            self._add(Entry("line", text, of))

    def code(self, text: str, of: int) -> None:
        """How a command ended."""
        with self._lock:
            self._add(Entry("code", text, of))

    def told(self, text: str) -> None:
        """What is done to the laboratory, or what the operator thinks."""
        with self._lock:
            self._add(Entry("told", text))

    def _add(self, entry: Entry) -> None:
        self.entries.append(entry)
        mark = {"told": "## ", "command": "$ "}.get(entry.kind, "")
        print(f"{mark}{entry.text}", flush=True)
        with self._log.open("a") as log:
            log.write(f"{mark}{entry.text}\n")


def readable(entries: Sequence[Entry]) -> str:
    """Markdown: what was told as text, commands and their output as blocks, long stretches of the usual left out."""
    kept = _kept(entries)
    blocks: list[str] = []
    shown: list[str] = []
    missing = 0
    last = 0

    def close() -> None:
        nonlocal missing
        if missing:
            shown.append(_left_out(missing))
            missing = 0
        if shown:
            blocks.append("```text\n" + "\n".join(shown) + "\n```")
            shown.clear()

    for index, entry in enumerate(entries):
        if entry.kind == "told":
            close()
            blocks.append(entry.text)
            continue
        if index not in kept:
            missing += 1
            continue
        if missing:
            shown.append(_left_out(missing))
            missing = 0
        if entry.kind == "line" and shown and last != entry.of and not shown[-1].startswith("[…"):
            shown.append(f"[the command before goes on: {_name(entries, entry.of)}]")
        last = entry.of
        shown.append(f"$ {entry.text}" if entry.kind == "command" else _short(entry.text))
    close()
    return "\n\n".join(blocks) + "\n"


def _kept(entries: Sequence[Entry]) -> set[int]:
    """Which are shown: all of a short output; of a long one its ends, and what is unusual with what is around it."""
    places: dict[int, list[int]] = {}
    for index, entry in enumerate(entries):
        if entry.kind == "line":
            places.setdefault(entry.of, []).append(index)
    kept = {index for index, entry in enumerate(entries) if entry.kind != "line"}
    tells = {index for index, entry in enumerate(entries) if entry.kind == "told"}
    for found in places.values():
        if len(found) <= LONG:
            kept.update(found)
            continue
        wanted = {0, 1, len(found) - 3, len(found) - 2, len(found) - 1}
        wanted |= {at for at, index in enumerate(found) if not usual(entries[index].text)}
        wanted |= {at for at, (one, two) in enumerate(pairwise(found)) if tells & set(range(one, two))}
        near = sorted({one for at in wanted for one in range(max(0, at - AROUND), min(len(found), at + AROUND + 1))})
        for one, two in pairwise(near):
            kept.update(found[one:two] if two - one <= SHORT else found[one : one + 1])
        kept.add(found[near[-1]])
    return kept


def usual(line: str) -> bool:
    """Whether a line of an upgrade's output is one of those that every upgrade has by the hundred."""
    words = line.split(maxsplit=2)
    return len(words) > 1 and words[0][:2] == "20" and words[1] in USUAL


def _left_out(count: int) -> str:
    return f"[… {count} line{'s' if count > 1 else ''}]"


def _name(entries: Sequence[Entry], command: int) -> str:
    return next(entry.text for entry in entries if entry.kind == "command" and entry.of == command)


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
