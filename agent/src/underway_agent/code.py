"""The one-time code that an operator carries to a host."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "uw1"
NO_AUTHORITY = "-"
"""Stands in a code for plain HTTP on one machine."""


@dataclass(frozen=True)
class Code:
    """``authority``: the SHA-256 of the certificate of the authority that the host is to trust."""

    host: str
    secret: str
    authority: str

    def __str__(self) -> str:
        return f"{PREFIX}.{self.host}.{self.secret}.{self.authority}"


def read_code(text: str) -> Code:
    """Raises ValueError."""
    parts = text.strip().rsplit(".", 2)
    prefix, _, host = parts[0].partition(".")
    if len(parts) != 3 or prefix != PREFIX or not host or not all(parts):
        raise ValueError("the code cannot be understood: expected what 'underway host enrol' shows, as it is")
    return Code(host, parts[1], parts[2])
