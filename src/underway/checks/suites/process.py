"""A program of a suite: in a process group of its own, with its output in a file, ended when its time is up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TEXT = 300
"""Characters of a program's last line that a result keeps; its file has all."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit status (negative: the signal), or why it did not."""

    status: int = 0
    problem: str = ""


def run(
    words: Sequence[str],
    out: Path,
    timeout: float,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    errors: Path | None = None,
) -> Ended:
    """Run a program (never a shell) and wait for it; what it says goes to ``out``, or its errors to ``errors``.

    When ``timeout`` seconds are over, or when this is interrupted, its whole group is killed.
    """
    with out.open("wb") as said, (errors or out).open("ab") as wrong:
        try:
            process = subprocess.Popen(
                list(words),
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=wrong if errors is not None else subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            what = directory if directory is not None and not directory.is_dir() else words[0]
            return Ended(problem=f"{what}: {error.strerror or error}")
        try:
            return Ended(process.wait(timeout))
        except subprocess.TimeoutExpired:
            return Ended(problem=f"not over after {timeout:g} s")
        finally:
            # Also after a good end: what it left behind in its group would outlive the suite.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_line(path: Path) -> str:
    """The last line that a program wrote, cut to a sentence's length; empty where it wrote none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:TEXT] for line in reversed(lines) if line.strip()), "")


def word_of(status: int) -> str:
    """``exit 3`` or ``signal 9``."""
    return f"exit {status}" if status >= 0 else f"signal {-status}"
