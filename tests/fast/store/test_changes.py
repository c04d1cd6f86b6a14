"""What changed between two looks, as the repository tells it, is what comparing all records finds."""

from __future__ import annotations

import random

import pytest

from fast.engine.made import RUN, Bench, plan_of, works
from underway.records.seen import ChangeLog, Seen


def compared(old: Seen, new: Seen) -> set[str]:
    return {name for name, record in new.actions.items() if old.actions.get(name) is not record}


@pytest.mark.parametrize("seed", range(5))
def test_it_names_what_differs(seed: int) -> None:
    chance = random.Random(seed)
    here = Bench(plan_of(8, limit=3), at_once=works)
    looks = [here.repository.snapshot(RUN)]
    for _ in range(40):
        here.coordinator.tick()
        if chance.random() < 0.5:
            looks.append(here.repository.snapshot(RUN))
    found = 0
    for first, old in enumerate(looks):
        for new in looks[first:]:
            changes = new.changes(old.revision)
            assert changes is not None
            assert compared(old, new) <= set(changes.actions)
            found += len(changes.actions)
    assert found > 0


def test_what_is_not_known_is_not_guessed() -> None:
    here = Bench(at_once=works)
    seen = here.repository.snapshot(RUN)
    assert seen.changes(-1) is None
    assert seen.changes(seen.revision + 1) is None, "a look of another store"


def test_a_long_log_forgets_its_beginning_and_says_so() -> None:
    log = ChangeLog(1)
    for revision in range(2, 250_000):
        log.add(revision, [("actions", f"a{revision % 7}")])
    assert log.since(5) is None
    late = log.since(249_990)
    assert late is not None
    assert len(late.actions) == 7
