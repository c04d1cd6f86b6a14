"""Hosts of a test in network namespaces, with connections that can be cut. Needs root.

::

    with network(4) as net:
        client, *servers = net.hosts
        net.cut(client, servers[0])             # packets between these two are lost, in both directions
        net.cut(client, servers[0], back=False) # only those that the client sends
        net.part([servers[0]], servers[1:])     # every pair of the two groups
        net.heal()
        with client.around():                   # what this thread, and threads begun now, connect comes from the client
            ...

Every host has a network namespace and a mount namespace of its own, and a cable to a router in a namespace of its own
that drops what is cut, without a word to the sender, as a broken network does. There is no way out. The namespaces have
no names: a small process holds each, and the kernel removes all of it when the process of the test ends, however that
ends. Nothing is left for a next run to remove, and this machine's own network is not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.spawning import UNTIL_DEATH, need_spawning, spawn

_CLONE_NEWNET = 0x40000000

Held = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Host:
    """One host: its address, and the process that holds its namespaces."""

    name: str
    address: str
    holder: int

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that runs it on this host."""
        return ("nsenter", f"--target={self.holder}", "--net", "--mount", "--")

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """This thread, and the threads that it begins in here, use the host's network. Files stay this machine's."""
        with Path("/proc/thread-self/ns/net").open("rb") as own, Path(f"/proc/{self.holder}/ns/net").open("rb") as its:
            _enter(its.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())

    def run(self, *command: str, text: str = "") -> str:
        """Run a short command there; its output. Raises ``AssertionError`` with what it said if it fails."""
        return _run(*self.enter, *command, text=text)

    def tmpfs(self, place: Path, size: str) -> None:
        """A file system of ``size`` (``16m``) at ``place`` that only this host sees, gone with the host."""
        self.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "underway-test", str(place))

    def seen(self, place: Path) -> Path:
        """Where this machine sees a file of that host."""
        return Path(f"/proc/{self.holder}/root{place}")


@dataclass
class Network:
    """Hosts, and the router between them."""

    hosts: list[Host]
    router: Host
    _cuts: set[tuple[str, str]] = field(default_factory=set)

    def cut(self, one: Host, other: Host, *, there: bool = True, back: bool = True) -> None:
        """Lose what goes from ``one`` to ``other`` (``there``) and what goes from ``other`` to ``one`` (``back``)."""
        wanted = {(one.address, other.address)} if there else set()
        wanted |= {(other.address, one.address)} if back else set()
        self._rules("add", wanted - self._cuts)
        self._cuts |= wanted

    def part(self, some: Sequence[Host], others: Sequence[Host]) -> None:
        """Cut every host of one group from every host of the other."""
        wanted = {(a.address, b.address) for a in some for b in others if a != b}
        wanted |= {(b, a) for a, b in wanted}
        self._rules("add", wanted - self._cuts)
        self._cuts |= wanted

    def heal(self) -> None:
        """Undo all cuts."""
        self._rules("del", self._cuts)
        self._cuts.clear()

    def _rules(self, verb: str, pairs: set[tuple[str, str]]) -> None:
        lines = [f"rule {verb} from {a} to {b} blackhole\n" for a, b in sorted(pairs)]
        if lines:
            self.router.run("ip", "-batch", "-", text="".join(lines))


def need_namespaces() -> None:
    """Skip the test, loudly, where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: network namespaces need root")
    need_spawning()
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"NOT RUN: no {program} (iproute2, util-linux; scripts/setup --debian)")


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """``count`` hosts ``h1``, ``h2``, … that reach each other.

    Skips the test, with the reason, where they cannot be made.
    """
    need_namespaces()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(_held()) for _ in range(count + 1)]
        router = Host("router", "", held[0].pid)
        hosts = [Host(f"h{n}", f"10.78.{n}.2", process.pid) for n, process in enumerate(held[1:], 1)]
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for number, host in enumerate(hosts, 1):
            gateway = f"10.78.{number}.1"
            router.run(
                "ip", "-batch", "-",
                text=f"link add to-{host.name} type veth peer name net0 netns {host.holder}\n"
                f"address add {gateway}/24 dev to-{host.name}\nlink set to-{host.name} up\n",
            )  # fmt: skip
            host.run(
                "ip", "-batch", "-",
                text=f"link set lo up\naddress add {host.address}/24 dev net0\nlink set net0 up\n"
                f"route add default via {gateway}\n",
            )  # fmt: skip
        yield Network(hosts, router)


@contextlib.contextmanager
def _held() -> Iterator[Held]:
    """A process that holds a new network and a new mount namespace."""
    # It says a word when it is in them. It ends when its input does, too: the kernel is told a moment late to end it.
    words = ["unshare", "--net", "--mount", *UNTIL_DEATH, "sh", "-c", "echo in; read line"]
    process = spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"in\n":
            pytest.skip("NOT RUN: no network namespace can be made here (unshare --net --mount fails)")
        yield process
    finally:
        process.kill()
        process.communicate()


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()} (of {text!r})"
    return done.stdout
