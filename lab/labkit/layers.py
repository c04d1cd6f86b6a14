"""The layers that all hosts share: Debian's base, and the Debian packages of the services. Built once, then read-only.

A layer's name carries a digest of what it was made from, so a changed list makes a new layer and leaves the old one to
the snapshots that stand on it. A layer that is being built has the suffix ``.new`` and is thrown away by the next try.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from labkit import machine
from labkit.groups import WORK, group, inside
from labkit.mounts import overlay, remove_tree, unmount_below
from labkit.places import Places
from labkit.shell import run, step

SUITE = "trixie"
BASE = ("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "rsync", "iproute2", "ca-certificates")
PACKAGES = (
    "curl", "galera-4", "haproxy", "iputils-ping", "jq", "keepalived", "less", "mariadb-server", "memcached", "openssl",
    "procps", "python3-venv", "rabbitmq-server", "socat", "sudo", "tar", "zstd",
)  # fmt: skip
# Nothing starts by itself on the first boot but what the roles enable; timers would add load at a time of their own.
DISABLED = ("mariadb", "rabbitmq-server", "memcached", "haproxy", "keepalived", "epmd.socket", "epmd.service")
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "systemd-udevd.service", "systemd-networkd-wait-online.service",
)  # fmt: skip
PREPARE = """\
set -eu
apt-get update -q
apt-get install -y -q --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/* /var/lib/mysql /etc/ssh/ssh_host_*
for unit in $DISABLED; do systemctl disable "$unit" || echo "there is no $unit"; done
mkdir -p /opt/os /opt/current /srv/venvs /var/log/journal
install -d -o mysql -g mysql -m 755 /var/lib/mysql
"""


def digest(*parts: object) -> str:
    """Eight letters that differ when any part does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]


def nspawn(
    places: Places,
    root: Path,
    *command: str | Path,
    options: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> str:
    """Run a program in a directory tree as if that were a machine, on this machine's network.

    Everything that it mounts is in a namespace of its own: a crash leaves nothing behind. ``environment`` is for the
    program alone, and is on no command line: every user of this machine reads those, and an error shows them.
    """
    given = environment or {}
    words = [
        "systemd-nspawn", "--quiet", "--keep-unit", "--register=no", f"--directory={root}", "--as-pid2",
        "--resolv-conf=bind-host", "--timezone=off", "--link-journal=no", "--console=pipe",
        *options,
        *(f"--setenv={name}" for name in given),  # its value is systemd-nspawn's own
        "--", *command,
    ]  # fmt: skip
    return run(
        *inside(group(places, WORK), words), environment={**os.environ, **given, "UNIFIED_CGROUP_HIERARCHY": "1"}
    )


def base(places: Places) -> Path:
    """The layer with Debian itself; made by debootstrap from this machine's own mirror if it is not there."""
    target = places.cache / f"base-{digest(SUITE, BASE)}"
    if target.exists():
        return target
    made = target.with_name(f"{target.name}.new")
    remove_tree(made)
    with step(f"base layer (debootstrap {SUITE})"):
        include = f"--include={','.join(BASE)}"
        run(*inside(group(places, WORK), ["debootstrap", "--variant=minbase", include, SUITE, made, machine.mirror()]))
        made.rename(target)
    return target


def services(places: Places) -> list[Path]:
    """The layers under every host, the topmost first; the services' packages are installed if they are not there."""
    below = base(places)
    target = places.cache / f"debian-{digest(below.name, PACKAGES, DISABLED, MASKED, PREPARE)}"
    if target.exists():
        return [target, below]
    made = target.with_name(f"{target.name}.new")
    remove_tree(made)
    with step("service layer (Debian packages)"):
        root = made / "root"
        overlay(root, [below], made / "upper")
        refuse = root / "usr/sbin/policy-rc.d"  # invoke-rc.d asks it whether a package may start its service
        refuse.write_text("#!/bin/sh\nexit 101\n")
        refuse.chmod(0o755)
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "DISABLED": " ".join(DISABLED)}
        nspawn(places, root, "/bin/sh", "-c", PREPARE, "prepare", *PACKAGES, environment=quiet)
        nspawn(places, root, "systemctl", "mask", *MASKED)
        refuse.unlink()
        unmount_below(made)
        (made / "upper").rename(target)
        remove_tree(made)
    return [target, below]


def discard_unfinished(places: Places) -> None:
    """Throw away what a build that was interrupted has left: layers and environments with ``.new`` in their names."""
    for path in places.cache.glob("*.new*"):
        remove_tree(path)
