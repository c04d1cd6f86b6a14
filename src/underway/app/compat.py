"""The front for hosts that look up keys, over a key-value server: looks, rounds, and what hosts ask and report.

Everything is decided from one look of one moment, and written in transactions that expect what was seen. A run may be
killed anywhere; running again is resuming. Any number of runs may work at once: each write goes with one of the record.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from underway.config.instructions import Sources
from underway.core.compat.keys import LEVELS, NAME, Keys, role_of
from underway.core.compat.rollout import Round, Terms, next_round
from underway.core.compat.status import Status, status_of
from underway.core.compat.steps import (
    Step,
    after,
    disable_steps,
    lost_by_hand,
    register_writes,
    round_steps,
)
from underway.core.compat.tree import Tree, read_tree, shown
from underway.errors import InputError, Problem, Refused, StoreError, StoreFull, StoreUnavailable
from underway_agent.kv.base import ABSENT, Kv, KvDenied, KvError, KvFull, KvUnavailable

ATTEMPTS = 20
"""Looks that one round takes while others write between its look and its write."""

PAUSED, ALLOWED = 9, 0
"""What a host's question answers: the codes that the hosts' scripts know."""

Pending = Literal[0, 1, 2, 3]


@dataclass(frozen=True, slots=True)
class Answer:
    """An exit code for a script, and the reason for people. ``doubt``: the store gave no clear answer."""

    code: int
    text: str
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round found and did. ``steps`` were written (with ``noop``: would be). ``began``: the version that was
    current before this round set its own; None where it did not. ``lost``: keys set by hand that went with it."""

    status: Status
    version: str
    round: Round | None = None
    steps: tuple[Step, ...] = ()
    began: str | None = None
    lost: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether every host that is known runs the version."""
        return self.round is None


class Front:
    """The published keys on one server. ``inventory``: host -> role of the hosts that there should be, if known."""

    def __init__(self, kv: Kv, keys: Keys, inventory: Mapping[str, str] | None = None) -> None:
        self._kv = kv
        self.keys = keys
        self._inventory = inventory

    # --- looks --------------------------------------------------------------------------------------------------------

    async def look(self) -> tuple[Status, float]:
        """The status at one moment, and the server's clock then (Unix seconds). Raises StoreError, RecordInvalid."""
        keys = self.keys
        tree, now = await self._tree(
            (keys.current, keys.record),
            (
                keys.versions,
                keys.older_versions,
                keys.switches,
                keys.statuses,
                *(keys.pauses(level) for level in LEVELS),
            ),
        )
        return status_of(tree, self._inventory), now

    async def _tree(self, keys: Sequence[str], prefixes: Sequence[str] = ()) -> tuple[Tree, float]:
        try:
            view = await self._kv.view(keys, prefixes)
        except KvError as error:
            raise told(error) from None
        return read_tree(self.keys, ((item.key, item.value, item.index) for item in view.items)), view.time

    # --- what operators do --------------------------------------------------------------------------------------------

    async def disable(self, noop: bool = False) -> Outcome:
        """Take away every key that lets hosts in, and let nobody in (SEMANTICS D3). Operators' pauses stay."""
        for attempt in range(ATTEMPTS):
            status, now = await self.look()
            steps = tuple(disable_steps(status, now))
            lost = tuple(lost_by_hand(status.tree))
            if noop or await self._commit(status.tree, steps):
                done = status_of(after(status.tree, steps), self._inventory)
                return Outcome(done, status.tree.current, steps=steps, lost=lost)
            await _pause(attempt)
        raise _crowded()

    async def upgrade(
        self, version: str, sources: Sources, terms: Terms, noop: bool = False, begin: bool = True
    ) -> Outcome:
        """One round: make ``version`` the current one if it is not, then let in whom the rules allow.

        ``begin``: whether a version may be made the current one; a later round of the same run finds it so, or somebody
        else has decided otherwise, and then nothing is written. ``noop`` writes nothing at all. Raises FileProblems for
        instructions that do not fit the roles, before anything is written; Refused; StoreError.
        """
        check_name(version, "version")
        origin: str | None = None
        began: Outcome | None = None
        for attempt in range(ATTEMPTS):
            status, now = await self.look()
            current = status.tree.current
            rules, warnings = sources.rules(status.roles, status.inventory)
            origin = current if origin is None else origin
            steps: list[Step] = []
            if current != version:
                if began is not None or not begin or current != origin:
                    raise Refused(
                        f"key {self.keys.current} is {current or 'absent'} now: somebody else decided so while this "
                        f"run was at {version}; it writes nothing more"
                    )
                steps = disable_steps(status, now, version)
                began = Outcome(status, version, None, tuple(steps), current, tuple(lost_by_hand(status.tree)))
                if not noop:
                    if not await self._commit(status.tree, steps):
                        began = None
                        await _pause(attempt)
                    continue
                status = status_of(after(status.tree, steps), self._inventory)
            elif began is not None:
                steps = list(began.steps)
            found = None if status.complete else next_round(status, rules, terms, now)
            mine = [] if found is None else round_steps(status, found, now)
            if noop or not mine or await self._commit(status.tree, mine):
                if found is not None:
                    status = status_of(after(status.tree, mine), self._inventory)
                outcome = Outcome(status, version, found, (*steps, *mine), warnings=tuple(warnings))
                return outcome if began is None else replace(outcome, began=began.began, lost=began.lost)
            await _pause(attempt)
        raise _crowded()

    async def _commit(self, tree: Tree, steps: Sequence[Step]) -> bool:
        """Write the steps in order; False where somebody wrote in between. What was written until then stands: each
        step is safe alone."""
        keys, indexes, record = self.keys, tree.indexes, tree.record
        fence = indexes.get(keys.record, ABSENT)
        current = indexes.get(keys.current, ABSENT)
        for step in steps:
            record = record.next(step.starts)
            expect = {key: indexes.get(key, ABSENT) for key in step.writes}
            expect |= {keys.record: fence, keys.current: current}
            try:
                index = await self._kv.txn(expect, {**step.writes, keys.record: record.encoded()})
            except KvError as error:
                raise told(error) from None
            if index is None:
                return False
            fence = index
        return True

    # --- what hosts ask and report ------------------------------------------------------------------------------------

    async def should_upgrade(self, host: str, role: str = "") -> Answer:
        """May this host run Puppet now? Any doubt means no (SEMANTICS D20)."""
        check_name(host, "host")
        role = role or role_of(host)
        steps = list(self.keys.steps(host, role))
        wanted = [self.keys.switch(level, name) for level, name in steps]
        wanted += [self.keys.pause(level, name) for level, name in steps]
        try:
            tree, _ = await self._tree(wanted)
        except StoreError as error:
            return Answer(PAUSED, f"no: {error}", doubt=True)
        paused = tree.paused_by(host, role)
        if paused:
            return Answer(PAUSED, f"no: paused by key {paused}{_odd(tree, paused)}")
        key = tree.decided_by(host, role)
        if tree.let_in(host, role):
            return Answer(ALLOWED, f"yes: key {key} lets it in" if key else "yes: no key says otherwise")
        return Answer(PAUSED, f"no: key {key} does not let it in yet{_odd(tree, key)}")

    async def pending_update(self, host: str, local: str, role: str = "") -> Answer:
        """Is there another version than ``local`` (empty: none)? 9 where an operator paused the host."""
        check_name(host, "host")
        role = role or role_of(host)
        unknown: Pending = 2 if local else 3
        pauses = [self.keys.pause(level, name) for level, name in self.keys.steps(host, role)]
        try:
            tree, _ = await self._tree((self.keys.current, *pauses))
        except StoreError as error:
            return Answer(unknown, f"not known: {error}", doubt=True)
        paused = tree.paused_by(host, role)
        if paused:
            return Answer(PAUSED, f"paused by key {paused}{_odd(tree, paused)}")
        if not tree.current:
            return Answer(unknown, f"not known: key {self.keys.current} names no version")
        if tree.current == local:
            return Answer(1, f"up to date: {local}")
        return Answer(0, f"an update to {tree.current} (here: {local or 'nothing'})")

    async def current_version(self) -> str:
        """The version that hosts trend to; empty where none is set."""
        return (await self._tree((self.keys.current,)))[0].current

    async def register(self, host: str, version: str) -> list[str]:
        """Record that a host runs a version, and that it runs no other one (SEMANTICS D18); the keys that went.

        A host that says again what it said before costs a read and a write of one key; only a new version is looked up
        among all.
        """
        check_name(host, "host")
        check_name(version, "version")
        tree, now = await self._tree((self.keys.running(version, host),))
        if not tree.registered:
            tree, now = await self._tree((), (self.keys.versions, self.keys.older_versions))
        writes = register_writes(tree, host, version, now)
        await self._write(writes)
        return [key for key, value in writes.items() if value is None]

    async def result(self, kind: Literal["puppet", "validation"], host: str, code: int) -> None:
        """Record how a host's last run of Puppet, or of its validation, ended."""
        check_name(host, "host")
        await self._write({self.keys.result(kind, host): str(code).encode()})

    async def _write(self, writes: Mapping[str, bytes | None]) -> None:
        try:
            await self._kv.txn({}, writes)
        except KvError as error:
            raise told(error) from None


def check_name(name: str, what: str) -> None:
    """Raise InputError unless ``name`` may stand in a key."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} {shown(name)}: expected letters, digits, '.', '_' and '-', beginning with one of the first two"
        )


def write_local(path: Path, version: str) -> None:
    """Record the version of this host. After a power cut there is the old one or the new one, never half of it."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="ascii") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def told(error: KvError) -> StoreError:
    """A server's error as one of ours."""
    if isinstance(error, KvUnavailable):
        return StoreUnavailable(str(error))
    if isinstance(error, KvFull):
        return StoreFull(str(error))
    hint = " (look at the token or user that you gave)" if isinstance(error, KvDenied) else ""
    return StoreError(f"{error}{hint}")


def _odd(tree: Tree, key: str) -> str:
    value = tree.pauses.get(key, tree.switches.get(key))
    return " (its value is neither True nor False)" if value is None else ""


async def _pause(attempt: int) -> None:
    await asyncio.sleep(min(0.02 * 2**attempt, 1.0))


def _crowded() -> Refused:
    return Refused(f"others wrote between every one of {ATTEMPTS} looks and its write; nothing was lost (run again)")
