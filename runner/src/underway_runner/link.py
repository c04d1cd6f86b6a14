"""The line between Ansible's callback and the supervisor: JSON lines, questions wait for their answer.

If the supervisor is gone, everything that Ansible has started is ended at once: nobody would journal it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from typing import Any, Dict, NoReturn, Optional

GONE = 97
"""Exit status when the supervisor is gone, or wants Ansible to stop."""


class Link:
    """Ansible's end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._owner = os.getpid()
        self._buffer = b""

    def send(self, message: Dict[str, Any]) -> None:
        """Tell the supervisor something."""
        try:
            self._socket.sendall(json.dumps(message).encode("ascii") + b"\n")
        except OSError:
            die()

    def ask(self, message: Dict[str, Any]) -> None:
        """Tell the supervisor something and go on only when it is durable."""
        self.send(message)
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(4096)
            except OSError:
                die()
            if not data:
                die()
            self._buffer += data
        answer, _, self._buffer = self._buffer.partition(b"\n")
        if answer != b"ok":
            die()

    def close(self) -> None:
        """Close this process's copy of the line (in a worker)."""
        self._socket.close()


def die() -> NoReturn:
    """End the workers with all that they run, the process group, and this process."""
    for child in multiprocessing.active_children():
        if child.pid:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except OSError:
                child.kill()
    os._exit(GONE)


_link: Optional[Link] = None


def open_link(fd: int) -> Link:
    """Open the line of this process, once."""
    global _link  # the callback is made by Ansible's loader, which hands nothing over
    _link = Link(fd)
    return _link


def the_link() -> Link:
    """The line of this process."""
    assert _link is not None, "the callback runs in a process that the supervisor started"
    return _link
