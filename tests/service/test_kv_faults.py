"""What Consul and etcd do to a client at worst, and that it says so: servers that die, hang, lose answers or are full,
histories that are cut or put back, clients that are not let in."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from support.kv import access_to, secret
from support.spoiler import spoiler
from support.stores import StoreCluster, StoreServer, store_cluster, until
from underway.errors import StoreError, StoreFull, StoreUnavailable
from underway.store.base import MAX_KEYS, MAX_VALUE
from underway.store.served import ServedStore
from underway_agent.kv.address import Access
from underway_agent.kv.base import Kv, KvDenied, KvFull, KvRefused, KvUnavailable
from underway_agent.kv.opening import open_kv

pytestmark = pytest.mark.service

KINDS = ["consul", "etcd"]
LONG = 60.0
"""Seconds that a call may take on a machine with other work."""


def ask(access: Access, story: Callable[[Kv], Awaitable[None]], timeout: float = LONG) -> None:
    """Run a story with one client."""

    async def run() -> None:
        kv = open_kv(access, timeout=timeout)
        try:
            await story(kv)
        finally:
            await kv.close()

    asyncio.run(asyncio.wait_for(run(), 240.0))


def store_on(cluster: StoreCluster, directory: Path, servers: list[StoreServer] | None = None) -> ServedStore:
    return ServedStore(open_kv(access_to(cluster, directory, servers or []), timeout=LONG), "tests/store")


@pytest.fixture(scope="module", params=KINDS)
def three(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    with store_cluster(request.param, tmp_path_factory.mktemp("three"), count=3) as cluster:
        yield cluster


@pytest.fixture
def healed(three: StoreCluster) -> Iterator[StoreCluster]:
    """The cluster of three; whatever a test stops or kills is back afterwards."""
    yield three
    for server in three.servers:
        if server.running:
            server.cont()
        else:
            server.start()
    three.wait_ready()
    three.leader()


@pytest.fixture(scope="module", params=KINDS)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    """One server with TLS for holders of certificates, and tokens or users."""
    with store_cluster(request.param, tmp_path_factory.mktemp("guarded"), tls=True, auth=True) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=KINDS)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    with store_cluster(request.param, tmp_path_factory.mktemp("one")) as cluster:
        yield cluster


# --- servers that die or hang -----------------------------------------------------------------------------------------


def test_another_server_is_asked_when_one_dies(healed: StoreCluster, tmp_path: Path) -> None:
    """Also when it was the leader, and while somebody waited at it."""
    leader = healed.leader()
    servers = [leader, *(one for one in healed.servers if one is not leader)]

    async def story(kv: Kv) -> None:
        index = await kv.txn({}, {"t/a": b"1"})
        assert index
        waiter = asyncio.create_task(kv.wait("t/a", index, 120.0))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(leader.kill)
        await asyncio.to_thread(healed.leader, servers[1:])
        found = (await kv.view(["t/a"])).get("t/a")
        assert found is not None and found.value == b"1"
        second = await kv.txn({"t/a": index}, {"t/a": b"2"})
        assert second and second > index
        went_on = await waiter  # it may have been woken by the loss alone; then it waits again
        view = await kv.view(["t/a"])
        assert went_on < second or view.index >= second
        while went_on < second:
            went_on = await kv.wait("t/a", went_on, 60.0)

    ask(access_to(healed, tmp_path, servers), story)


def test_a_store_goes_on_when_a_server_dies(healed: StoreCluster, tmp_path: Path) -> None:
    leader = healed.leader()
    others = [one for one in healed.servers if one is not leader]
    writer, watcher = store_on(healed, tmp_path, [leader, *others]), store_on(healed, tmp_path, [leader, *others])
    try:
        first = writer.commit({}, {"a": b"1"})
        assert watcher.list("").revision == first
        leader.kill()
        healed.leader(others)
        second = writer.commit({"a": first}, {"a": b"2"})
        assert watcher.watch("", first, 60.0) == second
        assert [item.value for item in watcher.list("", since=first).items] == [b"2"]
    finally:
        writer.close()
        watcher.close()


def test_a_server_that_hangs_costs_reads_time_and_nothing_else(healed: StoreCluster, tmp_path: Path) -> None:
    hung = healed.followers()[0]
    others = [one for one in healed.servers if one is not hung]

    async def story(kv: Kv) -> None:
        index = await kv.txn({}, {"t/b": b"1"})
        assert index
        hung.stop()
        found = (await kv.view(["t/b"])).get("t/b")
        assert found is not None and found.index == index
        assert await kv.txn({"t/b": index}, {"t/b": b"2"})

    ask(access_to(healed, tmp_path, [hung, *others]), story, timeout=10.0)


def test_a_write_that_hangs_says_that_it_may_have_happened(healed: StoreCluster, tmp_path: Path) -> None:
    """And it happens once at most, whenever the server wakes up."""
    hung = healed.followers()[0]
    alone, all_of_them = access_to(healed, tmp_path, [hung]), access_to(healed, tmp_path)

    async def write(kv: Kv) -> None:
        await kv.txn({}, {"t/c": b"1"})
        hung.stop()
        with pytest.raises(KvUnavailable, match="may or may not have happened"):
            await kv.txn({}, {"t/c": b"2"})

    ask(alone, write, timeout=3.0)
    hung.cont()

    async def read(kv: Kv) -> None:
        found = (await kv.view(["t/c"])).get("t/c")
        assert found is not None and found.value in (b"1", b"2")

    ask(all_of_them, read)


def test_a_server_that_is_cut_off_answers_nothing_old(healed: StoreCluster, tmp_path: Path) -> None:
    """Its majority is stopped, so it cannot know what was written meanwhile: it must not answer at all."""
    alone = healed.leader()
    others = [one for one in healed.servers if one is not alone]

    async def story(kv: Kv) -> None:
        assert await kv.txn({}, {"t/d": b"1"})
        for server in others:
            server.stop()
        with pytest.raises(KvUnavailable):  # what the majority confirmed just before it was stopped may still be told
            for _ in range(50):
                await kv.view(["t/d"])
        for _ in range(3):
            with pytest.raises(KvUnavailable):
                await kv.view([], ["t/"])
        with pytest.raises(KvUnavailable):
            await kv.txn({}, {"t/d": b"2"})

    ask(access_to(healed, tmp_path, [alone]), story, timeout=2.0)
    store = ServedStore(open_kv(access_to(healed, tmp_path, [alone]), timeout=2.0), "tests/store")
    with pytest.raises(StoreUnavailable):
        store.list("")
    store.close()


def test_nobody_there_is_said_with_every_address(one: StoreCluster, tmp_path: Path) -> None:
    gone = Access(url=f"{one.kind}+http://127.0.0.1:1,localhost:2")

    async def story(kv: Kv) -> None:
        for call in (kv.view(["a"]), kv.txn({}, {"a": b""})):
            with pytest.raises(KvUnavailable) as caught:
                await call
            text = str(caught.value)
            assert "http://127.0.0.1:1: " in text and "http://localhost:2: " in text and "refused" in text
            assert "no server answered within 1 s" in text and "\n" not in text
        assert await kv.wait("a", 5, 0.2) == 5  # a wake-up only: the next view says what is wrong

    ask(gone, story, timeout=1.0)


# --- answers that are lost --------------------------------------------------------------------------------------------


def test_an_answer_that_is_lost_is_not_asked_for_again(one: StoreCluster, tmp_path: Path) -> None:
    """Consul's transactions are PUTs, which HTTP clients like to send again on a kept connection that broke."""
    with spoiler(one.servers[0].endpoint) as proxy:
        access = dataclasses.replace(access_to(one, tmp_path), url=f"{one.kind}+http://{proxy.place}")

        async def story(kv: Kv) -> None:
            index = await kv.txn({}, {"t/e": b"1"})  # makes the connection that is kept
            assert index
            proxy.spoil = True
            with pytest.raises(KvUnavailable, match="after a write was sent; it may or may not have happened"):
                await kv.txn({"t/e": index}, {"t/e": b"2"})
            assert proxy.requests == 1
            proxy.spoil = False
            found = (await kv.view(["t/e"])).get("t/e")
            assert found is not None and found.value == b"2"

        ask(access, story)


def test_a_commit_whose_answer_is_lost_is_found_again(one: StoreCluster, tmp_path: Path) -> None:
    with spoiler(one.servers[0].endpoint) as proxy:
        access = dataclasses.replace(access_to(one, tmp_path), url=f"{one.kind}+http://{proxy.place}")
        store = ServedStore(open_kv(access, timeout=5.0), "tests/unknown")
        first = store.commit({}, {"a": b"1"})
        proxy.spoil = True
        threading.Timer(1.0, setattr, (proxy, "spoil", False)).start()
        second = store.commit({"a": first}, {"a": b"2"})  # its answer is lost, and found again by the commit's name
        item = store.get("a")
        assert item is not None and (item.value, item.revision) == (b"2", second)
        assert [entry.value for entry in store.list("", since=first).items] == [b"2"]
    with pytest.raises(StoreUnavailable, match=r"no server answered|may or may not"):
        store.commit({"a": second}, {"a": b"3"})
    store.close()


def test_an_outcome_that_cannot_be_known_yet_is_called_unknown(healed: StoreCluster, tmp_path: Path) -> None:
    """The only server that we may ask hangs with our commit in its hands."""
    hung = healed.followers()[0]
    store = ServedStore(open_kv(access_to(healed, tmp_path, [hung]), timeout=3.0), "tests/unknown")
    first = store.commit({}, {"a": b"1"})
    hung.stop()
    with pytest.raises(StoreUnavailable, match="may or may not have happened"):
        store.commit({"a": first}, {"a": b"2"})
    hung.cont()
    until(lambda: _value(store) in (b"1", b"2"), "the server answers again")
    store.close()


def _value(store: ServedStore) -> bytes:
    try:
        item = store.get("a")
    except StoreUnavailable:
        return b""
    return item.value if item else b"absent"


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_a_client_with_certificate_and_secret_is_let_in(guarded: StoreCluster, tmp_path: Path) -> None:
    """With the token on transactions, too: they are all that we read and write with."""

    async def story(kv: Kv) -> None:
        index = await kv.txn({}, {"t/a": b"1"})
        assert index
        assert (await kv.view(["t/a"], ["t/"])).items[0].index == index
        assert await kv.wait("t/", index - 1, LONG) >= index
        lease = await kv.lease("t/lease", b"", 10.0)
        assert lease is not None and await lease.renew()
        await lease.end()

    ask(access_to(guarded, tmp_path), story)


def test_a_wrong_secret_is_denied_with_words(guarded: StoreCluster, tmp_path: Path) -> None:
    wrong = access_to(
        guarded, tmp_path, token="11111111-2222-3333-4444-555555555555" if guarded.kind == "consul" else "",
        password="wrong-password" if guarded.kind == "etcd" else "",
    )  # fmt: skip
    words = "ACL not found" if guarded.kind == "consul" else "authentication failed.*user root"

    async def story(kv: Kv) -> None:
        for call in (kv.view(["t/a"]), kv.txn({}, {"t/a": b""}), kv.lease("t/l", b"", 10.0)):
            with pytest.raises(KvDenied, match=words) as caught:
                await call
            assert "wrong-password" not in str(caught.value) and "11111111-2222" not in str(caught.value)
            assert guarded.servers[0].endpoint in str(caught.value)

    ask(wrong, story)
    store = ServedStore(open_kv(wrong, timeout=LONG), "tests/store")
    for act in (lambda: store.get("a"), lambda: store.commit({}, {"a": b""}), store.alive):
        with pytest.raises(StoreError, match=words) as caught:
            act()
        assert caught.value.kind == "store"  # not "unavailable": trying again is no use
    store.close()


def test_no_secret_is_denied_with_words(guarded: StoreCluster, tmp_path: Path) -> None:
    nobody = dataclasses.replace(access_to(guarded, tmp_path), token="", user="", password="")

    async def story(kv: Kv) -> None:
        for call in (kv.txn({}, {"t/a": b""}), kv.view(["t/a"])):
            with pytest.raises(KvDenied):
                await call

    async def prepare(kv: Kv) -> None:
        assert await kv.txn({}, {"t/a": b"1"})

    ask(access_to(guarded, tmp_path), prepare)
    ask(nobody, story)


def test_a_client_without_certificate_is_denied_with_words(guarded: StoreCluster, tmp_path: Path) -> None:
    async def story(kv: Kv) -> None:
        for call in (kv.view(["t/a"]), kv.txn({}, {"t/a": b""})):
            with pytest.raises(KvDenied, match="certificate") as caught:
                await call
            assert guarded.servers[0].endpoint in str(caught.value)

    ask(access_to(guarded, tmp_path, certificate=False), story)


def test_a_server_that_another_authority_signed_is_not_spoken_with(guarded: StoreCluster, tmp_path: Path) -> None:
    strange = dataclasses.replace(access_to(guarded, tmp_path), ca="")  # only the system's authorities

    async def story(kv: Kv) -> None:
        with pytest.raises(KvDenied, match=r"no secure connection: .*its certificate does not verify"):
            await kv.txn({}, {"t/a": b""})

    ask(strange, story)


def test_a_token_that_ran_out_is_got_anew(tmp_path: Path) -> None:
    """etcd forgets all tokens when it starts again; a client that logged in before must not notice."""
    with store_cluster("etcd", tmp_path, auth=True) as cluster:

        async def story(kv: Kv) -> None:
            index = await kv.txn({}, {"t/a": b"1"})
            assert index
            await asyncio.to_thread(cluster.restart_all)
            assert await kv.txn({"t/a": index}, {"t/a": b"2"})
            await asyncio.to_thread(cluster.restart_all)
            found = (await kv.view(["t/a"])).get("t/a")
            assert found is not None and found.value == b"2"

        ask(access_to(cluster, tmp_path), story)


def test_what_a_consul_token_does_not_allow_is_denied_by_key(tmp_path: Path) -> None:
    with store_cluster("consul", tmp_path, auth=True) as cluster:
        server = cluster.servers[0]
        rules = 'key_prefix "mine/" { policy = "write" } key_prefix "theirs/" { policy = "read" }'
        policy = b'{"Name": "some", "Rules": "%s"}' % rules.replace('"', '\\"').encode()
        assert server.request("PUT", "/v1/acl/policy", policy).status == 200
        made = server.request("PUT", "/v1/acl/token", b'{"Policies": [{"Name": "some"}]}').json()
        weak = dataclasses.replace(access_to(cluster, tmp_path), token=secret(tmp_path, "weak", made["SecretID"]))

        async def prepare(kv: Kv) -> None:
            assert await kv.txn({}, {"theirs/a": b"1", "hidden/a": b"1"})

        async def story(kv: Kv) -> None:
            assert await kv.txn({}, {"mine/a": b"1"})
            assert (await kv.view(["theirs/a"])).items
            with pytest.raises(KvDenied, match="theirs/a: the token does not allow set"):
                await kv.txn({}, {"mine/a": b"2", "theirs/a": b"2"})
            with pytest.raises(KvDenied, match="hidden/a: the token may not read this key"):
                await kv.view(["mine/a", "hidden/a"])
            found = (await kv.view(["mine/a"])).get("mine/a")
            assert found is not None and found.value == b"1"

        ask(access_to(cluster, tmp_path), prepare)
        ask(weak, story)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_needs_no_right_but_to_its_own_keys(kind: str, tmp_path: Path) -> None:
    """What docs/how-to/stores.md grants is enough for all that a store does, and for nothing beside it."""
    with store_cluster(kind, tmp_path, auth=True) as cluster:
        server, full = cluster.servers[0], access_to(cluster, tmp_path)
        if kind == "consul":
            policy = {"Name": "prod", "Rules": 'key_prefix "underway/prod/" { policy = "write" }'}
            assert server.request("PUT", "/v1/acl/policy", json.dumps(policy).encode()).status == 200
            made = server.request("PUT", "/v1/acl/token", b'{"Policies": [{"Name": "prod"}]}').json()
            weak = dataclasses.replace(full, token=secret(tmp_path, "weak", made["SecretID"]))
        else:
            span = {"key": b64encode(b"underway/prod/").decode(), "range_end": b64encode(b"underway/prod0").decode()}
            for path, wish in (
                ("role/add", {"name": "prod"}),
                ("role/grant", {"name": "prod", "perm": {"permType": "READWRITE", **span}}),
                ("user/add", {"name": "prod", "password": "pass"}),
                ("user/grant", {"user": "prod", "role": "prod"}),
            ):
                assert server.request("POST", f"/v3/auth/{path}", json.dumps(wish).encode()).status == 200
            weak = dataclasses.replace(full, user="prod", password=secret(tmp_path, "weak", "pass"))
        store = ServedStore(open_kv(weak, timeout=LONG), "underway/prod")
        first = store.commit({}, {"a": b"1", "b": b"1"})
        second = store.commit({"a": first, "c": 0}, {"a": b"2", "b": None})
        assert [item.value for item in store.list("", since=first).items] == [b"2"]
        assert len(store.list("").items) == 1 and store.watch("", first, 5.0) == second
        store.beat("me", 30.0)
        assert set(store.alive()) == {"me"}
        store.close()
        other = ServedStore(open_kv(weak, timeout=LONG), "underway/elsewhere")
        with pytest.raises(StoreError, match=r"permission denied|does not allow") as caught:
            other.commit({}, {"a": b"1"})
        assert caught.value.kind == "store"
        other.close()


# --- limits -----------------------------------------------------------------------------------------------------------


def test_the_largest_commit_fits_and_a_larger_request_is_refused(one: StoreCluster, tmp_path: Path) -> None:
    """Keys of the longest kind, of characters that take two bytes in JSON, under a long root."""
    store = ServedStore(open_kv(access_to(one, tmp_path), timeout=LONG), "r" * 100 + "/" + "c" * 63)
    keys = [f"{number:02d}" + "\\" * 510 for number in range(MAX_KEYS)]
    value = b"\xff" * (MAX_VALUE // MAX_KEYS)
    revision = store.commit({}, dict.fromkeys(keys, value))
    again = store.commit(dict.fromkeys(keys, revision), dict.fromkeys(keys, value))
    assert [item.key for item in store.list("", since=revision).items] == keys
    half = dict.fromkeys(keys[: MAX_KEYS // 2])
    assert store.commit(dict.fromkeys(half, again), half) > again
    assert len(store.list("").items) == MAX_KEYS - len(half)
    store.close()

    async def story(kv: Kv) -> None:
        with pytest.raises(KvRefused, match=r"expected at most (524288|1000000) "):
            await kv.txn({}, {"t/large": b"x" * 1_600_000})
        assert (await kv.view(["t/large"])).items == ()

    ask(access_to(one, tmp_path), story)


def test_a_full_quota_refuses_writes_and_nothing_else(tmp_path: Path) -> None:
    with store_cluster("etcd", tmp_path, options=["--quota-backend-bytes=2097152"]) as cluster:
        store = store_on(cluster, tmp_path)
        revision = store.commit({}, {"a": b"1"})
        with pytest.raises(StoreFull, match=r"space exceeded.*reads go on"):
            for number in range(60):
                revision = store.commit({}, {f"fill/{number}": b"x" * 100_000})
        assert number > 5
        item = store.get("a")
        assert item is not None and item.value == b"1"
        found = store.list("fill/")
        assert (len(found.items), found.revision) == (number, revision)  # what was refused was not written
        store.close()

        async def story(kv: Kv) -> None:
            with pytest.raises(KvFull, match="alarm disarm"):
                await kv.txn({}, {"t/a": b"x"})

        ask(access_to(cluster, tmp_path), story)


# --- histories that are cut or put back -------------------------------------------------------------------------------


def compact(server: StoreServer, index: int) -> None:
    assert server.request("POST", "/v3/kv/compaction", b'{"revision": "%d", "physical": true}' % index).status == 200


def test_a_watch_from_a_compacted_index_wakes_at_once(tmp_path: Path) -> None:
    with store_cluster("etcd", tmp_path) as cluster:

        async def story(kv: Kv) -> None:
            first = await kv.txn({}, {"t/a": b"1"})
            assert first
            for _ in range(5):
                last = await kv.txn({}, {"t/a": b"2"})
            assert last
            compact(cluster.servers[0], last)
            began = time.monotonic()
            index = await kv.wait("t/a", first, 120.0)
            assert time.monotonic() - began < 60 and index >= last
            # and one that began before goes on over a compaction
            task = asyncio.create_task(kv.wait("t/a", index, 120.0))
            await asyncio.sleep(0.2)
            await kv.txn({}, {"t/other": b""})
            newest = (await kv.view(["t/a"])).index
            compact(cluster.servers[0], newest)
            changed = await kv.txn({}, {"t/a": b"3"})
            assert changed and await task >= changed

        ask(access_to(cluster, tmp_path), story)
        store = store_on(cluster, tmp_path)
        first = store.commit({}, {"a": b"1"})
        last = store.commit({}, {"a": b"2"})
        compact(cluster.servers[0], last)
        assert store.watch("", first, 60.0) == last
        assert [item.value for item in store.list("", since=first).items] == [b"2"]
        store.close()


def test_a_store_that_was_put_back_is_noticed(tmp_path: Path) -> None:
    with store_cluster("consul", tmp_path) as cluster:
        server = cluster.servers[0]
        store, other = store_on(cluster, tmp_path), store_on(cluster, tmp_path)
        store.commit({}, {"a": b"1"})
        backup = server.request("GET", "/v1/snapshot").body
        seen = store.commit({}, {"a": b"2"})
        assert server.request("PUT", "/v1/snapshot", backup, patience=LONG).status == 200
        until(lambda: other.get("a") is not None and other.get("a").value == b"1", "the older copy is there")  # type: ignore[union-attr]
        # nothing new yet: the revision is behind what was seen, and whoever looks begins anew
        assert store.list("", since=seen).revision < seen
        other.commit({}, {"b": b"1"})
        later = other.commit({}, {"b": b"2"})
        assert later > seen
        with pytest.raises(StoreError, match=r"not what was seen there.*older copy") as caught:
            store.list("", since=seen)
        assert caught.value.kind == "store"
        store.close()
        other.close()


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_with_known_faults_is_told(one: StoreCluster, tmp_path: Path) -> None:
    store = store_on(one, tmp_path)
    told = store.warnings()
    if one.kind == "etcd" and b'"3.4' in one.servers[0].request("GET", "/version").body:
        assert len(told) == 1 and "etcd 3.4" in told[0] and "3.5.28" in told[0]
    else:
        assert all("etcd" in text for text in told)
    store.close()
