"""What every value of the model has in common: frozen, strict, one canonical form."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all model values: immutable, keyword-only, unknown fields refused when decoded.

    Defaults are left out of the encoded form, so a plan of many hosts stays small; the schema number
    of the enclosing record or plan says which defaults hold.
    """


T = TypeVar("T")


def canonical(value: Any) -> bytes:
    """The one JSON form of a value: keys sorted, no blanks, UTF-8. Equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: Any) -> str:
    """SHA-256 of the canonical form (of the bytes themselves for ``bytes``), 64 hex digits."""
    data = value if isinstance(value, bytes) else canonical(value)
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes | str, kind: type[T]) -> T:
    """Strictly decode JSON into ``kind``.

    Raises ``msgspec.ValidationError`` (unknown field, wrong type) or ``msgspec.DecodeError``; callers at
    the edge turn them into an error with a place.
    """
    return msgspec.json.decode(data, type=kind, strict=True)


def replace(value: T, **changes: Any) -> T:
    """A copy with some fields changed (the value itself never changes)."""
    return msgspec.structs.replace(value, **changes)  # type: ignore[type-var]
