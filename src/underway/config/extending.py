"""Services that extend others: the document of one laid over the document of another, each part with its own file.

Rules, in the order of docs/reference/files.md: a part that is given replaces the base's part of that name; ``vars``,
``probes``, ``bits``, ``phases`` and ``actions`` are mappings of such parts, ``handlers`` a list of them; a phase or an
action may ``change``, ``leave_out`` or put ``first`` or ``last`` single steps instead. Nothing else is merged: a list,
a task, the value of a variable is whole, as it stands in one file.

Documents are joined before their shape is looked at, so what is wrong in either of them is told of the joined one, at
its place in its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from underway.config.located import Document, Mark, Marks
from underway.config.words import one_of, shown
from underway.errors import Problem

Loc = tuple[str | int, ...]

SERVICE = "<service>"
"""In the text of an abstract service: the name of the service that extends it."""
OWN = "<own>"
"""In the text of an abstract service: that name as variables begin with it, '_' for '-'."""

CHANGES = ("change", "leave_out", "first", "last")
"""Keys of a phase or an action that say what is different from the base's steps."""

NOT_INHERITED = ("service", "extends", "abstract")
_NOWHERE = Mark((0, 0, None))


@dataclass(frozen=True, slots=True)
class _Part:
    """A value with its place and its file; ``inside``: its parts, where some may come from other files."""

    path: str
    mark: Mark
    value: Any
    inside: dict[str, _Part] | list[_Part] | None = None

    def mapping(self) -> dict[str, _Part]:
        """Its parts by key; none where it is no mapping."""
        if isinstance(self.inside, dict):
            return dict(self.inside)
        if not isinstance(self.value, dict) or self.inside is not None:
            return {}
        marks = self.mark[2] or {}
        return {key: _Part(self.path, marks.get(key, _NOWHERE), value) for key, value in self.value.items()}

    def listed(self) -> list[_Part]:
        """Its parts in order; none where it is no list."""
        if isinstance(self.inside, list):
            return list(self.inside)
        if not isinstance(self.value, list) or self.inside is not None:
            return []
        marks = self.mark[2] or {}
        return [_Part(self.path, marks.get(index, _NOWHERE), value) for index, value in enumerate(self.value)]

    def of(self, inside: dict[str, _Part] | list[_Part]) -> _Part:
        """At the same place, made of these parts."""
        return _Part(self.path, self.mark, type(inside)(), inside)

    def is_a(self, kind: type) -> bool:
        return isinstance(self.value, kind)

    def text(self, key: str) -> str | None:
        """What stands under ``key``, if that is text."""
        found = self.mapping().get(key)
        return found.value if found is not None and isinstance(found.value, str) else None


def filled(doc: Document, name: str) -> Document:
    """An abstract service's document for the service called ``name``."""
    own = name.replace("-", "_")

    def text(word: str) -> str:
        return word.replace(SERVICE, name).replace(OWN, own) if "<" in word else word

    def value(one: Any) -> Any:
        if isinstance(one, str):
            return text(one)
        if isinstance(one, dict):
            return {text(key): value(inside) for key, inside in one.items()}
        return [value(inside) for inside in one] if isinstance(one, list) else one

    def marks(found: Marks | None) -> Marks | None:
        if found is None:
            return None
        return {
            text(key) if isinstance(key, str) else key: Mark((mark[0], mark[1], marks(mark[2])))
            for key, mark in found.items()
        }

    return Document(doc.path, value(doc.value), marks(doc.marks) or {}, doc.problems)


def joined(documents: Sequence[Document]) -> tuple[Document, list[Problem]]:
    """Each document laid over those before it, the base first; and what is wrong with their changes.

    None of them is touched. The joined one has the path of the last that is a service.
    """
    problems: list[Problem] = []
    whole = _root(documents[0])
    for document in documents[1:]:
        joint = _Joint(document)
        whole = joint.over(whole)
        problems += joint.problems
    origins: dict[Loc, str] = {}
    value, mark = _closed(whole, (), whole.path, origins)
    return Document(whole.path, value, mark[2] or {}, documents[-1].problems, origins), problems


def _root(doc: Document) -> _Part:
    """A document as a part, its phases in their long form: so a step has one place in both forms."""
    root = _Part(doc.path, Mark((0, 0, doc.marks)), doc.value)
    phases = root.mapping().get("phases")
    if phases is None or not phases.is_a(dict):
        return root
    long = {name: spec.of({"steps": spec}) if spec.is_a(list) else spec for name, spec in phases.mapping().items()}
    return root.of({**root.mapping(), "phases": phases.of(long)})


def _closed(part: _Part, loc: Loc, path: str, origins: dict[Loc, str]) -> tuple[Any, Mark]:
    """The value and the mark of a part; notes where the file is another than ``path``, that of what is around it."""
    if part.path != path:
        origins[loc] = part.path
    if part.inside is None:
        return part.value, part.mark
    inside = part.inside.items() if isinstance(part.inside, dict) else enumerate(part.inside)
    closed = {key: _closed(one, (*loc, key), part.path, origins) for key, one in inside}
    values = {key: value for key, (value, _) in closed.items()}
    mark = Mark((part.mark[0], part.mark[1], {key: mark for key, (_, mark) in closed.items()}))
    return (values if isinstance(part.inside, dict) else list(values.values())), mark


def with_changes(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a part with steps as it stands alone, and as what is different from a base's.

    For editors: by then what is different has long been put into the base's part.
    """
    steps = whole["properties"]["steps"]
    told = {
        "change": "Steps of the base, by name: keys given replace the base's; with 'tasks' the whole step is replaced.",
        "leave_out": "Names of steps of the base.",
        "first": "Steps before those of the base.",
        "last": "Steps after those of the base.",
    }
    some: dict[str, Any] = {key: {**steps, "description": text} for key, text in told.items()}
    some["change"]["items"] = {"type": "object", "required": ["step"]}
    some["leave_out"]["items"] = {"type": "string"}
    rest = {key: part for key, part in whole["properties"].items() if key != "steps"}
    return [
        {key: part for key, part in whole.items() if key != "description"},
        {
            "title": "Changes to the base's",
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {**rest, **some},
        },
    ]


class _Joint:
    """One document over its base."""

    def __init__(self, doc: Document) -> None:
        self.doc = doc
        self.problems: list[Problem] = []

    def wrong(self, loc: Loc, message: str, hint: str) -> None:
        self.problems.append(self.doc.problem(loc, "extends", message, hint))

    def over(self, base: _Part) -> _Part:
        own = _root(self.doc)
        given = own.mapping()
        service = "service" in given  # else values only: what they are laid over stays the service that it is
        parts = {key: part for key, part in base.mapping().items() if not service or key not in NOT_INHERITED}
        for key, part in given.items():
            below = parts.get(key)
            if key in ("phases", "actions") and part.is_a(dict):
                parts[key] = self.steps_by_name(below, part, key)
            elif key in ("vars", "probes", "bits") and part.is_a(dict) and below is not None:
                parts[key] = part.of({**below.mapping(), **part.mapping()})
            elif key == "handlers" and part.is_a(list) and below is not None:
                names = {one.text("name") for one in part.listed()}
                parts[key] = part.of([*(o for o in below.listed() if o.text("name") not in names), *part.listed()])
            else:
                parts[key] = part
        return (own if service else base).of(parts)

    def steps_by_name(self, base: _Part | None, own: _Part, key: str) -> _Part:
        """Phases or actions, each replaced, changed or left out."""
        parts = base.mapping() if base is not None else {}
        for name, part in own.mapping().items():
            below, inside = parts.get(name), part.mapping()
            changes = [change for change in CHANGES if change in inside]
            if "steps" in inside and changes:
                hint = "give all steps, or say what is different from the base's"
                self.wrong((key, name, changes[0]), f"'{changes[0]}' stands beside 'steps'", hint)
            elif "steps" in inside and inside["steps"].is_a(list) and not inside["steps"].listed():
                if parts.pop(name, None) is None:
                    message = f"there is nothing to leave out: the base has no {name} in its {key}"
                    self.wrong((key, name), message, "remove it here")
            elif "steps" in inside or not part.is_a(dict) or (below is None and not changes):
                parts[name] = part
            elif below is None:
                message = f"there is nothing to change: the base has no {name} in its {key}"
                self.wrong((key, name), message, "give its 'steps'")
            else:
                parts[name] = self.changed(below, part, (key, name))
                if not parts[name].mapping()["steps"].listed():
                    self.wrong((key, name), "no step is left", f"write '{name}: []' to leave all of it out")
                    del parts[name]
        return own.of(parts)

    def changed(self, base: _Part, own: _Part, loc: Loc) -> _Part:
        """A phase or an action of the base with what is different in it."""
        parts, inside = base.mapping(), own.mapping()
        steps = parts["steps"].listed() if "steps" in parts else []
        for index, name in enumerate(self.listed(inside, "leave_out", loc)):
            found = self.find(steps, name.value, (*loc, "leave_out", index))
            if found is not None:
                del steps[found]
        for index, step in enumerate(self.listed(inside, "change", loc)):
            found = self.find(steps, step.text("step"), (*loc, "change", index))
            if found is None:
                continue
            # what the base says of a step (that it may run again, how one sees that it happened) is about its tasks
            whole = "tasks" in step.mapping()
            steps[found] = step if whole else step.of({**steps[found].mapping(), **step.mapping()})
        steps = [*self.listed(inside, "first", loc), *steps, *self.listed(inside, "last", loc)]
        own_keys = {key: part for key, part in inside.items() if key not in CHANGES}
        return own.of({**parts, **own_keys, "steps": own.of(steps)})

    def listed(self, inside: dict[str, _Part], key: str, loc: Loc) -> list[_Part]:
        """The list under ``key``; none with a problem where it is something else."""
        part = inside.get(key)
        if part is None:
            return []
        if not part.is_a(list):
            wanted = "names of steps" if key == "leave_out" else "steps"
            self.wrong((*loc, key), f"expected a list of {wanted}, found {shown(part.value)}", "begin each with '- '")
        return part.listed()

    def find(self, steps: Sequence[_Part], name: object, loc: Loc) -> int | None:
        """The position of the step called ``name``; None, with a problem, where there is none."""
        names = [step.text("step") or "" for step in steps]
        if isinstance(name, str) and name in names:
            return names.index(name)
        hint = one_of(name, names, "its steps") if isinstance(name, str) else "give the name of one of its steps"
        self.wrong(loc, f"the base has no step {shown(name)} here", hint)
        return None
