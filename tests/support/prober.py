"""A real prober process for tests, ended by its process id."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from underway.checks.prober import command, write_probes
from underway.checks.samples import Chunk, read_chunk
from underway.core.model.cluster import Probe


class Prober:
    """One prober and its files; started again with ``start`` after it was killed."""

    def __init__(self, directory: Path, probes: Mapping[str, Probe], prefix: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.prefix = prefix
        self.file = directory / "probes.json"
        self.out = directory / "samples.jsonl"
        self.stop_file = directory / "stop"
        self.process: subprocess.Popen[bytes] | None = None
        write_probes(self.file, probes)

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait for its first sample."""
        before = len(self.read().samples)
        self.process = subprocess.Popen(
            [*self.prefix, *command(self.file, self.out, self.stop_file)], start_new_session=True
        )
        end = time.monotonic() + 20
        while len(self.read().samples) <= before:
            assert self.process.poll() is None, f"the prober ended with {self.process.returncode}"
            assert time.monotonic() < end, "no sample within twenty seconds"
            time.sleep(0.02)

    def read(self) -> Chunk:
        """All that it has written."""
        return read_chunk(self.out, 0, 1 << 30)

    def stop(self) -> int:
        """Tell it by its stop file; its exit code."""
        self.stop_file.touch()
        assert self.process is not None
        return self.process.wait(30)

    def kill(self) -> None:
        """Kill -9, if it is there."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
