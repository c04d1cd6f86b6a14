"""What tells, on one machine, whether a process that wrote down its identity has ended."""

from __future__ import annotations

import os
from pathlib import Path

from underway.core.model.state import Leader

PROC = Path("/proc")


def identity(pid: int = 0, proc: Path = PROC) -> str:
    """``<machine>/<boot>/<pid namespace>/<pid>/<start>`` of a process (0: this one), "" where /proc does not tell.

    The start (clock ticks since boot, proc(5)) tells a process from a later one with its number.
    """
    pid = pid or os.getpid()
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        space = (proc / "self/ns/pid").readlink().name
        return "/".join((_machine(), boot, space, str(pid), _start(pid, proc)))
    except OSError:
        return ""


def gone(leader: Leader, proc: Path = PROC) -> bool:
    """Whether the process of a leader's record has ended for certain: it was on this machine, and is not there.

    False also means "cannot tell": it is on another machine, or in another container.
    """
    there, here = leader.process.split("/"), identity(proc=proc).split("/")
    if len(there) != 5 or len(here) != 5 or not there[0] or there[0] != here[0]:
        return False
    if there[1] != here[1]:
        return True  # this machine has been started anew since
    if there[2] != here[2]:
        return False
    try:
        return _start(int(there[3]), proc) != there[4]
    except ValueError:
        return False
    except OSError:
        return True


def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return os.uname().nodename


def _start(pid: int, proc: Path) -> str:
    stat = (proc / str(pid) / "stat").read_text()
    return stat.rpartition(") ")[2].split()[19]  # field 22; the name before may hold blanks and brackets
