"""Every mutant is killed: the judge sees, within so many schedules, the very promise broken that the mutant breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sim.mutants import MUTANTS

SEEDS = 1500
"""Schedules within which each mutant must be killed; most are within fifty."""

KNOWN = {
    "a replaced host does not count": 1528,
    "host takes any token": 1414,
    "compare-and-set on the host's key only": 1387,
    "verdicts are not fenced": 2911,
    "percentages count who was dropped": 798,
    "abort is ignored": 164,
    "a timer drops hosts": 93,
    "D3 silent hosts ignored": 149,
    "lost journal is a fresh one": 143,
}
"""Mutants that take long to kill -> a seed that was seen to; tried first, the search is the fallback."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(name: str, record_property: Callable[[str, object], None]) -> None:
    mutant = MUTANTS[name]
    tries = [*([KNOWN[name]] if name in KNOWN else []), *range(SEEDS)]
    for number, seed in enumerate(tries, start=1):
        broken = [text for text in mutant.run(seed).violations if text.startswith(mutant.breaks)]
        if broken:
            record_property("killed-by-seed", seed)
            print(f"{name}: killed by seed {seed}, schedule {number}: {broken[0]}")
            assert not mutant.right(seed).violations, "the right program breaks it, too: the judge is wrong"
            return
    pytest.fail(f"{name}: survived {len(tries)} schedules")
