"""Which hosts are meant: an expression over one host, in a small language that only compares. Pure.

``role == 'compute' and domain != 'rack-a'``, ``host in ['n1', 'n2']``, ``vars.kernel < '6.1'``. The names are ``host``,
``role``, ``domain``, ``release`` and ``vars`` (a host's own variables, by ``vars.NAME``); the operators are ``and``,
``or``, ``not``, ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` and ``not in``. Nothing can be called, and no
template is looked at (TRUST.md §4, 36).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from underway.core.model.cluster import Cluster, Host
from underway.core.names import ordered
from underway.core.nearest import nearest
from underway.errors import InputError

NAMES = ("host", "role", "domain", "release", "vars")
LONGEST = 1000
"""Characters of an expression."""

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, many: one in many, ast.NotIn: lambda one, many: one not in many,
}  # fmt: skip


def choose(cluster: Cluster, roles: tuple[str, ...] = (), where: str = "") -> tuple[str, ...]:
    """Hosts of ``roles`` (none given: of all) for which ``where`` holds, in natural order.

    Raises ``InputError`` for a role that there is not and for an expression that says nothing of hosts.
    """
    for role in roles:
        if role not in cluster.roles:
            raise InputError(f"--role {role}: there is no such role{nearest(role, cluster.roles)}")
    test = parsed(where) if where else None
    found = [
        name
        for name, host in cluster.hosts.items()
        if (not roles or host.role in roles) and (test is None or bool(_value(test, host, cluster, where)))
    ]
    return tuple(ordered(found))


def parsed(where: str) -> ast.expr:
    """The expression, checked for what it is made of. Raises ``InputError`` naming the place."""
    if len(where) > LONGEST:
        raise InputError(f"--where: expected at most {LONGEST} characters, found {len(where)}")
    try:
        tree = ast.parse(where, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        place = f", at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise InputError(f"--where {where!r}: not an expression{place} (say: role == 'compute')") from None
    _check(tree, where)
    return tree


def _check(node: ast.expr, where: str) -> None:
    parts: list[ast.expr] = []
    if isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        parts = [node.operand]
    elif isinstance(node, ast.Compare) and all(type(one) in _COMPARE for one in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.List | ast.Tuple):
        parts = node.elts
    elif not _plain(node):
        place = f"at character {node.col_offset + 1}"
        if isinstance(node, ast.Name):
            raise InputError(
                f"--where: unknown name {node.id!r} {place}{nearest(node.id, NAMES)}"
                f" (expected {', '.join(NAMES)}; text stands in quotes)"
            )
        text = ast.get_source_segment(where, node) or ""
        raise InputError(
            f"--where: {text[:60]!r} {place} is more than a comparison (expected names, text, numbers, lists, and, or, "
            "not, ==, !=, <, <=, >, >=, in)"
        )
    for part in parts:
        _check(part, where)


def _plain(node: ast.expr) -> bool:
    """Text, a number, or a name that means something of a host."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "vars"
    if isinstance(node, ast.Name):
        return node.id in NAMES
    return isinstance(node, ast.Constant) and isinstance(node.value, str | int | float)


def _value(node: ast.expr, host: Host, cluster: Cluster, where: str) -> Any:
    def value(part: ast.expr) -> Any:
        return _value(part, host, cluster, where)

    if isinstance(node, ast.BoolOp):
        both = isinstance(node.op, ast.And)
        return all(value(part) for part in node.values) if both else any(value(part) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        return not value(node.operand)
    if isinstance(node, ast.Compare):
        left = value(node.left)
        for sign, part in zip(node.ops, node.comparators, strict=True):
            right = value(part)
            try:
                if not _COMPARE[type(sign)](left, right):
                    return False
            except TypeError:
                raise InputError(
                    f"--where {where!r}: on host {host.name}, {left!r} and {right!r} cannot be compared so"
                ) from None
            left = right
        return True
    if isinstance(node, ast.List | ast.Tuple):
        return [value(part) for part in node.elts]
    if isinstance(node, ast.Attribute):
        return host.vars.get(node.attr, "")
    if isinstance(node, ast.Name):
        release = host.release or cluster.release
        return {"host": host.name, "role": host.role, "domain": host.domain, "release": release, "vars": host.vars}[
            node.id
        ]
    assert isinstance(node, ast.Constant)
    return node.value
