"""Hosts: booted with systemd-nspawn, each in a control group of its own, and ended again.

Without groups of their own, hosts would share this process's, and the systemd of one would wait for processes of
another's service of the same name to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from labkit import groups, network
from labkit.mounts import overlay
from labkit.places import Places
from labkit.shell import say
from labkit.topology import Host

# What a host boots to for as long as this link is there: its SSH server alone. The laboratory then starts the rest in
# order, since a Galera cluster that was stopped whole has no member that may begin by itself, and takes the link away
# (order.start): from then on a host that boots, or reboots itself, starts everything and joins the others.
DEFAULT = "etc/systemd/system/default.target"
COLD = "lab-cold.target"
# systemd-nspawn that keeps no unit ends with this exit code when its host reboots, and wants to be started again
# (EXIT_FORCE_RESTART in its source); a process outside the host sees to it.
REBOOTED = 133
KEEP = f'while "$@"; [ $? = {REBOOTED} ]; do :; done'


def up(places: Places, host: str) -> bool:
    """Whether anything of the host runs."""
    return bool(groups.processes(groups.group(places, host)))


def boot(places: Places, host: Host, *, cold: bool) -> None:
    """Boot a host whose network is there; returns at once. Running already: nothing is done.

    ``cold``: with nothing but its SSH server (see ``DEFAULT``).
    """
    if up(places, host.name):
        return
    home = places.hosts / host.name
    root = places.root(host.name)
    if cold:
        link = home / "upper" / DEFAULT
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(COLD)
    overlay(root, [Path(line) for line in (home / "lower").read_text().split()], home / "upper")
    command = [
        "systemd-nspawn", "--quiet", "--keep-unit", "--register=no", f"--directory={root}", f"--machine={host.name}",
        f"--network-namespace-path=/run/netns/{network.namespace(host.name)}", "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no", f"--bind-ro={places.packed}:/srv/venvs",
        *((f"--bind={places.shared}/images:/var/lib/glance/images",) if host.role == "controller" else ()),
        "--boot",
    ]  # fmt: skip
    console = places.run / "console"
    console.mkdir(exist_ok=True)
    tree = groups.group(places, host.name)
    keeper = ["/bin/sh", "-c", KEEP, "keeper", *groups.inside(tree / "machine", command)]
    with (console / f"{host.name}.log").open("ab") as log:
        subprocess.Popen(
            groups.inside(tree / "keeper", keeper),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"},
        )


def power_off(places: Places, hosts: Sequence[str]) -> list[str]:
    """End hosts at once, as a cut of power would; the names of those that ran."""
    return groups.end(places, hosts)


def shut_down(places: Places, hosts: Sequence[str], patience: float = 60) -> None:
    """Let the hosts' systemd stop everything in order; those that take longer than that (seconds) lose their power."""
    for name in hosts:
        if leader := _leader(groups.group(places, name)):
            os.kill(leader, signal.SIGTERM)  # systemd-nspawn hands it on to the host as a request to power off
    deadline = time.monotonic() + patience
    while any(up(places, name) for name in hosts) and time.monotonic() < deadline:
        time.sleep(0.1)
    if late := power_off(places, hosts):
        say(f"lost their power after {patience:.0f} s: {' '.join(late)}")


def _leader(tree: Path) -> int:
    """The systemd-nspawn of a host, or 0."""
    for pid in groups.processes(tree):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd-nspawn":
                return pid
        except OSError:
            continue
    return 0
