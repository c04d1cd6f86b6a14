"""An imported TripleO deployment runs: batch, barrier, first host, common checks, failure, resuming (B4-B8, B12-B17).

Local hosts, which are directories; real Ansible on each. What would act on this machine is replaced by a program that
records its call and gives the answer that later tasks read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fast.importers.test_tripleo_bad_input import asked, service, tree
from support.command_line import CommandLine
from underway.importers.native import write_directory

pytestmark = pytest.mark.service

ROLES = """\
- {name: Controller, CountDefault: 2, ServicesDefault: [OS::TripleO::Services::Web, OS::TripleO::Services::Store]}
- {name: Storage, CountDefault: 1, ServicesDefault: [OS::TripleO::Services::Store]}
- {name: Compute, CountDefault: 1, disable_upgrade_deployment: true, ServicesDefault: [OS::TripleO::Services::Store]}
"""
REGISTRY = "resource_registry:\n  OS::TripleO::Services::Web: web.yaml\n  OS::TripleO::Services::Store: store.yaml\n"
WEB = """\
- {name: Ask for the first, tags: common, command: hiera bootstrap_nodeid, register: first}
- {name: Set the first, tags: common, set_fact: 'is_first={{first.stdout == underway_host}}'}
- {name: Stop web, tags: step1, service: name=web state=stopped, when: first.rc == 0}
- {name: Migrate, tags: step2, command: web-manage db sync, when: is_first}
- {name: Tell, tags: step2, shell: list-cells, register: cells}
- {name: Use, tags: step2, command: 'use-cell {{cells.stdout}}'}
"""
STORE = """\
- {name: Ask for the first, tags: common, command: hiera bootstrap_nodeid, register: first}
- {name: Stop store, tags: 'step1,validation', service: name=store state=stopped}
"""
BATCH = """\
      upgrade_batch_tasks:
        - {name: Roll store, tags: step0, command: roll}
"""
KEPT = ("ansible.builtin.set_fact", "ansible.builtin.assert")
KEYWORDS = ("name", "when", "register", "failed_when", "changed_when")


def recorded(task: dict[str, Any], recorder: Path) -> dict[str, Any]:
    """The task with the recorder in the place of a module that acts."""
    kept = {key: value for key, value in task.items() if key in KEYWORDS or key in KEPT}
    if not set(KEPT) & set(task):
        kept["ansible.builtin.command"] = {"argv": [str(recorder), "{{ underway_host }}", task["name"]]}
    return kept


class Site(CommandLine):
    """The imported cluster in a directory, with what its hosts did."""

    def __init__(self, home: Path) -> None:
        files = {"roles_data.yaml": ROLES, "overcloud-resource-registry-puppet.yaml": REGISTRY}
        done = asked(tree(home / "tree", {**files, "web.yaml": service(WEB), "store.yaml": service(STORE) + BATCH}))
        assert done.converted is not None, done.problems
        native = done.converted.native
        self.log = home / "log"
        self.broken = home / "broken"
        recorder = home / "record"
        recorder.write_text(
            f'#!/bin/sh\necho "$1 $2" >> {self.log}\n[ "$2" = "Ask for the first" ] && echo overcloud-controller-0\n'
            f'[ -e {self.broken} ] && [ "$1 $2" = "overcloud-controller-1 Stop web" ] && exit 7\nexit 0\n'
        )
        recorder.chmod(0o755)
        for one in native.services.values():
            for step in one["phases"]["upgrade"]:
                step["tasks"] = [recorded(task, recorder) for task in step["tasks"]]
        native.cluster["numbers"] = [0, 11, 12]  # the others would only ask again
        self.top = home / "cluster"
        for name, host in native.cluster["hosts"].items():
            host |= {"connection": "local", "directory": f"hosts/{name}"}
        write_directory(self.top, native.files())
        for name in native.cluster["hosts"]:
            (self.top / "hosts" / name).mkdir(parents=True)
        self.say("enrol")
        self.say("plan", "--to", "ocata", "-o", "plan.json")

    def did(self, host: str) -> list[str]:
        """What a host did, in order."""
        lines = self.log.read_text().splitlines()
        return [line.removeprefix(f"{host} ") for line in lines if line.startswith(f"{host} ")]


def test_what_hosts_do(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.broken.touch()
    out = site.say("upgrade", "plan.json", "--yes", code=1)
    assert "halted" in out
    # batch step 0: all roles, before any host begins the steps, and the hosts of a role one after the other
    lines = site.log.read_text().splitlines()
    assert sorted(lines[:3]) == [
        "overcloud-controller-0 Roll store",
        "overcloud-controller-1 Roll store",
        "overcloud-storage-0 Roll store",
    ]
    # a failure in step 1 stops all roles before step 2; what is at work finishes; the duplicate check ran once
    first = ["Roll store", "Ask for the first", "Stop web", "Stop store"]
    assert site.did("overcloud-controller-0") == first
    assert site.did("overcloud-controller-1") == first[:3]
    assert site.did("overcloud-storage-0") == ["Roll store", "Ask for the first", "Stop store"]
    site.broken.unlink()
    site.say("retry", "overcloud-controller-1")
    site.say("upgrade", "plan.json", "--yes")
    # resumed: what only asks ran again, the task that failed, and what was left; nothing else twice
    step_2 = ["Ask for the first", "Migrate", "Tell", "Use"]
    assert site.did("overcloud-controller-0") == [*first, *step_2]
    again = ["Ask for the first", "Stop web", "Stop store"]
    assert site.did("overcloud-controller-1") == [*first[:3], *again, *(one for one in step_2 if one != "Migrate")]
    assert site.did("overcloud-storage-0")[3:] == ["Ask for the first"]
    assert site.did("overcloud-compute-0") == []  # its operator's
    status = json.loads(site.say("status", "--json"))
    assert status["state"] == "done", status["state"]
