"""Commands on the hosts, over SSH with the laboratory's own key."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from labkit.errors import LabError
from labkit.places import Places
from labkit.shell import run, succeeds

T = TypeVar("T")


def on(places: Places, host: str, script: str, timeout: float = 300) -> str:
    """Standard output of a shell script (given on standard input) on a host. Raises ``LabError`` if it fails."""
    return run("ssh", "-F", places.ssh_config, host, "sh", "-eus", stdin=script, timeout=timeout)


def each(work: Callable[[str], T], hosts: Sequence[str]) -> dict[str, T]:
    """The same work for several hosts at once; its results by host. The first error is raised once all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
        futures = {host: pool.submit(work, host) for host in hosts}
    return {host: future.result() for host, future in futures.items()}


def await_ssh(places: Places, hosts: Sequence[str], patience: float = 60) -> None:
    """Wait until every host takes commands. Raises ``LabError`` naming the one that does not, and its console's log."""

    def wait(host: str) -> None:
        deadline = time.monotonic() + patience
        while not succeeds("ssh", "-F", places.ssh_config, host, "true", timeout=10):
            if time.monotonic() > deadline:
                raise LabError(f"{host}: no SSH within {patience:.0f} s; its console: {places.run}/console/{host}.log")
            time.sleep(0.2)

    each(wait, hosts)


def hang_up(places: Places, hosts: Sequence[str]) -> None:
    """End the connections that are kept to hosts."""
    for host in hosts:
        subprocess.run(
            ["ssh", "-F", str(places.ssh_config), "-O", "exit", host],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
