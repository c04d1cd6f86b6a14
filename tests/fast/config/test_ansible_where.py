"""``ansible: coordinator`` is for hosts over SSH."""

from __future__ import annotations

from pathlib import Path

import pytest

from underway.config.load import load
from underway.errors import FileProblems

SERVICE = """\
service: web
phases:
  upgrade:
    - step: one
      idempotent: true
      tasks: [{name: one, ansible.builtin.command: "true"}]
"""

CLUSTER = """\
cluster: demo
release: "1"
roles: {web: {services: [web], limit: 1}}
hosts:
  h1: {role: web, %s, ansible: coordinator}
"""


def written(root: Path, how: str) -> Path:
    (root / "services").mkdir()
    (root / "services" / "web.yaml").write_text(SERVICE)
    (root / "cluster.yaml").write_text(CLUSTER % how)
    return root / "cluster.yaml"


def test_over_ssh_it_is_taken(tmp_path: Path) -> None:
    inputs = load(written(tmp_path, "address: 192.0.2.1"))
    assert inputs.cluster.hosts["h1"].ansible == "coordinator"


def test_on_this_machine_it_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileProblems) as caught:
        load(written(tmp_path, "connection: local, directory: hosts/h1"))
    said = [str(problem) for problem in caught.value.problems if "warning" not in str(problem)]
    assert len(said) == 1
    assert "cluster.yaml:5:" in said[0]
    assert "'ansible: coordinator' is for hosts over SSH" in said[0]
