"""Files ``*.j2.yaml``, as TripleO's process-templates.py makes plain YAML of them: with the roles and the networks.

Only loops over what these hold, conditions and a few filters are allowed, so that rendering ends and reads nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import SandboxedEnvironment

from underway.config.words import one_of, shown
from underway.errors import FileProblems, Problem

MAX_RENDERED = 1024 * 1024
MAX_LOOPS = 3
"""Loops inside each other: roles, networks of a role, subnets."""

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Name, nodes.Const, nodes.List,
    nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Compare, nodes.Operand, nodes.And,
    nodes.Or, nodes.Not, nodes.CondExpr, nodes.Test, nodes.Filter, nodes.Call, nodes.Assign, nodes.Keyword,
)  # fmt: skip
_FILTERS = ("default", "d", "lower", "upper", "length", "list", "first", "last", "join", "sort", "unique")
_METHODS = ("lower", "upper", "get", "keys", "values", "items", "append")
_TESTS = ("defined", "undefined", "none", "true", "false", "string", "mapping")


def render(text: str, path: str, names: Mapping[str, Any]) -> str:
    """The text that the template gives for ``names``. Raises ``FileProblems`` at the line of what is not allowed."""
    environment = SandboxedEnvironment(keep_trailing_newline=True)

    def wrong(line: int, message: str, hint: str = "") -> FileProblems:
        return FileProblems([Problem(path, line, 1, "jinja2", message, hint)])

    hint = "render it with TripleO's process-templates.py, and give the result"
    try:
        tree = environment.parse(text)
        made = {target.name for one in tree.find_all(nodes.Assign) for target in one.find_all(nodes.Name)}
        _check(tree, 0, made, lambda node, message: wrong(node.lineno, message, hint))
        pieces, length = [], 0
        for piece in environment.from_string(text).generate(**names):
            length += len(piece)
            if length > MAX_RENDERED:
                raise wrong(1, f"the template gives more than {MAX_RENDERED:,} characters", hint)
            pieces.append(piece)
    except TemplateSyntaxError as error:
        raise wrong(error.lineno, f"not Jinja2: {error.message}", hint) from None
    except (TemplateError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise wrong(1, f"cannot be rendered: {shown(str(error) or type(error).__name__)}", hint) from None
    return "".join(pieces)


def _check(node: nodes.Node, loops: int, made: Collection[str], wrong: Callable[[nodes.Node, str], Exception]) -> None:
    """``made``: names that the template sets itself; a loop over what it appends to would never end."""
    if not isinstance(node, _PLAIN):
        raise wrong(node, f"Jinja2's {type(node).__name__!r} is not rendered here")
    if isinstance(node, nodes.For):
        loops += 1
        if node.recursive or loops > MAX_LOOPS:
            raise wrong(node, f"loops are nested deeper than {MAX_LOOPS}")
        over = next((one for one in (node.iter, *node.iter.find_all(nodes.Name)) if isinstance(one, nodes.Name)), None)
        if over is None or over.name in made:
            raise wrong(node, "a loop is over roles, networks, or a part of them")
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        raise wrong(node, f"filter {shown(node.name)} is not rendered here; {one_of(node.name, _FILTERS, 'filters')}")
    if isinstance(node, nodes.Test) and node.name not in _TESTS:
        raise wrong(node, f"test {shown(node.name)} is not rendered here")
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Getattr) and node.node.attr in _METHODS):
        raise wrong(node, "a call is not rendered here")
    for child in node.iter_child_nodes():
        _check(child, loops, made, wrong)
