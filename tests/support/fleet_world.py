"""A fleet of six hosts in network namespaces: three servers of a store, three coordinators, agents, ``underway serve``.

Every part is the real one, on a host of its own with a network of its own. Three hosts are of role ``db`` (one at a
time), three of ``web`` (two at a time, after all of ``db``), two at once in all. Every other agent asks the store
itself, the others ask ``serve``. Each host's tasks append to one file, ``effects`` (``support.fleet_judge``), which
neither store nor agents nor coordinators know. A run is an upgrade to the next release; worlds serve several.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.fleet_judge import Again, Plan
from support.kv import access_to
from support.netspaces import Host
from support.spawning import UNTIL_DEATH, spawn
from support.store_faults import FaultyCluster, faulty_cluster
from support.stores import until

ROLES = {"db": ("db1", "db2", "db3"), "web": ("web1", "web2", "web3")}
LIMITS = {"db": 1, "web": 2}
LIMIT = 2
BUDGET = 1
AFTER = {"web": ("db",)}
STEPS: dict[str, Again] = {"turn": "idempotent", "convert": "checked", "pay": "never"}
HOSTS = [host for hosts in ROLES.values() for host in hosts]
COORDINATORS = ("c1", "c2", "c3")
PORT = 8440

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
"""Of Debian's ``libfaketime`` (``scripts/setup --debian``): another wall clock for one program."""

ACT = """\
#!/bin/sh
# act RECORD HOST RELEASE STEP SECONDS: the work of a step, and its lines in the record, each one write
say() { read -r up _ </proc/uptime; echo "$up $host $release $step $1 $$" >>"$record"; }
record=$1 host=$2 release=$3 step=$4
say begin
if [ -e "$record.fail.$host" ]; then say fail; exit 1; fi
sleep "$5"
say end
"""

SERVICE = """\
service: {name}
phases:
  upgrade:
    - step: turn
      idempotent: true
      tasks:
        - {{name: Turn, ansible.builtin.raw: "{act} {{{{ underway_host }}}} {{{{ underway_release_to }}}} turn {{{{ lasts }}}}"}}
    - step: convert
      check:
        name: It happened
        ansible.builtin.raw: "grep -q ' {{{{ underway_host }}}} {{{{ underway_release_to }}}} convert end ' {record}"
        changed_when: false
      tasks:
        - {{name: Convert, ansible.builtin.raw: "{act} {{{{ underway_host }}}} {{{{ underway_release_to }}}} convert {{{{ lasts }}}}"}}
    - step: pay
      tasks:
        - {{name: Pay, ansible.builtin.raw: "{act} {{{{ underway_host }}}} {{{{ underway_release_to }}}} pay {{{{ lasts }}}}"}}
"""  # noqa: E501  a task a line


@dataclass
class Program:
    """A process of the fleet: where, what, and the clock that it is given (seconds off)."""

    name: str
    host: Host
    words: list[str]
    skew: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)


class World:
    """Made by ``fleet_world``. ``programs`` are what was started, by name; whoever ends one starts it again."""

    def __init__(self, root: Path, faulty: FaultyCluster) -> None:
        self.root = root
        self.faulty = faulty
        self.cluster = faulty.cluster
        operator, *others = faulty.clients
        self.operator = operator
        self.places = dict(zip((*COORDINATORS, *HOSTS), others, strict=True))
        self.programs: dict[str, Program] = {}
        self.release = 1
        self.record = root / "effects"
        self._lock = threading.Lock()

    # --- files -----------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Files, keys, agents that are enrolled; by the commands that operators use."""
        for name in ("services", "releases", "agents", "runners"):
            (self.root / name).mkdir(parents=True)
        self.record.touch()
        act = self.root / "act"
        act.write_text(ACT)
        act.chmod(0o755)
        for role in ROLES:
            text = SERVICE.format(name=f"the-{role}", act=f"{act} {self.record}", record=self.record)
            (self.root / "services" / f"the-{role}.yaml").write_text(text)
        self._write_release(1)
        self.prepare([100] * len(HOSTS))
        for name in COORDINATORS:  # another machine needs the same files and a copy of the keys
            shutil.copytree(self.state("op"), self.state(name))
        self.begin("serve", self.operator, self.underway("op", "serve", "--listen", f"{self.operator.address}:{PORT}",
                                                         "--pace", "0.2"))  # fmt: skip
        until(lambda: "serving" in self.log("serve"), "serve answers", why=lambda: self.log("serve"))
        enrolling = [(host, self._enrol(host)) for host in HOSTS]
        for host, process in enrolling:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, f"{host} was not enrolled: {output.decode()}"
        for number, host in enumerate(HOSTS):
            if number % 2 == 0:  # this one asks the store itself
                path = self.root / "agents" / host / "agent.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "store": self._store()}))
            self.agent(host)

    def _store(self) -> dict[str, object]:
        access = access_to(self.cluster, self.root)
        return {"url": access.url, "ca": access.ca, "certificate": access.certificate, "key": access.key}

    def _enrol(self, host: str) -> subprocess.Popen[bytes]:
        code = self.do("host", "enrol", host, "--only-code")
        words = [
            *[*self.places[host].enter, sys.executable, "-m", "underway_agent", "enrol"],
            *["--url", f"https://{self.operator.address}:{PORT}", "--dir", str(self.root / "agents" / host)],
            *["--runner", f"{sys.executable} -m underway_runner", "--runner-dir", str(self.root / "runners" / host)],
            *["--code", code.strip()],
        ]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())

    def _write_release(self, number: int) -> None:
        services = ", ".join(f'the-{role}: "{number}"' for role in ROLES)
        text = f'release: "{number}"\nsupports: ["{number - 1}"]\nservices: {{{services}}}\n'
        (self.root / "releases" / f"{number}.yaml").write_text(text)

    def prepare(self, durations: Sequence[int]) -> None:
        """The files as they are in the present release, and a plan to the next one, ``plan.json``.

        ``durations``: milliseconds that each step takes, by host.
        """
        self._write_release(self.release + 1)
        lines = [f'cluster: fleet\nrelease: "{self.release}"\ndelivery: command\nroles:']
        for role in ROLES:
            after = f", after: [{', '.join(AFTER[role])}]" if role in AFTER else ""
            lines.append(f"  {role}: {{services: [the-{role}], limit: {LIMITS[role]}{after}}}")
        lines.append("hosts:")
        roles = self.plan().hosts
        for host, lasts in zip(HOSTS, durations, strict=True):
            lines.append(f"  {host}: {{role: {roles[host]}, connection: agent, vars: {{lasts: '{lasts / 1000}'}}}}")
        lines.append(f"policy: {{failure_budget: {BUDGET}, limit: {LIMIT}, soak: 0s}}")
        lines.append(f"store: {json.dumps(self._store())}\n")
        (self.root / "cluster.yaml").write_text("\n".join(lines))
        self.do("plan", "--to", str(self.release + 1), "-o", str(self.root / "plan.json"))

    def plan(self) -> Plan:
        """What ``plan.json`` says, for the judge."""
        return Plan(str(self.release + 1), ROLES, LIMITS, LIMIT, AFTER, STEPS)

    def state(self, name: str) -> Path:
        """The state directory of a machine that commands are run on."""
        return self.root / f"state-{name}"

    def log(self, name: str) -> str:
        path = self.root / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- programs --------------------------------------------------------------------------------------------------

    def underway(self, machine: str, *words: str) -> list[str]:
        """The command line of ``underway`` on a machine."""
        where = ["--cluster", str(self.root / "cluster.yaml"), "--state", str(self.state(machine))]
        return [sys.executable, "-m", "underway.cli.main", *where, *words]

    def do(self, *words: str) -> str:
        """An operator's command; its output. Raises ``AssertionError`` with its words where it fails."""
        done = self.call(*words)
        assert done.returncode == 0, f"underway {' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """An operator's command, however it ends."""
        return subprocess.run(
            [*self.operator.enter, *self.underway("op", *words)], capture_output=True, text=True, timeout=200,
            check=False, env=environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def begin(self, name: str, host: Host, words: list[str], skew: int = 0) -> None:
        """Start a program that runs on; its output goes to ``<name>.log``."""
        program = self.programs[name] = Program(name, host, words, skew)
        self.again(program)

    def again(self, program: Program) -> None:
        """Start a program that has ended."""
        clock = ["env", "-u", "PYTHONDONTWRITEBYTECODE"]
        if program.skew:
            clock += [f"FAKETIME={program.skew:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC=1", f"LD_PRELOAD={FAKETIME}"]
        with self._lock, (self.root / f"{program.name}.log").open("ab") as log:
            program.process = spawn([*program.host.enter, *UNTIL_DEATH, *clock, *program.words], stdout=log)

    def agent(self, host: str, skew: int = 0) -> None:
        """Start a host's agent."""
        words = [sys.executable, "-m", "underway_agent", "run", "--dir", str(self.root / "agents" / host)]
        self.begin(host, self.places[host], words, skew)

    def coordinator(self, name: str, skew: int = 0) -> None:
        """Start a coordinator of ``plan.json``; one that is the first begins the run."""
        words = self.underway(name, "upgrade", str(self.root / "plan.json"), "--yes", "--json", "--linger")
        self.begin(name, self.places[name], words, skew)

    def kill(self, name: str) -> bool:
        """SIGKILL, and wait; whether there was something to kill."""
        program = self.programs.get(name)
        if program is None or program.process is None or program.process.poll() is not None:
            return False
        program.process.kill()
        program.process.wait(60)
        return True

    def processes(self, name: str) -> list[int]:
        """Everything that runs on a host of the fleet."""
        holder = self.places[name].holder
        space = Path(f"/proc/{holder}/ns/net").readlink()
        found = []
        for entry in os.listdir("/proc"):  # noqa: PTH208  names only, and many
            if entry.isdigit() and int(entry) != holder:
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{entry}/ns/net").readlink() == space:
                        found.append(int(entry))
        return found

    def signal_host(self, name: str, number: signal.Signals) -> int:
        """A signal for everything that runs on a host; to how many."""
        count = 0
        for _ in range(5):  # those that were begun meanwhile
            found = self.processes(name)
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    count += 1
            if number != signal.SIGKILL or not found:
                break
            time.sleep(0.02)
        return count

    def told(self) -> str:
        """The last lines of every program."""
        return "\n".join(f"--- {path.name}\n{self.log(path.stem)[-1500:]}" for path in sorted(self.root.glob("*.log")))

    def close(self) -> None:
        """End everything that runs on hosts; the namespaces go with this process."""
        for name in self.programs:
            self.kill(name)
        for name in (*COORDINATORS, *HOSTS):
            self.signal_host(name, signal.SIGKILL)


def environment() -> dict[str, str]:
    """As an operator has it; compiled files are kept, or every start of Python would compile anew."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def fleet_world(kind: str, directory: Path) -> Iterator[World]:
    """A world whose agents wait for work. Skips, with the reason, where it cannot be made."""
    clients = 1 + len(COORDINATORS) + len(HOSTS)
    with faulty_cluster(kind, directory / "servers", clients=clients, tls=True, small_disk=True) as faulty:
        world = World(directory / "fleet", faulty)
        try:
            world.make()
            yield world
        finally:
            world.close()
