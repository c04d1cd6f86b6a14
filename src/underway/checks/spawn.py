"""The prober's process: started detached, so that a killed coordinator blinds nobody; started again if it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from underway.checks.leftovers import Leftovers
from underway.checks.prober import command, leftovers_of, read_probes, write_probes
from underway.core.model.cluster import Probe
from underway.errors import ExecutorError, InputError

GRACE = 10.0
"""Seconds that a prober gets to write its last samples, beyond the longest time-out of its probes."""

FAST_ENDS = 5
"""Ends within ``FAST`` seconds of their start after which it is not started again: something is wrong with it."""

FAST = 5.0


class ProberProcess:
    """The prober of one run; any number of coordinators may ensure it, one process asks (it locks its output file)."""

    def __init__(self, probes: Mapping[str, Probe], directory: Path) -> None:
        self._probes = dict(probes)
        self._file = directory / "probes.json"
        self._out = directory / "samples" / "prober.jsonl"
        self._stop = directory / "prober.stop"
        self._pid = directory / "prober.pid"
        self._log = directory / "prober.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._fast_ends = 0

    def ensure(self) -> None:
        """Start the prober unless one is at work. Raises ExecutorError where it ends again and again."""
        if not self._probes or self._alive() or self._adopt():
            return
        if self._child is not None:
            if self._child.wait() == 2:
                raise ExecutorError(f"the prober does not accept its probes: {self._last_words()}")
            quick = time.monotonic() - self._started < FAST
            self._fast_ends = self._fast_ends + 1 if quick else 0
            if self._fast_ends >= FAST_ENDS:
                raise ExecutorError(f"the prober ends as soon as it starts: {self._last_words()}")
        self._out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stop.unlink(missing_ok=True)
        write_probes(self._file, self._probes)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                command(self._file, self._out, self._stop),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started = time.monotonic()
        self._pid.write_text(str(self._child.pid))

    def stop(self) -> None:
        """End the prober, whichever process started it, and wait for its last samples and for what it deletes."""
        pid = self._running_pid() or self._adopt()
        if pid:
            self._end(pid)
        if Leftovers.count(leftovers_of(self._out)):
            self._sweep()

    def _end(self, pid: int) -> None:
        self._stop.touch()
        deadline = time.monotonic() + GRACE + self._patience()
        while self._running_pid() and time.monotonic() < deadline:
            if self._child is not None:
                self._child.poll()
            time.sleep(0.05)
        if self._running_pid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._pid.unlink(missing_ok=True)

    def _patience(self) -> float:
        """Seconds that an open question may take; what is asked stands in the file, whoever wrote it."""
        try:
            return max((probe.timeout for probe in read_probes(self._file).values()), default=0.0)
        except InputError:
            return 0.0

    def _sweep(self) -> None:
        """Delete what a killed prober made; what cannot be deleted is named in its file for whoever looks."""
        words = [*command(self._file, self._out, self._stop), "--sweep"]
        with self._log.open("ab") as log, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=GRACE + self._patience(), check=False
            )

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return bool(self._running_pid())

    def _adopt(self) -> int:
        """Find a prober of this run that nobody noted (who started it was killed before it could), and note it."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_ours(int(entry.name)):
                self._pid.write_text(entry.name)
                self._child = None
                return int(entry.name)
        return 0

    def _running_pid(self) -> int:
        """The pid of the run's prober, 0 where none is at work; a pid that is another program's does not count."""
        try:
            pid = int(self._pid.read_text())
        except (OSError, ValueError):
            return 0
        return pid if self._is_ours(pid) else 0

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return False
        return os.fsencode(self._out) in words and state != "Z"

    def _last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return f"see {self._log}"
