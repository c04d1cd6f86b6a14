"""The golden cases of python-jiocloud through keys: the recommended results (D23).

The fixture is read in place. The document speaks of 21 cases; the fixture holds 11, and 6 names of hosts.
"""

from __future__ import annotations

from typing import Any

import pytest

from fast.compat.made import FIXTURE, Site, fleet, golden
from underway.core.compat.keys import role_of
from underway.errors import FileProblems

CASES: list[dict[str, Any]] = golden()["cases"]


def test_the_fixture_is_there() -> None:
    if not FIXTURE.exists():
        pytest.skip(f"NOT RUN: the golden cases of python-jiocloud are not at {FIXTURE} (set UNDERWAY_FIXTURES)")
    assert len(CASES) >= 11


def wanted(case: dict[str, Any]) -> dict[str, list[str]]:
    """The recommended result; where it is the natural order, that."""
    if isinstance(case["recommended"], dict):
        return dict(case["recommended"])
    if case["recommended"].startswith("natural order"):
        return {"roles": [], "hosts": ["cp1", "cp2"], "delete_hosts": []}
    return dict(case["original_result"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_case(case: dict[str, Any]) -> None:
    site = Site(fleet(case["status_by_role"]))
    before = site.keys
    if case["recommended"] == "error: cycle":
        with pytest.raises(FileProblems, match="the order is a cycle"):
            site.upgrade("2", case["instructions"])
        assert site.keys == before
        return
    outcome = site.upgrade("2", case["instructions"])
    assert outcome.round is not None
    release, expected = outcome.round.release, wanted(case)
    assert sorted(release.roles) == sorted(expected["roles"])
    assert sorted(release.hosts) == sorted(expected["hosts"])
    assert sorted(release.delete_hosts) == sorted(expected["delete_hosts"])
    tree = "config_state/enable_puppet"
    set_now = {f"{tree}/role/{role}" for role in expected["roles"]} | {
        f"{tree}/host/{host}" for host in expected["hosts"]
    }
    gone = {f"{tree}/host/{host}" for host in expected["delete_hosts"]}
    assert site.keys == {key: before[key] for key in before if key not in gone} | dict.fromkeys(set_now, "True")


@pytest.mark.parametrize(("host", "role"), golden()["hostname_to_role"].items())
def test_role_of_a_host(host: str, role: str | None) -> None:
    assert role_of(host) == (role or "")
