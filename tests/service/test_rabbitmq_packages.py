"""The catalogue's upgrade of RabbitMQ's packages, on a real broker: its member never stays in maintenance."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.servers import RabbitMq, rabbitmq
from underway.config import shipped

SERVICE = yaml.safe_load((shipped.HOME / "openstack/rabbitmq.yaml").read_text())
TOOLS = "/usr/lib/rabbitmq/bin"
PYTHON = "/usr/bin/python3"  # Debian's own has Debian's module for apt
APT = subprocess.run([PYTHON, "-c", "import apt"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not APT, reason="NOT RUN: python3-apt is not installed")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


def upgraded(directory: Path, broker: RabbitMq, package: str) -> subprocess.CompletedProcess[str]:
    """Run the tasks of the phase, and then the gate. The lists of packages are those of this machine, as they are."""
    [step] = SERVICE["phases"]["upgrade"]
    tasks = [task for task in step["tasks"] if task["name"] != "Read the lists of packages"]
    gate = {
        **SERVICE["gate"],
        "ansible.builtin.wait_for": {**SERVICE["gate"]["ansible.builtin.wait_for"], "port": broker.port, "timeout": 10},
    }
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": PYTHON,
            "rabbitmq_packages": [package],
            "underway_target_address": "127.0.0.1",
        },
        "tasks": [*tasks, gate],
    }
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", directory / "play.yml"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**broker.environment(), "PATH": f"{TOOLS}:{os.environ['PATH']}", "ANSIBLE_HOME": str(directory)},
    )


def tool(broker: RabbitMq, *words: str) -> None:
    subprocess.run([f"{TOOLS}/{words[0]}", *words[1:]], env=broker.environment(), check=True, timeout=300)


def test_packages_that_are_current_leave_the_member_in_service(tmp_path: Path, broker: RabbitMq) -> None:
    ran = upgraded(tmp_path, broker, "dpkg")
    assert ran.returncode == 0, ran.stdout
    assert "skipping" in ran.stdout.partition("TASK [Leave]")[2].splitlines()[1]


def test_what_an_interrupted_try_left_in_maintenance_comes_back(tmp_path: Path, broker: RabbitMq) -> None:
    tool(broker, "rabbitmq-upgrade", "drain")
    ran = upgraded(tmp_path, broker, "dpkg")
    assert ran.returncode == 0, ran.stdout


def test_a_package_that_cannot_be_had_fails_before_the_member_leaves(tmp_path: Path, broker: RabbitMq) -> None:
    ran = upgraded(tmp_path, broker, "dpkg=0.0")
    assert ran.returncode == 2 and "dpkg=0.0" in ran.stdout
    assert "TASK [Leave]" not in ran.stdout
    assert broker.queues() is not None
