"""Overlay file systems: one read-only stack of layers for many hosts, and one directory that each host writes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import LabError
from labkit.shell import run, succeeds

OPTIONS_LIMIT = 4000  # the kernel takes one page of mount options


def mounted_below(mountinfo: str, top: Path) -> list[Path]:
    """The mount points inside ``top``, deepest first, out of the text of ``/proc/self/mountinfo``.

    Its fifth field is the mount point, with blanks written in octal (proc_pid_mountinfo(5)).
    """
    found = []
    for line in mountinfo.splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if top in point.parents:
            found.append(point)
    return sorted(found, key=lambda point: (-len(point.parts), str(point)))


def overlay(point: Path, lowers: Sequence[Path], upper: Path | None = None) -> None:
    """Mount layers (the topmost first), writable into ``upper`` if one is given. Mounted already: nothing is done."""
    point.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(point):
        return
    options = "lowerdir=" + ":".join(map(str, lowers))
    if upper is not None:
        work = upper.with_name("work")
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
        upper.mkdir(parents=True, exist_ok=True)
        options += f",upperdir={upper},workdir={work}"
    if len(options) > OPTIONS_LIMIT:
        raise LabError(
            f"{point}: {len(lowers)} layers on one another are more than a mount can name;"
            " restore an earlier snapshot, and take the next one from there"
        )
    run("mount", "-t", "overlay", "underway-lab", "-o", options, point)


def unmount_below(top: Path) -> list[Path]:
    """Unmount everything inside a directory of ours, deepest first; what was unmounted.

    Lazily where something still holds it: the mount is gone from the tree then, and never removed through.
    """
    points = mounted_below(Path("/proc/self/mountinfo").read_text(), top)
    for point in points:
        if not succeeds("umount", point):
            run("umount", "--lazy", point)
    return points


def remove_tree(path: Path) -> None:
    """Remove a directory of ours; nothing that is mounted in it is removed with it."""
    unmount_below(path)
    if os.path.ismount(path):
        run("umount", "--lazy", path)
    if path.exists():
        shutil.rmtree(path)
