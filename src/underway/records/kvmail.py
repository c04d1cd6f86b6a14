"""The mail of coordinator and agents in the server that holds the store, beside the store and not through it.

A letter is one plain write: it takes no part in the order of commits, which is the coordinators' own, and agents can be
given rights to their own letters alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from underway.executors.mail import Letter
from underway_agent.kv.base import Kv, KvItem, KvView
from underway_agent.places import key_of, place

AT_ONCE = 50
"""Letters that are asked for, or deleted, in one request."""

T = TypeVar("T")


@runtime_checkable
class Served(Protocol):
    """A store in such a server (``store/served.py``)."""

    root: str

    def ask(self, work: Callable[[Kv], Any]) -> Any:
        """The result of what is done with the server itself. Raises StoreError."""
        ...


class KvMail:
    """The contract of ``executors/mail.py``; marks are the server's index. Closing the store is the owner's."""

    def __init__(self, store: Served) -> None:
        self._store = store
        self.root = f"{store.root}/mail"

    def get(self, key: str) -> Letter | None:
        """See Mail."""
        where = place(self.root, key)
        item = self._view([where]).get(where)
        return None if item is None else self._letter(item)

    def put(self, key: str, data: bytes, upon: int | None = None) -> int | None:
        """See Mail."""
        where = place(self.root, key)
        return self._write({where: data}, {} if upon is None else {where: upon})

    def delete(self, keys: Sequence[str]) -> None:
        """See Mail."""
        for start in range(0, len(keys), AT_ONCE):
            self._write({place(self.root, key): None for key in keys[start : start + AT_ONCE]})

    def list(self, prefix: str, since: int = 0, names: Collection[str] | None = None) -> tuple[Sequence[Letter], int]:
        """See Mail. Without ``names`` all letters under the prefix are read, whatever ``since`` is."""
        if names is None or not names:
            view = self._view(prefixes=[f"{self.root}/{prefix if names is None else 'none/'}"])
            return [self._letter(item) for item in view.items if item.index > since], view.index
        found: list[Letter] = []
        marks = []
        wanted = [place(self.root, prefix + name) for name in sorted(names)]
        for start in range(0, len(wanted), AT_ONCE):
            view = self._view(wanted[start : start + AT_ONCE])
            found += [self._letter(item) for item in view.items if item.index > since]
            marks.append(view.index)
        return found, max(since, min(marks))

    def wait(self, prefix: str, since: int, timeout: float) -> None:
        """See Mail."""
        self._ask(lambda kv: kv.wait(f"{self.root}/{prefix}", since, timeout))

    def _view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        return self._ask(lambda kv: kv.view(keys, prefixes))

    def _write(self, writes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None) -> int | None:
        return self._ask(lambda kv: kv.txn(expect or {}, writes))

    def _letter(self, item: KvItem) -> Letter:
        return Letter(key_of(self.root, item.key), item.value, item.index)

    def _ask(self, work: Callable[[Kv], Awaitable[T]]) -> T:
        found: T = self._store.ask(work)
        return found
