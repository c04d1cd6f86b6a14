"""A store that misbehaves for one process: stale looks, lost replies, and the end of the process around a commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from underway.errors import StoreUnavailable
from underway.sim.world import World
from underway.store.base import Item, Listing, Store


class Killed(BaseException):
    """The simulated process was killed here. Not an Exception: nothing in the program may catch it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Chances per call: ``kill_before``/``kill_after`` a commit, ``lost`` (committed, but the reply is lost),
    ``refused`` (not committed, unavailable), ``stale`` (a listing that shows nothing newer than the last one)."""

    kill_before: float = 0.0
    kill_after: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    stale: float = 0.0


class FaultyStore:
    """One process's view of a store that others use as well."""

    def __init__(self, store: Store, world: World, trouble: Trouble) -> None:
        self._store, self._world, self.trouble = store, world, trouble

    def get(self, key: str) -> Item | None:
        """See Store."""
        return self._store.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        """See Store; a stale one says that nothing was written since."""
        if since and self._chance(self.trouble.stale):
            return Listing((), since)
        return self._store.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """See Store."""
        if self._chance(self.trouble.kill_before):
            raise Killed
        if self._chance(self.trouble.refused):
            raise StoreUnavailable("simulated: the store did not answer, nothing was written")
        revision = self._store.commit(expect, writes)
        if self._chance(self.trouble.kill_after):
            raise Killed
        if self._chance(self.trouble.lost):
            raise StoreUnavailable("simulated: the reply was lost, all was written")
        return revision

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
        """The shared store stays open."""

    def _chance(self, share: float) -> bool:
        return share > 0 and self._world.chance.random() < share
