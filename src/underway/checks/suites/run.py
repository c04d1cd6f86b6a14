"""The one map from kinds of suites to what runs them. Resources have a state of their own: ``resource``."""

from __future__ import annotations

from underway.checks.suites.base import Around, RunSuite
from underway.checks.suites.plain import run_command, run_probe
from underway.checks.suites.tempest import run_tempest
from underway.checks.suites.testinfra import run_testinfra
from underway.core.model.check import Suite, SuiteKind, SuiteResult

_RUNS: dict[SuiteKind, RunSuite] = {
    "command": run_command,
    "probe": run_probe,
    "tempest": run_tempest,
    "testinfra": run_testinfra,
}


def run_suite(suite: Suite, around: Around) -> SuiteResult:
    """Run a suite that has no state of its own."""
    return _RUNS[suite.kind](suite, around)
