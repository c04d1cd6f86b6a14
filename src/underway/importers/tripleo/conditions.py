"""What ``when`` says about the step: an expression is parsed by Jinja2's own grammar and judged with three answers.

Only what hangs on ``step`` (and, for fast forward, ``release``) is known at import; everything else is open. TripleO
itself looks for the text ``step==N``, so that ``>=``, ``in`` and ``!=`` put a task into every step (B3, B(c)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

MAX_LENGTH = 4000
MAX_PARENTHESES = 60

OPEN = object()
"""The answer is not known before the task runs."""

_ENVIRONMENT = Environment(autoescape=True)  # only its parser is used: nothing is rendered
_QUOTED = re.compile(r"(['\"])\{\{([^{}'\"]*)\}\}\1")
_INSIDE = re.compile(r"\{\{([^{}]*)\}\}")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "lt": lambda left, right: left < right,
    "lteq": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gteq": lambda left, right: left >= right,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}


class WhenError(Exception):
    """An expression that is none."""


@lru_cache(maxsize=4096)
def parsed(text: str) -> nodes.Expr:
    """The expression in ``text`` (a whole ``{{ … }}`` around it is taken off). Raises ``WhenError``."""
    bare = untemplated(text)
    if not bare:
        raise WhenError("the condition is empty")
    if max(bare.count(mark) for mark in "([{") > MAX_PARENTHESES or bare.count("not ") > MAX_PARENTHESES:
        raise WhenError(f"more than {MAX_PARENTHESES} brackets or negations in one condition")
    if "{%" in bare or "%}" in bare:
        raise WhenError("a condition holds an expression, and no statement '{% … %}'")
    try:
        # a line break keeps a comment sign or a bracket of the text from closing ours
        template = _ENVIRONMENT.parse("{{ (" + bare + "\n) }}")
    except TemplateSyntaxError as error:
        raise WhenError(f"the condition cannot be parsed: {error.message}") from None
    except RecursionError:
        raise WhenError("the condition is nested too deep") from None
    output = template.body[0] if len(template.body) == 1 else None
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        raise WhenError("the condition cannot be parsed: more than one expression")
    return output.nodes[0]


def untemplated(text: str) -> str:
    """``text`` without the templates that older Ansible let stand inside a condition. Raises ``WhenError``."""
    if len(text) > MAX_LENGTH:
        raise WhenError(f"the condition has {len(text):,} characters; at most {MAX_LENGTH:,}")
    bare = text.strip()
    bare = _QUOTED.sub(lambda match: f"({match[2].strip()})", bare)
    bare = _INSIDE.sub(lambda match: match[1] if match[0] == bare else f"({match[1].strip()})", bare)
    return bare.strip()


def judge(text: str, known: Mapping[str, Any]) -> bool | None:
    """Whether the condition holds where ``known`` names have these values; None where it hangs on others.

    Numbers and texts of digits are the same here: ``step`` is text to TripleO, compared with or without ``|int``.
    """
    found = _value(parsed(text), known)
    return None if found is OPEN else bool(found)


def names(text: str) -> frozenset[str]:
    """The names that the condition reads."""
    return frozenset(_names(parsed(text)))


def _names(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Name):
        yield node.name
    for one in node.find_all(nodes.Name):
        yield one.name


def _number(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    return value


def _value(node: nodes.Node, known: Mapping[str, Any]) -> Any:
    """The value of an expression, or OPEN."""
    if isinstance(node, nodes.Const):
        return node.value
    if isinstance(node, nodes.Name):
        return known.get(node.name, OPEN)
    if isinstance(node, nodes.List | nodes.Tuple):
        items = [_value(one, known) for one in node.items]
        return OPEN if OPEN in items else items
    if isinstance(node, nodes.Filter):
        return _filtered(node, known)
    if isinstance(node, nodes.Not):
        inside = _value(node.node, known)
        return OPEN if inside is OPEN else not inside
    if isinstance(node, nodes.And | nodes.Or):
        return _both(node, known)
    if isinstance(node, nodes.Neg):
        inside = _number(_value(node.node, known))
        return -inside if isinstance(inside, int) else OPEN
    if isinstance(node, nodes.Compare):
        return _compared(node, known)
    if isinstance(node, nodes.CondExpr):
        test = _value(node.test, known)
        if test is OPEN:
            return OPEN
        chosen = node.expr1 if test else node.expr2
        return _value(chosen, known) if chosen is not None else OPEN
    if isinstance(node, nodes.Test) and node.name in ("defined", "undefined") and isinstance(node.node, nodes.Name):
        return node.name == "defined" if node.node.name in known else OPEN
    return OPEN


def _filtered(node: nodes.Filter, known: Mapping[str, Any]) -> Any:
    if node.node is None:
        return OPEN
    inside = _value(node.node, known)
    if inside is OPEN:
        return OPEN
    if node.name == "int":
        number = _number(inside)
        return number if isinstance(number, int) else OPEN
    if node.name in ("string", "lower", "trim") and isinstance(inside, str | int):
        return {"string": str(inside), "lower": str(inside).lower(), "trim": str(inside).strip()}[node.name]
    if node.name == "bool" and isinstance(inside, bool):
        return inside
    return inside if node.name == "default" else OPEN


def _both(node: nodes.And | nodes.Or, known: Mapping[str, Any]) -> Any:
    """One side can settle it alone: ``step == 1 and x`` is false in step 2, whatever x is."""
    sides = [_value(one, known) for one in (node.left, node.right)]
    settled = isinstance(node, nodes.Or)
    for side in sides:
        if side is not OPEN and bool(side) is settled:
            return settled
    return OPEN if OPEN in sides else not settled


def _compared(node: nodes.Compare, known: Mapping[str, Any]) -> Any:
    left = _number(_value(node.expr, known))
    results: list[Any] = []
    for operand in node.ops:
        right = _value(operand.expr, known)
        right = [_number(one) for one in right] if isinstance(right, list) else _number(right)
        if left is OPEN or right is OPEN:
            results.append(OPEN)
        else:
            try:
                results.append(_COMPARE[operand.op](left, right))
            except TypeError:  # text with a number, say: Ansible's to refuse
                results.append(OPEN)
        left = right
    if False in results:
        return False
    return OPEN if OPEN in results else True
