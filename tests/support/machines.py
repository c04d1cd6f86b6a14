"""Machines of a test that boot, reboot and lose their power: what a real one does to everything that runs on it.

Each is a PID and a mount namespace. When its first process ends the kernel kills every other at once, and the next boot
has another id at ``/proc/sys/kernel/random/boot_id``, which is all that tells a reboot to a program. Files and network
are this machine's own. Needs root; nothing outlives the test that made it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from support import machine_init
from support.spawning import UNTIL_DEATH, need_spawning, spawn

REBOOT = "kill -TERM 1"
"""What reboots one, typed on it."""

PATIENCE = 60.0


def need_machines() -> None:
    """Skip the test, loudly, where they cannot be made."""
    need_spawning()
    tried = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "true"]
    if os.geteuid() != 0 or subprocess.run(tried, capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT RUN: no PID and mount namespaces (needs root): nothing can reboot here")


class Machine:
    """One machine. ``programs`` are started at every boot; ``away`` is for how many seconds it is down then.

    ``same_boot``: it comes back with the id that it had, as after a reboot of its programs alone.

    ``boots`` has the id of each boot, ``downs`` when it went down and came back (monotonic; 0 while it is down).
    """

    def __init__(self, directory: Path, programs: Mapping[str, Sequence[str]], away: float = 0.1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "programs.json").write_text(json.dumps({name: list(words) for name, words in programs.items()}))
        self.directory = directory
        self.away = away
        self.same_boot = False
        self.boots: list[str] = []
        self.downs: list[tuple[float, float]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._closing = threading.Event()

    def boot(self) -> None:
        """Start it; it is started again whenever it reboots. Returns once it is up."""
        self._start()
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, daemon=True)
            self._keeper.start()

    def lose_power(self) -> None:
        """Everything on it ends at once, unasked; it boots again as after a reboot."""
        os.kill(self._init, signal.SIGKILL)

    def run(self, *command: str, text: bytes = b"") -> bytes:
        """Run a command on it, to its end; what it prints."""
        done = subprocess.run(self.enter(*command), input=text, capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout!r} {done.stderr!r}"
        return done.stdout

    def enter(self, *command: str) -> list[str]:
        """The words that run a command on it."""
        return ["nsenter", f"--target={self._init}", "--pid", "--mount", "--", *command]

    def wait_for_boot(self, number: int) -> None:
        """Wait until it is up for the ``number``-th time."""
        deadline = time.monotonic() + PATIENCE
        while not (len(self.boots) >= number and self._up()):
            assert time.monotonic() < deadline, f"{self.directory.name} is not up for the {number}th time"
            time.sleep(0.02)

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # its child goes with it (--kill-child)
            self._process.wait()
        if self._keeper is not None:
            self._keeper.join()

    @property
    def _init(self) -> int:
        """Its first process, by this machine's number."""
        assert self._process is not None
        [child] = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(child)

    def _up(self) -> bool:
        with contextlib.suppress(OSError):
            return (self.directory / "up").read_text() == self.boots[-1]
        return False

    def _start(self) -> None:
        same = self.same_boot and self.boots
        self.boots.append(self.boots[-1] if same else f"{uuid.uuid4()}\n")  # noqa: TID251  a boot of its own
        (self.directory / "up").unlink(missing_ok=True)
        (self.directory / "boot_id").write_text(self.boots[-1])
        with (self.directory / "console.log").open("ab") as console:
            self._process = spawn(
                [
                    *UNTIL_DEATH, "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
                    sys.executable, str(machine_init.__file__), str(self.directory),
                ],
                stdout=console,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while not self._up() and not self._closing.is_set():
            assert self._process.poll() is None, (self.directory / "console.log").read_text()
            assert time.monotonic() < deadline, f"{self.directory.name} does not boot"
            time.sleep(0.02)

    def _keep(self) -> None:
        while not self._closing.is_set():
            assert self._process is not None
            if self._process.poll() is None:
                time.sleep(0.02)
                continue
            down = time.monotonic()
            self.downs.append((down, 0.0))
            if self._closing.wait(self.away):
                return
            self._start()
            self.downs[-1] = (down, time.monotonic())


@contextlib.contextmanager
def machine(directory: Path, programs: Mapping[str, Sequence[str]], away: float = 0.1) -> Iterator[Machine]:
    """A machine that is up; ended at the end."""
    made = Machine(directory, programs, away)
    try:
        made.boot()
        yield made
    finally:
        made.close()
