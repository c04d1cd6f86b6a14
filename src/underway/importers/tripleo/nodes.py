"""YAML of Heat and Ansible as a tree in which every value knows its place.

TripleO's files are YAML 1.1 (``yes`` is true, ``0644`` a file mode) with anchors, so they are not read by
``config.located``, whose files are YAML 1.2 without. Values wander from template to template (``get_attr``): a value
keeps the place where somebody wrote it, and messages name that one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from underway.config.located import decoded, events
from underway.config.scalars import Odd, plain
from underway.config.words import shown
from underway.errors import FileProblems, Problem

MAX_DEPTH = 32
MAX_VALUES = 200_000
"""Values in one file, and values that anything made of them may have once aliases are followed."""
MAX_SCALAR = 64 * 1024


class Place(NamedTuple):
    """Where a value stands: file as shown to people, line and column from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Refusal(Exception):
    """What cannot be imported, and where; whoever asked says what is refused for it."""

    def __init__(self, place: Place, code: str, message: str, hint: str = "") -> None:
        self.problem = Problem(*place, code, message, hint)
        super().__init__(str(self.problem))


class Twice(NamedTuple):
    """A key that stands twice in a mapping with different values: YAML 1.1 readers take the last, unseen."""

    first: Place
    second: Place


@dataclass(slots=True, eq=False)
class Node:
    """A value: a scalar, a list of nodes, a mapping of names to nodes, or what ``heat`` puts in their place.

    Nodes are never changed; an alias is the very node of its anchor.
    """

    place: Place
    value: Any
    twice: dict[str, Twice] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        """The value of ``key`` of a mapping, or None. Raises ``Refusal`` where it stands twice."""
        self.check_twice(key)
        found = self.value.get(key)
        return found if isinstance(found, Node) else None

    def check_twice(self, key: str) -> None:
        """Refuse a key of which a reader could take one value or the other."""
        twice = self.twice.get(key)
        if twice is not None:
            message = f"key {shown(key)} stands twice, with different values: here and at line {twice.first.line}"
            raise Refusal(twice.second, "duplicate-key", message, "keep one; neither overrides the other")

    def mapping(self, what: str) -> dict[str, Node]:
        """The value as a mapping. Raises ``Refusal`` if it is none, or has a key twice."""
        if not isinstance(self.value, dict):
            raise Refusal(self.place, "type", f"expected {what}, found {show(self)}")
        for key in self.twice:
            self.check_twice(key)
        return self.value

    def items(self, what: str) -> list[Node]:
        """The value as a list. Raises ``Refusal`` if it is none."""
        if not isinstance(self.value, list):
            raise Refusal(self.place, "type", f"expected {what}, found {show(self)}")
        return self.value

    def text(self, what: str) -> str:
        """The value as text. Raises ``Refusal`` if it is none."""
        if not isinstance(self.value, str):
            raise Refusal(self.place, "type", f"expected {what}, found {show(self)}", "put it in quotes")
        return self.value


def show(node: Node) -> str:
    """A value as a message may repeat it."""
    return shown(node.value)


class Budget:
    """Counts values that are looked at, so that nested aliases cannot make work without end."""

    def __init__(self, most: int = MAX_VALUES) -> None:
        self.most = self.left = most

    def spend(self, place: Place) -> None:
        """One more value. Raises ``Refusal`` when there were too many."""
        self.left -= 1
        if self.left < 0:
            message = f"more than {self.most:,} values once aliases and functions are followed"
            raise Refusal(place, "too-big", message, "look for anchors that hold aliases of other anchors")


def bare(node: Node, budget: Budget | None = None) -> Any:
    """The plain value of a node: dicts, lists and scalars."""
    budget = budget or Budget()
    budget.spend(node.place)
    if isinstance(node.value, dict):
        return {key: bare(one, budget) for key, one in node.value.items()}
    if isinstance(node.value, list):
        return [bare(one, budget) for one in node.value]
    return node.value


_TRUE = frozenset({"yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"no", "No", "NO", "off", "Off", "OFF"})
_OCTAL = re.compile(r"0[0-7]+")


class _Composer:
    """Events to nodes. Recursion is bounded by MAX_DEPTH."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.next = events(text).get_event
        self.count = 0
        self.anchors: dict[str, Node | None] = {}

    def wrong(self, mark: Any, code: str, message: str, hint: str = "") -> FileProblems:
        place = Place(self.path, mark.line + 1, mark.column + 1) if mark is not None else Place(self.path, 1, 1)
        return FileProblems([Problem(*place, code, message, hint)])

    def document(self) -> Node:
        self.next()  # stream start
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            raise FileProblems([Problem(self.path, 1, 1, "empty", "the file is empty")])
        node = self.node(self.next(), 1)
        self.next()  # document end
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self.wrong(event.start_mark, "several-documents", "a second document starts here; expected one")
        return node

    def node(self, event: Any, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_VALUES:
            raise self.wrong(event.start_mark, "too-big", f"more than {MAX_VALUES:,} values in one file")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if depth > MAX_DEPTH:
            raise self.wrong(event.start_mark, "too-deep", f"nested deeper than {MAX_DEPTH} levels")
        place = Place(self.path, event.start_mark.line + 1, event.start_mark.column + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(place, self.scalar(event))
        elif event.tag is not None:
            raise self.wrong(event.start_mark, "tag", f"tag {shown(event.tag)}: tags are not read")
        elif isinstance(event, yaml.MappingStartEvent):
            node = self.mapping(place, depth)
        else:
            node = self.sequence(place, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.wrong(event.start_mark, "alias", f"alias {shown(f'*{event.anchor}')} has no anchor before it")
        node = self.anchors[event.anchor]
        if node is None:
            message = f"alias {shown(f'*{event.anchor}')} stands inside what it names"
            raise self.wrong(event.start_mark, "alias", message, "a value cannot hold itself")
        return node

    def mapping(self, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        twice: dict[str, Twice] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            mark = event.start_mark
            if not isinstance(event, yaml.ScalarEvent):
                raise self.wrong(mark, "key", "a key must be one word, found a list, a mapping or an alias")
            key = str(event.value)
            if event.implicit[0] and key == "<<":
                raise self.wrong(mark, "merge-key", "merge key '<<': merging is not read", "write the keys out")
            at = Place(self.path, mark.line + 1, mark.column + 1)
            value = self.node(self.next(), depth + 1)
            if key in values and not _same(values[key], value):
                twice[key] = Twice(keys[key], at)
            values[key], keys[key] = value, at
        return Node(place, values, twice)

    def sequence(self, place: Place, depth: int) -> Node:
        values: list[Node] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            values.append(self.node(event, depth + 1))
        return Node(place, values)

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        if len(text) > MAX_SCALAR:
            message = f"a value of {len(text):,} characters; at most {MAX_SCALAR:,}"
            raise self.wrong(event.start_mark, "too-big", message)
        if event.tag is not None:
            raise self.wrong(event.start_mark, "tag", f"tag {shown(event.tag)}: tags are not read")
        if not event.implicit[0]:
            return text
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _OCTAL.fullmatch(text):
            return text  # a file mode: Ansible means the same by the text
        found = plain(text)
        if isinstance(found, Odd):
            if found.value is None:
                raise self.wrong(event.start_mark, found.code, found.message, found.hint)
            return found.value
        return found


def _same(one: Node, other: Node) -> bool:
    try:
        return bool(bare(one) == bare(other))
    except Refusal:  # too much to compare: what cannot be told to be the same is not
        return False


def parse(data: bytes, path: str) -> Node:
    """The only document in ``data``. Raises ``FileProblems`` with the place of the first mistake."""
    composer = _Composer(path, text := decoded(data, path))
    try:
        return composer.document()
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not YAML"
        context = getattr(error, "context", None)
        mark = getattr(error, "problem_mark", None)
        lines = text.split("\n")
        line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
        hint = ""
        if line.lstrip().startswith(("{%", "{{", "{#")):
            hint = (
                "this is Jinja2: rename it to .j2.yaml, or give the file that TripleO's process-templates.py made of it"
            )
        elif "\t" in line[: len(line) - len(line.lstrip())]:
            hint = "replace the tab by spaces"
        raise composer.wrong(
            mark, "syntax", f"not YAML: {problem}" + (f" ({context})" if context else ""), hint
        ) from None
