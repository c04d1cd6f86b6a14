"""Reboots for real: the runner, over SSH and as the agent's, on machines that go down and come back in another boot."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect
from support.machines import REBOOT, Machine, machine, need_machines

pytestmark = [pytest.mark.service, pytest.mark.slow]

nightly = pytest.mark.skipif(
    os.environ.get("UNDERWAY_REBOOTS") != "all", reason="left to scripts/nightly (UNDERWAY_REBOOTS=all)"
)

TOLD = {"name": "Reboot", "ansible.builtin.command": REBOOT}


@pytest.fixture(autouse=True)
def _machines() -> None:
    need_machines()


class Rebooting:
    """A runner on a machine, called as over SSH: the same request again after each boot."""

    def __init__(self, tmp_path: Path, steps: list[dict[str, Any]]) -> None:
        self.kit = Kit(tmp_path, steps)
        self.kit.enrol()
        self.log = tmp_path / "effects"

    def call(self, on: Machine, verb: str, request: Any = None, *arguments: str) -> list[dict[str, Any]]:
        data = b"" if request is None else (json.dumps(request) + "\n").encode()
        words = [sys.executable, "-m", "underway_runner", verb, "--dir", str(self.kit.directory), *arguments]
        return [json.loads(line) for line in on.run(*words, text=data).splitlines()]

    def start(self, on: Machine) -> None:
        assert self.call(on, "start", self.kit.request())[-1]["kind"] == "accepted"

    def wait_for(self, kind: str, step: str = "", count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while sum(line["kind"] == kind and line.get("step", "") == step for line in self.kit.journal()) < count:
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.05)

    def told(self) -> list[tuple[str, str, str]]:
        wanted = ("begin", "end", "resumed", "unknown", "leg-end", "cancelled")
        return [
            (line["kind"], line.get("step", ""), line.get("text", ""))
            for line in self.kit.journal()
            if line["kind"] in wanted
        ]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path / "machine", {}) as made:
        yield made


def test_a_step_that_reboots_is_done_in_the_next_boot(tmp_path: Path, here: Machine) -> None:
    log = tmp_path / "effects"
    steps: list[dict[str, Any]] = [
        {"id": "web.upgrade.before", "tasks": [effect(log, "before")]},
        {"id": "web.upgrade.reboot", "reboot": True, "tasks": [TOLD]},
        {"id": "web.upgrade.after", "tasks": [effect(log, "after")]},
    ]
    site = Rebooting(tmp_path, steps)
    site.start(here)
    here.wait_for_boot(2)
    assert ("leg-end", "", "") not in site.told() and log.read_text().split() == ["before"]
    [status] = site.call(here, "follow", None, *site.kit.where(), "--since", "99", "--wait", "20")
    assert status["state"] == "none"
    site.start(here)
    site.wait_for("leg-end")
    assert site.told() == [
        ("begin", "web.upgrade.before", ""),
        ("end", "web.upgrade.before", ""),
        ("begin", "web.upgrade.reboot", ""),
        ("end", "web.upgrade.reboot", "the machine was rebooted"),
        ("begin", "web.upgrade.after", ""),
        ("end", "web.upgrade.after", ""),
        ("leg-end", "", ""),
    ]
    boots = {line["step"]: line["boot"] for line in site.kit.journal() if line["kind"] == "end"}
    assert [f"{boot}\n" for boot in (boots["web.upgrade.before"], boots["web.upgrade.after"])] == here.boots
    [reboot] = [line for line in site.kit.journal() if line["kind"] == "end" and line["step"] == "web.upgrade.reboot"]
    whole = site.kit.journal()[-1]
    assert 0 < reboot["duration"] < whole["duration"], "what a reboot took counts"
    assert log.read_text().split() == ["before", "after"]


def test_power_that_is_lost_in_a_step_resumes_at_the_step(tmp_path: Path, here: Machine) -> None:
    """Nobody planned it (F10): what may run again does, and of the rest the operator is asked."""
    log = tmp_path / "effects"
    slow = f"echo slow >> {log}; [ $(wc -l < {log}) -gt 1 ] || sleep 60"
    steps: list[dict[str, Any]] = [
        {"id": "web.upgrade.slow", "idempotent": True, "tasks": [{"name": "slow", "ansible.builtin.shell": slow}]},
        {"id": "web.upgrade.pay", "tasks": [{"name": "pay", "ansible.builtin.shell": f"echo pay >> {log}; sleep 60"}]},
    ]
    site = Rebooting(tmp_path, steps)
    for boot, words in ((1, ["slow"]), (2, ["slow", "slow", "pay"])):
        site.start(here)
        wait(lambda: log.exists() and log.read_text().split() == words)  # noqa: B023
        here.lose_power()
        here.wait_for_boot(boot + 1)
    site.start(here)
    site.wait_for("unknown", "web.upgrade.pay")
    assert site.told() == [
        ("begin", "web.upgrade.slow", ""),
        ("resumed", "web.upgrade.slow", "declared idempotent"),
        ("begin", "web.upgrade.slow", ""),
        ("end", "web.upgrade.slow", ""),
        ("begin", "web.upgrade.pay", ""),
        ("unknown", "web.upgrade.pay", "'web.upgrade.pay' was interrupted: nobody can tell whether it happened"),
    ]
    assert log.read_text().split() == ["slow", "slow", "pay"]


@nightly
def test_no_reboot_where_none_is_due(tmp_path: Path, here: Machine) -> None:
    look = {"name": "Look", "ansible.builtin.command": "false", "register": "due", "changed_when": False}
    tasks = [{**look, "failed_when": False}, {**TOLD, "when": "due.rc == 0"}]
    site = Rebooting(tmp_path, [{"id": "web.upgrade.reboot", "reboot": True, "tasks": tasks}])
    site.start(here)
    site.wait_for("leg-end")
    assert [kind for kind, *_ in site.told()] == ["begin", "end", "leg-end"] and len(here.boots) == 1


@nightly
def test_a_runner_that_is_killed_before_it_told_the_machine_tells_it_again(tmp_path: Path, here: Machine) -> None:
    """And the boot, not the journal's age, says whether the machine went down."""
    site = Rebooting(tmp_path, [{"id": "web.upgrade.reboot", "reboot": True, "tasks": [TOLD]}])
    data = (json.dumps(site.kit.request()) + "\n").encode()
    words = [sys.executable, "-m", "underway_runner", "start", "--dir", str(site.kit.directory)]
    here.run("env", "UNDERWAY_RUNNER_FAILPOINT=after-begin", *words, text=data)
    site.wait_for("begin", "web.upgrade.reboot")
    wait(lambda: site.call(here, "follow", None, *site.kit.where(), "--wait", "0")[-1]["state"] == "none")
    assert len(here.boots) == 1
    site.start(here)
    here.wait_for_boot(2)
    site.start(here)
    site.wait_for("leg-end")
    assert [(kind, text) for kind, _, text in site.told()] == [
        ("begin", ""),
        ("resumed", "the machine is in the same boot as before"),
        ("begin", ""),
        ("end", "the machine was rebooted"),
        ("leg-end", ""),
    ]


@nightly
def test_a_machine_that_stays_up_fails_the_step(tmp_path: Path, here: Machine) -> None:
    tasks = [{"name": "Say so", "ansible.builtin.command": "true"}]
    site = Rebooting(tmp_path, [{"id": "web.upgrade.reboot", "reboot": True, "timeout": 3.0, "tasks": tasks}])
    site.start(here)
    site.wait_for("leg-end", "web.upgrade.reboot")
    assert site.told()[-1][2] == "the machine is still up 3 s after the step began that was to reboot it"


@nightly
def test_a_machine_that_comes_back_in_the_same_boot_is_not_told_for_ever(tmp_path: Path, here: Machine) -> None:
    """As after 'systemctl soft-reboot': the kernel, and so the boot, is the one that was there."""
    here.same_boot = True
    site = Rebooting(tmp_path, [{"id": "web.upgrade.reboot", "reboot": True, "tasks": [TOLD]}])
    for boot in (2, 3, 4):
        site.start(here)
        here.wait_for_boot(boot)
    site.start(here)
    site.wait_for("leg-end", "web.upgrade.reboot")
    assert site.told()[-1][2] == "its tasks ran 3 times, and the machine is in the same boot as before"
    assert len(here.boots) == 4


def wait(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
