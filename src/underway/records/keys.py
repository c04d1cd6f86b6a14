"""Every key that the program writes; ``docs/reference/store-keys.md`` says what each one means.

Builders take names and refuse any that could reach another key (``InputError``): parts are of ``[a-z0-9._-]``, begin
with a letter or digit, and are at most 128 characters. So no key needs escaping, on any back-end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from underway.errors import InputError

ALL_HOSTS = "*"
"""The host name of a hold on all hosts."""

_ALL = "_all"  # how it stands in a key: no name begins with an underscore
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def part(name: str, what: str) -> str:
    """``name`` itself if it can be a part of a key; ``what`` says in the error what it names."""
    if not _PART.fullmatch(name) or ".." in name:
        raise InputError(
            f"{what} {name[:80]!r}: expected 1 to 128 of a-z 0-9 . _ - that begin with a letter or digit, without '..'"
        )
    return name


def path(name: str, what: str) -> str:
    """As ``part``, for a name of several parts divided by slashes (an action's id, a durations' key)."""
    parts = name.split("/")
    if len(parts) > 8:
        raise InputError(f"{what} {name[:80]!r}: expected at most 8 parts divided by slashes")
    for piece in parts:
        part(piece, what)
    return name


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster."""

    cluster: str

    def __post_init__(self) -> None:
        part(self.cluster, "cluster")

    @property
    def root(self) -> str:
        return f"underway/{self.cluster}/"

    @property
    def current(self) -> str:
        return f"{self.root}current"

    @property
    def active(self) -> str:
        return f"{self.root}active"

    @property
    def runs(self) -> str:
        return f"{self.root}runs/"

    @property
    def admission(self) -> str:
        return f"{self.root}admission"

    @property
    def holds(self) -> str:
        return f"{self.root}holds/"

    @property
    def health(self) -> str:
        return f"{self.root}health/"

    @property
    def hosts(self) -> str:
        return f"{self.root}hosts/"

    @property
    def once(self) -> str:
        return f"{self.root}once/"

    @property
    def machines(self) -> str:
        return f"{self.root}machines/"

    @property
    def durations(self) -> str:
        return f"{self.root}durations"

    @property
    def audit(self) -> str:
        return f"{self.root}audit/"

    @property
    def audit_head(self) -> str:
        return f"{self.root}audit-head"

    @property
    def audit_all(self) -> str:
        """The common prefix of entries and head: one listing shows both at one revision."""
        return f"{self.root}audit"

    @property
    def trust(self) -> str:
        return f"{self.root}trust/"

    def trust_link(self, number: int) -> str:
        """Six digits, so that the order of keys is the order of changes."""
        return f"{self.trust}{number:06d}"

    def run(self, run: str) -> RunKeys:
        return RunKeys(f"{self.runs}{part(run, 'run')}/")

    def hold(self, host: str) -> str:
        return self.holds + (_ALL if host == ALL_HOSTS else part(host, "host"))

    def held(self, key: str) -> str:
        """The host that the key of a hold is about."""
        name = key[len(self.holds) :]
        return ALL_HOSTS if name == _ALL else name

    def health_of(self, host: str) -> str:
        return self.health + part(host, "host")

    def host(self, host: str) -> str:
        return self.hosts + part(host, "host")

    def milestone(self, piece: str) -> str:
        """What a service did for the whole deployment: ``<service>/<phase>``."""
        return self.once + path(piece, "piece")

    def machine(self, host: str) -> str:
        return self.machines + part(host, "host")

    def audit_entry(self, seq: int) -> str:
        """Twelve digits, so that the order of keys is the order of entries."""
        return f"{self.audit}{seq:012d}"

    def audit_page(self, seq: int) -> str:
        """Prefix of the thousand entries among which ``seq`` is."""
        return f"{self.audit}{seq // 1000:09d}"


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run; made by ``Keys.run``."""

    root: str

    @property
    def record(self) -> str:
        return f"{self.root}record"

    @property
    def plan_head(self) -> str:
        return f"{self.root}plan-head"

    @property
    def leader(self) -> str:
        return f"{self.root}leader"

    @property
    def policy(self) -> str:
        return f"{self.root}policy"

    @property
    def outages(self) -> str:
        return f"{self.root}outages"

    @property
    def actions(self) -> str:
        return f"{self.root}actions/"

    @property
    def approvals(self) -> str:
        return f"{self.root}approvals/"

    def plan(self, piece: int) -> str:
        return f"{self.root}plan/{piece:04d}"

    def action(self, action: str) -> str:
        return self.actions + path(action, "action")

    def approval(self, stage: str) -> str:
        return self.approvals + part(stage, "stage")
