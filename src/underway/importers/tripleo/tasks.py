"""Upgrade tasks after their functions are resolved: which steps select them, in both notations.

Up to Pike the steps are tags (``tags: step3,validation``), run with ``--tags common,stepN``; from Queens on they are
conditions (``when: step|int == 3``), and the file for a step has every task that does not name another one (B2, B3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from underway.config.words import shown
from underway.importers.tripleo.conditions import WhenError, judge
from underway.importers.tripleo.nodes import Budget, Node, Refusal, show
from underway.importers.tripleo.parameters import Reference, Text

Notation = Literal["tags", "when"]

STEPS: dict[str, tuple[int, ...]] = {
    "upgrade_batch_tasks": (0, 1, 2),
    "pre_upgrade_rolling_tasks": (0,),
    "fast_forward_upgrade_tasks": tuple(range(10)),
    "fast_forward_post_upgrade_tasks": (0, 1, 2, 3),
    "upgrade_tasks": (0, 1, 2, 3, 4, 5),
    "post_upgrade_tasks": (0, 1, 2, 3),
    "external_upgrade_tasks": (0, 1, 2),
}
"""The steps that TripleO runs of each list; what names another one is never selected."""

BLOCKS = ("block", "rescue", "always")
STEP_TAG = re.compile(r"step[0-9]{1,3}")
MAX_BLOCKS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One entry of a list of tasks. ``service``: the stem of its template, as TripleO's own listings have it."""

    service: str
    node: Node
    tags: frozenset[str]

    @property
    def name(self) -> str:
        """Its name, or what it is."""
        found = self.node.value.get("name")
        if found is not None and isinstance(found.value, str):
            return found.value
        if found is not None and isinstance(found.value, Text):
            return found.value.jinja
        return "(block)" if "block" in self.node.value else "(no name)"

    @property
    def label(self) -> str:
        """``cinder-api: Stop cinder_api service``."""
        return f"{self.service}: {self.name}"

    @property
    def text(self) -> str:
        """The whole task in one form: two tasks with the same are exact duplicates (B8)."""
        return json.dumps(written(self.node), sort_keys=True)

    @property
    def asked(self) -> bool:
        """It runs only when one of its tags is asked for (``never``)."""
        return "never" in self.tags


def tasks_of(service: str, node: Node) -> list[Task]:
    """The tasks of a resolved list: nested lists are flattened, null is no task. Raises ``Refusal``."""
    if node.value is None:
        return []
    if not isinstance(node.value, list):
        raise Refusal(node.place, "type", f"expected a list of tasks, found {show(node)}")
    found: list[Task] = []
    for one in node.value:
        if isinstance(one.value, list) or one.value is None:
            found.extend(tasks_of(service, one))
            continue
        found.append(Task(service, check(one), tags_of(one)))
    return found


def check(node: Node, depth: int = 0) -> Node:
    """``node``, which must be a task or a block of tasks with conditions that can be parsed. Raises ``Refusal``."""
    if not isinstance(node.value, dict) or not node.value:
        raise Refusal(node.place, "task", f"expected a task, found {show(node)}", "for example: {name: …, command: …}")
    if depth > MAX_BLOCKS:
        raise Refusal(node.place, "too-deep", f"blocks are nested deeper than {MAX_BLOCKS}")
    node.mapping("a task")
    conditions(node)
    tags_of(node)
    for part in BLOCKS if "block" in node.value else ():
        inside = node.value.get(part)
        if inside is None:
            continue
        for one in inside.items("a list of tasks"):
            check(one, depth + 1)
    return node


def tags_of(node: Node) -> frozenset[str]:
    """The tags of a task: text with commas, or a list. Raises ``Refusal``."""
    found = node.value.get("tags")
    if found is None or found.value is None:
        return frozenset()
    parts = found.value if isinstance(found.value, list) else [found]
    tags: set[str] = set()
    for part in parts:
        if not isinstance(part.value, str):
            raise Refusal(part.place, "type", f"expected a tag, found {show(part)}", "text with commas, or a list")
        tags.update(tag.strip() for tag in part.value.split(","))
    return frozenset(tags - {""})


def conditions(node: Node) -> list[str | bool | Reference]:
    """The parts of ``when``, all of which must hold. Raises ``Refusal`` for one that cannot be parsed (B(c))."""
    found = node.value.get("when")
    if found is None or found.value is None:
        return []
    parts: list[str | bool | Reference] = []
    for part in found.value if isinstance(found.value, list) else [found]:
        value = part.value.jinja if isinstance(part.value, Text) else part.value
        if isinstance(value, bool | Reference):
            parts.append(value)
            continue
        if not isinstance(value, str):
            hint = "an expression, true or false, or a list of these"
            raise Refusal(part.place, "when", f"expected a condition, found {shown(value)}", hint)
        try:
            judge(value, {})
        except WhenError as error:
            raise Refusal(part.place, "when", f"{error}: {shown(value)}", "see Jinja2's expressions") from None
        parts.append(value)
    return parts


def notation_of(lists: Iterable[Sequence[Task]]) -> Notation:
    """Which notation a tree of templates uses: tags if any task has one that is a step (Pike and before)."""
    for tasks in lists:
        for task in tasks:
            if any(STEP_TAG.fullmatch(tag) for tag in _all_tags(task.node)):
                return "tags"
    return "when"


def _all_tags(node: Node) -> set[str]:
    tags = set(tags_of(node))
    for part in BLOCKS:
        inside = node.value.get(part)
        for one in inside.value if inside is not None and isinstance(inside.value, list) else ():
            tags |= _all_tags(one)
    return tags


@dataclass(frozen=True, slots=True)
class Selector:
    """Says which tasks a step runs. ``skip``: tags that are left out (B7). ``asked``: tags that are asked for, of
    tasks that run only then. ``release``: of fast forward, the release that is passed through.
    """

    notation: Notation
    skip: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    release: str = ""

    def selects(self, task: Task, step: int) -> bool:
        """Whether the step runs the task, or something of its block."""
        return self.pruned(task.node, step) is not None

    def pruned(self, node: Node, step: int, inherited: frozenset[str] = frozenset()) -> Node | None:
        """The task as it is in this step: blocks without what another step runs; None where nothing is left."""
        tags = inherited | tags_of(node)
        if self.skip & tags:
            return None
        whole = "block" not in node.value
        if not self._tagged(tags, step) and (whole or self.notation == "when" or self._bound(tags)):
            return None
        if any(self._known(part, step) is False for part in conditions(node)):
            return None
        if whole:
            return node
        parts = dict(node.value)
        for part in BLOCKS:
            inside = node.value.get(part)
            if inside is not None and isinstance(inside.value, list):
                kept = [one for one in (self.pruned(child, step, tags) for child in inside.value) if one is not None]
                parts[part] = Node(inside.place, kept)
        return Node(node.place, parts) if parts["block"].value else None

    def _bound(self, tags: Collection[str]) -> bool:
        """A block with a step of its own: what is inside runs in no other."""
        return any(STEP_TAG.fullmatch(tag) for tag in tags)

    def _tagged(self, tags: Collection[str], step: int) -> bool:
        if "never" in tags and not self.asked & set(tags):
            return False
        if self.notation == "when":
            return not self.asked or bool(self.asked & set(tags)) or "always" in tags
        return "common" in tags or "always" in tags or f"step{step}" in tags

    def _known(self, part: str | bool | Reference, step: int) -> bool | None:
        if isinstance(part, bool):
            return part
        if isinstance(part, Reference):
            return None
        known = {"step": str(step)} | ({"release": self.release} if self.release else {})
        return judge(part, known)

    def reaches(self, task: Task, steps: Iterable[int]) -> bool:
        """Whether any of the steps runs the task, if need be when it is asked for (B19)."""
        selector = self.when_asked(task) if task.asked else self
        return any(selector.selects(task, step) for step in steps)

    def left(self, part: str, step: int) -> bool:
        """Whether a condition says more than the step does: it is kept, or else it holds already."""
        return self._known(part, step) is None

    def passing(self, release: str) -> Selector:
        """The same, while fast forward passes through a release (B26)."""
        return Selector(self.notation, self.skip, self.asked, release)

    def when_asked(self, task: Task) -> Selector:
        """The same, where the tags of a task that runs only then are asked for."""
        return Selector(self.notation, self.skip, task.tags - {"never"}, self.release)


def distinct(tasks: Sequence[Task], text: Callable[[Task], str] = lambda task: task.text) -> list[Task]:
    """The tasks without exact duplicates, the first of each kept (B8)."""
    seen: set[str] = set()
    kept: list[Task] = []
    for task in tasks:
        one = text(task)
        if one not in seen:
            seen.add(one)
            kept.append(task)
    return kept


def written(node: Node, budget: Budget | None = None) -> Any:
    """A node as plain values of a task: settings as ``{{ name }}``."""
    budget = budget or Budget()
    budget.spend(node.place)
    value = node.value
    if isinstance(value, dict):
        return {key: written(one, budget) for key, one in value.items()}
    if isinstance(value, list):
        return [written(one, budget) for one in value]
    return value.jinja if isinstance(value, Reference | Text) else value
