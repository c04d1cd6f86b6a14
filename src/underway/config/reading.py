"""Files into memory: regular files only, never more than a bound, and an error in one line when that fails."""

from __future__ import annotations

import stat
from pathlib import Path

from underway.config.located import Document, parse
from underway.errors import FileProblems, Problem

MAX_BYTES = 8 * 1024 * 1024
"""Longest cluster file; it holds about 100,000 hosts."""
MAX_SMALL_BYTES = 1024 * 1024
"""Longest service or release file."""


def read(path: Path, shown_as: str, limit: int = MAX_BYTES, root: str = "") -> Document:
    """Read and parse a file (``root``: as ``parse`` says). Raises ``FileProblems``; reads at most ``limit`` bytes."""
    return parse(read_bytes(path, shown_as, limit), shown_as, root=root)


def read_bytes(path: Path, shown_as: str, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes. Raises ``FileProblems``."""

    def wrong(code: str, message: str, hint: str = "") -> FileProblems:
        return FileProblems([Problem(shown_as, 0, 0, code, message, hint)])

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device would never end
            raise wrong("not-a-file", "expected a regular file, found something else")
        if status.st_size > limit:
            raise wrong("too-big", f"the file has {status.st_size:,} bytes; at most {limit:,}", "split the cluster")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise wrong("missing", "the file does not exist", "'underway init' writes an example") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise wrong("unreadable", f"cannot be read: {reason}") from None
    if len(data) > limit:
        raise wrong("too-big", f"the file has more than {limit:,} bytes", "split the cluster")
    return data
