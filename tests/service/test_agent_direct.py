"""Agents that ask Consul or etcd themselves: the same work, with no more rights than the program names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.runner.kit import Kit, effect
from support import store_rights
from support.kv import access_to
from support.near_agent import Near, until_ended, wait_until
from support.stores import KINDS, StoreCluster, store_cluster
from underway.app.rights import rights_of, rights_of_agent, words
from underway.executors.mail import ORDERS, REPORTS
from underway.store.served import ServedStore
from underway_agent import letters
from underway_agent.kv.address import Access
from underway_agent.kv.base import KvDenied
from underway_agent.kv.opening import open_kv
from underway_agent.letters import Orders
from underway_agent.link.kv import KvLink
from underway_agent.places import place

pytestmark = pytest.mark.service

ROOT = "underway/demo/mail"


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreCluster]:
    with store_cluster(request.param, tmp_path, auth=True) as made:
        yield made


def small(cluster: StoreCluster, directory: Path, host: str) -> Access:
    """Access with the rights of one host's agent, as the program prints them."""
    return store_rights.actor(cluster, directory, host, words(cluster.kind, host, rights_of_agent(host, ROOT)))


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    log = tmp_path / "effects"
    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    return Kit(
        tmp_path,
        [
            {"id": "web.upgrade.one", "tasks": [effect(log, "one")]},
            {"id": "web.upgrade.wait", "idempotent": True, "tasks": [{"name": "w", "ansible.builtin.shell": wait}]},
            {"id": "web.upgrade.two", "tasks": [effect(log, "two")]},
        ],
    )


@pytest.fixture
def near(cluster: StoreCluster, kit: Kit, tmp_path: Path) -> Iterator[Near]:
    text = words(cluster.kind, "operator", rights_of("operator", "underway/demo", "demo"))
    operator = store_rights.actor(cluster, tmp_path / "operator", "operator", text)
    store = ServedStore(open_kv(operator), "underway/demo")
    own = small(cluster, tmp_path / "own", "h1")
    made = Near(tmp_path, kit, store, lambda: KvLink(open_kv(own), ROOT, "h1"))
    yield made
    made.close()
    store.close()


def test_work_is_given_and_fetched_with_the_least_rights(near: Near, kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    found = until_ended(executor)
    assert found[-1].kind == "finished"
    assert [line.seq for one in found for line in one.lines] == [line["seq"] for line in kit.journal()]
    assert (tmp_path / "effects").read_text().split() == ["one", "two"]
    executor.reports(0)
    assert near.mail.get(ORDERS + "h1") is not None
    letter = near.mail.get(ORDERS + "h1")
    assert letter is not None and letters.read_orders(letter.data).orders == ()


def test_a_server_that_is_away_starts_nothing_and_loses_nothing(
    near: Near, kit: Kit, cluster: StoreCluster, tmp_path: Path
) -> None:
    near.begin()
    executor = near.executor()
    executor.submit(near.order())
    executor.reports(0)
    wait_until(lambda: any(line.get("step") == "web.upgrade.wait" for line in kit.journal()))
    cluster.servers[0].kill()
    (tmp_path / "go").touch()
    wait_until(lambda: kit.journal()[-1]["kind"] == "leg-end")
    wait_until(lambda: any("nothing is started meanwhile" in text for text in near.said))
    cluster.servers[0].start()
    cluster.wait_ready()
    assert until_ended(executor)[-1].kind == "finished"
    assert (tmp_path / "effects").read_text().split() == ["one", "two"]


def test_an_agent_reaches_no_other_letter_and_no_record(cluster: StoreCluster, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    whole, own = access_to(cluster, tmp_path / "all"), small(cluster, tmp_path / "own", "h1")

    async def story() -> None:
        boss, host = open_kv(whole), open_kv(own)
        theirs = [place(ROOT, f"{ORDERS}{name}") for name in ("h2", "h10", "h")]
        for key in (*theirs, place(ROOT, ORDERS + "h1"), "underway/demo/d/underway/demo/current"):
            await boss.txn({}, {key: letters.write_orders(Orders())})
        try:
            assert (await host.view([place(ROOT, ORDERS + "h1")])).items
            await host.txn({}, {place(ROOT, REPORTS + "h1"): b"word"})
            for key in (*theirs, "underway/demo/d/underway/demo/current"):
                try:
                    assert not (await host.view([key])).items, f"{key} was read"  # Consul hides, etcd refuses
                except KvDenied:
                    continue
            for key in (
                *theirs, place(ROOT, ORDERS + "h1"), place(ROOT, REPORTS + "h2"), place(ROOT, REPORTS + "h10"),
                place(ROOT, "agents/h2"), place(ROOT, "blobs/x/head"), "underway/demo/head",
                "underway/demo/d/underway/demo/current", "underway/demo/d/underway-mail/demo/hosts/h1",
            ):  # fmt: skip
                with pytest.raises(KvDenied):
                    await host.txn({}, {key: b"stolen"})
                with pytest.raises(KvDenied):
                    await host.txn({}, {key: None})
            found = await boss.view(prefixes=["underway/"])
            assert not [item.key for item in found.items if item.value == b"stolen"]
        finally:
            await boss.close()
            await host.close()

    asyncio.run(story())
