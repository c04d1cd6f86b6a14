"""A scenario for ``underway simulate``: how long work takes, and what fails.

::

    durations:            # seconds one host's pass takes; a number, or two for a uniform draw
      control/keystone: 40s
      data/compute: [1m, 5m]
      data/compute/cmp7: 30m
    fail:                 # the first time that a host does this step, it fails
      - {host: cmp3, step: nova-compute.upgrade.restart}
    unhealthy:            # hosts that are down when the run begins
      - cmp9
    retry: true           # an operator retries what failed after a minute (default: nobody does)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underway.config.located import Document, read_document
from underway.config.values import duration
from underway.core.model.plan import Plan
from underway.core.nearest import nearest
from underway.errors import FileProblems, Problem

KEYS = ("durations", "fail", "unhealthy", "retry")


@dataclass(frozen=True, slots=True)
class Scenario:
    """``durations``: pass id or action id -> (shortest, longest) seconds. ``fail``: (host, step id) pairs."""

    durations: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fail: frozenset[tuple[str, str]] = frozenset()
    unhealthy: tuple[str, ...] = ()
    retry: bool = False


def load_scenario(path: Path | None, plan: Plan) -> Scenario:
    """Read a scenario for a plan; None is the empty one. Raises FileProblems with every mistake."""
    raise NotImplementedError
