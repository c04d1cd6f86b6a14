"""What every back-end refuses alike: keys, values and sizes of one commit (limits of ``store/base.py``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from underway.errors import StoreError
from underway.store.base import MAX_KEYS, MAX_VALUE

MAX_KEY = 512
"""Characters of a key."""

_KEY = re.compile(r"[!-~]+")
_PREFIX = re.compile(r"[!-~]*")


def check_key(key: str) -> None:
    """Refuse a key that some back-end could not hold: printable ASCII without blanks, 1 to 512 characters."""
    if not _KEY.fullmatch(key) or len(key) > MAX_KEY:
        raise StoreError(f"key {key[:80]!r}: expected 1 to {MAX_KEY} printable ASCII characters without blanks")


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that no key could begin with; the empty one stands for all keys."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > MAX_KEY:
        raise StoreError(f"prefix {prefix[:80]!r}: expected up to {MAX_KEY} printable ASCII characters without blanks")


def check_commit(expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> None:
    """Refuse a commit that some back-end could not do, before anything is sent.

    At most ``MAX_KEYS`` different keys in ``expect`` and ``writes`` together, one that is compared and deleted counted
    twice (Consul needs two operations for it), and at most ``MAX_VALUE`` bytes in all values together (Consul bounds
    the whole request, not the single value). Raises ``StoreError``.
    """
    keys = expect.keys() | writes.keys()
    count = len(keys) + sum(1 for key, value in writes.items() if value is None and expect.get(key))
    if count > MAX_KEYS:
        raise StoreError(f"a commit of {count} keys: expected at most {MAX_KEYS} (split it)")
    for key in keys:
        check_key(key)
    size = 0
    for key, value in writes.items():
        if value is None:
            continue
        if not isinstance(value, bytes):
            raise StoreError(f"{key}: expected bytes, found {type(value).__name__}")
        size += len(value)
    if size > MAX_VALUE:
        raise StoreError(f"a commit of {size} bytes: expected at most {MAX_VALUE} (logs and artefacts go elsewhere)")
    for key, revision in expect.items():
        if revision < 0:
            raise StoreError(f"{key}: expected revision {revision} cannot be (0 stands for absent)")
