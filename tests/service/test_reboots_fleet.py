"""A fleet that reboots under the rules, over SSH and by agents: real machines go down, real coordinators wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from fast.runner.sshd import Sshd, agent
from support.fleet import Fleet
from support.machines import REBOOT, Machine, machine, need_machines

pytestmark = [pytest.mark.service, pytest.mark.slow]

WEB = """\
service: web
plane: data
gate: {name: It serves, ansible.builtin.command: "true", changed_when: false}
phases:
  upgrade:
    - step: new page
      idempotent: true
      tasks: [{name: Turn, ansible.builtin.command: "true"}]
"""


@pytest.fixture(autouse=True)
def _machines() -> None:
    need_machines()


class Site:
    """Two machines with an SSH server each, and the program on this one; the second has its Ansible from here."""

    def __init__(self, home: Path, servers: Mapping[str, Sshd], env: Mapping[str, str]) -> None:
        self.home, self.env = home, env
        for name in ("services", "releases"):
            (home / name).mkdir(parents=True)
        hosts = "".join(
            f"  {name}: {{role: web, address: 127.0.0.1, port: {one.port}, user: {one.user}, python: {sys.executable},"
            f" directory: {home}/{name}.runner{', ansible: coordinator' if name == 'm2' else ''}}}\n"
            for name, one in servers.items()
        )
        (home / "cluster.yaml").write_text(
            'cluster: moving\nrelease: "1"\ndelivery: command\nroles: {web: {services: [web], limit: 1}}\n'
            f'hosts:\n{hosts}policy: {{soak: 0s}}\nsettings: {{reboot_command: "{REBOOT}", reboot_started: "exit 0"}}\n'
        )
        (home / "services/web.yaml").write_text(WEB)
        (home / "releases/1.yaml").write_text('release: "1"\nsupports: ["0"]\nservices: {web: "1"}\n')

    def underway(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.home / "cluster.yaml"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=self.env)
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Site, dict[str, Machine]]]:
    with ExitStack() as stack:
        servers, machines = {}, {}
        for name in ("m1", "m2"):
            (tmp_path / f"{name}.ssh").mkdir()
            servers[name] = Sshd(tmp_path / f"{name}.ssh")
        shutil.copy(servers["m1"].root / "id.pub", servers["m2"].root / "authorized_keys")
        for name, server in servers.items():
            machines[name] = stack.enter_context(machine(tmp_path / name, {"sshd": server.command()}, away=1.0))
        env = stack.enter_context(agent(servers["m1"].identity, tmp_path / "a"))
        site = Site(tmp_path / "site", servers, {**os.environ, **env})
        for name, server in servers.items():
            key = " ".join((server.root / "hostkey.pub").read_text().split()[:2])
            site.underway("enrol", name, "--host-key", key)
        yield site, machines


def test_hosts_reboot_one_after_another_over_ssh(pair: tuple[Site, dict[str, Machine]]) -> None:
    site, machines = pair
    said = site.underway("roll", "--action", "reboot", "--yes", "--plain")
    assert {name: len(one.boots) for name, one in machines.items()} == {"m1": 2, "m2": 2}, said
    (down,), (down2,) = machines["m1"].downs, machines["m2"].downs
    assert down[1] < down2[0], "the second went down before the first was back"
    for name in machines:
        ended = [json.loads(raw) for raw in (site.home / f"{name}.runner" / "journal").read_bytes().splitlines()]
        assert [one["text"] for one in ended if one["kind"] == "end" and "text" in one] == ["the machine was rebooted"]
    wrong = site.underway("roll", "--action", "rebot", "--yes", code=2)
    assert "--action rebot: there is no such action (did you mean 'reboot'?)" in wrong, wrong


def test_an_agent_reboots_its_host_and_reports_from_the_other_side(tmp_path: Path) -> None:
    """And where the power goes in the middle of another step, the step is gone on with after it (F10)."""
    fleet = Fleet(tmp_path / "fleet", hosts=1)
    [host] = fleet.hosts
    with ExitStack() as stack:
        stack.callback(fleet.close)
        fleet.make()
        with (fleet.root / "cluster.yaml").open("a") as file:
            file.write(f'settings: {{reboot_command: "{REBOOT}", reboot_started: "exit 0"}}\n')
        fleet.serve()
        fleet.enrol(host)
        words = [*fleet.program(host), "run", "--dir", str(fleet.root / "agents" / host)]
        here = stack.enter_context(machine(tmp_path / "machine", {"agent": words}, away=1.0))

        said = fleet.underway("roll", "--action", "reboot", "--yes", "--plain")
        assert len(here.boots) == 2, said
        assert [line["text"] for line in fleet.journal(host) if line["kind"] == "end" and "text" in line] == [
            "the machine was rebooted"
        ]

        effects = fleet.root / "machines" / host / "effects"
        command = f"echo begun >> {effects}; sleep 3; echo ended >> {effects}"
        roll = fleet.begin("roll", fleet.command("roll", "--command", command, "--idempotent", "--yes", "--plain"))
        fleet.wait(lambda: fleet.effects(host) == ["begun"])
        here.lose_power()
        assert roll.wait(200) == 0, fleet.told()
        assert fleet.effects(host) == ["begun", "begun", "ended"] and len(here.boots) == 3
        assert [line["text"] for line in fleet.journal(host) if line["kind"] == "resumed"] == ["declared idempotent"]
        assert fleet.underway("audit", "verify")
