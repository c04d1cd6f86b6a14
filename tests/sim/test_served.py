"""Schedules of faults over the store on a key-value server: event for event what they are over the one in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from underway.sim.schedule import run_schedule
from underway.sim.stage import Led, Parts
from underway.store.base import Store
from underway.store.served import ServedStore
from underway_agent.kv.memory import MemoryKv, MemoryServer

SCHEDULES = int(os.environ.get("UNDERWAY_SERVED_SCHEDULES", "40"))
LED: tuple[Led, ...] = ("", "near", "far")


@pytest.mark.parametrize("led", LED)
def test_a_schedule_is_the_same_on_a_server(led: Led) -> None:
    """Revisions are others, with holes between them: no decision, token or order may hang on them."""
    faults = 0
    for seed in range(SCHEDULES // len(LED)):
        with ExitStack() as stack:

            def served(clock: Callable[[], float], stack: ExitStack = stack) -> Store:
                store = ServedStore(MemoryKv(MemoryServer(clock)), "sim", kept=50)
                stack.callback(store.close)
                return store

            found = run_schedule(seed, Parts(store=served), led=led)
        assert found.violations == []
        assert found == run_schedule(seed, led=led), f"seed {seed} led {led!r}"
        faults += sum(found.happened.values())
    assert faults > 0
