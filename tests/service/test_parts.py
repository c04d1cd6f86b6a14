"""An upgrade in parts, for real: control plane, data plane, then once what is for the whole deployment.

Three local hosts, which are directories: the real command line, coordinator, runner, Ansible and store.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.command_line import CommandLine

pytestmark = pytest.mark.service

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  control: {services: [api, queue]}
  work: {services: [worker]}
hosts:
  c1: {role: control, connection: local, directory: c1/runner}
  w1: {role: work, connection: local, directory: w1/runner}
policy: {soak: 0s}
settings: {log: LOG}
"""

SERVICE = """\
service: NAME
plane: PLANE
needs: [NEEDS]
phases:
EXTRA
  upgrade:
    - step: go
      idempotent: true
      tasks:
        - {name: Tell, ansible.builtin.shell: "echo NAME {{ underway_host }} >> {{ log }}", changed_when: true}
"""

ONCE = """\
  PHASE:
    ONCE
    steps:
      - step: PHASE
        idempotent: true
        tasks:
          - {name: Tell, ansible.builtin.shell: "echo PHASE-api >> {{ log }}", changed_when: true}
"""


class Parts(CommandLine):
    def __init__(self, top: Path) -> None:
        self.top, self.log = top, top / "log"
        for name in ("services", "releases", "c1", "w1"):
            (top / name).mkdir()
        (top / "cluster.yaml").write_text(CLUSTER.replace("LOG", json.dumps(str(self.log))))
        extra = "".join(ONCE.replace("PHASE", name).replace("ONCE", "once: true") for name in ("expand", "finalize"))
        for name, plane, needs, more in (
            ("api", "control", "queue", extra), ("queue", "control", "", ""), ("worker", "data", "api", ""),
        ):  # fmt: skip
            text = SERVICE.replace("EXTRA\n", more)
            text = text.replace("NAME", name).replace("PLANE", plane).replace("NEEDS", needs)
            (top / "services" / f"{name}.yaml").write_text(text)
        (top / "releases" / "2.0.yaml").write_text('release: "2.0"\nsupports: ["1.0"]\n')
        self.say("enrol")

    def run(self, *part: str) -> list[str]:
        """Plan a part and do it: what hosts did."""
        before = self.lines()
        self.say("plan", "--to", "2.0", "-o", "plan.json", *part)
        self.say("upgrade", "plan.json", "--yes", "--plain")
        return self.lines()[len(before) :]

    def latest(self) -> str:
        """The latest run's id."""
        found: str = json.loads(self.say("status", "--json"))["run"]
        return found

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_control_first_then_data_then_once_what_is_for_all(tmp_path: Path) -> None:
    here = Parts(tmp_path)
    refused = here.say("plan", "--to", "2.0", "--plane", "data", "-o", "plan.json", code=3)
    assert "worker (work) comes after queue (control), and c1 is left out but not on 2.0 yet" in refused
    assert "(first: underway plan --to 2.0 --plane control)" in refused
    assert not (tmp_path / "plan.json").exists()
    refused = here.say("plan", "--to", "2.0", "--service", "api", code=3)
    assert "api (control) comes after queue (control), and c1 is left out" in refused
    assert here.run("--service", "queue") == ["queue c1"]  # c1 is half way now
    saved = tmp_path / "old.json"
    here.say("plan", "--to", "2.0", "-o", str(saved))
    assert here.run("--plane", "control") == ["expand-api", "api c1"]
    told = here.say("upgrade", str(saved), "--yes", "--plain", code=3)
    assert "host c1 runs 2.0, planned from 1.0, queue 2.0" in told
    assert "expand of api was done for 2.0 since" in told
    control = here.latest()
    assert here.run("--role", "work") == ["worker w1"]
    told = here.say("--run", control, "rollback", "--yes", "--reason", "wrong", code=3)
    assert f"w1 was brought to 2.0 after run {control}, by run {here.latest()}; nothing was changed" in told
    assert here.run() == ["finalize-api"]
    told = here.say("--run", control, "rollback", "--yes", "--reason", "wrong", code=3)
    assert f"the point of no return is passed: finalize/api/c1 was begun in run {here.latest()}" in told
    told = " ".join(here.say("plan", "--to", "2.0").split())
    assert "nothing to do: all hosts run 2.0, and what is done for the whole deployment is done" in told
    again = json.loads(here.say("plan", "--to", "2.0", "--all", "--json"))
    assert [stage["kind"] for stage in again["stages"]] == ["expand", "finalize"]
