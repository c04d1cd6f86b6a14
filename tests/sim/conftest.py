"""The figures of all chunks together, at the end of the run (also of one that xdist divided)."""

from __future__ import annotations

import json
from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    killed: list[tuple[str, int]] = []
    mutants = 0
    for report in (*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])):
        # The hook sees every tier's reports when they run in one go, and a property's name is anyone's.
        if "tests/sim/" not in report.nodeid:
            continue
        for name, value in getattr(report, "user_properties", []):
            if name == "schedules":
                counts.update(json.loads(value))
            elif name == "killed-by-seed":
                killed.append((report.nodeid.partition("[")[2].rstrip("]"), int(value)))
        mutants += "test_mutant_is_killed" in report.nodeid and report.when == "call"
    if counts:
        terminalreporter.section("schedules of faults")
        first = {name: counts.pop(name, 0) for name in ("schedules", "violations")}
        terminalreporter.write_line(", ".join(f"{count} {name}" for name, count in first.items()))
        terminalreporter.write_line(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if mutants:
        terminalreporter.section("mutants")
        terminalreporter.write_line(f"{len(killed)} of {mutants} killed, by seeds:")
        terminalreporter.write_line(", ".join(f"{name} {seed}" for name, seed in sorted(killed)))
