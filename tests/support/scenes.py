"""Scenes that are played in a process of their own, which ends all that it started, however the test ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NOT_RUN = 77
"""Exit code of a scene that cannot be played here; it prints why."""


def play(module: str, *words: str) -> str:
    """What a scene prints. Skips the test where it cannot be played; fails with what is wrong."""
    command = [sys.executable, "-m", module, *words]
    child = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = child.communicate()
    finally:
        child.terminate()  # it ends all that it started
        child.wait()
    if child.returncode == NOT_RUN:
        pytest.skip(output.strip())
    assert child.returncode == 0, f"{' '.join(words)}:\n{output}\n{errors[-20000:]}"
    return output
