"""The keys of one moment as values, and what cannot be understood as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from underway.core.compat.keys import LEVELS, NAME, Keys, failed, truth
from underway.core.model.base import Value, canonical, decode
from underway.core.names import natural
from underway.core.words import clean
from underway.errors import RecordInvalid

MOST_TRACKED = 256 * 1024
"""Characters of names of hosts whose start is remembered; a request holds 512 KiB on Consul, in base64. Those beyond
(more than 20,000 at work at once) have no deadline."""

_CODE = re.compile(rb"-?[0-9]{1,3}")
SHOWN = 60


class Start(NamedTuple):
    """When a host was let in (Unix seconds), and the versions that it ran then. ``withdrawn``: the store's index at a
    look that found its permission taken away again; 0 where none did."""

    at: float
    ran: str
    withdrawn: int = 0


class LetIn(Value, frozen=True, kw_only=True):
    """Hosts with the same start."""

    at: float
    ran: str
    hosts: tuple[str, ...]
    withdrawn: int = 0


class Record(Value, frozen=True, kw_only=True):
    """What the program remembers between its rounds, and the fence of what it writes: ``serial`` grows by each write.

    A host stands in ``let_in`` until it reports another version, or any version after its permission was taken away:
    its slot is freed by its own word, not by a key that was changed since (P7).
    """

    s: int = 1
    serial: int = 0
    let_in: tuple[LetIn, ...] = ()

    def starts(self) -> dict[str, Start]:
        """Host -> its start."""
        return {host: Start(part.at, part.ran, part.withdrawn) for part in self.let_in for host in part.hosts}

    def next(self, starts: Mapping[str, Start]) -> Record:
        """The record after this one."""
        parts: dict[Start, list[str]] = {}
        size = 0
        for host in sorted(starts, key=lambda host: (starts[host].at, natural(host))):
            size += len(host) + 3
            if size > MOST_TRACKED:
                break
            parts.setdefault(starts[host], []).append(host)
        let_in = tuple(
            LetIn(at=start.at, ran=start.ran, hosts=tuple(hosts), withdrawn=start.withdrawn)
            for start, hosts in parts.items()
        )
        return Record(serial=self.serial + 1, let_in=let_in)

    def encoded(self) -> bytes:
        """As it is stored."""
        return canonical(self)


@dataclass(frozen=True, slots=True)
class Tree:
    """What the keys say.

    ``current``: the version that hosts trend to, empty where none is set. ``registered``: host -> versions that it says
    it runs (more than one where somebody else wrote them); ``reported``: host -> index of the latest such word.
    ``switches`` and ``pauses``: key -> what it says, None where it says nothing that can be understood. ``failing``:
    host -> why its last run counts as failed. ``indexes``: key -> the store's index of it, for every key that was read.
    ``problems``: what was left out, a sentence each.
    """

    keys: Keys
    current: str = ""
    registered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reported: Mapping[str, int] = field(default_factory=dict)
    switches: Mapping[str, bool | None] = field(default_factory=dict)
    pauses: Mapping[str, bool | None] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, int] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    problems: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """The index of the latest write that was seen: what is written after the look has a higher one."""
        return max(self.indexes.values(), default=0)

    def decided_by(self, host: str, role: str) -> str:
        """The first switch key that exists for a host; empty where there is none, which lets it in (SEMANTICS D1)."""
        for level, name in self.keys.steps(host, role):
            key = self.keys.switch(level, name)
            if key in self.switches:
                return key
        return ""

    def let_in(self, host: str, role: str) -> bool:
        """Whether a host may run Puppet now, as it finds out itself (its pauses are looked at apart)."""
        key = self.decided_by(host, role)
        return not key or self.switches[key] is True

    def paused_by(self, host: str, role: str) -> str:
        """The key by which an operator paused a host; empty for none. The most special one decides, as for switches."""
        for level, name in self.keys.steps(host, role):
            key = self.keys.pause(level, name)
            if key in self.pauses:
                return "" if self.pauses[key] is True else key
        return ""


def read_tree(keys: Keys, items: Iterable[tuple[str, bytes, int]]) -> Tree:
    """The tree of (key, value, index) as they were at one moment. Raises RecordInvalid for a record of another version.

    Keys that are none of the layout are left alone: a site may keep more in these trees.
    """
    current, record = "", Record()
    registered: dict[str, set[str]] = {}
    reported: dict[str, int] = {}
    switches: dict[str, bool | None] = {}
    pauses: dict[str, bool | None] = {}
    failing: dict[str, str] = {}
    indexes: dict[str, int] = {}
    problems: list[str] = []
    for key, value, index in items:
        indexes[key] = index
        if key == keys.current:
            current = _version(key, value, problems)
        elif key == keys.record:
            record = _record(key, value)
        elif key.startswith(keys.switches):
            _answer(key, value, key.removeprefix(keys.switches).split("/"), switches, problems)
        elif key.startswith(keys.statuses):
            _result(key.removeprefix(keys.statuses).split("/"), value, failing)
        elif key.startswith(keys.versions):
            host = _registration(key, key.removeprefix(keys.versions), registered, problems)
            reported[host] = max(index, reported.get(host, 0))
        elif key.startswith(keys.older_versions):
            host = _registration(key, key.removeprefix(keys.older_versions), registered, problems)
            reported[host] = max(index, reported.get(host, 0))
        elif key.endswith("/enable_puppet") and any(key.startswith(keys.pauses(level)) for level in LEVELS):
            inner = key.removeprefix(f"{keys.prefix}config_state/").removesuffix("/enable_puppet")
            _answer(key, value, inner.split("/"), pauses, problems)
    return Tree(
        keys=keys,
        current=current,
        registered={host: tuple(sorted(found, key=natural)) for host, found in registered.items()},
        reported=reported,
        switches=switches,
        pauses=pauses,
        failing=failing,
        indexes=indexes,
        record=record,
        problems=tuple(problems),
    )


def shown(value: str | bytes) -> str:
    """A piece of the store as a message may repeat it."""
    return repr(clean(value.decode(errors="replace") if isinstance(value, bytes) else value, SHOWN))


def _version(key: str, value: bytes, problems: list[str]) -> str:
    text = value.decode(errors="replace").strip()
    if NAME.fullmatch(text):
        return text
    problems.append(f"key {shown(key)} holds {shown(value)}, which is not a version: taken for none")
    return ""


def _record(key: str, value: bytes) -> Record:
    try:
        record = decode(value, Record)
    except msgspec.DecodeError as error:
        raise RecordInvalid(
            f"key {shown(key)}: not a record of this version of underway: {error} (use the version that wrote it, or "
            "delete the key when no host is at work)"
        ) from None
    if record.s != 1:
        raise RecordInvalid(f"key {shown(key)}: expected schema 1, found {record.s} (use the version that wrote it)")
    return record


def _answer(key: str, value: bytes, parts: list[str], into: dict[str, bool | None], problems: list[str]) -> None:
    fits = parts == ["global"] or (len(parts) == 2 and parts[0] in ("host", "role") and parts[1])
    if not fits:
        return
    into[key] = truth(value)
    if into[key] is None:
        problems.append(f"key {shown(key)} holds {shown(value)}, expected True or False: it lets nobody in")


def _registration(key: str, rest: str, registered: dict[str, set[str]], problems: list[str]) -> str:
    """The host that a key is of; empty where it is of none."""
    version, _, host = rest.partition("/")
    if not host:
        return ""  # a folder, as Consul's own page makes them
    if not (NAME.fullmatch(version) and NAME.fullmatch(host)):
        problems.append(f"key {shown(key)} names no version and host: left out")
        return ""
    registered.setdefault(host, set()).add(version)
    return host


def _result(parts: list[str], value: bytes, failing: dict[str, str]) -> None:
    if len(parts) != 2 or parts[0] not in ("puppet", "validation") or not NAME.fullmatch(parts[1]):
        return
    code = value.strip()
    if _CODE.fullmatch(code) and failed(parts[0], code.decode()):
        what = "Puppet" if parts[0] == "puppet" else "its validation"
        failing[parts[1]] = f"{what} ended with {code.decode()}"
