"""Clusters of stores with clients, each on a host of its own, whose connections and disks fail when a test wants it.

::

    with faulty_cluster("consul", tmp_path, clients=2) as world:
        world.isolate(world.cluster.leader())            # from the other servers and from all clients
        world.isolate(leader, with_clients=[client])     # this client stays on its side
        world.cut_client(client, world.cluster.servers)  # it reaches none of them
        world.net.cut(client, host, back=False)          # one way only
        world.heal()

    with faulty_cluster("etcd", tmp_path, small_disk=True) as world:
        world.fill(server)      # not a byte is free for its data
        world.drain(server)

Kill, SIGSTOP and restarts are ``StoreServer``'s own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.netspaces import Host, Network, network
from support.store_programs import DISK
from support.stores import StoreCluster, StoreServer, begin, lay_out, need

DISKS = {"etcd": "256m", "consul": "24m"}
"""Enough for a cluster that is made and a few megabytes more: etcd reserves 64 MiB at a time for its log."""

_BALLAST = "ballast"


@dataclass
class FaultyCluster:
    """A cluster, and the clients' hosts. ``net`` cuts whatever else a test wants cut."""

    cluster: StoreCluster
    clients: list[Host]
    net: Network

    def host(self, server: StoreServer) -> Host:
        """The host that a server runs on."""
        return next(host for host in self.net.hosts if host is server.site)

    def isolate(self, *servers: StoreServer, with_clients: Sequence[Host] = ()) -> None:
        """Part these servers, and these clients with them, from all the others."""
        inside = [*(self.host(server) for server in servers), *with_clients]
        self.net.part(inside, [host for host in self.net.hosts if host not in inside])

    def shatter(self) -> None:
        """Part every server from every other one; clients reach them all."""
        hosts = [self.host(server) for server in self.cluster.servers]
        self.net.part(hosts, hosts)

    def cut_client(self, client: Host, servers: Sequence[StoreServer]) -> None:
        """Part a client from these servers."""
        self.net.part([client], [self.host(server) for server in servers])

    def heal(self) -> None:
        """Undo all cuts."""
        self.net.heal()

    def fill(self, server: StoreServer) -> int:
        """Leave not a byte free on a server's small disk; how many were. It may take a while to notice."""
        taken = 0
        with self._disk(server).joinpath(_BALLAST).open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        taken += ballast.write(bytes(size))
        return taken

    def drain(self, server: StoreServer) -> None:
        """Give back what ``fill`` took."""
        self._disk(server).joinpath(_BALLAST).unlink()

    def _disk(self, server: StoreServer) -> Path:
        return self.host(server).seen(server.member.directory / DISK)


@contextlib.contextmanager
def faulty_cluster(
    kind: str,
    directory: Path,
    *,
    count: int = 3,
    clients: int = 1,
    tls: bool = False,
    auth: bool = False,
    small_disk: bool = False,
    options: Sequence[str] = (),
) -> Iterator[FaultyCluster]:
    """``count`` servers and ``clients`` clients in namespaces.

    Skips the test, with the reason, where there can be none. ``small_disk`` gives each server a file system of its own
    for its data (see ``DISKS``). The rest is as in ``store_cluster``.
    """
    need(kind)
    with network(count + clients) as net, contextlib.closing(StoreCluster(kind)) as cluster:
        sites = net.hosts[:count]
        lay_out(cluster, sites, directory / f"{kind}-servers", tls=tls, auth=auth, options=options)
        world = FaultyCluster(cluster, net.hosts[count:], net)
        if small_disk:
            for server in cluster.servers:
                world.host(server).tmpfs(server.member.directory / DISK, DISKS[kind])
        begin(cluster, auth=auth)
        yield world
