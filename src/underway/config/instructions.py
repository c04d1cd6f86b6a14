"""Instructions of an upgrade by keys: JSON on the command line or in a file, every mistake at its place.

The keys are those of python-jiocloud: ``rolling_rules``, ``role_order`` (``role_dependencies`` is its later name),
``group_mappings``. What is given on the command line wins, key by key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underway.config.located import Document, parse
from underway.config.reading import MAX_SMALL_BYTES, read_bytes
from underway.config.words import one_of, shown, shown_path
from underway.core.compat.instructions import Fault, Instructions, Loc, Rules, pattern_fault, resolve
from underway.errors import FileProblems, Problem

USUAL_FILES = (Path("/etc/jio-upgrade.json"), Path("/etc/jiocloud-upgrade.json"))
"""Where instructions lie: the documented place, then that where the program they come from looked instead."""

GIVEN = "--instructions"

KEYS = ("rolling_rules", "role_order", "role_dependencies", "group_mappings")
ORDERS = ("role_order", "role_dependencies")
MOST = 1_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,7}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sources:
    """Instructions, and the documents that each of their keys came from. ``warnings``: what does not stop anything."""

    value: Instructions = field(default_factory=Instructions)
    documents: Mapping[str, tuple[Document, str]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    def rules(self, roles: Collection[str], whole: bool) -> tuple[Rules, list[Problem]]:
        """The rules for the roles that there are, and warnings. Raises FileProblems with every mistake."""
        rules, faults = resolve(self.value, roles, whole)
        problems = [self._problem(fault) for fault in faults]
        if any(problem.severity == "error" for problem in problems):
            raise FileProblems(problems)
        return rules, problems

    def _problem(self, fault: Fault) -> Problem:
        document, key = self.documents[str(fault.loc[0])]
        loc = (key, *fault.loc[1:])
        return document.problem(loc, fault.code, fault.message, fault.hint, of="key", severity=fault.severity)


def read_instructions(given: str, file: Path | None = None, usual: Sequence[Path] = USUAL_FILES) -> Sources:
    """The instructions of ``--instructions`` (JSON, or the name of a file with it) over those of the file.

    ``file``: the one that was named; None: the first of ``usual`` that is there, if any. Raises FileProblems with every
    mistake of both.
    """
    warnings: list[Problem] = []
    documents = []
    if given.strip():
        documents.append(_document(given.encode(), GIVEN) if given.lstrip()[0] in "{[" else _file(Path(given)))
    found = file if file is not None else _usual_file(usual, warnings)
    if found is not None:
        documents.append(_file(found))
    problems: list[Problem] = []
    parts: dict[str, Any] = {}
    sources: dict[str, tuple[Document, str]] = {}
    for document in documents:
        problems += document.problems
        for key, value, name in _keys(document, problems):
            if name not in parts:  # the command line is read first, and an empty value there leaves the file's
                parts[name] = value
                sources[name] = (document, key)
    if any(problem.severity == "error" for problem in problems):
        raise FileProblems(problems)
    return Sources(_build(parts), sources, (*warnings, *problems))


def _usual_file(usual: Sequence[Path], warnings: list[Problem]) -> Path | None:
    there = [path for path in usual if path.exists()]
    for path in there:
        if path is not usual[0]:
            read = path is there[0]
            text = "is the older name of this file" if read else f"is not read: {there[0]} is there, too"
            hint = f"rename it to {usual[0]}" if read else "delete one of them"
            warnings.append(Problem(str(path), 0, 0, "older-file", text, hint, "", "warning"))
    return there[0] if there else None


def _file(path: Path) -> Document:
    return _document(read_bytes(path, shown_path(path), MAX_SMALL_BYTES), shown_path(path))


def _document(data: bytes, path: str) -> Document:
    """JSON with the place of everything in it: judged as JSON first, then read by the reader of all our files."""
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        text = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        raise FileProblems([Problem(path, error.lineno, error.colno, "syntax", text)]) from None
    except (ValueError, RecursionError):
        pass  # not UTF-8, nested too deeply, a number too long: the reader says it with its place
    return parse(data, path)


def _keys(document: Document, problems: list[Problem]) -> Iterator[tuple[str, Any, str]]:
    """(key as written, its value, our name for it) of those that say something."""
    value = document.value
    both = [key for key in ORDERS if key in value]
    if len(both) > 1:
        text = "role_order and role_dependencies are two names of one thing, and both are given"
        problems.append(document.problem((both[1],), "order-twice", text, "keep one", of="key"))
    for key, found in value.items():
        if key not in KEYS:
            problems.append(_unknown_key(document, (key,), key, KEYS))
            continue
        before = len(problems)
        problems += _CHECKS[key](document, key, found)
        if found and len(problems) == before:
            yield key, found, "role_order" if key in ORDERS else key


def _unknown_key(document: Document, loc: Loc, key: str, valid: Collection[str]) -> Problem:
    dashed = key.replace("-", "_")
    if "-" in key and dashed in valid:
        return document.problem(loc, "hyphen", f"key {shown(key)} is written with '_'", f"write {dashed}", of="key")
    return document.problem(loc, "unknown-key", f"unknown key {shown(key)}", one_of(key, valid), of="key")


def _mapping(document: Document, loc: Loc, value: Any, of: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield document.problem(loc, "type", f"expected {of}, found {shown(value)}")
        return
    for name in value:
        if not _NAME.fullmatch(name):
            text = f"{shown(name)} is not the name of a role or group"
            yield document.problem((*loc, name), "name", text, "letters, digits, '.', '_' and '-'", of="key")


def _rolling_rules(document: Document, key: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield document.problem((key,), "type", f"expected global and roles, found {shown(value)}")
        return
    for name, found in value.items():
        if name == "global":
            yield from _number(document, (key, name), found)
        elif name == "roles":
            yield from _mapping(document, (key, name), found, "roles with a number each")
            for role, limit in found.items() if isinstance(found, dict) else ():
                yield from _number(document, (key, name, role), limit)
        else:
            hint_keys = ("global", "roles")
            problem = _unknown_key(document, (key, name), name, hint_keys)
            yield problem


def _number(document: Document, loc: Loc, value: Any) -> Iterator[Problem]:
    fine = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    if fine or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return
    hint = "a whole number from 0 on; 0 freezes"
    yield document.problem(loc, "limit", f"expected a number of hosts, found {shown(value)}", hint)


def _order(document: Document, key: str, value: Any) -> Iterator[Problem]:
    yield from _mapping(document, (key,), value, "roles, each with those that come before it")
    for name, before in value.items() if isinstance(value, dict) else ():
        yield from _words(document, (key, name), before, "a role or a list of roles", _role_fault)


def _groups(document: Document, key: str, value: Any) -> Iterator[Problem]:
    yield from _mapping(document, (key,), value, "groups, each with the patterns of its roles")
    for name, patterns in value.items() if isinstance(value, dict) else ():
        yield from _words(document, (key, name), patterns, "a pattern or a list of patterns", pattern_fault)


def _role_fault(name: str) -> tuple[str, str, str] | None:
    if _NAME.fullmatch(name):
        return None
    return "name", f"{shown(name)} is not the name of a role", "letters, digits, '.', '_' and '-'"


def _words(
    document: Document, loc: Loc, value: Any, what: str, fault_of: Callable[[str], tuple[str, str, str] | None]
) -> Iterator[Problem]:
    """A text, or a list of texts, none of them twice."""
    listed = value if isinstance(value, list) else [value]
    if not listed:
        yield document.problem(loc, "empty", f"expected {what}, found an empty list", "leave the key out")
    seen: set[str] = set()
    for index, one in enumerate(listed):
        where = (*loc, index) if isinstance(value, list) else loc
        if not isinstance(one, str):
            yield document.problem(where, "type", f"expected {what}, found {shown(one)}")
            continue
        if one in seen:
            yield document.problem(where, "duplicate", f"{shown(one)} stands twice in this list", "keep one")
        seen.add(one)
        fault = fault_of(one)
        if fault is not None:
            yield document.problem(where, *fault)


_CHECKS = {
    "rolling_rules": _rolling_rules,
    "role_order": _order,
    "role_dependencies": _order,
    "group_mappings": _groups,
}


def _build(parts: Mapping[str, Any]) -> Instructions:
    rules = parts.get("rolling_rules", {})
    return Instructions(
        limit=int(rules["global"]) if "global" in rules else None,
        limits={role: int(limit) for role, limit in rules.get("roles", {}).items()},
        order={name: _several(before) for name, before in parts.get("role_order", {}).items()},
        groups={name: _several(patterns) for name, patterns in parts.get("group_mappings", {}).items()},
    )


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


__all__ = ["GIVEN", "USUAL_FILES", "Sources", "read_instructions"]
