"""From pydantic's errors to problems with a place; and what of a document is usable although a part is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from underway.config.fragment import Fragment
from underway.config.located import Document
from underway.config.words import nearest, one_of, shown
from underway.core.model.service import PHASES
from underway.errors import Problem

F = TypeVar("F", bound=Fragment)
Loc = tuple[int | str, ...]

# Keys of other tools, or of an older habit, and what is meant here.
HABITS = {
    "name": "the name stands in the key (or in 'cluster', 'service', 'release', 'step')",
    "password": "secrets do not stand in files: use password_file",
    "serial": "use limit",
    "batch": "use limit",
    "ansible_host": "use address",
    "ansible_port": "use port",
    "ansible_user": "use user",
    "interval": "use every",
    "version": "use release",
    "depends": "use needs (between services) or after (between roles)",
    "openstack": "use keystone",
    **dict.fromkeys(("change", "leave_out", "first", "last"), "it is for a service that extends another"),
}

_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
}


def examine(doc: Document, kind: type[F]) -> tuple[F | None, list[Problem]]:
    """``doc`` as a fragment, with all that is wrong with it.

    Where something is wrong, the fragment is what remains without the wrong parts, so that the rest can be compared
    with other files; None where nothing remains.
    """
    try:
        return kind.model_validate(doc.value), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [_problem(doc, kind, detail) for detail in details]
    rest = copy.deepcopy(doc.value)
    for level in range(4):  # first the wrong leaves are left out, then what cannot be without them, and so on
        _prune(rest, (tuple(detail["loc"]) for detail in details), level)
        for key, value in kind.PLACEHOLDERS.items():
            rest.setdefault(key, value)
        try:
            return kind.model_validate(rest), problems
        except ValidationError as error:
            details = error.errors(include_url=False)
    return None, problems


def _prune(rest: dict[str, Any], locs: Iterable[Loc], level: int) -> None:
    paths = sorted({_existing(rest, loc) for loc in locs}, key=lambda path: [str(part).zfill(9) for part in path])
    for path in reversed(paths):  # of a list the last first, so that the numbers before it stay true
        short = path[: max(1, len(path) - level)]
        holder: Any = rest
        for part in short[:-1]:
            holder = _child(holder, part)
        if isinstance(holder, dict):
            holder.pop(short[-1] if short else "", None)
        elif isinstance(holder, list) and isinstance(short[-1], int) and short[-1] < len(holder):
            del holder[short[-1]]


def _existing(rest: Any, loc: Loc) -> Loc:
    """The parts of ``loc`` that ``rest`` has."""
    path: list[int | str] = []
    for part in loc:
        below = _child(rest, part)
        if below is not _NOTHING:
            path.append(part)
            rest = below
    return tuple(path)


_NOTHING = object()


def _child(value: Any, part: int | str) -> Any:
    if isinstance(value, dict):
        return value.get(part, _NOTHING)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return _NOTHING


def _problem(doc: Document, kind: type[Fragment], detail: ErrorDetails) -> Problem:
    loc: Loc = tuple(detail["loc"])
    what, context, found = detail["type"], detail.get("ctx") or {}, detail["input"]
    if what == "missing":
        return doc.problem(loc, "missing", f"'{loc[-1]}' is missing", _missing_hint(doc, kind, loc), of="key")
    if what == "extra_forbidden":
        key = str(loc[-1])
        known = _keys_at(kind, loc[:-1])
        hint = nearest(key, known) or HABITS.get(key, "") or one_of(key, known, "known keys")
        return doc.problem(loc, "unknown-key", f"unknown key {shown(key)}", hint, of="key")
    of_key = bool(loc) and loc[-1] == "[key]"
    if what == "literal_error":
        if of_key:
            hint = one_of(str(found), PHASES, "phases")
            return doc.problem(loc, "unknown-phase", f"unknown phase {shown(found)}", hint, of="key")
        choices = [part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")]
        message = f"expected one of {', '.join(choices)}; found {shown(found)}"
        return doc.problem(loc, "choice", message, nearest(str(found), choices))
    if what in _EXPECTED:
        hint = ""
        if what == "string_type" and isinstance(found, int | float) and not isinstance(found, bool):
            hint = "put it in quotes"
        elif what == "bool_type" and isinstance(found, str) and found.lower() in ("yes", "no", "on", "off"):
            hint = f"write {'true' if found.lower() in ('yes', 'on') else 'false'}"
        elif what == "list_type" and isinstance(found, str):
            hint = f"write [{found}]" if found.isascii() and found.isprintable() and len(found) < 40 else ""
        elif found is None:
            hint = "give it a value, or leave the key out"
        return doc.problem(loc, "type", f"expected {_EXPECTED[what]}, found {shown(found)}", hint)
    if "message" in context:
        of = "key" if of_key else "value"
        return doc.problem(loc, what, str(context["message"]), str(context.get("hint", "")), of=of)  # type: ignore[arg-type]
    return doc.problem(loc, *_bound(what, context, found))


def _bound(what: str, context: dict[str, Any], found: object) -> tuple[str, str]:
    if what == "too_short":
        return "empty-list", f"expected at least {context['min_length']} entry, found none"
    if what == "string_too_short":
        return "text", "expected text, found none"
    if what == "string_too_long":
        return "text", f"the text is longer than {context['max_length']} characters"
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if what in bounds:
        key, words = bounds[what]
        return "bounds", f"{shown(found)} is out of bounds; expected {words} {context[key]}"
    return "value", f"{shown(found)} is not valid here ({what})"


def _missing_hint(doc: Document, kind: type[Fragment], loc: Loc) -> str:
    """A key that was written, but wrongly, is probably the one that is missing."""
    holder: Any = doc.value
    for part in _existing(doc.value, loc[:-1]):
        holder = _child(holder, part)
    if not isinstance(holder, dict):
        return ""
    known = _keys_at(kind, loc[:-1])
    return nearest(str(loc[-1]), [key for key in holder if key not in known]).replace("did you mean", "is it")


def _keys_at(kind: Any, loc: Loc) -> list[str]:
    """The keys that are known at ``loc`` of a fragment."""
    for part in loc:
        found = _step(kind, part)
        if found is not None:
            kind = found
    model = _model(kind)
    return list(model.model_fields) if model is not None else []


def _step(kind: Any, part: int | str) -> Any:
    model = _model(kind)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field is not None else None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _step(arguments[0], part)
    if origin is dict:
        return arguments[1]
    if origin is list:
        return arguments[0] if isinstance(part, int) else None
    for choice in arguments:  # a union
        found = _step(choice, part)
        if found is not None:
            return found
    return None


def _model(kind: Any) -> type[Fragment] | None:
    if isinstance(kind, type) and issubclass(kind, Fragment):
        return kind
    if get_origin(kind) is dict or get_origin(kind) is list:
        return None
    for choice in get_args(kind):
        if isinstance(choice, type) and issubclass(choice, Fragment):
            return choice
    return None
