"""Files that survive power loss, and the identity of processes across reuse of their numbers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Dict, Optional

FAILPOINT = "UNDERWAY_RUNNER_FAILPOINT"


def failpoint(name: str) -> None:
    """Die here as by ``kill -9`` if the environment names this point (``NAME`` or ``NAME:N`` for the Nth time).

    Every transition of the journal passes one; the fault tests name them. Only who starts the runner can set
    it, and it can do nothing but end the runner.
    """
    wanted = os.environ.get(FAILPOINT, "")
    if not wanted:
        return
    point, _, count = wanted.partition("@")
    if point != name:
        return
    left = int(count or 1) - 1
    if left > 0:
        os.environ[FAILPOINT] = f"{point}@{left}"
        return
    os.kill(os.getpid(), signal.SIGKILL)


def fsync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole: after a crash it holds the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_dir(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte (``os.write`` may write fewer)."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def dump_json(value: Any) -> bytes:
    """JSON on one line."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True).encode("ascii") + b"\n"


def read_json(path: Path) -> Optional[Dict[str, Any]]:
    """The JSON object in a file; None if there is no file. Raises ValueError for anything else in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def boot_id() -> str:
    """The kernel's name of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def uptime() -> float:
    """Seconds since boot, suspended time included: the clock of ``/proc/PID/stat``'s start time, never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def started(pid: int) -> Optional[int]:
    """When a process began, in clock ticks since boot; None if there is no such process (or only a zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if not fields or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def is_same(pid: int, start: int, boot: str) -> bool:
    """Whether the process that was seen with this number, start time and boot still lives."""
    return boot == boot_id() and started(pid) == start
