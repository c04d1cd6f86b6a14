"""Snippets: lists of tasks, each with a tag from 1 to 9 (A16). Pure.

An empty snippet is accepted. One that is no YAML is refused where the mistake stands, with what was probably meant: the
original wrote it into the playbook of a whole profile, which then could not be read at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from underway.config.located import Document, parse
from underway.config.names import Wrong
from underway.config.tasks import BLOCKS, KEYWORDS, REFUSED
from underway.config.words import nearest, shown
from underway.errors import FileProblems, Problem
from underway.importers.builtin import MODULES, full, short

ROOT = "tasks"
TAGS = range(1, 10)
BASE = "edeploy"
"""The snippet that comes first in every profile."""

WORD = "fakehostgroup"
"""What the original replaces by the name of the profile."""

KNOWN = KEYWORDS | {"tags", "sudo", "sudo_user"}
"""Keywords of tasks that are understood here."""

OWN_MODULES = frozenset({"edeploy"})
"""Modules of eDeploy's own library that are understood here."""

_TRUTHS = {"yes": True, "on": True, "no": False, "off": False}
_KEY = re.compile(r"^\s+(?:- )?([A-Za-z_][A-Za-z0-9_.]*)\s*:(?:\s|$)")
_TAG_TEXT = re.compile(r"\s*[0-9]+\s*(?:,\s*[0-9]+\s*)*", re.ASCII)

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SnippetTask:
    """A task as it stands: ``tags`` are those of 1 to 9; none means that no step of an upgrade selects it."""

    index: int
    body: dict[str, Any]
    tags: tuple[int, ...]


@dataclass(slots=True)
class Snippet:
    """One file. ``empty``: it has nothing to do, which is allowed."""

    name: str
    document: Document
    tasks: list[SnippetTask] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    empty: bool = False

    def problem(self, loc: Loc, code: str, message: str, hint: str = "", **more: Any) -> Problem:
        """A problem at ``loc`` of the list of tasks."""
        return self.document.problem((ROOT, *loc), code, message, hint, **more)

    def place(self, index: int) -> str:
        """``snippets/nova-api.yaml:5``."""
        return f"{self.document.path}:{self.document.place((ROOT, index))[0]}"


def old_truths(document: Document) -> None:
    """Read ``yes``, ``no``, ``on`` and ``off`` without quotes as YAML 1.1 did: true and false."""
    places = {(one.line, one.column) for one in document.problems if one.code == "truth-word"}
    document.problems = [one for one in document.problems if one.code != "truth-word"]
    if places:
        _truths(document, document.value, (), places)


def _truths(document: Document, value: Any, loc: Loc, places: set[tuple[int, int]]) -> None:
    for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inside, dict | list):
            _truths(document, inside, (*loc, key), places)
        elif isinstance(inside, str) and inside.lower() in _TRUTHS and document.place((*loc, key)) in places:
            value[key] = _TRUTHS[inside.lower()]


def understand(name: str, path: str, data: bytes) -> Snippet:
    """The snippet in ``data``; its ``problems`` hold every mistake."""
    try:
        document = parse(data, path, root=ROOT)
    except FileProblems as error:
        snippet = Snippet(name, Document(path, {ROOT: []}, {}))
        if [problem.code for problem in error.problems] == ["empty"]:
            snippet.empty = True
        else:
            snippet.problems = list(_with_suspects(error.problems, path, data))
        return snippet
    old_truths(document)
    snippet = Snippet(name, document, problems=list(document.problems))
    tasks = document.value.get(ROOT)
    if not isinstance(tasks, list):
        hint = "each begins with '- name:'"
        snippet.problems.append(Problem(path, 1, 1, "shape", "expected a list of tasks, found keys and values", hint))
        return snippet
    snippet.empty = not tasks
    for index, body in enumerate(tasks):
        if not isinstance(body, dict):
            snippet.problems.append(snippet.problem((index,), "task", f"expected a task, found {shown(body)}"))
            continue
        snippet.problems += check(snippet, (index,), body)
        found = tags_of(body.get("tags"))
        if isinstance(found, Wrong):
            snippet.problems.append(snippet.problem((index, "tags"), *found))
            found = ()
        elif not found:
            message = f"task {shown(body.get('name', index + 1))} has no tag: no step of an upgrade selects it"
            more = {"severity": "warning"}
            snippet.problems.append(
                snippet.problem((index,), "never-selected", message, "give it tags: 1 to 9", **more)
            )
        snippet.tasks.append(SnippetTask(index, body, found))
    return snippet


def _with_suspects(problems: tuple[Problem, ...], path: str, data: bytes) -> Iterator[Problem]:
    """What cannot be read, at the line that looks wrong, and keys that look mistyped."""
    lines = data.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        key = _KEY.match(line)
        if key is not None and full(key[1]) is None and key[1] not in KNOWN:
            hint = nearest(key[1], KNOWN)
            if hint:
                column = line.index(key[1]) + 1
                yield Problem(path, number, column, "unknown-key", f"unknown key {shown(key[1])}", hint)
    for problem in problems:
        number, bare = _bare(lines)
        if problem.code == "syntax" and bare:
            column = len(bare) - len(bare.lstrip()) + 1
            hint = "is 'when: ' missing before it?" if re.search(r"[=!]=|\bin\b", bare) else "is its key missing?"
            message = f"not YAML: no key before {shown(bare.strip())}"
            problem = replace(problem, line=number, column=column, message=message, hint=hint)
        yield problem


def _bare(lines: list[str]) -> tuple[int, str]:
    """The first line inside a task that has no key."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith(("#", "-")) and line[0] == " " and not re.search(r":(\s|$)", text):
            return number, line
    return 0, ""


def tags_of(value: Any) -> tuple[int, ...] | Wrong:
    """``7``, ``"7"``, ``6, 7`` or a list of these, in ascending order; nothing for no tags."""
    parts = value if isinstance(value, list) else [] if value is None else [value]
    found: set[int] = set()
    for part in parts:
        if isinstance(part, str) and _TAG_TEXT.fullmatch(part):
            numbers = [int(one) for one in part.split(",")]
        elif isinstance(part, int) and not isinstance(part, bool):
            numbers = [part]
        else:
            return Wrong("tag", f"expected a tag from 1 to 9, found {shown(part)}", "one number, such as 7")
        odd = next((number for number in numbers if number not in TAGS), None)
        if odd is not None:
            return Wrong("tag", f"tag {odd} is none of 1 to 9: no step of an upgrade would select it", "1 to 9")
        found.update(numbers)
    return tuple(sorted(found))


def module_keys(body: dict[str, Any]) -> list[str]:
    """Keys that are no keyword: the module, if all is well."""
    return [key for key in body if key not in KNOWN and key not in BLOCKS and not key.startswith("with_")]


def check(snippet: Snippet, loc: Loc, body: dict[str, Any], depth: int = 0) -> Iterator[Problem]:
    """What is wrong with the shape of a task."""
    if any(part in body for part in BLOCKS):
        for part in BLOCKS:
            inside = body.get(part, [])
            if not isinstance(inside, list) or depth > 4:
                found = shown(inside) if depth <= 4 else "blocks nested deeper than 5"
                yield snippet.problem((*loc, part), "task", f"expected a list of tasks, found {found}")
                continue
            for index, one in enumerate(inside):
                if isinstance(one, dict):
                    yield from check(snippet, (*loc, part, index), one, depth + 1)
                else:
                    yield snippet.problem((*loc, part, index), "task", f"expected a task, found {shown(one)}")
    modules = module_keys(body)
    modules = [key for key in modules if short(key) not in REFUSED]  # told when the task is converted
    unknown = [key for key in modules if full(key) is None and short(key) not in OWN_MODULES]
    for key in unknown:
        hint = nearest(key, KNOWN) or nearest(key, MODULES)
        if not hint and len(modules) > 1:
            hint = "a task has one module; what else it may have are keys of Ansible's tasks"
        hint = hint or "modules of ansible-core, of a collection (three words with dots) and 'edeploy' are known"
        yield snippet.problem((*loc, key), "unknown-key", f"unknown key {shown(key)}", hint, of="key")
    if not unknown and "block" not in body and not any(short(key) in REFUSED for key in body if key != "tags"):
        named = modules + (["action"] if "action" in body else [])
        if not named:
            yield snippet.problem(loc, "task", "the task names no module", "for example: command: ...")
        elif len(named) > 1:
            message = f"the task names more than one module: {', '.join(map(shown, named[:4]))}"
            yield snippet.problem((*loc, named[1]), "task", message, "make two tasks of it", of="key")
