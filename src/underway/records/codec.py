"""Records as bytes: ``{"s": schema number, "v": the value}``, canonical, unknown schema or field refused.

A record that was withdrawn (a hold that was released) keeps its key with ``"v": null``: a look at what changed since
a revision then shows it on every back-end, whereas a deleted key would show on none.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from underway.core.model.base import Value, canonical
from underway.core.model.part import Milestone
from underway.core.model.state import (
    ActionRecord,
    Admission,
    Approval,
    Health,
    Hold,
    HostRecord,
    Leader,
    Machine,
    PolicyRecord,
    RunRecord,
)
from underway.core.words import clean
from underway.errors import RecordInvalid

T = TypeVar("T")


class Current(Value, frozen=True, kw_only=True):
    """The latest run of the cluster."""

    run: str


class Active(Value, frozen=True, kw_only=True):
    """Runs beside the current one that may go on, oldest first: what was rolled out in the meantime."""

    runs: tuple[str, ...]


class PlanHead(Value, frozen=True, kw_only=True):
    """How the plan's envelope was cut: ``pieces`` keys, ``size`` bytes in all, their SHA-256."""

    pieces: int
    size: int
    sha256: str


class AuditHead(Value, frozen=True, kw_only=True):
    """Sequence number and hash of the last entry of the audit chain."""

    seq: int
    hash: str


class Outages(Value, frozen=True, kw_only=True):
    """Seconds of outage so far per service."""

    seconds: dict[str, float]


class Durations(Value, frozen=True, kw_only=True):
    """Seconds that past passes took, oldest first, by ``<stage>/<role>``."""

    seconds: dict[str, tuple[float, ...]]


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    s: int
    v: msgspec.Raw


SCHEMAS: dict[type[Any], int] = {
    RunRecord: 1,
    Current: 1,
    Active: 1,
    PlanHead: 1,
    Admission: 1,
    PolicyRecord: 1,
    ActionRecord: 1,
    Approval: 1,
    Outages: 1,
    Hold: 1,
    Health: 1,
    HostRecord: 1,
    Milestone: 1,
    Machine: 1,
    Leader: 1,
    Durations: 1,
    AuditHead: 1,
}
"""The schema number that is written, and the only one that is read, of each kind of record (``audit`` adds its own)."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_envelope = msgspec.json.Decoder(_Envelope)


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind | None, strict=True)
    return found


def encode(key: str, value: Value | None, kind: type[Any]) -> bytes:
    """The bytes of a record; None is a withdrawn one.

    Reads back what it wrote: a value that could not be read again (a not-a-number, a field of the wrong type) is
    refused here with ``RecordInvalid``, rather than found by whoever resumes.
    """
    data = canonical({"s": SCHEMAS[kind], "v": value})
    if decode_or_none(key, data, kind) != value:
        raise RecordInvalid(f"{key}: {kind.__name__} does not read back as it was written; nothing was written")
    return data


def decode_or_none(key: str, data: bytes, kind: type[T]) -> T | None:
    """The value of a record, None where it was withdrawn. Raises ``RecordInvalid`` naming the key."""
    try:
        envelope = _envelope.decode(data)
    except _UNREADABLE as error:
        raise RecordInvalid(f"{key}: not a record of Underway: {_why(error)}; it was not touched") from None
    if envelope.s != SCHEMAS[kind]:
        raise RecordInvalid(
            f"{key}: {kind.__name__} of schema {envelope.s}, expected {SCHEMAS[kind]} "
            "(another Underway wrote it: use that one); it was not touched"
        )
    try:
        found: T | None = _decoder(kind).decode(envelope.v)
    except _UNREADABLE as error:
        raise RecordInvalid(f"{key}: not a valid {kind.__name__}: {_why(error)}; it was not touched") from None
    return found


def _why(error: BaseException) -> str:
    """What is wrong, fit for a terminal: whoever wrote the record chose some of the words."""
    return clean(str(error), 200)


def decode(key: str, data: bytes, kind: type[T]) -> T:
    """As ``decode_or_none``, for a record that cannot be withdrawn."""
    found = decode_or_none(key, data, kind)
    if found is None:
        raise RecordInvalid(f"{key}: expected a {kind.__name__}, found a withdrawn record; it was not touched")
    return found
