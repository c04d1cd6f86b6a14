"""Five reference layouts: they validate without a warning, plan as their golden files say, and serve all the while."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.layouts import HOME, NAMES, made, worst


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_of_a_layout_is_the_golden_one(tmp_path: Path, name: str) -> None:
    """Where this fails on purpose: ``python -m support.layouts`` in ``tests``, and read what has changed."""
    text, plan, simulated, found = made(name, tmp_path)
    assert [str(problem) for problem in found.problems] == []
    assert (simulated.ended, simulated.violations) == ("done", [])
    promised = {loss.service: loss.lost for loss in plan.losses}
    for service, most in worst(simulated).items():
        assert most <= promised[service], f"{most} of {service} were down at once, the plan says {promised[service]}"
        size = simulated.sizes[f"service {service}"]
        assert most < size or size == 1, f"all {size} of {service} were down at once"
    assert text == (HOME / f"{name}.txt").read_text()


def test_there_are_five() -> None:
    assert NAMES == ["all-in-one", "controllers", "edge", "hyperconverged", "split"]
