"""What tests measured, printed at the end also where they passed: ``record_property("figures", TEXT)``."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        str(value)
        for report in (*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", []))
        if getattr(report, "when", "") == "call"
        for name, value in getattr(report, "user_properties", [])
        if name == "figures"
    ]
    if told:
        terminalreporter.section("figures")
        for text in sorted(told):
            terminalreporter.write_line(text)
