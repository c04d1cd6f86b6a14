"""What this machine must have: root, and some Debian packages, which are installed where they are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from labkit import groups
from labkit.errors import LabError, Refused
from labkit.shell import run, say, step, succeeds

# program -> Debian package that brings it
PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "zstd": "zstd",
    "mount": "mount",
}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def need_root() -> None:
    """Refuse, in one sentence, to go on as somebody else."""
    if os.geteuid():
        raise Refused("needs root: it boots hosts in containers and lays a network for them")


def obstacle() -> str:
    """Why no laboratory can be up on this machine, in one line; empty if one can, as far as can be told beforehand."""
    if os.geteuid():
        return "needs root, to boot hosts in containers and lay a network for them"
    if not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        return "needs Debian, whose packages its hosts are made of"
    try:
        top = groups.unified(Path("/proc/self/mountinfo").read_text())
    except LabError as error:
        return str(error)
    if not os.access(top, os.W_OK):
        return f"{top}: control groups cannot be made here; a container needs its own, writable"
    if not succeeds("unshare", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/mnt"):
        return "this machine does not let root mount, or make network namespaces: a container without CAP_SYS_ADMIN?"
    return ""


def missing_packages(found: Sequence[str], keyring: bool) -> list[str]:
    """The Debian packages to install, given the programs that were found."""
    wanted = {package for program, package in PROGRAMS.items() if program not in found}
    return sorted(wanted | (set() if keyring else {"debian-archive-keyring"}))


def install_packages() -> None:
    """Install what is missing by apt, and say so.

    Raises ``Refused`` on a machine that is no Debian, with the names of the programs that it lacks.
    """
    missing = missing_packages([name for name in PROGRAMS if shutil.which(name)], Path(KEYRING).exists())
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Refused(f"this machine lacks what these Debian packages bring: {', '.join(missing)}; install them first")
    say(f"installing from Debian: {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("Debian packages for this machine"):
        run("apt-get", "update", "-qq", environment=quiet)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, environment=quiet)


def mirror() -> str:
    """The address from which this machine's own apt takes Debian.

    Raises ``LabError`` where apt knows none.
    """
    for line in run("apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)", "Identifier: Packages").splitlines():
        address, _, label = line.partition("|")
        if label == "Debian":
            return address
    raise LabError("apt knows no archive of Debian: see /etc/apt/sources.list.d, and run 'apt-get update'")
