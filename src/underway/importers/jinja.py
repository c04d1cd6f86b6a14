"""Which variables a text or an expression of Ansible names. Pure; nothing is evaluated."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

MAX_TEMPLATE = 20_000
"""Longest text that is looked at; Jinja's parser takes time in proportion to it."""

_ENVIRONMENT = Environment(autoescape=False)  # noqa: S701  nothing is rendered

ALWAYS = frozenset(
    {
        "ansible_play_hosts", "ansible_play_hosts_all", "ansible_play_batch", "ansible_play_name", "ansible_check_mode",
        "ansible_diff_mode", "ansible_version", "ansible_playbook_python", "ansible_loop", "ansible_search_path",
        "ansible_host", "ansible_python_interpreter", "ansible_index_var", "ansible_loop_var", "ansible_run_tags",
        "cycler", "dict", "false", "False", "group_names", "groups", "inventory_hostname", "inventory_hostname_short",
        "joiner", "lipsum", "lookup", "loop", "namespace", "none", "None", "now", "omit", "play_hosts", "q", "query",
        "range", "role_path", "true", "True", "undef", "vars",
    }
)  # fmt: skip
"""Names that Ansible or Jinja give to every task without being asked."""

EXPRESSIONS = frozenset({"changed_when", "failed_when", "until", "when"})
"""Keywords of a task whose text is an expression, braces or not."""

_OLD_TEST = re.compile(r" ?\|\s*(succeeded|success|failed|failure|changed|skipped)\b(?!\s*\()")
_PLAIN = re.compile(r"\{\{\s*([A-Za-z0-9_.]+)\s*\}\}")


class BadTemplate(ValueError):
    """A template that cannot be parsed; the message says why."""


def is_template(text: str) -> bool:
    """Whether ``text`` holds anything that Jinja would act upon."""
    return "{{" in text or "{%" in text or "{#" in text


def of_template(text: str) -> set[str]:
    """Names that the templates in ``text`` need from outside. Raises ``BadTemplate``."""
    if not is_template(text):
        return set()
    if len(text) > MAX_TEMPLATE:
        raise BadTemplate(f"a template of {len(text):,} characters; at most {MAX_TEMPLATE:,}")
    try:
        tree = _ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        raise BadTemplate(f"not a template: {error.message}") from None
    except RecursionError:
        raise BadTemplate("a template nested too deep") from None
    found = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "load"}
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx in ("store", "param")}
    stored |= {macro.name for macro in tree.find_all(nodes.Macro)}
    return found - stored


def of_expression(text: str) -> set[str]:
    """Names in an expression (of ``when``, say). Raises ``BadTemplate``."""
    bare = text.strip()
    if is_template(bare):  # old files put braces there, too; both readings name the same
        return of_template(bare)
    return of_template("{{ (" + bare + ") }}") if bare else set()


def of_value(value: Any) -> set[str]:
    """Names in all texts inside ``value``."""
    if isinstance(value, str):
        return of_template(value)
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: set[str] = set()
    for key, one in inside:
        found |= of_value(one) | (of_value(key) if isinstance(key, str) else set())
    return found


def modern(text: str) -> str:
    """The same with ``{{x}}`` as ``{{ x }}``, and ``result|succeeded`` (gone since Ansible 2.9) as a test."""
    if len(text) > MAX_TEMPLATE:
        return text  # refused when its names are asked for
    text = _PLAIN.sub(r"{{ \1 }}", text)
    return _OLD_TEST.sub(lambda found: f" is {found[1]}", text)


def conditions(value: Any) -> list[Any]:
    """``when`` as a list of its parts."""
    return value if isinstance(value, list) else [value]
