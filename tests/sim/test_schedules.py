"""Ten thousand seeded schedules of faults around the real engine: no promise is broken in any (T2 of TRUST.md §6).

``UNDERWAY_SCHEDULES=200000`` runs so many (``scripts/nightly``); in chunks, so that ``pytest -n 2`` uses two
cores.
A failure names its seed and who led: ``python -c "from underway.sim.schedule import run_schedule;
print(run_schedule(SEED, led=LED))"``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable

import pytest

from underway.sim.lockplans import lockstep_plan
from underway.sim.schedule import FAULTS, run_schedule
from underway.sim.stage import Led

SCHEDULES = int(os.environ.get("UNDERWAY_SCHEDULES", "10000"))
CHUNKS = 20
LED: tuple[Led, ...] = ("", "", "near", "far")
"""Half of the schedules have coordinators that all act, the others one that leads (``engine/leadership.py``)."""

SOME = 500
"""Schedules that a chunk must have for every class of fault to be expected in it."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_promise_is_broken(chunk: int, record_property: Callable[[str, object], None]) -> None:
    happened: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    bad: list[str] = []
    seeds = range(chunk * SCHEDULES // CHUNKS, (chunk + 1) * SCHEDULES // CHUNKS)
    for seed in seeds:
        result = run_schedule(seed, led=LED[seed % len(LED)])
        happened += result.happened
        ended[result.ended] += 1
        happened["claims"] += result.claims
        happened["steps"] += result.begins
        happened["steps-again"] += result.again
        happened["schedules-with-unknown"] += result.unknowns
        if result.violations:
            bad.append(f"seed {seed} led {LED[seed % len(LED)]!r}: {'; '.join(result.violations[:3])}")
    figures = happened + Counter({f"ended-{name}": count for name, count in ended.items()})
    record_property("schedules", json.dumps({**figures, "schedules": len(seeds), "violations": len(bad)}))
    assert not bad, "\n".join(bad[:10])
    assert happened["schedules-with-unknown"] > 0
    assert happened["steps-again"] > 0
    if len(seeds) >= SOME:
        quiet = [fault for fault in (*FAULTS, "stood-by", "took-the-lead") if not happened[fault]]
        assert not quiet, f"never happened, so nothing was tested by them: {', '.join(quiet)}"
        assert ended["done"] > len(seeds) // 2
        assert ended["aborted"] > 0


def test_no_promise_is_broken_in_lockstep() -> None:
    bad: list[str] = []
    ended: Counter[str] = Counter()
    again = 0
    seeds = range(SCHEDULES // 100)
    for seed in seeds:
        result = run_schedule(seed, led=LED[seed % len(LED)], plans=lockstep_plan)
        ended[result.ended] += 1
        again += result.again
        if result.violations:
            bad.append(f"seed {seed} led {LED[seed % len(LED)]!r}: {'; '.join(result.violations[:3])}")
    assert not bad, "\n".join(bad[:10])
    assert again > 0
    assert ended["done"] > len(seeds) // 2


@pytest.mark.parametrize("seed", [3, 1883])
def test_equal_seeds_give_equal_schedules(seed: int) -> None:
    assert run_schedule(seed) == run_schedule(seed)
