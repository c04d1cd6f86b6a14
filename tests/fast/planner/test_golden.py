"""Plans as an operator reads them, kept word for word.

After a change that is meant: ``python -m fast.planner.test_golden`` in ``tests`` writes them anew; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fast.planner.cases import CASES
from underway.core.model.base import canonical, decode
from underway.core.model.plan import Plan
from underway.core.preview import tree

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CASES)
def test_tree_is_as_kept(name: str) -> None:
    lines = tree(CASES[name](), width=80)
    assert "\n".join(lines) + "\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", CASES)
def test_plan_survives_being_saved(name: str) -> None:
    made = CASES[name]()
    again = decode(canonical(made), Plan)
    assert again == made
    assert again.digest() == made.digest()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def write() -> None:
    """Write all golden files anew."""
    GOLDEN.mkdir(exist_ok=True)
    for name, case in CASES.items():
        (GOLDEN / f"{name}.txt").write_text("\n".join(tree(case(), width=80)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
