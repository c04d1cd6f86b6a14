"""What Ansible prints, kept on disk: the first and the last of it, with a bound for each step."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import List

from underway_runner import disk, journal

LIMIT = 10 * 1024 * 1024
"""Bytes of output that are kept of one step: half from its beginning, half from its end."""

OUTPUT_LINES = 8
"""Journal lines of output of one failed task; the rest is in the output file."""


class Output:
    """``work/<token>-<leg>/output``. A full disk loses output, never a step."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._half = limit // 2
        self._head = 0
        self._tail = bytearray()
        self._left = 0

    def write(self, text: str) -> None:
        """Add some output of the step at work."""
        data = text.encode("utf-8", errors="backslashreplace")
        if self._head < self._half:
            part = data[: self._half - self._head]
            self._put(part)
            self._head += len(part)
            data = data[len(part) :]
        if data:
            self._tail += data
            over = len(self._tail) - self._half
            if over > 0:
                self._left += over
                del self._tail[:over]

    def next_step(self, title: str) -> None:
        """A new step begins: write what was kept of the end of the one before."""
        if self._left:
            self._put(f"\n[{self._left} bytes left out]\n".encode())
        self._put(bytes(self._tail))
        self._tail.clear()
        self._head = self._left = 0
        self._put(f"== {title}\n".encode("utf-8", errors="backslashreplace"))

    def close(self) -> None:
        """Write the rest and close the file."""
        self.next_step("end of the pass")
        os.close(self._fd)

    def _put(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            disk.write_all(self._fd, data)


def pieces(text: str) -> List[str]:
    """Output of a failed task as journal lines: its beginning and its end."""
    size = journal.TEXT_LIMIT // 2  # escapes make text longer
    found = [text[start : start + size] for start in range(0, len(text), size)]
    if len(found) > OUTPUT_LINES:
        half = OUTPUT_LINES // 2
        found = [*found[:half], *found[-half:]]
    return found
