"""A cluster of local hosts that is upgraded for real while everything that does the work is killed.

Each host has a directory for its runner and a directory that stands for the machine: ``effects`` (a line for each time
that a step really did something: written by the steps, unknown to journal and store) and small files of state. Role
``node`` runs the service ``app``: a step that is idempotent and notifies a handler, one with a check, one that
verifies. Role ``teller`` runs ``pay``: one step with neither, whose interruption only an operator can settle.

The runner is started through ``runner-python``, the hosts' interpreter as ``cluster.yaml`` names it: it takes the first
order from the host's queue, if there is one, and starts the runner under it (a failpoint of the runner, or strace).
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

RELEASES = ("1", "2")
EVERY = 0.25

INTERPRETER = """\
#!/bin/sh
# An interpreter for hosts' runners that starts them under the next order of the host's queue.
queue=$5.queue
# an order is not for a call that finds the pass at work: it would start none
if [ "$3" = run ] && [ -d "$queue" ] && flock --nonblock "$5/lock" true; then
    for order in "$queue"/*; do
        if mv "$order" "$5.taken" 2>/dev/null; then
            # shellcheck disable=SC2046
            $(cat "$5.taken") {python} "$@"
            code=$?
            [ $code = 137 ] && printf '%s\\n' "${{order##*/}}" >> "$5.fired"
            exit $code
        fi
        break
    done
fi
exec {python} "$@"
"""

APP = """\
service: app
handlers:
  - name: Restart app
    ansible.builtin.raw: "cp {{ root }}/release {{ root }}/running && echo restart >> {{ root }}/effects"
phases:
  prepare:
    - step: fetch
      idempotent: true
      tasks:
        - name: Fetch
          ansible.builtin.raw: "echo {{ underway_release_to }} > {{ root }}/bits && echo fetch >> {{ root }}/effects"
  upgrade:
    - step: turn
      idempotent: true
      tasks:
        - name: Turn
          ansible.builtin.raw: "echo {{ underway_release_to }} > {{ root }}/release && echo turn >> {{ root }}/effects"
          notify: Restart app
    - step: convert
      check:
        name: Did it happen
        ansible.builtin.raw: "grep -qx convert {{ root }}/effects"
        changed_when: false
      tasks:
        - name: Convert
          ansible.builtin.raw: "echo convert >> {{ root }}/effects"
  verify:
    - step: prove
      idempotent: true
      tasks:
        - name: Prove
          ansible.builtin.raw: "cmp {{ root }}/release {{ root }}/running && echo prove >> {{ root }}/effects"
"""

PAY = """\
service: pay
phases:
  upgrade:
    - step: pay
      tasks:
        - name: Pay
          ansible.builtin.raw: "echo pay >> {{ root }}/effects; sleep 0.3"
"""


class Web:
    """What the probe asks: a small server in this process, always up."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"ok\n")

            def log_message(self, *_: Any) -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Whoever asked was killed before the answer came."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World:
    """A cluster in ``root``: ``nodes`` hosts of role node, ``tellers`` of role teller; each has a limit of up to 5."""

    def __init__(self, root: Path, nodes: int, tellers: int, port: int) -> None:
        self.root = root
        self.nodes = [f"n{number:02d}" for number in range(1, nodes + 1)]
        self.tellers = [f"t{number:02d}" for number in range(1, tellers + 1)]
        self.hosts = [*self.nodes, *self.tellers]
        self.port = port
        self.state = root / ".underway"

    def host(self, name: str) -> Path:
        """Where the host's runner keeps journal and lock."""
        return self.root / "hosts" / name

    def machine(self, name: str) -> Path:
        """What stands for the machine: effects and state."""
        return self.root / "machines" / name

    def make(self) -> None:
        """Files, keys, enrolment and the plan, by the commands that an operator uses."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "hosts").mkdir()
        for name in self.hosts:
            self.machine(name).mkdir(parents=True)
            (self.machine(name) / "release").write_text("1\n")
        interpreter = self.root / "runner-python"
        interpreter.write_text(INTERPRETER.format(python=sys.executable))
        interpreter.chmod(0o755)
        for directory, name, text in (
            ("services", "app", APP), ("services", "pay", PAY),
            ("releases", "1", 'release: "1"\nsupports: ["0"]\nservices: {app: "1", pay: "1"}\n'),
            ("releases", "2", 'release: "2"\nsupports: ["1"]\nservices: {app: "2", pay: "2"}\n'),
        ):  # fmt: skip
            path = self.root / directory / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        (self.root / "cluster.yaml").write_text(self._cluster())
        for words in (["validate"], ["enrol"], ["plan", "--to", "2", "-o", str(self.root / "plan.json")]):
            done = self.underway(*words)
            assert done.returncode == 0, f"underway {' '.join(words)}: {done.stdout}{done.stderr}"

    def _cluster(self) -> str:
        hosts = []
        for name in self.hosts:
            role = "node" if name in self.nodes else "teller"
            hosts.append(
                f"  {name}: {{role: {role}, connection: local, address: 127.0.0.1, directory: {self.host(name)},"
                f" python: {self.root}/runner-python, vars: {{root: {self.machine(name)}}}}}"
            )
        roles = f"  node: {{services: [app], limit: {min(5, len(self.nodes) - 1)}}}\n"
        roles += f"  teller: {{services: [pay], limit: {min(5, len(self.tellers) - 1)}}}\n" if self.tellers else ""
        listed = "\n".join(hosts)
        return (
            f'cluster: kills\nrelease: "1"\ndelivery: command\nroles:\n{roles}hosts:\n{listed}\n'
            "policy: {failure_budget: 50, limit: 10, prepare_limit: 5, soak: 0s}\n"
            f'probes:\n  web: {{service: app, every: 250ms, timeout: 5s, http: "http://127.0.0.1:{self.port}/"}}\n'
        )

    @property
    def environment(self) -> dict[str, str]:
        """As an operator has it; compiled files are kept, or every start of Python would compile anew."""
        return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def command(self, *words: str) -> list[str]:
        """The command line of ``underway``."""
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.root / "cluster.yaml"), *words]

    def upgrade(self) -> list[str]:
        """The command that starts the run, and resumes it."""
        return self.command("upgrade", str(self.root / "plan.json"), "--yes", "--json")

    def underway(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``underway`` to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=300, check=False, env=self.environment
        )

    def order(self, host: str, number: int, prefix: str) -> None:
        """Put an order into the host's queue: what its runner is started under, one call each."""
        queue = Path(f"{self.host(host)}.queue")
        queue.mkdir(exist_ok=True)
        (queue / f"{number:04d}").write_text(prefix)

    def journal(self, host: str) -> list[dict[str, Any]]:
        """The host's own journal; a torn last line (a kill) is left out."""
        found = []
        for raw in (self.host(host) / "journal").read_bytes().split(b"\n"):
            try:
                found.append(json.loads(raw))
            except ValueError:
                break
        return found

    def effects(self, host: str) -> list[str]:
        """What the steps really did on the host, in order."""
        path = self.machine(host) / "effects"
        return path.read_text().split() if path.exists() else []

    def machines(self) -> dict[str, bytes]:
        """The end state: every file of every machine but the log of effects."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted((self.root / "machines").rglob("*"))
            if path.is_file() and path.name != "effects"
        }

    def save(self, copy: Path) -> None:
        """Keep a copy of everything, to begin again from."""
        shutil.copytree(self.root, copy, symlinks=True)

    def restore(self, copy: Path) -> None:
        """Begin again from a copy (in the same place: the plan names it)."""
        shutil.rmtree(self.root)
        shutil.copytree(copy, self.root, symlinks=True)
