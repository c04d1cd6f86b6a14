"""The laboratory that each fault begins with: enrolled, and with the new release's environment already unpacked.

Both take longer than the faults themselves and are the same for all, so they are done once and frozen.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from labkit import commands, hosts
from labkit.errors import LabError
from labkit.layers import digest
from labkit.mounts import remove_tree
from labkit.places import PROJECT, Places
from labkit.remote import each, on
from labkit.shell import step
from labkit.topology import Topology
from scenarios.attribution import site
from scenarios.attribution.fault import Fault
from scenarios.operator import operator
from scenarios.site import secrets

PREFIX = "attribution-"
NOTHING = Fault("nothing", "", "", "unattributed", ())


@dataclass(frozen=True)
class Base:
    """A snapshot, its release, and the operator's state directory whose keys its hosts trust."""

    snapshot: str
    release: str
    state: Path


def base(places: Places, home: Path, target: str) -> Base:
    """The base for upgrades to ``target``; made if there is none for these roles and this runner.

    Raises ``LabError`` if what is up is not the small laboratory.
    """
    lab, about = commands.installed(places)
    if lab.size != "small":
        raise LabError("the small laboratory is wanted, and the full one is up: 'lab/run down', 'lab/run up --small'")
    path = home / "base.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    installed = str(known.get("installed") if about["snapshot"].startswith(PREFIX) else about["snapshot"])
    name = PREFIX + digest([installed, target, _runner()])
    if known.get("snapshot") != name or name not in hosts.snapshots(places):
        _make(places, lab, home, name, installed, about["release"], target)
        path.write_text(json.dumps({"snapshot": name, "installed": installed}))
    return Base(name, about["release"], home / "base/.underway")


def _runner() -> list[str]:
    """Changes when what hosts are given at enrolment does."""
    return [path.read_text() for path in sorted((PROJECT / "runner/src").rglob("*.py"))]


def _make(places: Places, lab: Topology, home: Path, name: str, installed: str, release: str, target: str) -> None:
    commands.restore(places, installed)
    for path in places.snaps.glob(f"{PREFIX}*"):
        remove_tree(path)
    room = home / "base"
    shutil.rmtree(room, ignore_errors=True)
    with operator(places, room) as hands:
        site.write(lab, room, release, target, NOTHING, secrets(places, room))
        hands.underway("validate")
        hands.enrol()
    unpack = (
        f"cd /opt/os; mkdir {target}.unpacked; "
        f"tar -x --zstd --strip-components=1 -f /srv/venvs/{target}.tar.zst -C {target}.unpacked; "
        f"mv {target}.unpacked {target}"
    )
    with step(f"environment of {target} on the controllers"):
        each(lambda host: on(places, host, unpack), [host.name for host in lab.of("controller")])
    commands.snapshot(places, name)
