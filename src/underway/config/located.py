"""YAML with a place: every key and value of a file has a line and a column, and nothing surprises.

Read are YAML 1.2 core scalars (``yes`` and ``1:30`` are text). Refused is what makes two readers see two things, or
one reader suffer: duplicate keys, anchors and aliases, merge keys, tags other than ``!vault``, several documents in a
file, numbers with a leading zero, NaN and infinity, nesting deeper than 32, files that are too long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import yaml

from underway.config.scalars import Odd, Severity, plain
from underway.config.words import shown
from underway.errors import FileProblems, Problem

MAX_DEPTH = 32
MAX_VALUES = 500_000
MAX_SCALAR = 64 * 1024
MAX_PROBLEMS = 100
"""Structural mistakes reported of one file; a file with more is not a file of ours."""

VAULT_KEY = "__ansible_vault"
VAULT_HEAD = "$ANSIBLE_VAULT;"

Place = tuple[int, int]
Marks = dict[str | int, "Mark"]


class Mark(tuple[int, int, Marks | None]):
    """(key place, value place, marks of what is inside); places are packed by ``_pack``."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """One file as plain values, with the place of each."""

    path: str
    value: dict[str, Any]
    marks: Marks
    problems: list[Problem] = field(default_factory=list)
    """Structural mistakes and warnings that did not stop the reading."""
    origins: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    """Files of the parts that were taken from another file than ``path`` (``underway.config.extending``)."""

    def origin(self, loc: Sequence[str | int]) -> str:
        """The file in which the part at ``loc`` stands."""
        if self.origins:
            for length in range(len(loc), 0, -1):
                found = self.origins.get(tuple(loc[:length]))
                if found is not None:
                    return found
        return self.path

    def walk(self, loc: tuple[str | int, ...]) -> tuple[list[str | int], Mark | None]:
        """How much of ``loc`` the file has: parts that it has not are passed over (pydantic's own marks, a short
        form written in place of the long one, a key that is missing)."""
        marks: Marks | None = self.marks
        seen: list[str | int] = []
        last: Mark | None = None
        for part in loc:
            if marks is not None and part in marks:
                last = marks[part]
                marks = last[2]
                seen.append(part)
        return seen, last

    def place(self, loc: tuple[str | int, ...], of: Literal["key", "value"] = "value") -> Place:
        """(line, column) of the key or value at ``loc``, counted from 1."""
        last = self.walk(loc)[1]
        if last is None:
            return 1, 1
        return _unpack(last[0] if of == "key" else last[1])

    def problem(
        self,
        loc: tuple[str | int, ...],
        code: str,
        message: str,
        hint: str = "",
        *,
        of: Literal["key", "value"] = "value",
        severity: Severity = "error",
    ) -> Problem:
        """A problem at ``loc``."""
        seen, last = self.walk(loc)
        line, column = (1, 1) if last is None else _unpack(last[0] if of == "key" else last[1])
        return Problem(self.origin(seen), line, column, code, message, hint, field_text(seen), severity)


def field_text(parts: list[str | int]) -> str:
    """``hosts.cmp1.limit``, ``steps[2].check``; a name that is not plain ASCII is escaped."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w@-]{1,64}", part, re.ASCII) else shown(part)
            text += f".{name}" if text else name
    return text


def _pack(line: int, column: int) -> int:
    return (line + 1) << 24 | min(column + 1, 0xFFFFFF)


def _unpack(packed: int) -> Place:
    return packed >> 24, packed & 0xFFFFFF


class _Events(Protocol):
    def get_event(self) -> Any: ...


class _PureEvents(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own parser, for a machine whose PyYAML was built without libyaml."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def events(text: str, pure: bool = False) -> _Events:
    """What the YAML parser says of ``text``, one event after another; ``pure``: PyYAML's own parser."""
    if pure or not yaml.__with_libyaml__:
        return _PureEvents(text)
    return cast(_Events, yaml.CSafeLoader(text))


_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class _Stop(Exception):
    """The file cannot be read further; its problem has been noted."""


class _Composer:
    """Events to plain values and marks. Recursion is bounded by MAX_DEPTH."""

    def __init__(self, path: str, text: str, pure: bool) -> None:
        self.path = path
        self.text = text
        self.problems: list[Problem] = []
        self.count = 0
        self.inside: Marks | None = None  # marks of the inside of the value that was read last
        self.long_quote: tuple[int, int] | None = None  # first and last line of the last quote of several lines
        try:
            self.next = events(text, pure).get_event
        except yaml.YAMLError as error:  # the pure reader looks at the first characters at once
            self.syntax(error)

    def note(self, mark: Any, code: str, message: str, hint: str = "", severity: Severity = "error") -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        self.problems.append(Problem(self.path, line, column, code, message, hint, "", severity))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def document(self) -> tuple[Any, Mark | None]:
        """The only document of the file."""
        try:
            self.next()  # stream start
            event = self.next()
            if isinstance(event, yaml.StreamEndEvent):
                return None, None
            event = self.next()
            value, mark = self.node(event, 1), Mark((0, 0, self.inside))
            self.next()  # document end
            event = self.next()
            if not isinstance(event, yaml.StreamEndEvent):
                self.note(
                    event.start_mark,
                    "several-documents",
                    "a second document starts here; expected one in a file",
                    "remove the line '---' and what follows, or put it into a file of its own",
                )
        except yaml.YAMLError as error:
            self.syntax(error)
            raise _Stop from None
        return value, mark

    def node(self, event: Any, depth: int) -> Any:
        """The value that ``event`` begins; leaves the marks of its inside in ``self.inside``."""
        self.count += 1
        if self.count > MAX_VALUES:
            self.note(event.start_mark, "too-big", f"more than {MAX_VALUES:,} values in one file", "split the cluster")
            raise _Stop
        if isinstance(event, yaml.AliasEvent):
            self.inside = None
            self.note(
                event.start_mark,
                "alias",
                f"alias {shown(f'*{event.anchor}')}: aliases are not read",
                "write the value out; what many hosts share belongs to 'vars' of their role",
            )
            return None
        if event.anchor is not None:
            self.note(
                event.start_mark,
                "alias",
                f"anchor {shown(f'&{event.anchor}')}: anchors are not read",
                "write the value out where it is used",
            )
        if isinstance(event, yaml.ScalarEvent):
            self.inside = None
            return self.scalar(event)
        if depth > MAX_DEPTH:
            self.note(event.start_mark, "too-deep", f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        if event.tag is not None:
            self.tag(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(depth)
        return self.sequence(depth)

    def tag(self, event: Any) -> None:
        hint = "only '!vault' is known here"
        if event.tag == "!unsafe":
            hint = "leave it out: values of these files always reach Ansible as data, never as templates"
        name = event.tag.replace("tag:yaml.org,2002:", "!!")
        self.note(event.start_mark, "tag", f"tag {shown(name)}: tags are not read", hint)

    def mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        marks: Marks = {}
        while True:
            event = self.next()
            if isinstance(event, yaml.MappingEndEvent):
                break
            start = event.start_mark
            key = self.key(event, depth)
            event = self.next()
            value_mark = event.start_mark
            if isinstance(event, yaml.ScalarEvent) and not event.value and event.implicit[0]:
                value_mark = start  # nothing stands there, and the parsers put nothing at different places
            value = self.node(event, depth + 1)
            if key is None:
                continue
            if key in marks:
                first = _unpack(marks[key][0])
                self.note(
                    start,
                    "duplicate-key",
                    f"key {shown(key)} stands twice: here and at line {first[0]}",
                    "keep one; neither overrides the other",
                )
                continue
            values[key] = value
            marks[key] = Mark((_pack(start.line, start.column), _pack(value_mark.line, value_mark.column), self.inside))
        self.inside = marks
        return values

    def sequence(self, depth: int) -> list[Any]:
        values: list[Any] = []
        marks: Marks = {}
        while True:
            event = self.next()
            if isinstance(event, yaml.SequenceEndEvent):
                break
            start = event.start_mark
            value = self.node(event, depth + 1)
            place = _pack(start.line, start.column)
            marks[len(values)] = Mark((place, place, self.inside))
            values.append(value)
        self.inside = marks
        return values

    def key(self, event: Any, depth: int) -> str | None:
        """A key as text, as written (``2025.2`` stays ``2025.2``); None when it is refused."""
        if not isinstance(event, yaml.ScalarEvent):
            start = event.start_mark
            self.node(event, depth + 1)  # read to its end, so that the rest of the file is looked at
            self.note(start, "key", "a key must be one word, found a list, a mapping or an alias")
            return None
        if event.anchor is not None or event.tag is not None:
            self.note(event.start_mark, "key", "a key has neither anchor nor tag")
            return None
        plain = event.implicit[0]
        if plain and event.value == "<<":
            self.note(
                event.start_mark,
                "merge-key",
                "merge key '<<': merging is not read",
                "write the keys out; what many hosts share belongs to 'vars' of their role",
            )
            return None
        if plain and event.value in ("", "~", "null"):
            self.note(event.start_mark, "key", "a key is empty", "give it a name before the ':'")
            return None
        if len(event.value) > 1024:
            self.note(event.start_mark, "too-big", f"a key of {len(event.value):,} characters; at most 1,024")
            return None
        self.escapes(event)
        return str(event.value)

    def escapes(self, event: Any) -> None:
        """Characters that only an escape in double quotes can bring in."""
        found = None if event.implicit[0] or event.value.isascii() else re.search("[\ud800-\udfff]", event.value)
        if found or "\0" in event.value:
            self.note(event.start_mark, "character", "the text holds a NUL or a lone surrogate (\\0, \\ud800…)")

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if len(text) > MAX_SCALAR:
            self.note(event.start_mark, "too-big", f"a value of {len(text):,} characters; at most {MAX_SCALAR:,}")
            return None
        if event.tag is not None:
            if event.tag != "!vault":
                self.tag(event)
                return None
            if not text.startswith(VAULT_HEAD):
                self.note(
                    event.start_mark,
                    "vault",
                    f"'!vault' is not followed by text that ansible-vault wrote ('{VAULT_HEAD}…')",
                    "make it with: ansible-vault encrypt_string",
                )
                return None
            return {VAULT_KEY: text}
        if not event.implicit[0]:
            self.escapes(event)
            if event.style in ("'", '"') and event.end_mark.line > event.start_mark.line:
                self.long_quote = event.start_mark.line + 1, event.end_mark.line + 1
            return text
        found = plain(text)
        if isinstance(found, Odd):
            self.note(event.start_mark, found.code, found.message, found.hint, found.severity)
            return found.value
        return found

    def syntax(self, error: yaml.YAMLError) -> None:
        """A mistake that ends the reading, in words of ours where PyYAML's are hard to read."""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        context = getattr(error, "context", None) or ""
        mark = getattr(error, "problem_mark", None)
        message, hint = f"not YAML: {problem}" + (f" ({context})" if context else ""), ""
        if mark is not None:
            lines = self.text.split("\n")
            line = lines[mark.line] if mark.line < len(lines) else ""
            indent = line[: len(line) - len(line.lstrip())]
            if "\t" in indent:
                message, hint = "a tab indents this line; YAML knows spaces only", "replace the tab by spaces"
            elif "cannot start any token" in problem:
                what = shown(line[mark.column : mark.column + 1])
                message, hint = f"not YAML: {what} cannot begin a value", "put the value in quotes"
            elif "mapping values are not allowed" in problem:
                message = "not YAML: a ':' where no key can be"
                hint = "put a value that holds ': ' in quotes, or look at the indentation"
            elif "unexpected end of stream" in problem and "quoted" in context:
                mark = getattr(error, "context_mark", None) or mark
                message, hint = "not YAML: the quote that opens here is never closed", "close it"
            elif self.long_quote is not None and self.long_quote[1] == mark.line + 1:
                first, last = self.long_quote
                hint = f"a quote opens at line {first} and is closed only at line {last}: is one missing?"
        try:
            self.note(mark, "syntax", message, hint)
        except _Stop:
            return


def parse(data: bytes, path: str, *, pure: bool = False, root: str = "") -> Document:
    """The document in ``data``; ``path`` is only for messages. ``root``: a list at the top is kept under this key.

    A byte order mark and CRLF are accepted. ``pure`` uses PyYAML's own parser in place of libyaml's. Raises
    ``FileProblems`` with every mistake found up to where the reading had to stop.
    """
    text = decoded(data, path)
    composer = _Composer(path, text, pure)
    value: Any = None
    mark: Mark | None = None
    stopped = bool(composer.problems)
    if not stopped:
        try:
            value, mark = composer.document()
        except _Stop:
            stopped = True
    if not stopped and value is None and not composer.problems:
        raise FileProblems([Problem(path, 1, 1, "empty", "the file is empty", "see 'underway init' for an example")])
    if root and isinstance(value, list) and mark is not None:
        value, mark = {root: value}, Mark((0, 0, {root: mark}))
    if not stopped and value is not None and not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else shown(value)
        composer.problems.append(Problem(path, 1, 1, "shape", f"expected keys and values at the top, found {found}"))
    if stopped or mark is None or not isinstance(value, dict):
        raise FileProblems(composer.problems)
    return Document(path, value, mark[2] or {}, composer.problems)


def decoded(data: bytes, path: str) -> str:
    """The text of a file in UTF-8, without a byte order mark. Raises ``FileProblems`` at what is no text."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise FileProblems([Problem(path, line, column, "encoding", found, "save the file as UTF-8")]) from None
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
        found = f"character U+{ord(bad.group()):04X} is not allowed in a text file"
        raise FileProblems([Problem(path, line, column, "character", found, "remove it")])
    return text
