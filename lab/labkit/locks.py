"""Lock files: every package of a release's environment, pinned. Made here, kept in the repository."""

from __future__ import annotations

from pathlib import Path

from labkit.environments import LOCKS
from labkit.places import PROJECT
from labkit.shell import run
from labkit.topology import VERSIONS

PYTHON = "3.13"  # trixie's
# What every release needs beside the services themselves: the database's driver, memcached's, the WSGI server.
# setuptools below 81 still brings pkg_resources, which packages of 2025.1 may ask for.
BESIDE = ("PyMySQL", "python-memcached", "pymemcache", "gunicorn", "setuptools<81")


def requirements(release: str) -> list[str]:
    """What is asked for by name in a release's environment."""
    return [*(f"{name}=={version}" for name, version in VERSIONS[release].items()), *BESIDE]


def write(release: str, constraints: Path) -> Path:
    """Resolve a release under upstream's constraints for it (``upper-constraints.txt``) and write its lock file.

    Raises ``LabError`` with the resolver's own words where nothing fits.
    """
    LOCKS.mkdir(exist_ok=True)
    target = LOCKS / f"{release}.txt"
    run(
        PROJECT / ".venv/bin/uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
        "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28",
        "--constraint", constraints, "--output-file", target, "-",
        stdin="\n".join(requirements(release)) + "\n",
    )  # fmt: skip
    return target
