"""Hosts that cannot have ansible-core: the coordinator's Ansible over a real sshd, journal and lock on the host.

The host's Python has the runner and securesystemslib, and nothing else (no ansible, no yaml, no cryptography).
``UNDERWAY_TEST_HOST_PYTHON`` names another interpreter for it, which can import the two: Python 3.9, say.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fast.runner.kit import Kit, effect
from fast.runner.sshd import Sshd, agent
from support.executing import reports_until
from underway.core.model.cluster import Host
from underway.executors.base import Order
from underway.executors.ssh import SshExecutor

pytestmark = pytest.mark.service

FINAL = ("finished", "failed", "unknown", "refused")
PASSWORD = f"canary-password-{os.getpid()}x"  # every process is searched, those of other tests too
SECRET = f"canary-secret-{os.getpid()}/+x"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that can import the runner and securesystemslib, and proves that it has no Ansible."""
    root = tmp_path_factory.mktemp("bare")
    own = os.environ.get("UNDERWAY_TEST_HOST_PYTHON", sys.executable)
    subprocess.run([own, "-m", "venv", "--without-pip", str(root / "env")], check=True)
    site = next((root / "env" / "lib").glob("python*/site-packages"))
    for module in ("underway_runner", "securesystemslib"):
        where = subprocess.run(
            [own, "-c", f"import {module}; print({module}.__file__)"], capture_output=True, text=True, check=True
        )
        (site / module).symlink_to(Path(where.stdout.strip()).parent)
    python = str(root / "env" / "bin" / "python")
    for name in ("ansible", "yaml", "cryptography"):
        assert subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode == 1
    return python


class Far:
    """A kit whose host's Ansible works from the coordinator."""

    def __init__(self, root: Path, sshd: Sshd, python: str, steps: list[dict[str, Any]], **more: Any) -> None:
        self.root, self.sshd = root, sshd
        self.log = root / "effects"
        self.kit = Kit(root, steps, **more)
        self.kit.way = {
            "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": sshd.port,
            "ansible_user": sshd.user,
        }  # fmt: skip
        self.kit.rebuild()
        self.kit.enrol()
        self.host = Host(
            name="h1", role="web", address="127.0.0.1", port=sshd.port, user=sshd.user, python=python,
            directory=str(self.kit.directory), ansible="coordinator",
        )  # fmt: skip

    def executor(self, name: str = "c", vault: str | None = None) -> SshExecutor:
        return SshExecutor(
            self.sshd.known_hosts, self.root / name / "ssh", identity=self.sshd.identity, vault_password=vault
        )

    def order(self, token: int = 1, since: int = 0, **changes: Any) -> Order:
        request = self.kit.request(token, **changes)
        return Order(
            run="r1", action="control/web/h1", leg=0, token=token, host=self.host, target="h1",
            ticket=base64.b64decode(request["ticket"]), plan=base64.b64decode(request["plan"]),
            files=tuple(self.kit.files.items()), since=since,
        )  # fmt: skip

    def driver(self, name: str = "c") -> int:
        """The process id of the driver, once there is one."""
        return int(wait_for(lambda: [path.read_text() for path in (self.root / name).glob("drivers/h1/pass-*/pid")])[0])

    def words(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def lines(self, *kinds: str) -> list[tuple[str, str]]:
        return [
            (line["kind"], line.get("step") or line.get("task", ""))
            for line in self.kit.journal()
            if line["kind"] in kinds
        ]

    def nothing_is_left(self) -> None:
        """No driver's directory, no script for modules, no process with the mark of this host or driver."""
        wait_for(lambda: not list(self.root.glob("*/drivers/h1/pass-*")))
        assert not (self.kit.directory / "work" / "door").exists()
        assert marked(self.root) == []


def marked(root: Path) -> list[str]:
    """Processes that were started for a pass below ``root``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"UNDERWAY_PASS={root}/".encode() in (entry / "environ").read_bytes():
                    found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
    return found


def wait_for(look: Callable[[], Any], patience: float = 60.0) -> Any:
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def three_steps(log: Path, gate: Path | None = None, **second: Any) -> list[dict[str, Any]]:
    """One notifies; two says that it has begun and waits for the gate; three is the rest."""
    hold = f"echo two-begun >> {log}; while test ! -e {gate}; do sleep 0.05; done; echo two >> {log}"
    two = effect(log, "two") if gate is None else {"name": "do two", "ansible.builtin.shell": hold}
    return [
        {"id": "web.upgrade.one", "tasks": [effect(log, "one", notify="restart web")]},
        {"id": "web.upgrade.two", "tasks": [two], **second},
        {"id": "web.upgrade.three", "tasks": [effect(log, "three", become=True)]},
    ]


def handlers(log: Path) -> list[dict[str, Any]]:
    return [{"name": "restart web", "ansible.builtin.shell": f"echo restarted >> {log}"}]


@pytest.fixture
def far(sshd: Sshd, bare_python: str, tmp_path: Path) -> Iterator[Far]:
    log = tmp_path / "effects"
    made = Far(tmp_path, sshd, bare_python, three_steps(log, tmp_path / "gate"), handlers=handlers(log))
    yield made
    made.nothing_is_left()


def test_the_journal_is_that_of_a_pass_on_the_host_itself(far: Far, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    executor = far.executor()
    try:
        executor.submit(far.order())
        found = reports_until(executor, *FINAL)
    finally:
        executor.close()
    assert (found[-1].kind, found[-1].text) == ("finished", "")
    assert [report.kind for report in found].count("accepted") == 1
    seen = [line.seq for report in found for line in report.lines]
    assert seen == list(range(1, len(far.kit.journal()) + 1))
    there = tmp_path / "there"
    there.mkdir()
    (there / "gate").touch()
    own = Kit(there, three_steps(there / "effects", there / "gate"), handlers(there / "effects"))
    own.enrol()
    own.start()
    assert own.follow()[1]["state"] == "finished"
    assert facts(far.kit) == facts(own)
    assert far.words() == (there / "effects").read_text().split() == ["one", "two-begun", "two", "three", "restarted"]


def facts(kit: Kit) -> list[dict[str, Any]]:
    """The journal without what differs from pass to pass by its nature."""
    vary = {"at", "mono", "crc", "duration", "text"}
    return [{key: value for key, value in line.items() if key not in vary} for line in kit.journal()]


def test_the_coordinator_may_go_and_the_pass_goes_on(far: Far, tmp_path: Path) -> None:
    first = far.executor()
    first.submit(far.order())
    wait_for(lambda: "two-begun" in far.words())
    first.close()
    (tmp_path / "gate").touch()
    second = far.executor()
    try:
        second.submit(far.order())
        assert reports_until(second, *FINAL)[-1].kind == "finished"
    finally:
        second.close()
    assert far.words() == ["one", "two-begun", "two", "three", "restarted"]


def test_two_coordinators_submit_the_same_claim(far: Far, tmp_path: Path) -> None:
    both = [far.executor(name) for name in ("a", "b")]
    try:
        for executor in both:
            executor.submit(far.order())
        wait_for(lambda: "two-begun" in far.words())
        (tmp_path / "gate").touch()
        assert [reports_until(executor, *FINAL)[-1].kind for executor in both] == ["finished", "finished"]
    finally:
        for executor in both:
            executor.close()
    assert far.words() == ["one", "two-begun", "two", "three", "restarted"]


def test_a_second_pass_finds_the_host_busy(far: Far) -> None:
    executor = far.executor()
    try:
        executor.submit(far.order())
        wait_for(lambda: "two-begun" in far.words())
        said = far.kit.start(token=2)
        assert said["kind"] == "busy"
        assert "token 1" in said["text"]
        executor.cancel(far.order())
        end = reports_until(executor, *FINAL)[-1]
        assert (end.kind, end.step) == ("unknown", "web.upgrade.two")
    finally:
        executor.close()
    assert far.words() == ["one", "two-begun"]


@pytest.mark.parametrize(
    ("how", "kind"),
    [("driver killed", "check"), ("driver killed", "neither"), ("connection cut", "idempotent")],
)
def test_an_interrupted_step_is_decided_and_what_it_ran_is_gone(
    sshd: Sshd, bare_python: str, tmp_path: Path, how: str, kind: str
) -> None:
    log, gate = tmp_path / "effects", tmp_path / "gate"
    kinds: dict[str, dict[str, Any]] = {
        "idempotent": {"idempotent": True},
        "check": {"check": {"name": "did two happen?", "ansible.builtin.shell": f"grep -qx two {log}"}},
        "neither": {},
    }
    more = kinds[kind]
    far = Far(tmp_path, sshd, bare_python, three_steps(log, gate, **more), handlers=handlers(log))
    executor = far.executor()
    try:
        executor.submit(far.order())
        wait_for(lambda: "two-begun" in far.words())
        held = far.kit.journal()[-1]["seq"]
        if how == "driver killed":
            os.kill(far.driver(), signal.SIGKILL)
        else:
            for pid in attending(sshd):
                os.kill(pid, signal.SIGKILL)
        if kind == "neither":
            end = reports_until(executor, *FINAL)[-1]
            assert (end.kind, end.step) == ("unknown", "web.upgrade.two")
            wait_for(lambda: not marked(tmp_path))
            gate.touch()
            time.sleep(0.3)
            assert far.words() == ["one", "two-begun"], "a leftover of the interrupted step was alive"
            executor.submit(far.order(token=2, answers={"web.upgrade.two": "rerun"}))
        else:
            wait_for(lambda: far.words().count("two-begun") == 2)
            gate.touch()
        assert reports_until(executor, *FINAL)[-1].kind == "finished"
    finally:
        executor.close()
    assert held
    assert far.words() == ["one", "two-begun", "two-begun", "two", "three", "restarted"]
    assert far.lines("begin").count(("begin", "web.upgrade.one")) == 1
    assert ("resumed", "web.upgrade.two") in far.lines("resumed")
    far.nothing_is_left()


def attending(sshd: Sshd) -> list[int]:
    """The sshd processes whose session runs ``attend``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if b"underway_runner\0attend" not in (entry / "cmdline").read_bytes():
                continue
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            while parent not in sshd.children() and parent > 1:
                parent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent > 1:
            found.append(parent)
    assert found
    return found


def test_a_driver_that_was_stopped_starts_nothing_more_once_the_host_has_let_go(far: Far, tmp_path: Path) -> None:
    """The machine of the coordinator sleeps, the host ends the connection, the machine wakes up."""
    executor = far.executor()
    try:
        executor.submit(far.order())
        wait_for(lambda: "two-begun" in far.words())
        driver = far.driver()
        ansible = [int(pid) for pid in Path(f"/proc/{driver}/task/{driver}/children").read_text().split()]
        group = [driver, *ansible]
        for pid in group:
            os.kill(pid, signal.SIGSTOP)
        for pid in attending(far.sshd):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not (far.kit.directory / "work" / "door").exists())
        assert far.kit.call("cancel", None, *far.kit.where()) == [{"kind": "cancelled"}]
        (tmp_path / "gate").touch()
        for pid in reversed(group):
            os.kill(pid, signal.SIGCONT)
        assert reports_until(executor, *FINAL)[-1].kind == "unknown"
        wait_for(lambda: not Path(f"/proc/{driver}").exists())
    finally:
        executor.close()
    assert far.words() == ["one", "two-begun"]


def test_a_step_that_takes_too_long_is_ended_on_the_host(sshd: Sshd, bare_python: str, tmp_path: Path) -> None:
    log = tmp_path / "effects"
    far = Far(tmp_path, sshd, bare_python, three_steps(log, tmp_path / "gate", timeout=8.0), handlers=handlers(log))
    executor = far.executor()
    try:
        executor.submit(far.order())
        end = reports_until(executor, *FINAL)[-1]
        assert (end.kind, end.step, end.text) == ("failed", "web.upgrade.two", "timed out after 8 s")
        assert marked(far.kit.directory) == []
        far.kit.plan["steps"]["web.upgrade.two"]["timeout"] = 60.0
        (tmp_path / "gate").touch()
        executor.submit(far.order(token=2))
        assert reports_until(executor, *FINAL)[-1].kind == "finished"
    finally:
        executor.close()
    assert far.words() == ["one", "two-begun", "two-begun", "two", "three", "restarted"]
    far.nothing_is_left()


def test_a_host_that_only_ansible_loses_is_interrupted_not_failed(sshd: Sshd, bare_python: str, tmp_path: Path) -> None:
    """Unreachable is told from failed: nobody knows what the task did."""
    lost: dict[str, Any] = {"name": "lost", "ansible.builtin.command": "true", "vars": {"ansible_port": 1}}
    far = Far(tmp_path, sshd, bare_python, [{"id": "web.upgrade.one", "tasks": [lost]}])
    executor = far.executor()
    try:
        executor.submit(far.order())
        end = reports_until(executor, *FINAL)[-1]
        assert (end.kind, end.step) == ("unknown", "web.upgrade.one")
    finally:
        executor.close()
    assert far.lines("end") == []
    far.nothing_is_left()


def test_the_host_key_is_checked_by_ansible_too(far: Far, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    executor = far.executor()
    try:
        _, data = executor.drive(far.order(), [], executor.request(far.order(), 0))
        assert b"StrictHostKeyChecking=yes" in data
        assert str(far.sshd.known_hosts).encode() in data
        far.sshd.trust("otherkey")
        executor.submit(far.order())
        assert "Host key verification failed" in reports_until(executor, "unreachable", *FINAL)[-1].text
        assert far.kit.journal() == []
    finally:
        far.sshd.trust("hostkey")
        executor.close()


def test_a_host_without_a_runner_is_told_what_to_do(far: Far) -> None:
    executor = far.executor()
    try:
        executor.submit(dataclasses.replace(far.order(), host=host_with(far.host, "/nowhere/python")))
        end = reports_until(executor, *FINAL)[-1]
    finally:
        executor.close()
    assert end.kind == "refused"
    assert "there is no runner at /nowhere/python" in end.text


def host_with(host: Host, python: str) -> Host:
    return Host(**{**{name: getattr(host, name) for name in host.__struct_fields__}, "python": python})


def test_secrets_stay_on_the_coordinator(sshd: Sshd, bare_python: str, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(PASSWORD)
    vault = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-vault"), "encrypt_string", "--vault-password-file",
         str(tmp_path / "pw"), "--name", "secret", SECRET],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    (tmp_path / "pw").unlink()
    step: dict[str, Any] = {
        "id": "web.upgrade.one",
        "tasks": [
            {"name": "hidden", "ansible.builtin.shell": "cat", "args": {"stdin": "{{ secret }}"}, "no_log": True},
            {"name": "shown", "ansible.builtin.shell": "cat; sleep 1", "args": {"stdin": "{{ secret }}"}},
            {"name": "said {{ secret }}", "ansible.builtin.debug": {"msg": "{{ secret | string | urlencode }}"}},
            {"name": "told", "ansible.builtin.debug": {"msg": "{{ secret }} aloud"}, "vars": {"underway_notice": True}},
            {"name": "fails", "ansible.builtin.fail": {"msg": "no: {{ secret }}"}},
        ],
    }
    far = Far(tmp_path, sshd, bare_python, [step])
    far.kit.inventory_extra = "".join(f"      {line}\n" for line in vault.stdout.rstrip().splitlines())
    far.kit.rebuild()
    found: list[str] = []
    stop = threading.Event()

    def spy() -> None:
        while not stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and entry.name != str(os.getpid()):
                    for name in ("environ", "cmdline"):
                        try:
                            data = (entry / name).read_bytes()
                        except OSError:
                            continue
                        if PASSWORD.encode() in data or SECRET.encode() in data:
                            found.append(f"{entry.name}/{name}")
            for path in [*tmp_path.glob("c/drivers/**/*"), *far.kit.directory.rglob("*")]:
                try:
                    data = path.read_bytes()
                except OSError:
                    continue
                if PASSWORD.encode() in data or SECRET.encode() in data:
                    found.append(str(path))
            time.sleep(0.02)

    thread = threading.Thread(target=spy)
    thread.start()
    executor = far.executor(vault=PASSWORD)
    try:
        executor.submit(far.order())
        reports = reports_until(executor, *FINAL)
    finally:
        stop.set()
        thread.join()
        executor.close()
    assert reports[-1].kind == "failed"
    assert "no: [hidden]" in reports[-1].text
    assert found == []
    assert "canary" not in repr(reports)
    assert [line["text"] for line in far.kit.journal() if line["kind"] == "notice"] == ["[hidden] aloud"]
    output = (far.kit.directory / "work" / "1-0" / "output").read_text()
    assert "-- shown: ok\n[hidden]" in output
    far.nothing_is_left()


CLUSTER = """\
cluster: demo
release: "1"
delivery: command
roles: {{web: {{services: [web], limit: 1}}}}
hosts:
  h1: {{role: web, address: 127.0.0.1, port: {port}, user: {user}, python: {python}, directory: {root}/host, \
ansible: coordinator, vars: {{log: {root}/effects}}}}
"""

SERVICE = """\
service: web
handlers:
  - name: Restart web
    ansible.builtin.shell: "echo restarted >> {{ log }}"
phases:
  upgrade:
    - step: turn
      idempotent: true
      tasks:
        - name: Turn
          ansible.builtin.shell: "echo {{ underway_release_to }}-{{ underway_host }} >> {{ log }}"
          notify: Restart web
"""


def test_the_whole_program_upgrades_such_a_host(sshd: Sshd, bare_python: str, tmp_path: Path) -> None:
    for name, text in (
        ("cluster.yaml", CLUSTER.format(port=sshd.port, user=sshd.user, python=bare_python, root=tmp_path)),
        ("services/web.yaml", SERVICE),
        ("releases/1.yaml", 'release: "1"\nsupports: ["0"]\nservices: {web: "1"}\n'),
        ("releases/2.yaml", 'release: "2"\nsupports: ["1"]\nservices: {web: "2"}\n'),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    key = " ".join((sshd.root / "hostkey.pub").read_text().split()[:2])
    program = [str(Path(sys.executable).parent / "underway"), "--cluster", str(tmp_path / "cluster.yaml")]
    plan = str(tmp_path / "plan.json")
    with agent(sshd.identity, tmp_path / "agent") as env:
        for words in (
            ["enrol", "--host-key", key, "h1"],
            ["plan", "--to", "2", "-o", plan],
            ["upgrade", "--yes", plan],
        ):
            done = subprocess.run([*program, *words], capture_output=True, text=True, env=env, timeout=300, check=False)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert (tmp_path / "effects").read_text().split() == ["2-h1", "restarted"]
    assert marked(tmp_path) == []
