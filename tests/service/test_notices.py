"""What the shipped catalogue finds on hosts reaches the operator: real tasks, a real Ansible, the tools' own words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from underway.config import shipped

pytestmark = [pytest.mark.service, pytest.mark.slow]

UNDERWAY = str(Path(sys.executable).parent / "underway")

SAID_BY_VALIDATOR = """\
INFO:oslo_service.backend:Loading backend: eventlet
WARNING:root:Deprecated opt token/driver found
ERROR:root:DEFAULT/nonsense is not part of the sample config
WARNING:root:Deprecated opt token/driver found
"""
"""As oslo.config 10.3 says it, on standard error; its exit code is 1."""

SAID_BY_STATUS = """\
+--------------------------------------------------------------------+
| Upgrade Check Results                                              |
+--------------------------------------------------------------------+
| Check: Cells v2                                                    |
| Result: Success                                                    |
| Details: None                                                      |
+--------------------------------------------------------------------+
| Check: Older than N-1 computes                                     |
| Result: Warning                                                    |
| Details: Instance(s) with an id of a cell that is gone were found; |
|   they are shown by 'nova-manage cell_v2 list', see the + in       |
|   the upgrade notes | of 2026.1.                                   |
+--------------------------------------------------------------------+
| Check: Third                                                       |
| Result: Warning                                                    |
| Details: None                                                      |
+--------------------------------------------------------------------+
"""
"""As oslo.upgradecheck prints it; its exit code is 1."""

FOUND = (
    "Older than N-1 computes: Instance(s) with an id of a cell that is gone were found; they are shown by 'nova-manage "
    "cell_v2 list', see the + in the upgrade notes | of 2026.1."
)


def underway(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([UNDERWAY, *words], cwd=directory, capture_output=True, text=True, timeout=300, check=False)


def preparing(service: str) -> dict[str, Any]:
    """A shipped service with its ``prepare`` alone, as ourselves: other users and sudo are not what is looked at."""
    whole = shipped.services("openstack")[service]
    phase = whole["phases"]["prepare"]
    steps: list[dict[str, Any]] = phase["steps"] if isinstance(phase, dict) else phase
    for step in steps:
        for task in step["tasks"]:
            task.pop("become", None)
            task.pop("become_user", None)
    return {"service": service, "vars": whole["vars"], "phases": {"prepare": steps}}


def tool(path: Path, said: str, stream: int, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat >&{stream} << 'END'\n{said}END\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("service", ["keystone", "glance", "placement", "nova"])
def test_deprecated_options_and_warnings_reach_the_operator(tmp_path: Path, service: str) -> None:
    new = tmp_path / "2026.1"
    tool(new / "bin/oslo-config-validator", SAID_BY_VALIDATOR, 2, 1)
    tool(new / f"bin/{service}-status", SAID_BY_STATUS, 1, 1)
    document = preparing(service)
    document["gate"] = {"name": "Nothing runs", "ansible.builtin.command": "true", "changed_when": False}
    (tmp_path / "services").mkdir()
    (tmp_path / "services/it.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/2026.1.yaml").write_text('release: "2026.1"\nsupports: ["2025.1"]\n')
    hosts = "".join(f"  c{n}: {{role: all, connection: local, directory: hosts/c{n}}}\n" for n in (1, 2))
    (tmp_path / "cluster.yaml").write_text(
        'cluster: demo\nrelease: "2025.1"\n'
        f"roles:\n  every: {{services: [{service}]}}\nhosts:\n{hosts.replace('role: all', 'role: every')}"
        f"settings: {{openstack_new: {new}, {service}_config: /etc/it.conf}}\n"
    )
    for words in (["enrol"], ["plan", "--to", "2026.1", "-o", "plan.json"]):
        done = underway(tmp_path, *words)
        assert done.returncode == 0, done.stderr
    done = underway(tmp_path, "upgrade", "plan.json", "--yes", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\nnotices: 4 ({service} 4), told in the report\n" in done.stdout

    told = json.loads(underway(tmp_path, "report", "--json").stdout)["notices"]
    assert {row["text"] for row in told} == {
        "/etc/it.conf: Deprecated opt token/driver found",
        "/etc/it.conf: DEFAULT/nonsense is not part of the sample config",
        FOUND,
        "Third: None",
    }
    assert all(row["hosts"] == ["c1", "c2"] and row["phase"] == "prepare" for row in told)
    status = underway(tmp_path, "status")
    assert f"Notices 4 ({service} 4): 'underway report --text' tells them\n" in status.stdout
    assert json.loads(underway(tmp_path, "status", "--json").stdout)["notices"] == told
    assert "/etc/it.conf: Deprecated opt token/driver found" in underway(tmp_path, "report", "--text").stdout


def test_a_service_that_says_no_stops_the_run_before_anything_is_changed(tmp_path: Path) -> None:
    new = tmp_path / "2026.1"
    tool(new / "bin/oslo-config-validator", "", 2, 0)
    tool(new / "bin/keystone-status", SAID_BY_STATUS.replace("Result: Success", "Result: Failure"), 1, 2)
    expand = {"once": True, "steps": [{"step": "expand", "idempotent": True, "tasks": [
        {"name": "Expand", "ansible.builtin.file": {"path": str(tmp_path / "expanded"), "state": "touch"}},
    ]}]}  # fmt: skip
    document = preparing("keystone")
    document["phases"]["expand"] = expand
    (tmp_path / "services").mkdir()
    (tmp_path / "services/it.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/2026.1.yaml").write_text('release: "2026.1"\nsupports: ["2025.1"]\n')
    (tmp_path / "cluster.yaml").write_text(
        'cluster: demo\nrelease: "2025.1"\nroles:\n  every: {services: [keystone]}\n'
        "hosts:\n  c1: {role: every, connection: local, directory: hosts/c1}\n"
        f"settings: {{openstack_new: {new}, keystone_config: /etc/it.conf}}\n"
    )
    for words in (["enrol"], ["plan", "--to", "2026.1", "-o", "plan.json"]):
        assert underway(tmp_path, *words).returncode == 0
    done = underway(tmp_path, "upgrade", "plan.json", "--yes", "--plain")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Cells v2" in done.stdout, "the operator reads what said no"
    assert not (tmp_path / "expanded").exists()
