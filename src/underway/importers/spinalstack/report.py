"""What ``--json`` prints and the summary says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from underway.core.names import span
from underway.errors import Problem
from underway.importers.spinalstack.classes import Order, per_tag
from underway.importers.spinalstack.scenario import HostEntry
from underway.importers.spinalstack.snippets import BASE, Snippet


def report(
    orders: Mapping[str, Order],
    snippets: Mapping[str, Snippet],
    hosts: Mapping[str, Sequence[HostEntry]],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """Per profile, in the order of the upgrade: classes, snippets, tasks by tag, hosts in their order."""
    used = {BASE}.union(*(order.once for order in orders.values()))
    return {
        "profiles": {name: _profile(order, snippets, hosts.get(name, ())) for name, order in orders.items()},
        "snippets_empty": sorted(name for name, one in snippets.items() if one.empty),
        "snippets_unused": sorted(set(snippets) - used),
        "problems": [
            {
                "path": one.path, "line": one.line, "column": one.column, "code": one.code, "message": one.message,
                "hint": one.hint, "field": one.field, "severity": one.severity,
            }
            for one in sorted(problems)
        ],
    }  # fmt: skip


def _profile(order: Order, snippets: Mapping[str, Snippet], hosts: Sequence[HostEntry]) -> dict[str, Any]:
    return {
        "classes": order.classes,
        "classes_without_snippet": list(order.without),
        "snippets_in_order": list(order.in_order),
        "snippets_deduplicated": list(order.once),
        "tasks_per_tag_1_to_9_as_original": per_tag([BASE, *order.in_order], snippets),
        "tasks_per_tag_1_to_9_deduplicated": per_tag([BASE, *order.once], snippets),
        "hosts": [host.name for host in hosts],
    }


def summary(told: Mapping[str, Any]) -> list[str]:
    """The profiles for people: hosts, snippets, tasks that each tag selects."""
    lines = []
    for name, profile in told["profiles"].items():
        counts = profile["tasks_per_tag_1_to_9_deduplicated"]
        hosts = profile["hosts"]
        lines.append(f"profile {name}: {len(hosts)} host{'s' if len(hosts) != 1 else ''}"
                     + (f" ({span(hosts)})" if hosts else ""))  # fmt: skip
        snippets = [BASE, *profile["snippets_deduplicated"]]
        repeated = len(profile["snippets_in_order"]) - len(profile["snippets_deduplicated"])
        again = f" ({repeated} named again: each runs once)" if repeated else ""
        lines.append(f"  {len(snippets)} snippet{'s' if len(snippets) != 1 else ''}{again}: {', '.join(snippets)}")
        lines.append(f"  {sum(counts)} tasks, by tag 1 to 9: {' '.join(map(str, counts))}")
    return lines
