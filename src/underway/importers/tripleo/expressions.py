"""Conditions of older Ansible as today's takes them: no templates inside, tests as tests, answers true or false.

Sources: porting guides of ansible-core 2.5 (tests as filters), 2.9 (removed), 2.19 (a condition must be a truth value).
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import nodes

from underway.importers.tripleo.conditions import parsed, untemplated

_TESTS = {
    "succeeded": "succeeded", "success": "succeeded", "failed": "failed", "changed": "changed", "change": "changed",
    "skipped": "skipped", "skip": "skipped", "started": "started", "finished": "finished",
}  # fmt: skip
_AS_FILTER = re.compile(r"\|[ \t]{0,4}(" + "|".join(_TESTS) + r")\b(?!\s*\()")


def expression(text: str) -> str:
    """``text`` as a condition of today. It has been parsed before (``tasks.check``)."""
    bare = _AS_FILTER.sub(lambda match: f" is {_TESTS[match[1]]}", untemplated(text))
    bare = " ".join(line.strip() for line in bare.splitlines() if line.strip())
    return bare if _is_truth(parsed(bare)) else f"({bare}) is truthy(convert_bool=True)"


def _is_truth(node: nodes.Node) -> bool:
    """Whether the expression gives true or false whatever its names are."""
    if isinstance(node, nodes.Compare | nodes.Not | nodes.Test):
        return True
    if isinstance(node, nodes.And | nodes.Or):
        return _is_truth(node.left) and _is_truth(node.right)
    if isinstance(node, nodes.Filter):
        return node.name == "bool"
    return isinstance(node, nodes.Const) and isinstance(node.value, bool)


def condition(value: Any) -> Any:
    """The value of ``when``, ``failed_when``, ``changed_when`` or ``until``: truth values stay, texts are rewritten."""
    if isinstance(value, list):
        return [condition(one) for one in value]
    return expression(value) if isinstance(value, str) else value
