"""The audit chain: each event with the hash of the one before, written in the transaction of its change.

The hash of an entry is the SHA-256 of its canonical bytes with an empty ``hash``; ``prev`` is the hash of the entry
before, for the first one a value made of the cluster's name. What this proves: no entry was altered, removed,
added or moved without every later hash changing too. Its limit, stated: whoever may write the store can make a whole
new chain; only a head that was noted elsewhere (``expected``) shows that.
"""

from __future__ import annotations

from collections.abc import Iterable

from underway.core.model.base import canonical, digest, replace
from underway.core.model.event import Event
from underway.errors import Conflict, RecordInvalid
from underway.records.codec import SCHEMAS, AuditHead, decode, encode
from underway.records.keys import Keys
from underway.store.base import ABSENT, Item, Store


class AuditEntry(Event, frozen=True, kw_only=True):
    """An event as the chain has it: ``run`` ("" for what concerns no run), hash of the entry before, own hash."""

    run: str = ""
    prev: str
    hash: str = ""


SCHEMAS[AuditEntry] = 1


def genesis(cluster: str) -> AuditHead:
    """The head of a chain without entries."""
    return AuditHead(seq=0, hash=digest(f"underway audit of {cluster}".encode()))


def hash_of(entry: AuditEntry) -> str:
    """The hash that ``entry`` should have."""
    return digest(canonical(replace(entry, hash="")))


def extend(head: AuditHead, run: str, events: Iterable[Event]) -> tuple[list[AuditEntry], AuditHead]:
    """The entries that carry ``events`` on from ``head``, and the new head. An event's own ``seq`` is ignored."""
    entries: list[AuditEntry] = []
    for event in events:
        draft = AuditEntry(
            seq=head.seq + 1,
            at=event.at,
            kind=event.kind,
            actor=event.actor,
            action=event.action,
            host=event.host,
            text=event.text,
            token=event.token,
            run=run,
            prev=head.hash,
        )
        entry = replace(draft, hash=hash_of(draft))
        entries.append(entry)
        head = AuditHead(seq=entry.seq, hash=entry.hash)
    return entries, head


def read_head(store: Store, keys: Keys) -> tuple[AuditHead, int]:
    """The head of the chain as it is now, and its revision."""
    item = store.get(keys.audit_head)
    if item is None:
        return genesis(keys.cluster), ABSENT
    return decode(keys.audit_head, item.value, AuditHead), item.revision


def carry_on(
    store: Store, keys: Keys, run: str, events: Iterable[Event], expect: dict[str, int], writes: dict[str, bytes]
) -> None:
    """Add to a transaction the entries that carry ``events`` on, and the head. Each entry's place must be empty: a head
    that was deleted, or put back, must not have history written over."""
    head, expect[keys.audit_head] = read_head(store, keys)
    entries, head = extend(head, run, events)
    for entry in entries:
        key = keys.audit_entry(entry.seq)
        expect[key], writes[key] = ABSENT, encode(key, entry, AuditEntry)
    writes[keys.audit_head] = encode(keys.audit_head, head, AuditHead)


def check_conflict(keys: Keys, conflict: Conflict) -> None:
    """Raise RecordInvalid where a commit failed because an entry is there already that the head does not know of."""
    if conflict.key.startswith(keys.audit):
        raise RecordInvalid(
            f"{conflict.key}: is there already, though {keys.audit_head} names an entry before it: one of them was"
            " altered ('underway audit verify' says what else); nothing was written"
        )


def verify(store: Store, cluster: str, expected: AuditHead | None = None) -> tuple[int, list[str]]:
    """Recompute the whole chain: the number of entries, and every problem as one line (none: it holds).

    ``expected`` is a head that was noted elsewhere: the chain must still run through it. Reads at one revision, so it
    may be called while a run goes on.
    """
    keys = Keys(cluster)
    items = {item.key: item for item in store.list(keys.audit_all).items}
    problems: list[str] = []
    head = _head(keys, items.pop(keys.audit_head, None), problems)
    last = genesis(cluster)
    count = 0
    for key, item in items.items():
        try:
            entry = decode(key, item.value, AuditEntry)
        except RecordInvalid as error:
            problems.append(str(error))
            count += 1
            last = AuditHead(seq=last.seq + 1, hash="")
            continue
        count += 1
        problems.extend(_check(keys, key, entry, last))
        last = AuditHead(seq=entry.seq, hash=entry.hash)
        if expected is not None and entry.seq == expected.seq and entry.hash != expected.hash:
            problems.append(f"{key}: has hash {entry.hash}, noted elsewhere was {expected.hash}: history was rewritten")
    if head is not None and head != last:
        problems.append(
            f"{keys.audit_head}: names entry {head.seq} ({head.hash}), the last one found is {last.seq} ({last.hash})"
        )
    if expected is not None and expected.seq > last.seq:
        problems.append(f"{keys.audit}: ends at {last.seq}, noted elsewhere was {expected.seq}: entries were cut off")
    return count, problems


def _head(keys: Keys, item: Item | None, problems: list[str]) -> AuditHead | None:
    if item is None:
        return genesis(keys.cluster)  # no event yet: then there must be no entry either
    try:
        return decode(keys.audit_head, item.value, AuditHead)
    except RecordInvalid as error:
        problems.append(str(error))
        return None


def _check(keys: Keys, key: str, entry: AuditEntry, last: AuditHead) -> Iterable[str]:
    if key != keys.audit_entry(entry.seq):
        yield f"{key}: says that it is entry {entry.seq}: it was moved"
    if entry.seq > last.seq + 1:
        missing = entry.seq - last.seq - 1
        yield f"{key}: expected after entry {last.seq} is {last.seq + 1}: {missing} missing"
    if last.hash and entry.prev != last.hash:
        yield f"{key}: continues from {entry.prev}, the entry before has {last.hash}"
    if hash_of(entry) != entry.hash:
        yield f"{key}: its contents do not match its hash: it was altered"
