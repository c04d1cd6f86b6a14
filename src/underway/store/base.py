"""The store: keys, values and revisions; knows nothing of upgrades.

Assumptions that every back-end must meet (``tests/contract_store.py`` is the suite):

1. One counter of revisions for the whole store; it grows by every commit (by how much is not said) and never goes back.
2. ``commit`` is atomic over all its keys and durable when it returns; of two commits that expect the same
   revision of a key, at most one succeeds.
3. ``get`` and ``list`` are linearizable: they see every commit that returned before they were called.
4. ``watch`` is a wake-up only; it may wake without cause, and a lost one costs time, never correctness.
5. ``beat``/``alive`` are hints of liveness; nothing is ever freed because one expired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

ABSENT = 0
"""The revision of a key that does not exist."""

MAX_VALUE = 288 * 1024
MAX_KEYS = 60
"""Limits of one commit that hold on every back-end; more is refused with ``StoreError``.

Consul sets them: 64 operations, of which a commit's own book-keeping takes 3, and requests of 512 KiB, in which values
are base64 (a third more) beside the keys and their list.
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A value with the revision of the commit that wrote it last."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Listing:
    """All items under a prefix in key order, and the store's revision at which they were read."""

    items: tuple[Item, ...]
    revision: int


@runtime_checkable
class Store(Protocol):
    """The contract. All methods may raise ``StoreUnavailable``."""

    def get(self, key: str) -> Item | None:
        """The item, or None where the key does not exist."""
        ...

    def list(self, prefix: str, since: int = 0) -> Listing:
        """Items whose key starts with ``prefix``, in key order; with ``since`` only those written by later
        commits (deletions do not show: whoever follows increments lists anew after a ``Conflict``)."""
        ...

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """Atomically write (``None`` deletes), if every key of ``expect`` has the revision given.

        ``expect`` may name keys that are not written, and 0 (``ABSENT``) for a key that must not exist. Returns
        the new revision. Raises ``Conflict`` with the first key that differs, and then nothing was written;
        ``StoreFull``; ``StoreUnavailable`` (then the outcome is unknown: read before trying again).
        """
        ...

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        """Wait until something under ``prefix`` was committed after ``since``, or ``timeout`` seconds; returns a
        revision to go on from. Only a wake-up: list to know."""
        ...

    def beat(self, name: str, ttl: float) -> None:
        """Say that ``name`` is alive for ``ttl`` seconds."""
        ...

    def alive(self) -> dict[str, float]:
        """Names that said so, with the seconds left (negative: silent for so long)."""
        ...

    def close(self) -> None:
        """Release what is held; harmless when called twice."""
        ...
