"""Words in messages: how foreign text is shown, and which valid name was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 60
"""Longest piece of foreign text that a message repeats."""


def shown(value: object) -> str:
    """``value`` as a message may repeat it: quoted, cut, and with everything but printable ASCII escaped.

    Control characters, colours and right-to-left marks of an input never reach a terminal (TRUST.md §4, 49).
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        inside = ascii(value[:SHOWN])[1:-1]  # Python's own escapes, \t or \u202e
        return f"'{inside}…'" if len(value) > SHOWN else f"'{inside}'"
    return str(value)[:SHOWN]


def shown_path(path: object) -> str:
    """A path as it was given; escaped where a file's name holds what a terminal would act upon."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]


def nearest(word: str, valid: Iterable[str]) -> str:
    """The hint "did you mean 'x'?", or "" when nothing is near enough."""
    lower = {name.lower(): name for name in valid}  # upper and lower case are mixed up more than letters
    found = difflib.get_close_matches(word[:SHOWN].lower(), list(lower), n=1, cutoff=0.6)
    return f"did you mean {shown(lower[found[0]])}?" if found else ""


def one_of(word: str, valid: Iterable[str], what: str = "known") -> str:
    """``nearest``, or the list of valid names when nothing is near and the list is short."""
    names = list(valid)
    hint = nearest(word, names)
    if hint:
        return hint
    if not names:
        return f"none is {what}"
    listed = listing(names[:12]) + (", …" if len(names) > 12 else "")
    return f"{what}: {listed}"


def listing(names: Iterable[str]) -> str:
    """Names of an input, each as ``shown`` but without quotes."""
    return ", ".join(shown(name)[1:-1] for name in names)


def path_text(names: Iterable[str]) -> str:
    """A cycle or chain as people read it."""
    return " -> ".join(names)
