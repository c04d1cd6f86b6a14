"""A machine that dies for good in the middle of a run and is replaced, by the command line and with real processes.

A machine here is a directory with a serial number in it; it dies with its runner, its journal and all. What it did is
in a file by its serial number, outside of it: every step must be there once for each machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fast.runner.sshd import Sshd, agent
from underway.checks.spawn import ProberProcess

pytestmark = pytest.mark.service

PATIENCE = 180.0

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  balancer: {services: [balance]}
  web: {services: [web], limit: 1}
hosts:
  lb1: {role: balancer, connection: local, directory: machines/lb1/runner}
  web1: {role: web, connection: local, directory: machines/web1/runner}
  web2: {role: web, WEB2, directory: machines/web2/runner}
  web3: {role: web, connection: local, directory: machines/web3/runner}
settings: {top: TOP}
"""

WEB = """\
service: web
plane: data
needs: [balance]
phases:
  prepare:
    - {step: fetch, tasks: [{name: Fetch, ansible.builtin.shell: 'MARK fetch {{ underway_target }}'}]}
  expand:
    once: true
    steps:
      - {step: widen, tasks: [{name: Widen, ansible.builtin.shell: 'MARK widen {{ underway_target }}'}]}
  drain:
    on: balance
    steps:
      - {step: leave, tasks: [{name: Leave, ansible.builtin.shell: 'MARK leave {{ underway_target }}'}]}
  upgrade:
    - {step: turn, tasks: [{name: Turn, ansible.builtin.shell: 'MARK turn {{ underway_target }}'}]}
    - step: start
      tasks:
        - {name: Start, ansible.builtin.shell: 'MARK start {{ underway_target }}'}
        - name: Hang
          ansible.builtin.shell: while [ -e {{ top }}/machines/{{ underway_host }}/hang ]; do sleep 0.2; done
  undrain:
    on: balance
    steps:
      - {step: join, tasks: [{name: Join, ansible.builtin.shell: 'MARK join {{ underway_target }}'}]}
"""

MARK = "T={{ top }}; read N < $T/machines/{{ underway_host }}/serial; { echo"


class Small:
    """The cluster, its machines, and the command line beside it."""

    def __init__(
        self, top: Path, web2: str = "connection: local", env: Mapping[str, str] | None = None, key: str = ""
    ) -> None:
        self.top = top
        self.env = {**os.environ, **(env or {}), "NO_COLOR": "1", "COLUMNS": "200"}
        self.started: list[subprocess.Popen[str]] = []
        for name in ("services", "releases", "effects"):
            (top / name).mkdir()
        (top / "cluster.yaml").write_text(
            CLUSTER.replace("TOP", json.dumps(str(top))).replace("WEB2", web2).replace("machines/", f"{top}/machines/")
        )
        web = "\n".join(
            line.replace("MARK", MARK).replace("}}'}", "}}; } >> $T/effects/$N'}") if "MARK" in line else line
            for line in WEB.splitlines()
        )
        (top / "services" / "web.yaml").write_text(web + "\n")
        (top / "services" / "balance.yaml").write_text("service: balance\nplane: data\n")
        (top / "releases" / "1.0.yaml").write_text('release: "1.0"\nsupports: []\n')
        (top / "releases" / "2.0.yaml").write_text('release: "2.0"\nsupports: ["1.0"]\nservices: {web: "2"}\n')
        for host in ("lb1", "web1", "web2", "web3"):
            self.install(host, f"{host}-first")
        if key:
            self.say("enrol", "--host-key", key, "web2")
        self.say("enrol")
        self.say("plan", "--to", "2.0", "-o", "plan.json")

    def install(self, host: str, serial: str) -> None:
        """A new machine of this name."""
        (self.top / "machines" / host).mkdir(parents=True)
        (self.top / "machines" / host / "serial").write_text(serial + "\n")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command that is begun."""
        command = [str(Path(sys.executable).parent / "underway"), "--operator", "anna", *words]
        process = subprocess.Popen(
            command, cwd=self.top, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(process)
        return process

    def say(self, *words: str, code: int = 0) -> str:
        """What a command prints; it must exit with ``code``."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, f"{words}: {process.returncode}\n{said}"
        return said

    def effects(self, serial: str) -> list[str]:
        """What a machine did, in order."""
        path = self.top / "effects" / serial
        return path.read_text().splitlines() if path.exists() else []

    def await_effect(self, serial: str, effect: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while effect not in self.effects(serial):
            upgrade = next(process for process in self.started if "upgrade" in process.args)  # type: ignore[operator]
            assert upgrade.poll() is None, upgrade.communicate()[0]
            assert time.monotonic() < deadline, f"{serial} never did {effect!r}: {self.effects(serial)}"
            time.sleep(0.1)

    def die(self, host: str) -> None:
        """The machine is gone with all that ran on it and all that it knew."""
        grave = self.top / f"dead-{host}"
        (self.top / "machines" / host).rename(grave)  # first: nobody finds it there any more
        note = grave / "runner" / "work" / "pass.json"
        found = json.loads(note.read_text()) if note.exists() else {}
        for pid in (found.get("pid"), *(found.get("leader") or [None])[:1]):
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(1)  # what its Ansible had started ends by itself
        shutil.rmtree(grave)

    def close(self) -> None:
        """End what was started."""
        for path in self.top.glob("machines/*/hang"):
            path.unlink()
        for process in self.started:
            process.terminate()
            process.wait(30)
        for run in (self.top / ".underway" / "runs").glob("*"):
            ProberProcess({}, run).stop()

    def states(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("status", "--json"))
        return found


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path)
    yield made
    made.close()


def test_a_machine_that_dies_at_work_is_replaced(small: Small) -> None:
    (small.top / "machines" / "web2" / "hang").touch()
    upgrade = small.start("upgrade", "plan.json", "--yes")
    small.await_effect("web2-first", "start web2")
    refused = small.say("replace", "web2", "--reason", "too early", code=3)
    assert "web2 is believed to be at work on data/web/web2" in refused and "called unknown" in refused
    small.die("web2")
    said, _ = upgrade.communicate(timeout=PATIENCE)
    assert upgrade.returncode == 1, said
    status = small.say("status")
    dropped = small.say("drop", "web2", "--reason", "nobody looked", code=3)
    assert "nobody can tell whether web2 is still at work on data/web/web2" in dropped and "--off" in dropped
    assert "web2 unknown" in status and "underway replace web2 --reason TEXT" in status, status

    # Installed anew and enrolled, without a word: nothing runs there, and it is said why.
    small.install("web2", "web2-second")
    enrolled = small.say("enrol", "web2")
    assert "it is not the machine that it was: its journal ends at line 0" in enrolled
    assert "underway replace web2 --reason WHY" in enrolled
    small.say("upgrade", code=1)
    small.say("retry", "web2", "--rerun", "--reason", "I did not read the sentence")
    small.say("upgrade", code=1)
    (trouble,) = small.states()["trouble"]
    assert "another machine answers in its place" in trouble["reason"] and "underway replace web2" in trouble["reason"]
    assert small.effects("web2-second") == []

    # The word.
    replaced = small.say("replace", "web2", "--reason", "mainboard burnt")
    assert "prepare/web/web2, data/web/web2 will be done again on the new machine" in replaced
    assert "underway enrol" not in replaced, "it is enrolled, and says so"
    again = small.say("replace", "web2", "--reason", "said twice")
    assert "web2 was replaced" in again and "mainboard burnt" in again
    assert "enrolled, in the place of the machine that was replaced" in small.say("enrol", "web2")
    found = small.states()
    assert found["verdict"] == "running" and found["trouble"] == []
    (row,) = found["replaced"]
    assert (row["host"], row["by"], row["reason"]) == ("web2", "anna", "mainboard burnt")
    assert sorted(row["left"]) == ["data/web/web2", "prepare/web/web2"]
    small.say("upgrade")

    assert small.effects("web1-first") == ["fetch web1", "widen web1", "turn web1", "start web1"]
    assert small.effects("web2-first") == ["fetch web2", "turn web2", "start web2"]
    assert small.effects("web2-second") == ["fetch web2", "turn web2", "start web2"]
    assert small.effects("web3-first") == ["fetch web3", "turn web3", "start web3"]
    assert small.effects("lb1-first") == [  # the new machine is drained as well
        "leave web1", "join web1", "leave web2", "leave web2", "join web2", "leave web3", "join web3",
    ]  # fmt: skip
    told = small.say("log")
    assert "web2 died for good, another machine stands in its place" in told and "mainboard burnt" in told
    assert "the audit verifies" in small.say("audit", "verify")
    report = json.loads(small.say("report", "--json"))
    assert [row["who"] for row in report["operator"] if row["kind"] == "replaced"] == ["anna"]
    assert any("mainboard burnt" in text for text in report["warnings"])
    turns = [row for row in report["steps"] if row["host"] == "web2" and row["on"] == "web2"]
    assert [(row["step"], row["outcome"]) for row in turns] == [
        ("web.prepare.fetch", "ok"), ("web.upgrade.turn", "ok"), ("web.upgrade.start", "unknown"),
        ("web.prepare.fetch", "ok"), ("web.upgrade.turn", "ok"), ("web.upgrade.start", "ok"),
    ]  # fmt: skip
    (mirror,) = (small.top / ".underway" / "runs").glob("*/journals/web2.jsonl")
    numbers = [json.loads(line)["seq"] for line in mirror.read_text().splitlines()]
    assert numbers == sorted(numbers) and 1_000_000 in numbers and numbers[0] == 1


def test_a_machine_that_was_done_is_replaced_and_counts_as_out(small: Small) -> None:
    (small.top / "machines" / "web3" / "hang").touch()
    upgrade = small.start("upgrade", "plan.json", "--yes")
    small.await_effect("web3-first", "start web3")
    small.die("web1")
    small.install("web1", "web1-second")
    assert "underway replace web1 --reason WHY" in small.say("enrol", "web1")
    alive = small.say("replace", "lb1", "--reason", "a slip of the finger", code=3)
    assert "lb1 does a part of data/web/web3, which is at work" in alive or "it is no new machine" in alive
    assert "it is no new machine" in small.say("replace", "web2", "--reason", "a slip", code=3)
    said = small.say("replace", "web1", "--reason", "disk")
    assert "expand/web/web1 stays done: it was done once for all hosts" in said
    assert "underway enrol" not in said
    small.await_effect("web1-second", "fetch web1")  # takes nothing out of service: it need not wait for web3
    deadline = time.monotonic() + PATIENCE
    while (why := small.states()["reasons"]["web1"])["kind"] != "role-limit":
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    assert "(web1 replaced, web3 at work)" in why["sentence"], why
    (small.top / "machines" / "web3" / "hang").unlink()
    out, _ = upgrade.communicate(timeout=PATIENCE)
    assert upgrade.returncode == 0, out
    assert small.effects("web1-second") == ["fetch web1", "turn web1", "start web1"]
    assert small.effects("lb1-first")[-3:] == ["join web3", "leave web1", "join web1"], "the limit is one"
    refused = small.say("replace", "web1", "--reason", "too late", code=3)
    assert "is done: nothing of it is done again" in refused


@pytest.mark.slow
def test_a_machine_that_is_silent_over_ssh_is_replaced_by_one_with_another_host_key(tmp_path: Path) -> None:
    """Silent for two minutes it is called unknown; its place is taken by a machine that SSH does not know."""
    (tmp_path / "sshd").mkdir()
    daemon = Sshd(tmp_path / "sshd")
    daemon.start()
    with agent(daemon.identity, tmp_path / "agent") as env:
        over = f"address: 127.0.0.1, port: {daemon.port}, user: {daemon.user}, python: {sys.executable}"
        small = Small(tmp_path, over, env, (tmp_path / "sshd" / "hostkey.pub").read_text())
        try:
            _replace_over_ssh(small, daemon)
        finally:
            small.close()
            daemon.stop()


def _replace_over_ssh(small: Small, daemon: Sshd) -> None:
    (small.top / "machines" / "web2" / "hang").touch()
    upgrade = small.start("upgrade", "plan.json", "--yes")
    small.await_effect("web2-first", "start web2")
    connections = daemon.children()
    daemon.stop()
    for pid in connections:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    small.die("web2")
    said, _ = upgrade.communicate(timeout=PATIENCE + 120)
    assert upgrade.returncode == 1, said
    (trouble,) = small.states()["trouble"]
    assert trouble["state"] == "unknown" and "web2 cannot be reached" in trouble["reason"]
    assert "underway replace web2 --reason TEXT" in small.say("status")

    small.install("web2", "web2-second")
    shutil.copy(daemon.root / "otherkey", daemon.root / "hostkey")  # a machine that was installed anew has another
    daemon.start()
    refused = small.say("enrol", "web2", code=3)
    assert "Host key verification failed" in refused and "and --replace-key" in refused
    key = (daemon.root / "otherkey.pub").read_text()
    assert "give --replace-key as well" in small.say("enrol", "--host-key", key, "web2", code=3)
    enrolled = small.say("enrol", "--host-key", key, "--replace-key", "web2")
    assert "nothing runs there before you say 'underway replace web2 --reason WHY'" in enrolled
    small.say("replace", "web2", "--reason", "mainboard burnt")
    small.say("upgrade")
    for serial in ("web2-first", "web2-second"):
        assert small.effects(serial) == ["fetch web2", "turn web2", "start web2"]
