"""A small YAML writer whose bytes depend on the value alone.

The bytes of a playbook are signed: they may not change with the version of a YAML library, nor with the order in which
a plan was read. So keys are sorted (a plan's canonical form sorts them too), and the writer is ours; reading stays with
Ansible. Its output keeps to what ``ansible-lint`` wants of indentation and line length, and every document that it
writes is read back to the same value (property test).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from underway.errors import InputError

WIDTH = 120
_MAX_KEY = 900  # YAML readers take keys of at most 1024 characters

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+()-]*(?: [A-Za-z0-9_./@+(][A-Za-z0-9_./@+()-]*)*")
_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_UNUSUAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Not printable in YAML, or a line break or mark that readers treat specially."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """Text under a YAML tag: ``!unsafe`` (never a template) or ``!vault`` (encrypted)."""

    tag: str
    text: str


Order = Callable[[str], tuple[int, str]]


def document(value: Any, comment: str = "") -> bytes:
    """One YAML document. ``comment`` may have several lines."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return (head + "---\n" + block(value, 0)).encode()


def block(value: Any, indent: int) -> str:
    """Lines of a value in block style, each indented by ``indent`` blanks, ending with a line break."""
    out: list[str] = []
    pad = " " * indent
    if isinstance(value, Mapping) and value:
        _mapping(out, value, indent, pad)
    elif isinstance(value, (list, tuple)) and value:
        _sequence(out, value, indent)
    else:
        out.append(pad + _scalar(value, indent + 2))
    return "\n".join(out) + "\n"


def _mapping(out: list[str], value: Mapping[str, Any], indent: int, lead: str) -> None:
    pad = " " * indent
    for key in ordered(value):
        _entry(out, value[key], indent, f"{lead}{_key(key)}:")
        lead = pad


def _sequence(out: list[str], value: Iterable[Any], indent: int) -> None:
    pad = " " * indent
    for item in value:
        if isinstance(item, Mapping) and item:
            _mapping(out, item, indent + 2, f"{pad}- ")
        elif isinstance(item, (list, tuple)) and item:
            out.append(f"{pad}-")
            _sequence(out, item, indent + 2)
        else:
            out.append(f"{pad}- {_scalar(item, indent + 2)}")


def _entry(out: list[str], value: Any, indent: int, lead: str) -> None:
    if isinstance(value, Mapping) and value:
        out.append(lead)
        _mapping(out, value, indent + 2, " " * (indent + 2))
    elif isinstance(value, (list, tuple)) and value:
        out.append(lead)
        _sequence(out, value, indent + 2)
    else:
        out.append(f"{lead} {_scalar(value, indent + 2)}")


_LAST = {"block": 3, "rescue": 4, "always": 5}


def ordered(keys: Iterable[str]) -> list[str]:
    """Keys as written: ``name`` first, what looks like a module (``a.b.c``) next, blocks last, else by the alphabet."""
    return sorted(keys, key=lambda key: (0 if key == "name" else _LAST.get(key, 1 if key.count(".") > 1 else 2), key))


def _key(key: str) -> str:
    if len(key) > _MAX_KEY:
        raise InputError(f"a name of {len(key)} characters is too long for a file of variables (at most {_MAX_KEY})")
    return key if _is_plain(key) and len(key) <= WIDTH else _quoted(key)


def _scalar(value: Any, indent: int) -> str:
    """A value on the rest of a line (or as an indented text block)."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return _text(value, indent)
        case Tagged(tag, text):
            return f"{tag} {_text(text, indent)}"
        case Mapping():
            return "{}"
        case list() | tuple():
            return "[]"
        case _:
            raise TypeError(f"cannot be written as YAML: {type(value).__name__}")


def _float(value: float) -> str:
    """As YAML 1.1 readers know a float: with a point in it, even where Python writes none."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return text if "." in mantissa or not mark else f"{mantissa}.0e{exponent}"


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _RESERVED


def _text(text: str, indent: int) -> str:
    if _is_plain(text) and indent + len(text) <= WIDTH:
        return text
    if _UNUSUAL.search(text) is None:
        if "\n" in text and _fits_literal(text):
            mark = "|" if text.endswith("\n") else "|-"
            pad = " " * indent
            return "\n".join([mark, *(pad + line if line else "" for line in text.removesuffix("\n").split("\n"))])
        if "\n" not in text and indent + len(text) > WIDTH and _fits_folded(text):
            return "\n".join([">-", *_fold(text, indent)])
    return _quoted(text)


def _fits_literal(text: str) -> bool:
    """Whether a literal block gives the text back: no blanks at ends of lines, none (and no break) at its front."""
    body = text.removesuffix("\n")
    lines = body.split("\n")
    return (
        bool(body)
        and not text.startswith((" ", "\n"))
        and all(line == line.rstrip(" ") for line in lines)
        and bool(lines[-1])
    )


def _fits_folded(text: str) -> bool:
    return " " in text and "  " not in text and not text.startswith(" ") and not text.endswith(" ")


def _fold(text: str, indent: int) -> list[str]:
    pad = " " * indent
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and indent + len(line) + 1 + len(word) > WIDTH:
            lines.append(pad + line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(pad + line)
    return lines


def _quoted(text: str) -> str:
    if ('"' in text or "\\" in text) and "\n" not in text and _UNUSUAL.search(text) is None:
        return "'" + text.replace("'", "''") + "'"
    return _UNUSUAL.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
