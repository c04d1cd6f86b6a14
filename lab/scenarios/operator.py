"""The operator: runs Underway's own command, with the laboratory's SSH key in an agent, and keeps what it printed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from labkit import groups
from labkit.errors import LabError
from labkit.places import Places
from labkit.shell import run
from labkit.wheels import wheels
from scenarios.transcript import Transcript

LONGEST = 7200.0
"""Seconds that one command may take."""


class Running:
    """A command of Underway at work. Made by ``Operator.start``."""

    def __init__(self, process: subprocess.Popen[str], transcript: Transcript, number: int) -> None:
        self._process = process
        self._transcript = transcript
        self._number = number
        self._began = time.monotonic()
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._transcript.line(line.rstrip("\n"), self._number)
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def said(self) -> str:
        """All that it has said so far, blanks and ends of lines as one blank."""
        with self._news:
            return " ".join(" ".join(self._lines).split())

    def await_line(self, *words: str, patience: float = LONGEST) -> str:
        """The first line, said already or still to come, that has all the words.

        Raises ``LabError`` where the command ends without one, or does not say it in time (seconds).
        """
        deadline = time.monotonic() + patience
        looked = 0
        with self._news:
            while True:
                for line in self._lines[looked:]:
                    if all(word in line for word in words):
                        return line
                looked = len(self._lines)
                if self._over:
                    raise LabError(f"the command ended without a line that has {' '.join(words)!r}")
                if not self._news.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise LabError(f"no line that has {' '.join(words)!r} within {patience:.0f} s")

    def at_work(self, seconds: float) -> bool:
        """Whether it still runs after so many seconds; returns earlier when it ends."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """kill -9, then wait for its end."""
        self._process.kill()
        self.end()

    def end(self, timeout: float = LONGEST) -> int:
        """Wait for its end; the exit code. Raises ``LabError`` where it takes longer than ``timeout`` (seconds)."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"the command did not end within {timeout:.0f} s") from None
        # what it started (ssh's masters, the prober) may hold the pipe open
        self._reader.join(2)
        with self._news:
            self._over = True
            self._news.notify_all()
        took = time.monotonic() - self._began
        how = "killed" if code == -signal.SIGKILL else f"exit code {code}"
        self._transcript.code(f"[{how} after {took:.0f} s]", self._number)
        return code


class Operator:
    """Underway in a directory of its own. Made by ``operator``."""

    def __init__(self, places: Places, home: Path, environment: dict[str, str]) -> None:
        self._places = places
        self.home = home
        self.log = home / "log"
        self.transcript = Transcript(self.log)
        self._environment = environment

    def start(self, *words: str) -> Running:
        """Begin ``underway``; its output goes to the terminal and to ``log``."""
        number = self.transcript.command(f"underway {' '.join(words)}")
        process = subprocess.Popen(
            ours(self._places, str(Path(sys.executable).with_name("underway")), *words),
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Running(process, self.transcript, number)

    def underway(self, *words: str, good: tuple[int, ...] = (0,), timeout: float = LONGEST) -> int:
        """Run ``underway`` to its end. The exit code. Raises ``LabError`` for one that is not ``good``."""
        code = self.start(*words).end(timeout)
        if code not in good:
            raise LabError(f"'underway {' '.join(words)}' ended with exit code {code}; its output is in {self.log}")
        return code

    def enrol(self) -> None:
        """Make the hosts trust this operator: host keys as the laboratory made them, the runner from carried wheels."""
        state = self.home / ".underway"
        state.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self._places.keys / "known_hosts", state / "known_hosts")
        self.underway("enrol", "--install", "--wheelhouse", str(wheels(self._places)), "--yes")

    def end_prober(self) -> None:
        """End the prober of a run that was not finished; it outlives the command that started it, as it should."""
        for path in self.home.glob(".underway/runs/*/prober.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if b"underway.checks.prober" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGTERM)


def ours(places: Places, *command: str) -> list[str]:
    """The command in a control group of the laboratory's, so that ``lab/run down`` ends it after a crash too."""
    return groups.inside(groups.group(places, groups.WORK), command)


@contextlib.contextmanager
def operator(places: Places, home: Path) -> Iterator[Operator]:
    """An operator whose SSH agent holds the laboratory's key; agent and prober live no longer than this."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    answer = run(*ours(places, "ssh-agent", "-s"))
    found = dict(
        word.split("=", 1) for word in answer.replace("\n", " ").split("; ") if word.startswith("SSH_") and "=" in word
    )
    pid = int(answer.rsplit("Agent pid", 1)[1].strip(" ;\n"))
    environment = {**os.environ, "SSH_AUTH_SOCK": found["SSH_AUTH_SOCK"], "COLUMNS": "120"}
    hands = Operator(places, home, environment)
    # a scenario that is told to end must clear away too: SIGTERM becomes an exception
    told = signal.signal(signal.SIGTERM, _told_to_end)
    try:
        run("ssh-add", "-q", places.keys / "id_ed25519", environment=environment)
        yield hands
    finally:
        signal.signal(signal.SIGTERM, told)
        hands.end_prober()
        os.kill(pid, signal.SIGTERM)


def _told_to_end(*_: object) -> None:
    raise KeyboardInterrupt
