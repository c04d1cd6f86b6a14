"""A store that hands everything on to another one: what stands between says only what it does otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from underway.store.base import Item, Listing, Store


class Through:
    """See ``store.base.Store``; closing it closes the store behind."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> Item | None:
        """See Store."""
        return self._store.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        """See Store."""
        return self._store.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """See Store."""
        return self._store.commit(expect, writes)

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        """See Store."""
        return self._store.watch(prefix, since, timeout)

    def beat(self, name: str, ttl: float) -> None:
        """See Store."""
        self._store.beat(name, ttl)

    def alive(self) -> dict[str, float]:
        """See Store."""
        return self._store.alive()

    def close(self) -> None:
        """See Store."""
        self._store.close()
