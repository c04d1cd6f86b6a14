"""The laboratory's checks: the file is right, Tempest is told the truth, and the page says what was found."""

from __future__ import annotations

import json
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from labkit import testers, wheels
from labkit.environments import LOCKS
from labkit.places import PROJECT, Places
from labkit.topology import FULL
from scenarios import checked, checksfile, tempest, tempest_page
from scenarios.checksfile import Testers
from scenarios.site import Facts, render
from scenarios.tempest import Needs
from scenarios.tempest_page import Checked, figures, load, moved, page, rows
from underway.checks.javelin.file import load as load_javelin
from underway.config.load import load as load_cluster

NEEDS = Needs(("image", "other"), ("11", "12"), "2.100", 3)
DOCS = PROJECT / "docs"


def of(release: str, *, worse: bool = False) -> Checked:
    cases: tuple[dict[str, Any], ...] = (
        {"id": "tempest.a", "outcome": "failed" if worse else "passed", "text": "500"},
        {"id": "tempest.b", "outcome": "failed", "text": "0 not greater than or equal to 1"},
        {"id": "tempest.c", "outcome": "skipped", "text": "Cinder is not available"},
    )
    looks: tuple[dict[str, str], ...] = ({"accounts: servers/rack": "gone"}, {}) if worse else ({}, {})
    return Checked(f"{release}-x", release, 61.5, {"tempest": cases}, {}, looks)


def test_the_checks_are_right_and_name_what_the_cluster_has(tmp_path: Path) -> None:
    secrets, home = tmp_path / "secrets", tmp_path
    secrets.mkdir()
    for name in ("admin", "ledger", "rabbitmq"):
        (secrets / name).write_text("x")
    (home / "cluster.yaml").write_text(render(FULL, "2025.1", Facts("server", "image"), secrets, naive=False))
    places = Places(tmp_path / "lab")
    checksfile.write(places, home, Testers(tmp_path / "env", tmp_path / "tempest", "image"), survey=checked.SURVEY)
    inputs = load_cluster(home / "cluster.yaml")
    assert [problem.field for problem in inputs.problems] == ["probes.entry.access"]
    suites = inputs.checks
    assert set(suites) == {*tempest_page.SUITES, "survey"}
    asked = suites["tempest"].tempest
    assert asked is not None and asked.workers == 1 and len(set(asked.tests["*"])) == len(asked.tests["*"])
    assert {*tempest_page.PERSISTENT.values()} <= {*asked.tests["*"]}
    assert suites["tempest"].known["*"] == tuple(sorted(checksfile.cannot()))
    survey = suites["survey"].tempest
    assert survey is not None and survey.select == (checked.SURVEY,)
    hosts = suites["controllers"].testinfra
    assert hosts is not None and hosts.hosts == tuple(f"ssh://root@{one.address}:22" for one in FULL.of("controller"))
    for suite in ("balancers", "controllers", "computes"):
        ask = suites[suite].testinfra
        assert ask is not None and all(Path(file).is_file() for file in ask.files)
    javelin = load_javelin(home / "javelin.yaml")
    assert (home / "javelin.yaml").stat().st_mode & 0o777 == 0o600
    assert {spec["owner"] for spec in javelin.specs["servers"]} == {user["name"] for user in javelin.specs["users"]}
    assert not javelin.specs["secgroups"], "the stub of Neutron makes none"


def test_tempest_is_told_which_services_are_not_there_and_who_the_administrator_is(tmp_path: Path) -> None:
    parser = ConfigParser(interpolation=None)
    parser.read_string(tempest.text(tempest.settings(NEEDS, "pa$$ word%", tmp_path)))
    assert parser["auth"]["admin_password"] == "pa$$$$ word%", "oslo.config reads $$ as $"
    assert dict(parser["service_available"]) | dict(parser["DEFAULT"]) == {
        **dict.fromkeys(("cinder", "neutron", "swift", "horizon"), "False"),
        "log_dir": f"{tmp_path}/logs",
        "log_file": "tempest.log",
    }
    assert parser["compute"]["max_microversion"] == "2.100"
    assert parser["auth"]["create_isolated_networks"] == "False"


def test_the_lock_file_has_what_is_asked_for() -> None:
    pinned = dict(line.partition(" ;")[0].split("==") for line in testers.LOCK.read_text().splitlines())
    assert pinned["tempest"] == testers.VERSION
    assert {"stestr", "pytest", "pytest-testinfra"} <= pinned.keys()
    for name, asked in wheels.ASKED.items():
        assert set(asked) <= {line.split("==")[0] for line in (LOCKS / f"{name}.txt").read_text().splitlines()}


def test_reasons_are_tempests_own_for_what_it_skips_and_ours_for_what_fails() -> None:
    cannot = {"tempest.b*": "no address without Neutron", "tempest.c": "not asked"}
    assert rows(of("1").suites["tempest"], cannot) == [
        {
            "id": "tempest.b",
            "outcome": "failed",
            "why": "no address without Neutron",
            "said": "0 not greater than or equal to 1",
        },
        {
            "id": "tempest.c",
            "outcome": "skipped",
            "why": "Cinder is not available",
            "said": "Cinder is not available",
        },
    ]


def test_what_got_worse_stands_in_the_verdicts_and_on_the_page() -> None:
    before, after = of("1"), of("2", worse=True)
    assert moved(before, after, "tempest") == {"tempest.a": "passed to failed"}
    told = [one for one in checked.judge(before, after, 1, 1) if not one.good]
    assert [one.text for one in told] == [
        "nothing got worse: after has exit code 1, compare 1",
        "tempest: 1 passed, 1 failed, 1 skipped before, 2 failed, 1 skipped after",
    ]
    assert [one.good for one in checked.of_during([after])] == [False]
    assert [one.good for one in checked.of_during([])] == [False], "nobody looked"
    whole = {"tempest": "1", "upgrade": {**figures(before, after, [after], {}), "made": "today", "verdicts": []}}
    text = page(whole)
    assert "- `tempest.a`: passed to failed" in text
    assert "looked at 2 times: broken: accounts: servers/rack" in text
    assert "**failed: no reason is known yet** (2)" in text


def test_what_stayed_as_it_was_is_said_once() -> None:
    before, after = of("1"), of("2")
    assert all(one.good for one in checked.judge(before, after, 0, 0))
    text = page({"tempest": "1", "upgrade": {**figures(before, after, [], {}), "made": "today", "verdicts": []}})
    assert "No test has another outcome after than before." in text
    assert "| 1 passed, 1 failed, 1 skipped | 1 passed, 1 failed, 1 skipped |" in text
    assert "**Tempest skips it: Cinder is not available** (1)" in text


def test_what_nova_s_own_tests_ask_of_a_server_is_listed_whole_and_with_reasons() -> None:
    pause, shelve, group = (tempest_page.PERSISTENT[name] for name in (
        "pause, unpause", "shelve, unshelve", "security group on a rescued server"
    ))  # fmt: skip
    ssh = tempest_page.PERSISTENT["host name, over SSH"]
    cases: tuple[dict[str, Any], ...] = (
        {"id": pause, "outcome": "passed", "text": ""},
        {"id": shelve, "outcome": "failed", "text": "500"},
        {"id": group, "outcome": "failed", "text": "500"},
        {"id": ssh, "outcome": "skipped", "text": "Instance validation tests are disabled."},
    )
    found = Checked("x", "1", 1.0, {"tempest": cases}, {})
    listed = {group: "the laboratory's Neutron is a stub that makes no security group"}
    told = figures(found, found, [], listed) | {"made": "today", "verdicts": []}
    text = page({"tempest": "1", "upgrade": told})
    assert "| pause, unpause | passed |  |" in text
    assert "| shelve, unshelve | failed |  |" in text
    assert "| security group on a rescued server | failed | the laboratory's Neutron is a stub that makes no" in text
    assert "| host name, over SSH | skipped | Instance validation tests are disabled. |" in text
    assert "| basic operations | not run | not yet asked for when this was measured |" in text


def test_one_reason_is_one_group_whatever_class_tempest_says_it_of() -> None:
    skipped = [
        {"id": f"tempest.{name}", "outcome": "skipped", "why": f"{name} skipped as swift is not available", "said": ""}
        for name in ("ObjectTest", "AccountTest")
    ]
    survey = {"made": "today", "release": "1", "seconds": 1, "counts": dict.fromkeys(tempest_page.WORDS, 0)}
    text = page({"tempest": "1", "survey": {**survey, "problem": "", "cannot": skipped}})
    assert "**Tempest skips it: Swift is not available** (2)" in text


def test_a_test_that_is_listed_as_failing_and_passes_is_told(tmp_path: Path) -> None:
    listed = tmp_path / "cannot.yaml"
    listed.write_text(yaml.safe_dump({"tempest.a": "why", "tempest.b": "why", "elsewhere.*": "why"}))
    (told,) = [one.text for one in checked.judge(of("1"), of("2"), 0, 0, listed) if not one.good]
    assert told == "tests that are listed as failing here failed: not tempest.a"


def test_results_are_read_as_they_are_kept(tmp_path: Path) -> None:
    kept = tmp_path / "x-during.json"
    suite = {"suite": "tempest", "kind": "tempest", "cases": [{"id": "a", "outcome": "passed"}]}
    lost = {"suite": "boot", "kind": "probe", "problem": "no token"}
    looks = [{"start": 1.0, "end": 2.0}, {"start": 3.0, "end": 4.0, "failed": {"workload": "gone"}}]
    told = {"id": "x-during", "release": "1", "started": 1.0, "ended": 3.25, "suites": [suite, lost], "looks": looks}
    kept.write_text(json.dumps(told))
    found = load(kept)
    assert (found.took, found.problem("boot"), found.problem("tempest")) == (2.2, ": no token", "")
    assert found.looks == ({}, {"workload": "gone"})


def test_the_page_in_the_documentation_is_what_was_measured() -> None:
    measured = DOCS / "tempest.json"
    if not measured.exists():
        pytest.skip("NOT RUN: Tempest's figures were not written yet ('lab/run scenario checked --write')")
    assert (DOCS / "tempest.md").read_text() == page(json.loads(measured.read_text()))
