"""Host patterns of an environment: ``=web08-10`` and what each of its hosts is given. Pure (A14).

A name or value holds at most one group of ranges that counts, the first: ``web08-10`` is web08, web09, web10 (a zero in
front keeps the width), ``1-3:7-5`` is 1 2 3 7 6 5. What looks like an IPv4 address has ranges in each of its parts.
Unlike the original, a pattern whose values are more or fewer than its names is refused (it dropped hosts), and one
without values of its own applies to every name (it made one host, or never ended).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from underway.config.names import Wrong
from underway.config.words import shown
from underway.importers.spinalstack.merging import merged

PREFIX = "="
MAX_VALUES = 100_000
"""Hosts (or values) that one pattern may make."""

MAX_PATTERN = 300
"""Longest text that may hold a range; host names are shorter."""

_RANGES = re.compile(r"^(.*?)([0-9]+-[0-9]+(?::[0-9]+-[0-9]+)*)(.*)$", re.ASCII | re.DOTALL)
_IPV4_RANGES = re.compile(r"[0-9:.-]+", re.ASCII)

Loc = tuple[str | int, ...]


class BadPattern(Exception):
    """A pattern that cannot be expanded; ``loc`` is where, below the hosts."""

    def __init__(self, loc: Loc, wrong: Wrong, of: str = "value") -> None:
        self.loc, self.wrong, self.of = loc, wrong, of
        super().__init__(wrong.message)


def values(pattern: str) -> list[str] | None:
    """What a text with ranges stands for; None where it holds none. Raises ``ValueError`` for too many."""
    if len(pattern) > MAX_PATTERN:
        return None
    parts = pattern.split(".")
    if len(parts) == 4 and _IPV4_RANGES.fullmatch(pattern) and ("-" in pattern or ":" in pattern):
        each = [_numbers(part) for part in parts]
        if all(each):
            total = 1
            for numbers in each:
                total *= len(numbers)
            _bound(total)
            return [".".join(address) for address in itertools.product(*each)]
    found = _RANGES.match(pattern)
    if found is None:
        return None
    head, ranges, tail = found.groups()
    return [head + number + tail for number in _numbers(ranges)]


def _numbers(ranges: str) -> list[str]:
    """``10-12:20`` as its numbers; nothing where it is not made of numbers."""
    result: list[str] = []
    for piece in ranges.split(":"):
        first, dash, last = piece.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(piece) > 40:
            return []
        if not dash:
            result.append(first)
            continue
        width = len(first) if first[0] == "0" else 0
        start, stop = int(first), int(last)
        _bound(len(result) + abs(stop - start) + 1)
        step = 1 if stop >= start else -1
        result += [f"{number:0{width}d}" for number in range(start, stop + step, step)]
    return result


def _bound(total: int) -> None:
    if total > MAX_VALUES:
        raise ValueError(f"stands for {total:,} values; at most {MAX_VALUES:,}")


def expand(hosts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """All hosts by name with what they are given, and the key that each was first made by.

    A pattern and a plain entry of the same host are merged in the order of the file, later ones over earlier ones.
    Raises ``BadPattern``.
    """
    result: dict[str, Any] = {}
    made_by: dict[str, str] = {}
    for key, body in hosts.items():
        if key.startswith(PREFIX):
            made = _pattern(key, body)
        else:
            made = {key: body}
        for name, own in made.items():
            made_by.setdefault(name, key)
            known = result.get(name)
            result[name] = merged(known, own) if isinstance(known, dict) and isinstance(own, dict) else own
    return result, made_by


def _pattern(key: str, body: Any) -> dict[str, Any]:
    try:
        names = values(key[1:]) or [key[1:]]
    except ValueError as error:
        raise BadPattern((key,), Wrong("range", f"the pattern {shown(key)} {error}"), "key") from None
    twice = sorted(name for name, number in Counter(names).items() if number > 1)
    if twice:
        wrong = Wrong("range", f"the pattern {shown(key)} makes {shown(twice[0])} twice", "let ranges not overlap")
        raise BadPattern((key,), wrong, "key")
    if not isinstance(body, dict):
        return dict.fromkeys(names, body)
    for_host = _column(body, len(names), (key,))
    return {name: for_host(index) for index, name in enumerate(names)}


Column = Callable[[int], Any]


def _column(body: Mapping[str, Any], count: int, loc: Loc) -> Column:
    """The part of a pattern's body that each of its ``count`` hosts gets, by the host's number from 0."""
    shared = {key: value for key, value in body.items() if not key.startswith(PREFIX)}
    own = {key[1:]: _own(value, count, (*loc, key)) for key, value in body.items() if key.startswith(PREFIX)}
    return lambda index: {**shared, **{key: column(index) for key, column in own.items()}}


def _own(value: Any, count: int, loc: Loc) -> Column:
    if isinstance(value, dict):
        return _column(value, count, loc)
    found = value if isinstance(value, list) else None
    if isinstance(value, str):
        try:
            found = values(value)
        except ValueError as error:
            raise BadPattern(loc, Wrong("range", f"the range {shown(value)} {error}")) from None
    if found is None:
        return lambda _: value  # no range: the same for every host
    if len(found) != count:
        wrong = Wrong(
            "range",
            f"{len(found):,} values for {count:,} hosts of the pattern {shown(loc[0])}",
            "give one value for each host (Spinal Stack dropped hosts without a word)",
        )
        raise BadPattern(loc, wrong)
    return found.__getitem__
