"""The published key layout, as any script can follow it: where each key lies, and what a value means.

The layout is that of python-jiocloud (docs/reference/store-keys.md has it whole). Two trees hold versions: the
published one and an older one, and both are read. Operators' pauses lie in a tree of their own, which
no algorithm writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from underway.core.model.base import Value

Level = Literal["host", "role", "global"]

LEVELS: tuple[Level, ...] = ("host", "role", "global")
"""The first level at which a key exists decides (SEMANTICS D1)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
"""What may stand in a key as a host, a role or a version: nothing that a path, a shell or a terminal would act upon."""

_ROLE = re.compile(r"([a-z]+)[0-9]+")
_PUPPET_FAILED = frozenset({"1", "4", "6", "-1"})


class Keys(Value, frozen=True, kw_only=True):
    """Where the keys lie. ``prefix`` is empty or ends with a slash."""

    prefix: str = ""

    @property
    def current(self) -> str:
        """The version that all hosts trend towards."""
        return f"{self.prefix}current_version"

    @property
    def record(self) -> str:
        """What this program keeps: whom it let in and when; the fence of everything that it writes."""
        return f"{self.prefix}underway.compat/record"

    @property
    def versions(self) -> str:
        """The published tree ``<version>/<host>``; ends with a slash."""
        return f"{self.prefix}running/versions/"

    @property
    def older_versions(self) -> str:
        """The same in the older place."""
        return f"{self.prefix}running_version/"

    @property
    def switches(self) -> str:
        """The tree of keys that say who may run Puppet."""
        return f"{self.prefix}config_state/enable_puppet/"

    @property
    def statuses(self) -> str:
        """The tree ``puppet/<host>`` and ``validation/<host>``: exit codes of the last run of each."""
        return f"{self.prefix}status/"

    def pauses(self, level: Level) -> str:
        """The tree of operators' pauses at one level; ends with a slash."""
        return f"{self.prefix}config_state/{level}/"

    def switch(self, level: Level, name: str = "") -> str:
        """The key that lets a host, a role or all run Puppet; the level ``global`` has no name."""
        return f"{self.switches}{_at(level, name)}"

    def pause(self, level: Level, name: str = "") -> str:
        """The key by which an operator pauses a host, a role or all."""
        return f"{self.prefix}config_state/{_at(level, name)}/enable_puppet"

    def running(self, version: str, host: str) -> str:
        """The key by which a host says that it runs a version."""
        return f"{self.versions}{version}/{host}"

    def result(self, kind: Literal["puppet", "validation"], host: str) -> str:
        """The key of the exit code of a host's last run of Puppet, or of its checks."""
        return f"{self.statuses}{kind}/{host}"

    def steps(self, host: str, role: str) -> Iterator[tuple[Level, str]]:
        """(level, name) in the order in which a host looks; a host without a role looks at no role key."""
        yield "host", host
        if role:
            yield "role", role
        yield "global", ""


def _at(level: Level, name: str) -> str:
    return level if level == "global" else f"{level}/{name}"


def role_of(host: str) -> str:
    """The role that a host's name tells, as the old hosts work it out: the letters directly before its digits.

    ``cp12`` is a ``cp``, ``ceph-mon3`` a ``mon``; empty where the name tells none.
    """
    found = _ROLE.search(host)
    return found[1] if found else ""


def truth(value: bytes) -> bool | None:
    """What a key says: true, false, 1 and 0 in any case; None for anything else, which lets nobody in."""
    return {b"true": True, b"1": True, b"false": False, b"0": False}.get(value.strip().lower())


def failed(kind: str, code: str) -> bool:
    """Whether an exit code is a failure: Puppet's detailed ones have 2 for changes; -1 is a run that was not made."""
    return code in _PUPPET_FAILED if kind == "puppet" else code != "0"
