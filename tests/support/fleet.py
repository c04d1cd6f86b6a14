"""Three hosts on this machine that fetch their work: real agents and runners, ``underway serve`` over HTTPS, SQLite.

Each host has a directory for its runner, one for its agent, and one that stands for the machine: ``effects`` has a line
for each time that a step really did something, unknown to journal and store.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 180.0

APP = """\
service: app
phases:
  prepare:
    - step: fetch
      idempotent: true
      tasks:
        - name: Fetch
          ansible.builtin.raw: "sleep 1; echo fetch >> {{ root }}/effects"
  upgrade:
    - step: turn
      tasks:
        - name: Turn
          ansible.builtin.raw: "sleep 1.5; echo {{ underway_release_to }} > {{ root }}/release"
        - name: Note it
          ansible.builtin.raw: "echo turn >> {{ root }}/effects"
    - step: pay
      tasks:
        - name: Pay
          ansible.builtin.raw: "echo pay >> {{ root }}/effects; sleep 1.5"
  verify:
    - step: prove
      idempotent: true
      tasks:
        - name: Prove
          ansible.builtin.raw: "grep -qx 2 {{ root }}/release && echo prove >> {{ root }}/effects"
"""

EFFECTS = ["fetch", "turn", "pay", "prove"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Fleet:
    """Make it, ``close`` it; everything that it starts is ended."""

    def __init__(self, root: Path, hosts: int = 3, store: str = "", limit: int = 0) -> None:
        """``limit``: hosts at once (0: all but one).

        ``store``: what ``cluster.yaml`` says of it, as JSON; empty: a file of the state directory.
        """
        self.root = root
        self.store = store
        self.limit = limit or max(1, hosts - 1)
        self.hosts = [f"web{number}" for number in range(1, hosts + 1)]
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.pythons: dict[str, str] = {}  # hosts whose agent and runner are run by another one than ours
        self.programs: dict[str, list[str]] = {}  # hosts whose agent is another program than ours
        self.environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def make(self) -> None:
        """Files, keys and the plan, by the commands that an operator uses."""
        for name in ("services", "releases", "agents", "runners"):
            (self.root / name).mkdir(parents=True)
        hosts = ""
        for host in self.hosts:
            (self.root / "machines" / host).mkdir(parents=True)
            hosts += f"  {host}: {{role: web, connection: agent, vars: {{root: {self.root}/machines/{host}}}}}\n"
        (self.root / "cluster.yaml").write_text(
            'cluster: pulled\nrelease: "1"\ndelivery: command\n'
            f"roles:\n  web: {{services: [app], limit: {self.limit}}}\nhosts:\n{hosts}"
            "policy: {failure_budget: 5, soak: 0s}\n" + (f"store: {self.store}\n" if self.store else "")
        )
        (self.root / "services" / "app.yaml").write_text(APP)
        for release, before in (("1", "0"), ("2", "1")):
            text = f'release: "{release}"\nsupports: ["{before}"]\nservices: {{app: "{release}"}}\n'
            (self.root / "releases" / f"{release}.yaml").write_text(text)
        self.underway("plan", "--to", "2", "-o", str(self.root / "plan.json"))

    # --- programs ----------------------------------------------------------------------------------------------

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.root / "cluster.yaml"), *words]

    def underway(self, *words: str, code: int = 0) -> str:
        """A command of ``underway`` to its end; what it prints."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=300, check=False, env=self.environment
        )
        assert done.returncode == code, f"underway {' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def begin(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a program that runs on, under a name; its output goes to ``<name>.log``."""
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        return self.processes[name]

    def end(self, name: str, how: int = signal.SIGTERM) -> None:
        """End a program and wait for it."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def serve(self, *more: str) -> None:
        """Start the server, and wait until it answers."""
        process = self.begin(
            "serve", self.command("serve", "--listen", f"127.0.0.1:{self.port}", "--pace", "0.1", *more)
        )
        self.wait(lambda: self.answers() or process.poll() is not None)
        assert process.poll() is None, self.log("serve")

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    def code(self, host: str) -> str:
        """A new one-time code."""
        return self.underway("host", "enrol", host, "--only-code").strip()

    def enrol(self, host: str, code: str = "", *, url: str = "", expect: int = 0, directory: str = "") -> str:
        """Enrol a host's agent, as on the host; what it prints."""
        done = subprocess.run(
            [
                *[*self.program(host), "enrol", "--url", url or self.url],
                *["--dir", str(self.root / "agents" / (directory or host))],
                *["--runner", f"{self.pythons.get(host, sys.executable)} -m underway_runner"],
                *["--runner-dir", str(self.root / "runners" / host)],
            ],
            input=(code or self.code(host)) + "\n", capture_output=True, text=True, timeout=300, check=False,
            env=self.environment,
        )  # fmt: skip
        assert done.returncode == expect, f"{done.returncode}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if expect == 0 else done.stderr

    def program(self, host: str) -> list[str]:
        """How a host's agent is called."""
        return self.programs.get(host) or [self.pythons.get(host, sys.executable), "-m", "underway_agent"]

    def agent(self, host: str) -> None:
        """Start a host's agent."""
        directory = str(self.root / "agents" / host)
        self.begin(f"agent-{host}", [*self.program(host), "run", "--dir", directory])

    def upgrade(self) -> subprocess.Popen[bytes]:
        """Start the coordinator."""
        return self.begin("coordinator", self.command("upgrade", str(self.root / "plan.json"), "--yes", "--json"))

    # --- what is so --------------------------------------------------------------------------------------------

    def effects(self, host: str) -> list[str]:
        path = self.root / "machines" / host / "effects"
        return path.read_text().split() if path.exists() else []

    def journal(self, host: str) -> list[dict[str, Any]]:
        found = []
        for raw in (self.root / "runners" / host / "journal").read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(raw))
        return found

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def wait(self, true: Callable[[], object], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline, f"waited for {patience:.0f} s: {self.told()}"
            time.sleep(0.05)

    def told(self) -> str:
        """The last lines of every program."""
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-600:]}" for path in self.root.glob("*.log"))

    def close(self) -> None:
        for name in list(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.end(name, signal.SIGKILL)
        for host in self.hosts:  # passes that are detached
            with contextlib.suppress(OSError, ValueError, KeyError):
                noted = json.loads((self.root / "runners" / host / "work" / "pass.json").read_text())
                if str(self.root).encode() in Path(f"/proc/{noted['pid']}/cmdline").read_bytes():
                    os.kill(int(noted["pid"]), signal.SIGKILL)
