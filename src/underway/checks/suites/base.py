"""What every kind of suite is given, and gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from underway.core.model.check import Suite, SuiteResult


@dataclass(frozen=True, slots=True)
class Around:
    """``release``: what the cluster runs now. ``logs``: a directory for what programs say. ``saved``: the directory in
    which each suite has one for what it must remember from one run to the next. ``wall``: Unix seconds.

    ``known_hosts``: the file of the hosts' keys, for suites that speak SSH; None: as ssh itself finds them.
    """

    release: str
    logs: Path
    saved: Path
    wall: Callable[[], float]
    known_hosts: Path | None = None


RunSuite = Callable[[Suite, Around], SuiteResult]
"""Runs a suite to its end, within its time-out. A suite that cannot be run is a ``problem``, never an exception."""


def plain(id_: str) -> str:
    """The id of a test without its tags: ``a.B.c[id-1,smoke]`` is ``a.B.c``."""
    return id_.partition("[")[0] if id_.endswith("]") else id_
