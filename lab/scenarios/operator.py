"""The operator: runs Underway's own command, with the laboratory's SSH key in an agent, and keeps what it printed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from labkit.errors import LabError
from labkit.places import Places
from labkit.shell import run, say

WHEELS = ("ansible-core", "cryptography", "securesystemslib")
"""What the runner wants beside itself on hosts that reach no index (docs/how-to/ssh.md)."""
PYTHON = "3.13"  # of Debian trixie


class Operator:
    """Underway in a directory of its own. Made by ``operator``."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.log = home / "log"
        self._environment = environment

    def underway(self, *words: str, good: tuple[int, ...] = (0,), timeout: float = 7200) -> int:
        """Run ``underway``; its output goes to the terminal and to ``log``. The exit code.

        Raises ``LabError`` for an exit code that is not ``good``.
        """
        command = [str(Path(sys.executable).with_name("underway")), *words]
        began = time.monotonic()
        with self.log.open("a") as log:
            log.write(f"\n$ underway {' '.join(words)}\n")
            log.flush()
            done = subprocess.Popen(
                command,
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.stdout is not None
            for line in done.stdout:
                log.write(line)
                print(line, end="", flush=True)
            code = done.wait(timeout=timeout)
            log.write(f"exit code {code} after {time.monotonic() - began:.0f} s\n")
        if code not in good:
            raise LabError(f"'underway {' '.join(words)}' ended with exit code {code}; its output is in {self.log}")
        return code

    def enrol(self, places: Places) -> None:
        """Make the hosts trust this operator: host keys as the laboratory made them, the runner from carried wheels."""
        state = self.home / ".underway"
        state.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(places.keys / "known_hosts", state / "known_hosts")
        self.underway("enrol", "--install", "--wheelhouse", str(wheels(places)), "--yes")


def wheels(places: Places) -> Path:
    """The wheels that hosts are given; downloaded once."""
    home = places.cache / "wheels"
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        say("downloading what the runner needs on the hosts")
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:",
            "--python-version", PYTHON, "--dest", home, *WHEELS,
        )  # fmt: skip
        (home / "complete").touch()
    return home


@contextlib.contextmanager
def operator(places: Places, home: Path) -> Iterator[Operator]:
    """An operator whose SSH agent holds the laboratory's key, and lives no longer than this."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    answer = run("ssh-agent", "-s")
    found = dict(
        word.split("=", 1) for word in answer.replace("\n", " ").split("; ") if word.startswith("SSH_") and "=" in word
    )
    pid = int(answer.rsplit("Agent pid", 1)[1].strip(" ;\n"))
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": found["SSH_AUTH_SOCK"], "COLUMNS": "120"}
        run("ssh-add", "-q", places.keys / "id_ed25519", environment=environment)
        yield Operator(home, environment)
    finally:
        os.kill(pid, signal.SIGTERM)
