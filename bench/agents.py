"""What hosts that fetch their work cost: a real coordinator, a real ``underway serve``, a real server of the store and
real links over HTTPS; only what a host does is played: it sleeps for a random time.

``python bench/agents.py [--hosts 100,1000,10000] [--slots 20] [--store consul|etcd|file] [--servers 1|3]`` prints a
table, a line for each number of hosts as soon as it is measured, and the same as JSON. Told are: the time of the whole
against what list scheduling of the same tasks on as many slots would take if nothing else took any time; how long a
grant takes from the coordinator's decision to the agent; what the store's server had to do; CPU and memory of
coordinator and ``serve``; the reads of ``status``; and what polling every 15 s, as the original did, would cost
(computed, see ``polling``). The machine should be quiet: everything, the agents included, runs on it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import heapq
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from agents_play import CLUSTER, many_files, name_of, seconds_of
from support.fleet import Fleet
from support.kv import access_to
from support.stores import StoreCluster, store_cluster
from underway.app.agents import enrolments_of
from underway.app.opening import PREFIX
from underway.app.place import Place, Session
from underway.records.repository import Repository
from underway.store.served import ServedStore
from underway_agent import dsse
from underway_agent.kv.address import Access
from underway_agent.kv.base import Kv, KvView
from underway_agent.kv.opening import open_kv

IDLE = 20.0
"""Seconds for which everything is watched while nobody has work."""

POLL = 15.0
"""Seconds between two looks of the original."""

POLL_READS = 7
"""Keys that a host of the original reads at each look while it may not upgrade: the current version; whether it is
paused (host, role, everywhere: none of them is set); whether it may (host, role, everywhere)."""

APP = """\
service: app
phases:
  upgrade:
    - step: turn
      idempotent: true
      tasks: [{name: Turn, ansible.builtin.raw: "true"}]
"""


@dataclass
class Row:
    """What was measured of one number of hosts. Seconds, milliseconds of CPU a host, megabytes."""

    hosts: int
    slots: int
    store: str
    makespan: float
    bound: float
    grant_p50: float
    grant_p99: float
    writes_per_host: float
    reads_per_host: float
    store_per_second: float
    idle_per_second: float
    coordinator_ms: float
    coordinator_mb: float
    serve_ms: float
    serve_mb: float
    serve_idle: float
    status_reads: int
    status_seconds: float
    plan_seconds: float
    connect_seconds: float

    @property
    def ratio(self) -> float:
        return self.makespan / self.bound


def bound_of(durations: list[float], slots: int) -> float:
    """Seconds of these tasks in this order on so many slots, if nothing else took any time."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


# --- what is watched --------------------------------------------------------------------------------------------------


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Megabytes that a process has had in memory at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def work_of(cluster: StoreCluster | None) -> tuple[int, int]:
    """Writes (entries of the raft log) and reads that the store's servers have done; reads are told by etcd alone."""
    if cluster is None:
        return 0, 0
    if cluster.kind == "consul":
        raft = cluster.leader().request("GET", "/v1/agent/self").json()["Stats"]["raft"]
        return int(raft["applied_index"]), 0
    leader = cluster.leader()
    status = leader.request("POST", "/v3/maintenance/status", b"{}").json()
    reads = 0
    for server in cluster.servers:
        text = server.request("GET", "/metrics").body.decode()
        reads += sum(int(float(one)) for one in re.findall(r"^etcd_debugging_mvcc_range_total (\S+)", text, re.M))
    return int(status["raftIndex"]), reads


class Counted:
    """A way to the store that counts looks."""

    def __init__(self, kv: Kv) -> None:
        self._kv = kv
        self.looks = 0
        self.txn, self.wait, self.lease, self.warnings, self.close = kv.txn, kv.wait, kv.lease, kv.warnings, kv.close

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        """See Kv."""
        self.looks += 1
        return await self._kv.view(keys, prefixes)


def status_of(session: Session, access: Access | None) -> tuple[int, float]:
    """Requests that the store is asked for a whole ``status``, and seconds of the command."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "underway.cli.main", "--cluster", str(session.place.cluster_file), "status"],
        check=False, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    took = time.monotonic() - began
    if access is None:
        return 0, took
    kv = Counted(open_kv(access))
    cluster = session.place.cluster_name()
    store = ServedStore(kv, f"{PREFIX}/{cluster}")
    Repository(store, cluster).snapshot(session.current().id)
    store.close()
    return kv.looks, took


# --- a measurement ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stored(kind: str, servers: int, directory: Path) -> Iterator[tuple[StoreCluster | None, Access | None]]:
    """The store's servers, and the way to them; nothing for a file of the state directory."""
    if kind == "file":
        yield None, None
        return
    with store_cluster(kind, directory, count=servers) as cluster:
        yield cluster, access_to(cluster, directory)


def measure(count: int, slots: int, kind: str, servers: int, directory: Path) -> Row:
    """One number of hosts, from files to the end of the run."""
    root = directory / "fleet"
    hosts = [name_of(number) for number in range(count)]
    with stored(kind, servers, directory) as (cluster, access):
        fleet = Fleet(root, hosts=0, store=json.dumps({"url": access.url}) if access else "")
        with contextlib.closing(fleet):
            began = time.monotonic()
            lay_out(fleet, hosts, slots)
            planned = time.monotonic() - began
            session = Session(Place.find(str(root / "cluster.yaml")))
            with contextlib.closing(session):
                enrol(session, root, hosts)
                fleet.serve()
                return played(fleet, session, hosts, slots, kind, (cluster, access), planned)


def lay_out(fleet: Fleet, hosts: list[str], slots: int) -> None:
    """The files of so many hosts, and the plan."""
    root = fleet.root
    for name in ("services", "releases"):
        (root / name).mkdir(parents=True)
    (root / "services" / "app.yaml").write_text(APP)
    for release, before in (("1", "0"), ("2", "1")):
        text = f'release: "{release}"\nsupports: ["{before}"]\nservices: {{app: "{release}"}}\n'
        (root / "releases" / f"{release}.yaml").write_text(text)
    listed = "".join(f"  {host}: {{role: web, connection: agent}}\n" for host in hosts)
    (root / "cluster.yaml").write_text(
        f'cluster: {CLUSTER}\nrelease: "1"\ndelivery: command\nroles:\n  web: {{services: [app], limit: {slots}}}\n'
        f"hosts:\n{listed}policy: {{limit: {slots}, soak: 0s}}\n" + (f"store: {fleet.store}\n" if fleet.store else "")
    )
    fleet.underway("plan", "--to", "2", "-o", str(root / "plan.json"))


def enrol(session: Session, root: Path, hosts: list[str]) -> None:
    """Every host, with one key for all: what it costs to check is the same."""
    key = dsse.create_key(root / "host.key")
    found = enrolments_of(session)
    for host in hosts:
        token = hashlib.sha256(host.encode()).hexdigest()
        now = time.time()  # noqa: TID251  as a command would
        found.enrol(host, found.invite(host, "bench", now), dsse.public_hex(key), token, now)


def played(
    fleet: Fleet,
    session: Session,
    hosts: list[str],
    slots: int,
    kind: str,
    store: tuple[StoreCluster | None, Access | None],
    planned: float,
) -> Row:
    """Connect all agents, watch them idle, upgrade, and look."""
    cluster, access = store
    serve = fleet.processes["serve"].pid
    player_file = str(Path(__file__).with_name("agents_play.py"))
    command = [sys.executable, player_file, str(fleet.root), fleet.url, str(len(hosts))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as player:
        assert player.stdin and player.stdout
        began = time.monotonic()
        assert json.loads(player.stdout.readline()) == "connected"
        connected = time.monotonic() - began
        before, (writes, reads) = cpu(serve), work_of(cluster)
        time.sleep(IDLE)
        idle, (idle_writes, idle_reads) = cpu(serve) - before, work_of(cluster)
        before = cpu(serve)
        began = time.monotonic()
        coordinator = fleet.upgrade()
        used = mb = 0.0
        while coordinator.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                used, mb = cpu(coordinator.pid), memory(coordinator.pid) or mb
            time.sleep(0.1)
        took = time.monotonic() - began
        assert coordinator.returncode == 0, fleet.log("coordinator")[-2000:]
        done_writes, done_reads = work_of(cluster)
        served = cpu(serve) - before
        player.stdin.close()
        waited = sorted(json.loads(player.stdout.read()))
    asked, status = status_of(session, access)
    run = session.current()
    actions = session.repository.snapshot(run.id).actions.values()
    makespan = max(one.ended for one in actions) - min(one.claimed for one in actions)
    count = len(hosts)
    return Row(
        hosts=count, slots=slots, store=kind, makespan=makespan,
        bound=bound_of([seconds_of(host) for host in hosts], slots),
        grant_p50=statistics.median(waited), grant_p99=waited[int(len(waited) * 0.99)],
        writes_per_host=(done_writes - idle_writes) / count, reads_per_host=(done_reads - idle_reads) / count,
        store_per_second=(done_writes - idle_writes + done_reads - idle_reads) / took,
        idle_per_second=(idle_writes - writes + idle_reads - reads) / IDLE,
        coordinator_ms=1e3 * used / count, coordinator_mb=mb, serve_ms=1e3 * served / count, serve_mb=memory(serve),
        serve_idle=idle / IDLE, status_reads=asked, status_seconds=status, plan_seconds=planned,
        connect_seconds=connected,
    )  # fmt: skip


HEAD = (
    "| hosts | slots | makespan, list scheduling | ratio | grant p50, p99 | writes, reads of the store a host |"
    " operations a second at work, idle | coordinator a host, at most | serve a host, at most, idle | status |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def told(row: Row) -> str:
    """A line of the table."""
    reads = f"{row.reads_per_host:.1f}" if row.reads_per_host else "not told"
    return (
        f"| {row.hosts:,} | {row.slots} | {row.makespan:.0f} s, {row.bound:.0f} s | {row.ratio:.2f} |"
        f" {row.grant_p50:.2f} s, {row.grant_p99:.2f} s | {row.writes_per_host:.1f}, {reads} |"
        f" {row.store_per_second:.0f}, {row.idle_per_second:.1f} |"
        f" {row.coordinator_ms:.0f} ms CPU, {row.coordinator_mb:.0f} MB |"
        f" {row.serve_ms:.0f} ms CPU, {row.serve_mb:.0f} MB, {100 * row.serve_idle:.1f} % of a CPU |"
        f" {row.status_reads} reads, {row.status_seconds:.1f} s |"
    )


def polling(count: int, slots: int) -> str:
    """What the original would cost for the same tasks, computed, with the arithmetic.

    Its hosts look every ``POLL`` seconds, and so does the program that lets them in (``upgrade --retry``): a slot that
    becomes free is seen after 0 to 15 s, and the host that gets it sees that after 0 to 15 s more.
    """
    chance = random.Random(count)
    hosts = [name_of(number) for number in range(count)]
    slow = bound_of([seconds_of(one) + chance.uniform(0, POLL) + chance.uniform(0, POLL) for one in hosts], slots)
    return (
        f"polling every {POLL:.0f} s, {count:,} hosts, {slots} slots (computed): {count:,} x {POLL_READS} reads /"
        f" {POLL:.0f} s = {count * POLL_READS / POLL:,.0f} reads a second while it lasts; a grant is seen after"
        f" {POLL / 2:.1f} s (p50), {0.99 * POLL:.1f} s (p99); list scheduling with both waits: {slow:,.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", default="100,1000,10000")
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--store", choices=("consul", "etcd", "file"), default="consul")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1)
    options = parser.parse_args()
    many_files()
    counts = [int(count) for count in options.hosts.split(",")]
    print(HEAD, flush=True)
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="underway-agents-") as directory:
            rows.append(measure(count, options.slots, options.store, options.servers, Path(directory)))
        print(told(rows[-1]), flush=True)
    for count in counts:
        print(polling(count, options.slots))
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
