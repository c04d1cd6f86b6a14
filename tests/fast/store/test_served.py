"""The store on a key-value server beyond the contract: what it costs, what it notices, what it makes of faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from underway.errors import Conflict, StoreError, StoreFull, StoreUnavailable
from underway.store.served import FORGOTTEN, ServedStore
from underway_agent.kv.base import KvView
from underway_agent.kv.memory import MemoryKv, MemoryServer


class Counted(MemoryKv):
    """Counts what is asked, and lets a test do something before."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server)
        self.views: list[tuple[int, int]] = []  # keys and prefixes of each
        self.txns = 0
        self.before: Callable[[], object] | None = None

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        self._strike()
        self.views.append((len(keys), len(prefixes)))
        return await super().view(keys, prefixes)

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        self._strike()
        self.txns += 1
        return await super().txn(expect, writes)

    def _strike(self) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()


class Place:
    """A server, and handles of one store on it."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.now = 1000.0
        self.server = MemoryServer(clock=lambda: self.now)

    def open(self, kept: int = 1000, root: str = "root") -> tuple[ServedStore, Counted]:
        kv = Counted(self.server)
        store = ServedStore(kv, root, kept)
        self.stack.callback(store.close)
        return store, kv

    def value(self, key: str) -> bytes:
        return self.server.items[key].value


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


# --- layout and cost --------------------------------------------------------------------------------------------------


def test_the_layout_is_the_documented_one(place: Place) -> None:
    store, _ = place.open()
    store.commit({}, {"a/b": b"1", "c": b"\xff"})
    store.commit({}, {"c": None})
    assert set(place.server.items) == {
        "root/d/a/b", "root/head", "root/log/000000000001", "root/log/000000000002"
    }  # fmt: skip
    assert place.value("root/d/a/b") == b"1"
    name = place.value("root/log/000000000002").decode().split("\n")[0]
    assert json.loads(place.value("root/head")) == {"format": 1, "n": 2, "name": name, "epoch": store.epoch}
    assert place.value("root/log/000000000001").decode().split("\n")[1:] == ["a/b", "c"]
    assert place.value("root/log/000000000002").decode().split("\n")[1:] == ["c"]


def test_a_commit_is_one_transaction_and_nothing_is_read(place: Place) -> None:
    store, kv = place.open()
    revision = store.commit({}, {"a": b"1"})
    kv.views.clear()
    kv.txns = 0
    store.commit({"a": revision}, {"a": b"2", "b": b"2"})
    assert (kv.txns, kv.views) == (1, [])


def test_what_changed_costs_what_changed(place: Place) -> None:
    """Whatever the fleet has: no prefix is read, and of keys only those that were written."""
    writer, _ = place.open()
    for start in range(0, 3000, 60):
        writer.commit({}, {f"host/{number:05d}": b"x" for number in range(start, start + 60)})
    store, kv = place.open()
    since = store.list("host/").revision
    kv.views.clear()
    assert store.list("host/", since=since).items == ()
    assert kv.views == [(1, 0)]
    writer.commit({}, {"host/00007": b"y", "elsewhere": b"y"})
    kv.views.clear()
    assert [item.key for item in store.list("host/", since=since).items] == ["host/00007"]
    assert kv.views == [(1, 0), (3, 0), (2, 0)]  # head; two commits; one key
    for number in range(200):
        writer.commit({}, {f"host/{number:05d}": b"z"})
    kv.views.clear()
    assert len(store.list("host/", since=since).items) == 200
    assert all(prefixes == 0 for _, prefixes in kv.views) and len(kv.views) < 12


def test_who_was_away_for_long_reads_everything_once(place: Place) -> None:
    writer, _ = place.open(kept=5)
    store, kv = place.open(kept=5)
    since = writer.commit({}, {"a": b"1", "b": b"1"})
    assert store.list("", since=since).items == ()
    for number in range(9):
        last = writer.commit({}, {"b": b"%d" % number})
    assert len([key for key in place.server.items if "/log/" in key]) == 5
    kv.views.clear()
    found = store.list("", since=since)
    assert ([item.key for item in found.items], found.revision) == (["b"], last)
    assert (1, 1) in kv.views
    # and of another handle's revision, that this one never saw
    fresh, kv = place.open(kept=5)
    assert [item.key for item in fresh.list("", since=last - 1).items] == ["b"]


def test_a_listing_of_what_changed_is_of_one_moment(place: Place) -> None:
    """What is committed while it reads is read once more."""
    store, kv = place.open()
    other, _ = place.open()
    since = store.commit({}, {"a": b"0", "b": b"0"})
    other.commit({}, {"a": b"1", "b": b"1"})
    strikes = iter(range(3))

    def strike() -> None:
        number = next(strikes, None)
        if number is not None:
            other.commit({}, {"a": b"%d" % (number + 2), "b": b"%d" % (number + 2)})
            kv.before = strike

    kv.before = strike
    found = store.list("", since=since)
    assert {item.value for item in found.items} == {b"4"}
    assert {item.revision for item in found.items} == {found.revision}


# --- races ------------------------------------------------------------------------------------------------------------


def test_a_commit_that_lost_only_the_head_is_tried_again(place: Place) -> None:
    store, kv = place.open()
    other, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    kv.before = lambda: other.commit({}, {"b": b"1"})
    second = store.commit({"a": first}, {"a": b"2"})
    assert second > first and kv.txns == 3
    kv.before = lambda: other.commit({}, {"a": b"3"})
    with pytest.raises(Conflict) as caught:
        store.commit({"a": second}, {"a": b"4"})
    assert (caught.value.key, caught.value.expected) == ("a", second)


def test_the_first_commit_of_two_makes_the_store(place: Place) -> None:
    (one, kv), (two, _) = place.open(), place.open()
    kv.before = lambda: two.commit({}, {"b": b"1"})
    one.commit({}, {"a": b"1"})
    assert one.epoch == two.epoch != "" and json.loads(place.value("root/head"))["n"] == 2


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_commit_whose_answer_was_lost_is_known_by_its_name(place: Place) -> None:
    store, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    place.server.script.append("unknown")
    second = store.commit({"a": first}, {"a": b"2"})
    item = store.get("a")
    assert item is not None and (item.value, item.revision) == (b"2", second)
    assert store.commit({"a": second}, {"a": b"3"}) > second


def test_a_commit_that_may_yet_be_written_is_unknown(place: Place) -> None:
    store, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    place.server.script.append("lost")  # the head is as it was: it may be under way
    with pytest.raises(StoreUnavailable, match="may or may not"):
        store.commit({"a": first}, {"a": b"2"})
    item = store.get("a")
    assert item is not None and item.value == b"1"


def test_a_commit_that_never_can_be_written_any_more_is_made_again(place: Place) -> None:
    (store, _), (other, _) = place.open(), place.open()
    first = store.commit({}, {"a": b"1"})
    waited: list[int] = []

    class Slow(MemoryKv):
        """The other's commit comes after ours was lost, and before we look."""

        async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
            if not waited:
                waited.append(other.commit({}, {"b": b"1"}))
            return await super().view(keys, prefixes)

    late = ServedStore(Slow(place.server), "root")
    place.stack.callback(late.close)
    late.commit({}, {"c": b"1"})
    waited.clear()
    place.server.script.append("lost")
    second = late.commit({"a": first}, {"a": b"2"})
    assert waited and second > waited[0]
    item = store.get("a")
    assert item is not None and item.value == b"2"


def test_what_servers_refuse_is_told_as_what_it_is(place: Place) -> None:
    store, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    for fault, kind, kinds in (
        ("full", StoreFull, "store-full"),
        ("denied", StoreError, "store"),
        ("refused", StoreError, "store"),
    ):
        place.server.script.append(fault)
        with pytest.raises(kind) as caught:
            store.commit({"a": first}, {"a": b"2"})
        assert caught.value.kind == kinds
    place.server.down = True
    for call in (lambda: store.get("a"), lambda: store.list("a"), lambda: store.watch("", 0, 0.1), store.alive):
        with pytest.raises(StoreUnavailable, match="no server answers"):
            call()
    place.server.down = False
    assert store.commit({"a": first}, {"a": b"2"}) > first


def test_a_store_of_another_name_is_not_taken_for_ours(place: Place) -> None:
    store, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    place.server.items.clear()
    with pytest.raises(StoreError, match="gone from the server"):
        store.list("")
    other, _ = place.open()
    other.commit({}, {"a": b"1"})
    for act in (lambda: store.list("", since=first), lambda: store.commit({"a": first}, {"a": b"2"})):
        with pytest.raises(StoreError):
            act()


def test_an_older_copy_that_was_put_back_is_noticed(place: Place) -> None:
    store, _ = place.open()
    store.commit({}, {"a": b"1"})
    items, index = dict(place.server.items), place.server.index
    seen = store.commit({}, {"a": b"2"})
    place.server.restore(items, index)
    assert store.list("", since=seen).revision < seen  # who looks sees that it went back, and begins anew
    other, _ = place.open()
    for number in range(3):
        other.commit({}, {"b": b"%d" % number})
    with pytest.raises(StoreError, match="not what was seen there"):
        store.list("", since=seen)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "is not what Underway writes there"),
        (b"[]", "is not what Underway writes there"),
        (b'{"format": 1, "n": "many", "name": "", "epoch": ""}', "is not what Underway writes there"),
        (b'{"format": 1, "n": 1, "name": "\\ud800", "epoch": "e"}', "is not what Underway writes there"),
        (b'{"format": 1, "n": 1, "name": "n", "epoch": "e' + b"\\n" * 3 + b'"}', "is not what Underway writes there"),
        (b'{"format": 1, "n": -1, "name": "n", "epoch": "e"}', "is not what Underway writes there"),
        (b'{"format": 1, "n": 1' + b"0" * 400 + b', "name": "n", "epoch": "e"}', "is not what Underway writes there"),
        (b'{"format": true, "n": 1.0, "name": "n", "epoch": "e"}', "is not what Underway writes there"),
        (b"[" * 100_000, "is not what Underway writes there"),
        (b'{"format": 2, "n": 1, "name": "n", "epoch": "e"}', "root/head: has layout 2, this program knows up to 1"),
    ],
)
def test_a_strange_head_is_refused(place: Place, head: bytes, said: str) -> None:
    store, _ = place.open()
    place.server.write({}, {"root/head": head})
    for act in (lambda: store.list(""), lambda: store.commit({}, {"a": b""}), lambda: store.watch("", 0, 0.1)):
        with pytest.raises(StoreError, match=said):
            act()
    assert place.value("root/head") == head


@pytest.mark.parametrize("bad", [None, b"", b"\xff\xfe", b"name\n\xc3\xa9\n" + b"x\n" * 5000])
def test_a_list_of_commits_that_somebody_wrote_over_hides_no_older_value(place: Place, bad: bytes | None) -> None:
    """It is a help to readers: one that is cut costs a whole read, one that is garbage names no key of ours."""
    store, _ = place.open()
    first = store.commit({}, {"a": b"1"})
    store.commit({}, {"b": b"1"})
    place.server.write({}, {"root/log/000000000001": bad, "root/log/strange": b"\xff", "root/log/9": None})
    other, _ = place.open()
    assert [item.key for item in other.list("", since=0).items] == ["a", "b"]
    try:
        found = other.list("", since=first)
    except StoreError as error:
        assert "not what was seen there" in str(error)  # the entry has another name than the commit that was seen
    else:
        assert [item.key for item in found.items] == ["b"]


def test_a_value_that_no_commit_wrote_is_named(place: Place) -> None:
    store, _ = place.open()
    store.commit({}, {"a/x": b"1", "b": b"1"})
    place.server.write({}, {"root/d/a/\x1b[2J\u202e" + "y" * 300: b"by hand"})
    with pytest.raises(StoreError, match="was written after the last commit, and not by one") as caught:
        store.list("a/")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    assert [item.key for item in store.list("b").items] == ["b"]


# --- waiting and living -----------------------------------------------------------------------------------------------


def test_a_closed_store_ends_those_who_wait(place: Place) -> None:
    store, _ = place.open()
    store.commit({}, {"a": b""})
    said: list[str] = []

    def wait() -> None:
        try:
            store.watch("", store.list("").revision, 60.0)
        except StoreUnavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    store.close()
    thread.join(20.0)
    assert said == ["root: the store was closed"]


def test_a_watcher_looks_for_itself_when_the_server_is_silent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that lost its events costs time, not correctness (TRUST.md, fault 19)."""
    monkeypatch.setattr("underway.store.served.SLICE", 0.05)

    class Deaf(MemoryKv):
        async def wait(self, prefix: str, index: int, timeout: float) -> int:
            return await super().wait("nothing/", index, timeout)

    store = ServedStore(Deaf(place.server), "root")
    place.stack.callback(store.close)
    other, _ = place.open()
    since = other.commit({}, {"a": b"1"})
    threading.Timer(0.1, other.commit, ({}, {"a": b"2"})).start()
    began = time.monotonic()
    assert store.watch("", since, 60.0) > since
    assert time.monotonic() - began < 30


def test_liveness_goes_by_the_servers_clock(place: Place) -> None:
    """A client an hour off tells and is told the truth: nobody's own clock counts."""
    (one, _), (two, _) = place.open(), place.open()
    one.beat("coordinator:1", 15.0)
    place.now += 5.0
    two.beat("coordinator:2", 15.0)
    assert one.alive() == {"coordinator:1": pytest.approx(10.0), "coordinator:2": pytest.approx(15.0)}
    place.now += 20.0
    assert two.alive()["coordinator:1"] == pytest.approx(-10.0)
    assert place.server.items["root/beats/coordinator:1"].value == b"1015.0"


def test_those_long_silent_are_cleared_away(place: Place) -> None:
    store, _ = place.open()
    for number in range(100):
        store.beat(f"coordinator:{number}", 15.0)
    place.now += FORGOTTEN + 30.0
    for _ in range(5):
        store.beat("coordinator:new", 15.0)
    assert set(store.alive()) == {"coordinator:new"}


def test_a_beat_that_cannot_be_read_is_one_long_gone(place: Place) -> None:
    store, _ = place.open()
    place.server.write({}, {"root/beats/x": b"soon"})
    assert store.alive()["x"] < -900
    place.now += 2 * FORGOTTEN
    store.beat("me", 15.0)
    assert set(store.alive()) == {"me"}
