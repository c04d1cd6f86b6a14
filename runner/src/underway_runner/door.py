"""``underway-runner door``: one call of the runner by whoever the service manager let connect to the runner's socket.

The agent faces the network, so it is nobody and can become nobody else; the runner is root's. Between them is a socket
that the agent's user alone may connect to, and the service manager starts this, as root, for each connection: so
nothing of the agent's own confinement is inherited by what the runner starts, and no set-user-id program is needed.

The caller's first line is ``{"arguments": [VERB, ...]}``; what follows is the input of the call, its end ends the call.
Back come the lines of the call, and after them ``{"door": STATUS, "words": TEXT}``: its exit status, and the last words
of its standard error.

Whoever took over the agent can write here what he likes. So only the verbs that an agent needs are there, and no other
directory may be named (one of his own would trust keys of his own). What is run is still checked by the runner itself.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import Any, Dict, List

from underway_runner.errors import Refused

VERBS = ("ping", "enrol", "run", "follow", "cancel")

LONGEST = 65536
"""Bytes of the first line."""

PATIENCE = 60.0
"""Seconds within which the first line must be there."""

REFUSED = 126
"""Exit status of a call that is not made."""


def door() -> int:
    """Make the call that standard input, a socket, asks for. Exit status 0 whenever the caller was answered."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as line:
        try:
            said = call(line, wanted(first_line(line)))
        except Refused as error:
            said = {"door": REFUSED, "words": f"underway-runner: {error}"}
        try:
            line.settimeout(PATIENCE)
            line.sendall(json.dumps(said).encode("ascii") + b"\n")
        except OSError:
            return 1  # the caller has gone: what the call began goes on, and is asked about again
    return 0


def first_line(line: socket.socket) -> bytes:
    """The first line, and not a byte of what follows it: that is for the call. Raises Refused."""
    line.settimeout(PATIENCE)
    raw = b""
    try:
        while not raw.endswith(b"\n"):
            byte = line.recv(1)
            if not byte or len(raw) == LONGEST:
                raise Refused(f"expected a line of at most {LONGEST} bytes that says what to call")
            raw += byte
    except OSError as error:
        raise Refused(f"nobody says what to call: {error}") from None
    line.settimeout(None)
    return raw


def wanted(raw: bytes) -> List[str]:
    """The arguments that the first line asks for. Raises Refused."""
    try:
        said: Any = json.loads(raw)
        words = said["arguments"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Refused('the first line: expected {"arguments": [...]}') from None
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise Refused("arguments: expected a list of words")
    if not words or words[0] not in VERBS:
        raise Refused(f"expected {', '.join(VERBS[:-1])} or {VERBS[-1]}")
    if any(word.startswith("--d") for word in words):
        raise Refused("the directory is fixed here: leave --dir out")
    return words


def call(line: socket.socket, words: List[str]) -> Dict[str, Any]:
    """Make the call, its lines on ``line``; what is said at its end."""
    # a file and no pipe: a pass that the call left behind may hold it open for as long as it runs
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "underway_runner", *words],
            stdin=line.fileno(), stdout=line.fileno(), stderr=errors, cwd="/", check=False,
        )  # fmt: skip
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - 4096))
        told = [text.strip() for text in errors.read().decode("utf-8", "replace").splitlines() if text.strip()]
    return {"door": done.returncode, "words": told[-1][:500] if told else ""}
