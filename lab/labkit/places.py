"""Where the laboratory's files lie: one directory outside the work tree, and nothing beside it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Refused

SOURCE = Path(__file__).resolve().parents[1]  # lab/ in the work tree
PROJECT = SOURCE.parent
MARKER = ".underway-lab"
"""A file in a laboratory's directory. In a directory without it nothing is made and nothing deleted."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Places:
    """The directory of a laboratory (``UNDERWAY_LAB``, or ``/var/lib/underway-lab``) and what is where in it."""

    top: Path

    @property
    def cache(self) -> Path:
        """What can be made again: Debian layers, environments, downloads. Kept by ``down``."""
        return self.top / "cache"

    @property
    def packed(self) -> Path:
        """Packed environments, which hosts see read-only as ``/srv/venvs``."""
        return self.cache / "venvs"

    @property
    def hosts(self) -> Path:
        """What each running host has written since its snapshot. Thrown away by ``down``."""
        return self.top / "hosts"

    @property
    def snaps(self) -> Path:
        """Snapshots of the whole laboratory, by name."""
        return self.top / "snaps"

    @property
    def keys(self) -> Path:
        """Generated keys and passwords; only root reads them. They outlive ``down``, as snapshots contain them."""
        return self.top / "keys"

    @property
    def run(self) -> Path:
        """What is true only while the laboratory is up."""
        return self.top / "run"

    @property
    def shared(self) -> Path:
        """The store of images that all controllers mount, as a shared file system would be."""
        return self.hosts / "_shared"

    def root(self, host: str) -> Path:
        """Where a host's file system is put together."""
        return self.hosts / host / "root"

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: user, key, host keys and addresses of all hosts."""
        return self.keys / "ssh_config"

    def snapshot(self, name: str) -> Path:
        """Where a snapshot lies. Raises ``Refused`` for a name that could lead out of the directory of snapshots."""
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r} is no name of a snapshot: expected letters, digits, '.', '_', '-', a letter first")
        return self.snaps / name

    def make(self) -> None:
        """Make the directories; those with secrets are root's alone.

        Raises ``Refused`` for a directory that holds what no laboratory has put there.
        """
        marker = self.top / MARKER
        if not marker.exists():
            # a laboratory of before there was a marker has all of these
            earlier = (self.run / "lock").exists() and self.packed.is_dir() and self.keys.is_dir()
            if self.top.exists() and any(self.top.iterdir()) and not earlier:
                raise Refused(
                    f"{self.top}: expected a laboratory's directory, or an empty one, found something else:"
                    " nothing in it is touched; set UNDERWAY_LAB"
                )
            self.top.mkdir(parents=True, exist_ok=True)
            marker.write_text("A laboratory of Underway's: lab/run makes and deletes what is in this directory.\n")
        for path in (self.cache, self.packed, self.hosts, self.snaps):
            path.mkdir(parents=True, exist_ok=True)
        for path in (self.keys, self.run):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)


def places() -> Places:
    """The laboratory that the environment names. Raises ``Refused`` for a path that depends on where we are."""
    named = os.environ.get("UNDERWAY_LAB", "/var/lib/underway-lab")
    if not named.startswith("/"):
        raise Refused(f"UNDERWAY_LAB is {named!r}: expected an absolute path, such as /var/lib/underway-lab")
    return Places(Path(named).resolve())
