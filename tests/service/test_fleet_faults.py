"""Fleets under faults: agents, three coordinators and three servers of a store, judged by what the hosts did.

Two seeds here, 200 in ``scripts/nightly`` (``UNDERWAY_FLEET_SEEDS``), in a process of their own that ends all it
started. What befalls them: ``support/fleet_schedule.py``; what is judged: ``support/fleet_judge.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from support.fleet_schedule import KINDS, STORES, schedule
from support.scenes import play

pytestmark = [pytest.mark.service, pytest.mark.slow]

SEEDS = int(os.environ.get("UNDERWAY_FLEET_SEEDS", "2"))


def test_no_promise_is_broken(record_property: Callable[[str, object], None]) -> None:
    words = ["--seeds", str(SEEDS), "--jobs", "2", *(["--write"] if len(KINDS) * len(STORES) <= SEEDS else [])]
    output = play("support.fleet_main", *words)
    said = json.loads(output.splitlines()[-1])
    record_property("figures", f"fleets: {output.splitlines()[-1]}")
    assert said["seeds"] == SEEDS and said["violations"] == said["lost steps"] == said["repeated steps"] == 0
    assert sum(said["faults"].values()) >= SEEDS, "the faults did not bite"
    if len(KINDS) * len(STORES) <= SEEDS:
        assert set(said["by main fault"]) == set(KINDS)


def test_a_schedule_is_its_seed() -> None:
    assert [schedule(seed) for seed in range(300)] == [schedule(seed) for seed in range(300)]
    assert {(one.store, one.main) for one in map(schedule, range(30))} == {(a, b) for a in STORES for b in KINDS}
    assert schedule(7, "etcd", "disk full").main == "disk full"
