"""The catalogue's scripts that close a service and open it again, against APIs that remember what they were told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from underway.config import shipped

SERVICES = shipped.services("openstack")
CLOSED = {"status": "disabled", "disabled_reason": "underway"}


class Cloud(ThreadingHTTPServer):
    """Block storage and network, as far as the scripts ask. ``backups``: what is under way each time that is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.backup: dict[str, Any] = {"host": "ctl1", "status": "enabled", "disabled_reason": None}
        self.backups: list[list[str]] = [[]]
        self.agent: dict[str, Any] = {"id": "a1", "host": "net1", "binary": "neutron-l3-agent", "admin_state_up": True}
        self.agent["description"] = "rack 4"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Cloud

    def do_GET(self) -> None:
        path, cloud = urlsplit(self.path), self.server
        if path.path == "/os-services":
            self.say({"services": [cloud.backup]})
        elif path.path == "/backups/detail":
            now = cloud.backups.pop(0) if len(cloud.backups) > 1 else cloud.backups[0]
            self.say(
                {"backups": [{"id": one, "status": "creating"} for one in now] + [{"id": "old", "status": "available"}]}
            )
        else:
            wanted = dict(part.split("=") for part in path.query.split("&"))
            found = [cloud.agent] if all(cloud.agent[key] == value for key, value in wanted.items()) else []
            self.say({"agents": found})

    def do_PUT(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cloud = self.server
        if self.path == "/os-services/disable-log-reason":
            cloud.backup |= {"status": "disabled", "disabled_reason": told["disabled_reason"]}
        elif self.path == "/os-services/enable":
            cloud.backup |= {"status": "enabled", "disabled_reason": None}
        else:
            cloud.agent |= told["agent"]
        self.say({})

    def say(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def door(directory: Path, cloud: Cloud, service: str, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    config = directory / "service.conf"
    config.write_text(f"[keystone_authtoken]\nauth_type = none\nendpoint = {cloud.url}\n")
    return subprocess.run(
        [sys.executable, "-", str(config), "keystone_authtoken", *words],
        input=SERVICES[service]["vars"][script], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def backup(directory: Path, cloud: Cloud, verb: str, host: str = "ctl1") -> subprocess.CompletedProcess[str]:
    return door(directory, cloud, "cinder-backup", "cinder_backup_door", "0.2", verb, host)


def test_a_backup_service_is_closed_until_its_backups_have_ended_and_opened_again(tmp_path: Path, cloud: Cloud) -> None:
    cloud.backups = [["b1"], ["b1", "b2"], ["b2"]]  # b2 came later, and is another's
    closed = backup(tmp_path, cloud, "close")
    assert (closed.returncode, closed.stderr) == (0, "")
    assert cloud.backup == {"host": "ctl1", **CLOSED}
    assert backup(tmp_path, cloud, "open").returncode == 0
    assert cloud.backup["status"] == "enabled"


def test_a_backup_that_does_not_end_is_told_with_what_opens_the_service(tmp_path: Path, cloud: Cloud) -> None:
    cloud.backups = [["b1"]]
    assert backup(tmp_path, cloud, "close").stderr == (
        "backups have not ended within 0.2 s: b1; ctl1 stays disabled; to open it: "
        "openstack volume service set --enable ctl1 cinder-backup\n"
    )
    assert cloud.backup["status"] == "disabled"


def test_what_an_operator_disabled_stays_so(tmp_path: Path, cloud: Cloud) -> None:
    cloud.backup |= {"status": "disabled", "disabled_reason": "broken tape"}
    cloud.agent["admin_state_up"] = False
    for verb in ("close", "open"):
        assert backup(tmp_path, cloud, verb).returncode == 0
        told = door(tmp_path, cloud, "neutron-l3-agent", "neutron_agent_door", verb, "neutron-l3-agent", "net1")
        assert (told.returncode, told.stderr) == (0, "")
    assert cloud.backup["disabled_reason"] == "broken tape"
    assert (cloud.agent["admin_state_up"], cloud.agent["description"]) == (False, "rack 4")


def test_a_host_that_nobody_knows_is_told(tmp_path: Path, cloud: Cloud) -> None:
    told = door(tmp_path, cloud, "neutron-l3-agent", "neutron_agent_door", "close", "neutron-l3-agent", "net9")
    assert told.stderr == (
        "Neutron knows no neutron-l3-agent on net9: [DEFAULT]host in neutron.conf is the name of the host here\n"
    )
    assert backup(tmp_path, cloud, "close", "ctl9").stderr.startswith("Cinder knows no cinder-backup on ctl9")


def test_an_agent_is_closed_and_opened_with_the_words_that_it_had(tmp_path: Path, cloud: Cloud) -> None:
    agent = ("neutron-l3-agent", "neutron_agent_door")
    for _ in range(2):  # a second time it is closed already
        assert door(tmp_path, cloud, *agent, "close", "neutron-l3-agent", "net1").returncode == 0
        assert (cloud.agent["admin_state_up"], cloud.agent["description"]) == (False, "rack 4 [underway]")
    assert door(tmp_path, cloud, *agent, "open", "neutron-l3-agent", "net1").returncode == 0
    assert (cloud.agent["admin_state_up"], cloud.agent["description"]) == (True, "rack 4")
