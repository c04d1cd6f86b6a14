"""What hosts that fetch their work cost: real links over HTTPS to a real ``underway serve``, tasks that only sleep.

``python bench/agents.py [--hosts 100,1000] [--slots 20]``: beside this process, with the coordinator's executor, there
are the server and a player of all agents. Told are: how long an order takes to its host, the time of the whole against
what list scheduling of the same tasks on as many slots would take if nothing cost any time, commits per host, and the
CPU and memory of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import heapq
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.fleet import Fleet
from underway.app.agents import enrolments_of, pull_executor
from underway.app.place import Place, Session
from underway.core.model.cluster import Host
from underway.executors.base import Order
from underway_agent import dsse, letters
from underway_agent.link.base import LinkDown
from underway_agent.link.http import HttpLink

SHORTEST, LONGEST = 1.0, 3.0
"""Seconds of a task."""

IDLE = 20.0


def seconds_of(host: str) -> float:
    """How long the task of a host takes; the same in every process."""
    return random.Random(host).uniform(SHORTEST, LONGEST)


class Player:
    """One agent without a runner: it says that it took an order, sleeps, and says that it has ended."""

    def __init__(self, host: str, url: str, authority: Path, key: Path) -> None:
        self.host = host
        self.key = dsse.load_key(key)
        self.link = HttpLink(url, host, host, authority)
        self.waited: list[float] = []

    async def play(self) -> None:
        mark, seen = "", set()
        await asyncio.sleep(random.uniform(0.0, 5.0))
        while True:
            try:
                found = await self.link.orders(mark, 50.0)
            except LinkDown:
                await asyncio.sleep(random.uniform(0.0, 2.0))
                continue
            if found is None:
                continue
            mark = found.mark
            for order in letters.read_orders(found.data).orders:
                if order.key in seen:
                    continue
                seen.add(order.key)
                self.waited.append(time.monotonic() - float(order.ticket))
                await self.tell(order, "accepted", 1)
                await asyncio.sleep(seconds_of(self.host))
                await self.tell(order, "finished", 6)

    async def tell(self, order: letters.OpenOrder, kind: str, many: int) -> None:
        run, action, leg, token = order.key
        where = {"run": run, "action": action, "leg": leg, "token": token, "at": 0.0, "mono": 0.0}
        lines = [{**where, "seq": number, "kind": "task", "text": "x" * 80} for number in range(1, many + 1)]
        standing = letters.Standing(run, action, leg, token, kind)
        said = letters.Reported("pulled", self.host, "b", time.monotonic(), lines=lines, standings=(standing,))
        while True:
            try:
                return await self.link.report(dsse.sign(self.key, letters.REPORT_TYPE, letters.write_report(said)))
            except LinkDown:
                await asyncio.sleep(random.uniform(0.0, 2.0))


def play(root: Path, url: str, hosts: list[str]) -> None:
    """The process of all agents; ends when its input does, and prints how long orders were on their way."""

    async def whole() -> list[float]:
        players = [Player(host, url, root / ".underway/keys/serve-ca.crt", root / "host.key") for host in hosts]
        tasks = [asyncio.ensure_future(player.play()) for player in players]
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for player in players:
            await player.link.close()
        return [waited for player in players for waited in player.waited]

    print(json.dumps(asyncio.run(whole())))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Megabytes that a process has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(count: int, slots: int, root: Path) -> None:
    fleet = Fleet(root, hosts=1)
    hosts = [f"h{number:05d}" for number in range(count)]
    try:
        fleet.make()
        session = Session(Place.find(str(root / "cluster.yaml")))
        key = dsse.create_key(root / "host.key")
        found = enrolments_of(session)
        for host in hosts:  # one key for all: what it costs to check is the same
            token = hashlib.sha256(host.encode()).hexdigest()
            found.enrol(host, found.invite(host, "bench", 0.0), dsse.public_hex(key), token, 0.0)
        fleet.serve()
        server = fleet.processes["serve"].pid
        command = [sys.executable, __file__, "--play", str(root), "--url", fleet.url, "--hosts", str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as player:
            time.sleep(15.0 + count / 50)
            before = cpu(server)
            time.sleep(IDLE)
            idle = (cpu(server) - before) / IDLE
            told = upgrade(session, hosts, slots, server)
            assert player.stdin and player.stdout
            player.stdin.close()
            waited = sorted(json.loads(player.stdout.read()))
        print(
            f"{count:6d} hosts, {slots} slots: {told}; order to host {statistics.median(waited):.2f} s median,"
            f" {waited[int(len(waited) * 0.99)]:.2f} s p99; server {100 * idle:.1f} % of a CPU while all wait,"
            f" {memory(server):.0f} MB",
            flush=True,
        )
        session.close()
    finally:
        fleet.close()


def upgrade(session: Session, hosts: list[str], slots: int, server: int) -> str:
    """All hosts through the executor, a slot after another."""
    executor = pull_executor(session)
    before, revision, own = cpu(server), session.store.list("~").revision, time.process_time()
    began = time.monotonic()
    waiting, done = list(hosts), 0

    def submit() -> None:
        name = waiting.pop(0)
        host = Host(name=name, role="web", connection="agent")
        ticket = str(time.monotonic()).encode()
        executor.submit(Order("r", f"control/web/{name}", 0, 1, host, name, ticket, b"plan", (("a.yml", b"[]"),)))

    for _ in range(min(slots, len(waiting))):
        submit()
    while done < len(hosts):
        for report in executor.reports(1.0):
            assert report.kind in ("accepted", "progress", "finished", "busy", "unreachable"), report
            if report.kind == "finished":
                done += 1
                if waiting:
                    submit()
    took = time.monotonic() - began
    bound = bound_of(hosts, slots)
    letters_each = (session.store.list("~").revision - revision) / len(hosts)
    executor.close()
    return (
        f"{took:.0f} s, {took / bound:.2f} times list scheduling; {letters_each:.1f} commits a host;"
        f" CPU a host: server {1e3 * (cpu(server) - before) / len(hosts):.1f} ms, executor"
        f" {1e3 * (time.process_time() - own) / len(hosts):.1f} ms"
    )


def bound_of(hosts: list[str], slots: int) -> float:
    """Seconds of the same tasks in the same order on as many slots, if nothing else took any time."""
    free = [0.0] * slots
    for host in hosts:
        heapq.heapreplace(free, free[0] + seconds_of(host))
    return max(free)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", default="100,1000")
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--play", type=Path)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    if options.play:
        play(options.play, options.url, [f"h{number:05d}" for number in range(int(options.hosts))])
        return
    for count in options.hosts.split(","):
        with tempfile.TemporaryDirectory(prefix="underway-agents-") as directory:
            measure(int(count), options.slots, Path(directory) / "fleet")


if __name__ == "__main__":
    main()
