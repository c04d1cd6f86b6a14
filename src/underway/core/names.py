"""Names as people sort and list them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_DIGITS = re.compile(r"(\d+)")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key: digits count as numbers, so that ``cp2`` comes before ``cp10``.

    Text and numbers alternate, so the keys of any two names can be compared; the name itself breaks the tie of
    ``cp1`` and ``cp01``.
    """
    parts = _DIGITS.split(name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def ordered(names: Iterable[str]) -> list[str]:
    """The names in natural order."""
    return sorted(names, key=natural)


def slug(text: str) -> str:
    """``text`` as part of a step id: lower case letters, digits and single dashes."""
    return _NOT_SLUG.sub("-", text.lower()).strip("-") or "x"


def span(hosts: Sequence[str], most: int = 4) -> str:
    """Hosts in few words: all of them up to ``most``, else the first and the last and how many they are."""
    if len(hosts) <= most:
        return ", ".join(hosts)
    return f"{hosts[0]} … {hosts[-1]} ({len(hosts):,} hosts)"


def listing(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
