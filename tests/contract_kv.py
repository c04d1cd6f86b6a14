"""The contract of ``underway_agent.kv.base`` as checks that any driver can be put to.

A check is a coroutine function of a ``Place``: ``open`` gives one more client of the same server, ``root`` is a prefix
of keys that nobody else uses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from underway_agent.kv.base import ABSENT, MAX_OPS, Kv, KvItem, KvRefused, KvUnavailable

PATIENCE = 60.0
"""Seconds for what takes milliseconds on a machine with nothing else to do."""


@dataclass(frozen=True)
class Place:
    """A server. ``ttl``: the shortest lease it gives; ``grace``: seconds after which a lease is surely over."""

    open: Callable[[], Kv]
    root: str
    ttl: float
    grace: float


Check = Callable[[Place], Awaitable[None]]
CHECKS: list[Check] = []


def name_of(check: Check) -> str:
    return getattr(check, "__name__", "?")


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


ODD = [
    "?a=b&c#d",
    "%2F%00",
    '"quoted"',
    "back\\slash",
    "<tag>",
    "a//b",
    "a/../b",
    "a/./b",
    "~",
    "*",
    "a+b",
    "{}",
    "|;$(x)",
]
"""Ends of keys that something on the way may take for its own."""


@check
async def what_is_absent_is_not_seen(place: Place) -> None:
    kv = place.open()
    view = await kv.view([place.root + "a", place.root + "b"], [place.root])
    assert view.items == () and view.get(place.root + "a") is None
    assert (await kv.view([place.root + "a"])).items == ()


@check
async def keys_and_prefixes_are_seen_together_and_once(place: Place) -> None:
    kv, root = place.open(), place.root
    index = await kv.txn({}, {root + "a": b"1", root + "a/b": b"\x00\xff", root + "c": b""})
    assert index
    view = await kv.view([root + "a", root + "none", root + "c", root + "a"], [root + "a"])
    assert [(item.key, item.value, item.index) for item in view.items] == [
        (root + "a", b"1", index),
        (root + "a/b", b"\x00\xff", index),
        (root + "c", b"", index),
    ]
    assert view.index >= index
    assert abs(view.time - (await kv.view([root + "a"])).time) < PATIENCE


@check
async def odd_keys_are_kept_as_they_are(place: Place) -> None:
    kv, root = place.open(), place.root
    keys = [root + end for end in ODD]
    index = await kv.txn(dict.fromkeys(keys, ABSENT), {key: key.encode() for key in keys})
    assert index
    assert [item.key for item in (await kv.view(keys)).items] == sorted(keys)
    assert [item.key for item in (await kv.view(prefixes=[root])).items] == sorted(keys)
    for key in keys:
        found = (await kv.view([key])).get(key)
        assert found is not None and found.value == key.encode()
        assert await kv.txn({key: index}, {key: None}) is not None
    assert (await kv.view(prefixes=[root])).items == ()


@check
async def an_expectation_that_fails_writes_nothing(place: Place) -> None:
    kv, a, b, c = place.open(), place.root + "a", place.root + "b", place.root + "c"
    first = await kv.txn({a: ABSENT}, {a: b"1", b: b"1"})
    assert first
    second = await kv.txn({a: first}, {a: b"2"})
    assert second and second > first
    for expect in ({a: first}, {a: ABSENT}, {c: first}, {b: first, c: second}, {b: first, a: first}):
        for writes in ({}, {c: b"x"}, {a: b"x"}, {a: None}, {b: None}, {c: None}, {b: b"x", c: None}):
            assert await kv.txn(expect, writes) is None, (expect, writes)
    view = await kv.view([a, b, c])
    assert [(item.key, item.value, item.index) for item in view.items] == [(a, b"2", second), (b, b"1", first)]


@check
async def a_key_may_be_compared_and_deleted(place: Place) -> None:
    kv, a, b = place.open(), place.root + "a", place.root + "b"
    first = await kv.txn({}, {a: b"1"})
    assert first
    assert await kv.txn({b: first}, {b: None}) is None  # of a key that is not there
    assert await kv.txn({b: ABSENT}, {b: None}) is not None
    assert await kv.txn({a: first}, {a: None}) is not None
    assert await kv.txn({a: first}, {a: None}) is None
    assert await kv.txn({}, {a: None}) is not None
    again = await kv.txn({a: ABSENT}, {a: b"2"})
    assert again and again > first


@check
async def writing_the_same_value_is_a_change(place: Place) -> None:
    kv, a, b = place.open(), place.root + "a", place.root + "b"
    first = await kv.txn({}, {a: b"1", b: b""})
    assert first
    second = await kv.txn({a: first}, {a: b"1", b: b""})
    assert second and [item.index for item in (await kv.view([a, b])).items] == [second, second]
    assert await kv.txn({a: first}, {a: b"1"}) is None


@check
async def another_client_sees_what_returned(place: Place) -> None:
    clients, key = [place.open(), place.open()], place.root + "a"
    for number in range(12):
        index = await clients[number % 2].txn({}, {key: b"%d" % number})
        item = (await clients[1 - number % 2].view([key])).get(key)
        assert item is not None and (item.value, item.index) == (b"%d" % number, index)


@check
async def a_view_is_of_one_moment(place: Place) -> None:
    writer, reader, keys = place.open(), place.open(), [place.root + "x", place.root + "y"]
    done = False

    async def write() -> None:
        number = 0
        while not done:
            number += 1
            value = b"%d" % number if number % 3 else None  # now and then both are gone
            await writer.txn({}, dict.fromkeys(keys, value))

    task = asyncio.create_task(write())
    try:
        seen = set[tuple[KvItem, ...]]()
        end = time.monotonic() + PATIENCE
        while len(seen) < 30 and time.monotonic() < end:
            items = (await reader.view(keys)).items
            assert len(items) in (0, 2) and len({item.value for item in items}) <= 1
            seen.add(items)
        assert len(seen) >= 30
    finally:
        done = True
        await task


@check
async def waiting_ends_by_a_change(place: Place) -> None:
    kv, other, key = place.open(), place.open(), place.root + "w/a"
    index = await kv.txn({}, {key: b"1"})
    assert index
    changes: list[dict[str, bytes | None]] = [{key: b"2"}, {place.root + "w/b": b"new"}, {key: None}]
    for change in changes:
        index = max(index, (await kv.view([key], [place.root + "w/"])).index)
        task = asyncio.create_task(kv.wait(place.root + "w/", index, PATIENCE))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await other.txn({}, change)
        index = await task
        assert time.monotonic() - began < PATIENCE / 2


@check
async def waiting_misses_nothing_that_came_before_it(place: Place) -> None:
    kv, other, key = place.open(), place.open(), place.root + "a"
    await kv.txn({}, {key: b"1"})
    view = await kv.view([key])
    await other.txn({}, {key: b"2"})
    began = time.monotonic()
    await kv.wait(key, view.index, PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


@check
async def waiting_ends_by_time(place: Place) -> None:
    kv, key = place.open(), place.root + "a"
    index = await kv.txn({}, {key: b"1"})
    assert index
    began = time.monotonic()
    found = await kv.wait(key, index, 0.3)
    assert 0.2 < time.monotonic() - began < PATIENCE / 2
    assert found >= index


@check
async def waiting_for_what_is_not_there_ends_by_its_coming(place: Place) -> None:
    """And by nothing else: whoever looks and waits in turn would never rest."""
    kv, key = place.open(), place.root + "late"
    await kv.txn({}, {place.root + "other": b"1"})
    index = (await kv.view([key])).index
    began = time.monotonic()
    await kv.wait(key, index, 0.5)
    assert 0.4 < time.monotonic() - began < PATIENCE / 2
    task = asyncio.create_task(kv.wait(key, index, PATIENCE))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await kv.txn({}, {key: b"1"})
    await task
    assert time.monotonic() - began < PATIENCE / 2


@check
async def an_index_of_another_history_does_not_stop_a_waiter(place: Place) -> None:
    """Put back from a backup, a server's index may be far behind the one that was seen."""
    kv, key = place.open(), place.root + "a"
    index = await kv.txn({}, {key: b"1"})
    assert index
    found = await kv.wait(key, index + 1_000_000, 1.0)
    view = await kv.view([key])
    task = asyncio.create_task(kv.wait(key, min(found, view.index), PATIENCE))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await kv.txn({}, {key: b"2"})
    await task
    assert time.monotonic() - began < PATIENCE / 2


@check
async def an_odd_prefix_can_be_waited_for(place: Place) -> None:
    kv = place.open()
    for end in ("%2F?x#", "a//b", "a/../b", "*"):
        key = place.root + "o/" + end
        index = await kv.txn({}, {key: b"1"})
        assert index
        task = asyncio.create_task(kv.wait(key, index, PATIENCE))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await kv.txn({}, {key: b"2"})
        await task
        assert time.monotonic() - began < PATIENCE / 2


@check
async def a_lease_is_held_by_one_and_fences(place: Place) -> None:
    one, two, key, other = place.open(), place.open(), place.root + "leader", place.root + "x"
    lease = await one.lease(key, b"one", place.ttl)
    assert lease is not None and lease.ttl >= place.ttl and lease.index > 0
    assert await two.lease(key, b"two", place.ttl) is None
    item = (await two.view([key])).get(key)
    assert item is not None and (item.value, item.index) == (b"one", lease.index)
    assert await lease.renew()
    assert await one.txn({key: lease.index}, {other: b"by one"}) is not None  # renewing did not change the index
    await lease.end()
    await lease.end()
    assert not await lease.renew()
    next_lease = await two.lease(key, b"two", place.ttl)
    assert next_lease is not None and next_lease.index > lease.index
    assert await one.txn({key: lease.index}, {other: b"by one again"}) is None
    await next_lease.end()
    assert (await one.view([key])).items == ()


@check
async def a_lease_that_nobody_renews_is_over(place: Place) -> None:
    one, two, key = place.open(), place.open(), place.root + "leader"
    lease = await one.lease(key, b"one", place.ttl)
    assert lease is not None
    end = time.monotonic() + place.grace
    while (await two.view([key])).items:
        assert time.monotonic() < end, "a lease does not end"
        await asyncio.sleep(place.ttl / 20)
    assert not await lease.renew()
    again = await two.lease(key, b"two", place.ttl)
    assert again is not None and again.index > lease.index
    await lease.end()  # of the lost one: must not take the key from who holds it now
    item = (await two.view([key])).get(key)
    assert item is not None and item.value == b"two"
    await again.end()


@check
async def too_many_parts_are_refused(place: Place) -> None:
    kv, keys = place.open(), [f"{place.root}{number}" for number in range(MAX_OPS + 1)]
    with pytest.raises(KvRefused, match="65 parts: expected 1 to 64"):
        await kv.view(keys)
    with pytest.raises(KvRefused, match="65 parts"):
        await kv.txn({}, dict.fromkeys(keys, b""))
    with pytest.raises(KvRefused, match="66 parts"):
        await kv.txn(dict.fromkeys(keys[:33], 5), dict.fromkeys(keys[:33], None))
    for nothing in (kv.view(), kv.txn({}, {})):
        with pytest.raises(KvRefused, match="0 parts"):
            await nothing
    assert (await kv.view(keys[:63], [place.root])).items == ()
    index = await kv.txn(dict.fromkeys(keys[:64], ABSENT), dict.fromkeys(keys[:64], b"x"))
    assert index and len((await kv.view(keys[:64])).items) == 64
    assert await kv.txn(dict.fromkeys(keys[:32], index), dict.fromkeys(keys[:32], None)) is not None
    assert len((await kv.view(keys[:64])).items) == 32


@check
async def a_closed_client_says_so(place: Place) -> None:
    kv = place.open()
    await kv.view([place.root])
    await kv.close()
    await kv.close()
    with pytest.raises(KvUnavailable, match="closed"):
        await kv.view([place.root])
    with pytest.raises(KvUnavailable, match="closed"):
        await kv.txn({}, {place.root: b""})
