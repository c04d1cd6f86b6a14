"""The mail of coordinator and agents in the server that holds the store, beside the store and not through it.

A letter is one plain write: it takes no part in the order of commits, which is the coordinators' own, and agents can be
given rights to their own letters alone. Letters to hosts also stand in a list of changes, numbered and written with
them: whoever hands them out for all hosts reads what changed, and not all of them each time. No server tells that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from underway.errors import StoreUnavailable
from underway.executors.mail import ORDERS, Letter
from underway_agent.kv.base import ABSENT, MAX_OPS, Kv, KvItem, KvView
from underway_agent.places import key_of, place

AT_ONCE = 50
"""Letters that are asked for, or deleted, in one request."""

KEPT = 1000
"""Changes that are remembered; who looks after more of them reads all letters once."""

ATTEMPTS = 100
"""Times that a letter is tried to be left while others only left theirs."""

_DIGITS = 12

T = TypeVar("T")


@runtime_checkable
class Served(Protocol):
    """A store in such a server (``store/served.py``)."""

    root: str

    def ask(self, work: Callable[[Kv], Any]) -> Any:
        """The result of what is done with the server itself. Raises StoreError."""
        ...


class KvMail:
    """The contract of ``executors/mail.py``; marks are the server's index. Closing the store is the owner's.

    ``kept`` is for tests.
    """

    def __init__(self, store: Served, kept: int = KEPT) -> None:
        self._store, self._kept = store, kept
        self.root = f"{store.root}/mail"
        self._head_key = f"{self.root}/log/head"
        self._written: tuple[int, int] | None = None  # number and index of the latest change, where it was ours
        self._waited: dict[str, int] = {}  # prefix -> index at which the last wait for it ended
        self._looked: dict[str, int] = {}  # the same of those that were listed since
        self._seen = (0, 0, 0)  # mark that a list of letters to hosts gave, number and index of the latest change then

    def get(self, key: str) -> Letter | None:
        """See Mail."""
        where = place(self.root, key)
        item = self._view([where]).get(where)
        return None if item is None else self._letter(item)

    def put(self, key: str, data: bytes, upon: int | None = None) -> int | None:
        """See Mail."""
        where = place(self.root, key)
        expect = {} if upon is None else {where: upon}
        if not key.startswith(ORDERS):
            return self._write({where: data}, expect)
        return self._put_noted(key, {where: data}, expect)

    def delete(self, keys: Sequence[str]) -> None:
        """See Mail."""
        for start in range(0, len(keys), AT_ONCE):
            self._write({place(self.root, key): None for key in keys[start : start + AT_ONCE]})

    def list(self, prefix: str, since: int = 0, names: Collection[str] | None = None) -> tuple[Sequence[Letter], int]:
        """See Mail. Without ``names`` all letters under the prefix are read, whatever ``since`` is; but of the letters
        to hosts those that were put since the last call of this very object, where ``since`` is what that gave."""
        self._looked[prefix] = self._waited.get(prefix, 0)
        if prefix == ORDERS and names is None:
            return self._orders(since)
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
        """See Mail.

        Where a list came after the last wait it saw all up to the index at which that ended, so the next one goes on
        from there: a letter that the list was not asked for, or nothing at all, would end it at once, again and again.
        """
        where = self._head_key if prefix == ORDERS else f"{self.root}/{prefix}"
        after = max(since, self._looked.pop(prefix, 0))
        self._waited[prefix] = self._ask(lambda kv: kv.wait(where, after, timeout))

    # --- letters to hosts, and the list of their changes --------------------------------------------------------------

    def _put_noted(self, key: str, writes: Mapping[str, bytes], expect: Mapping[str, int]) -> int | None:
        """Leave a letter together with its entry in the list of changes."""
        written, self._written = self._written, None
        for attempt in range(ATTEMPTS):
            number, index = written or self._head(self._view([self._head_key]))
            out: dict[str, bytes | None] = {
                **writes, self._head_key: str(number + 1).encode(), self._entry(number + 1): key.encode()
            }  # fmt: skip
            if number >= self._kept:
                out[self._entry(number + 1 - self._kept)] = None
            done = self._write(out, {**expect, self._head_key: index})
            if done is not None:
                self._written = (number + 1, done)
                return done
            view = self._view([self._head_key, *expect])
            for where, mark in expect.items():
                item = view.get(where)
                if (ABSENT if item is None else item.index) != mark:
                    return None
            written = self._head(view)
            time.sleep(random.uniform(0.0, min(0.2, 0.002 * 2**attempt)))  # noqa: S311 (no secret)
        raise StoreUnavailable(f"{self._head_key}: others wrote each time that a letter was left; it was not left")

    def _orders(self, since: int) -> tuple[Sequence[Letter], int]:
        """What changed since the last look, where it was at ``since`` and the list of changes still says so."""
        mark, *before = self._seen
        found = self._changed(before[0], before[1]) if since and since == mark else None
        if found is None:
            view = self._view([self._head_key], [f"{self.root}/{ORDERS}"])
            # all of them, whatever ``since`` is: where an older copy was put back, older letters are news
            letters: Sequence[Letter] = [self._letter(item) for item in view.items if item.key != self._head_key]
            mark, head = view.index, self._head(view)
        else:
            letters, head = found
            mark = max(mark, head[1])
        self._seen = (mark, *head)
        return letters, mark

    def _changed(self, before: int, index: int) -> tuple[Sequence[Letter], tuple[int, int]] | None:
        """Letters that changed after a change (its number and index), and the latest one; None where that is not known:
        the list does not lead from there, is cut, or is another one (an older copy was put back)."""
        head = self._head(self._view([self._head_key]))
        if head == (before, index):
            return [], head
        if not 0 < before < head[0] < before + self._kept:
            return None
        names: dict[str, None] = {}
        wanted = [self._entry(one) for one in range(before, head[0] + 1)]
        for start in range(0, len(wanted), MAX_OPS):
            some = wanted[start : start + MAX_OPS]
            items = self._view(some).items
            if len(items) < len(some) or (not start and items[0].index != index):
                return None
            names.update((item.value.decode("utf-8", "replace"), None) for item in items[0 if start else 1 :])
        keys = [place(self.root, name) for name in names if name.startswith(ORDERS)]
        letters: list[Letter] = []
        for start in range(0, len(keys), AT_ONCE):
            letters += map(self._letter, self._view(keys[start : start + AT_ONCE]).items)
        return letters, head

    def _head(self, view: KvView) -> tuple[int, int]:
        """Number and index of the latest change; the list begins anew where somebody else wrote over it."""
        item = view.get(self._head_key)
        if item is None:
            return 0, ABSENT
        return int(item.value) if item.value.isdigit() and len(item.value) <= _DIGITS else 0, item.index

    def _entry(self, number: int) -> str:
        return f"{self.root}/log/{number:0{_DIGITS}d}"

    def _view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        return self._ask(lambda kv: kv.view(keys, prefixes))

    def _write(self, writes: Mapping[str, bytes | None], expect: Mapping[str, int] | None = None) -> int | None:
        return self._ask(lambda kv: kv.txn(expect or {}, writes))

    def _letter(self, item: KvItem) -> Letter:
        return Letter(key_of(self.root, item.key), item.value, item.index)

    def _ask(self, work: Callable[[Kv], Awaitable[T]]) -> T:
        found: T = self._store.ask(work)
        return found
