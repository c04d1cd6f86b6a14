"""``cancel``: stop a leg; answered once every process of it is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Any, Dict, Mapping

from underway_runner.errors import Busy
from underway_runner.follow import is_at_work
from underway_runner.history import outcome
from underway_runner.journal import Journal, read
from underway_runner.procs import PATIENCE
from underway_runner.start import at_work, end_leftovers


def cancel(directory: Path, where: Mapping[str, Any]) -> Dict[str, Any]:
    """Cancel the leg of this ticket. Raises Busy if something else is at work.

    A ticket that has not come yet is cancelled, too: when it comes (it may be on its way) it is not begun.
    """
    deadline = time.monotonic() + PATIENCE + 5.0
    asked = False
    while time.monotonic() < deadline:
        lines = read(directory)
        if outcome(lines, where["run"], where["action"], where["leg"], where["token"]):
            return {"kind": "cancelled", **({} if asked else {"text": "had ended before"})}
        holder = at_work(directory)
        if holder and is_at_work(directory, where):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(holder["pid"]), signal.SIGUSR1)
                asked = True
            _wait_for(directory, where, deadline)
        elif _cancel_dead(directory, where):
            return {"kind": "cancelled"}
        else:
            time.sleep(0.05)
    raise Busy("the pass does not end")


def _wait_for(directory: Path, where: Mapping[str, Any], deadline: float) -> None:
    while is_at_work(directory, where) and time.monotonic() < deadline:
        time.sleep(0.01)


def _cancel_dead(directory: Path, where: Mapping[str, Any]) -> bool:
    """Cancel a leg whose supervisor is gone: end what it left, and say so. False if somebody holds the lock."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        journal = Journal(directory)
        try:
            end_leftovers(directory, journal.lines)
            journal.where = dict(where)
            open_steps = _open_steps(journal, where)
            journal.append(
                "cancelled", step=open_steps[0] if open_steps else "", text="cancelled after an interruption"
            )
        finally:
            journal.close()
        return True
    finally:
        os.close(lock)


def _open_steps(journal: Journal, where: Mapping[str, Any]) -> "list[str]":
    begun: "dict[str, bool]" = {}
    for line in journal.lines:
        if line.get("run") == where["run"] and line.get("action") == where["action"]:
            if line["kind"] == "begin":
                begun[line["step"]] = True
            elif line["kind"] in ("end", "skip", "resumed"):
                begun.pop(line.get("step", ""), None)
    return list(begun)
