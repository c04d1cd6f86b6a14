"""What write probes made and have not yet deleted: kept in a file, so that a killed prober leaves nothing behind.

Before something is created, a line says so; when its deletion was confirmed, another does. What has no second line
is deleted when there is time for it: soon, when the prober stops, or when it is started again.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may exist: the probe that made it, its unique name, its id where known."""

    probe: str
    unique: str
    id: str = ""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    made: Made | None = None
    gone: str = ""


class Leftovers:
    """The open entries of one prober. Without a ``path`` they live in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._open: dict[str, Made] = {}
        self._file: int | None = None
        self._lines = 0
        if path is not None:
            self._load(path)

    def _load(self, path: Path) -> None:
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    self._take(msgspec.json.decode(line, type=_Line))
                except (msgspec.DecodeError, msgspec.ValidationError):
                    continue  # the torn last line of a killed prober: nothing was made yet when it was written
        self._rewrite()

    def _take(self, line: _Line) -> None:
        if line.made is not None:
            self._open[line.made.unique] = line.made
        if line.gone:
            self._open.pop(line.gone, None)

    def _rewrite(self) -> None:
        """Keep only what is open: the file stays small."""
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        text = b"".join(msgspec.json.encode(_Line(made=made)) + b"\n" for made in self._open.values())
        fresh.write_bytes(text)
        fresh.replace(self._path)
        if self._file is not None:
            os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._lines = len(self._open)

    def _note(self, line: _Line) -> None:
        self._take(line)
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(line) + b"\n")
            self._lines += 1
            if self._lines > 1000:
                self._rewrite()

    def made(self, made: Made) -> None:
        """Something is about to be made, or its id became known."""
        self._note(_Line(made=made))

    def gone(self, unique: str) -> None:
        """Its deletion was confirmed, or it was never made."""
        self._note(_Line(gone=unique))

    def open(self, probe: str) -> list[Made]:
        """What may still exist of a probe, oldest first."""
        return [made for made in self._open.values() if made.probe == probe]

    def close(self) -> None:
        """Let go of the file; what is open stays in it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
