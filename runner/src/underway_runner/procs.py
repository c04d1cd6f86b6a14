"""Every process that a pass started: found, ended, and waited for.

Ansible's workers make sessions of their own, modules may double-fork, and a killed runner leaves all of them behind.
They are found by four marks that outlive their parents: the environment variable ``UNDERWAY_PASS``, the sessions of
Ansible's workers (noted as they are forked), the process group of Ansible, and descent from any of these. Only what
began at or after ``cut`` is ended: a service that a finished step started is not part of what was interrupted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Dict, Iterable, NamedTuple, Optional, Set

from underway_runner import disk

MARK = "UNDERWAY_PASS"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 60.0
"""Seconds to wait for ended processes to be gone; one in an uninterruptible sleep may take longer."""


class Process(NamedTuple):
    """A line of the process table; ``start`` in clock ticks since boot."""

    pid: int
    parent: int
    group: int
    session: int
    start: int


def table() -> Dict[int, Process]:
    """All live processes (no zombies), by number."""
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  names only, and many
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            continue
        found[int(entry)] = Process(int(entry), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))
    return found


def marked(pid: int, mark: bytes) -> bool:
    """Whether a process was started with the environment of this runner directory's passes."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(entry.startswith(mark) for entry in environ.split(b"\0"))


def belonging(
    directory: Path, cut: float, leader: Optional[Process], sessions: Iterable[int], parents: Iterable[int] = ()
) -> Set[Process]:
    """The processes that passes of this directory started at or after ``cut`` (seconds of uptime), and the leader.

    ``parents``: processes whose descendants belong too (the runner itself, which adopts orphans).
    """
    ticks = int(cut * os.sysconf("SC_CLK_TCK"))
    mark = f"{MARK}={directory}:".encode()
    own = os.getpid()
    all_of_them = table()
    noted = set(sessions)
    roots = set(parents)
    found: Set[int] = set()
    for pid, process in all_of_them.items():
        if pid in (own, 1):
            continue
        is_leader = leader is not None and (pid, process.start) == (leader.pid, leader.start)
        if is_leader or (
            process.start >= ticks
            and (process.session in noted or (leader and process.group == leader.group) or marked(pid, mark))
        ):
            found.add(pid)
    grown = True
    while grown:
        grown = False
        for pid, process in all_of_them.items():
            if pid in found or pid in (own, 1) or process.start < ticks:
                continue
            if process.parent in found or process.parent in roots:
                found.add(pid)
                grown = True
    return {all_of_them[pid] for pid in found}


def end_all(
    directory: Path, cut: float, leader: Optional[Process], sessions: Iterable[int], parents: Iterable[int] = ()
) -> int:
    """Kill the processes that belong, and return once they are gone; how many there were.

    All are stopped before the first is killed, the oldest first: a shell whose command is killed before it goes on to
    its next one. Raises TimeoutError if one cannot be ended within PATIENCE.
    """
    deadline = time.monotonic() + PATIENCE
    seen: Set[int] = set()
    pause = 0.002
    while True:
        reap()
        rest = belonging(directory, cut, leader, sessions, parents)
        if not rest:
            return len(seen)
        seen.update(process.pid for process in rest)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in sorted(rest, key=lambda one: (one.start, one.pid)):
                if disk.started(process.pid) == process.start:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(process.pid, number)
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in sorted(rest))
            raise TimeoutError(f"processes {numbers} of an interrupted pass do not end")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def reap() -> None:
    """Collect children (adopted ones too) that have ended, except those that ``subprocess`` waits for itself."""
    with contextlib.suppress(ChildProcessError):
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None or found.si_pid in KEPT:
                return
            os.waitpid(found.si_pid, os.WNOHANG)


KEPT: Set[int] = set()
"""Children whose exit status somebody wants: not reaped here."""


def prctl(option: int, value: int) -> None:
    """``prctl(2)``; a kernel without it is no error (the other marks remain)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def identify(pid: int) -> Process:
    """The process with this number, as seen now. Raises ProcessLookupError."""
    found = table().get(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return found
