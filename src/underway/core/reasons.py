"""One reason for every host without a grant, shared between hosts that wait for the same thing.

A decision over 10,000 hosts holds a few dozen Reason values. ``Reasons`` is a read-only mapping that keeps, per host,
only which of them is its own; it never changes, though later decisions share most of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from underway.core.model.decision import Reason

T = TypeVar("T")

_REBASE = 512
"""Changes after which a store of tags is written anew: copying fewer costs some microseconds per decision."""


class Tags(Generic[T]):
    """host -> tag, of which a frozen view is cheap to take at any time: a large base and a few changes over it."""

    def __init__(self, base: dict[str, T]) -> None:
        self._base = base
        self._changes: dict[str, T] = {}
        self._shared = False

    def __getitem__(self, host: str) -> T:
        found = self._changes.get(host)
        return self._base[host] if found is None else found

    def put(self, host: str, tag: T) -> None:
        """Change one tag; views that were taken before do not see it."""
        if self._shared:
            self._changes = dict(self._changes)
            self._shared = False
            if len(self._changes) > _REBASE:
                self._base = self._base | self._changes
                self._changes = {}
        self._changes[host] = tag

    def view(self) -> tuple[dict[str, T], dict[str, T]]:
        """Base and changes; neither will be written to again."""
        self._shared = True
        return self._base, self._changes


class Reasons(Mapping[str, Reason]):
    """host -> Reason, in the plan's order of hosts, without the hosts that were granted."""

    __slots__ = ("_base", "_changes", "_granted", "_table")

    def __init__(
        self,
        base: dict[str, object],
        changes: dict[str, object],
        table: Mapping[object, Reason],
        granted: frozenset[str],
    ) -> None:
        self._base = base
        self._changes = changes
        self._table = table
        self._granted = granted

    def __getitem__(self, host: str) -> Reason:
        if host in self._granted:
            raise KeyError(host)
        tag = self._changes.get(host)
        if tag is None:
            tag = self._base[host]
        return tag if isinstance(tag, Reason) else self._table[tag]

    def __iter__(self) -> Iterator[str]:
        return (host for host in self._base if host not in self._granted)

    def __len__(self) -> int:
        return len(self._base) - len(self._granted)

    def __eq__(self, other: object) -> bool:
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def plain(self) -> dict[str, Reason]:
        """A dictionary of one's own."""
        table, changes, granted = self._table, self._changes, self._granted
        tags = {**self._base, **changes} if changes else self._base
        return {
            host: tag if isinstance(tag, Reason) else table[tag] for host, tag in tags.items() if host not in granted
        }

    def __repr__(self) -> str:
        return f"Reasons({len(self)} hosts)"
