"""Resume to first action: a coordinator of 200 hosts over SSH is killed mid-run and started again.

Run: ``python bench/resume.py [HOSTS [AT_WORK]]`` (200 and 40). Everything is real: the ``underway`` program, its
SQLite store, one address and so one SSH connection for each host (200 loopback addresses, several sshd), runners and
ansible-core. AT_WORK hosts wait in a step when the coordinator is killed with -9; one of them finishes while nobody
looks. Then ``underway upgrade`` again, and from its start the seconds until

- ``first look``: it says that it goes on with the run (files read, plan verified, store opened),
- ``first order``: its first call to a host,
- ``first grant``: the slot that became free meanwhile is given to the next host, committed (its ``claimed`` event),
- ``all followed``: every host at work is followed again (their runners have a caller each).

CPU is the coordinator's own and that of its ssh children, until all are followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fast.runner.sshd import Sshd  # noqa: E402
from underway import trust  # noqa: E402

ADDRESSES_OF_ONE = 15
"""Addresses that one sshd listens on (its own bound is 16)."""

PATIENCE = 1500.0

SERVICE = """\
service: app
phases:
  upgrade:
    - step: wait
      idempotent: true
      timeout: 1h
      tasks:
        - name: Wait
          ansible.builtin.raw: "touch {{ root }}/begun; while test ! -e {{ root }}/go; do sleep 0.5; done"
"""


class Servers(Sshd):
    """Several sshd on one port and many addresses of the loopback range."""

    def __init__(self, root: Path, hosts: int) -> None:
        super().__init__(root)
        self.addresses = [f"127.0.{1 + number // 200}.{1 + number % 200}" for number in range(hosts)]
        key = " ".join((root / "hostkey.pub").read_text().split()[:2])
        self.lines = "".join(f"[{address}]:{self.port} {key}\n" for address in self.addresses)
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for first in range(0, len(self.addresses), ADDRESSES_OF_ONE):
            listen = "".join(f"ListenAddress {one}\n" for one in self.addresses[first : first + ADDRESSES_OF_ONE])
            config = self.root / f"sshd{first}"
            config.write_text(
                f"Port {self.port}\n{listen}HostKey {self.root}/hostkey\nPidFile none\nUsePAM no\nStrictModes no\n"
                f"AuthorizedKeysFile {self.root}/authorized_keys\nPasswordAuthentication no\nUseDNS no\n"
                "MaxStartups 300\nPermitRootLogin yes\nKbdInteractiveAuthentication no\n"
            )
            with (self.root / "log").open("ab") as log:
                self._all.append(subprocess.Popen([self.program, "-D", "-e", "-f", str(config)], stderr=log))

    def stop(self) -> None:
        for process in self._all:
            process.terminate()
            process.wait(5)


class Bench:
    """A cluster of ``hosts`` hosts in ``root``."""

    def __init__(self, root: Path, servers: Servers, at_work: int, env: dict[str, str]) -> None:
        self.root, self.servers, self.env = root, servers, env
        self.hosts = [f"h{number:03d}" for number in range(len(servers.addresses))]
        lines = []
        for name, address in zip(self.hosts, servers.addresses, strict=True):
            (root / "machines" / name).mkdir(parents=True)
            lines.append(
                f"  {name}: {{role: app, address: {address}, port: {servers.port}, user: {servers.user}, python:"
                f" {sys.executable}, directory: {root}/hosts/{name}, vars: {{root: {root}/machines/{name}}}}}\n"
            )
        for name, text in (
            ("services/app.yaml", SERVICE),
            ("releases/1.yaml", 'release: "1"\nsupports: ["0"]\nservices: {app: "1"}\n'),
            ("releases/2.yaml", 'release: "2"\nsupports: ["1"]\nservices: {app: "2"}\n'),
            (
                "cluster.yaml",
                'cluster: many\nrelease: "1"\ndelivery: command\n'
                f"roles:\n  app: {{services: [app], limit: {at_work}}}\n"
                f"policy: {{limit: {at_work}, soak: 0s}}\nhosts:\n{''.join(lines)}",
            ),
        ):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        self.say(["plan", "--to", "2", "-o", str(root / "plan.json")])
        (root / ".underway" / "known_hosts").write_text(servers.lines)
        self.enrol()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.root / "cluster.yaml"), *words]

    def say(self, words: list[str]) -> None:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, env=self.env)
        if done.returncode:
            raise SystemExit(f"underway {' '.join(words)}: {done.stdout}{done.stderr}")

    def enrol(self) -> None:
        """All hosts at once, by one process that is their runner: enrolment is not what is measured."""
        keys = trust.public_keys(self.root / ".underway" / "keys")
        orders = {
            str(self.root / "hosts" / name): {"cluster": "many", "host": name, "keys": list(keys)}
            for name in self.hosts
        }
        script = (
            "import json, sys; from pathlib import Path; from underway_runner.enrol import enrol\n"
            "for name, request in json.load(sys.stdin).items(): enrol(Path(name), request)"
        )
        subprocess.run([sys.executable, "-c", script], input=json.dumps(orders).encode(), check=True)

    def upgrade(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command("upgrade", str(self.root / "plan.json"), "--yes", "--json"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env, start_new_session=True,
        )  # fmt: skip

    def begun(self) -> list[str]:
        return [name for name in self.hosts if (self.root / "machines" / name / "begun").exists()]

    def followed(self) -> set[str]:
        """Hosts whose runner has a caller now: a process of ``run`` or ``follow`` under sshd."""
        places = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError):
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                    at = words.index("underway_runner")
                    parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                    name = (Path("/proc") / parent / "comm").read_text().strip()
                    if words[at + 1] in ("run", "follow") and name.startswith("sshd"):
                        places.add(words[words.index("--dir") + 1])
        return {Path(place).name for place in places if place.startswith(str(self.root))}


def wait(look: Callable[[], Any], what: str, pause: float = 0.1) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(pause)


class Watched:
    """What the coordinator says, with the second of each line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.began = time.monotonic()
        self.moments: dict[str, float] = {}
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        for raw in stream:
            if b"going on with run" in raw:
                self.note("first look")
            elif b'"claimed"' in raw:
                self.note("first grant")

    def note(self, name: str) -> None:
        self.moments.setdefault(name, time.monotonic() - self.began)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of the children that it has collected."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


@contextlib.contextmanager
def agent(root: Path, identity: Path) -> Iterator[dict[str, str]]:
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(root / "agent")], stdout=subprocess.DEVNULL)
    env = {**os.environ, "SSH_AUTH_SOCK": str(root / "agent")}
    try:
        wait(lambda: (root / "agent").exists(), "ssh-agent")
        subprocess.run(["ssh-add", "-q", str(identity)], env=env, check=True)
        yield env
    finally:
        process.terminate()
        process.wait(5)


def main() -> None:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    at_work = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    root = Path(tempfile.mkdtemp(prefix="uwresume"))
    servers = Servers(root, hosts)
    servers.start()
    running: list[subprocess.Popen[bytes]] = []
    try:
        with agent(root, servers.identity) as env:
            bench = Bench(root / "c", servers, at_work, env)
            first = bench.upgrade()
            running.append(first)
            Watched(first)
            wait(lambda: len(bench.begun()) >= at_work, f"{at_work} hosts at work")
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            wait(lambda: not bench.followed(), "the calls of the killed coordinator end")
            done, *left = bench.begun()
            (bench.root / "machines" / done / "go").touch()
            journal = bench.root / "hosts" / done / "journal"
            wait(lambda: b'"leg-end"' in journal.read_bytes(), f"{done} ends its pass")
            load = os.getloadavg()[0]
            second = bench.upgrade()
            running.append(second)
            watched = Watched(second)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if "first order" not in watched.moments and any(is_ssh(pid) for pid in children(second.pid)):
                    watched.note("first order")
                if "all followed" not in watched.moments and bench.followed() >= {*left}:
                    watched.note("all followed")
                    spent = cpu_of(second.pid)
                    calls = sum(cpu_of(pid) for pid in children(second.pid) if is_ssh(pid))
                if {"all followed", "first grant"} <= set(watched.moments):
                    break
                time.sleep(0.02)
            print(f"{hosts} hosts, {at_work} at work, load of the machine {load:.1f}")
            for name in ("first look", "first order", "first grant", "all followed"):
                print(f"{name:13} {watched.moments.get(name, float('nan')):7.2f} s")
            print(f"CPU until all are followed: coordinator {spent:.2f} s, its ssh processes {calls:.2f} s")
            print("goal: first grant under 10 s")
    finally:
        end(running, root, servers)


def is_ssh(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "comm").read_text().strip() == "ssh"
    return False


def ours(root: Path) -> list[int]:
    """Runners, Ansible, steps and shared connections of this bench: named by its directory, which is ours alone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(root).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def end(running: list[subprocess.Popen[bytes]], root: Path, servers: Servers) -> None:
    """End the coordinator, every pass of this bench, and the servers."""
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    servers.stop()
    deadline = time.monotonic() + 20
    while (left := ours(root)) and time.monotonic() < deadline:  # one that was being started may come up meanwhile
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
