"""A host's place on disk: the layers under it, and the directory that it writes to; snapshots of all hosts at once.

``hosts/<name>/lower`` lists the layers, the topmost first; ``hosts/<name>/upper`` takes what the host writes. A
snapshot moves every upper away and puts it on top of the list: nothing is copied but the shared store of images.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from labkit import keys
from labkit.errors import LabError
from labkit.mounts import remove_tree
from labkit.places import Places
from labkit.topology import Host, Topology

STACK = 2000  # the user and group that OpenStack's services run as; images on the shared store are theirs


def create(places: Places, lab: Topology, lowers: dict[str, Sequence[Path]]) -> None:
    """Fresh hosts on the layers of their role, with a name, an identity and keys of their own."""
    for host in lab.hosts:
        home = places.hosts / host.name
        remove_tree(home)
        upper = home / "upper"
        _identity(upper, host)
        keys.put_on_host(places, host.name, upper)
        (home / "lower").write_text("".join(f"{path}\n" for path in lowers[host.role]))
    _fresh_store(places)


def _identity(upper: Path, host: Host) -> None:
    etc = upper / "etc"
    etc.mkdir(parents=True)
    (etc / "resolv.conf").write_text("# nobody to ask: names stand in /etc/hosts\n")
    (etc / "hostname").write_text(f"{host.name}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid5(uuid.NAMESPACE_DNS, f'{host.name}.underway-lab').hex}\n")
    units = etc / "systemd/system"
    units.mkdir(parents=True)
    (units / "lab-cold.target").write_text(
        "[Unit]\nDescription=SSH alone: the laboratory starts the rest in order\n"
        "Requires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
        "Wants=ssh.service dbus.service systemd-logind.service systemd-user-sessions.service\n"
    )


def _fresh_store(places: Places) -> None:
    images = places.shared / "images"
    remove_tree(places.shared)
    images.mkdir(parents=True)
    shutil.chown(images, STACK, STACK)


def snapshots(places: Places) -> list[str]:
    """The names of all whole snapshots, the oldest first."""
    if not places.snaps.exists():
        return []
    whole = [path for path in places.snaps.iterdir() if (path / "snapshot.json").exists()]
    return [path.name for path in sorted(whole, key=lambda path: (path / "snapshot.json").stat().st_mtime)]


def facts(places: Places, name: str) -> dict[str, str]:
    """What a snapshot says of itself: its size and its release. Raises ``LabError`` if none has that name."""
    path = places.snaps / name / "snapshot.json"
    if not path.exists():
        known = ", ".join(snapshots(places)) or "none"
        raise LabError(f"no snapshot is named {name!r}; there are: {known}")
    return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}


def take(places: Places, lab: Topology, name: str, about: dict[str, str]) -> None:
    """Freeze what the hosts, which must be down, have written; they go on above it.

    Raises ``LabError`` if there is a whole snapshot of that name: a snapshot may stand under others.
    """
    home = places.snaps / name
    if (home / "snapshot.json").exists():
        raise LabError(f"a snapshot named {name!r} is there already; take one of another name")
    remove_tree(home)
    home.mkdir(parents=True)
    for host in lab.hosts:
        place = places.hosts / host.name
        remove_tree(place / "root")
        (place / "upper").rename(home / host.name)
        lower = f"{home / host.name}\n{(place / 'lower').read_text()}"
        (home / f"{host.name}.lower").write_text(lower)
        (place / "lower").write_text(lower)
        (place / "upper").mkdir()
    _copy(places.shared, home / "_shared")
    (home / "snapshot.json").write_text(json.dumps(about))  # last: without it the snapshot is none


def restore(places: Places, lab: Topology, name: str) -> None:
    """Put hosts, which must be down, back to what a snapshot froze; what they wrote since is gone."""
    home = places.snaps / name
    for host in lab.hosts:
        place = places.hosts / host.name
        remove_tree(place)
        (place / "upper").mkdir(parents=True)
        (place / "lower").write_text((home / f"{host.name}.lower").read_text())
    remove_tree(places.shared)
    _copy(home / "_shared", places.shared)


def renew(places: Places, host: Host, name: str) -> None:
    """Another machine in the place of a host, which must be down: with its own key, as the snapshot has it."""
    place = places.hosts / host.name
    remove_tree(place)
    (place / "upper").mkdir(parents=True)
    (place / "lower").write_text((places.snaps / name / f"{host.name}.lower").read_text())
    keys.renew(places, host.name)
    keys.put_on_host(places, host.name, place / "upper")


def discard(places: Places) -> None:
    """Throw away what hosts have written since their snapshot."""
    if places.hosts.exists():
        for path in list(places.hosts.iterdir()):
            remove_tree(path)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        shutil.chown(path, STACK, STACK)
