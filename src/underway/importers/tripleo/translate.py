"""One task of TripleO as a task of ours: full names, mappings for arguments, conditions of today; or a refusal.

What our files forbid for a reason (work on other hosts, files beside the signed plan) is refused with its place.
"""

from __future__ import annotations

import re
from typing import Any

from underway.config.tasks import BLOCKS, KEYWORDS, REFUSED
from underway.config.words import nearest, shown
from underway.importers.arguments import FREE_FORM, BadArguments, arguments
from underway.importers.builtin import full, short
from underway.importers.tripleo.conditions import WhenError, names
from underway.importers.tripleo.expressions import condition, expression
from underway.importers.tripleo.nodes import Node, Refusal, show
from underway.importers.tripleo.parameters import Reference, Text
from underway.importers.tripleo.tasks import Selector, written

COLLECTIONS = {
    "ini_file": "community.general.ini_file",
    "mysql_db": "community.mysql.mysql_db",
    "mysql_user": "community.mysql.mysql_user",
    "docker": "community.docker.docker_container",
    "podman_container_info": "containers.podman.podman_container_info",
    "seboolean": "ansible.posix.seboolean",
    "sysctl": "ansible.posix.sysctl",
    "firewalld": "ansible.posix.firewalld",
    "synchronize": "ansible.posix.synchronize",
    "mount": "ansible.posix.mount",
    "modprobe": "community.general.modprobe",
    "openvswitch_bridge": "openvswitch.openvswitch.openvswitch_bridge",
}
"""Modules that left ansible-core: old name -> where they are (ansible-core, routing of ansible_builtin_runtime.yml).

A name that is neither here nor ansible-core's own stays as it is: TripleO's own modules (``pacemaker_cluster``,
``tripleo_ovs_upgrade``) are in no collection, and the hosts must have them.
"""

_KEYS = KEYWORDS | {"tags"}
_CONDITIONS = ("failed_when", "changed_when", "until")
_SWITCHES = frozenset({"enabled", "become", "ignore_errors", "check_mode", "no_log", "force", "recurse"})
_IS_ENABLED = re.compile(r"(?:/usr/bin/)?systemctl is-enabled [\w@.:{}-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ROLES = ("include_role", "import_role")


def translate(node: Node, selector: Selector, step: int, *, elsewhere: bool = False) -> dict[str, Any]:
    """The task as it is in a step. ``elsewhere``: it runs on the host that it is delegated to. Raises ``Refusal``."""
    task: dict[str, Any] = {}
    if "name" in node.value:
        task["name"] = " ".join(_text(node.value["name"]).split())[:500] or "(no name)"
    if "block" in node.value:
        for part in BLOCKS:
            inside = node.value.get(part)
            if inside is not None and inside.value:
                task[part] = [translate(one, selector, step, elsewhere=elsewhere) for one in inside.value]
    else:
        task |= _module(node)
    for key, found in node.value.items():
        if key in ("name", "tags", "when", "args", *BLOCKS) or _is_module(key):
            continue
        if key in ("delegate_to", "run_once") and elsewhere:
            continue
        if key in REFUSED:
            raise Refusal(found.place, "task-key", f"'{key}' has no place in a task of ours", REFUSED[key])
        task[key] = _keyword(key, found)
    held = _when(node, selector, step)
    if held:
        task["when"] = held[0] if len(held) == 1 else held
    if "step" in _used(task) or any("step" in names(one) for one in held):
        task["vars"] = {**task.get("vars", {}), "step": step}
    if selector.release and ("release" in _used(task) or any("release" in names(one) for one in held)):
        task["vars"] = {**task.get("vars", {}), "release": selector.release}
    return _careful(task)


def _is_module(key: str) -> bool:
    return key not in KEYWORDS and key not in BLOCKS and key not in REFUSED and not key.startswith("with_")


def _text(node: Node) -> str:
    value = node.value.jinja if isinstance(node.value, Text | Reference) else node.value
    return value if isinstance(value, str) else str(value)


def _module(node: Node) -> dict[str, Any]:
    keys = [key for key in node.value if _is_module(key) or key in ROLES or short(key) in ROLES]
    if "action" in node.value or "local_action" in node.value:
        found = node.value.get("action") or node.value["local_action"]
        raise Refusal(found.place, "task-key", "'action' is not imported", "write the module as a key of the task")
    for key in keys:
        if short(key) in REFUSED:
            name = node.value[key].value.get("name") if isinstance(node.value[key].value, dict) else None
            told = f" {show(name)}" if name is not None else ""
            message = f"'{key}'{told} brings files that are not in the templates"
            hint = "write the role's tasks here; what runs must stand in the signed plan"
            raise Refusal(node.value[key].place, "task-key", message, hint)
    if not keys:
        refused = next(
            (key for key in node.value if key in REFUSED and key not in ("tags", "delegate_to", "run_once")), ""
        )
        if refused:
            raise Refusal(node.value[refused].place, "task-key", f"'{refused}' is not imported", REFUSED[refused])
        raise Refusal(node.place, "task", "the task names no module", "for example: command")
    if len(keys) > 1:
        odd = next((key for key in keys if nearest(key, _KEYS)), keys[1])
        message = f"the task names more than one module: {', '.join(shown(key) for key in keys[:5])}"
        raise Refusal(node.value[odd].place, "task", message, nearest(odd, _KEYS) or "a task has one module")
    key = keys[0]
    if not re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*){0,5}", key, re.ASCII):
        raise Refusal(node.value[key].place, "task", f"{shown(key)} is not the name of a module")
    name = full(key) or COLLECTIONS.get(key, key)
    return {name: _arguments(short(key), node.value[key], node.value.get("args"))}


def _arguments(module: str, node: Node, more: Node | None) -> Any:
    """The arguments of a module: a mapping, or the text of a command without options."""
    value = written(node)
    extra: dict[str, Any] = {}
    if more is not None and more.value is not None:
        extra = written(more)
        if not isinstance(extra, dict):
            raise Refusal(more.place, "type", f"expected arguments, found {show(more)}")
    if isinstance(value, dict):
        return {**{key: _switch(key, one) for key, one in value.items()}, **extra}
    if value is None:
        return extra or {}
    if not isinstance(value, str):
        raise Refusal(node.place, "type", f"expected arguments, found {show(node)}")
    if isinstance(node.value, Reference):
        return {**extra, "cmd": value} if module in FREE_FORM else value
    try:
        found = arguments(module, value)
    except BadArguments as error:
        hint = "write the arguments as a mapping"
        raise Refusal(node.place, "arguments", f"arguments of {shown(module)} cannot be read: {error}", hint) from None
    options = {key: _switch(key, one) for key, one in found.options.items()}
    if module in FREE_FORM:
        options.pop("warn", None)  # an option that ansible-core 2.14 removed
        extra.pop("warn", None)
        return {"cmd": found.free, **options, **extra} if options or extra else found.free
    return {**options, **extra}


def _switch(key: str, value: Any) -> Any:
    if key in _SWITCHES and isinstance(value, str) and value.lower() in ("yes", "no", "true", "false"):
        return value.lower() in ("yes", "true")
    return value


def _keyword(key: str, node: Node) -> Any:
    value = written(node)
    if key in _CONDITIONS:
        try:
            return condition(value)
        except WhenError as error:
            raise Refusal(node.place, "when", f"{error}: {show(node)}", "see Jinja2's expressions") from None
    if key == "poll" and value in (0, "0"):
        hint = "let poll be more than 0: the host's journal must know when the work is done"
        raise Refusal(node.place, "task-key", "a task that nobody waits for cannot be journaled", hint)
    if key == "register" and not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
        raise Refusal(node.place, "type", f"expected the name of a variable, found {show(node)}")
    return _switch(key, value)


def _when(node: Node, selector: Selector, step: int) -> list[str]:
    """The conditions that are left once the step is known; a truth value from a setting is read as one."""
    found = node.value.get("when")
    if found is None or found.value is None:
        return []
    held: list[str] = []
    for part in found.value if isinstance(found.value, list) else [found]:
        value = part.value
        if isinstance(value, Reference):
            held.append(f"{value.variable} | bool")
        elif isinstance(value, Text):
            held.append(expression(value.jinja))
        elif isinstance(value, str) and selector.left(value, step):
            held.append(expression(value))
    return held


def _used(task: dict[str, Any]) -> set[str]:
    """Words in the templates of a task's arguments (a name that is one of them may be read there)."""
    words: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                if key not in ("name", *BLOCKS):
                    look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)
        elif isinstance(value, str) and "{" in value:
            for inside in value.replace("{%", "{{").replace("%}", "}}").split("{{")[1:]:
                words.update(_VARIABLE.findall(inside.partition("}}")[0]))

    look(task)
    return words


def _careful(task: dict[str, Any]) -> dict[str, Any]:
    """``systemctl is-enabled`` with ``ignore_errors``: a question that fails is not the answer no (B(c)).

    0: enabled, 1: not enabled (older systemd: no such unit, too), 4: no such unit; see systemctl(1), "Exit status".
    """
    text = task.get("ansible.builtin.command")
    if not isinstance(text, str) or not _IS_ENABLED.fullmatch(text) or task.get("ignore_errors") is not True:
        return task
    name = task.get("register")
    if not isinstance(name, str) or "failed_when" in task:
        return task
    task = {key: value for key, value in task.items() if key != "ignore_errors"}
    failed = f"{name}.rc not in [0, 1, 4] or 'Failed to connect' in {name}.stderr"
    return {**task, "changed_when": False, "failed_when": failed}
