"""What write probes made and have not yet deleted: kept in a file, so that a killed prober leaves nothing behind.

Before something is created, a line says so; when its deletion was confirmed, another does. What has no second line
is deleted when there is time for it: soon, when the prober stops, or when it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from underway.checks.keystone import TokenError
from underway.checks.web import NETWORK

LATE = 30.0
"""Seconds after which a creation that was never answered is no longer expected to happen."""


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
            self._read(path)
        self._rewrite()

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            try:
                self._take(msgspec.json.decode(line, type=_Line))
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue  # the torn last line of a killed prober: nothing was made yet when it was written

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

    @staticmethod
    def count(path: Path) -> int:
        """How many things a file says may still exist; 0 where there is no file."""
        found = Leftovers()
        if path.exists():
            found._read(path)
        return len(found._open)

    def close(self) -> None:
        """Let go of the file; what is open stays in it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


Delete = Callable[[Made, bool], Awaitable[str]]
"""Deletes one thing and notes that it is gone; empty, or the word for why not. True: that it is not found means that it
is gone. Where the creation was never answered, it may also mean that it will still be made."""


class Sweeper:
    """What one write probe owes: names that are never used twice, and the deletion of all that was left over."""

    def __init__(self, probe: str, leftovers: Leftovers, delete: Delete) -> None:
        self._probe = probe
        self._leftovers = leftovers
        self._delete = delete
        self._busy: set[str] = set()
        self._since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> str:
        """A unique name, noted before anything of that name is made; old leftovers are swept beside the question."""
        waiting = len(self._leftovers.open(self._probe)) > len(self._busy)
        if waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self.sweep())
        unique = f"underway-probe-{secrets.token_hex(8)}"
        self._leftovers.made(Made(self._probe, unique))
        self._busy.add(unique)
        return unique

    def end(self, unique: str) -> None:
        """The question is over; what it did not delete is for the next sweep."""
        self._busy.discard(unique)
        self._since[unique] = asyncio.get_running_loop().time()

    async def sweep(self, patience: float = 10.0) -> None:
        """Try once to delete everything that was left over, ``patience`` seconds each."""
        now = asyncio.get_running_loop().time()
        for made in self._leftovers.open(self._probe):
            if made.unique not in self._busy:
                # One of an earlier prober is old: its connections were closed when it ended.
                late = now - self._since.get(made.unique, now - LATE) >= LATE
                with contextlib.suppress(TokenError, TimeoutError, *NETWORK):
                    async with asyncio.timeout(patience):
                        await self._delete(made, late)
        still = {made.unique for made in self._leftovers.open(self._probe)}
        self._since = {unique: at for unique, at in self._since.items() if unique in still}

    async def close(self, patience: float = 5.0) -> None:
        """A last try to delete what is left, ``patience`` seconds each."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.sweep(patience)
