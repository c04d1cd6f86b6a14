"""A look at the records of a run, consistent at one revision, kept up by reading only what was written since."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from underway.core.decider import Changes
from underway.core.model.snapshot import Elsewhere, Snapshot
from underway.core.model.state import (
    BUSY,
    TROUBLED,
    ActionRecord,
    Admission,
    Approval,
    Health,
    Hold,
    Machine,
    PolicyRecord,
    RunRecord,
)
from underway.core.words import clean
from underway.errors import InputError, RecordInvalid, StoreUnavailable
from underway.records.codec import Active, Current, Outages, decode, decode_or_none
from underway.records.keys import ALL_HOSTS, Keys, RunKeys, path
from underway.records.keys import part as host_name
from underway.store.base import ABSENT, Item, Store

_REMEMBERED = 200_000


class ChangeLog:
    """Which records changed at which look, so that who looks again need not compare all of them. Only ever added to."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._lock = threading.Lock()
        self._at: list[int] = []
        self._names: list[tuple[str, str]] = []

    def add(self, revision: int, names: list[tuple[str, str]]) -> None:
        """(part, name) of every record that a look at ``revision`` found changed."""
        with self._lock:
            if len(self._at) > _REMEMBERED:
                cut = bisect_right(self._at, self._at[len(self._at) // 2])
                self._first = self._at[cut - 1]
                self._at, self._names = self._at[cut:], self._names[cut:]
            self._at.extend([revision] * len(names))
            self._names.extend(names)

    def since(self, revision: int) -> Changes | None:
        """What changed after a look at ``revision`` (a name too many is harmless); None where that is not known."""
        with self._lock:
            if revision < self._first:
                return None
            recent = self._names[bisect_right(self._at, revision) :]
        found: dict[str, dict[str, None]] = {"actions": {}, "health": {}, "holds": {}, "elsewhere": {}}
        for part, name in recent:
            if part in found:
                found[part][name] = None
        return Changes(**{part: tuple(names) for part, names in found.items()})


@dataclass(frozen=True, slots=True)
class Seen(Snapshot):
    """A snapshot that also knows what a commit must compare.

    ``revisions``: the revision of every record that was there, by key. ``serial`` is that of the admission record.
    ``others`` and ``runs``: what other runs have open (``<run>/<action>`` -> record), and how they stand.
    ``policy`` is the policy in force where it was changed mid-run: of the same look, so that a decision on it is
    fenced like all else. Actions that were revoked are present as ``pending`` (their attempts and cursors stay known).
    """

    serial: int = 0
    policy: PolicyRecord | None = None
    revisions: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, ActionRecord] = field(default_factory=dict, repr=False)
    runs: Mapping[str, RunRecord] = field(default_factory=dict, repr=False)
    log: ChangeLog | None = field(default=None, compare=False, repr=False)
    claimed: tuple[int, str] = (0, "")  # the highest token of an action of this run, and which

    def changes(self, since: int) -> Changes | None:
        """What differs from an earlier look of the same repository, at revision ``since``; None: compare yourself."""
        return self.log.since(since) if self.log is not None and since <= self.revision else None

    def token(self, index: int = 0) -> int:
        """The fencing number of the ``index``-th claim of a decision on this look, known before its commit.

        It is ``serial + 1 + index``. A commit of claims must find the admission record as seen and raises ``serial``
        to its highest token; a new run begins at the serial of the run before it plus one. So tokens of one cluster
        grow strictly, are never used twice, and belong to exactly one commit.
        """
        return self.serial + 1 + index


class Look:
    """Keeps the latest look at one run. Thread-safe.

    Dictionaries are copied before they are changed and then handed out: a snapshot never changes, and one in which
    a part did not change shares that part with the one before.
    """

    def __init__(self, store: Store, keys: Keys, run: str) -> None:
        self._store, self._keys, self._run = store, keys, run
        self._run_keys: RunKeys = keys.run(run)
        self._lock = threading.Lock()
        self._seen: Seen | None = None

    def look(self) -> Seen:
        """The records as of now. Raises ``RecordInvalid`` where the run does not exist or a record cannot be read."""
        with self._lock:
            before = self._seen
            if before is not None:
                listing = self._store.list(self._keys.root, since=before.revision)
                if listing.revision < before.revision:
                    before = None  # another store was put in its place: nothing that was seen counts
                elif listing.revision == before.revision:
                    return before
            if before is None:
                items, since = self._everything()
                listing = self._store.list(self._keys.root, since=since)
                # a store that answers with what it knew a while ago must not hide a hold behind a newer admission
                late = [item.key for item in items if item.revision > listing.revision]
                if late:
                    raise StoreUnavailable(
                        f"the store showed an older state than a moment before: it has a later {clean(late[0], 200)};"
                        " look again (if it stays so, somebody wrote that by hand: put the store's last backup back)"
                    )
                items = (*items, *listing.items)
            else:
                items = listing.items
            self._seen = self._apply(before, items, listing.revision)
            return self._seen

    def _everything(self) -> tuple[tuple[Item, ...], int]:
        """All records of the run, perhaps of several revisions, and one from which reading on makes them one look.

        Not one listing of the whole cluster: plans and the audit chain are large and not looked at.
        """
        run = self._run_keys
        first = self._store.list(run.actions)
        items = list(first.items)
        for other in self._others():
            items.extend(self._store.list(other.actions).items)
            items.extend(item for item in (self._store.get(other.record),) if item is not None)
        for prefix in (run.approvals, self._keys.holds, self._keys.health, self._keys.machines):
            items.extend(self._store.list(prefix).items)
        for key in (run.record, self._keys.admission, run.policy, run.outages):
            item = self._store.get(key)
            if item is not None:
                items.append(item)
        return tuple(items), first.revision

    def _others(self) -> list[RunKeys]:
        """Other runs that may go on: the cluster's current one, and those beside it."""
        names: list[str] = []
        current, active = self._store.get(self._keys.current), self._store.get(self._keys.active)
        if current is not None:
            names.append(decode(current.key, current.value, Current).run)
        if active is not None:
            names.extend(decode(active.key, active.value, Active).runs)
        return [self._keys.run(name) for name in dict.fromkeys(names) if name != self._run]

    def _apply(self, before: Seen | None, items: tuple[Item, ...], revision: int) -> Seen:
        draft = _Draft(before)
        log = before.log if before is not None and before.log is not None else ChangeLog(revision)
        for item in items:
            draft.take(self._keys, self._run_keys, item)
        draft.see_elsewhere()
        if before is not None:
            log.add(revision, draft.named)
        if draft.run is None:
            raise RecordInvalid(f"{self._run_keys.record}: expected the record of run {self._run}, found none")
        self._check_fence(draft)
        return Seen(
            revision=revision,
            run=draft.run,
            actions=draft.parts["actions"],
            holds=draft.parts["holds"],
            approvals=draft.parts["approvals"],
            health=draft.parts["health"],
            outage=draft.outage,
            machines=draft.parts["machines"],
            elsewhere=draft.parts["elsewhere"],
            others=draft.parts["others"],
            runs=draft.parts["runs"],
            admission=draft.parts["revisions"].get(self._keys.admission, ABSENT),
            serial=draft.serial,
            policy=draft.policy,
            revisions=draft.parts["revisions"],
            log=log,
            claimed=draft.claimed,
        )

    def _check_fence(self, draft: _Draft) -> None:
        """Raise RecordInvalid where tokens could be used twice: the admission record is gone, or older than a claim."""
        key = self._keys.admission
        what_to_do = "an older copy of it was put back, or it was deleted; put the store's last backup back as a whole"
        if key not in draft.parts["revisions"]:
            raise RecordInvalid(f"{key}: expected the fence of all grants, found none ({what_to_do})")
        if draft.claimed[0] > draft.serial:
            raise RecordInvalid(
                f"{key}: has serial {draft.serial}, but {draft.claimed[1]} was claimed under token {draft.claimed[0]} "
                f"({what_to_do})"
            )


PARTS = ("actions", "holds", "approvals", "health", "machines", "revisions", "others", "runs", "elsewhere")


class _Draft:
    """The next look while it is put together; a part is copied at its first change."""

    def __init__(self, before: Seen | None) -> None:
        self.run: RunRecord | None = before.run if before else None
        self.policy: PolicyRecord | None = before.policy if before else None
        self.outage: Mapping[str, float] = before.outage if before else {}
        self.serial = before.serial if before else 0
        self.claimed = before.claimed if before else (0, "")
        self.parts: dict[str, Any] = {name: getattr(before, name) if before else {} for name in PARTS}
        self._own: set[str] = set() if before else set(self.parts)
        self.named: list[tuple[str, str]] = []

    def take(self, keys: Keys, run: RunKeys, item: Item) -> None:
        key, value = item.key, item.value
        if key.startswith(run.root):
            if key.startswith(run.actions):
                name = _named(key, path, key[len(run.actions) :], "action")
                self._take_action(name, decode_or_none(key, value, ActionRecord))
            elif key.startswith(run.approvals):
                self._put("approvals", key[len(run.approvals) :], decode_or_none(key, value, Approval))
            elif key == run.record:
                self.run = decode(key, value, RunRecord)
            elif key == run.policy:
                self.policy = decode_or_none(key, value, PolicyRecord)
            elif key == run.outages:
                self.outage = decode(key, value, Outages).seconds
            else:
                return  # the plan: not part of a look
        elif key.startswith(keys.runs):
            self._take_other(keys, item)
            return
        elif key == keys.admission:
            self.serial = decode(key, value, Admission).serial
        elif key.startswith(keys.holds):
            name = keys.held(key)
            self._put(
                "holds",
                name if name == ALL_HOSTS else _named(key, host_name, name, "host"),
                decode_or_none(key, value, Hold),
            )
        elif key.startswith(keys.health):
            self._put(
                "health", _named(key, host_name, key[len(keys.health) :], "host"), decode_or_none(key, value, Health)
            )
        elif key.startswith(keys.machines):
            self._put(
                "machines",
                _named(key, host_name, key[len(keys.machines) :], "host"),
                decode_or_none(key, value, Machine),
            )
        else:
            return  # the audit chain, durations
        self._part("revisions")[key] = item.revision

    def _take_action(self, name: str, record: ActionRecord | None) -> None:
        self._put("actions", name, record)
        if record is not None:
            self.claimed = max(self.claimed, (record.token, name))

    def _take_other(self, keys: Keys, item: Item) -> None:
        """What another run has open, and whether that run goes on."""
        name, _, rest = item.key[len(keys.runs) :].partition("/")
        if rest == "record":
            self._part("runs")[name] = decode(item.key, item.value, RunRecord)
        elif rest.startswith("actions/"):
            record = decode_or_none(item.key, item.value, ActionRecord)
            mine, action = self._part("others"), f"{name}/{rest[len('actions/') :]}"
            if record is not None and (record.state in BUSY or record.state in TROUBLED):
                mine[action] = record
            else:
                mine.pop(action, None)

    def see_elsewhere(self) -> None:
        """Which hosts other runs have taken: those at work there, whatever became of the run; those in trouble, while
        it goes on (a run that was aborted is not going to repair them)."""
        if not self._own & {"others", "runs"}:
            return
        found: dict[str, Elsewhere] = {}
        for name, record in sorted(self.parts["others"].items()):
            run, _, action = name.partition("/")
            known = self.parts["runs"].get(run)
            if record.state in BUSY or (known is not None and not known.ended):
                found.setdefault(action.rpartition("/")[2], Elsewhere(run, action, record.state))
        before = self.parts["elsewhere"]
        for host in before.keys() | found.keys():
            if before.get(host) != found.get(host):
                self._put("elsewhere", host, found.get(host))

    def _put(self, part: str, name: str, value: Any) -> None:
        mine = self._part(part)
        self.named.append((part, name))
        if value is None:
            mine.pop(name, None)
        else:
            mine[name] = value

    def _part(self, name: str) -> dict[str, Any]:
        if name not in self._own:
            self.parts[name] = dict(self.parts[name])
            self._own.add(name)
        found: dict[str, Any] = self.parts[name]
        return found


def _named(key: str, check: Callable[[str, str], str], name: str, what: str) -> str:
    """A name out of a key. Raises RecordInvalid for one that we would not write: it is somebody else's."""
    try:
        return check(name, what)
    except InputError as error:
        shown = key if len(key) <= 200 else f"{key[:200]}..."
        raise RecordInvalid(f"key {shown!r}: {error} (Underway did not write it: delete it)") from None
