"""The part of YAQL that upgrade tasks use: sums of lists, text put together, the first or last of a list.

An expression is parsed whole before anything of it is computed; what is not known is refused with its column.
Grammar, weakest first: ``or``, ``and``, ``not``, comparisons, ``+``, then calls, members and indices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from underway.config.words import shown

MAX_LENGTH = 4000
MAX_DEPTH = 40
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]{1,9})|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>=>|!=|>=|<=|[$.,()\[\]+=<>]))"
)
_CONSTANTS: dict[str, Any] = {"null": None, "true": True, "false": False}


class YaqlError(Exception):
    """An expression that cannot be read or computed; ``column`` counts from 1 inside it."""

    def __init__(self, message: str, column: int) -> None:
        self.column = column
        super().__init__(f"{message} (at character {column} of the expression)")


@dataclass(frozen=True, slots=True)
class _Part:
    """A node of the parsed expression: what it does, with what."""

    kind: str
    column: int
    value: Any = None
    inside: tuple[_Part, ...] = ()
    named: tuple[tuple[str, _Part], ...] = ()


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise YaqlError(f"an expression of {len(text):,} characters; at most {MAX_LENGTH:,}", 1)
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        self.depth = 0
        place = 0
        text = text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                start = len(text) - len(text[place:].lstrip())
                raise YaqlError(f"{shown(text[start : start + 1])} is not known here", start + 1)
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind], match.start(kind) + 1))
            place = match.end()
        self.end = len(text) + 1

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def column(self) -> int:
        return self.tokens[self.at][2] if self.at < len(self.tokens) else self.end

    def take(self, word: str) -> bool:
        if self.peek() == word and self.tokens[self.at][0] != "text":
            self.at += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            found = shown(self.peek()) if self.peek() else "the end"
            raise YaqlError(f"expected {shown(word)}, found {found}", self.column())

    def whole(self) -> _Part:
        part = self.either()
        if self.at < len(self.tokens):
            raise YaqlError(f"{shown(self.peek())} is not known here", self.column())
        return part

    def either(self) -> _Part:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise YaqlError(f"nested deeper than {MAX_DEPTH} levels", self.column())
        part = self.chain(("or",), lambda: self.chain(("and",), self.negation))
        self.depth -= 1
        return part

    def chain(self, marks: tuple[str, ...], inner: Callable[[], _Part]) -> _Part:
        part = inner()
        while self.peek() in marks and self.tokens[self.at][0] != "text":
            column, mark = self.column(), self.peek()
            self.at += 1
            part = _Part("operator", column, mark, (part, inner()))
        return part

    def negation(self) -> _Part:
        column = self.column()
        if self.take("not"):
            return _Part("not", column, inside=(self.negation(),))
        return self.chain(("=", "!=", "<", ">", "<=", ">="), lambda: self.chain(("+",), self.postfix))

    def postfix(self) -> _Part:
        part = self.primary()
        while True:
            column = self.column()
            if self.take("."):
                name = self.word()
                if self.take("("):
                    part = self.call(name, column, (part,))
                else:
                    part = _Part("member", column, name, (part,))
            elif self.take("["):
                part = _Part("index", column, inside=(part, self.either()))
                self.need("]")
            else:
                return part

    def word(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "word":
            raise YaqlError("expected a name", self.column())
        self.at += 1
        return self.tokens[self.at - 1][1]

    def call(self, name: str, column: int, first: tuple[_Part, ...]) -> _Part:
        parts = list(first)
        named: list[tuple[str, _Part]] = []
        while not self.take(")"):
            if len(parts) + len(named) > len(first):
                self.need(",")
            following = self.tokens[self.at + 1][1] if self.at + 1 < len(self.tokens) else ""
            if following == "=>":
                key = self.word()
                self.need("=>")
                named.append((key, self.either()))
            else:
                parts.append(self.either())
        return _Part("call", column, name, tuple(parts), tuple(named))

    def primary(self) -> _Part:
        column = self.column()
        if self.at >= len(self.tokens):
            raise YaqlError("the expression ends too early", column)
        kind, text, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return _Part("constant", column, int(text))
        if kind == "text":
            return _Part("constant", column, re.sub(r"\\(.)", r"\1", text[1:-1]))
        if kind == "word":
            if text in _CONSTANTS:
                return _Part("constant", column, _CONSTANTS[text])
            self.need("(")
            return self.call(text, column, ())
        if text == "$":
            return _Part("data", column)
        if text == "(":
            part = self.either()
            self.need(")")
            return part
        if text == "[":
            items: list[_Part] = []
            while not self.take("]"):
                if items:
                    self.need(",")
                items.append(self.either())
            return _Part("list", column, inside=tuple(items))
        raise YaqlError(f"{shown(text)} is not known here", column)


def evaluate(expression: str, data: Any) -> Any:
    """What ``expression`` is for ``$`` = ``data`` (dicts, lists, scalars). Raises ``YaqlError``."""
    return _value(_Parser(expression).whole(), data)


def _value(part: _Part, data: Any) -> Any:
    if part.kind == "constant":
        return part.value
    if part.kind == "data":
        return data
    if part.kind == "list":
        return [_value(one, data) for one in part.inside]
    if part.kind == "not":
        return not _value(part.inside[0], data)
    if part.kind == "operator":
        return _operator(part, data)
    if part.kind == "member":
        return _member(_value(part.inside[0], data), part.value, part.column)
    if part.kind == "index":
        return _index(_value(part.inside[0], data), _value(part.inside[1], data), part.column)
    return _call(part, data)


def _operator(part: _Part, data: Any) -> Any:
    mark = part.value
    left = _value(part.inside[0], data)
    if mark == "and":
        return left and _value(part.inside[1], data)
    if mark == "or":
        return left or _value(part.inside[1], data)
    right = _value(part.inside[1], data)
    if mark == "=":
        return left == right
    if mark == "!=":
        return left != right
    if mark == "+" and (isinstance(left, list) or isinstance(right, list)):
        if all(side is None or isinstance(side, list) for side in (left, right)):
            return (left or []) + (right or [])  # an absent base has no tasks
    elif type(left) is type(right) and isinstance(left, str | int):
        if mark == "+":
            return left + right
        return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[mark]
    raise YaqlError(f"{shown(mark)} does not fit {_kind(left)} and {_kind(right)}", part.column)


def _member(value: Any, name: str, column: int) -> Any:
    if isinstance(value, dict):
        if name in value:
            return value[name]
        raise YaqlError(f"there is no {shown(name)} in what stands before it", column)
    if isinstance(value, list):
        return [_member(one, name, column) for one in value]
    raise YaqlError(f"{_kind(value)} has no {shown(name)}", column)


def _index(value: Any, index: Any, column: int) -> Any:
    if isinstance(value, dict) and isinstance(index, str):
        return _member(value, index, column)
    if not isinstance(value, list) or not isinstance(index, int):
        raise YaqlError(f"{_kind(value)} has no place {shown(index)}", column)
    if index >= len(value):
        raise YaqlError(f"the list has {len(value)} entries, and number {index} is asked for", column)
    return value[index]


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")


def _flat(value: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for one in value:
        flat.extend(_flat(one) if isinstance(one, list) else [one])
    return flat


def _unique(value: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for one in value:
        if one not in kept:
            kept.append(one)
    return kept


_NAMED = {
    "rightSplit": ("separator", "maxSplits"),
    "split": ("separator", "maxSplits"),
    "join": ("separator",),
    "replace": ("old", "new"),
    "get": ("key", "default"),
    "first": ("default",),
    "last": ("default",),
}
"""Names of arguments that may be given by name, in their order."""
_LAMBDAS = ("where", "select", "selectMany", "any", "all")


def _call(part: _Part, data: Any) -> Any:
    name, column = part.value, part.column
    if name in _LAMBDAS:
        return _over(part, data)
    values = [_value(one, data) for one in part.inside]
    named = {key: _value(one, data) for key, one in part.named}
    if name not in _FUNCTIONS:
        raise YaqlError(f"function {shown(name)} is not known here", column)
    values.extend(named.pop(key) for key in _NAMED.get(name, ()) if key in named)
    if named:
        raise YaqlError(f"function {shown(name)} has no {shown(next(iter(named)))}", column)
    try:
        return _FUNCTIONS[name](*values)
    except (TypeError, AttributeError, ValueError, IndexError, KeyError):
        kinds = ", ".join(_kind(value) for value in values)
        raise YaqlError(f"function {shown(name)} does not fit {kinds or 'nothing'}", column) from None


def _over(part: _Part, data: Any) -> Any:
    name, column = part.value, part.column
    values = _value(part.inside[0], data) if part.inside else None
    if not isinstance(values, list) or len(part.inside) != 2:
        raise YaqlError(f"{shown(name)} works on a list, with one condition", column)
    results = [(one, _value(part.inside[1], one)) for one in values]
    if name == "where":
        return [one for one, fits in results if fits]
    if name == "any":
        return any(fits for _, fits in results)
    if name == "all":
        return all(fits for _, fits in results)
    found = [result for _, result in results]
    return _flat(found) if name == "selectMany" else found


def _concat(*parts: str) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise TypeError
    return "".join(parts)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": _concat,
    "rightSplit": lambda text, separator=None, most=-1: str.rsplit(text, separator, most),
    "split": lambda text, separator=None, most=-1: str.split(text, separator, most),
    "join": lambda values, separator: str.join(separator, values),
    "toLower": str.lower,
    "toUpper": str.upper,
    "trim": str.strip,
    "replace": str.replace,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "flatten": _flat,
    "distinct": _unique,
    "first": lambda values, *default: values[0] if values or not default else default[0],
    "last": lambda values, *default: values[-1] if values or not default else default[0],
    "len": len,
    "get": lambda values, key, default=None: values.get(key, default),
    "default": lambda value, default: default if value is None else value,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "isString": lambda value: isinstance(value, str),
    "keys": lambda values: list(values.keys()),
    "values": lambda values: list(values.values()),
    "contains": lambda values, value: value in values,
}
