"""Everyone who uses a cluster's keys, on real servers that deny by default, with the rights that the program prints.

Each actor does its work with exactly these rights (agents and coordinators whole: ``test_agent_direct``), and of every
kind of key it reads and writes those of its table and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fast.compat.made import said
from support import store_rights
from support.kv import access_to
from support.pulling import enrolments
from support.sample_records import ENVELOPE, RUN, event, grant, hold
from support.stores import KINDS, StoreCluster, store_cluster
from underway import trust
from underway.app.compat import Front
from underway.app.rights import Right, rights_of, rights_of_agent, rights_of_compat, words
from underway.core.compat.keys import Keys as CompatKeys
from underway.core.compat.rollout import Terms
from underway.core.model.base import replace
from underway.core.model.state import Machine
from underway.errors import StoreError
from underway.executors.mail import AGENTS, ORDERS, REPORTS, put_blob
from underway.records.change import Change
from underway.records.kvmail import KvMail
from underway.records.repository import Repository
from underway.store.served import ServedStore
from underway_agent.kv.address import Access
from underway_agent.kv.base import Kv, KvDenied
from underway_agent.kv.opening import open_kv
from underway_agent.link.kv import KvLink

pytestmark = pytest.mark.service

ROOT, MAIL = "underway/demo", "underway/demo/mail"
DATA = f"{ROOT}/d/underway/demo"
COMPAT = CompatKeys(prefix="site/")

KEYS = {
    "head": f"{ROOT}/head", "log": f"{ROOT}/log/000000000001", "beat": f"{ROOT}/beats/r1/coordinator:1",
    "current": f"{DATA}/current", "admission": f"{DATA}/admission", "run": f"{DATA}/runs/r1/record",
    "leader": f"{DATA}/runs/r1/leader", "plan": f"{DATA}/runs/r1/plan/0000", "policy": f"{DATA}/runs/r1/policy",
    "action": f"{DATA}/runs/r1/actions/data/compute/h1", "approval": f"{DATA}/runs/r1/approvals/data",
    "hold": f"{DATA}/holds/h1", "health": f"{DATA}/health/h1", "host": f"{DATA}/hosts/h1",
    "machine": f"{DATA}/machines/h1", "durations": f"{DATA}/durations",
    "audit": f"{DATA}/audit/000000000001", "audit-head": f"{DATA}/audit-head",
    "enrolment": f"{ROOT}/d/underway-mail/demo/hosts/h1",
    "orders h1": f"{MAIL}/orders/h1/letter", "orders h2": f"{MAIL}/orders/h2/letter",
    "orders h10": f"{MAIL}/orders/h10/letter", "orders changes": f"{MAIL}/log/head",
    "reports h1": f"{MAIL}/reports/h1/letter", "reports h2": f"{MAIL}/reports/h2/letter",
    "reports h10": f"{MAIL}/reports/h10/letter",
    "agents h1": f"{MAIL}/agents/h1/letter", "agents h2": f"{MAIL}/agents/h2/letter",
    "blob": f"{MAIL}/blobs/ab/head/letter",
    "another cluster": "underway/other/head", "a cluster of nearly this name": "underway/demo2/head",
    "beside": "secret", "above": "underway",
}  # fmt: skip
FOREIGN = {"another cluster", "a cluster of nearly this name", "beside", "above"}
OWN = KEYS.keys() - FOREIGN
MAIL_KEYS = {name for name, key in KEYS.items() if key.startswith(MAIL)}

READS = {
    "operator": OWN,
    "serve": OWN,
    "viewer": OWN - MAIL_KEYS | {"agents h1", "agents h2"},
    "h1": {"orders h1", "blob"},
}
WRITES = {
    "operator": OWN,
    "serve": {"head", "log", "audit", "audit-head", "enrolment", "machine", "admission"}
    | {name for name in KEYS if name.startswith(("reports", "agents"))},
    "viewer": set[str](),
    "h1": {"reports h1", "agents h1"},
}

COMPAT_KEYS = {
    "current": COMPAT.current, "record": COMPAT.record, "version": COMPAT.running("2", "cp1"),
    "older version": f"{COMPAT.older_versions}2/cp1", "switch": COMPAT.switch("host", "cp1"),
    "switch of all": COMPAT.switch("global"),
    "pause": COMPAT.pause("host", "cp1"), "pause of all": COMPAT.pause("global"),
    "result": COMPAT.result("puppet", "cp1"), "result of cp2": COMPAT.result("puppet", "cp2"),
    "result of cp10": COMPAT.result("validation", "cp10"),
    "beside": "current_version", "a longer name": "site/current_version2",
}  # fmt: skip
COMPAT_OWN = COMPAT_KEYS.keys() - {"beside", "a longer name"}
COMPAT_STATE = {"switch", "switch of all", "pause", "pause of all"}
COMPAT_READS = {
    "operator": COMPAT_OWN,
    "viewer": COMPAT_OWN,
    "cp1": {"current", "version", "older version", "result", *COMPAT_STATE},
}
COMPAT_WRITES = {
    "operator": {"current", "record", *COMPAT_STATE},
    "viewer": set[str](),
    "cp1": {"version", "older version", "result"},
}


@dataclass
class Site:
    """A server with an access for everyone."""

    cluster: StoreCluster
    whole: Access
    access: dict[str, Access]
    compat: dict[str, Access]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("rights")
    with store_cluster(request.param, directory, auth=True) as cluster:

        def actor(name: str, text: str) -> Access:
            return store_rights.actor(cluster, directory / name, name, text)

        kind = cluster.kind
        made = {name: rights_of(name, ROOT, "demo") for name in ("operator", "serve", "viewer")}
        access = {name: actor(name, words(kind, name, given)) for name, given in made.items()}
        access["h1"] = actor("h1", words(kind, "h1", rights_of_agent("h1", MAIL)))
        asked = {name: rights_of_compat(name, COMPAT) for name in ("operator", "viewer")}
        asked["cp1"] = rights_of_compat("host", COMPAT, "cp1")
        compat = {name: actor(f"compat-{name}", words(kind, name, given)) for name, given in asked.items()}
        (directory / "whole").mkdir()
        yield Site(cluster, access_to(cluster, directory / "whole"), access, compat)


def asked(access: Access, story: Callable[[Kv], Awaitable[object]]) -> None:
    async def whole() -> None:
        kv = open_kv(access)
        try:
            await story(kv)
        finally:
            await kv.close()

    asyncio.run(whole())


async def may(work: Awaitable[object]) -> bool:
    """Whether it is allowed; of a read, whether anything was seen (Consul hides what it does not allow)."""
    try:
        return await work is not None
    except KvDenied:
        return False


async def seen(kv: Kv, key: str) -> object:
    return (await kv.view([key])).get(key)


def check_table(
    site: Site, access: dict[str, Access], keys: dict[str, str], reads: dict[str, set[str]], writes: dict[str, set[str]]
) -> None:
    """Every actor tries every key: to read it, to write it, to delete it."""

    async def put(kv: Kv) -> None:
        for key in keys.values():
            await kv.txn({}, {key: b"there"})

    async def look(kv: Kv) -> None:
        for name, key in keys.items():
            item = (await kv.view([key])).get(key)
            assert item is not None and item.value == b"there", f"{name} was changed by somebody without a right"

    for actor, own in access.items():
        asked(site.whole, put)

        async def attempt(kv: Kv, actor: str = actor) -> None:
            for name, key in keys.items():
                # Consul has no right to write alone
                readable = name in reads[actor] or (site.cluster.kind == "consul" and name in writes[actor])
                assert await may(seen(kv, key)) == readable, f"{actor} reads {name}"
                for value in (None, b"there"):
                    allowed = name in writes[actor]
                    assert await may(kv.txn({}, {key: value})) == allowed, f"{actor} writes {name}: {value!r}"

        asked(own, attempt)
        asked(site.whole, look)


def test_each_reads_and_writes_the_keys_of_its_table_and_no_others(site: Site) -> None:
    check_table(site, site.access, KEYS, READS, WRITES)

    async def clear(kv: Kv) -> None:
        for key in KEYS.values():
            await kv.txn({}, {key: None})

    asked(site.whole, clear)


def test_each_does_its_work_with_these_rights(site: Site) -> None:
    stores = {name: ServedStore(open_kv(site.access[name]), ROOT) for name in ("operator", "serve", "viewer")}
    operator, serve, viewer = (Repository(stores[name], "demo") for name in stores)
    signer = trust.Signer.generate_ed25519()
    try:
        operator.create_run(replace(RUN, cluster="demo"), ENVELOPE, event("run-started"))
        operator.commit(grant(operator.snapshot("r1"), "h1"), operator.snapshot("r1"))
        operator.commit(hold("h2"))
        stores["operator"].beat("r1/coordinator:1", 30.0)
        code = enrolments(stores["operator"], signer).invite("h1", "ada", 0.0)
        mail = KvMail(stores["operator"])
        mail.put(ORDERS + "h1", b"order")
        put_blob(mail, "ab", b"plan")

        served = KvMail(stores["serve"])
        enrolments(stores["serve"], signer).enrol("h1", code, "11" * 32, "ab" * 32, 1.0)
        assert [letter.data for letter in served.list(ORDERS)[0]] == [b"order"]
        served.wait(ORDERS, 0, 0.1)
        machine = Machine(host="h9", number=1, by="ada", at=1.0, reason="enrolled", run="r1", serial=1)
        again = Change("r1", (event(host="h9"),), machines={"h9": machine}, bump="enrolled: h9")
        serve.commit(again, serve.snapshot("r1"))
        served.put(REPORTS + "h1", b"by serve")
        served.put(AGENTS + "h1", b"by serve")
        assert serve.snapshot("r1").actions.keys() == operator.snapshot("r1").actions.keys()

        async def agent(kv: Kv) -> None:
            link = KvLink(kv, MAIL, "h1")
            await link.hello(b"hello")
            found = await link.orders("", 0.0)
            assert found is not None and found.data == b"order"
            assert await link.orders(found.mark, 0.2) is None
            assert await link.blob("ab") == b"plan"
            await link.report(b"report")

        asked(site.access["h1"], agent)
        letters = [KvMail(stores["viewer"]).get(AGENTS + "h1"), mail.get(REPORTS + "h1")]
        assert [letter.data for letter in letters if letter is not None] == [b"hello", b"report"]

        assert viewer.snapshot("r1").holds.keys() == {"h2"}
        assert viewer.verify() == (len(viewer.events()), []) and viewer.hosts() == {}
        assert set(stores["viewer"].alive()) == {"r1/coordinator:1"}
        assert enrolments(stores["viewer"], signer).of("h1") is not None
        for repository in (viewer, serve):
            with pytest.raises(StoreError, match=r"permission denied|does not allow|may not read"):
                repository.commit(hold("h3"))
        assert operator.snapshot("r1").holds.keys() == {"h2"}
    finally:
        for store in stores.values():
            store.close()


def test_where_consul_wants_a_right_to_list_there_is_one(tmp_path: Path) -> None:
    """A switch of Consul's that takes reading apart: whoever waits for changes lists keys."""
    switch = ("-hcl", "acl { enable_key_list_policy = true }")
    with store_cluster("consul", tmp_path, auth=True, options=switch) as cluster:

        def actor(name: str, rights: Sequence[Right]) -> Access:
            return store_rights.actor(cluster, tmp_path / name, name, words("consul", name, rights))

        (tmp_path / "whole").mkdir()
        asked(access_to(cluster, tmp_path / "whole"), lambda kv: kv.txn({}, {f"{MAIL}/orders/h1/letter": b"order"}))
        store = ServedStore(open_kv(actor("serve", rights_of("serve", ROOT, "demo"))), ROOT)
        KvMail(store).wait(ORDERS, 1, 0.2)
        assert [letter.data for letter in KvMail(store).list(ORDERS)[0]] == [b"order"]
        store.close()

        async def wait(kv: Kv) -> None:
            found = await KvLink(kv, MAIL, "h1").orders("", 0.0)
            assert found is not None and await KvLink(kv, MAIL, "h1").orders(found.mark, 0.2) is None

        asked(actor("h1", rights_of_agent("h1", MAIL)), wait)
        viewer = ServedStore(open_kv(actor("viewer", rights_of("viewer", ROOT, "demo"))), ROOT)
        assert viewer.list("").items == () and viewer.watch("", 0, 0.2) == 0
        viewer.close()


def test_scripts_of_hosts_do_theirs_and_no_other(site: Site) -> None:
    check_table(site, site.compat, COMPAT_KEYS, COMPAT_READS, COMPAT_WRITES)

    async def clear(kv: Kv) -> None:
        for key in COMPAT_KEYS.values():
            await kv.txn({}, {key: None})

    async def began(kv: Kv) -> None:
        found = await Front(kv, COMPAT, {"cp1": "cp"}).upgrade("2", said({}), Terms())
        assert found.round is not None and found.round.granted == ("cp1",)

    async def host(kv: Kv) -> None:
        front = Front(kv, COMPAT)
        assert (await front.should_upgrade("cp1")).code == 0
        assert (await front.pending_update("cp1", "1")).code == 0
        await front.register("cp1", "2")
        await front.result("puppet", "cp1", 2)
        with pytest.raises(StoreError, match=r"permission denied|does not allow|may not read"):
            await front.disable()

    async def look(kv: Kv) -> None:
        front = Front(kv, COMPAT, {"cp1": "cp"})
        assert (await front.look())[0].complete
        with pytest.raises(StoreError, match=r"permission denied|does not allow|may not read"):
            await front.register("cp1", "3")

    async def before(kv: Kv) -> None:
        await Front(kv, COMPAT).register("cp1", "1")

    asked(site.whole, clear)
    asked(site.compat["cp1"], before)
    asked(site.compat["operator"], began)
    asked(site.compat["cp1"], host)
    asked(site.compat["viewer"], look)
    asked(site.compat["operator"], disabled)


async def disabled(kv: Kv) -> None:
    await Front(kv, COMPAT).disable()
