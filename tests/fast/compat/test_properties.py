"""Random fleets that really work, with two runs at once, faults and operators: limits and order always hold.

Each way to break a rule that is named below is caught by the same judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.compat.made import KEYS
from fast.compat.world import World, Wrap, violations
from underway_agent.kv.base import Kv

HISTORIES = 30
SEARCHED = 300


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_d22_limits_and_order_hold_whatever_happens(seed: int) -> None:
    assert violations(seed) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(min_value=1000, max_value=10**9))
def test_the_same_for_drawn_histories(seed: int) -> None:
    assert violations(seed, steps=30) == []


class Passing:
    """A client that a mutant stands before."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> Any:
        return await self._kv.view(keys, prefixes)

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        return await self._kv.txn(expect, writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kv, name)


class Blind(Passing):
    """TRUST D6: writes whatever others have written since the look."""

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        return await self._kv.txn({}, writes)


class Skewed(Passing):
    """Compares the keys that it writes, and not the record: write skew."""

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        return await self._kv.txn({key: index for key, index in expect.items() if key != KEYS.record}, writes)


class Forgetful(Passing):
    """P7: knows of a host's work by its key alone, so that taking keys away frees slots."""

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> Any:
        found = await self._kv.view(keys, prefixes)
        items = tuple(replace(item, value=b"{}") if item.key == KEYS.record else item for item in found.items)
        return replace(found, items=items)


KNOWN = {"blind": 18, "skewed": 93, "forgetful": 14}
"""A history that was seen to catch each; it is tried first, the search is the fallback."""

MUTANTS: dict[str, Callable[[Kv], Any]] = {"blind": Blind, "skewed": Skewed, "forgetful": Forgetful}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(name: str) -> None:
    wrap: Wrap = MUTANTS[name]
    for number, seed in enumerate([KNOWN[name], *range(SEARCHED)]):
        found = violations(seed, wrap, to_the_end=False)
        if found:
            print(f"{name}: killed after {number + 1} histories: {found[0]}")
            return
    pytest.fail(f"{name}: not killed in {SEARCHED} histories")


def test_the_histories_bite() -> None:
    """Rounds do conflict, and hosts do work."""
    worlds = [World(seed) for seed in range(5)]
    for world in worlds:
        for _ in range(60):
            world.step()
    assert sum(world.begun for world in worlds) > 10
    assert sum(world.conflicts for world in worlds) > 0
    assert sum(world.rounds for world in worlds) > 50
