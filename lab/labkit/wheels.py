"""What hosts are given beside the runner itself, since they reach no index (docs/how-to/ssh.md): pinned as all else."""

from __future__ import annotations

import sys
from pathlib import Path

from labkit.environments import LOCKS
from labkit.layers import digest
from labkit.locks import PYTHON
from labkit.mounts import remove_tree
from labkit.places import PROJECT, Places
from labkit.shell import run, say

NAME = "runner"
LOCK = LOCKS / f"{NAME}.txt"
ASKED = ("ansible-core", "cryptography", "securesystemslib")


def write_lock() -> Path:
    """Resolve the newest packages for the hosts' Python, and write the lock file."""
    run(
        PROJECT / ".venv/bin/uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
        "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--output-file", LOCK, "-",
        stdin="\n".join(ASKED) + "\n",
    )  # fmt: skip
    return LOCK


def wheels(places: Places) -> Path:
    """The directory of the wheels; downloaded once for each lock file."""
    home = places.cache / f"wheels-{digest(LOCK.read_text(), PYTHON)}"
    if not (home / "complete").exists():
        remove_tree(home)
        home.mkdir(parents=True)
        say("downloading what the runner needs on the hosts")
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps",
            "--python-version", PYTHON, "--dest", home, "--requirement", LOCK,
        )  # fmt: skip
        (home / "complete").touch()
    return home
