"""An imported Spinal Stack scenario runs: the order of what hosts do, failures and resuming (A4-A8, A29).

Local hosts, which are directories; real Ansible on each. Modules that would act on this machine are replaced by one
that records its call, in a collection of the test's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fast.importers.spinal_made import CONFIG, GOLDEN, fixture, imported, tiny
from support.command_line import CommandLine
from underway.importers.native import write_directory

pytestmark = pytest.mark.service

RECORD = """\
import json
import pathlib
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={name: {"type": "raw"} for name in ("log", "host", "task", "asked", "fails")})
given = module.params
with open(given["log"], "a") as log:
    log.write(json.dumps([given["host"], given["task"], given["asked"]]) + chr(10))
due = pathlib.Path(given["fails"]) / f"{given['host']} {given['task']}"
if due.exists():
    due.unlink()
    module.fail_json(msg="as was asked", rc=1)
module.exit_json(changed=True, rc=1 if given["task"].startswith("Ask which") else 0)
"""
INFRA = """\
name: tiny
profiles:
  head: {arity: 1, edeploy: install-server}
  box:
    arity: n
    steps: {1: {roles: [cloud::db]}, 4: {roles: [cloud::api]}}
ordered_profiles: [head, box]
"""
ENV = "infra: tiny\nhosts:\n  =box9-10: {profile: box, =ip: 10.0.0.9-10}\n  head: {profile: head, ip: 10.0.0.1}\n"
SNIPPETS = {
    "db": "- name: stop db\n  shell: service db stop\n  tags: 4\n\n"
    "- name: start db\n  shell: service db start\n  tags: 6\n  register: result\n"
    "  until: result.rc == 0\n  retries: 2\n  delay: 1\n",
    "api": "- name: restart api\n  service: name={{ item }} state=restarted\n  tags: 7\n"
    "  with_items: [one, '{{ api }}']\n\n"
    "- name: update database\n  command: api-manage sync\n  tags: 7\n"
    "  when: inventory_hostname == groups['fakehostgroup'][0]\n\n"
    "- name: open again\n  script: open.sh {{ os_password }}\n  tags: 9\n",
}


class Spinal(CommandLine):
    """A scenario that was imported, with recording hosts."""

    def __init__(self, top: Path) -> None:
        self.top, self.log, self.fails = top, top / "log", top / "fails"
        self.fails.mkdir()
        files = tiny(
            top / "in", infra=INFRA, env=ENV + CONFIG.replace("  user: jenkins\n", ""), snippets=SNIPPETS,
            variables={"all": "distro: RH7.0\napi: openstack-api\n"}, helpers={"open.sh": b"#!/bin/sh\necho $1\n"},
        )  # fmt: skip
        (top / "password").write_text("a password\n")
        (top / "password").chmod(0o600)
        said = self.say(
            "import", "spinalstack", "--infra", str(files.infra), "--env", str(files.env),
            "--upgrade-map", str(files.upgrade_map), "--snippets", str(files.snippets),
            "--vars", str(files.variables[0]), "--vault-password-file", "password", "-o", "out",
        )  # fmt: skip
        assert "profile box: 2 hosts (box9.example.net, box10.example.net)" in said
        self.top = top / "out"
        self.record()
        self.say("enrol")

    def record(self) -> None:
        """Let hosts be directories, and modules record."""
        place = self.top.parent / ".ansible/collections/ansible_collections/recording/local/plugins/modules"
        place.mkdir(parents=True)
        (place / "record.py").write_text(RECORD)
        cluster = (self.top / "cluster.yaml").read_text()
        for name, address in (("head", "10.0.0.1"), ("box9", "10.0.0.9"), ("box10", "10.0.0.10")):
            local = f"connection: local\n    directory: {name}/runner"
            assert f"    address: {address}\n" in cluster
            cluster = cluster.replace(f"    address: {address}\n", f"    {local}\n")
            (self.top / name).mkdir()
        (self.top / "cluster.yaml").write_text(cluster)
        for path in self.top.glob("services/*.yaml"):
            service = yaml.safe_load(path.read_text())
            for phase in service["phases"].values():
                for step in phase["steps"] if isinstance(phase, dict) else phase:
                    step["tasks"] = [self.recorded(task) for task in step["tasks"]]
            path.write_text(yaml.safe_dump(service, sort_keys=False))

    def recorded(self, task: dict[str, Any]) -> dict[str, Any]:
        task.pop("become", None)
        if "block" in task:
            return {**task, "block": [self.recorded(one) for one in task["block"]]}
        module = next(key for key in task if key.startswith("ansible.builtin."))
        asked = {
            "log": str(self.log), "fails": str(self.fails), "host": "{{ inventory_hostname }}", "task": task["name"],
            "asked": {module: task.pop(module)},
        }  # fmt: skip
        return {**task, "recording.local.record": asked}

    def upgrade(self, code: int = 0) -> list[tuple[str, str]]:
        """Begin, or go on: (host, task) of what was done meanwhile."""
        before = len(self.done())
        self.say("upgrade", "plan.json", "--yes", "--plain", "--vault-password-file", "../password", code=code)
        return self.done()[before:]

    def done(self) -> list[tuple[str, str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(host.partition(".")[0], task) for host, task, _ in map(json.loads, lines)]


def of(host: str, *tasks: str) -> list[tuple[str, str]]:
    return [(host, task) for task in tasks]


def test_hosts_do_their_tags_one_after_another_and_go_on_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    spinal = Spinal(tmp_path)
    spinal.say("plan", "--to", "J.1.1.0", "-o", "plan.json")
    for due in ("box9.example.net Start db", "box9.example.net Restart api", "head.example.net Configure step 5"):
        (spinal.fails / due).touch()
    base = ["Ask which image is there", "Let eDeploy bring the image"]
    # tag 6 is tried again and comes through; tag 7 fails: nothing further is begun, on this host or another one
    first = spinal.upgrade(code=1)
    assert first[:2] == of("head", *base)
    assert first[2:] == of("box9", "Stop db", *base, "Start db", "Start db", "Restart api", "Restart api")
    spinal.say("retry", "box9.example.net", "--reason", "mended")
    # only what was not finished is done again, from the beginning of its tag; the database is the first host's work
    hand, again = "Hand open.sh what it is called with", "Open again"
    second = spinal.upgrade(code=1)
    assert second[:5] == of("box9", "Restart api", "Restart api", "Update database", hand, again)
    assert second[5:13] == of("box10", "Stop db", *base, "Start db", "Restart api", "Restart api", hand, again)
    # once all hosts are done comes the configuration; step 5 failed, so it alone is done again
    assert second[13:] == of("head", "Begin with step 0", "Configure step 0", "Begin with step 5", "Configure step 5")
    spinal.say("retry", "head.example.net", "--reason", "mended")
    assert spinal.upgrade() == of("head", "Begin with step 5", "Configure step 5")
    assert "s3cret" not in "".join(path.read_text() for path in spinal.top.glob("*.yaml"))


class Exported(CommandLine):
    """The scenario of the fixtures with most tasks, imported and exported."""

    def __init__(self, top: Path) -> None:
        self.top = top
        done = imported(fixture(top / "in", "J.1.1", "3nodes"))
        assert done.native is not None
        write_directory(top / "out", done.native.files())
        (top / "password").write_text("a password\n")
        self.say("--cluster", "out/cluster.yaml", "export", "--to", "J.1.1.0", "tree")

    def ansible(self, program: str, *words: str) -> None:
        command = [str(Path(sys.executable).parent / program), *words]
        env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.top), "LANG": "C.UTF-8"}
        env["ANSIBLE_VAULT_PASSWORD_FILE"] = str(self.top / "password")
        done = subprocess.run(
            command, cwd=self.top / "tree", env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


here = pytest.mark.skipif(not GOLDEN.exists(), reason=f"NOT RUN: no fixtures at {GOLDEN}; set UNDERWAY_FIXTURES")


@here
def test_plain_ansible_takes_what_is_exported(tmp_path: Path) -> None:
    Exported(tmp_path).ansible("ansible-playbook", "--syntax-check", "site.yml")


@here
@pytest.mark.slow
def test_the_linter_finds_nothing_in_what_is_exported(tmp_path: Path) -> None:
    Exported(tmp_path).ansible("ansible-lint", "--offline", "--profile", "production")
