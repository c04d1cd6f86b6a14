"""The store contract over our back-ends, and over stores that are broken on purpose: the suite must tell."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from contract_store import CHECKS, LASTING, Check, Place, model_machine, name_of
from underway.errors import Conflict
from underway.store.base import ABSENT, Item, Listing, Store
from underway.store.memory import MemoryStore
from underway.store.served import ServedStore
from underway.store.sqlite import SqliteStore
from underway_agent.kv.memory import MemoryKv, MemoryServer

# Made for the test, so not worth a reserve; the free space of the machine that runs the tests is its own affair.
LEAN = "min_free=0, ballast=0"


def lean(path: Path) -> SqliteStore:
    return SqliteStore(path, min_free=0, ballast=0)


def memory_place(kind: type[MemoryStore] = MemoryStore) -> Place:
    store = kind()
    return Place(open=lambda: store)


def sqlite_place(home: Path, stack: ExitStack) -> Place:
    def connect() -> Store:
        store = lean(home / "state.db")
        stack.callback(store.close)
        return store

    child = f"from underway.store.sqlite import SqliteStore; store = SqliteStore({str(home / 'state.db')!r}, {LEAN})"
    return Place(open=connect, child=child)


def served_place(stack: ExitStack) -> Place:
    """A store in a key-value server that is in memory: what Consul's and etcd's stores have in common."""
    server = MemoryServer()

    def connect() -> Store:
        store = ServedStore(MemoryKv(server), "root")
        stack.callback(store.close)
        return store

    return Place(open=connect)


@pytest.fixture(params=["memory", "sqlite", "served"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield memory_place()
        else:
            yield sqlite_place(tmp_path, stack) if request.param == "sqlite" else served_place(stack)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check: Check, place: Place) -> None:
    check(place)


@pytest.mark.parametrize("check", LASTING, ids=name_of)
def test_what_outlives_a_process(check: Check, tmp_path: Path) -> None:
    with ExitStack() as stack:
        check(sqlite_place(tmp_path, stack))


def fresh_sqlite_place() -> Place:
    stack = ExitStack()
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    left = 2

    class Last(SqliteStore):
        def close(self) -> None:
            nonlocal left
            super().close()
            left -= 1
            if left == 0:
                stack.close()

    return Place(open=lambda: Last(home / "state.db", min_free=0, ballast=0))


TestMemoryModel = model_machine(memory_place).TestCase
TestServedModel = model_machine(lambda: served_place(ExitStack())).TestCase
TestSqliteModel = model_machine(fresh_sqlite_place).TestCase


# --- stores broken on purpose -----------------------------------------------------------------------------------------


class IgnoresExpectOnly(MemoryStore):
    """Compares only the keys that it writes: write skew."""

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        return super().commit({key: revision for key, revision in expect.items() if key in writes}, writes)


class IgnoresAbsence(MemoryStore):
    """Takes 0 for "no matter"."""

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        return super().commit({key: revision for key, revision in expect.items() if revision}, writes)


class WritesHalf(MemoryStore):
    """Compares and writes key by key."""

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        revision = 0
        for key in {**expect, **writes}:
            one = {key: expect[key]} if key in expect else {}
            revision = super().commit(one, {key: writes[key]} if key in writes else {})
        return revision


class ReadsStale(MemoryStore):
    """Answers from the commit before the last."""

    old: Item | None = None

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        self.old = super().get("a")
        return super().commit(expect, writes)

    def get(self, key: str) -> Item | None:
        return self.old if key == "a" else super().get(key)


class SinceIncludes(MemoryStore):
    def list(self, prefix: str, since: int = 0) -> Listing:
        return super().list(prefix, max(0, since - 1))


class SinceForgets(MemoryStore):
    """Loses what the latest commit wrote: a look that goes on from there never learns of it."""

    def list(self, prefix: str, since: int = 0) -> Listing:
        found = super().list(prefix, since)
        return Listing(
            tuple(item for item in found.items if not since or item.revision < found.revision), found.revision
        )


class DeletesQuietly(MemoryStore):
    """A deletion does not wake."""

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        if not super().list(prefix, since).items:
            return since
        return super().watch(prefix, since, timeout)


class LosesUpdates(MemoryStore):
    """Looks first and writes later, without holding anything in between."""

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        for key, revision in expect.items():
            item = super().get(key)
            if (found := ABSENT if item is None else item.revision) != revision:
                raise Conflict(key, revision, found)
        for _ in range(200):
            super().get("x")  # other threads get their turn
        return super().commit({}, writes)


BROKEN = [IgnoresExpectOnly, IgnoresAbsence, WritesHalf, ReadsStale, SinceIncludes, SinceForgets, DeletesQuietly]


@pytest.mark.parametrize("kind", [*BROKEN, LosesUpdates], ids=lambda kind: kind.__name__)
def test_a_broken_store_does_not_pass(kind: type[MemoryStore]) -> None:
    def passes(check: Check) -> bool:
        with suppress(AssertionError, Conflict, pytest.fail.Exception):
            check(memory_place(kind))
            return True
        return False

    slow = {"watch_wakes_by_another_handle"} if kind is not DeletesQuietly else set()
    assert not all(passes(check) for check in CHECKS if name_of(check) not in slow)
