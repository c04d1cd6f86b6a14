"""Tasks are ordinary Ansible and are not interpreted; only their shape is looked at.

What is refused would break a promise: work for other hosts must be an action of its own (or the limits would not
count it), files aside are not in the signed plan, and how hosts are reached is said in ``cluster.yaml`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from underway.config import names, secrets
from underway.config.located import VAULT_KEY, Document
from underway.config.words import nearest, one_of, shown
from underway.errors import Problem

Loc = tuple[str | int, ...]

NOTICE = "underway_notice"
"""A task's own variable, ``true``: its message is told to operators (docs/reference/files.md)."""

MAX_RETRIES = 10_000
MAX_NESTING = 5

KEYWORDS = frozenset(
    {
        "action", "any_errors_fatal", "args", "async", "become", "become_exe", "become_flags", "become_method",
        "become_user", "changed_when", "check_mode", "collections", "debugger", "delay", "diff", "environment",
        "failed_when", "ignore_errors", "ignore_unreachable", "listen", "loop", "loop_control", "module_defaults",
        "name", "no_log", "notify", "poll", "register", "retries", "throttle", "timeout", "until", "vars", "when",
    }
)  # fmt: skip
BLOCKS = ("block", "rescue", "always")

_ELSEWHERE = "work on other hosts is an action of its own: put it into a phase with 'on: SERVICE'"
_ASIDE = "files aside are not part of the signed plan: write the tasks here"
_REACH = "how a host is reached is said in cluster.yaml"
REFUSED = {
    "delegate_to": _ELSEWHERE,
    "delegate_facts": _ELSEWHERE,
    "local_action": _ELSEWHERE,
    "run_once": "use 'once: true' of the phase",
    "hosts": "a task is not a play: the role's hosts are meant",
    "roles": "a task is not a play: write the tasks here",
    "tasks": "a task is not a play: write the tasks here",
    "tags": "steps are the tags of the playbook: make it a step of its own",
    "serial": "use 'limit' of the role in cluster.yaml",
    "connection": _REACH,
    "remote_user": _REACH,
    "port": _REACH,
    "become_password": "secrets do not stand in files",
    "import_playbook": _ASIDE,
    "include_tasks": _ASIDE,
    "import_tasks": _ASIDE,
    "include_role": _ASIDE,
    "import_role": _ASIDE,
    "include_vars": _ASIDE,
}
_MODULE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*){0,5}", re.ASCII)


def check_tasks(doc: Document, loc: Loc, tasks: list[Any], handlers: Collection[str]) -> Iterator[Problem]:
    """What is wrong with the tasks at ``loc``; ``handlers`` are the names that ``notify`` may use."""
    for index, task in enumerate(tasks):
        yield from check_task(doc, (*loc, index), task, handlers)


def check_task(doc: Document, loc: Loc, task: Any, handlers: Collection[str] = (), depth: int = 0) -> Iterator[Problem]:
    """What is wrong with one task."""
    if not isinstance(task, dict):
        yield doc.problem(
            loc, "task", f"expected a task, found {shown(task)}", "for example: ansible.builtin.command: …"
        )
        return
    refused = [key for key in task if _short(key) in REFUSED]
    for key in refused:
        yield doc.problem((*loc, key), "task-key", f"'{key}' cannot be used in a task", REFUSED[_short(key)], of="key")
    if "block" in task:
        yield from _block(doc, loc, task, handlers, depth)
    elif not refused:
        yield from _modules(doc, loc, task)
    yield from _keywords(doc, loc, task, handlers)
    if depth == 0:
        yield from _vaults(doc, loc, task)
        yield from secrets.arguments(doc, loc, task)


def _short(key: str) -> str:
    return key.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")


def _block(doc: Document, loc: Loc, task: dict[str, Any], handlers: Collection[str], depth: int) -> Iterator[Problem]:
    if depth >= MAX_NESTING:
        yield doc.problem(loc, "task", f"blocks are nested deeper than {MAX_NESTING}")
        return
    for part in BLOCKS:
        inside = task.get(part, [])
        if not isinstance(inside, list):
            yield doc.problem((*loc, part), "task", f"expected a list of tasks, found {shown(inside)}")
            continue
        for index, one in enumerate(inside):
            yield from check_task(doc, (*loc, part, index), one, handlers, depth + 1)
    for key in task:
        if key not in KEYWORDS and key not in BLOCKS and _short(key) not in REFUSED:
            hint = nearest(key, KEYWORDS) or "a block has no module of its own"
            yield doc.problem((*loc, key), "task-key", f"unknown key {shown(key)} beside 'block'", hint, of="key")


def _modules(doc: Document, loc: Loc, task: dict[str, Any]) -> Iterator[Problem]:
    """Exactly one key names the module."""
    modules = [key for key in task if key not in KEYWORDS and not key.startswith("with_")]
    if "action" in task:
        modules.append("action")
    for key in modules:
        if not _MODULE.fullmatch(key):
            hint = (
                one_of(key, KEYWORDS, "keys of a task") if len(modules) > 1 else "for example ansible.builtin.command"
            )
            yield doc.problem((*loc, key), "task", f"{shown(key)} is not the name of a module", hint, of="key")
            return
    if not modules:
        yield doc.problem(loc, "task", "the task names no module", "for example ansible.builtin.command")
    elif len(modules) > 1:
        named = ", ".join(f"'{key}'" for key in modules[:5])
        odd = next((key for key in modules if nearest(key, KEYWORDS)), modules[1])
        hint = nearest(odd, KEYWORDS) or "a task has one module; make two tasks of it"
        yield doc.problem((*loc, odd), "task", f"the task names more than one module: {named}", hint, of="key")


def _keywords(doc: Document, loc: Loc, task: dict[str, Any], handlers: Collection[str]) -> Iterator[Problem]:
    """Keys of a task that would break a promise by their value."""
    if "name" in task:
        name = task["name"]
        wrong = names.sentence(name, "task name", 500) if isinstance(name, str) else None
        if not isinstance(name, str):
            yield doc.problem((*loc, "name"), "type", f"expected text, found {shown(name)}", "put it in quotes")
        elif wrong:
            yield doc.problem((*loc, "name"), *wrong)
    if "retries" in task and not _number(task["retries"], lambda found: 0 <= found <= MAX_RETRIES):
        message = f"retries {shown(task['retries'])} is out of bounds; expected 0 to {MAX_RETRIES:,}"
        yield doc.problem((*loc, "retries"), "bounds", message)
    if "delay" in task and not _number(task["delay"], lambda found: 0 < found <= 3600):
        message = f"delay {shown(task['delay'])} is out of bounds; expected more than 0, at most 3600"
        yield doc.problem((*loc, "delay"), "bounds", message)
    if "async" in task and task.get("poll") in (0, "0"):
        hint = "let poll be more than 0: the host's journal must know when the work is done"
        yield doc.problem((*loc, "poll"), "task-key", "a task that nobody waits for cannot be journaled", hint)
    if isinstance(task.get("vars"), dict):
        yield from secrets.variables(doc, (*loc, "vars"), {k: v for k, v in task["vars"].items() if k != NOTICE})
        if NOTICE in task["vars"] and (task["vars"][NOTICE] is not True or "block" in task):
            hint = "leave it out where nothing is to be told"
            message = f"expected '{NOTICE}: true', of a task with a message"
            yield doc.problem((*loc, "vars", NOTICE), "value", message, hint)
    notified = task.get("notify", [])
    for one in notified if isinstance(notified, list) else [notified]:
        if isinstance(one, str) and "{{" not in one and one not in handlers:
            hint = one_of(one, handlers, "handlers of this service")
            yield doc.problem((*loc, "notify"), "unknown-handler", f"notifies unknown handler {shown(one)}", hint)


def _number(value: Any, fits: Callable[[float], bool]) -> bool:
    """False for a number out of bounds; what Ansible computes (Jinja) is Ansible's to judge."""
    if isinstance(value, str):
        return "{{" in value or not re.fullmatch(r"\s*-?[0-9.]+\s*", value, re.ASCII) or fits(float(value))
    return isinstance(value, int | float) and not isinstance(value, bool) and fits(value)


def _vaults(doc: Document, loc: Loc, value: Any) -> Iterator[Problem]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        if key == VAULT_KEY:
            hint = "put it into 'vars' of service, role or host, or 'settings', and use {{ its_name }} here"
            yield doc.problem(loc, "vault", "a vault value cannot stand in a task", hint)
        else:
            yield from _vaults(doc, (*loc, key), one)
