"""The contract of ``store/base.py`` as checks that any back-end can be put to.

A back-end brings a ``Place``: a way to open one more handle onto the same store. ``CHECKS`` are plain functions of a
place, ``model_machine`` is a Hypothesis state machine against a dictionary. A back-end's tests are::

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_contract(check, place):
        check(place)

``tests/fast/store/test_contract.py`` runs them over our own, and over stores broken on purpose.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from underway.errors import Conflict, StoreError, StoreUnavailable
from underway.store.base import ABSENT, MAX_KEYS, MAX_VALUE, Store


@dataclass(frozen=True)
class Place:
    """Where one store is. ``open`` gives a handle; ``child`` is Python source that binds ``store`` to a handle in
    another process (for ``LASTING``)."""

    open: Callable[[], Store]
    child: str = ""


Check = Callable[[Place], None]
CHECKS: list[Check] = []
LASTING: list[Check] = []
"""Those for stores that outlive a process; a store in memory does not, by design."""


def name_of(check: Check) -> str:
    return check.__name__


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def lasting(function: Check) -> Check:
    LASTING.append(function)
    return function


def raises_conflict(store: Store, expect: dict[str, int], writes: dict[str, bytes | None]) -> Conflict:
    with pytest.raises(Conflict) as caught:
        store.commit(expect, writes)
    return caught.value


@check
def is_a_store(place: Place) -> None:
    assert isinstance(place.open(), Store)


@check
def an_empty_store_has_nothing(place: Place) -> None:
    store = place.open()
    assert store.get("a") is None
    assert store.list("").items == ()
    assert store.list("").revision == 0


@check
def a_write_is_read_back(place: Place) -> None:
    store = place.open()
    revision = store.commit({}, {"a/b": b"\x00\xff one"})
    item = store.get("a/b")
    assert item is not None
    assert (item.key, item.value, item.revision) == ("a/b", b"\x00\xff one", revision)
    assert store.list("a/").items == (item,)
    assert store.list("a/").revision == revision


@check
def writing_the_same_value_is_a_write(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1", "b": b""})
    second = store.commit({"a": first}, {"a": b"1", "b": b""})
    assert second > first
    assert [item.revision for item in store.list("", since=first).items] == [second, second]
    raises_conflict(store, {"a": first}, {"a": b"1"})


@check
def an_empty_value_is_not_an_absent_one(place: Place) -> None:
    store = place.open()
    revision = store.commit({}, {"a": b""})
    item = store.get("a")
    assert item is not None and item.value == b""
    assert raises_conflict(store, {"a": ABSENT}, {"a": b"x"}).found == revision


@check
def all_keys_of_a_commit_get_one_revision(place: Place) -> None:
    store = place.open()
    store.commit({}, {"z": b"0"})
    revision = store.commit({}, {"a": b"1", "b": b"2", "c": b"3"})
    assert {item.revision for item in store.list("").items if item.key != "z"} == {revision}


@check
def revisions_grow_over_the_whole_store(place: Place) -> None:
    store = place.open()
    seen = [store.commit({}, {f"k{number % 3}": b"x"}) for number in range(9)]
    assert seen == sorted(set(seen))
    assert seen[0] > 0
    assert store.list("nothing/").revision == seen[-1]


@check
def a_deletion_is_a_write(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1", "b": b"2"})
    second = store.commit({"a": first}, {"a": None})
    assert second > first
    assert store.get("a") is None
    assert [item.key for item in store.list("").items] == ["b"]
    assert store.list("").revision == second
    assert store.list("", since=first).items == ()
    assert raises_conflict(store, {"a": first}, {"a": b"x"}).found == ABSENT
    third = store.commit({"a": ABSENT}, {"a": b"again"})
    item = store.get("a")
    assert item is not None and item.revision == third > second


@check
def deleting_what_is_not_there_is_no_error(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1"})
    assert store.commit({}, {"nothing": None}) >= first
    assert store.get("nothing") is None


@check
def the_right_revision_is_accepted_and_a_wrong_one_is_not(place: Place) -> None:
    store = place.open()
    first = store.commit({"a": ABSENT}, {"a": b"1"})
    second = store.commit({"a": first}, {"a": b"2"})
    for wrong in (ABSENT, first, second + 1):
        error = raises_conflict(store, {"a": wrong}, {"a": b"3"})
        assert (error.key, error.expected, error.found) == ("a", wrong, second)
    assert raises_conflict(store, {"b": first}, {"b": b"3"}).found == ABSENT


@check
def a_conflict_writes_nothing(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1", "z": b"1"})
    raises_conflict(store, {"a": first, "z": first + 7}, {"a": b"2", "new": b"2", "z": None})
    assert [(item.key, item.value, item.revision) for item in store.list("").items] == [
        ("a", b"1", first),
        ("z", b"1", first),
    ]
    assert store.list("").revision == first


@check
def a_conflict_names_the_first_key_that_differs(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1", "b": b"1", "c": b"1"})
    assert raises_conflict(store, {"c": first, "b": first + 9, "a": first + 8}, {"x": b""}).key == "b"


@check
def keys_that_are_only_expected_count(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"guard": b"1"})
    second = store.commit({"guard": first}, {"x": b"1"})
    guard = store.get("guard")
    assert guard is not None and guard.revision == first  # expecting a key does not write it
    store.commit({"guard": first}, {"guard": b"2"})
    assert raises_conflict(store, {"guard": first}, {"x": b"2"}).key == "guard"
    item = store.get("x")
    assert item is not None and (item.value, item.revision) == (b"1", second)


@check
def a_commit_without_writes_only_compares(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1"})
    assert store.commit({"a": first, "b": ABSENT}, {}) == first
    raises_conflict(store, {"a": ABSENT}, {})
    assert store.list("").revision == first


@check
def a_listing_is_in_key_order_and_ends_with_its_prefix(place: Place) -> None:
    store = place.open()
    keys = ["a", "a-b", "a.b", "a/", "a/1", "a/10", "a/2", "a/~", "a0", "a_", "b/1"]
    store.commit({}, {key: key.encode() for key in reversed(keys)})
    assert [item.key for item in store.list("").items] == sorted(keys)
    assert [item.key for item in store.list("a/").items] == ["a/", "a/1", "a/10", "a/2", "a/~"]
    assert [item.key for item in store.list("a/1").items] == ["a/1", "a/10"]
    assert store.list("c").items == ()


@check
def a_prefix_is_not_a_pattern(place: Place) -> None:
    store = place.open()
    store.commit({}, {"a_b": b"", "axb": b"", "a%b": b"", "a*b": b"", "a[x]b": b""})
    for prefix in ("a_", "a%", "a*", "a["):
        assert [item.key[:2] for item in store.list(prefix).items] == [prefix]


@check
def a_listing_since_has_only_later_writes(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"p/a": b"1", "p/b": b"1", "q/a": b"1"})
    second = store.commit({}, {"p/b": b"2"})
    third = store.commit({}, {"q/a": b"2", "p/c": b"2"})
    assert [item.key for item in store.list("p/", since=first).items] == ["p/b", "p/c"]
    assert [item.key for item in store.list("p/", since=second).items] == ["p/c"]
    assert store.list("p/", since=third).items == ()
    assert store.list("p/", since=first).revision == third
    assert [item.revision for item in store.list("p/", since=first).items] == [second, third]


@check
def another_handle_sees_every_commit_that_returned(place: Place) -> None:
    one, two = place.open(), place.open()
    for number in range(20):
        writer, reader = (one, two) if number % 2 else (two, one)
        revision = writer.commit({}, {"a": str(number).encode()})
        item = reader.get("a")
        assert item is not None and (item.value, item.revision) == (str(number).encode(), revision)
        assert reader.list("").revision == revision
        assert reader.list("", since=revision - 1).items == (item,)


@check
def of_two_commits_on_one_revision_one_succeeds(place: Place) -> None:
    one, two = place.open(), place.open()
    first = one.commit({}, {"a": b"0"})
    one.commit({"a": first}, {"a": b"1"})
    raises_conflict(two, {"a": first}, {"a": b"2"})


@check
def limits_are_refused_before_anything_is_written(place: Place) -> None:
    store = place.open()
    too_many: dict[str, bytes | None] = {f"k{number}": b"" for number in range(MAX_KEYS + 1)}
    bad: list[tuple[dict[str, int], dict[str, bytes | None]]] = [
        ({}, too_many),
        (dict.fromkeys(too_many, ABSENT), {"a": b""}),
        ({}, {"a": b"x" * (MAX_VALUE + 1)}),
        ({}, {"a": b"x" * MAX_VALUE, "b": b"x"}),
        ({}, {"": b""}),
        ({}, {"with blank": b""}),
        ({}, {"line\n": b""}),
        ({}, {"\u00e9": b""}),
        ({}, {"k" * 513: b""}),
        ({"a": -1}, {"a": b""}),
        ({}, {"a": "text"}),  # type: ignore[dict-item]
    ]
    for expect, writes in bad:
        with pytest.raises(StoreError) as caught:
            store.commit(expect, writes)
        assert caught.value.kind == "store"
    for key in ("", "a b", "\x00"):
        with pytest.raises(StoreError):
            store.get(key)
    assert store.list("").items == ()
    assert store.list("").revision == 0


@check
def what_is_just_within_the_limits_is_done(place: Place) -> None:
    store = place.open()
    store.commit({}, {f"k{number:03d}": b"x" * (MAX_VALUE // MAX_KEYS) for number in range(MAX_KEYS)})
    assert len(store.list("").items) == MAX_KEYS
    store.commit({}, {"k" * 512: b"x" * MAX_VALUE})
    item = store.get("k" * 512)
    assert item is not None and len(item.value) == MAX_VALUE


@check
def watch_returns_at_once_for_what_was_already_written(place: Place) -> None:
    store = place.open()
    revision = store.commit({}, {"a/1": b""})
    began = time.monotonic()
    assert store.watch("a/", revision - 1, 10.0) >= revision
    assert time.monotonic() - began < 5.0


@check
def watch_gives_up_after_its_time(place: Place) -> None:
    store = place.open()
    revision = store.commit({}, {"a/1": b""})
    began = time.monotonic()
    assert store.watch("a/", revision, 0.1) == revision
    assert 0.05 < time.monotonic() - began < 5.0


@check
def watch_wakes_by_another_handle(place: Place) -> None:
    for write in ({"a/1": b"x"}, {"a/1": None}):
        one, two = place.open(), place.open()
        since = one.commit({}, {"a/1": b""})
        woken: list[tuple[int, float]] = []
        ready = threading.Event()

        def wait(store: Store = two, since: int = since, ready: threading.Event = ready, woken: Any = woken) -> None:
            ready.set()
            woken.append((store.watch("a/", since, 20.0), time.monotonic()))

        thread = threading.Thread(target=wait)
        thread.start()
        ready.wait()
        time.sleep(0.05)
        revision = one.commit({}, write)
        wrote = time.monotonic()
        thread.join(20.0)
        assert woken and woken[0][0] >= revision
        assert woken[0][1] - wrote < 5.0


@check
def a_watcher_does_not_keep_others_from_the_same_handle(place: Place) -> None:
    store = place.open()
    thread = threading.Thread(target=store.watch, args=("a/", 0, 20.0))
    thread.start()
    time.sleep(0.05)
    began = time.monotonic()
    store.commit({}, {"b": b""})
    assert store.get("b") is not None
    store.commit({}, {"a/1": b""})
    thread.join(20.0)
    assert not thread.is_alive()
    assert time.monotonic() - began < 5.0


@check
def a_wake_up_in_the_moment_of_a_time_out_is_not_lost(place: Place) -> None:
    store = place.open()
    since = store.commit({}, {"a/1": b""})
    for _ in range(60):
        woken: list[int] = []
        thread = threading.Thread(target=lambda since=since, woken=woken: woken.append(store.watch("a/", since, 9.0)))
        thread.start()
        since = store.commit({}, {"a/1": b""})
        began = time.monotonic()
        thread.join(20.0)
        assert woken and time.monotonic() - began < 5.0


@check
def liveness_is_told_by_all_handles(place: Place) -> None:
    one, two = place.open(), place.open()
    assert one.alive() == {}
    one.beat("coordinator:1", 30.0)
    two.beat("coordinator:2", -5.0)
    for store in (one, two):
        alive = store.alive()
        assert set(alive) == {"coordinator:1", "coordinator:2"}
        assert 20.0 < alive["coordinator:1"] <= 30.0
        assert -10.0 < alive["coordinator:2"] < 0.0
    before = one.list("").revision
    one.beat("coordinator:2", 30.0)
    assert two.alive()["coordinator:2"] > 20.0
    assert one.list("") == two.list("") and one.list("").revision == before  # not part of the contents


@check
def a_closed_store_says_so(place: Place) -> None:
    store = place.open()
    store.close()
    store.close()
    for call in (lambda: store.get("a"), lambda: store.commit({}, {"a": b""}), store.alive):
        with pytest.raises(StoreUnavailable):
            call()


@lasting
def contents_outlive_all_handles(place: Place) -> None:
    store = place.open()
    first = store.commit({}, {"a": b"1", "b": b"1"})
    second = store.commit({"a": first}, {"a": None})
    store.close()
    again = place.open()
    assert [(item.key, item.revision) for item in again.list("").items] == [("b", first)]
    assert again.commit({}, {"c": b""}) > second


def add(store: Store, key: str, times: int) -> None:
    """Increment a number ``times`` times by compare-and-set; a guard key shows that both are written or none."""
    for _ in range(times):
        while True:
            item = store.get(key)
            value, revision = (int(item.value), item.revision) if item else (0, ABSENT)
            try:
                store.commit({key: revision}, {key: b"%d" % (value + 1), key + "-copy": b"%d" % (value + 1)})
            except Conflict:
                continue
            break


@check
def threads_lose_no_update(place: Place) -> None:
    shared, own = place.open(), place.open()
    threads = [threading.Thread(target=add, args=(store, "n", 25)) for store in (shared, shared, own, place.open())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    for key in ("n", "n-copy"):
        item = own.get(key)
        assert item is not None and item.value == b"100"
    assert own.list("").revision >= 100


@lasting
def processes_lose_no_update(place: Place) -> None:
    store = place.open()
    source = (
        f"import sys; sys.path[:0] = {sys.path!r}\n{place.child}\nfrom contract_store import add; add(store, 'n', 50)"
    )
    children = [subprocess.Popen([sys.executable, "-c", source]) for _ in range(2)]
    add(store, "n", 50)
    assert [child.wait(60.0) for child in children] == [0, 0]
    item = store.get("n")
    assert item is not None and item.value == b"150"


@check
def a_listing_is_of_one_moment(place: Place) -> None:
    """A writer keeps two keys equal; whoever lists must never see them differ."""
    writer, reader = place.open(), place.open()
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            add(writer, "n", 1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = set[int]()
        while len(seen) < 50:
            listing = reader.list("n")
            assert len({item.value for item in listing.items}) <= 1
            assert all(item.revision <= listing.revision for item in listing.items)
            since = reader.list("n", since=max(1, listing.revision - 1))
            assert len({item.value for item in since.items}) <= 1
            seen.add(listing.revision)
    finally:
        enough.set()
        thread.join(20.0)


KEYS = st.sampled_from(["a", "b", "p/a", "p/b", "p/c/d", "q"])
PREFIXES = st.sampled_from(["", "a", "p", "p/", "p/c", "zz"])
VALUES = st.one_of(st.none(), st.binary(max_size=8))


def model_machine(open_place: Callable[[], Place], examples: int = 40) -> type[RuleBasedStateMachine]:
    """A state machine over two handles of a place, against a dictionary; ``examples`` sequences of 25 steps."""

    class Machine(RuleBasedStateMachine):
        revisions = Bundle("revisions")

        def __init__(self) -> None:
            super().__init__()
            place = open_place()
            self.handles = [place.open(), place.open()]
            self.model: dict[str, tuple[bytes, int]] = {}
            self.touched: list[tuple[int, set[str]]] = [(0, set())]  # commits: revision, keys

        @initialize(target=revisions)
        def begin(self) -> int:
            return 0

        @property
        def revision(self) -> int:
            return self.touched[-1][0]

        @rule(
            target=revisions,
            handle=st.integers(0, 1),
            right=st.sets(KEYS),
            wrong=st.dictionaries(KEYS, revisions, max_size=1),
            writes=st.dictionaries(KEYS, VALUES, max_size=4),
        )
        def commit(self, handle: int, right: set[str], wrong: dict[str, int], writes: dict[str, bytes | None]) -> int:
            expect = {key: self.model.get(key, (b"", ABSENT))[1] for key in sorted(right)}
            expect.update(wrong)
            bad = [key for key, revision in expect.items() if self.model.get(key, (b"", ABSENT))[1] != revision]
            if bad:
                assert raises_conflict(self.handles[handle], expect, writes).key == bad[0]
                return self.revision
            found = self.handles[handle].commit(expect, writes)
            if not writes:
                assert found == self.revision
                return found
            assert found > self.revision
            for key, value in writes.items():
                if value is None:
                    self.model.pop(key, None)
                else:
                    self.model[key] = (value, found)
            self.touched.append((found, set(writes)))
            return found

        @rule(handle=st.integers(0, 1), key=KEYS)
        def get(self, handle: int, key: str) -> None:
            item = self.handles[handle].get(key)
            assert (None if item is None else (item.value, item.revision)) == self.model.get(key)

        @rule(handle=st.integers(0, 1), prefix=PREFIXES, since=revisions)
        def list_since(self, handle: int, prefix: str, since: int) -> None:
            listing = self.handles[handle].list(prefix, since)
            assert listing.revision == self.revision
            assert [(item.key, item.value, item.revision) for item in listing.items] == [
                (key, *self.model[key])
                for key in sorted(self.model)
                if key.startswith(prefix) and self.model[key][1] > since
            ]

        @rule(handle=st.integers(0, 1), prefix=PREFIXES, since=revisions)
        def watch(self, handle: int, prefix: str, since: int) -> None:
            # A wake-up may come without cause, but must not be missing where there is one.
            due = any(key.startswith(prefix) for revision, keys in self.touched if revision > since for key in keys)
            if due:
                began = time.monotonic()
                assert since < self.handles[handle].watch(prefix, since, 30.0) <= self.revision
                assert time.monotonic() - began < 20.0

        @invariant()
        def handles_agree(self) -> None:
            assert self.handles[0].list("") == self.handles[1].list("")

        def teardown(self) -> None:
            for store in self.handles:
                store.close()

    Machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    return Machine
