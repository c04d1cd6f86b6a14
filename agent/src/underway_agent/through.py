"""``python -m underway_agent.through SOCKET VERB ...``: call the runner of this host through its socket.

The other side is the runner's ``door``. Input and lines are carried as they are; exit status and the last words of the
call's standard error come as the last line, and become this program's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from typing import Any, Dict, List

NOBODY = 127
"""Exit status where nobody answers there, as a shell has it for a program that is not there."""

CUT = 125
"""Exit status where the connection ended before the call did."""


def main(arguments: List[str]) -> int:
    """Make one call."""
    if len(arguments) < 2:
        return _say("usage: python -m underway_agent.through SOCKET VERB [ARGUMENT ...]", 2)
    path, *words = arguments
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(path)
            line.sendall(json.dumps({"arguments": words}).encode("ascii") + b"\n")
        except OSError as error:
            return _say(f"{path}: {error.strerror or error} (systemctl enable --now underway-runner.socket)", NOBODY)
        threading.Thread(target=_carry, args=(line,), daemon=True).start()
        said: Dict[str, Any] = {}
        with line.makefile("rb") as lines, contextlib.suppress(ConnectionError):
            for raw in lines:
                if raw.startswith(b'{"door": ') and raw.endswith(b"}\n"):
                    said = json.loads(raw)
                    break
                sys.stdout.buffer.write(raw)
                sys.stdout.buffer.flush()
    if not said:
        return _say(f"{path}: the connection ended before the call did", CUT)
    return _say(str(said.get("words", "")), int(said["door"]))


def _carry(line: socket.socket) -> None:
    """Our input to the call; its end ends the call."""
    with contextlib.suppress(OSError):
        while data := os.read(0, 1 << 16):
            line.sendall(data)
        line.shutdown(socket.SHUT_WR)


def _say(words: str, status: int) -> int:
    if words:
        sys.stderr.write(words + "\n")
    return status


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the thread that waits for input would be waited for
