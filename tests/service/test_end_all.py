"""What an interrupted pass left behind does nothing more, not even its next command."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from underway_runner import procs

pytestmark = pytest.mark.service

SHELLS = 40


def test_a_shell_does_not_go_on_when_its_command_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**os.environ, procs.MARK: f"{tmp_path}:1"}
    script = f"sleep 600; echo late >> {log}"
    shells = [subprocess.Popen(["sh", "-c", script], env=environment, start_new_session=True) for _ in range(SHELLS)]
    deadline = time.monotonic() + 30
    while len(found := procs.belonging(tmp_path, 0.0, None, ())) < 2 * SHELLS:
        assert time.monotonic() < deadline, f"{len(found)} processes, expected each shell with its command"
        time.sleep(0.05)
    assert procs.end_all(tmp_path, 0.0, None, ()) == 2 * SHELLS
    for shell in shells:
        shell.wait(10)
    assert not log.exists(), f"{len(log.read_text().split())} of {SHELLS} went on"
