"""A store that misbehaves for one process: stale looks, lost replies, and the end or a stop of the process itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from underway.errors import StoreUnavailable
from underway.sim.through import Through
from underway.sim.world import World
from underway.store.base import Listing, Store


class Killed(BaseException):
    """The simulated process was killed here. Not an Exception: nothing in the program may catch it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Chances per call: ``kill_before``/``kill_after`` a commit, ``lost`` (committed, but the reply is lost),
    ``refused`` (not committed, unavailable), ``blocked`` (a listing fails), ``stale`` (a listing that shows nothing
    newer than the last one), ``frozen`` (SIGSTOP before or after a call: the world goes on meanwhile)."""

    kill_before: float = 0.0
    kill_after: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    blocked: float = 0.0
    stale: float = 0.0
    frozen: float = 0.0


def _never() -> None:
    """Nothing stops this process."""


class FaultyStore(Through):
    """One process's view of a store that others use as well; ``freeze`` stops the process for a while."""

    def __init__(self, store: Store, world: World, trouble: Trouble, freeze: Callable[[], None] = _never) -> None:
        super().__init__(store)
        self._world, self.trouble, self._freeze = world, trouble, freeze

    def list(self, prefix: str, since: int = 0) -> Listing:
        """See Store; a stale one says that nothing was written since."""
        if self._world.odds(self.trouble.blocked, "store-blocked"):
            raise StoreUnavailable("simulated: the store did not answer a look")
        if since and self._world.odds(self.trouble.stale, "stale-look"):
            return Listing((), since)
        found = self._store.list(prefix, since)
        if self.trouble.frozen:
            self._freeze()  # what was seen is old when it wakes
        return found

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """See Store."""
        odds, trouble = self._world.odds, self.trouble
        if trouble.frozen:
            self._freeze()  # decided, not yet written
        if odds(trouble.kill_before, "kill-before-commit"):
            raise Killed
        if odds(trouble.refused, "store-refused"):
            raise StoreUnavailable("simulated: the store did not answer, nothing was written")
        revision = self._store.commit(expect, writes)
        if odds(trouble.kill_after, "kill-after-commit"):
            raise Killed
        if odds(trouble.lost, "store-reply-lost"):
            raise StoreUnavailable("simulated: the reply was lost, all was written")
        if self.trouble.frozen:
            self._freeze()  # written, not yet acted upon
        return revision

    def close(self) -> None:
        """The shared store stays open."""
