"""Hosts that look up keys, on real Consul and etcd: the golden cases by plain look-ups, and whole upgrades.

The scripts of the hosts are those of ``docs/how-to/compat.md``, run as they stand there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.compat.made import FIXTURE, fleet, golden
from fast.compat.test_golden import wanted
from support.kv import access_to
from support.stores import StoreCluster, store_cluster, until
from underway.core.compat.keys import role_of

pytestmark = pytest.mark.service

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGE = TOP / "docs/how-to/compat.md"
CASES: list[dict[str, Any]] = golden()["cases"]
PATIENCE = 600.0


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    with store_cluster("consul", tmp_path_factory.mktemp("consul")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    with store_cluster("etcd", tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


def address(cluster: StoreCluster, prefix: str = "") -> str:
    """What ``--store`` takes: all servers of the cluster."""
    transport = cluster.access.endpoints[0].partition("://")[0]
    servers = ",".join(one.partition("://")[2] for one in cluster.access.endpoints)
    return f"{cluster.kind}+{transport}://{servers}/{prefix}"


def curl(*words: str) -> tuple[int, str]:
    """(HTTP status, body) of one call, as a script makes it."""
    done = subprocess.run(
        ["curl", "-s", "-m", "60", "-w", " %{http_code}", *words], capture_output=True, text=True, check=True
    )
    body, _, code = done.stdout.rpartition(" ")
    return int(code), body


class Consul:
    """Keys by plain HTTP, as the hosts' scripts see them."""

    def __init__(self, cluster: StoreCluster, prefix: str) -> None:
        self.root = f"{cluster.access.endpoints[0]}/v1/kv/{prefix}"

    def put(self, key: str, value: str) -> None:
        assert curl("-X", "PUT", "-d", value, f"{self.root}{key}") == (200, "true")

    def get(self, key: str) -> str | None:
        code, body = curl(f"{self.root}{key}?raw")
        assert code in (200, 404), (code, body)
        return body if code == 200 else None

    def keys(self) -> list[str]:
        """All keys but the program's record."""
        code, body = curl(f"{self.root}?keys")
        found = json.loads(body) if code == 200 else []
        return sorted(key for key in found if "underway.compat" not in key)

    def may(self, host: str) -> bool:
        """What the host finds out by looking: its own key, its role's, the one for all."""
        for key in (f"host/{host}", f"role/{role_of(host)}", "global"):
            found = self.get(f"config_state/enable_puppet/{key}")
            if found is not None:
                return found == "True"
        return True


def underway(cluster: StoreCluster, *words: str, prefix: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "UNDERWAY_COMPAT_STORE": address(cluster, prefix)}
    return subprocess.run(
        [str(BIN / "underway"), *words], capture_output=True, text=True, timeout=PATIENCE, env=env, check=False, **more
    )


def test_the_fixture_is_there() -> None:
    if not FIXTURE.exists():
        pytest.skip(f"NOT RUN: the golden cases of python-jiocloud are not at {FIXTURE} (set UNDERWAY_FIXTURES)")
    assert len(CASES) >= 11


@pytest.mark.xdist_group("compat")
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number]["name"])
def test_golden_case_through_consul(number: int, consul: StoreCluster, tmp_path: Path) -> None:
    """Each host looks its keys up by curl; who may run after the round is who could before, and whom the case adds."""
    case, prefix = CASES[number], f"case{number}"
    site = Consul(consul, f"{prefix}/")
    for key, value in fleet(case["status_by_role"]).items():
        site.put(key, value)
    hosts = [host for roles in case["status_by_role"].values() for found in roles.values() for host in found]
    before, keys = {host for host in hosts if site.may(host)}, site.keys()
    done = underway(
        consul, "compat", "upgrade", "2", "--instructions", json.dumps(case["instructions"]), "--deadline", "0",
        prefix=prefix, cwd=tmp_path,
    )  # fmt: skip
    if case["recommended"] == "error: cycle":
        assert (done.returncode, site.keys()) == (1, keys)
        assert "the order is a cycle: a -> b -> a" in done.stderr
        return
    assert done.returncode == 2, done.stderr
    expected = wanted(case)
    pending = case["status_by_role"]["pending"]
    let_in = {*expected["hosts"], *(host for role in expected["roles"] for host in pending[role])}
    assert {host for host in hosts if site.may(host)} == before | let_in
    for role in expected["roles"]:
        assert site.get(f"config_state/enable_puppet/role/{role}") == "True"
    for host in expected["delete_hosts"]:
        assert site.get(f"config_state/enable_puppet/host/{host}") is None
    said = underway(consul, "compat", "status", "--json", prefix=prefix, cwd=tmp_path)
    found = json.loads(said.stdout)
    assert sorted(found) == ["pending", "upgraded", "upgrading"]
    assert set(found["upgrading"]) == before - set(found["upgraded"]) | let_in


# --- whole upgrades ---------------------------------------------------------------------------------------------------


def scripts() -> list[str]:
    """The scripts of the page, as a reader copies them."""
    found: list[str] = re.findall(r"^```text\n(#!/bin/sh\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found


PUPPET = """\
#!/bin/sh
# What the site's own Puppet does here: it tells when it begins and ends.
[ "$1" = apply ] || exit 0
log() { printf '%s %s\\n' "$1" "$UPGRADE_HOST" >>"$EFFECTS"; }
log begin
sleep 0.2
log end
exit 2
"""


class Fleet:
    """Hosts whose cron starts their script again and again; what they do stands in one file, in order."""

    def __init__(self, directory: Path, cluster: StoreCluster, hosts: dict[str, str]) -> None:
        self.directory, self.hosts = directory, hosts
        self.effects = directory / "effects"
        self.effects.touch()
        tools = directory / "tools"
        tools.mkdir()
        (tools / "puppet").write_text(PUPPET)
        for number, text in enumerate(scripts()):
            (directory / f"script{number}").write_text(text)
            (directory / f"script{number}").chmod(0o755)
        (tools / "puppet").chmod(0o755)
        self.env = {
            **os.environ,
            "PATH": f"{tools}:{BIN}:{os.environ['PATH']}",
            "UNDERWAY_COMPAT_STORE": address(cluster),
            "UPGRADE_CONSUL": cluster.access.endpoints[0],
            "EFFECTS": str(self.effects),
        }
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._cron, args=each) for each in hosts.items()]

    def _cron(self, host: str, script: str) -> None:
        env = {
            **self.env,
            "UPGRADE_HOST": host,
            "UPGRADE_VERSION_FILE": str(self.directory / f"{host}.version"),
            "UPGRADE_LOCK": str(self.directory / f"{host}.lock"),
        }
        while not self._over.wait(0.7):
            subprocess.run([str(self.directory / script)], env=env, capture_output=True, timeout=PATIENCE, check=False)

    def __enter__(self) -> Fleet:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def version(self, host: str) -> str:
        return (self.directory / f"{host}.version").read_text().strip()

    def lines(self) -> list[tuple[str, str]]:
        return [tuple(line.split()) for line in self.effects.read_text().splitlines()]  # type: ignore[misc]

    def most_at_once(self, role: str) -> int:
        now = most = 0
        for what, host in self.lines():
            if role_of(host) == role:
                now += 1 if what == "begin" else -1
                most = max(most, now)
        return most


def begin(directory: Path, fleet_: Fleet, cluster: StoreCluster) -> None:
    """All hosts run version 1, and say so."""
    for host in fleet_.hosts:
        (directory / f"{host}.version").write_text("1\n")
        assert underway(cluster, "compat", "register", host, "--as", "1", cwd=directory).returncode == 0


RULES = {"rolling_rules": {"global": 1, "roles": {"cp": 2}}, "role_order": {"cp": "db"}}


@pytest.mark.slow
@pytest.mark.xdist_group("compat")
@pytest.mark.parametrize("kind", ["consul", "etcd"])
def test_a_whole_upgrade_by_the_scripts_of_the_page(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Two runs with --retry at once; a pause; on Consul half of the hosts have curl only. Judged by what Puppet did."""
    cluster: StoreCluster = request.getfixturevalue(kind)
    asked, looked = ("script0", "script1") if kind == "consul" else ("script0", "script0")
    hosts = {"cp1": asked, "cp2": looked, "cp3": asked, "db1": looked, "db2": asked}
    words = [
        str(BIN / "underway"), "compat", "upgrade", "2", "--retry", "--every", "0.5",
        "--instructions", json.dumps(RULES),
    ]  # fmt: skip
    with Fleet(tmp_path, cluster, hosts) as site:
        begin(tmp_path, site, cluster)
        env = {**os.environ, "UNDERWAY_COMPAT_STORE": address(cluster)}
        runs = [subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        try:
            said = [run.communicate(timeout=PATIENCE)[0] for run in runs]
        finally:
            for run in runs:
                run.kill()
        assert [run.returncode for run in runs] == [0, 0], said
        until(lambda: all(site.version(host) == "2" for host in hosts), "every host runs 2")
    lines = site.lines()
    assert sorted(lines) == sorted([(what, host) for host in hosts for what in ("begin", "end")])
    assert site.most_at_once("db") == 1
    assert site.most_at_once("cp") <= 2
    last_db = max(index for index, (what, host) in enumerate(lines) if what == "end" and role_of(host) == "db")
    first_cp = min(index for index, (what, host) in enumerate(lines) if what == "begin" and role_of(host) == "cp")
    assert last_db < first_cp
    assert "complete: version 2: 5 upgraded, 0 upgrading, 0 pending" in said[0]
    done = underway(cluster, "compat", "status", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"upgraded": sorted(hosts), "upgrading": [], "pending": []}
    disabled = underway(cluster, "global-disable", cwd=tmp_path)
    assert disabled.returncode == 0 and "set config_state/enable_puppet/global to False" in disabled.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("compat-three")
@pytest.mark.parametrize("kind", ["consul", "etcd"])
def test_a_leader_and_a_run_are_killed_on_the_way(kind: str, tmp_path: Path) -> None:
    """Three servers; the leader dies and comes back, one of two runs is killed with -9: limits and order hold."""
    hosts = dict.fromkeys(["cp1", "cp2", "cp3", "cp4", "db1", "db2"], "script0")
    with store_cluster(kind, tmp_path, count=3) as cluster, Fleet(tmp_path, cluster, hosts) as site:
        begin(tmp_path, site, cluster)
        words = [str(BIN / "underway"), "compat", "upgrade", "2", "--retry", "--every", "0.5"]
        words += ["--instructions", json.dumps(RULES)]
        env = {**os.environ, "UNDERWAY_COMPAT_STORE": address(cluster)}
        assert underway(cluster, *words[1:4], "--instructions", json.dumps(RULES), cwd=tmp_path).returncode == 2
        runs = [subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
        try:
            until(lambda: ("end", "db1") in site.lines(), "db1 is done", PATIENCE)
            runs[0].kill()
            leader = cluster.leader()
            leader.kill()
            until(lambda: ("end", "db2") in site.lines(), "db2 is done without the leader", PATIENCE)
            leader.start()
            assert runs[1].wait(PATIENCE) == 0
        finally:
            for run in runs:
                run.kill()
                run.wait()
    lines = site.lines()
    assert sorted(lines) == sorted([(what, host) for host in hosts for what in ("begin", "end")])
    assert site.most_at_once("db") == 1
    assert site.most_at_once("cp") <= 2
    assert lines[:4] == [("begin", "db1"), ("end", "db1"), ("begin", "db2"), ("end", "db2")]


@pytest.mark.xdist_group("compat")
@pytest.mark.parametrize("kind", ["consul", "etcd"])
def test_a_paused_host_waits_and_then_goes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    cluster: StoreCluster = request.getfixturevalue(kind)
    prefix = f"paused-{kind}"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return underway(cluster, *words, prefix=prefix, cwd=tmp_path)

    assert call("compat", "register", "web1", "--as", "1").returncode == 0
    assert call("compat", "upgrade", "2", "--noop").returncode == 2
    assert call("compat", "should-upgrade", "web1").returncode == 0  # noop wrote nothing: no key says otherwise
    pause(cluster, f"{prefix}/config_state/host/web1/enable_puppet", "False")
    done = call("compat", "upgrade", "2")
    assert done.returncode == 2
    assert "web1: paused by an operator" in done.stdout
    asked = call("compat", "should-upgrade", "web1")
    assert (asked.returncode, asked.stdout) == (9, f"no: paused by key {prefix}/config_state/host/web1/enable_puppet\n")
    assert call("compat", "pending-update", "web1").returncode == 9
    pause(cluster, f"{prefix}/config_state/host/web1/enable_puppet", "True")
    assert call("compat", "should-upgrade", "web1").returncode == 9  # its turn has not come
    assert call("compat", "upgrade", "2").returncode == 2
    assert call("compat", "should-upgrade", "web1").returncode == 0
    assert call("compat", "register", "web1", "--as", "2").returncode == 0
    assert call("compat", "upgrade", "2").returncode == 0


def pause(cluster: StoreCluster, key: str, value: str) -> None:
    """What an operator does with the store's own tools."""
    server = cluster.servers[0]
    if cluster.kind == "consul":
        answer = server.request("PUT", f"/v1/kv/{key}", value.encode())
    else:
        import base64

        pair = {name: base64.b64encode(text.encode()).decode() for name, text in (("key", key), ("value", value))}
        answer = server.request("POST", "/v3/kv/put", json.dumps(pair).encode())
    assert answer.status == 200


@pytest.mark.xdist_group("compat")
def test_without_an_answer_no_host_begins(tmp_path: Path) -> None:
    """D20, for both scripts of the page: the server dies, and then answers nothing but errors."""
    with store_cluster("consul", tmp_path) as cluster:
        hosts = {"cp1": "script0", "cp2": "script1"}
        with Fleet(tmp_path, cluster, hosts) as site:
            begin(tmp_path, site, cluster)
            cluster.servers[0].kill()
            assert underway(cluster, "compat", "should-upgrade", "cp1", cwd=tmp_path).returncode == 9
            assert underway(cluster, "compat", "upgrade", "2", cwd=tmp_path).returncode == 1
            time.sleep(1.0)
            assert site.lines() == []


@pytest.mark.xdist_group("compat-secure")
@pytest.mark.parametrize("kind", ["consul", "etcd"])
def test_with_certificates_and_rights(kind: str, tmp_path: Path) -> None:
    """Servers that let in holders of a certificate and of a token, or a user, only."""
    with store_cluster(kind, tmp_path, tls=True, auth=True) as cluster:
        access = access_to(cluster, tmp_path)
        whole = ["--ca", access.ca, "--certificate", access.certificate, "--key", access.key]
        rights = (
            ["--token-file", access.token]
            if kind == "consul"
            else ["--user", access.user, "--password-file", access.password]
        )
        wrong = tmp_path / "wrong"
        wrong.touch(mode=0o600)
        wrong.write_text("00000000-0000-0000-0000-000000000000\n")
        bad = (
            ["--token-file", str(wrong)] if kind == "consul" else ["--user", access.user, "--password-file", str(wrong)]
        )

        def call(*words: str) -> subprocess.CompletedProcess[str]:
            env = {**os.environ, "UNDERWAY_COMPAT_STORE": access.url}
            return subprocess.run(
                [str(BIN / "underway"), "compat", *words], capture_output=True, text=True, timeout=PATIENCE, env=env,
                cwd=tmp_path, check=False,
            )  # fmt: skip

        assert call("register", "cp1", "--as", "1", *whole, *rights).returncode == 0
        assert call("upgrade", "2", *whole, *rights).returncode == 2
        assert call("should-upgrade", "cp1", *whole, *rights).returncode == 0
        refused = call("should-upgrade", "cp1", *whole, *bad)
        assert refused.returncode == 9 and refused.stderr.startswith("no: ")
        assert "00000000" not in refused.stderr
        assert call("upgrade", "2", *whole, *bad).returncode == 1
        assert call("should-upgrade", "cp1", *whole[:2], *rights).returncode == 9  # without a certificate of its own
