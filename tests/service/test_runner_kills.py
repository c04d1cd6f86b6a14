"""Kill -9 of runner, Ansible and both at every transition of the journal; then the same ticket again.

Judged on the effect log, which steps write and the journal knows nothing of: no finished step ran twice, an
interrupted one ran again only with a word in the journal that says why, handlers fired, the end state is the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect

pytestmark = [pytest.mark.service, pytest.mark.slow]

POINTS = [
    "before-tokens", "after-tokens", "before-accepted", "after-accepted", "detached", "ansible-started",
    *(f"{when}-{kind}@{count}" for kind in ("begin", "end") for count in (1, 2, 3) for when in ("before", "after")),
    *(f"{when}-{kind}" for kind in ("task", "task-end@2", "notify", "handler", "leg-end")
      for when in ("before", "after")),
]  # fmt: skip


def make(tmp_path: Path) -> Kit:
    """Three steps: idempotent with a handler, with a check, with neither."""
    log = tmp_path / "effects"
    steps: list[dict[str, Any]] = [
        {"id": "web.upgrade.one", "idempotent": True, "tasks": [effect(log, "one", notify="restart web")]},
        {
            "id": "web.upgrade.two",
            "tasks": [{"name": "do two", "ansible.builtin.shell": f"echo two >> {log}"}],
            # of the effect itself: a mark beside it could be there without it, where a kill falls between the two
            "check": {
                "name": "did two happen",
                "ansible.builtin.command": f"grep -qx two {log}",
                "changed_when": False,
            },
        },
        {"id": "web.upgrade.three", "tasks": [effect(log, "three")]},
    ]
    kit = Kit(tmp_path, steps, [{"name": "restart web", "ansible.builtin.shell": f"echo restarted >> {log}"}])
    kit.enrol()
    return kit


def finish(kit: Kit, log: Path, token: int = 1) -> tuple[int, int]:
    """Hand the ticket over until the leg has ended, as a coordinator does; answer an unknown from what is true."""
    unknowns = 0
    answers: dict[str, str] = {}
    for starts in range(1, 9):
        said = kit.start(token, answers=answers)
        assert said["kind"] == "accepted", said
        _, status = kit.follow(token)
        if status["state"] == "finished":
            return starts, unknowns
        if status["state"] == "unknown":
            unknowns += 1
            assert status["step"] == "web.upgrade.three", "only a step with neither check nor idempotence is unknown"
            again = kit.start(token, answers=answers)
            assert again == {"kind": "accepted", "text": "has ended"}
            assert kit.follow(token)[1]["state"] == "unknown", "unknown stays until somebody answers"
            happened = "three" in log.read_text().split()
            answers, token = {status["step"]: "skip" if happened else "rerun"}, token + 1
        else:
            assert status["state"] == "none", status
    raise AssertionError(f"did not finish: {kit.journal()}")


def judge(kit: Kit, log: Path) -> None:
    effects = Counter(log.read_text().split())
    lines = kit.journal()
    resumed = Counter(line["step"] for line in lines if line["kind"] == "resumed")
    ends = Counter(line["step"] for line in lines if line["kind"] in ("end", "skip"))
    assert ends == {"web.upgrade.one": 1, "web.upgrade.two": 1, "web.upgrade.three": 1}
    assert 1 <= effects["one"] <= 1 + resumed["web.upgrade.one"]
    assert effects["two"] == 1
    assert effects["three"] == 1
    words = log.read_text().split()
    assert "restarted" in words[words.index("one") :], "a handler that was due did not run"
    assert [line["kind"] for line in lines].count("leg-end") == 1
    assert no_process_left(kit)


def no_process_left(kit: Kit) -> bool:
    """Nothing with the mark of this host's passes runs (the supervisor may need a moment to exit)."""
    mark = f"UNDERWAY_PASS={kit.directory}".encode()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(entry.name)
                except OSError:
                    continue
        if not found:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("point", POINTS)
def test_kill_at_a_transition(point: str, tmp_path: Path) -> None:
    kit = make(tmp_path)
    log = tmp_path / "effects"
    said = kit.start(env={"UNDERWAY_RUNNER_FAILPOINT": point})
    killed_at_start = said == {"kind": "killed"}
    if not killed_at_start:
        _, status = kit.follow()
        assert status["state"] in ("none", "finished"), status
        assert (status["state"] == "finished") == (point == "after-leg-end")
    finish(kit, log)
    judge(kit, log)


def children_of(pid: int) -> list[int]:
    done = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def wait_for(kit: Kit, kind: str, step: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(line["kind"] == kind and line.get("step") == step for line in kit.journal()):
            return
        time.sleep(0.01)
    raise AssertionError(f"no {kind} of {step}")


@pytest.mark.parametrize("victim", ["runner", "ansible", "both", "worker"])
@pytest.mark.parametrize("step", ["one", "two", "three"])
def test_kill_in_the_middle_of_a_step(victim: str, step: str, tmp_path: Path) -> None:
    kit = make(tmp_path)
    log = tmp_path / "effects"
    index = ["one", "two", "three"].index(step)
    task = kit.steps[index]["tasks"][0]
    task["ansible.builtin.shell"] = f"sleep 0.8; {task['ansible.builtin.shell']}"
    kit.rebuild()
    assert kit.start()["kind"] == "accepted"
    wait_for(kit, "task", f"web.upgrade.{step}")
    time.sleep(0.3)
    holder = json.loads((kit.directory / "work" / "pass.json").read_text())
    supervisor, ansible = holder["pid"], holder["leader"][0]
    victims = {
        "runner": [supervisor], "ansible": [ansible], "both": [supervisor, ansible], "worker": children_of(ansible),
    }[victim]  # fmt: skip
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    _, status = kit.follow()
    if victim in ("runner", "both"):
        assert status["state"] == "none"
    else:  # the supervisor lives: it cleans up, decides on the step by itself, and goes on or asks
        assert status["state"] == ("unknown" if step == "three" else "finished")
    finish(kit, log)
    judge(kit, log)


def test_a_service_that_a_finished_step_started_lives_on(tmp_path: Path) -> None:
    """Leftovers of the interrupted step are ended, what finished steps left running is not."""
    log = tmp_path / "effects"
    pidfile = tmp_path / "pid"
    daemon = f"setsid sh -c 'echo $$ > {pidfile}; exec sleep 600' >/dev/null 2>&1 </dev/null & sleep 0.2"
    kit = Kit(
        tmp_path,
        [
            {"id": "web.upgrade.one", "tasks": [{"name": "daemon", "ansible.builtin.shell": daemon}]},
            {"id": "web.upgrade.two", "idempotent": True, "tasks": [effect(log, "two")]},
        ],
    )
    kit.enrol()
    kit.start(env={"UNDERWAY_RUNNER_FAILPOINT": "after-begin@2"})
    assert kit.follow()[1]["state"] == "none"
    pid = int(pidfile.read_text())
    try:
        finish(kit, log)
        assert Path(f"/proc/{pid}").exists(), "the service of a finished step was ended"
        assert log.read_text().split() == ["two"]
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("prefix", ["", "setsid -w", "env -i /usr/bin/env"])
def test_a_leftover_is_gone_before_anything_starts(prefix: str, tmp_path: Path) -> None:
    """The interrupted task would go on for half a minute: it must not, for its step runs again."""
    log, pid = tmp_path / "effects", tmp_path / "pid"
    first = f"echo $$ > {pid}; sleep 30; echo late >> {log}"
    lives = f"grep -qs . /proc/$(cat {pid})/cmdline"  # empty for one that has ended and that nobody has waited for
    again = f"if {lives}; then echo both >> {log}; else echo again >> {log}; fi"
    task = f"{prefix} sh -c 'if [ -e {pid} ]; then {again}; else {first}; fi'"
    steps = [{"id": "web.upgrade.one", "idempotent": True, "tasks": [{"name": "slow", "ansible.builtin.shell": task}]}]
    kit = Kit(tmp_path, steps)
    kit.enrol()
    kit.start()
    deadline = time.monotonic() + 20
    while not pid.exists() or not pid.read_text().strip():
        assert time.monotonic() < deadline, "the task did not begin"
        time.sleep(0.05)
    holder = json.loads((kit.directory / "work" / "pass.json").read_text())
    os.kill(holder["pid"], signal.SIGKILL)
    finish(kit, log)
    assert log.read_text().split() == ["again"]
