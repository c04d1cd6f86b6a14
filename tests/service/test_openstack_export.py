"""The shipped OpenStack catalogue as an exported tree: real Ansible parses it, its linter finds nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fast.catalogue.test_openstack import APART, portions, written

pytestmark = pytest.mark.service

BIN = Path(sys.executable).parent


def run(directory: Path, *command: str) -> None:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=directory,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openstack")
    written(directory, APART)
    run(directory, "underway", "export", "--to", "2026.1", "tree")
    return directory / "tree"


def test_ansible_takes_it(tree: Path) -> None:
    run(tree, "ansible-playbook", "--syntax-check", "site.yml")


@pytest.mark.slow
def test_the_linter_finds_nothing(tree: Path) -> None:
    run(tree, "ansible-lint", "--offline", "--profile", "production")


@pytest.fixture
def slow_at_first() -> Iterator[str]:
    """The URL of a service whose first answer takes a second, and others do not."""

    class Handler(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            Handler.asked += 1
            time.sleep(1 if Handler.asked == 1 else 0)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_migrations_wait_while_the_service_is_slow(tmp_path: Path, slow_at_first: str) -> None:
    ran = portions(tmp_path, [1, 0], slow_at_first, "0.5")
    assert ran.returncode == 0
    first, last = ran.stdout.splitlines()
    assert first.startswith("an answer took 1.") and first.endswith(" s: waiting")
    assert last == "2 portions, 1 pauses: exit code 0"
