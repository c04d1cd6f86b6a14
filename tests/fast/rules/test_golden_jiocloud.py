"""The limit and order cases of python-jiocloud, put to our rules: the recommended results, not its defects.

The fixture is read in place; its ``recommended`` says where the original is to be followed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from fast.rules.fleets import make_pass, make_plan, seen
from underway.core.model.policy import Policy
from underway.core.rules import decide

BESIDE = Path(__file__).parents[4] / "shared" / "fixtures"
FIXTURE = Path(os.environ.get("UNDERWAY_FIXTURES", BESIDE)) / "golden" / "jiocloud_rule_cases.json"
CASES: list[dict[str, Any]] = json.loads(FIXTURE.read_text())["cases"] if FIXTURE.exists() else []


def natural(name: str) -> list[object]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def released(case: dict[str, Any]) -> set[str]:
    """The hosts that may start, by the recommended result."""
    pending: dict[str, list[str]] = case["status_by_role"]["pending"]
    wanted = case["recommended"] if isinstance(case["recommended"], dict) else case["original_result"]
    if case["recommended"].__class__ is str and case["recommended"].startswith("natural order"):
        return {"cp1", "cp2"}
    return {*wanted["hosts"], *(host for role in wanted["roles"] for host in pending[role])}


def granted(case: dict[str, Any]) -> set[str]:
    """The same by our rules: a pass per role; a limit that was not stated is the size of the role there."""
    rules = case["instructions"].get("rolling_rules", {})
    needs = case["instructions"].get("role_dependencies", {})
    status = case["status_by_role"]
    roles: dict[str, list[str]] = {}
    for hosts_of in status.values():
        for role, hosts in hosts_of.items():
            roles.setdefault(role, []).extend(hosts)
    limits = {role: int(rules.get("roles", {}).get(role, rules.get("global", len(h)))) for role, h in roles.items()}
    groups: dict[str, tuple[list[str], int]] = {}
    for group, patterns in case["instructions"].get("group_mappings", {}).items():
        members = [role for role in roles if any(re.fullmatch(pattern, role) for pattern in patterns)]
        groups[group] = (members, int(rules.get("roles", {}).get(group, rules["global"])))
        limits.update({role: len(roles[role]) for role in members})
    passes = []
    for role, hosts in roles.items():
        before = needs.get(role, [])
        after = [f"data/{name}" for name in ([before] if isinstance(before, str) else before)]
        passes.append(make_pass(f"data/{role}", sorted(hosts, key=natural), after=after))
    plan = make_plan(passes, roles, limits=limits, groups=groups)
    states = {"upgraded": "done", "upgrading": "running"}
    actions = {
        f"data/{role}/{host}": state
        for status_name, state in states.items()
        for role, hosts in status[status_name].items()
        for host in hosts
    }
    decision = decide(plan, seen(actions), Policy(), 1.0)
    assert not {grant.host for grant in decision.grants} & set(decision.reasons)
    return {grant.host for grant in decision.grants}


def test_the_fixture_is_there() -> None:
    if not FIXTURE.exists():
        pytest.skip(f"NOT RUN: the golden cases of python-jiocloud are not at {FIXTURE} (set UNDERWAY_FIXTURES)")
    assert len(CASES) >= 11


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_recommended_result(case: dict[str, Any]) -> None:
    assert granted(case) == released(case)
