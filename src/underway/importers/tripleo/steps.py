"""Tasks of a service to steps of ours: what the journal of a host knows, and at which numbers it runs.

A task is a step, but for tasks whose registered results later ones read: a resumed pass does not run a finished step
again, so they are one step together. What only asks (``common`` checks, facts) becomes a step that gathers: it runs
each time, and costs nothing. TripleO repeats all tasks of all steps after a failure (B(b)), so each may run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from underway.config.tasks import KEYWORDS
from underway.core.names import slug
from underway.importers.tripleo.tasks import BLOCKS, STEPS, Selector, Task
from underway.importers.tripleo.tidy import tidy
from underway.importers.tripleo.translate import translate

OFFSETS = {
    "upgrade_batch_tasks": (0, "batch step"),
    "pre_upgrade_rolling_tasks": (5, "rolling step"),
    "upgrade_tasks": (10, "step"),
    "post_upgrade_tasks": (30, "post step"),
    "external_upgrade_tasks": (40, "external step"),
}
"""Where the numbers of each list begin, and what its steps are called."""

CONFIGURATION = (21, 22, 23, 24, 25)
NEVER = 99
"""The number of what no step selects: ``numbers`` of the cluster leaves it out, and the plan names it (B19)."""

FIRST_HOST = "underway_host == underway_hosts_by_role[underway_role][0].name"

BATCHED = ("upgrade_batch_tasks", "pre_upgrade_rolling_tasks")

MAX_COMMAND = 500
"""Longest command that is looked at for what it does; a longer one does something."""

_ASKING = frozenset(
    {
        "assert",
        "debug",
        "fail",
        "find",
        "getent",
        "package_facts",
        "service_facts",
        "set_fact",
        "setup",
        "slurp",
        "stat",
    }
)
_ASKS = re.compile(
    r"(/usr/s?bin/)?(systemctl (is-enabled|is-active|show|status)|hiera|rpm -q\w*|httpd -t|ovs-vsctl (show|--version)"
    r"|ls|cat|test|grep|pcs status|ceph (health|-s|pg stat|status)|yum check-upgrade)\b[^;&<>`]*"
)
"""Commands that only look, with nothing behind them but a pipe to another one that only looks."""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PIPED = re.compile(r"\s*(grep|egrep|awk|sed|wc|head|tail|tr|cut|sort|uniq)\b[^;&>`]*")


@dataclass(slots=True)
class Made:
    """The steps of one list, in order, and the tasks that were left out because they run only when asked for."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Task] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of tasks that is one step at one number."""

    first: int
    tasks: tuple[dict[str, Any], ...]
    asks: bool


def steps_of(
    key: str,
    tasks: Sequence[Task],
    selector: Selector,
    *,
    elsewhere: bool = False,
    at: tuple[int, str] | None = None,
    first: Collection[int] = (),
) -> Made:
    """The steps of one list of a service. ``elsewhere``: they run on the host that they are delegated to.

    ``at``: the number of its step 0 and what its steps are called, where these are not those of ``OFFSETS``.
    ``first``: steps that only the first host of a role does. Raises ``Refusal`` for a task that cannot be one of ours.
    """
    offset, word = at or OFFSETS[key]
    made = Made(asked=[task for task in tasks if task.asked])
    pieces: dict[tuple[int, str], tuple[_Piece, list[int]]] = {}
    selected: set[int] = set()
    for step in STEPS[key]:
        found: list[tuple[int, dict[str, Any]]] = []
        for index, task in enumerate(tasks):
            pruned = selector.pruned(task.node, step)
            if pruned is not None:
                selected.add(index)
                task_here = translate(pruned, selector, step, elsewhere=elsewhere)
                found.append((index, _on_first(task_here) if step in first else task_here))
        for piece in _pieces(found):
            text = json.dumps([piece.tasks, piece.asks], sort_keys=True)
            pieces.setdefault((piece.first, text), (piece, []))[1].append(step)
    for index, task in enumerate(tasks):
        if index not in selected and not task.asked and not selector.skip & task.tags:
            whole = translate(task.node, Selector("when"), -1, elsewhere=elsewhere)
            pieces[index, "never"] = (_Piece(index, (whole,), False), [NEVER - offset])
    taken: set[str] = set()
    for piece, numbers in [pieces[place] for place in sorted(pieces, key=lambda place: place[0])]:
        made.steps.append(_step(piece, numbers, offset, word, batch=key in BATCHED, every=STEPS[key], taken=taken))
    return made


def _on_first(task: dict[str, Any]) -> dict[str, Any]:
    """The task, on the first host of its role only (in the order of the cluster file)."""
    when = task.get("when", [])
    held = [FIRST_HOST, *(when if isinstance(when, list) else [when])]
    return {**task, "when": held if len(held) > 1 else FIRST_HOST}


def _pieces(found: Sequence[tuple[int, dict[str, Any]]]) -> list[_Piece]:
    """The tasks of one step, cut where a resumed pass may begin."""
    asks = [only_asks(task) for _, task in found]
    last = list(range(len(found)))
    reads: dict[str, int] = {}
    for index, (_, task) in enumerate(found):
        reads |= dict.fromkeys(_WORD.findall(json.dumps(task)), index)
    for index, (_, task) in enumerate(found):
        if not asks[index]:
            last[index] = max([index, *(reads[name] for name in results(task) if name in reads)])
    pieces: list[_Piece] = []
    begin = 0
    while begin < len(found):
        end, here = last[begin], begin
        while here <= end:
            end = max(end, last[here])
            here += 1
        tasks = tuple(task for _, task in found[begin : end + 1])
        pieces.append(_Piece(found[begin][0], tasks, all(asks[begin : end + 1]) and bool(results(tasks[0]))))
        begin = end + 1
    return pieces


def results(task: dict[str, Any]) -> set[str]:
    """Names that the task leaves for later ones: what it registers, and facts that it sets."""
    names = {task["register"]} if isinstance(task.get("register"), str) else set()
    facts = task.get("ansible.builtin.set_fact")
    if isinstance(facts, dict):
        names |= set(facts) - {"cacheable"}
    for part in BLOCKS:
        for inner in task.get(part, []):
            names |= results(inner)
    return names


def modules(task: dict[str, Any]) -> set[str]:
    """Names of modules that the task uses and that are not ansible-core's: its hosts must have them."""
    found = {
        key for key in task if key not in KEYWORDS and key not in BLOCKS and not key.startswith(("with_", "ansible."))
    }
    for part in BLOCKS:
        for inner in task.get(part, []):
            found |= modules(inner)
    return found


def only_asks(task: dict[str, Any]) -> bool:
    """Whether the task changes nothing on the host, as far as its module and its command tell."""
    if "block" in task:
        return all(only_asks(inner) for part in BLOCKS for inner in task.get(part, []))
    for key, value in task.items():
        name = key.removeprefix("ansible.builtin.")
        if name == key and "." not in key:
            continue  # a keyword
        if name in ("command", "shell"):
            text = value.get("cmd", "") if isinstance(value, dict) else value
            return isinstance(text, str) and _looks(text.strip())
        return name in _ASKING or name.endswith(("_info", "_facts"))
    return False


def _looks(text: str) -> bool:
    first, *piped = text.split("|")
    if len(text) > MAX_COMMAND or "$(" in text or re.search(r"\bsed\b.* -\w*i", text):
        return False
    return bool(_ASKS.fullmatch(first.strip())) and all(_PIPED.fullmatch(one) for one in piped)


def _step(
    piece: _Piece, numbers: list[int], offset: int, word: str, *, batch: bool, every: Sequence[int], taken: set[str]
) -> dict[str, Any]:
    never = numbers == [NEVER - offset]
    at = "no step" if never else f"every {word}" if numbers == list(every) else f"{word} {_told(numbers)}"
    name = _unique(f"{at}: {_called(piece.tasks)}", taken)
    step: dict[str, Any] = {"step": name}
    if len(numbers) == 1:
        step["number"] = offset + numbers[0]
    else:
        step["numbers"] = [offset + number for number in numbers]
    if piece.asks:
        step["gathers"] = True
    elif all(only_asks(task) for task in piece.tasks):
        step["read_only"] = True
    else:
        step["idempotent"] = True
    if batch:
        step["batch"] = True
    step["tasks"] = [tidy(task, only_asks) for task in piece.tasks]
    return step


def _told(numbers: Sequence[int]) -> str:
    return " and ".join(
        [", ".join(str(one) for one in numbers[:-1]), str(numbers[-1])] if len(numbers) > 1 else [str(numbers[0])]
    )


def _called(tasks: Sequence[dict[str, Any]]) -> str:
    names = [str(task.get("name", "(block)" if "block" in task else "(no name)")) for task in tasks]
    text = names[0] if len(names) == 1 else f"{names[0]}, to: {names[-1]}"
    return text[:150]


def _unique(name: str, taken: set[str]) -> str:
    count, text = 1, name
    while slug(text) in taken:
        count += 1
        text = f"{name} ({count})"
    taken.add(slug(text))
    return text
