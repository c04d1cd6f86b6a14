"""Unquoted scalars by the YAML 1.2 core schema, and those that two readers would read differently."""

from __future__ import annotations

import math
import re
from typing import Any, Literal, NamedTuple

from underway.config.words import shown

Severity = Literal["error", "warning"]


class Odd(NamedTuple):
    """A scalar that is refused (``value`` is then None), or taken with a warning."""

    value: str | None
    code: str
    message: str
    hint: str = ""
    severity: Severity = "error"


_INT = re.compile(r"[-+]?[0-9]+")
_OCT = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_YAML11_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_CONSTANTS: dict[str, object] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBER_START = frozenset("0123456789+-.")


def plain(text: str) -> Any:
    """What an unquoted scalar means: null, true or false, a finite 64-bit number, text; ``Odd`` if that is unclear."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _NUMBER_START:
        return _number(text)
    if len(text) <= 3 and _YAML11_BOOL.fullmatch(text):
        message = f"{text} without quotes is the text '{text}' here (YAML 1.2), but true or false to YAML 1.1"
        return Odd(text, "truth-word", message, "write true or false, or put it in quotes", "warning")
    return text


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0":
            message = f"{shown(text)} is octal to YAML 1.1 (and Ansible) and decimal to YAML 1.2"
            return Odd(None, "leading-zero", message, 'put it in quotes (a file mode: "0644"), or drop the zero')
        if len(digits) > 19 or not -(2**63) <= int(text) < 2**63:
            return Odd(None, "number", f"{shown(text)} does not fit into 64 bits", "put it in quotes")
        return int(text)
    if _OCT.fullmatch(text) and len(text) < 22:
        return int(text[2:], 8)
    if _HEX.fullmatch(text) and len(text) < 18:
        return int(text[2:], 16)
    if _NOT_FINITE.fullmatch(text):
        return Odd(None, "number", f"{shown(text)} is not a finite number")
    if _FLOAT.fullmatch(text):
        value = float(text)
        return Odd(None, "number", f"{shown(text)} is not a finite number") if math.isinf(value) else value
    return text
