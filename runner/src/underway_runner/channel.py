"""The line between a host's ``attend`` and the coordinator's ``drive``: JSON lines both ways, and a sign of life.

Either side that hears nothing for a while takes the line for broken. The driver gives up well before the host does:
once the host lets go of its lock, nobody drives any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import Any, Dict, Iterator, List

from underway_runner import disk
from underway_runner.errors import LineBroken

ALIVE_EVERY = 2.0
"""Seconds between the driver's signs of life; the host answers each."""

DRIVER_PATIENCE = 20.0
"""Seconds without a word from the host after which the driver ends its Ansible."""

HOST_PATIENCE = 45.0
"""Seconds without a word from the driver after which the host lets go."""


class Channel:
    """JSON lines over two file descriptors. ``heard``: when the other side last said something (monotonic seconds)."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self._writing = writing
        self._buffer = b""
        self.heard = time.monotonic()

    def send(self, message: Dict[str, Any]) -> None:
        """Say something. Raises LineBroken."""
        try:
            disk.write_all(self._writing, json.dumps(message).encode("ascii") + b"\n")
        except OSError as error:
            raise LineBroken(f"the other side cannot be told: {error.strerror}") from None

    def read(self) -> List[Dict[str, Any]]:
        """What has come, when there is something to read. Raises LineBroken at the end, or for what is no message."""
        try:
            data = os.read(self.reading, 1 << 16)
        except OSError as error:
            raise LineBroken(f"the line broke: {error.strerror}") from None
        if not data:
            raise LineBroken("the other side has gone")
        self.heard = time.monotonic()
        *whole, self._buffer = (self._buffer + data).split(b"\n")
        found = []
        for raw in whole:
            try:
                message = json.loads(raw)
            except ValueError:
                raise LineBroken("the other side said something that is not JSON") from None
            if not isinstance(message, dict):
                raise LineBroken("the other side said something that is not a JSON object")
            found.append(message)
        return found


@contextlib.contextmanager
def woken_by_signals() -> Iterator[int]:
    """A descriptor that becomes readable when a signal comes that somebody handles (the end of a child, too)."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    old_wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_child = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old_wakeup)
        signal.signal(signal.SIGCHLD, old_child)
        os.close(reader)
        os.close(writer)
