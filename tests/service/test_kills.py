"""Kill -9 of coordinator, runner, Ansible and prober; run again until done; judge by what the hosts did.

Five hundred kills here, every transition and many more calls in ``scripts/nightly`` (``UNDERWAY_KILL_POINTS=all``, or a
number for each scene). A scene runs in a process of its own, that adopts and ends whatever its victims leave behind.
What is judged: ``support/kill_judge.py``. Not covered, and not claimed: loss of power on real disks.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect
from support.scenes import play
from underway.checks.spawn import ProberProcess
from underway.core.model.cluster import Probe

pytestmark = [pytest.mark.service, pytest.mark.slow]

POINTS = {"hosts": 170, "coordinator-calls": 80, "runner-calls": 130}
SEED = os.environ.get("UNDERWAY_SEED", "20261121")


def scene(name: str, directory: Path, record_property: Callable[[str, object], None]) -> dict[str, Any]:
    """Run a scene; its counts. Fails with what is wrong."""
    points = os.environ.get("UNDERWAY_KILL_POINTS", str(POINTS[name]))
    output = play("support.kill_main", name, str(directory), "--points", points, "--seed", SEED)
    record_property("figures", f"{name}, seed {SEED}: {output.strip()}")
    said: dict[str, Any] = json.loads(output.splitlines()[0])
    return said


@pytest.mark.xdist_group("kills")
def test_everything_is_killed_in_a_run_of_twenty_hosts(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said = scene("hosts", tmp_path, record_property)
    assert said["hosts"] == 20
    for victim in ("coordinator", "runner", "ansible", "prober"):
        assert said["kills"][victim] >= 5, f"{victim} was hardly killed: the faults did not bite"
    assert said["by kind"]["runner: failpoint of the pass"] >= 10
    assert said["resumed"] >= 10 and said["unknown"] >= 1, "no step was interrupted: the faults did not bite"
    assert said["gaps"] <= said["kills"]["prober"] + 1 + said["skipped spells"]


@pytest.mark.xdist_group("kills")
def test_the_coordinator_is_killed_at_its_file_system_calls(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said = scene("coordinator-calls", tmp_path, record_property)
    assert said["kills"]["coordinator"] >= 50 and said["runs"] >= 2


@pytest.mark.xdist_group("kills-of-the-runner")
def test_the_runner_is_killed_at_its_file_system_calls(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    said = scene("runner-calls", tmp_path, record_property)
    assert said["kills"]["runner"] >= 90 and said["runs"] >= 3


def test_an_answer_is_about_one_interruption(tmp_path: Path) -> None:
    """The operator said that a step may run again; it is interrupted again, and that is another question."""
    log = tmp_path / "effects"
    kit = Kit(tmp_path, [{"id": "web.upgrade.pay", "tasks": [effect(log, "pay")]}])
    kit.enrol()
    kit.start(1, env={"UNDERWAY_RUNNER_FAILPOINT": "after-begin"})
    assert kit.follow(1)[1]["state"] == "none"
    kit.start(1)
    assert kit.follow(1)[1]["state"] == "unknown"
    answers = {"web.upgrade.pay": "rerun"}
    # it had its effect this time, and dies before it could say so
    kit.start(2, env={"UNDERWAY_RUNNER_FAILPOINT": "before-end"}, answers=answers)
    assert kit.follow(2)[1]["state"] == "none"
    assert log.read_text().split() == ["pay"]
    kit.start(2, answers=answers)
    assert kit.follow(2)[1]["state"] == "unknown"
    kit.start(3, answers={"web.upgrade.pay": "skip"})
    assert kit.follow(3)[1]["state"] == "finished"
    assert log.read_text().split() == ["pay"], "an old answer made a step that nobody had asked about run twice"


def test_a_prober_that_nobody_noted_is_found(tmp_path: Path) -> None:
    """The coordinator was killed after it had started the prober and before it had written down its number."""
    probes = {"web": Probe(name="web", kind="tcp", address="127.0.0.1:9", every=1.0)}
    first = ProberProcess(probes, tmp_path)
    first.ensure()
    try:
        pid = int((tmp_path / "prober.pid").read_text())
        wait_until(lambda: (tmp_path / "samples" / "prober.jsonl").exists())
        (tmp_path / "prober.pid").write_text("")
        second = ProberProcess(probes, tmp_path)
        for _ in range(20):
            second.ensure()  # a second prober would be refused the file, and end, and be started again, and so on
        assert (tmp_path / "prober.pid").read_text() == str(pid)
        (tmp_path / "prober.pid").unlink()
        ProberProcess({}, tmp_path).stop()
        wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None)
    finally:
        first.stop()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited for 60 s"
        time.sleep(0.02)
