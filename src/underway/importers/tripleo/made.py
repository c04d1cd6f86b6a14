"""Everything that one service's lists become: steps on its hosts, once-only steps, steps of the control host."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from underway.importers.tripleo.collect import Collection, Result, Service
from underway.importers.tripleo.nodes import Node, Refusal
from underway.importers.tripleo.steps import NEVER, OFFSETS, steps_of
from underway.importers.tripleo.tasks import BLOCKS, Selector, Task, written

EXTERNAL = "external_upgrade_tasks"
FORWARD = "fast_forward_upgrade_tasks"
FORWARD_POST = "fast_forward_post_upgrade_tasks"
_FIRST_OF = re.compile(r"\{\{\s*groups\[['\"](\w+)['\"]\]\[0\]\s*\}\}")
_HERE = frozenset({"", "localhost", "undercloud", "127.0.0.1"})


@dataclass(slots=True)
class MadeOf:
    """What a service becomes. ``upgrade``: steps of its hosts; ``once``: on the first of them, after the upgrade;
    ``control``: on the control host (B24). ``asked``: tasks that run only when a tag is asked for.
    """

    upgrade: list[dict[str, Any]] = field(default_factory=list)
    once: list[dict[str, Any]] = field(default_factory=list)
    control: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Task] = field(default_factory=list)


def made_of(service: Service, selector: Selector, forward: Sequence[str] = ()) -> MadeOf:
    """The steps of a service; with ``forward``, those of fast forward through these releases, and no other.

    Raises ``Refusal`` at the first task that has no place in files of ours.
    """
    made = MadeOf()
    if forward:
        _forward(service, selector, forward, made)
        return made
    for key in OFFSETS:
        tasks = service.lists.get(key, [])
        if key == EXTERNAL:
            _external(service, tasks, selector, made)
            continue
        found = steps_of(key, tasks, selector)
        made.upgrade += found.steps
        made.asked += found.asked
    return made


def _forward(service: Service, selector: Selector, releases: Sequence[str], made: MadeOf) -> None:
    """Fast forward (B26): for each release but the last steps 0-3 on all hosts and 4-9 on the first of a role, then
    the post tasks of the last.
    """
    for number, release in enumerate(releases, start=1):
        last = number == len(releases)
        key = FORWARD_POST if last else FORWARD
        found = steps_of(
            key,
            service.lists.get(key, []),
            selector.passing(release),
            at=(100 * number, f"{release} step"),
            first=() if last else range(4, 10),
        )
        made.upgrade += [step for step in found.steps if step.get("number") != NEVER]  # it may be another release's
        made.asked += found.asked


def _external(service: Service, tasks: Sequence[Task], selector: Selector, made: MadeOf) -> None:
    """Tasks that TripleO runs on the control host, or sends from there to the first host of a service."""
    here: list[Task] = []
    first: list[Task] = []
    for task in tasks:
        if task.asked:
            made.asked.append(task)
            continue
        places = _delegates(task.node)
        firsts = {match[1] for match in map(_FIRST_OF.fullmatch, places) if match is not None}
        if places <= _HERE:
            here.append(task)
        elif len(firsts) == len(places) == 1 and firsts == {service.name}:
            first.append(task)
        else:
            found = _delegated(task.node)
            raise Refusal(
                found.place,
                "task-key",
                f"'delegate_to: {written(found)}' sends work to another host",
                "work on other hosts is an action of its own: give it to the service that runs there",
            )
    made.control += steps_of(EXTERNAL, here, selector, elsewhere=True).steps
    for step in steps_of(EXTERNAL, first, selector, elsewhere=True).steps:
        made.once.append({key: value for key, value in step.items() if key not in ("number", "numbers")})


def _leaves(node: Node) -> list[Node]:
    if "block" not in node.value:
        return [node]
    return [
        leaf
        for part in BLOCKS
        if part in node.value and isinstance(node.value[part].value, list)
        for one in node.value[part].value
        for leaf in _leaves(one)
    ]


def _delegates(node: Node) -> set[str]:
    own = node.value.get("delegate_to")
    outer = str(written(own)) if own is not None else ""
    return {
        str(written(leaf.value["delegate_to"])).strip() if "delegate_to" in leaf.value else outer.strip()
        for leaf in _leaves(node)
    }


def _delegated(node: Node) -> Node:
    """Where the first host that is another one is named."""
    for one in (node, *_leaves(node)):
        found: Node | None = one.value.get("delegate_to")
        if found is not None and str(written(found)).strip() not in _HERE:
            return found
    return node


def judge(collection: Collection, forward: Sequence[str] = ()) -> None:
    """Look at every template of the tree, used or not, whether it can be files of ours: ``results`` says so then."""
    for index, result in enumerate(collection.results):
        service = collection.services.get(result.key)
        if service is None:
            continue
        try:
            made = made_of(service, collection.selector, forward)
        except Refusal as refusal:
            collection.results[index] = Result(result.key, "refused", problem=refusal.problem)
            collection.refused[result.key] = refusal.problem
        else:
            collection.results[index] = dataclasses.replace(result, asked=tuple(task.label for task in made.asked))
