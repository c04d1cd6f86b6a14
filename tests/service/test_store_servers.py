"""The servers and faults that tests of stores use: real Consul and etcd, one and three, and that a killed test leaves
nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import killing, store_programs, store_rights
from support.certificates import Authority
from support.netspaces import network
from support.store_faults import faulty_cluster
from support.store_programs import Access, NoAnswer
from support.stores import KINDS, Site, StoreServer, need, store_cluster, until

pytestmark = pytest.mark.service
TESTS = Path(__file__).parents[1]

each_kind = pytest.mark.parametrize("kind", KINDS)


def wrote(server: StoreServer, key: str, value: bytes, *, at: Site | None = None, patience: float = 5.0) -> bool:
    """Whether the server said that it is written; a server that is cut off may well write it later."""
    with contextlib.suppress(NoAnswer):
        return server.put(key, value, at=at, patience=patience)
    return False


def reads(server: StoreServer, key: str, value: bytes, *, at: Site | None = None) -> Callable[[], bool]:
    """Whether the server reads this; for ``until``."""

    def look() -> bool:
        with contextlib.suppress(NoAnswer):
            return server.get(key, at=at, patience=5.0) == value
        return False

    return look


def test_a_missing_server_is_not_run_and_says_what_to_do() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^NOT RUN: no zookeeper in .servers/bin; scripts/servers"):
        need("zookeeper")


@each_kind
def test_only_holders_of_a_certificate_and_a_right_get_in(kind: str, tmp_path: Path) -> None:
    with store_cluster(kind, tmp_path, tls=True, auth=True) as cluster:
        server, access = cluster.servers[0], cluster.access
        assert server.put("a/b", b"1") and server.get("a/b") == b"1" and server.get("a/none") is None

        path = server.program.get("a/b")
        with pytest.raises(NoAnswer):  # TLS without a client certificate
            store_programs.ask(server.endpoint, *path, access=Access((), access.ca))
        stranger = Authority(tmp_path / "stranger").issue("client", common_name=False)
        with pytest.raises(NoAnswer):  # one that another authority vouches for
            store_programs.ask(server.endpoint, *path, access=Access((), access.ca, stranger.certificate, stranger.key))
        with pytest.raises(NoAnswer):  # plain HTTP: refused, or an answer that is none
            refused = store_programs.ask(server.endpoint.replace("https", "http"), *path)
            server.program.got(refused)
        with pytest.raises(NoAnswer, match=r"403|user name is empty"):  # a certificate, but no token or user
            server.program.got(store_programs.ask(server.endpoint, *path, access=access))


@each_kind
def test_who_has_few_rights_has_no_others(kind: str, tmp_path: Path) -> None:
    with store_cluster(kind, tmp_path, auth=True) as cluster:
        server = cluster.servers[0]
        if kind == "consul":
            rules = 'key_prefix "own/" { policy = "write" }\nkey_prefix "seen/" { policy = "read" }'
            access = store_rights.consul_token(server, "one", rules)
        else:
            access = store_rights.etcd_user(server, "one", [("READWRITE", "own/"), ("READ", "seen/")])

        def status(words: tuple[str, str, bytes]) -> int:
            return server.program.request(server.endpoint, access, *words, 10.0).status

        put, get = server.program.put, server.program.get
        assert server.put("own/a", b"1") and server.put("seen/a", b"1") and server.put("secret", b"1")
        assert [status(get("own/a")), status(put("own/a", b"2")), status(get("seen/a"))] == [200, 200, 200]
        assert [status(put("seen/a", b"2")), status(put("secret", b"2")), status(get("secret"))] == [403, 403, 403]
        assert server.get("seen/a") == server.get("secret") == b"1" and server.get("own/a") == b"2"


@each_kind
def test_a_killed_leader_is_followed_and_comes_back_with_the_data(kind: str, tmp_path: Path) -> None:
    with store_cluster(kind, tmp_path, count=3, tls=True, auth=True) as cluster:
        first = cluster.leader()
        assert first.put("k", b"1")
        first.kill()
        assert not first.running
        others = [one for one in cluster.servers if one is not first]
        second = cluster.leader(others)
        assert second is not first
        until(lambda: wrote(second, "k", b"2"), "the next leader writes")
        first.start()
        cluster.wait_ready()
        assert first.get("k") == b"2"


@each_kind
def test_a_stopped_leader_is_followed_and_goes_on(kind: str, tmp_path: Path) -> None:
    with store_cluster(kind, tmp_path, count=3) as cluster:
        first = cluster.leader()
        first.stop()
        with pytest.raises(NoAnswer):
            first.get("k", patience=1.0)
        second = cluster.leader([one for one in cluster.servers if one is not first])
        until(lambda: wrote(second, "k", b"1"), "the next leader writes")
        first.cont()
        until(reads(first, "k", b"1"), "the one that was stopped has it")


@each_kind
def test_a_restart_of_one_and_of_all_keeps_what_is_written(kind: str, tmp_path: Path) -> None:
    with store_cluster(kind, tmp_path, count=3, tls=True, auth=True) as cluster:
        assert cluster.servers[0].put("k", b"1")
        cluster.servers[0].restart()
        cluster.wait_ready(cluster.servers[0])
        cluster.restart_all()
        assert [server.get("k") for server in cluster.servers] == [b"1"] * 3


@pytest.mark.slow
@each_kind
def test_a_leader_cut_off_with_a_client_neither_reads_nor_writes(kind: str, tmp_path: Path) -> None:
    with faulty_cluster(kind, tmp_path, clients=2) as world:
        cluster, (near, far) = world.cluster, world.clients
        leader = cluster.leader()
        assert leader.put("k", b"1", at=near)
        world.isolate(leader, with_clients=[far])
        others = [one for one in cluster.servers if one is not leader]
        second = cluster.leader(others)
        until(lambda: wrote(second, "k", b"2", at=near), "the majority writes")
        assert not wrote(leader, "minority", b"1", at=far, patience=2.0)
        assert not leader.ready(2.0)
        with pytest.raises(NoAnswer):
            second.get("k", at=far, patience=2.0)
        world.heal()
        until(reads(leader, "k", b"2", at=far), "the one that was cut off has it")


@pytest.mark.slow
@each_kind
def test_a_follower_cut_off_answers_nothing_and_the_others_go_on(kind: str, tmp_path: Path) -> None:
    with faulty_cluster(kind, tmp_path) as world:
        cluster, (client,) = world.cluster, world.clients
        follower = cluster.followers()[0]
        others = [one for one in cluster.servers if one is not follower]
        world.isolate(follower)
        until(lambda: wrote(cluster.leader(others), "k", b"1", at=client), "the majority writes")
        until(lambda: not follower.ready(2.0), "the follower answers no more")
        with pytest.raises(NoAnswer):
            follower.get("k", at=client, patience=2.0)
        world.heal()
        until(reads(follower, "k", b"1", at=client), "the follower has it")


@pytest.mark.slow
@each_kind
def test_without_a_majority_nothing_is_written(kind: str, tmp_path: Path) -> None:
    with faulty_cluster(kind, tmp_path) as world:
        cluster, (client,) = world.cluster, world.clients
        assert cluster.leader().put("k", b"1", at=client)
        world.shatter()
        until(lambda: not any(server.ready(2.0) for server in cluster.servers), "no server answers a read")
        assert not any(wrote(server, "none", b"1", at=client, patience=2.0) for server in cluster.servers)
        world.heal()
        cluster.wait_ready()
        assert [server.get("k", at=client) for server in cluster.servers] == [b"1"] * 3


@pytest.mark.slow
@each_kind
def test_a_cut_client_and_a_cut_of_one_way(kind: str, tmp_path: Path) -> None:
    with faulty_cluster(kind, tmp_path, clients=2) as world:
        cluster, (one, other) = world.cluster, world.clients
        first, second = cluster.servers[:2]
        world.cut_client(one, [first])
        with pytest.raises(NoAnswer):
            first.get("k", at=one, patience=2.0)
        assert first.get("k", at=other) is None and second.get("k", at=one) is None
        world.cut_client(one, cluster.servers)
        with pytest.raises(NoAnswer):
            second.get("k", at=one, patience=2.0)
        world.heal()
        assert first.get("k", at=one) is None

        # requests are lost, or only answers are: both look alike to the client
        for there, back in ((True, False), (False, True)):
            world.net.cut(one, world.host(first), there=there, back=back)
            with pytest.raises(NoAnswer):
                first.get("k", at=one, patience=2.0)
            world.heal()
            assert first.get("k", at=one) is None


@each_kind
def test_a_full_disk_of_one(kind: str, tmp_path: Path) -> None:
    with faulty_cluster(kind, tmp_path, clients=0, tls=True, auth=True, small_disk=True) as world:
        cluster = world.cluster
        full = cluster.leader()
        assert full.put("k", b"1")
        assert world.fill(full) > 1 << 20
        others = [one for one in cluster.servers if one is not full]
        count = iter(range(10_000))
        told = {"etcd": "no space left on device", "consul": "failed to append to logs"}[kind]

        def noticed() -> bool:
            wrote(others[0], f"more/{next(count)}", bytes(30_000))
            return told in full.log.read_text(errors="replace")

        until(noticed, "the server notices its full disk", why=full.last_words)
        until(lambda: wrote(cluster.leader(others), "k", b"2"), "the others go on")
        if kind == "etcd":
            until(lambda: not full.running, "etcd ends where its disk is full")
        world.drain(full)
        if not full.running:
            full.start()
        until(reads(full, "k", b"2"), "the one whose disk was full has it")


def test_hosts_reach_each_other_and_nothing_else(tmp_path: Path) -> None:
    with network(2) as net:
        one, other = net.hosts
        inside = one.run("ip", "-brief", "address").split()
        assert f"{one.address}/24" in inside and f"{other.address}/24" not in inside
        with pytest.raises(AssertionError, match=r"Network is unreachable|No route to host"):
            one.run(sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 5)")
        (tmp_path / "disk").mkdir()
        one.tmpfs(tmp_path / "disk", "1m")
        one.seen(tmp_path / "disk" / "here").write_text("1")
        assert not (tmp_path / "disk" / "here").exists() and not other.seen(tmp_path / "disk" / "here").exists()
        holder = one.holder
    assert killing.started(holder) is None


CHILD = """
import json, pathlib, sys, threading, time
from support.{module} import {function}

with {function}("{kind}", pathlib.Path({directory!r}), count=3) as made:
    cluster = getattr(made, "cluster", made)
    again = threading.Thread(target=cluster.servers[0].restart)
    again.start()
    again.join()  # a server must not end with the thread that asked for it
    cluster.wait_ready()
    cluster.servers[1].stop()
    pids = [server.process.pid for server in cluster.servers]
    pids += [host.holder for host in made.net.hosts + [made.net.router]] if hasattr(made, "net") else []
    print(json.dumps(pids), flush=True)
    time.sleep(600)
"""


@each_kind
@pytest.mark.parametrize(("module", "function"), [("stores", "store_cluster"), ("store_faults", "faulty_cluster")])
def test_a_killed_test_leaves_nothing(kind: str, module: str, function: str, tmp_path: Path) -> None:
    need(kind)
    if function == "faulty_cluster" and os.geteuid() != 0:
        pytest.skip("NOT RUN: network namespaces need root")
    source = CHILD.format(kind=kind, module=module, function=function, directory=str(tmp_path / "of-child"))
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert child.stdout is not None
        began = {pid: killing.started(pid) for pid in json.loads(child.stdout.readline())}
        assert None not in began.values()
        child.send_signal(signal.SIGKILL)
        try:
            until(lambda: all(killing.started(pid) is None for pid in began), f"{list(began)} are gone", patience=60.0)
        except AssertionError:
            for pid in (pid for pid, since in began.items() if killing.started(pid) == since):
                os.kill(pid, signal.SIGKILL)
            raise
    finally:
        child.kill()
        child.communicate()
