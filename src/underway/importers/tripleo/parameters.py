"""Parameters of templates: their types, their values, and the settings of ours that stand for them.

A parameter that a task merely carries stays a setting (``Reference``), so that one cluster file drives it; one that
Heat must know to say what the tasks are (a condition, a part of a list) is read once, at import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from underway.config.words import one_of, shown
from underway.importers.tripleo.nodes import Node, Place, Refusal, show

TYPES = ("string", "number", "boolean", "json", "comma_delimited_list")
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?")
_TRUE = ("true", "t", "on", "yes", "y", "1")
_FALSE = ("false", "f", "off", "no", "n", "0")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as a template declares it. ``default``: None where an environment must give a value."""

    name: str
    kind: str
    default: Node | None
    place: Place
    hidden: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of a parameter that is left open: a setting. ``path``: where in a JSON parameter it stands."""

    parameter: Parameter
    path: tuple[str, ...] = ()
    value: Node | None = None
    """What it is by default or by an environment; None: whoever runs the upgrade must set it."""

    @property
    def variable(self) -> str:
        """Name of the setting: ``NovaDbSyncTimeout`` is ``tripleo_nova_db_sync_timeout``.

        Without the beginning it would often be the name of a fact that the tasks set of it.
        """
        return "_".join(("tripleo", *(snake(part) for part in (self.parameter.name, *self.path))))

    @property
    def jinja(self) -> str:
        """How a task names it."""
        return "{{ " + self.variable + " }}"


@dataclass(frozen=True, slots=True)
class Text:
    """Text in which settings stand: what ``str_replace`` and ``list_join`` make of open parameters."""

    parts: tuple[str | Reference, ...]

    @property
    def jinja(self) -> str:
        """The text as a task has it."""
        return "".join(part if isinstance(part, str) else part.jinja for part in self.parts)


def snake(name: str) -> str:
    """``EnableInternalTLS`` as ``enable_internal_tls``: the name of a variable."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    text = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")
    return text if text and not text[0].isdigit() else f"p_{text}"


def declared(name: str, node: Node) -> Parameter:
    """The parameter that stands at ``node`` of a template's ``parameters``. Raises ``Refusal``."""
    fields = node.mapping(f"the fields of parameter {shown(name)}")
    kind = fields["type"].text("a type") if "type" in fields else "string"
    if kind not in TYPES:
        hint = one_of(kind, TYPES, "types")
        raise Refusal(fields["type"].place, "type", f"parameter {shown(name)} has the unknown type {shown(kind)}", hint)
    hidden = "hidden" in fields and fields["hidden"].value in (True, "true", "True")
    described = fields["description"].value if "description" in fields else ""
    parameter = Parameter(name, kind, None, node.place, hidden, str(described or "").strip())
    default = fields.get("default")
    if default is None:
        return parameter
    return Parameter(name, kind, typed(parameter, default, "default"), node.place, hidden, parameter.description)


def typed(parameter: Parameter, node: Node, what: str = "value") -> Node:
    """``node`` as a value of the parameter's type, as Heat would take it. Raises ``Refusal``."""
    found = _converted(parameter.kind, node)
    if found is not None:
        return found
    message = f"parameter {shown(parameter.name)} is a {parameter.kind}, and its {what} is {show(node)}"
    raise Refusal(node.place, "type", message, _HINTS[parameter.kind])


_HINTS = {
    "string": "text, or a number",
    "number": "a number",
    "boolean": "true or false",
    "json": "a mapping, or a list",
    "comma_delimited_list": "a list, or text with commas",
}


def _converted(kind: str, node: Node) -> Node | None:
    value = node.value
    if value is None:
        return node
    if kind == "string":
        if isinstance(value, dict | list):
            return None
        return node if isinstance(value, str) else Node(node.place, _text(value))
    if kind == "number":
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            return Node(node.place, float(value) if "." in value else int(value))
        return node if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "boolean":
        word = _text(value).lower() if not isinstance(value, dict | list) else ""
        return Node(node.place, word in _TRUE) if word in (*_TRUE, *_FALSE) else None
    if kind == "json":
        if isinstance(value, str):
            return _json(node)
        return node if isinstance(value, dict | list) else None
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")] if value.strip() else []
        return Node(node.place, [Node(node.place, part) for part in parts])
    return node if isinstance(value, list) else None


def _json(node: Node) -> Node | None:
    """JSON as text; an empty text is an empty mapping."""
    if not node.value.strip():
        return Node(node.place, {})
    try:
        whole = json.loads(node.value)
    except (ValueError, RecursionError):
        return None
    return parse_value(whole, node.place) if isinstance(whole, dict | list) else None


def parse_value(value: Any, place: Place, depth: int = 1) -> Node:
    """A plain value as a node, all of it at one place."""
    if depth > 32:
        raise Refusal(place, "too-deep", "nested deeper than 32 levels")
    if isinstance(value, dict):
        return Node(place, {str(key): parse_value(one, place, depth + 1) for key, one in value.items()})
    if isinstance(value, list):
        return Node(place, [parse_value(one, place, depth + 1) for one in value])
    return Node(place, value)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def joined(parts: Sequence[str | Reference]) -> str | Text:
    """Pieces as one text; settings stay what they are."""
    merged: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    if all(isinstance(part, str) for part in merged):
        return "".join(str(part) for part in merged)
    return Text(tuple(merged))
