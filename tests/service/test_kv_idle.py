"""Who waits for letters rests meanwhile: on Consul a wait for what is not there, or beside a newer letter of another,
would end at once, and whoever looked and waited again would do so hundreds of times a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.kv import access_to
from support.stores import KINDS, StoreCluster, store_cluster
from underway.executors.mail import AGENTS, ORDERS, REPORTS
from underway.records.kvmail import KvMail
from underway.store.served import ServedStore
from underway_agent.kv.opening import open_kv
from underway_agent.link.kv import KvLink

pytestmark = pytest.mark.service

ROOT = "underway/demo"
SPELL = 2.0
LOOKS = 6
"""How often somebody may look in a spell in which nothing happens; a second at a time is waited."""


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreCluster]:
    with store_cluster(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def store(cluster: StoreCluster, tmp_path: Path) -> Iterator[ServedStore]:
    made = ServedStore(open_kv(access_to(cluster, tmp_path)), ROOT)
    yield made
    made.close()


def looks(mail: KvMail, prefix: str, names: list[str] | None = None) -> int:
    """How often a loop looks in a spell."""
    end, count, mark = time.monotonic() + SPELL, 0, 0
    while time.monotonic() < end:
        _, mark = mail.list(prefix, mark, names)
        mail.wait(prefix, mark, 1.0)
        count += 1
    return count


def test_whoever_hands_out_orders_rests_while_there_are_none(store: ServedStore) -> None:
    mail = KvMail(store)
    assert looks(mail, ORDERS) <= LOOKS
    mail.put(AGENTS + "h1", b"hello")
    assert looks(mail, ORDERS) <= LOOKS
    mail.put(ORDERS + "h1", b"order")
    assert looks(mail, ORDERS) <= LOOKS


def test_a_coordinator_rests_beside_newer_letters_of_hosts_that_are_not_at_work(store: ServedStore) -> None:
    mail = KvMail(store)
    mail.put(REPORTS + "h1", b"at work")
    mail.put(REPORTS + "h2", b"done, and written after")
    assert looks(mail, REPORTS, ["h1"]) <= LOOKS
    assert looks(mail, REPORTS, ["h3"]) <= LOOKS


def test_what_comes_while_it_rests_is_heard_at_once(store: ServedStore) -> None:
    mail, other = KvMail(store), KvMail(store)
    for number in range(3):
        _, mark = mail.list(REPORTS, 0, ["h1"])
        writer = threading.Timer(0.3, other.put, (REPORTS + "h1", b"word %d" % number))
        writer.start()
        began = time.monotonic()
        while not [one for one in mail.list(REPORTS, mark, ["h1"])[0] if one.data == b"word %d" % number]:
            mail.wait(REPORTS, mark, 30.0)
            assert time.monotonic() - began < 20.0
        writer.join()


def test_an_agent_without_orders_rests(cluster: StoreCluster, tmp_path: Path) -> None:
    async def story() -> int:
        kv: Any = open_kv(access_to(cluster, tmp_path))
        await kv.txn({}, {"another/key": b"so that the server counts"})
        view, asked = kv.view, 0

        async def counted(*given: Any) -> Any:
            nonlocal asked
            asked += 1
            return await view(*given)

        kv.view = counted
        link = KvLink(kv, f"{ROOT}/mail", "h1")
        assert await link.orders("", SPELL) is None
        await link.close()
        return asked

    assert asyncio.run(story()) <= LOOKS
