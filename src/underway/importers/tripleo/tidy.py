"""What ``ansible-lint`` (production profile) wants of a task, where it changes nothing that the task does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from underway.config.tasks import BLOCKS

LATEST = "tripleo_packages_state"
"""The setting in the place of ``state: latest``: its default is ``latest``, and an operator may want ``present``."""

_COMMANDS = ("ansible.builtin.command", "ansible.builtin.shell")
_PACKAGES = ("ansible.builtin.dnf", "ansible.builtin.package", "ansible.builtin.apt")
_TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
_NUMBERS = re.compile(r"(?<=[0-9]),(?=[0-9])")
_LITERAL = re.compile(r"([A-Za-z_][\w.]*) *(==|!=) *(true|false)", re.IGNORECASE)
_PLAIN = re.compile(r"[\w./ =:@%,+-]+", re.ASCII)
_BUILTINS = frozenset({"cd", "source", ".", "export", "set", "exec", "ulimit", "umask", "eval"})
_CREATES = ("community.general.ini_file",)
_CONDITIONS = ("when", "failed_when", "changed_when", "until")


def tidy(task: dict[str, Any], only_asks: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The task as it is written. ``only_asks``: whether a task changes nothing."""
    asks = only_asks(task)
    made: dict[str, Any] = {}
    name = task.get("name") or ("" if "block" not in task else f"Block: {_first_name(task)}")
    if name:
        made["name"] = name[0].upper() + name[1:]
    for key, value in task.items():
        if key in BLOCKS:
            made[key] = [tidy(inner, only_asks) for inner in value]
        elif key in _COMMANDS:
            made |= _command(key, value, task, asks)
        elif key in _CREATES and isinstance(value, dict):
            made[key] = {"mode": "{{ omit }}", **_spaced(value)}  # as it is, said aloud
        elif key in _PACKAGES and isinstance(value, dict) and value.get("state") == "latest":
            made[key] = {**value, "state": f"{{{{ {LATEST} }}}}"}
        elif key != "name":
            made[key] = _spaced(value, expression=key in _CONDITIONS)
    ran = next((made[key] for key in _COMMANDS if key in made), None)
    bounded = isinstance(ran, dict) and ("creates" in ran or "removes" in ran)
    if ran is not None and not bounded:
        made.setdefault("changed_when", not asks)
    return made


def _first_name(task: dict[str, Any]) -> str:
    return next((str(inner["name"]) for inner in task.get("block", []) if "name" in inner), "tasks of one condition")


def _command(key: str, value: Any, task: dict[str, Any], asks: bool) -> dict[str, Any]:
    """Answers that are read are asked for in English; a shell says what it makes of a pipe's exit codes, and is one
    only where there is something for a shell to do.
    """
    text = value.get("cmd") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return {key: _spaced(value)}
    text = _spaced(text)
    if _PLAIN.fullmatch(text) and text.split()[0] not in _BUILTINS and "=" not in text.split()[0]:
        key = _COMMANDS[0]
    shell = key == _COMMANDS[1]
    more = {one: _spaced(inside) for one, inside in value.items() if one != "cmd"} if isinstance(value, dict) else {}
    if shell and "|" in text and "pipefail" not in text and not task.get("ignore_errors"):
        # as sh would do it: the last command's exit code counts, and the options of a shell are bash's
        return {key: {"cmd": f"set +o pipefail\n{text}", "executable": "/bin/bash", **more}}
    if asks:
        text = f"LC_ALL=C {text}" if shell else f"env LC_ALL=C {text}"
    return {key: {"cmd": text, **more} if more else text}


def _spaced(value: Any, *, expression: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _spaced(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_spaced(inside, expression=expression) for inside in value]
    if not isinstance(value, str):
        return value
    text = _TEMPLATE.sub(lambda match: "{{ " + match[1].strip() + " }}", value)
    if not expression:
        return text
    literal = _LITERAL.fullmatch(text)
    if literal is not None:
        word = "falsy" if (literal[2] == "!=") is (literal[3].lower() == "false") else "truthy"
        return f"not ({literal[1]} is {word}(convert_bool=True))"
    return _NUMBERS.sub(", ", text)
