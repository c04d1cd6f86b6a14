"""Real Consul and etcd for tests: one server or three of a kind, with TLS and users where asked.

::

    with store_cluster("etcd", tmp_path, count=3, tls=True, auth=True) as cluster:
        cluster.access        # endpoints, CA, client certificate and key, token or user and password
        cluster.leader().kill()
        cluster.leader()      # the next one

A server has an address of 127.0.0.0/8 to itself, so its ports are the usual ones: a port of the range that connections
take theirs from could be gone when a server comes back. Data are in the test's directory. Servers are ended by number;
the kernel ends them where the process of the test is killed (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from support.certificates import Authority
from support.spawning import UNTIL_DEATH, need_spawning, spawn
from support.store_programs import (
    BINARIES,
    DISK,
    PROGRAMS,
    Access,
    Answer,
    Consul,
    Etcd,
    Member,
    NoAnswer,
    client_pair,
    server_pair,
)

KINDS = tuple(PROGRAMS)

PATIENCE = 120.0
"""Seconds for what takes two on a machine with nothing else to do."""


def need(kind: str) -> None:
    """Skip the test, loudly, where a server of ``kind`` cannot be started."""
    if not (BINARIES / kind).exists():
        pytest.skip(f"NOT RUN: no {kind} in .servers/bin; scripts/servers fetches it, or says why it cannot")
    need_spawning()


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE, why: Callable[[], str] = str) -> None:
    """Wait for it; asked at once, then ever less often. ``why`` says more of it where it never comes."""
    end = time.monotonic() + patience
    pause = 0.05
    while not condition():
        assert time.monotonic() < end, f"not within {patience:.0f} s: {what} {why()}"
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


class Site(Protocol):
    """Where a server runs: this machine (``Loopback``), or a host of ``support.netspaces``."""

    @property
    def address(self) -> str: ...

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that runs it there."""

    def around(self) -> contextlib.AbstractContextManager[None]:
        """What this thread connects in here comes from there."""


@dataclass(frozen=True)
class Loopback:
    """An address of 127.0.0.0/8."""

    address: str
    enter: tuple[str, ...] = ()

    def around(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass
class StoreServer:
    """One server."""

    member: Member
    program: Consul | Etcd
    command: list[str]
    cluster: StoreCluster
    site: Site
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def endpoint(self) -> str:
        """``scheme://address:port``, as in ``Access.endpoints``."""
        return self.program.endpoint(self.member)

    @property
    def log(self) -> Path:
        return self.member.directory / "log"

    @property
    def running(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it with the data it has; ``cluster.wait_ready()`` waits until it answers."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as out:
            self.process = spawn([*self.site.enter, *UNTIL_DEATH, *self.command], stdout=out)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None

    def end(self) -> None:
        """SIGTERM: it ends in its own way, and keeps its place in the cluster."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20.0)
            self.kill()

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands: its connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)
        until(self._stands, f"{self.name} stands still")

    def cont(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """End it and start it again."""
        self.end()
        self.start()

    def _stands(self) -> bool:
        assert self.process is not None
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            return all(each.read_text().rpartition(")")[2].split()[0] == "T" for each in threads)
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None and self.running, f"{self.name} does not run:\n{self.last_words()}"
        self.process.send_signal(number)

    def request(
        self, method: str, path: str, body: bytes = b"", *, at: Site | None = None, patience: float = 10.0
    ) -> Answer:
        """One plain request to this server as the one who may do everything, from where it runs or from ``at``.

        Raises ``NoAnswer``.
        """
        with (at or self.site).around():
            return self.program.request(self.endpoint, self.cluster.access, method, path, body, patience)

    def put(self, key: str, value: bytes, *, at: Site | None = None, patience: float = 10.0) -> bool:
        """Write through this server; False if it refuses. Raises ``NoAnswer``: it may be written or not."""
        return self.request(*self.program.put(key, value), at=at, patience=patience).status == 200

    def get(self, key: str, *, at: Site | None = None, patience: float = 10.0) -> bytes | None:
        """A linearizable read through this server; None if there is no such key. Raises ``NoAnswer``."""
        return self.program.got(self.request(*self.program.get(key), at=at, patience=patience))

    def ready(self, patience: float = 5.0) -> bool:
        """Whether it answers a read that needs a majority within ``patience`` seconds."""
        with self.site.around():
            return self.program.ready(self.endpoint, self.cluster.access, patience)

    def leads(self) -> tuple[int, bool]:
        """Its term and whether it holds itself for the leader; (-1, False) if it does not answer."""
        with contextlib.suppress(NoAnswer), self.site.around():
            return self.program.leads(self.endpoint, self.cluster.access)
        return -1, False

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "(no log)"


@dataclass
class StoreCluster:
    """Servers of one kind that form a cluster."""

    kind: str
    servers: list[StoreServer] = field(default_factory=list)
    access: Access = field(default_factory=lambda: Access(()))

    def wait_ready(self, *servers: StoreServer) -> None:
        """Until each of these (all, if none is named) answers a read that needs a majority."""
        for server in servers or self.servers:
            assert server.running, f"{server.name} does not run:\n{server.last_words()}"
            until(partial(self._ready, server), f"{server.name} answers:", why=server.last_words)

    @staticmethod
    def _ready(server: StoreServer) -> bool:
        assert server.running, f"{server.name} ended:\n{server.last_words()}"
        return server.ready()

    def leader(self, among: Sequence[StoreServer] = ()) -> StoreServer:
        """The leader, waited for: of those who hold themselves for it, the one of the latest term."""
        found: list[StoreServer] = []

        def look() -> bool:
            claims = [(one.leads(), one) for one in among or self.servers if one.running]
            leaders = sorted(((term, one.name, one) for (term, leads), one in claims if leads), reverse=True)
            found[:] = [one for _, _, one in leaders[:1]]
            return bool(found)

        until(look, f"a leader among {', '.join(one.name for one in among or self.servers)}")
        return found[0]

    def followers(self) -> list[StoreServer]:
        """All but the leader."""
        leader = self.leader()
        return [one for one in self.servers if one is not leader]

    def restart_all(self) -> None:
        """End all, then start all, and wait until they answer."""
        for server in self.servers:
            server.end()
        for server in self.servers:
            server.start()
        self.wait_ready()

    def close(self) -> None:
        """End all at once."""
        for server in self.servers:
            server.kill()


@contextlib.contextmanager
def store_cluster(
    kind: str,
    directory: Path,
    *,
    count: int = 1,
    tls: bool = False,
    auth: bool = False,
    options: Sequence[str] = (),
) -> Iterator[StoreCluster]:
    """``count`` started servers of ``kind`` that answer; skips the test, with the reason, where they cannot be had.

    ``tls``: only HTTPS, and only for holders of a certificate of the cluster's own authority. ``auth``: Consul's ACLs
    (deny by default), etcd's users. ``options`` are more words for each server's command line.
    """
    need(kind)
    with contextlib.closing(StoreCluster(kind)) as cluster:
        sites = [Loopback(address) for address in loopback_addresses(count)]
        lay_out(cluster, sites, directory / f"{kind}-servers", tls=tls, auth=auth, options=options)
        begin(cluster, auth=auth)
        yield cluster


def lay_out(
    cluster: StoreCluster,
    sites: Sequence[Site],
    directory: Path,
    *,
    tls: bool,
    auth: bool,
    options: Sequence[str],
) -> None:
    """Put a server at each site, with its files."""
    program = PROGRAMS[cluster.kind]
    directory.mkdir(parents=True)
    authority = Authority(directory / "certificates") if tls else None
    members = []
    for number, site in enumerate(sites, 1):
        home = directory / f"s{number}"
        (home / DISK).mkdir(parents=True)
        pair = server_pair(authority, f"s{number}", site.address) if authority else None
        members.append(Member(f"s{number}", site.address, home, pair))
    ca = authority.ca if authority else None
    for member, site in zip(members, sites, strict=True):
        command = [*program.command(member, members, auth=auth, ca=ca), *options]
        cluster.servers.append(StoreServer(member, program, command, cluster, site))
    client = client_pair(authority) if authority else None
    cluster.access = Access(
        tuple(server.endpoint for server in cluster.servers),
        ca,
        client.certificate if client else None,
        client.key if client else None,
    )


def begin(cluster: StoreCluster, *, auth: bool) -> None:
    """Start all, wait until they answer, and turn tokens or users on."""
    for server in cluster.servers:
        server.start()
    cluster.wait_ready()
    if auth:
        _grant(cluster)
        cluster.wait_ready()


def _grant(cluster: StoreCluster) -> None:
    last: list[str] = []

    def granted() -> bool:
        try:
            with cluster.servers[0].site.around():
                cluster.access = cluster.servers[0].program.grant(cluster.access)
        except NoAnswer as error:
            last.append(str(error))
            return False
        return True

    until(granted, "tokens or users are on:", why=lambda: last[-1])


def loopback_addresses(count: int) -> list[str]:
    """Neighbours of 127.0.0.0/8 that nobody listens on."""
    while True:
        block = f"127.{random.randint(16, 254)}.{random.randint(0, 255)}"
        addresses = [f"{block}.{number}" for number in range(1, count + 1)]
        if all(_free(address, port) for address in addresses for port in (2379, 2380, 8300, 8301, 8500, 8501)):
            return addresses


def _free(address: str, port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
        return True


def kinds_and_counts(group: str) -> list[object]:
    """Parameters for tests on one and on three servers of each kind; those of one cluster stay in one process."""
    return [
        pytest.param((kind, count), id=f"{kind}-{count}", marks=pytest.mark.xdist_group(f"{group}-{kind}-{count}"))
        for kind in ("consul", "etcd")
        for count in (1, 3)
    ]
