"""The contract of a key-value server on the one in memory, and its faults by script."""

from __future__ import annotations

import asyncio

import pytest

from contract_kv import CHECKS, Check, Place, name_of
from underway_agent.kv.base import KvDenied, KvError, KvFull, KvRefused, KvUnavailable
from underway_agent.kv.memory import MemoryKv, MemoryServer


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check: Check) -> None:
    server = MemoryServer()
    asyncio.run(asyncio.wait_for(_run(check, Place(lambda: MemoryKv(server), "k/", 0.2, 10.0)), 120.0))


async def _run(check: Check, place: Place) -> None:
    await check(place)


@pytest.mark.parametrize(
    ("fault", "error", "there"),
    [
        ("lost", KvUnavailable, False),
        ("unknown", KvUnavailable, True),
        ("full", KvFull, False),
        ("denied", KvDenied, False),
        ("refused", KvRefused, False),
    ],
)
def test_a_scripted_fault_strikes_once(fault: str, error: type[KvError], there: bool) -> None:
    async def story() -> None:
        server = MemoryServer()
        kv = MemoryKv(server)
        server.script.extend(["", fault])
        assert await kv.txn({}, {"a": b"1"})
        with pytest.raises(error):
            await kv.txn({}, {"b": b"1"})
        assert ((await kv.view(["b"])).get("b") is not None) == there
        assert await kv.txn({}, {"c": b"1"})

    asyncio.run(story())


def test_a_server_that_is_down_answers_nothing() -> None:
    async def story() -> None:
        server = MemoryServer()
        kv = MemoryKv(server)
        lease = await kv.lease("l", b"", 10.0)
        assert lease is not None
        server.down = True
        for call in (kv.view(["a"]), kv.txn({}, {"a": b""}), kv.wait("a", 0, 1.0), kv.lease("m", b"", 1.0)):
            with pytest.raises(KvUnavailable, match="no server answers"):
                await call
        with pytest.raises(KvUnavailable):
            await lease.renew()
        server.down = False
        assert await lease.renew()

    asyncio.run(story())
