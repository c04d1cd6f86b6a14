"""A store in memory: for tests, the simulator and ``underway simulate``. Nothing survives the process."""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping

from underway.errors import Conflict, StoreUnavailable
from underway.store.base import ABSENT, Item, Listing
from underway.store.limits import check_commit, check_key, check_prefix

_AFTER_ALL = "\x7f"  # sorts after every character that a key may have


class MemoryStore:
    """Keys and values in a dictionary, with the promises of ``store/base.py`` except durability.

    Thread-safe: several threads, or several coordinators of one simulation, may share one. ``clock`` is
    only for ``beat`` and ``alive`` (seconds, never goes back); ``epoch`` is the random name of this store.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, epoch: str = "") -> None:
        self.epoch = epoch or secrets.token_hex(16)
        self._clock = clock
        self._changed = threading.Condition()
        self._items: dict[str, Item] = {}
        self._keys: list[str] = []
        self._revision = 0
        # Every write in order of revisions, deletions too; an entry that a later write made stale is skipped when
        # read and dropped by _compact, so that a look at what changed costs what changed.
        self._log: list[tuple[int, str]] = []
        self._compact_at = 1024
        self._beats: dict[str, float] = {}
        self._closed = False

    def get(self, key: str) -> Item | None:
        check_key(key)
        with self._changed:
            self._check_open()
            return self._items.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        check_prefix(prefix)
        with self._changed:
            self._check_open()
            if since <= 0:
                keys = self._keys[self._first(prefix) : bisect_left(self._keys, prefix + _AFTER_ALL)]
                return Listing(tuple(self._items[key] for key in keys), self._revision)
            found: dict[str, Item] = {}
            for revision, key in self._log[bisect_right(self._log, (since, _AFTER_ALL)) :]:
                if key.startswith(prefix):
                    item = self._items.get(key)
                    if item is not None and item.revision == revision:
                        found[key] = item
            return Listing(tuple(found[key] for key in sorted(found)), self._revision)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        check_commit(expect, writes)
        with self._changed:
            self._check_open()
            for key, revision in expect.items():
                item = self._items.get(key)
                found = ABSENT if item is None else item.revision
                if found != revision:
                    raise Conflict(key, revision, found)
            if not writes:
                return self._revision
            self._revision += 1
            for key, value in writes.items():
                self._write(key, value)
            self._compact()
            self._changed.notify_all()
            return self._revision

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        check_prefix(prefix)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._touched(prefix, since), timeout)
            self._check_open()
            return max(self._revision, since)

    def beat(self, name: str, ttl: float) -> None:
        check_key(name)
        with self._changed:
            self._check_open()
            self._beats[name] = self._clock() + ttl

    def alive(self) -> dict[str, float]:
        with self._changed:
            self._check_open()
            now = self._clock()
            return {name: until - now for name, until in sorted(self._beats.items())}

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _first(self, prefix: str) -> int:
        return bisect_left(self._keys, prefix)

    def _write(self, key: str, value: bytes | None) -> None:
        if value is None:
            if self._items.pop(key, None) is not None:
                del self._keys[self._first(key)]
        else:
            if key not in self._items:
                insort(self._keys, key)
            self._items[key] = Item(key, value, self._revision)
        insort(self._log, (self._revision, key))

    def _touched(self, prefix: str, since: int) -> bool:
        after = bisect_right(self._log, (since, _AFTER_ALL))
        return any(key.startswith(prefix) for _, key in self._log[after:])

    def _compact(self) -> None:
        if len(self._log) < self._compact_at:
            return
        latest: dict[str, int] = {key: revision for revision, key in self._log}
        self._log = sorted((revision, key) for key, revision in latest.items())
        self._compact_at = 2 * len(self._log) + 1024

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store was closed")
