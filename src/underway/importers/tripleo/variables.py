"""Variables that imported tasks read: which are settings, which a task makes, and which TripleO's own inventory had."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, TemplateError, meta

from underway.config.tasks import BLOCKS, KEYWORDS
from underway.importers.tripleo.nodes import Node
from underway.importers.tripleo.parameters import Reference, Text
from underway.importers.tripleo.steps import results

_PARSER = Environment(autoescape=True)
_GIVEN = frozenset(
    {
        "ansible_facts", "ansible_hostname", "environment", "group_names", "groups", "hostvars", "inventory_hostname",
        "inventory_hostname_short", "item", "lookup", "now", "omit", "play_hosts", "playbook_dir", "q", "query",
        "range", "role_name", "step", "undef", "vars",
    }
)  # fmt: skip
"""Names that Ansible gives, and the step."""
_CONDITIONS = ("when", "failed_when", "changed_when", "until")
_OPTIONAL = r"\b{}\s*(\|\s*(default|d)\b|is\s+(not\s+)?(defined|undefined)\b)"


def references(node: Node) -> Iterator[tuple[Reference, Node]]:
    """The settings in a resolved value, each with the node that holds it."""
    value = node.value
    if isinstance(value, Reference):
        yield value, node
    elif isinstance(value, Text):
        for part in value.parts:
            if isinstance(part, Reference):
                yield part, node
    elif isinstance(value, dict):
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def outside(tasks: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[str]:
    """Names that tasks (of a whole list, in order) read, that nothing of them makes, and without which they fail.

    ``known``: settings, defaults, and what other lists leave behind.
    """
    made = set(known) | _GIVEN
    listed = list(tasks)
    for task in listed:
        made |= _made(task)
    needed: dict[str, None] = {}
    for task in listed:
        for name in _read(task):
            if name not in made and not name.startswith(("ansible_", "underway_")):
                needed[name] = None
    return list(needed)


def _made(task: Mapping[str, Any]) -> set[str]:
    names = results(dict(task))
    for inner in _inside(task):
        names |= set(inner.get("vars", {})) if isinstance(inner.get("vars"), dict) else set()
        control = inner.get("loop_control")
        if isinstance(control, dict):
            names |= {str(control[key]) for key in ("loop_var", "index_var") if key in control}
    return names


def _inside(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield task
    for part in BLOCKS:
        for inner in task.get(part, []):
            yield from _inside(inner)


def _read(task: Mapping[str, Any]) -> Iterator[str]:
    for inner in _inside(task):
        for key, value in inner.items():
            if key in BLOCKS or key in ("name", "register"):
                continue
            yield from _names(value, expression=key in _CONDITIONS and key in KEYWORDS)


def _names(value: Any, *, expression: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _names(one, expression=False)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one, expression=expression)
    elif isinstance(value, str) and (expression or "{{" in value or "{%" in value):
        text = "{{ " + value + " }}" if expression else value
        try:
            found = meta.find_undeclared_variables(_PARSER.parse(text))
        except (TemplateError, RecursionError):
            return  # a filter of Ansible's own grammar: Ansible will say
        for name in sorted(found):
            if not re.search(_OPTIONAL.format(re.escape(name)), value):
                yield name
