"""``follow``: the journal from a line on, as it grows, and then how the leg stands."""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path
from typing import IO, Any, Dict, List, Mapping, Optional, Tuple

from underway_runner import journal
from underway_runner.errors import JournalDamaged
from underway_runner.history import outcome
from underway_runner.journal import Line
from underway_runner.start import at_work

PAUSE = 0.02
"""Seconds between looks at the journal: what an operator sees lags by no more, and it costs nearly nothing."""


def follow(
    directory: Path, where: Mapping[str, Any], since: int, out: IO[bytes], wait: Optional[float] = None, stop: int = -1
) -> Dict[str, Any]:
    """Write lines with a number above ``since`` until the leg has ended; return the status line.

    ``wait`` bounds the time in seconds; ``stop`` is a file descriptor whose end of input ends the call.
    Raises JournalDamaged.
    """
    deadline = None if wait is None else time.monotonic() + wait
    reader = Reader(directory)
    lines: List[Line] = []
    while True:
        # Asked before reading: a pass that is gone now has written all that it will ever write.
        alive = is_at_work(directory, where)
        fresh = reader.more()
        lines += [line for line in fresh if line.get("token", 0) == where["token"]]
        data = b"".join(json.dumps(line).encode("ascii") + b"\n" for line in fresh if line["seq"] > since)
        if data:
            out.write(data)
            out.flush()
        ended = outcome(lines, where["run"], where["action"], where["leg"], where["token"])
        if ended:
            return status(ended)
        if not alive:
            return {"kind": "status", "state": "none", "text": "no pass of this ticket is at work"}
        if deadline is not None and time.monotonic() > deadline:
            return {"kind": "status", "state": "running"}
        if _ended(stop, PAUSE):
            return {"kind": "status", "state": "running", "text": "the caller has gone"}


def is_at_work(directory: Path, where: Mapping[str, Any]) -> bool:
    """Whether the pass of this ticket runs."""
    holder = at_work(directory)
    return bool(holder) and all(holder.get(key) == value for key, value in where.items())  # type: ignore[union-attr]


def status(ended: Mapping[str, Any]) -> Dict[str, Any]:
    """What the terminal line of a leg means."""
    said = {"step": ended.get("step", ""), "text": ended.get("text", ""), "duration": ended.get("duration", 0.0)}
    if ended["kind"] == "leg-end":
        state = "failed" if ended.get("rc", 0) else "finished"
    elif ended["kind"] == "cancelled":
        state = "unknown" if said["step"] else "failed"
    else:
        state = "unknown"
    return {"kind": "status", "state": state, **said}


class Reader:
    """The journal, read on from where it was left; a line that is being written is left for the next time."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "journal"
        self._offset = 0
        self._seq = 0

    def more(self) -> List[Line]:
        """The whole lines that are new. Raises JournalDamaged for a bad one that others follow."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            raise JournalDamaged(f"{self._path} is missing (it is created once, by enrol)") from None
        if size <= self._offset:
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        lines, good = journal.parse(data, self._seq)
        self._offset += good
        self._seq = int(lines[-1]["seq"]) if lines else self._seq
        return lines


def _ended(fd: int, pause: float) -> bool:
    """Wait a little; whether the input has come to its end meanwhile."""
    if fd < 0:
        time.sleep(pause)
        return False
    found: Tuple[List[int], List[int], List[int]] = select.select([fd], [], [], pause)
    return bool(found[0]) and not os.read(fd, 65536)
