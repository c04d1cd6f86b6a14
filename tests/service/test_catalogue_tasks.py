"""Tasks of the catalogue that judge or write, done by real Ansible: with what real tools printed, on real files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from underway.config import shipped

pytestmark = pytest.mark.service

SERVICES = shipped.services("openstack")
BIN = Path(sys.executable).parent


def cinder_row(binary: str, host: str, state: str, when: str, version: str, cluster: str = "") -> str:
    """A line as "cinder-manage service list" of 28.0 printed it."""
    cells = (binary, host, "nova", "enabled", state, when, "3.20", version, cluster)
    return "%-16s %-36s %-16s %-10s %-5s %-20s %-12s %-15s %-36s\n" % cells  # noqa: UP031, as it is written there


def manila_row(binary: str, host: str, state: str, when: str) -> str:
    """A line as "manila-manage service list" of 22.0 printed it."""
    return f"{binary:16} {host:36} {'nova':16} {'enabled':10} {state:5} {when}\n"


CINDER = (
    "Binary           Host                                 Zone             Status     State Updated At\n"
    + cinder_row("cinder-scheduler", "ctl1", ":-)", "2026-11-22 02:43:47.255969", "1.40")
    + cinder_row("cinder-volume", "ctl1@lvm", ":-)", "2026-11-22 02:43:47.255969", "1.40", "lvm@pool")
)
ORPHAN = cinder_row("cinder-backup", "ctl9", "XXX", "2020-01-01 00:00:00", "1.40")
OLD = cinder_row("cinder-backup", "ctl9", ":-)", "2026-11-22 02:43:47.255969", "1.38")
MANILA = manila_row("manila-share", "ctl1@shares", ":-)", "2026-11-22 02:43:43")
MANILA_ORPHAN = manila_row("manila-scheduler", "ctl9", "XXX", "2020-01-01 00:00:00")
BUS = "rabbit://heat:pa/ss@10.0.0.1:5672,heat:pa/ss@10.0.0.2:5672/"


def tasks(service: str, phase: str, step: str) -> Iterator[dict[str, Any]]:
    """A step's tasks, done as whoever runs the test."""
    spec = SERVICES[service]["phases"][phase]
    [found] = [one for one in (spec["steps"] if isinstance(spec, dict) else spec) if step in one["step"]]
    for task in found["tasks"]:
        if "ansible.builtin.systemd_service" not in task:
            yield {key: value for key, value in task.items() if not key.startswith("become")}


class Book:
    """Plays on this machine, each with variables of its own; what their tasks said is written at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plays: list[dict[str, Any]] = []

    def play(self, listed: Iterator[dict[str, Any]], *services: str, **variables: Any) -> int:
        """The number of a play with these tasks; it has failed once one of them has."""
        number = len(self.plays)
        found = {"underway_hosts_by_service": {}, "openstack_new": "/nowhere"}
        for service in services:
            found |= SERVICES[service].get("vars", {})
        written = self.directory / f"{number}.json"
        said = {"ansible.builtin.copy": {"dest": str(written), "content": "{{ said | to_json }}", "mode": "0600"}}
        block = {
            "name": "Do them",
            "block": list(listed),
            "rescue": [{**said, "name": "Say what failed", "vars": {"said": "{{ ansible_failed_result.msg }}"}}],
        }
        self.plays.append(
            {
                "name": f"Play {number}",
                "hosts": "localhost",
                "gather_facts": False,
                "vars": found | variables,
                "tasks": [block],
            }
        )
        return number

    def run(self) -> None:
        (self.directory / "book.yml").write_text(json.dumps(self.plays))  # JSON is YAML
        ran = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", "book.yml"],
            cwd=self.directory, capture_output=True, text=True, timeout=600, check=False,
            env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(self.directory), "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def failed(self, number: int) -> str:
        """What a play failed with; empty if it did not."""
        written = self.directory / f"{number}.json"
        return str(json.loads(written.read_text())) if written.exists() else ""


def tool(directory: Path, name: str, says: str) -> str:
    """A program that prints what the real one printed."""
    (directory / f"{name}.txt").write_text(says)
    program = directory / name
    program.write_text(f"#!/bin/sh\ncat '{directory}/{name}.txt'\n")
    program.chmod(0o755)
    return str(program)


def test_they_judge_and_write_as_their_files_say(tmp_path: Path) -> None:
    book = Book(tmp_path)
    listed = {"good": CINDER, "orphan": CINDER + ORPHAN, "old": CINDER + OLD}
    cinder = {
        name: book.play(
            tasks("cinder", "finalize", "prove"), "cinder", cinder_manage=tool(tmp_path, f"cinder-{name}", says)
        )
        for name, says in listed.items()
    }
    manila = {
        name: book.play(
            tasks("manila", "verify", "orphaned"), "manila", manila_manage=tool(tmp_path, f"manila-{name}", says)
        )
        for name, says in {"good": MANILA, "orphan": MANILA + MANILA_ORPHAN}.items()
    }
    schema = {
        jump: book.play(
            tasks("octavia", "preflight", "schema"),
            "octavia",
            underway_release_from=jump[0],
            underway_release_to=jump[1],
        )
        for jump in (("2025.1", "2026.1"), ("2026.1", "2026.2"))
    }
    both = [{"name": "c1"}, {"name": "c2"}]
    apart = {"heat-api": both, "heat-engine": both[:1]}
    heat = {
        name: book.play(
            tasks("heat", "preflight", "find their work"), "heat",
            heat_vhost=vhost, heat_vhost_old="epoxy", underway_hosts_by_service=by_service,
        )
        for name, vhost, by_service in (
            ("one", "", apart), ("apart", "gazpacho", apart), ("beside", "gazpacho", dict.fromkeys(apart, both)),
        )
    }  # fmt: skip
    conf = tmp_path / "heat.conf"
    conf.write_text(f"[DEFAULT]\ntransport_url = {BUS}epoxy?ssl=1\n")
    turned = {"heat_config": str(conf), "heat_vhost": "gazpacho", "heat_vhost_old": "epoxy"}
    book.play(tasks("heat-engine", "upgrade", "point Heat"), "heat", "heat-engine", **turned)
    there = tmp_path / "there"
    keep = {"name": "Keep it", "ansible.builtin.copy": {"src": str(conf), "dest": str(there), "mode": "0600"}}
    book.play(iter([keep]))
    book.play(tasks("heat-engine", "rollback", "point Heat"), "heat", "heat-engine", **turned)
    ironic = tmp_path / "ironic.conf"
    ironic.write_text("[DEFAULT]\ndebug = true\n\n[database]\nbackend = sqlalchemy\n")
    pin = {"ironic_config": str(ironic), "underway_release_from": "2025.1"}
    book.play(tasks("ironic-api", "upgrade", "old release understands"), "ironic", "ironic-api", **pin)
    pinned = tmp_path / "pinned"
    book.play(
        iter([{"name": "Keep it", "ansible.builtin.copy": {"src": str(ironic), "dest": str(pinned), "mode": "0600"}}])
    )
    book.play(tasks("ironic-api", "finalize", "as the new release"), "ironic", "ironic-api", **pin)
    book.run()

    assert book.failed(cinder["good"]) == ""
    assert book.failed(cinder["orphan"]).startswith("cinder-backup ctl9 nova enabled XXX 2020-01-01 00:00:00")
    assert book.failed(cinder["old"]).startswith("versions 1.40, 1.38: start or upgrade what is there still")
    assert book.failed(manila["good"]) == ""
    assert book.failed(manila["orphan"]).startswith("manila-scheduler ctl9 nova enabled XXX")
    assert book.failed(schema["2025.1", "2026.1"]) == ""
    assert "nobody has read whether the schema of octavia only grows from 2026.1 to 2026.2" in book.failed(
        schema["2026.1", "2026.2"]
    )
    assert (book.failed(heat["one"]), book.failed(heat["beside"])) == ("", "")
    assert "each host with heat-api must have heat-engine" in book.failed(heat["apart"])
    assert there.read_text() == f"[DEFAULT]\ntransport_url = {BUS}gazpacho?ssl=1\n"
    assert conf.read_text() == f"[DEFAULT]\ntransport_url = {BUS}epoxy?ssl=1\n"
    assert pinned.read_text().splitlines()[:3] == ["[DEFAULT]", "pin_release_version = 2025.1", "debug = true"]
    assert ironic.read_text() == "[DEFAULT]\ndebug = true\n\n[database]\nbackend = sqlalchemy\n"
