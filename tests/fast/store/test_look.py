"""A first look is of one moment, also where a store answers a listing with what it knew a while ago."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fast.engine.made import RUN, Bench
from underway.errors import StoreUnavailable
from underway.records.repository import Repository
from underway.sim.through import Through
from underway.store.base import Item, Listing, Store


class Lagging(Through):
    """A store of which listings since a revision know nothing new while it lags, and ``meanwhile`` writes once."""

    def __init__(self, store: Store, meanwhile: Callable[[], object]) -> None:
        super().__init__(store)
        self._meanwhile: Callable[[], object] | None = meanwhile
        self.lags = True

    def list(self, prefix: str, since: int = 0) -> Listing:
        return Listing((), since) if since and self.lags else self._store.list(prefix, since)

    def get(self, key: str) -> Item | None:
        if self._meanwhile is not None:
            write, self._meanwhile = self._meanwhile, None
            write()
        return self._store.get(key)


def test_a_hold_is_not_hidden_behind_a_newer_admission() -> None:
    here = Bench()
    here.settle()
    lagging = Lagging(here.repository.store, lambda: here.control.hold("*", "no"))
    late = Repository(lagging, here.plan.cluster)
    with pytest.raises(StoreUnavailable, match="an older state than a moment before"):
        late.snapshot(RUN)
    lagging.lags = False
    assert "*" in late.snapshot(RUN).holds
