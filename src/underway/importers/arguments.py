"""Arguments of tasks as older Ansible files write them: ``name=x state=restarted``, in the place of a mapping. Pure.

Blanks inside quotes and inside ``{{ }}``, ``{% %}`` and ``{# #}`` do not part arguments, as in Ansible itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

FREE_FORM = {
    "command": frozenset({"chdir", "creates", "removes", "stdin", "stdin_add_newline", "strip_empty_ends", "warn"}),
    "shell": frozenset({"chdir", "creates", "executable", "removes", "stdin", "stdin_add_newline", "warn"}),
    "script": frozenset({"chdir", "cmd", "creates", "decrypt", "executable", "removes"}),
    "raw": frozenset({"executable"}),
    "win_command": frozenset(),
}
"""Modules that take a text as it is, and the options that may stand in it."""

_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OPEN = {"{{": "}}", "{%": "%}", "{#": "#}"}


@dataclass(frozen=True, slots=True)
class Arguments:
    """``options`` by name; ``free`` is the text of a free form (a command), "" elsewhere."""

    options: dict[str, Any]
    free: str = ""


class BadArguments(ValueError):
    """Text that cannot be read as arguments; the message says why."""


def spans(text: str) -> list[tuple[int, int]]:
    """Where the pieces of ``text`` stand that blanks part. Raises ``BadArguments`` for what is not closed."""
    pieces: list[tuple[int, int]] = []
    start: int | None = None
    quote = ""
    closing: list[str] = []
    at = 0
    while at < len(text):
        two = text[at : at + 2]
        letter = text[at]
        if closing:
            if two == closing[-1]:
                closing.pop()
                at += 2
                continue
        elif two in _OPEN:
            closing.append(_OPEN[two])
            start = at if start is None else start
            at += 2
            continue
        elif quote:
            if letter == "\\" and at + 1 < len(text):
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'" and (start is None or text[at - 1] == "=" or text[at - 1].isspace()):
            quote = letter
            start = at if start is None else start
        elif letter.isspace():
            if start is not None:
                pieces.append((start, at))
                start = None
            at += 1
            continue
        if start is None:
            start = at
        at += 1
    if closing:
        raise BadArguments(f"{closing[-1]!r} is missing")
    if quote:
        raise BadArguments(f"a quote ({quote}) is not closed")
    if start is not None:
        pieces.append((start, len(text)))
    return pieces


def unquoted(text: str) -> str:
    """``text`` without the quotes around it; a backslash before such a quote inside goes with it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].replace("\\" + text[0], text[0])
    return text


def arguments(module: str, text: str) -> Arguments:
    """Arguments of ``module`` (its short name) in a text. Raises ``BadArguments``."""
    known = FREE_FORM.get(module)
    options: dict[str, Any] = {}
    free, kept = "", 0
    for start, end in spans(text):
        pair = _PAIR.fullmatch(text, start, end)
        if pair is not None and (known is None or pair[1] in known):
            if pair[1] in options:
                raise BadArguments(f"{pair[1]}= stands twice")
            options[pair[1]] = unquoted(pair[2])
            free += text[kept:start].rstrip(" ")
            kept = end
        elif known is None:
            raise BadArguments(f"{text[start : min(end, start + 40)]!r} is not NAME=VALUE")
    return Arguments(options, "" if known is None else (free + text[kept:]).strip())
