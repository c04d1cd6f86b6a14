"""A call stays cheap: what it does not need is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEAR = {"aiohttp", "ansible", "asyncio", "jinja2", "pydantic", "rich", "yaml"}
"""Tens of milliseconds each, or none of a question's business."""


def loaded(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import underway.cli.main",
        "import underway.cli.showing, underway.app.showing, underway.cli.view",
        "import underway.cli.verbs, underway.app.place",
    ],
    ids=["main", "status", "verbs"],
)
def test_a_question_does_not_load_what_work_needs(statement: str) -> None:
    assert loaded(statement) & DEAR == set()


def test_the_test_would_notice() -> None:
    assert loaded("import underway.config.load") & DEAR
