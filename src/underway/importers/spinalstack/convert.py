"""A snippet's tasks as tasks of ours: what they do stays, how it is written is today's. Pure.

``fakehostgroup`` becomes the role (A3); a condition on its first host stays a condition (A29): that host comes first in
its role, so a migration runs after that host's restarts and before any other host is touched, as it did. Helper
scripts travel inside the task, as what a host runs is signed whole; secrets reach them by a file that is gone at once.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from underway.config.tasks import BLOCKS, REFUSED, check_task
from underway.config.words import nearest, one_of, shown
from underway.errors import Problem
from underway.importers import jinja
from underway.importers.arguments import FREE_FORM, BadArguments, arguments
from underway.importers.builtin import MODULES, full, short
from underway.importers.spinalstack import helpers
from underway.importers.spinalstack.snippets import OWN_MODULES, ROOT, WORD, Loc, Snippet, SnippetTask, module_keys
from underway.importers.spinalstack.variables import FROM_CONFIG, Definitions

FIRST, LAST = "spinalstack_first_host", "spinalstack_last_host"
"""Variables of a role: its hosts that ``groups['fakehostgroup'][0]`` and ``[-1]`` mean."""

OUR_ROLE = "underway_role"

_GROUP = re.compile(r"groups(?:\[\s*(['\"])([A-Za-z0-9_.-]+)\1\s*\]|\.([A-Za-z0-9_]+))(\s*\[\s*(-?[0-9]+)\s*\])?")
_QUOTED_WORD = re.compile(rf"(['\"]){WORD}\1")
_SERVICE_COMMAND = re.compile(r"(?:/s?bin/|/usr/s?bin/)?service ([A-Za-z0-9@_.-]+) (start|stop|restart|reload)")
_STATES = {"start": "started", "stop": "stopped", "restart": "restarted", "reload": "reloaded"}
_SHELL_LETTERS = re.compile(r"[|&;<>()$`\\\"'*?\[\]#~=%!{}\n]")
_QUIET = frozenset({"assert", "debug", "fail", "meta", "pause", "set_fact"})
"""Modules that need no other user."""


@dataclass(slots=True)
class Context:
    """What a conversion knows, and what it finds out about all snippets."""

    roles: Mapping[str, str]  # profile -> role
    definitions: Definitions
    helper: Callable[[str], bytes | None]
    used: dict[str, list[str]] = field(default_factory=dict)  # variable -> places that name it
    problems: list[Problem] = field(default_factory=list)
    carried: list[helpers.Carried] = field(default_factory=list)
    registered: dict[str, str] = field(default_factory=dict)  # result -> the task that keeps it


@dataclass(slots=True)
class Piece:
    """The tasks of one snippet that one tag selects; ``vars``: texts that they need, ``facts``: they ask for facts."""

    tasks: list[dict[str, Any]] = field(default_factory=list)
    vars: dict[str, str] = field(default_factory=dict)
    facts: bool = False
    registered: set[str] = field(default_factory=set)


def piece(context: Context, snippet: Snippet, tag: int) -> Piece:
    """What ``tag`` selects of a snippet."""
    found = Piece()
    for task in snippet.tasks:
        if tag in task.tags:
            one = _Task(context, snippet, found, task)
            made = one.converted(task.body, (task.index,))
            for native in made:
                problems = check_task(snippet.document, (ROOT, task.index), native)
                context.problems += [p for p in problems if p not in context.problems]
            found.tasks += made
    if found.facts:
        found.tasks.insert(0, {"name": "Gather facts", "ansible.builtin.setup": {}})
    return found


class _Task:
    """One task on its way."""

    def __init__(self, context: Context, snippet: Snippet, piece: Piece, task: SnippetTask) -> None:
        self.context, self.snippet, self.piece, self.task = context, snippet, piece, task
        self.scope: list[set[str]] = []

    def wrong(self, loc: Loc, code: str, message: str, hint: str = "", **more: Any) -> None:
        problem = self.snippet.problem(loc, code, message, hint, **more)
        if problem not in self.context.problems:  # a task of two tags is looked at twice
            self.context.problems.append(problem)

    def converted(self, body: dict[str, Any], loc: Loc) -> list[dict[str, Any]]:
        """``body`` as one task or several; nothing where it was refused (``problems`` say why)."""
        body = copy.deepcopy(body)
        body.pop("tags", None)
        refused = [key for key in body if short(key) in REFUSED]
        for key in refused:
            self.wrong((*loc, key), "task-key", f"'{key}' cannot be carried over", REFUSED[short(key)], of="key")
        if "notify" in body:
            hint = "write the task that the handler does in its place"
            self.wrong((*loc, "notify"), "task-key", "'notify': a snippet has no handlers", hint, of="key")
        if refused or "notify" in body:
            return []
        keywords = self._keywords({key: value for key, value in body.items() if key not in module_keys(body)}, loc)
        self.scope.append(_own_names(keywords))
        try:
            if "block" in body:
                for part in BLOCKS:
                    if part in keywords:
                        inside = enumerate(keywords[part])
                        keywords[part] = [t for i, one in inside for t in self.converted(one, (*loc, part, i))]
                self._look(keywords, loc, skip=BLOCKS)
                return [_named(keywords, "Block")]
            return self._module(body, keywords, loc)
        finally:
            self.scope.pop()
            if isinstance(keywords.get("register"), str):
                self.piece.registered.add(keywords["register"])

    def _keywords(self, keywords: dict[str, Any], loc: Loc) -> dict[str, Any]:
        if "sudo" in keywords:
            keywords.setdefault("become", keywords.pop("sudo"))
        if "sudo_user" in keywords:
            keywords.setdefault("become_user", keywords.pop("sudo_user"))
        for key in list(keywords):
            if key in jinja.EXPRESSIONS:
                parts = [self._expression(one, (*loc, key)) for one in jinja.conditions(keywords[key])]
                keywords[key] = parts if isinstance(keywords[key], list) else parts[0]
            elif key not in BLOCKS:
                keywords[key] = self._texts(keywords[key])
        return keywords

    def _expression(self, value: Any, loc: Loc) -> Any:
        """A condition; those of groups become conditions on variables that a host knows."""
        if not isinstance(value, str):
            return value
        text = _GROUP.sub(lambda found: self._group(found, loc), value)
        text = _QUOTED_WORD.sub(OUR_ROLE, text).replace(WORD, OUR_ROLE)
        text = jinja.modern(text).strip()
        whole = re.fullmatch(r"\{\{(.*)\}\}", text)  # braces around a whole condition were allowed
        if whole and "{{" not in whole[1]:
            text = whole[1].strip()
        return text

    def _group(self, found: re.Match[str], loc: Loc) -> str:
        group, index = found[2] or found[3], found[5]
        if group == WORD and index in ("0", "-1"):
            return FIRST if index == "0" else LAST
        role = OUR_ROLE if group == WORD else self.context.roles.get(group)
        if role is None:
            hint = one_of(group, [WORD, *self.context.roles], "groups are the profiles")
            self.wrong(loc, "unknown-group", f"there is no group {shown(group)}", hint)
            return "group_names"  # so that it is told once
        key = role if role == OUR_ROLE else repr(role)
        hosts = f"(underway_hosts_by_role[{key}] | map(attribute='name') | list)"
        return hosts + (f"[{index}]" if index else "")

    def _texts(self, value: Any) -> Any:
        """All texts inside, with the role's name where the profile's stood."""
        if isinstance(value, str):
            text = jinja.modern(value) if jinja.is_template(value) else value
            if WORD in text and len(text) <= jinja.MAX_TEMPLATE:
                text = re.sub(r"\{\{(.*?)\}\}", lambda found: "{{" + self._inside(found[1]) + "}}", text)
                text = text.replace(WORD, f"{{{{ {OUR_ROLE} }}}}")
            return text
        if isinstance(value, dict):
            return {key: self._texts(inside) for key, inside in value.items()}
        return [self._texts(inside) for inside in value] if isinstance(value, list) else value

    def _inside(self, expression: str) -> str:
        text = _GROUP.sub(lambda found: self._group(found, (self.task.index,)), expression)
        return _QUOTED_WORD.sub(OUR_ROLE, text).replace(WORD, OUR_ROLE)

    def _module(self, body: dict[str, Any], keywords: dict[str, Any], loc: Loc) -> list[dict[str, Any]]:
        named = module_keys(body)
        value: Any
        if "action" in keywords:
            stated = keywords.pop("action")
            if isinstance(stated, dict):
                value = dict(stated)
                name = str(value.pop("module", ""))
            else:
                name, _, value = str(stated).partition(" ")
        elif len(named) == 1:
            name, value = named[0], self._texts(body[named[0]])
        else:
            return []  # said when the snippet was read
        if full(name) is None and short(name) not in OWN_MODULES:
            if name not in named:  # else said when the snippet was read
                hint = nearest(name, MODULES)
                self.wrong((*loc, "action"), "unknown-module", f"{shown(name)} is not the name of a module", hint)
            return []
        options, free = self._arguments(name, value, keywords, loc)
        if options is None:
            return []
        self._look({**keywords, "args": options, "cmd": free}, loc)
        module = short(name)
        if module == "edeploy":
            return self._edeploy(options, keywords, loc)
        if module == "script":
            return self._script(options, free, keywords, loc)
        if module in ("copy", "template"):
            self._content(module, options, loc)
            module = "copy" if "content" in options else module
        if module == "set_fact":
            self.piece.registered |= {key for key in options if key != "cacheable"}
        if module in ("command", "shell"):
            return [self._command(module, options, free, keywords)]
        if module in FREE_FORM:
            options = {"cmd": free, **options}
        if module not in _QUIET:
            keywords.setdefault("become", True)
        return [_named({full(module) or name: options, **keywords}, str(options.get("msg", module)))]

    def _arguments(
        self, name: str, value: Any, keywords: dict[str, Any], loc: Loc
    ) -> tuple[dict[str, Any] | None, str]:
        options: dict[str, Any] = {}
        free = ""
        if isinstance(value, str):
            try:
                read = arguments(short(name), value)
            except BadArguments as error:
                message = f"arguments of {shown(name)} cannot be read: {error}"
                self.wrong((*loc, name), "arguments", message, "write NAME=VALUE, or a mapping")
                return None, ""
            options, free = dict(read.options), read.free
        elif isinstance(value, dict):
            options = dict(value)
            free = str(options.pop("cmd", "")) if short(name) in FREE_FORM else ""
        elif value is not None:
            self.wrong((*loc, name), "arguments", f"expected arguments of {shown(name)}, found {shown(value)}")
            return None, ""
        more = keywords.pop("args", None)
        if isinstance(more, dict):
            options |= more
        options.pop("warn", None)  # gone since Ansible 2.14; it changed no result
        return options, free

    # -- modules that need more than a new name

    def _command(self, module: str, options: dict[str, Any], free: str, keywords: dict[str, Any]) -> dict[str, Any]:
        service = _SERVICE_COMMAND.fullmatch(free)
        if free == "systemctl daemon-reload" and not options:
            return _named(
                {"ansible.builtin.systemd_service": {"daemon_reload": True}, "become": True, **keywords}, free
            )
        if service and not options and _only_success(keywords):
            if "until" in keywords:
                keywords["until"] = f"{keywords['register']} is succeeded"
            asked = {"name": service[1], "state": _STATES[service[2]]}
            return _named({"ansible.builtin.service": asked, "become": True, **keywords}, free)
        if module == "shell" and not _SHELL_LETTERS.search(re.sub(r"\{\{.*?\}\}", "", free)):
            options = {key: option for key, option in options.items() if key != "executable"}
            module = "command"
        said = {"cmd": free, **options} if free else options
        keywords.setdefault("changed_when", True)  # what Ansible takes it for; said, so that nobody wonders
        return _named({f"ansible.builtin.{module}": said, "become": True, **keywords}, free)

    def _edeploy(self, options: dict[str, Any], keywords: dict[str, Any], loc: Loc) -> list[dict[str, Any]]:
        known = {"command", "version", "conffile"}
        for key in sorted(set(options) - known):
            self.wrong(loc, "arguments", f"the module edeploy has no {shown(key)}", nearest(key, known))
        made, message = helpers.edeploy(options, keywords)
        if message:
            self.wrong(loc, "arguments", message, "edeploy: command=upgrade version=RELEASE")
        return [_named(made, "edeploy")] if made else []

    def _script(self, options: dict[str, Any], free: str, keywords: dict[str, Any], loc: Loc) -> list[dict[str, Any]]:
        name, _, rest = free.partition(" ")
        carried = helpers.find(self.context.helper, name)
        if isinstance(carried, str):
            self.wrong(loc, "helper", f"helper script {shown(name)}: {carried}", "give its directory with --files DIR")
            return []
        secret = {one for one in jinja.of_template(rest) if self.context.definitions.secret(one)}
        try:
            made, names = helpers.script(carried, self.snippet.name, rest, bool(secret), options, keywords)
        except ValueError as error:
            self.wrong(loc, "helper", f"helper script {shown(name)}: {error}")
            return []
        if carried not in self.context.carried:
            self.context.carried.append(carried)
        self.piece.vars |= names
        return [_named(one, f"{name}") for one in made]

    def _content(self, module: str, options: dict[str, Any], loc: Loc) -> None:
        """A file of the one who imports becomes text in the task: only what is signed reaches a host."""
        source = options.get("src")
        if not isinstance(source, str) or str(options.get("remote_src", "")).lower() in ("true", "yes"):
            return
        carried = helpers.find(self.context.helper, source)
        if isinstance(carried, str):
            self.wrong(loc, "helper", f"file {shown(source)}: {carried}", "give its directory with --files DIR")
            return
        del options["src"]
        options["content"] = carried.text if module == "template" else helpers.raw(carried.text)
        options.setdefault("mode", "preserve" if module == "template" else "0644")
        if options["mode"] == "preserve":
            options["mode"] = "0644"
        if carried not in self.context.carried:
            self.context.carried.append(carried)

    # -- variables

    def _look(self, parts: dict[str, Any], loc: Loc, skip: tuple[str, ...] = ()) -> None:
        """Note the variables that a task names, and those that nothing defines."""
        names: set[str] = set()
        for key, value in parts.items():
            if key in skip:
                continue
            try:
                if key in jinja.EXPRESSIONS:
                    names |= set().union(
                        *(jinja.of_expression(one) for one in jinja.conditions(value) if isinstance(one, str))
                    )
                else:
                    names |= jinja.of_value(value)
            except jinja.BadTemplate as error:
                at = (*loc, key) if key in self.task.body else loc
                self.wrong(at, "template", str(error), "look at the braces and quotes")
        own = set().union(*self.scope) | {FIRST, LAST, OUR_ROLE, "underway_hosts_by_role"}
        if isinstance(parts.get("register"), str):
            own.add(parts["register"])
        place = self.snippet.place(self.task.index)
        for name in sorted(names - own - self.piece.registered - jinja.ALWAYS | (names & {"groups", "hostvars"})):
            self._name(name, loc, place)

    def _name(self, name: str, loc: Loc, place: str) -> None:
        if name in ("groups", "hostvars"):
            hint = "a host knows itself and the names of its role; write what is meant as a variable"
            self.wrong(loc, "other-hosts", f"'{name}' cannot be carried over: a host does not know others", hint)
        elif name.startswith("ansible_"):
            self.piece.facts = True
        else:
            missing = self.context.definitions.missing(name)
            for distribution in missing:
                where = f" for {distribution} (vars/{distribution})" if distribution else ""
                message, hint = f"variable {shown(name)} is not defined{where}", self._hint(name)
                registered = self.context.registered.get(name)
                if registered:
                    message = f"{shown(name)} is registered at {registered}, for another tag or snippet"
                    hint = "a result does not outlive its tag: ask again in this one"
                self.wrong(loc, "undefined", message, hint)
            self.context.used.setdefault(name, []).append(place)

    def _hint(self, name: str) -> str:
        """Where an undefined variable might be defined."""
        if name in FROM_CONFIG:
            keys = " and ".join(f"config.{key}" for key in FROM_CONFIG[name])
            return f"the environment defines it by {keys}"
        others = self.context.definitions.known() - {name}
        return nearest(name, others) or "define it in a file of variables, and give that with --vars"


def _own_names(keywords: Mapping[str, Any]) -> set[str]:
    """Names that a task gives itself."""
    found = set(keywords["vars"]) if isinstance(keywords.get("vars"), dict) else set()
    if "loop" in keywords or any(key.startswith("with_") for key in keywords):
        control = keywords.get("loop_control")
        control = control if isinstance(control, dict) else {}
        found |= {str(control.get("loop_var", "item")), str(control.get("index_var", "item"))}
    return found


def _only_success(keywords: Mapping[str, Any]) -> bool:
    """Whether nothing but success or failure of a command matters to the task (its ``register`` is its own)."""
    until = keywords.get("until")
    if any(key in keywords for key in ("changed_when", "failed_when", "environment")):
        return False
    if "register" not in keywords:
        return until is None
    return isinstance(until, str) and re.sub(r"\s", "", until) == f"{keywords['register']}.rc==0"


def _named(task: dict[str, Any], otherwise: str) -> dict[str, Any]:
    """The task with a name in front that begins with a capital letter."""
    name = str(task.pop("name", "") or "").strip() or otherwise.strip() or "Task"
    name = " ".join(name.split())[:200]
    return {"name": name[:1].upper() + name[1:], **task}
