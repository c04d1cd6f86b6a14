"""The mail of coordinator and agents in a store, beside the records and under a root of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from underway.errors import Conflict
from underway.executors.mail import Letter
from underway.records.keys import part
from underway.store.base import ABSENT, Store

AT_ONCE = 32
"""Keys that are deleted in one commit."""


def mail_root(cluster: str) -> str:
    """The prefix of everything that a cluster's mail has in a store. No record of the cluster begins with it."""
    return f"underway-mail/{part(cluster, 'cluster')}/"


class StoreMail:
    """The contract of ``executors/mail.py`` on a store; marks are its revisions. Closing the store is the owner's."""

    def __init__(self, store: Store, cluster: str) -> None:
        self._store = store
        self._root = mail_root(cluster)

    def get(self, key: str) -> Letter | None:
        """See Mail."""
        item = self._store.get(self._root + key)
        return None if item is None else Letter(key, item.value, item.revision)

    def put(self, key: str, data: bytes, upon: int | None = None) -> int | None:
        """See Mail."""
        expect = {} if upon is None else {self._root + key: upon or ABSENT}
        try:
            return self._store.commit(expect, {self._root + key: data})
        except Conflict:
            return None

    def delete(self, keys: Sequence[str]) -> None:
        """See Mail."""
        for start in range(0, len(keys), AT_ONCE):
            self._store.commit({}, {self._root + key: None for key in keys[start : start + AT_ONCE]})

    def list(self, prefix: str, since: int = 0, names: Collection[str] | None = None) -> tuple[Sequence[Letter], int]:
        """See Mail."""
        found = self._store.list(self._root + prefix, since)
        letters = [Letter(item.key.removeprefix(self._root), item.value, item.revision) for item in found.items]
        if names is not None:
            letters = [letter for letter in letters if letter.key.removeprefix(prefix) in names]
        return letters, found.revision

    def wait(self, prefix: str, since: int, timeout: float) -> None:
        """See Mail."""
        self._store.watch(self._root + prefix, since, timeout)
