"""A key-value server in memory, for tests and simulations: the contract of ``base``, and faults by script."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Callable, Optional

from underway_agent.kv.base import (
    ABSENT,
    KvDenied,
    KvFull,
    KvItem,
    KvRefused,
    KvUnavailable,
    KvView,
    check_parts,
    parts_of,
)

STEP = 3
"""By how much the index grows with a change: other keys of a real server change too."""


class MemoryServer:
    """What several clients, in any threads and event loops, share. ``clock``: the server's own, in seconds.

    ``script``: a name of a fault for each of the next transactions, taken from the left: ``""`` none, ``lost`` (the
    write does not arrive, and that is not known), ``unknown`` (it does, and that is not known), ``full``, ``denied``,
    ``refused``. ``down``: every call raises ``KvUnavailable``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, index: int = 7) -> None:
        self.clock = clock
        self.index = index
        self.items: dict[str, KvItem] = {}
        self.leases: dict[str, float] = {}
        self.script: deque[str] = deque()
        self.down = False
        self.lock = threading.Lock()
        self._waiters: list[tuple[str, Callable[[], object]]] = []

    def read(self, keys: Sequence[str], prefixes: Sequence[str]) -> KvView:
        """The items asked for, as of now."""
        with self.lock:
            self._expire()
            found = {key: self.items[key] for key in keys if key in self.items}
            for prefix in prefixes:
                found.update({key: item for key, item in self.items.items() if key.startswith(prefix)})
            return KvView(tuple(found[key] for key in sorted(found)), self.index, self.clock())

    def write(self, expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> Optional[int]:
        """Compare and write; None where an expectation does not hold."""
        with self.lock:
            self._expire()
            for key, index in expect.items():
                if (self.items[key].index if key in self.items else ABSENT) != index:
                    return None
            if not writes:
                return self.index
            self.index += STEP
            for key, value in writes.items():
                if value is None:
                    self.items.pop(key, None)
                else:
                    self.items[key] = KvItem(key, value, self.index)
            woken = [wake for prefix, wake in self._waiters if any(key.startswith(prefix) for key in writes)]
            index = self.index
        for wake in woken:
            wake()
        return index

    def hold(self, key: str, value: bytes, ttl: float) -> Optional[int]:
        """Write a key that must be absent and goes after ``ttl`` seconds; its index, or None where it is there."""
        index = self.write({key: ABSENT}, {key: value})
        if index is not None:
            self.leases[key] = self.clock() + ttl
        return index

    def renew(self, key: str, index: int, ttl: float) -> bool:
        """Give a held key ``ttl`` seconds more; False where it is gone or another's."""
        with self.lock:
            self._expire()
            held = key in self.items and self.items[key].index == index
            if held:
                self.leases[key] = self.clock() + ttl
            return held

    def _expire(self) -> None:
        now = self.clock()
        for key in [key for key, until in self.leases.items() if until < now]:
            del self.leases[key]
            if self.items.pop(key, None) is not None:
                self.index += STEP

    def restore(self, items: Mapping[str, KvItem], index: int) -> None:
        """Put older contents back, as from a backup; the index goes back with them."""
        with self.lock:
            self.items, self.index = dict(items), index
            woken = [wake for _, wake in self._waiters]
        for wake in woken:
            wake()

    def changed(self, prefix: str, index: int) -> bool:
        """Whether something under ``prefix`` may have changed after ``index`` (deletions are not remembered)."""
        return self.index < index or any(
            item.index > index for key, item in self.items.items() if key.startswith(prefix)
        )

    def watch(self, prefix: str, index: int, wake: Callable[[], object]) -> bool:
        """Call ``wake`` at changes under ``prefix``; True where there was one already, and then nothing is called."""
        with self.lock:
            if self.changed(prefix, index):
                return True
            self._waiters.append((prefix, wake))
            return False

    def unwatch(self, wake: Callable[[], object]) -> None:
        """Call it no more."""
        with self.lock:
            self._waiters = [one for one in self._waiters if one[1] is not wake]


class MemoryKv:
    """One client of a ``MemoryServer``."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self._closed = False

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        await self._ask()
        check_parts(len(set(keys)) + len(set(prefixes)))
        return self.server.read(keys, prefixes)

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> Optional[int]:
        await self._ask()
        check_parts(parts_of(expect, writes))
        fault = self.server.script.popleft() if self.server.script else ""
        if fault == "lost":
            raise KvUnavailable("memory: the write was lost; it may or may not have happened")
        if fault == "full":
            raise KvFull("memory: no space")
        if fault == "denied":
            raise KvDenied("memory: not allowed")
        if fault == "refused":
            raise KvRefused("memory: not like this")
        index = self.server.write(expect, writes)
        if fault == "unknown":
            raise KvUnavailable("memory: no answer; the write may or may not have happened")
        return index

    async def wait(self, prefix: str, index: int, timeout: float) -> int:
        self.check()
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # that loop has ended, and its waiter with it
                loop.call_soon_threadsafe(woken.set)

        if not self.server.watch(prefix, index, wake):
            try:
                await asyncio.wait_for(woken.wait(), timeout)
            except asyncio.TimeoutError:
                return index
            finally:
                self.server.unwatch(wake)
        return self.server.index

    async def lease(self, key: str, value: bytes, ttl: float) -> Optional[MemoryLease]:
        self.check()
        index = self.server.hold(key, value, ttl)
        return None if index is None else MemoryLease(self, key, index, ttl)

    async def warnings(self) -> Sequence[str]:
        return ()

    async def close(self) -> None:
        self._closed = True

    async def _ask(self) -> None:
        self.check()
        await asyncio.sleep(0)  # as with a real server, others get their turn

    def check(self) -> None:
        """Raise where no server is to be had."""
        if self._closed:
            raise KvUnavailable("memory: the connection was closed by us")
        if self.server.down:
            raise KvUnavailable("memory: no server answers")


class MemoryLease:
    """A key bound to whoever renews it."""

    def __init__(self, kv: MemoryKv, key: str, index: int, ttl: float) -> None:
        self.key, self.index, self.ttl = key, index, ttl
        self._kv = kv

    async def renew(self) -> bool:
        self._kv.check()
        return self._kv.server.renew(self.key, self.index, self.ttl)

    async def end(self) -> None:
        self._kv.check()
        if self._kv.server.renew(self.key, self.index, self.ttl):
            self._kv.server.write({self.key: self.index}, {self.key: None})
            self._kv.server.leases.pop(self.key, None)
