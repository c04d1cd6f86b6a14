"""A lockstep without Underway: exported playbooks keep the barrier, and go step by step by tags (B4, B28)."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.test_export import lines, play
from support.numbered_plan import numbered_plan
from underway.render.export import export

pytestmark = pytest.mark.service

EXPECTED = (
    ["w1 web ask", "w1 web roll", "w2 web ask", "w2 web roll"],
    ["w1 web ask", "w1 web stop-yes", "w2 web ask", "w2 web stop-yes"],
    ["d1 db copy"],
    ["d1 db start", "w1 web ask", "w1 web start-yes", "w2 web ask", "w2 web start-yes"],
)
"""What is done at 0, 10, 11 and 12; hosts that go at once have no order among each other."""


def parts(said: list[str]) -> list[list[str]]:
    """What was said, cut into as many lines as each number has, each sorted."""
    found, rest = [], said
    for expected in EXPECTED:
        found.append(sorted(rest[: len(expected)]))
        rest = rest[len(expected) :]
    assert not rest
    return found


def test_the_whole_run_keeps_the_barrier(tmp_path: Path) -> None:
    log = tmp_path / "log"
    export(numbered_plan(str(log)), tmp_path / "out")
    play(tmp_path / "out", "site.yml")
    said = lines(log)
    assert parts(said) == [sorted(expected) for expected in EXPECTED]
    assert said[:4] in (list(EXPECTED[0]), EXPECTED[0][2:] + EXPECTED[0][:2]), "a batch of one at a time"
    assert said.index("d1 db start") < said.index("w1 web start-yes"), "needs hold at one number, too"
    play(tmp_path / "out", "passes/by-hand-compute.yml")
    assert lines(log)[-1] == "c1 agent swap"


def test_each_number_alone_by_its_tag(tmp_path: Path) -> None:
    log = tmp_path / "log"
    export(numbered_plan(str(log)), tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "in this order: number_0 number_10 number_11 number_12" in text
    seen = 0
    for number, expected in ((10, EXPECTED[1]), (12, EXPECTED[3])):
        play(tmp_path / "out", "site.yml", "--tags", f"number_{number}")
        assert sorted(lines(log)[seen:]) == sorted(expected)
        seen += len(expected)


def test_a_host_that_fails_stops_all_roles(tmp_path: Path) -> None:
    """B17: nothing of the next number starts; the setting makes the tasks of one host fail."""
    log = tmp_path / "log"
    log.mkdir()  # nothing can be written to it: every task fails
    export(numbered_plan(str(log)), tmp_path / "out")
    out = play(tmp_path / "out", "site.yml", code=2)
    assert "Begin control/front.step10" not in out
