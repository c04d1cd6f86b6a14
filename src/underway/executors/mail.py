"""What coordinator and hosts' agents leave for each other (letters: ``underway_agent.letters``), wherever it lies.

One letter each way per host. A reader who comes late finds the latest one; nothing is lost by a letter that was never
read, and nothing is freed because one did not come. Letters are no authority: what a host may run is signed, and what a
host says is signed by it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

ORDERS = "orders/"
"""Prefix of the letters to hosts; the host's name follows."""

REPORTS = "reports/"
AGENTS = "agents/"
"""What agents said of themselves when they began: signed, one a host."""

BLOBS = "blobs/"
"""Signed plans and large files, under the SHA-256 of their bytes: one copy for all hosts."""

PIECE = 128 * 1024
"""Bytes of a blob under one key."""

LARGEST_BLOB = 64 * 1024 * 1024
"""Bytes of a blob; a plan of 10,000 hosts has far fewer."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What lies under a key. ``mark`` grows with every letter put anywhere."""

    key: str
    data: bytes
    mark: int


@runtime_checkable
class Mail(Protocol):
    """The contract. All raise StoreUnavailable where the place cannot be reached (of a ``put``: outcome unknown)."""

    def get(self, key: str) -> Letter | None:
        """The letter under a key, or None."""
        ...

    def put(self, key: str, data: bytes, upon: int | None = None) -> int | None:
        """Leave a letter in the place of the one there; its mark.

        ``upon``: the mark of the letter that is replaced (0: there is none); another one there means that nothing is
        put, and None is returned. Without it, whatever is there is replaced.
        """
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Take letters away, those that are there; not seen by ``list`` with ``since``."""
        ...

    def list(self, prefix: str, since: int = 0, names: Collection[str] | None = None) -> tuple[Sequence[Letter], int]:
        """The letters under a prefix that were put after ``since``, and the mark to go on from.

        ``names``: only those whose key is the prefix and one of these.
        """
        ...

    def wait(self, prefix: str, since: int, timeout: float) -> None:
        """Return once a letter under the prefix may have been put after ``since``, at the latest after ``timeout``
        seconds. Without a cause, too: ``list`` to know."""
        ...


def put_blob(mail: Mail, digest: str, data: bytes) -> None:
    """Leave bytes under their SHA-256, piece by piece, the number of pieces last; nothing if they are there."""
    head = f"{BLOBS}{digest}/head"
    if mail.get(head) is not None:
        return
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]
    for number, piece in enumerate(pieces):
        mail.put(f"{BLOBS}{digest}/{number:04d}", piece)
    mail.put(head, str(len(pieces)).encode())


def get_blob(mail: Mail, digest: str) -> bytes | None:
    """The bytes that were left, not yet compared with their digest; None where there are none, not all of them, or more
    than a plan can have."""
    head = mail.get(f"{BLOBS}{digest}/head")
    if head is None or not head.data.isdigit() or len(head.data) > 4:
        return None
    found: list[bytes] = []
    for number in range(int(head.data)):
        if sum(map(len, found)) > LARGEST_BLOB:
            return None
        piece = mail.get(f"{BLOBS}{digest}/{number:04d}")
        if piece is None:
            return None
        found.append(piece.data)
    return b"".join(found)
