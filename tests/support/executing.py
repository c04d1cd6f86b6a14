"""What tests of executors ask for: everything an executor reports until something is settled."""

from __future__ import annotations

import time

from underway.executors.base import Executor, Report

PATIENCE = 120.0
"""Seconds that an answer may take."""


def reports_until(executor: Executor, *kinds: str, patience: float = PATIENCE) -> list[Report]:
    """All reports up to the first of these kinds."""
    found: list[Report] = []
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for report in executor.reports(0.5):
            found.append(report)
            if report.kind in kinds:
                return found
    raise AssertionError(f"no {kinds} within {patience} s: {[(r.kind, r.text) for r in found]}")
