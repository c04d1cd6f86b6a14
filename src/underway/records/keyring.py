"""Changes of the keys that count, as the store holds them: byte for byte as they were signed, numbered from 1.

Whether one counts is not for the store to say: ``trustchain`` looks at the signatures.
"""

from __future__ import annotations

from underway.core.model.event import Event
from underway.errors import RecordInvalid
from underway.records.repository import Repository
from underway.store.base import ABSENT


def changes(repository: Repository, after: int) -> list[bytes]:
    """The changes above number ``after``, in order. Raises RecordInvalid where one in between is missing."""
    keys = repository.keys
    found = {item.key: item.value for item in repository.store.list(keys.trust).items}
    wanted = [keys.trust_link(number) for number in range(after + 1, len(found) + 1)]
    for key in wanted:
        if key not in found:
            raise RecordInvalid(f"{key}: expected a change of the keys, found none, and later ones")
    return [found[key] for key in wanted]


def add(repository: Repository, number: int, envelope: bytes, *events: Event) -> None:
    """Write the next change, with its audit entry. Raises Conflict where another of that number is there."""
    key = repository.keys.trust_link(number)
    repository.keep({key: ABSENT}, {key: envelope}, *events)
