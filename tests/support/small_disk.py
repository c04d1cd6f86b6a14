"""A file system of a few megabytes, for tests of full disks. Needs root.

It is mounted in a mount namespace that belongs to the calling thread of the test process and to the processes that it
starts: nobody else sees it, and it is gone with them, also when they are killed. A mount that others see would
outlive a killed test and stand in the way of whoever cleans the temporary directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNS = 0x00020000
_own: set[int] = set()
"""Processes whose test thread has a mount namespace of its own (at most one entry: this process)."""


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A tmpfs of ``size`` (``6m``) at ``place``, which is made. Skips the test, with the reason, where it cannot be."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: a small file system needs root to mount it")
    _unshare()
    place.mkdir()
    options = f"size={size},mode=0700"
    done = _run("mount", "-t", "tmpfs", "-o", options, "underway-test", str(place))
    if done.returncode != 0:
        pytest.skip(f"NOT RUN: a small file system cannot be mounted here ({done.stderr.strip()})")
    try:
        yield place
    finally:
        _run("umount", "-l", str(place)).check_returncode()


def _unshare() -> None:
    if os.getpid() in _own:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        pytest.skip(f"NOT RUN: no mount namespace of its own ({os.strerror(ctypes.get_errno())})")
    _own.add(os.getpid())
    done = _run("mount", "--make-rprivate", "/")
    if done.returncode != 0:
        raise RuntimeError(f"mounts of this namespace cannot be made private: {done.stderr.strip()}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
