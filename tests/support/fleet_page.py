"""``docs/faults.md`` and ``docs/faults.json``: what many seeds of ``support.fleet_main`` measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support.fleet_world import BUDGET, HOSTS, LIMIT, LIMITS

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """\
---
orphan: true
---

# Fleets under faults

`python -m support.fleet_main --seeds {seeds} --write` (in `tests`, as root) wrote this page and `faults.json`; no
figure is typed by hand.

Each seed is one upgrade of {hosts} hosts by their agents, half of them over `underway serve` and half at the store
itself, with **three coordinators** and a store of **three servers**, each on a host of its own in a network namespace.
Servers, coordinators, agents, runners and Ansible are the real ones, over TLS. Limits: {limits}, {limit} in all; a
failure budget of {budget}; role `web` waits for all of `db`. Each host has a step that is idempotent, one with a check,
and one that may not run twice.

The judge reads a file to which only the tasks append, when they begin and when they end; agents, coordinators and store
know nothing of it. After every fault and every line it holds P1 (limits), P2 (order), P3 (no step repeated, none left
out, none resumed that may not be) and P11 (nothing ran that no plan says) against it, and what the store calls done. At
the end it reads the audit: its chain, tokens that only grow (P4), holds and pauses (P5), the budget (P6), and every
word of an operator that was acknowledged. That a silent host keeps its slot (P7), and that what ran is what was signed
(P8), follow from P1 and P11 while hosts are stopped and orders forged. `tests/fast/sim/test_fleet_judge.py` shows that
each violation is seen.

"""


def page(said: Mapping[str, Any], first: int) -> Iterator[str]:
    """The page's lines."""
    limits = ", ".join(f"{count} of {role} at once" for role, count in LIMITS.items())
    yield HEAD.format(seeds=said["seeds"], hosts=len(HOSTS), limits=limits, limit=LIMIT, budget=BUDGET)
    yield "| | |\n|---|---|"
    seeds = f"{first} to {first + said['seeds'] - 1}"
    stores = ", ".join(f"{count} on {store}" for store, count in said["by store"].items())
    yield f"| seeds | {said['seeds']} ({seeds}): {stores} |"
    yield f"| **violations** | **{said['violations']}** |"
    yield f"| lost steps, repeated steps | {said['lost steps']}, {said['repeated steps']} |"
    yield f"| steps that ended | {said['steps']:,} |"
    yield f"| steps interrupted and resumed, as declared or by an operator's word | {said['resumed steps']:,} |"
    yield f"| faults injected | {sum(said['faults'].values()):,} |"
    yield f"| looks of the judge | {said['checks']:,} |"
    yield f"| hosts let in; entries of the audit that change something | {said['claims']:,}; {said['transitions']:,} |"
    yield f"| time | {said['seconds per seed']} s a seed, {said['seconds'] / 60:.0f} minutes in all |"
    yield "\n| fault | injected |\n|---|---|"
    for name, count in said["faults"].items():
        yield f"| {name} | {count:,} |"
    if said["coordinator killed after"]:
        yield "\nThe leading coordinator was killed right after these commits (by what they say):\n"
        yield ", ".join(f"{name} {count}" for name, count in said["coordinator killed after"].items()) + "."
    yield "\nNot covered: the clock of a *server* of the store an hour off (Go programs do not ask the C library, where"
    yield "the tests put another clock; elections of Consul and etcd count monotonic seconds), and loss of power."


def write_pages(said: Mapping[str, Any], first: int) -> None:
    """Write both."""
    (DOCS / "faults.md").write_text("\n".join(page(said, first)) + "\n")
    (DOCS / "faults.json").write_text(json.dumps({"first": first, **said}, indent=1) + "\n")
