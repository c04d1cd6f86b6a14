"""The contract of a key-value server, which Consul, etcd and a scripted one in memory meet alike.

A server keeps keys, values and an index that grows with every change and is never used for two. Of it we ask:

1. ``view`` is linearizable and of one moment: it sees every ``txn`` that returned before it was called.
2. ``txn`` writes all or nothing; of two that expect the same index of a key, at most one succeeds.
3. ``wait`` is a wake-up only: it may come without cause; a lost one costs time, never correctness.
4. ``lease`` binds a key to whoever renews it. It tells who seems alive, and its index fences writes (name it in
   ``expect``); it is no lock: work may go on after it was lost.

Whatever goes wrong is one of the errors below, in one line of words that names the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol

ABSENT = 0
"""The index of a key that does not exist."""

MAX_OPS = 64
"""Parts of one transaction or view: Consul's ``maxTxnOps`` (etcd: 128)."""


class KvError(Exception):
    """Root of what a key-value server makes go wrong; the text is one line for people."""


class KvUnavailable(KvError):
    """No server answered in time. Of a ``txn`` that was sent the outcome is unknown: view before trying again."""


class KvDenied(KvError):
    """The server does not let us: token, user, password or certificate. Nothing was changed; trying again is no use."""


class KvFull(KvError):
    """The server takes no more data (disk or quota); reads go on.

    What met the limit first may have been written all the same (etcd does so, 3.4.23): view to know.
    """


class KvRefused(KvError):
    """The server, or the contract, does not take this request as it is. Nothing was changed."""


@dataclass(frozen=True)
class KvItem:
    """A value, and the index of the change that wrote it last (Consul: ModifyIndex, etcd: mod_revision)."""

    key: str
    value: bytes
    index: int


@dataclass(frozen=True)
class KvView:
    """What was there at one moment, in key order.

    ``index`` is one to ``wait`` from; ``time`` the server's clock, seconds since the epoch, to about a second.
    """

    items: tuple[KvItem, ...]
    index: int
    time: float

    def get(self, key: str) -> Optional[KvItem]:
        """The item of a key that was asked for; None where it does not exist."""
        for item in self.items:
            if item.key == key:
                return item
        return None


class Lease(Protocol):
    """A key of ours that goes when nobody renews it for ``ttl`` seconds (Consul: up to twice as long)."""

    key: str
    index: int
    """Of the key: grows from holder to holder, and does not change by renewing; so it fences writes."""
    ttl: float

    async def renew(self) -> bool:
        """Live on for ``ttl`` seconds; False where the lease is lost, for good."""
        ...

    async def end(self) -> None:
        """Let the key go now; harmless when the lease is lost."""
        ...


class Kv(Protocol):
    """One client of a server, for one event loop. All methods may raise ``KvUnavailable`` and ``KvDenied``."""

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        """The items of ``keys`` and those under ``prefixes`` that exist; at most ``MAX_OPS`` parts, at least one."""
        ...

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> Optional[int]:
        """Write (None deletes) if every key of ``expect`` has that index (0: must not exist).

        The index of the change, which all keys written have now (0 where only keys were deleted and the server does
        not tell); None where an expectation does not hold, and then nothing was written. At most ``MAX_OPS`` parts by
        ``parts_of``. Raises ``KvFull`` and ``KvRefused`` too.
        """
        ...

    async def wait(self, prefix: str, index: int, timeout: float) -> int:
        """Until something under ``prefix`` changes after ``index``, for ``timeout`` seconds at most; an index to go on
        from.

        Returns early when the server was lost, its history compacted or its index went back: view, then wait again.
        """
        ...

    async def lease(self, key: str, value: bytes, ttl: float) -> Optional[Lease]:
        """Hold ``key`` for ``ttl`` seconds (Consul: at least 10); None where somebody else does."""
        ...

    async def warnings(self) -> Sequence[str]:
        """What an operator should know of this server, a sentence each: a version with known faults, say."""
        ...

    async def close(self) -> None:
        """Drop connections; harmless when called twice."""
        ...


def parts_of(expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> int:
    """How many parts a transaction has: one a key, two for a key that is compared and deleted.

    Consul's own delete-cas succeeds where the key is absent, whatever was expected (seen on 1.8.7).
    """
    return len(expect.keys() | writes.keys()) + sum(
        1 for key, value in writes.items() if value is None and expect.get(key, ABSENT) != ABSENT
    )


def check_size(body: bytes, limit: int) -> bytes:
    """Refuse a request that a server would not take."""
    if len(body) > limit:
        raise KvRefused(f"a request of {len(body)} bytes: expected at most {limit} (split it)")
    return body


def check_parts(count: int) -> None:
    """Refuse a request that some server would not take."""
    if not 0 < count <= MAX_OPS:
        raise KvRefused(f"a request of {count} parts: expected 1 to {MAX_OPS} (split it)")
