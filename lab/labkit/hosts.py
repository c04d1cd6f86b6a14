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
from labkit.machines import DEFAULT
from labkit.mounts import remove_tree
from labkit.places import Places
from labkit.topology import Host, Topology

_TAKING = "taking"
"""A file of a host that says which layer its upper becomes, from before until that is done."""
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
    path = places.snapshot(name) / "snapshot.json"
    if not path.exists():
        known = ", ".join(snapshots(places)) or "none"
        raise LabError(f"no snapshot is named {name!r}; there are: {known}")
    return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}


def take(places: Places, lab: Topology, name: str, about: dict[str, str]) -> None:
    """Freeze what the hosts, which must be down, have written; they go on above it.

    What an earlier try that was interrupted has frozen stays: hosts stand on it. Raises ``LabError`` if there is a
    whole snapshot of that name: a snapshot may stand under others.
    """
    home = places.snapshot(name)
    if (home / "snapshot.json").exists():
        raise LabError(f"a snapshot named {name!r} is there already; take one of another name")
    settle(places)
    home.mkdir(parents=True, exist_ok=True)
    _discard_unused(places, home)
    for host in lab.hosts:
        place = places.hosts / host.name
        remove_tree(place / "root")
        names = (host.name, *(f"{host.name}.{number}" for number in range(1, 1000)))
        layer = next(home / one for one in names if not (home / one).exists())
        _write(place / _TAKING, f"{layer}\n")
        (place / "upper").rename(layer)
        settle(places)
        _write(home / f"{host.name}.lower", (place / "lower").read_text())
    _copy(places.shared, home / "_shared")
    _write(home / "snapshot.json", json.dumps(about))  # last: without it the snapshot is none


def settle(places: Places) -> None:
    """Put every host on the layer that ``take`` has frozen for it, be it that it was interrupted there."""
    for note in places.hosts.glob(f"*/{_TAKING}"):
        place, layer = note.parent, note.read_text().strip()
        lower = (place / "lower").read_text()
        if Path(layer).exists():  # else its upper was not moved yet, and nothing has changed
            if lower.split()[:1] != [layer]:
                _write(place / "lower", f"{layer}\n{lower}")
            (place / "upper").mkdir(exist_ok=True)
        note.unlink()


def _discard_unused(places: Places, home: Path) -> None:
    """Of a snapshot that is not whole, throw away what no host and no other snapshot stands on."""
    listed = [*places.hosts.glob("*/lower"), *places.snaps.glob("*/*.lower")]
    used = {line for path in listed if path.parent != home for line in path.read_text().split()}
    for path in list(home.iterdir()):
        if str(path) not in used:
            remove_tree(path) if path.is_dir() else path.unlink()


def _write(path: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def restore(places: Places, lab: Topology, name: str) -> None:
    """Put hosts, which must be down, back to what a snapshot froze; what they wrote since is gone."""
    home = places.snapshot(name)
    for host in lab.hosts:
        place = places.hosts / host.name
        remove_tree(place)
        (place / "upper").mkdir(parents=True)
        (place / "lower").write_text((home / f"{host.name}.lower").read_text())
    remove_tree(places.shared)
    _copy(home / "_shared", places.shared)


def renew(places: Places, host: Host, name: str) -> None:
    """Another machine in the place of a host, which must be down: with its own key, as the snapshot has it.

    When it boots it starts everything and joins the others; a snapshot is of hosts that are to be started in order.
    """
    place = places.hosts / host.name
    remove_tree(place)
    (place / "upper").mkdir(parents=True)
    (place / "lower").write_text((places.snapshot(name) / f"{host.name}.lower").read_text())
    warm = place / "upper" / DEFAULT
    warm.parent.mkdir(parents=True)
    warm.symlink_to("/usr/lib/systemd/system/multi-user.target")
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
