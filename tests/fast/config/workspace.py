"""A valid cluster on disk that a test damages in one place, and what ``load`` says of it."""

from __future__ import annotations

from pathlib import Path

from underway.config.load import Inputs, load
from underway.errors import FileProblems, Problem

CLUSTER = """\
cluster: prod
release: "1.0"
roles:
  controller:
    services: [api, db]
    limit: 1
  compute:
    services: [agent]
    limit: 25%
    after: [controller]
hosts:
  ctrl1: {role: controller, address: 10.0.0.11}
  ctrl2: {role: controller, address: 10.0.0.12}
  ctrl3: {role: controller, address: 10.0.0.13}
  cmp1: {role: compute, address: 10.0.0.21}
  cmp2: {role: compute, address: 10.0.0.22}
  cmp3: {role: compute, address: 10.0.0.23}
  cmp4: {role: compute, address: 10.0.0.24}
policy:
  failure_budget: 1
probes:
  vip: {http: "http://10.0.0.10/", every: 1s, service: api}
settings:
  region: eu1
"""

API = """\
service: api
needs: [db]
gate:
  ansible.builtin.wait_for: {port: 80}
handlers:
  - name: Restart api
    ansible.builtin.service: {name: api, state: restarted}
phases:
  upgrade:
    - step: Install
      idempotent: true
      tasks:
        - name: Install it
          ansible.builtin.package: {name: api, state: latest}
          notify: Restart api
"""

DB = """\
service: db
quorum: true
phases:
  verify:
    - step: Look
      idempotent: true
      tasks:
        - ansible.builtin.wait_for: {port: 3306}
"""

AGENT = """\
service: agent
plane: data
gate:
  ansible.builtin.wait_for: {port: 81}
"""

RELEASE = """\
release: "2.0"
supports: ["1.0"]
services: {api: "2.0"}
"""


class Workspace:
    """The files of a cluster in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("cluster.yaml", CLUSTER)
        self.write("services/agent.yaml", AGENT)
        self.write("services/api.yaml", API)
        self.write("services/db.yaml", DB)
        self.write("releases/2.0.yaml", RELEASE)

    def write(self, name: str, text: str | bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text that stands in the file exactly once."""
        text = (self.directory / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, (old, text.count(old))
        self.write(name, text.replace(old, new))

    def cluster(self, old: str, new: str) -> None:
        self.edit("cluster.yaml", old, new)

    def api(self, old: str, new: str) -> None:
        self.edit("services/api.yaml", old, new)

    def load(self) -> Inputs:
        return load(self.directory / "cluster.yaml")

    def found(self) -> tuple[Problem, ...]:
        """All problems, warnings included."""
        try:
            return self.load().problems
        except FileProblems as error:
            return error.problems

    def errors(self) -> list[str]:
        """What the program says, with paths relative to the directory."""
        prefix = f"{self.directory}/"
        return [str(one).replace(prefix, "") for one in self.found() if one.severity == "error"]

    def warnings(self) -> list[str]:
        prefix = f"{self.directory}/"
        return [str(one).replace(prefix, "") for one in self.found() if one.severity == "warning"]
