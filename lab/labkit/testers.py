"""The environment of what tests the cloud from this machine: Tempest with stestr, pytest with testinfra.

It is of this machine's Python, not of the hosts', and of its own: Tempest's libraries are not Underway's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from labkit.environments import LOCKS
from labkit.layers import digest
from labkit.mounts import remove_tree
from labkit.places import PROJECT, Places
from labkit.shell import run, step

NAME = "tempest"
LOCK = LOCKS / f"{NAME}.txt"
VERSION = "47.0.0"
"""Of Tempest: it has no branches, and says itself that it tests every release that is maintained."""
# setuptools below 81 still brings pkg_resources, which libraries of Tempest's ask for
ASKED = (f"tempest=={VERSION}", "stestr", "pytest", "pytest-testinfra", "setuptools<81")


def write_lock() -> Path:
    """Resolve the newest packages for Python 3.11 and later, and write the lock file."""
    run(
        PROJECT / ".venv/bin/uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--universal",
        "--python-version", "3.11", "--output-file", LOCK, "-",
        stdin="\n".join(ASKED) + "\n",
    )  # fmt: skip
    return LOCK


def built(places: Places) -> Path:
    """The environment, made once in the cache; its programs are in ``bin``. Raises ``LabError`` with uv's words."""
    target = places.cache / f"{NAME}-{digest(LOCK.read_text(), sys.version_info[:2])}"
    if not (target / "complete").exists():
        remove_tree(target)
        uv = PROJECT / ".venv/bin/uv"
        with step(f"environment of Tempest {VERSION}"):
            run(uv, "venv", "--quiet", "--python", sys.executable, target)
            run(uv, "pip", "install", "--quiet", "--no-deps", "--compile-bytecode", "--python", target / "bin/python",
                "--requirement", LOCK)  # fmt: skip
            (target / "complete").touch()
    return target
