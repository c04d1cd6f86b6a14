"""A real upgrade whose records lie in Consul or etcd: by the command line, over TLS, with secrets from files only.

Two local hosts, which are directories: the real coordinator, runner, Ansible and probers; the store is three servers.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command_line import CommandLine
from support.kv import secret
from support.stores import StoreCluster, store_cluster, until
from underway.checks.spawn import ProberProcess

pytestmark = pytest.mark.service

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  web: {services: [web], limit: 1}
hosts:
  web1: {role: web, connection: local, directory: web1/runner}
  web2: {role: web, connection: local, directory: web2/runner}
policy: {soak: 500ms, health_timeout: 2m}
"""

WEB = """\
service: web
plane: data
vars: {home: "{{ top }}/{{ underway_host }}"}
gate:
  name: It serves
  ansible.builtin.command: test -s "{{ home }}/page"
  changed_when: false
phases:
  upgrade:
    - step: new page
      idempotent: true
      tasks:
        - {name: Write the page, ansible.builtin.copy: {content: "2.0", dest: "{{ home }}/page", mode: "0644"}}
        - {name: Count, ansible.builtin.shell: "echo again >> {{ home }}/count", changed_when: true}
        - name: Wait for leave to go on
          ansible.builtin.wait_for: {path: "{{ home }}/go", timeout: 200, sleep: 1}
"""


class Small(CommandLine):
    """The cluster, and the command line beside it."""

    def __init__(self, top: Path, servers: StoreCluster) -> None:
        self.top, self.servers = top, servers
        for name in ("services", "releases", "secrets", "web1", "web2"):
            (top / name).mkdir(parents=True)
        (top / "services/web.yaml").write_text(WEB)
        (top / "releases/1.0.yaml").write_text('release: "1.0"\nsupports: []\n')
        (top / "releases/2.0.yaml").write_text('release: "2.0"\nsupports: ["1.0"]\nservices: {web: "2"}\n')
        given = servers.access
        store = {
            "url": f"{servers.kind}://" + ",".join(one.partition("://")[2] for one in given.endpoints) + "/sites/one",
            "ca": str(given.ca),
            "certificate": str(given.certificate),
            "key": str(given.key),
        }
        self.secret = given.token or given.password
        if given.token:
            store["token_file"] = "secrets/store"
        else:
            store |= {"user": given.user, "password_file": "secrets/store"}
        secret(top / "secrets", "store", self.secret)
        settings = {"store": store, "settings": {"top": str(top)}}
        (top / "cluster.yaml").write_text(
            CLUSTER + "".join(f"{key}: {json.dumps(settings[key])}\n" for key in settings)
        )
        for host in ("web1", "web2"):
            (top / host / "page").write_text("1.0")


@pytest.fixture(params=["consul", "etcd"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Small]:
    with store_cluster(request.param, tmp_path / "servers", count=3, tls=True, auth=True) as servers:
        found = Small(tmp_path / "site", servers)
        yield found
        for host in ("web1", "web2"):
            (found.top / host / "go").touch()
        runs = found.top / ".underway/runs"
        for run in sorted(runs.iterdir()) if runs.exists() else ():
            ProberProcess({}, run).stop()


def test_an_upgrade_over_servers_that_die(small: Small) -> None:
    small.say("enrol")
    planned = small.say("plan", "--to", "2.0", "-o", "plan.json")
    old = small.servers.kind == "etcd" and b'"3.4' in small.servers.servers[0].request("GET", "/version").body
    assert ("warning: https://" in planned and "3.5.28 or 3.6.9 at least is advised" in planned) == old
    state = small.top / ".underway"
    assert not (state / "state.db").exists()
    coordinator = small.start("upgrade", "plan.json", "--yes", "--plain")
    try:
        until((small.top / "web1/count").exists, "web1 is at work")
        small.servers.leader().kill()
        (small.top / "web1/go").touch()
        until((small.top / "web2/count").exists, "the same coordinator goes on with web2 at the servers that are left")
        coordinator.send_signal(signal.SIGKILL)
        coordinator.communicate(timeout=60)
        (small.top / "web2/go").touch()
        small.say("upgrade")  # running again is resuming
    finally:
        coordinator.kill()
        coordinator.wait(60)
    assert {host: (small.top / host / "page").read_text() for host in ("web1", "web2")} == {
        "web1": "2.0",
        "web2": "2.0",
    }
    assert {host: (small.top / host / "count").read_text() for host in ("web1", "web2")} == {
        "web1": "again\n",
        "web2": "again\n",
    }
    assert json.loads(small.say("status", "--json"))["verdict"] == "done"
    assert "verifies" in small.say("audit", "verify")

    # another machine with a copy of the state directory's small files sees the same, and what is kept holds no secret
    other = small.top.parent / "other"
    other.mkdir(mode=0o700)
    for name in ("cluster", "store.json", "known_hosts"):
        shutil.copy2(state / name, other / name)
    shutil.copytree(state / "keys", other / "keys")
    assert "2 upgraded" in small.say("--state", str(other), "status")
    kept = [path for path in state.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if small.secret.encode() in path.read_bytes()]

    # a store that does not answer is said in one line, with what to look at
    for server in small.servers.servers:
        server.kill()
    out = small.say("status", code=5)
    assert out.count("\n") == 1 and "no server answered within" in out and "Traceback" not in out
    (small.top / "secrets/store").chmod(0o644)
    assert "other users may read" in small.say("status", code=2)
