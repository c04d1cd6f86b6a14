"""What closes the output of tests: what they measured, and what was not run.

Measured: ``record_property("figures", TEXT)``, told also where the test passed. Not run: tests that were skipped for a
reason that begins with ``NOT RUN:``; of a tier of which nothing was run, nothing is known. ``UNDERWAY_NOT_RUN`` names a
file that is told of them as well, for ``.ci/run``, which runs tests several times.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of one group tell one story: a pytest-xdist that divides them among processes must not pass unnoticed."""
    if config.getoption("loadgroup", False):  # set in the processes that run the tests
        for item in items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"{item.nodeid}: pytest-xdist does not keep its group together with this pytest"
                )


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after pytest's own short summary: this closes the output
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
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
    missed = list(not_run(terminalreporter))
    if missed:
        terminalreporter.section("NOT RUN", red=True, bold=True)
        for line in missed:
            terminalreporter.write_line(line)
        if told_to := os.environ.get("UNDERWAY_NOT_RUN"):
            with Path(told_to).open("a") as file:
                file.write("".join(f"{line}\n" for line in missed))


def not_run(reporter: pytest.TerminalReporter) -> Iterator[str]:
    """A line for each tier and reason: how many of its tests were not run, and why."""
    ran: Counter[str] = Counter()
    missed: Counter[tuple[str, str]] = Counter()
    for word in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(word, []):
            tier = "/".join(report.nodeid.split("::")[0].split("/")[:2])
            reason = str(report.longrepr[2]) if word == "skipped" and isinstance(report.longrepr, tuple) else ""
            _, mark, why = reason.partition("NOT RUN: ")
            if mark:
                missed[tier, why] += 1
            else:
                ran[tier] += 1
    for (tier, why), number in sorted(missed.items()):
        of = f"{number} of its tests" if ran[tier] else f"all of its tests ({number}): this tier counts as not run"
        yield f"{tier}: {of}: {why}"
