"""Control groups: what tells the laboratory's processes from everybody else's.

Whatever was started in a group of ours, and nothing else, is ended with it, also after this command was killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from labkit.errors import LabError
from labkit.places import Places

TOP = "underway-lab"
WORK = "_work"  # builds, downloads and Ansible: what this command itself waits for


def unified(mountinfo: str) -> Path:
    """Where the unified control groups are mounted, from the text of ``/proc/self/mountinfo``. Raises ``LabError``."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == "cgroup2":
            return Path(before.split()[4])
    raise LabError("no unified control groups (cgroup2) are mounted on this machine; mount them, or boot with them")


def group(places: Places, name: str) -> Path:
    """The group of a host, or of ``WORK``. It lies below the laboratory's directory's name, so two never meet."""
    top = unified(Path("/proc/self/mountinfo").read_text())
    return top / TOP / str(places.top).strip("/").replace("/", "-") / name


def processes(tree: Path) -> list[int]:
    """The processes in a group and below it, by this machine's ids; none where there is no such group."""
    found: list[int] = []
    for path in below(tree):
        try:
            found += [int(word) for word in (path / "cgroup.procs").read_text().split()]
        except OSError:
            continue  # the group ended while we looked
    return found


def below(tree: Path) -> list[Path]:
    """A group and all groups below it, the deepest last; those that end while we look are left out."""
    return [Path(path) for path, _, _ in os.walk(tree)]


def inside(tree: Path, command: Sequence[str | Path]) -> list[str]:
    """The command line that enters the group and then becomes the command: nothing is ever started outside."""
    tree.mkdir(parents=True, exist_ok=True)
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    return ["/bin/sh", "-c", enter, str(tree), *(str(word) for word in command)]


def end(places: Places, names: Iterable[str], patience: float = 20) -> list[str]:
    """Kill all processes of groups at once, and remove the groups; the names of those that had any.

    Raises ``LabError`` naming processes that do not end.
    """
    ran = []
    trees = {name: group(places, name) for name in names}
    for name, tree in trees.items():
        if processes(tree):
            ran.append(name)
            (tree / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + patience
    for name, tree in trees.items():
        while left := processes(tree):
            if time.monotonic() > deadline:
                raise LabError(f"{name}: processes {left} do not end; see what holds them with 'ps', then try again")
            time.sleep(0.05)
        _remove(tree, deadline)
    return ran


def freeze(places: Places, name: str, *, hang: bool, patience: float = 20) -> None:
    """Stop all processes of a group where they stand, or let them go on (``cgroup.freeze``).

    Raises ``LabError`` where there is no such group, or the kernel does not do it in time.
    """
    tree = group(places, name)
    if not processes(tree):
        raise LabError(f"{name}: nothing of it runs; 'lab/run boot {name}' boots it")
    (tree / "cgroup.freeze").write_text("1" if hang else "0")
    deadline = time.monotonic() + patience
    while f"frozen {int(hang)}" not in (tree / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise LabError(f"{name}: the kernel did not {'freeze' if hang else 'thaw'} it within {patience:.0f} s")
        time.sleep(0.05)


def _remove(tree: Path, deadline: float) -> None:
    """Remove a group, and those above it that have become empty; the kernel may take a moment to let go of it."""
    for path in reversed(below(tree)):
        _remove_one(path, deadline)
    for path in (tree.parent, tree.parent.parent):
        if path.exists() and not any(one.is_dir() for one in path.iterdir()):
            _remove_one(path, deadline)


def _remove_one(path: Path, deadline: float) -> None:
    while True:
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise LabError(f"{path}: the kernel does not let go of this control group; try again") from None
            time.sleep(0.05)
