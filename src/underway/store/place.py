"""Where a store file may lie: not on a network file system, not open to others, not on a full disk."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from underway.errors import Refused

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    {
        "9p", "afs", "acfs", "beegfs", "ceph", "cifs", "coda", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
        "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
        "davfs", "fuse.beegfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.gvfsd-fuse", "fuse.juicefs", "fuse.mergerfs-nfs", "fuse.moosefs", "fuse.mfs",
        "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs", "fuse.sshfs", "fuse.vmhgfs-fuse", "fuse.goofys",
        "fuse.portal", "fuse.smbnetfs",
    }
)  # fmt: skip
"""File systems that several machines may share, or whose locks and shared memory SQLite's WAL cannot rely on."""


def filesystem(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds ``path`` (absolute, resolved), "" where the table has none.

    ``mountinfo`` is the text of ``/proc/self/mountinfo`` (proc(5)); of mounts on one place the last one counts.
    """
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        front, _, back = line.partition(" - ")
        fields, tail = front.split(" "), back.split(" ")
        if len(fields) < 5 or not tail[0]:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        if path.is_relative_to(mount) and len(mount) >= best:
            best, kind = len(mount), tail[0]
    return kind


def check_local(path: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a directory on a network file system: SQLite's locks do not hold there."""
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise Refused(
            f"{path}: cannot tell its file system, for {mounts} cannot be read ({error.strerror}); "
            "the store must lie on a local disk (mount /proc)"
        ) from None
    kind = filesystem(path, table)
    if kind in NETWORK:
        raise Refused(
            f"{path} lies on a network file system ({kind}), where locks do not hold; "
            "expected a local disk (choose another directory with --state)"
        )


def check_private(path: Path, want: int) -> None:
    """Refuse a file or directory that other users may read or write, or that is not what it should be."""
    found = path.lstat()
    expected = stat.S_ISDIR if want == 0o700 else stat.S_ISREG
    if not expected(found.st_mode):
        what = "a directory" if want == 0o700 else "a regular file"
        raise Refused(f"{path}: expected {what} (move what is there out of the way)")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise Refused(f"{path} is open to other users (mode {mode:04o}); expected {want:04o} (chmod {want:o} {path})")


def free(path: Path) -> int:
    """Bytes that this user may still write on the file system of ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def check_space(path: Path, wanted: int) -> None:
    """Refuse to start with less than ``wanted`` bytes free."""
    found = free(path)
    if found < wanted:
        raise Refused(
            f"{path}: {found // 2**20} MB free, expected at least {wanted // 2**20} MB before anything starts "
            "(make room; nothing was changed)"
        )


class Ballast:
    """Space kept in reserve beside the store, given up when the disk is full so that the next lines fit.

    ``size`` 0: none is kept. Several processes may share one: whoever meets the full disk first drops it.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def held(self) -> bool:
        """Whether the reserve is there."""
        return self.size == 0 or self.path.exists()

    def drop(self) -> bool:
        """Give the space up; False where there was none to give."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def keep(self, spare: int) -> None:
        """Take the space (again), if it can be had and leaves ``spare`` bytes; failing is no error."""
        if self.held() or free(self.path.parent) < self.size + spare:
            return
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, self.size)
            draft.rename(self.path)
        except OSError:
            draft.unlink(missing_ok=True)
        finally:
            os.close(handle)
