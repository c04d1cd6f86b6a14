"""What probing costs: share of a core and error of the clock, against a loopback server in another process.

    python bench/probes.py [--seconds 20] [--json FILE]

The goal says "50 endpoints probed at 20 a second: under 15 % of a core, clock error p99 under 5 ms". It can be read in
two ways, and both are measured: each endpoint 20 times a second (1,000 requests a second), and 20 requests a
second in all. Every request is a new connection. The same load over aiohttp (what HTTPS and tokens use) is measured at
20 and at 200 a second. CPU is the prober's own, user and system, from /proc; the clock error is ``sent - due`` of each
sample. Other work on the machine shows in the clock error: the load average is printed with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from underway.checks.build import Kit
from underway.checks.http import HttpCheck
from underway.checks.prober import command, read_probes, run, write_probes
from underway.checks.samples import read
from underway.core.model.cluster import Probe

BODY = b'{"status": "ok"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Server(asyncio.Protocol):
    """Answers whatever comes, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert data and isinstance(self.transport, asyncio.Transport)
        self.transport.write(ANSWER)
        self.transport.close()


async def _serve(pipe: Connection, count: int) -> None:
    loop = asyncio.get_running_loop()
    ports = []
    for _ in range(count):
        server = await loop.create_server(Server, "127.0.0.1", 0, backlog=512)
        ports.append(server.sockets[0].getsockname()[1])
    pipe.send(ports)
    await asyncio.Event().wait()


def serve(pipe: Connection, count: int) -> None:
    """The process of the server."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe, count))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(label: str, ports: list[int], every: float, seconds: float, *, aiohttp: bool) -> dict[str, float | str]:
    """One prober over ``ports`` for ``seconds``, after a second of warming up."""
    probes = {}
    for number, port in enumerate(ports):
        name = f"api{number:03}"
        url = f"http://127.0.0.1:{port}/"
        probes[name] = Probe(name=name, kind="http", url=url, every=every, timeout=2.0, service="bench")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        write_probes(directory / "probes.json", probes)
        arguments = command(directory / "probes.json", directory / "out.jsonl", directory / "stop")
        if aiohttp:
            arguments[1:3] = [__file__, "--as-prober"]
        process = subprocess.Popen(arguments)
        time.sleep(2.0)
        before, began = cpu(process.pid), time.monotonic()
        time.sleep(seconds)
        used, took, resident = cpu(process.pid) - before, time.monotonic() - began, memory(process.pid)
        (directory / "stop").touch()
        process.wait(30)
        samples, size = read(directory / "out.jsonl")
    late = sorted(sample.sent - sample.due for sample in samples if sample.result != "lost")
    rate = len(ports) / every
    return {
        "what": label,
        "requests/s": rate,
        "share of a core %": round(100 * used / took, 1),
        "CPU µs/request": round(1e6 * used / (rate * took)),
        "clock error p50 ms": round(1e3 * late[len(late) // 2], 2),
        "clock error p99 ms": round(1e3 * late[int(len(late) * 0.99)], 2),
        "worst ms": round(1e3 * late[-1], 1),
        "failed": sum(sample.result != "ok" for sample in samples),
        "samples": len(samples),
        "RSS MiB": round(resident, 1),
        "bytes/sample": round(size / max(len(samples), 1)),
    }


class Dear(Kit):
    """Sends plain probes through aiohttp as well, to compare."""

    def _make(self, probe: Probe) -> HttpCheck:
        return HttpCheck(probe, self._web, None)


def as_prober() -> int:
    """A prober with these checks; takes the arguments of a prober."""
    _, _, _, probes, _, out, _, stop = sys.argv
    asyncio.run(run(read_probes(Path(probes)), Path(out), Path(stop), Dear))
    return 0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, 50), daemon=True)
    server.start()
    ports = ours.recv()
    rows = [
        measure("50 endpoints, each 20/s", ports, 0.05, options.seconds, aiohttp=False),
        measure("50 endpoints, 20/s in all", ports, 2.5, options.seconds, aiohttp=False),
        measure("the same over aiohttp, 200/s", ports[:10], 0.05, options.seconds, aiohttp=True),
        measure("the same over aiohttp, 20/s", ports, 2.5, options.seconds, aiohttp=True),
    ]
    if server.pid is not None:
        os.kill(server.pid, signal.SIGTERM)
    server.join()
    names = list(rows[0])
    for name in names:
        print(f"{name:>20}  " + "  ".join(f"{row[name]!s:>28}" for row in rows))
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-prober"]:
        sys.exit(as_prober())
    main()
