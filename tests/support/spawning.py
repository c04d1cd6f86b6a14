"""Processes of a test that end with it, also where it is killed."""

from __future__ import annotations

import concurrent.futures
import shutil
import subprocess
from collections.abc import Sequence
from typing import IO

import pytest

_spawner = concurrent.futures.ThreadPoolExecutor(1, "spawner")
"""Starts them all: the kernel ends a child with the *thread* that started it, and this one lasts."""

UNTIL_DEATH = ("setpriv", "--pdeathsig", "KILL")
"""The words before a command that is to end with its parent. Innermost: what enters a namespace comes before."""


def need_spawning() -> None:
    """Skip the test, loudly, where processes would outlive it."""
    if shutil.which("setpriv") is None:
        pytest.skip("NOT RUN: no setpriv (util-linux): servers would outlive a killed test")


def spawn(
    command: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int | IO[bytes] = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start ``command``, whose words include ``UNTIL_DEATH``, in a process group of its own; errors go where the output
    goes, except into a pipe."""
    stderr = subprocess.DEVNULL if stdout == subprocess.PIPE else stdout

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)

    return _spawner.submit(start).result()
