"""The coordinator's copy of what hosts wrote in their journals: for attribution, the report and the live view.

Never an authority: a lost mirror is fetched again from the hosts, from the first line.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from underway.core.model.base import canonical, decode
from underway.core.model.event import VOLATILE, HostLine


class Mirror:
    """Journal lines per host, in memory; ``FileMirror`` keeps them on disk as well."""

    def __init__(self) -> None:
        self._lines: dict[str, list[HostLine]] = defaultdict(list)
        self._open: dict[str, HostLine] = {}
        self._open_step: dict[str, HostLine] = {}
        self._highest: dict[str, tuple[int, str]] = {}

    def take(self, host: str, lines: Iterable[HostLine]) -> list[HostLine]:
        """Add lines that are new (numbers above the last known one); returns those."""
        last = self.since(host)
        fresh = [line for line in lines if line.seq > last]
        for line in fresh:
            self._lines[host].append(line)
            self._follow(host, line)
            if line.token > self.highest(line.run)[0]:
                self._highest[line.run] = (line.token, host)
        return fresh

    def since(self, host: str) -> int:
        """The number of the last line known of a host; 0 for none."""
        known = self._lines.get(host)
        return known[-1].seq if known else 0

    def highest(self, run: str) -> tuple[int, str]:
        """The highest token of a run that a host wrote of, and which host; 0 for none."""
        return self._highest.get(run, (0, ""))

    def known(self, host: str) -> int:
        """The number of the last line known that was durable on the host when it was seen; 0 for none.

        Lines of tasks are not: a power cut may take them back, and is not to be mistaken for another machine.
        """
        return last_durable(self._lines.get(host, ()))

    def of(self, host: str) -> Sequence[HostLine]:
        """The lines of one host."""
        return self._lines.get(host, ())

    def lines(self) -> dict[str, Sequence[HostLine]]:
        """All lines, per executing host."""
        return dict(self._lines)

    def at_work(self) -> list[tuple[str, str, str, float]]:
        """(host, step, task, since when) of all that has begun and not ended, as far as known."""
        found = []
        for host, begin in sorted(self._open_step.items()):
            task = self._open.get(host)
            found.append((host, begin.step, task.task if task else "", (task or begin).at))
        return found

    def close(self) -> None:
        """Nothing to release in memory."""

    def _follow(self, host: str, line: HostLine) -> None:
        if line.kind == "begin":
            self._open_step[host] = line
        elif line.kind in ("end", "leg-end", "cancelled", "unknown", "new-machine"):
            self._open_step.pop(host, None)
            self._open.pop(host, None)
        elif line.kind == "task":
            self._open[host] = line
        elif line.kind == "task-end":
            self._open.pop(host, None)


class FileMirror(Mirror):
    """A mirror with one file per host in ``directory``; a torn last line (a crash) is cut off and fetched again."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._files: dict[str, IO[bytes]] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(directory.glob("*.jsonl")):
            self._load(path)

    def take(self, host: str, lines: Iterable[HostLine]) -> list[HostLine]:
        """See Mirror; new lines are appended to the host's file."""
        fresh = super().take(host, lines)
        if fresh:
            out = self._files.get(host)
            if out is None:
                out = self._files[host] = (self._directory / f"{host}.jsonl").open("ab")
            out.write(b"".join(canonical(line) + b"\n" for line in fresh))
            out.flush()
        return fresh

    def close(self) -> None:
        """Close the files; harmless when called twice."""
        for out in self._files.values():
            out.close()
        self._files.clear()

    def _load(self, path: Path) -> None:
        good, lines = 0, []
        with path.open("rb") as source:
            for raw in source:
                try:
                    if not raw.endswith(b"\n"):
                        break
                    lines.append(decode(raw, HostLine))
                except (msgspec.MsgspecError, json.JSONDecodeError):
                    break
                good += len(raw)
        if good < path.stat().st_size:
            with path.open("r+b") as torn:
                torn.truncate(good)
        super().take(path.stem, lines)


def last_durable(lines: Sequence[HostLine]) -> int:
    """The number of the last line that the host had made durable before it was seen; 0 for none."""
    return next((line.seq for line in reversed(lines) if line.kind not in VOLATILE), 0)


def read_lines(directory: Path) -> dict[str, Sequence[HostLine]]:
    """The lines in a mirror directory, read only (nothing is cut off): for ``status`` and ``report``."""
    found: dict[str, Sequence[HostLine]] = {}
    for path in sorted(directory.glob("*.jsonl")) if directory.is_dir() else ():
        lines = []
        for raw in path.read_bytes().splitlines(keepends=True):
            try:
                lines.append(decode(raw, HostLine))
            except msgspec.MsgspecError:
                break
        found[path.stem] = lines
    return found
