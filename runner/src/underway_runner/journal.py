"""The host's journal: JSON lines with a check sum each, made durable before anybody is told of them.

The journal is the authority on what this host did. Its file is created once, at enrolment. A torn last line is what
a crash leaves, and is cut off by the next writer (nobody was told of it). A bad line before a good one, or fewer
lines than were known before, is damage: the runner then answers ``unknown`` and never starts afresh.

Lines are numbered from 1. A machine that stands in the place of another (``underway replace``) says so in its first
line, ``new-machine``, whose number lies above all that the other one can have written; its lines follow from there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from underway_runner import disk
from underway_runner.errors import JournalDamaged, Refused

Line = Dict[str, Any]

TEXT_LIMIT = 4096
NEW_MACHINE = "new-machine"
BALLAST = 256 * 1024


def check_sum(line: Line) -> str:
    """CRC-32 of the line without its ``crc``, keys sorted, 8 hex digits."""
    bare = {key: value for key, value in line.items() if key != "crc"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{zlib.crc32(text.encode('ascii')):08x}"


def encode(line: Line) -> bytes:
    """One line of the file, with its check sum."""
    whole = {**line, "crc": check_sum(line)}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"


def decode(raw: bytes) -> Optional[Line]:
    """The line, or None if it is torn or was changed."""
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(line, dict) or not isinstance(line.get("seq"), int) or line.get("crc") != check_sum(line):
        return None
    return line


def parse(data: bytes, before: int = 0) -> Tuple[List[Line], int]:
    """The good lines and the length of the good part.

    Raises JournalDamaged if a bad line stands before a good one or the numbers do not follow each other; only the
    first line of a machine that stands in the place of another may have any number.
    """
    lines: List[Line] = []
    good = offset = 0
    bad = 0
    pieces = data.split(b"\n")
    for index, raw in enumerate(pieces):
        whole = index < len(pieces) - 1  # what follows the last newline is torn, or nothing
        if not whole and not raw:
            break
        offset += len(raw) + 1
        line = decode(raw) if whole else None
        if line is None:
            bad = bad or len(lines) + 1
            continue
        if bad:
            raise JournalDamaged(f"journal: line {bad} is damaged and good lines follow it")
        before = lines[-1]["seq"] if lines else before
        if line["seq"] != before + 1 and (before or line.get("kind") != NEW_MACHINE):
            raise JournalDamaged(f"journal: line {before} is followed by line {line['seq']}")
        lines.append(line)
        good = offset
    return lines, good


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text for a journal: control characters escaped (tab and newline stay), at most ``limit`` characters."""
    text = "".join(
        char if char in "\t\n" or (char.isprintable() and not _is_bidi(char)) else _escape(char)
        for char in text[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _is_bidi(char: str) -> bool:
    return "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"


def _escape(char: str) -> str:
    if char == "\r":
        return "\\r"
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


class Journal:
    """The journal opened for writing by the holder of the host's lock.

    ``lines`` are all lines; ``where`` (run, action, leg, token) is put on each line that is appended.
    Raises JournalDamaged when opened on a file that is missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"
        self.lines, self._end = _load(directory)
        self._fd = os.open(directory / "journal", os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self._fd).st_size != self._end:
            os.ftruncate(self._fd, self._end)
            os.fsync(self._fd)
        self.where: Line = {}
        self.boot = disk.boot_id()
        self._make_ballast()

    @property
    def last(self) -> int:
        """Number of the last line; 0 when there is none."""
        return int(self.lines[-1]["seq"]) if self.lines else 0

    @property
    def base(self) -> int:
        """Number above which this machine's lines count; 0 unless it stands in the place of another one."""
        first = self.lines[0] if self.lines else {}
        return int(first["seq"]) if first.get("kind") == NEW_MACHINE else 0

    def stand_in(self, base: int) -> None:
        """Let this machine be the one whose lines count above ``base``: as it is already, or as its first line says.

        Raises Refused if it was at work as another machine: what is in its journal was done before it was replaced, or
        the caller speaks of a machine that was there before this one.
        """
        if base == self.base:
            return
        if base < self.base:
            raise Refused(
                f"this machine stands in the place of one that was replaced (its lines begin at {self.base}), and this"
                f" is for the one before (at {base}); an old ticket, or the store went back"
            )
        if self.lines:
            raise Refused(
                f"this machine was replaced ('underway replace'): its journal has {len(self.lines)} lines of the time"
                f" before, so it takes no more work (a machine that was installed anew has an empty"
                f" {self.directory}; if this one is to be it, move that directory away and enrol it again)"
            )
        self.append(NEW_MACHINE, seq=base, text="stands in the place of a machine that was replaced")

    def append(self, kind: str, *, sync: bool = True, **fields: Any) -> Line:
        """Write a line, durably unless ``sync`` is off (it then becomes durable with the next one that is).

        Raises OSError when the disk is full; the file is then as it was before.
        """
        disk.failpoint(f"before-{kind}")
        if kind == "begin" and not self._make_ballast():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._ballast))
        line: Line = {
            "seq": self.last + 1,
            "at": round(time.time(), 6),  # noqa: TID251  the host's own clock is what is told
            "mono": round(disk.uptime(), 6),
            "kind": kind,
            "boot": self.boot,
            **self.where,
            **{key: value for key, value in fields.items() if value not in ("", None)},
        }
        if "text" in line:
            line["text"] = clean(line["text"])
        data = encode(line)
        try:
            self._write(data)
            if sync:
                os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or kind in (
                "task",
                "task-end",
                "output",
                "notice",
                "begin",
            ):
                raise
            self._drop_ballast()
            self._write(data)
            os.fsync(self._fd)
        self._end += len(data)
        self.lines.append({**line, "crc": check_sum(line)})
        disk.failpoint(f"after-{kind}")
        return line

    def sync(self) -> None:
        """Make every line durable."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        os.lseek(self._fd, self._end, os.SEEK_SET)
        disk.write_all(self._fd, data)

    def _make_ballast(self) -> bool:
        """Keep space back, so that a full disk cannot keep the runner from saying how a step ended.

        False if there is none: then no step begins.
        """
        if self._ballast.exists():
            return True
        try:
            fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, BALLAST)
            finally:
                os.close(fd)
        except OSError:
            self._drop_ballast()
            return False
        return True

    def _drop_ballast(self) -> None:
        with contextlib.suppress(OSError):
            self._ballast.unlink()


def read(directory: Path) -> List[Line]:
    """All good lines of the journal. Raises JournalDamaged if it is missing or damaged."""
    return _load(directory)[0]


def _load(directory: Path) -> Tuple[List[Line], int]:
    try:
        data = (directory / "journal").read_bytes()
    except FileNotFoundError:
        raise JournalDamaged(f"{directory}/journal is missing (it is created once, by enrol)") from None
    return parse(data)
