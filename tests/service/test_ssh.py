"""The SSH executor against a real sshd, a real runner and a real ansible-core."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast.runner.kit import Kit, effect
from fast.runner.sshd import Sshd
from support.executing import reports_until
from underway.core.model.cluster import Host
from underway.errors import NotTrusted, Refused, Unreachable
from underway.executors.base import Order, Report
from underway.executors.ssh import SshExecutor

pytestmark = pytest.mark.service

FINAL = ("finished", "failed", "unknown", "refused")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    log = tmp_path / "effects"
    steps = [
        {"id": "web.upgrade.one", "tasks": [effect(log, "one", notify="restart web")]},
        {"id": "web.upgrade.two", "tasks": [effect(log, "two")]},
    ]
    return Kit(tmp_path, steps, [{"name": "restart web", "ansible.builtin.shell": f"echo restarted >> {log}"}])


@pytest.fixture
def executor(sshd: Sshd, tmp_path: Path) -> Iterator[SshExecutor]:
    # a short path, or the executor takes another directory and this looks for connections where none can be
    with tempfile.TemporaryDirectory(prefix="uw-") as short:
        control = Path(short) / "ssh"
        made = SshExecutor(sshd.known_hosts, control, identity=sshd.identity)
        yield made
        made.close()
        deadline = time.monotonic() + 5  # its process is told to exit, and does so a moment later
        while left := list(control.glob("*")):
            assert time.monotonic() < deadline, f"a shared connection was left: {left}"
            time.sleep(0.05)


def connect(sshd: Sshd, tmp_path: Path) -> SshExecutor:
    return SshExecutor(sshd.known_hosts, tmp_path / "ssh", identity=sshd.identity)


def host_of(sshd: Sshd, kit: Kit, **changes: object) -> Host:
    fields = {
        "name": "h1", "role": "web", "address": "127.0.0.1", "port": sshd.port, "user": sshd.user,
        "python": sys.executable, "directory": str(kit.directory),
    }  # fmt: skip
    return Host(**{**fields, **changes})  # type: ignore[arg-type]


def order_of(kit: Kit, host: Host, token: int = 1, since: int = 0) -> Order:
    request = kit.request(token)
    return Order(
        run=kit.run_id,
        action="control/web/h1",
        leg=0,
        token=token,
        host=host,
        target="h1",
        ticket=base64.b64decode(request["ticket"]),
        plan=base64.b64decode(request["plan"]),
        files=tuple(kit.files.items()),
        since=since,
    )


def test_a_leg_is_carried_started_and_followed(sshd: Sshd, kit: Kit, executor: SshExecutor, tmp_path: Path) -> None:
    host = host_of(sshd, kit)
    executor.enrol(host, "demo", kit.keys())
    assert executor.ping(host)["enrolled"] is True
    executor.submit(order_of(kit, host))
    found = reports_until(executor, *FINAL)
    assert found[-1].kind == "finished"
    assert [report.kind for report in found].count("accepted") == 1
    lines = [line for report in found for line in report.lines]
    assert [line.seq for line in lines] == list(range(1, len(lines) + 1))
    assert [(line.kind, line.step or line.task) for line in lines if line.kind in ("begin", "end", "handler")] == [
        ("begin", "web.upgrade.one"), ("end", "web.upgrade.one"),
        ("begin", "web.upgrade.two"), ("end", "web.upgrade.two"), ("handler", "restart web"),
    ]  # fmt: skip
    assert (tmp_path / "effects").read_text().split() == ["one", "two", "restarted"]


def test_other_keys_are_refused_at_enrolment(sshd: Sshd, kit: Kit, executor: SshExecutor, tmp_path: Path) -> None:
    host = host_of(sshd, kit)
    executor.enrol(host, "demo", kit.keys())
    executor.enrol(host, "demo", kit.keys())
    with pytest.raises(NotTrusted, match="enrolled already, with other keys"):
        executor.enrol(host, "demo", Kit(tmp_path, []).keys())


def test_a_changed_host_key_is_refused_and_says_nothing_of_the_host(
    sshd: Sshd, kit: Kit, executor: SshExecutor, tmp_path: Path
) -> None:
    kit.enrol()
    sshd.trust("otherkey")
    try:
        executor.submit(order_of(kit, host_of(sshd, kit)))
        found = reports_until(executor, "unreachable", *FINAL)
        assert found[-1].kind == "unreachable"
        assert "Host key verification failed" in found[-1].text
        with pytest.raises(Unreachable):
            executor.ping(host_of(sshd, kit))
    finally:
        sshd.trust("hostkey")
    assert not (tmp_path / "effects").exists()
    assert kit.journal() == []
    assert reports_until(executor, *FINAL)[-1].kind == "finished"  # it went on trying


def test_a_host_without_a_runner_is_told_what_to_do(sshd: Sshd, kit: Kit, executor: SshExecutor) -> None:
    kit.enrol()
    for python in ("/nowhere/python", "/usr/bin/python3"):
        executor.submit(order_of(kit, host_of(sshd, kit, python=python)))
        found = reports_until(executor, *FINAL)
        assert found[-1].kind == "refused"
        assert "pip install underway-runner" in found[-1].text


@pytest.mark.parametrize(
    "changes", [{"address": "-oProxyCommand=x"}, {"address": "h1;touch x"}, {"user": "-oX=y"}, {"address": "h1\n"}]
)
def test_names_that_ssh_could_misread_are_refused(
    sshd: Sshd, kit: Kit, executor: SshExecutor, changes: dict[str, str]
) -> None:
    host = host_of(sshd, kit, **changes)
    executor.submit(order_of(kit, host))
    assert reports_until(executor, *FINAL)[-1].kind == "refused"
    with pytest.raises(Refused):
        executor.command(host, "ping", ())


def test_the_connection_is_killed_and_the_pass_goes_on(sshd: Sshd, kit: Kit, tmp_path: Path) -> None:
    log = tmp_path / "effects"
    kit.steps[1]["tasks"] = [{"name": "slow", "ansible.builtin.shell": f"sleep 2; echo two >> {log}"}]
    kit.rebuild()
    kit.enrol()
    executor = connect(sshd, tmp_path)
    host = host_of(sshd, kit)
    try:
        executor.submit(order_of(kit, host))
        reports_until(executor, "progress")
        for pid in sshd.children():
            os.kill(pid, signal.SIGKILL)
        found = reports_until(executor, *FINAL)
    finally:
        executor.close()
    assert "unreachable" in [report.kind for report in found]
    assert found[-1].kind == "finished"
    assert log.read_text().split() == ["one", "two", "restarted"]


def test_a_coordinator_is_killed_and_the_next_one_fetches_the_journal(sshd: Sshd, kit: Kit, tmp_path: Path) -> None:
    log = tmp_path / "effects"
    kit.steps[1]["tasks"] = [{"name": "slow", "ansible.builtin.shell": f"sleep 2; echo two >> {log}"}]
    kit.rebuild()
    kit.enrol()
    host = host_of(sshd, kit)
    order = order_of(kit, host)
    dying = connect(sshd, tmp_path / "first")
    first = subprocess.Popen(
        dying.command(host, "run", ["--since", "0"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdin and first.stdout
    first.stdin.write(json.dumps(kit.request(1)).encode() + b"\n")
    first.stdin.flush()
    assert json.loads(first.stdout.readline())["kind"] == "accepted"
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()
    dying.close()
    executor = connect(sshd, tmp_path)
    try:
        executor.submit(dataclasses.replace(order, since=1))
        found = reports_until(executor, *FINAL)
    finally:
        executor.close()
    assert found[-1].kind == "finished"
    assert next(line.seq for report in found for line in report.lines) == 2
    assert log.read_text().split() == ["one", "two", "restarted"]


def test_two_coordinators_submit_the_same_ticket(sshd: Sshd, kit: Kit, tmp_path: Path) -> None:
    kit.enrol()
    host = host_of(sshd, kit)
    both = [connect(sshd, tmp_path / name) for name in ("a", "b")]
    try:
        for executor in both:
            executor.submit(order_of(kit, host))  # issued at different moments: still one claim
        ends = [reports_until(executor, *FINAL)[-1].kind for executor in both]
    finally:
        for executor in both:
            executor.close()
    assert ends == ["finished", "finished"]
    assert (tmp_path / "effects").read_text().split() == ["one", "two", "restarted"]


def test_another_that_is_done_leaves_the_connections_of_a_run_alone(
    sshd: Sshd, kit: Kit, executor: SshExecutor, tmp_path: Path
) -> None:
    """'underway diagnose' asks the same hosts beside a run, from the same state directory, and then closes."""
    host = host_of(sshd, kit)
    call = executor.shell(host, "echo begun; read line; echo $line")
    running = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stdin and running.stdout
    assert running.stdout.readline() == "begun\n"
    other = SshExecutor(sshd.known_hosts, executor._control, identity=sshd.identity)
    assert subprocess.run(other.shell(host, "true"), stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    other.close()
    said, _ = running.communicate("still here\n", timeout=60)
    assert (said, running.returncode) == ("still here\n", 0)


def test_cancel_ends_every_process_and_says_so(sshd: Sshd, kit: Kit, executor: SshExecutor, tmp_path: Path) -> None:
    kit.steps[0]["idempotent"] = True
    kit.steps[0]["tasks"] = [{"name": "slow", "ansible.builtin.shell": f"sleep 61.{os.getpid()}"}]
    kit.rebuild()
    kit.enrol()
    order = order_of(kit, host_of(sshd, kit))
    executor.submit(order)
    found: list[Report] = []
    while not any(line.kind == "task" for report in found for line in report.lines):
        found += executor.reports(1.0)
    time.sleep(0.5)
    executor.cancel(order)
    end = reports_until(executor, *FINAL)[-1]
    assert (end.kind, end.text) == ("failed", "cancelled by the coordinator")
    left = subprocess.run(["pgrep", "-f", f"sleep 61.{os.getpid()}"], capture_output=True, check=False)
    assert left.stdout == b""
