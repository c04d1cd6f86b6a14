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

ASKED = {
    "runner": ("ansible-core", "cryptography", "securesystemslib"),
    "agent": ("aiohttp", "cryptography"),
}
"""What each of our programs on a host needs."""


def write_lock(name: str) -> Path:
    """Resolve the newest packages for the hosts' Python, and write the lock file."""
    lock = LOCKS / f"{name}.txt"
    run(
        PROJECT / ".venv/bin/uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
        "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--output-file", lock, "-",
        stdin="\n".join(ASKED[name]) + "\n",
    )  # fmt: skip
    return lock


def wheels(places: Places, name: str = "runner") -> Path:
    """The directory of the wheels; downloaded once for each lock file."""
    lock = LOCKS / f"{name}.txt"
    home = places.cache / f"wheels-{digest(lock.read_text(), PYTHON)}"
    if not (home / "complete").exists():
        remove_tree(home)
        home.mkdir(parents=True)
        say(f"downloading what the {name} needs on the hosts")
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps",
            "--python-version", PYTHON, "--dest", home, "--requirement", lock,
        )  # fmt: skip
        (home / "complete").touch()
    return home


def ours(places: Places, name: str) -> Path:
    """The wheel of one of our own programs, from the sources as they are now."""
    home = places.run / f"wheel-{name}"
    remove_tree(home)
    run(PROJECT / ".venv/bin/uv", "build", "--quiet", "--wheel", "--out-dir", home, PROJECT / name)
    (made,) = home.glob("*.whl")
    return made
