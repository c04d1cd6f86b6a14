"""The golden playbooks of Spinal Stack, and the order in which hosts do their tasks (A1-A4, A16, A17, A29).

What hosts do is told twice: by our plan of the imported files, and from the raw snippets by the rules of part A.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fast.importers.spinal_made import GOLDEN, REVISIONS, fixture, imported
from underway.config.load import Inputs, load
from underway.core.names import natural
from underway.core.planner import build_plan
from underway.errors import Problem
from underway.importers.native import write_directory
from underway.importers.spinalstack.importing import import_files

here = pytest.mark.skipif(not GOLDEN.exists(), reason=f"NOT RUN: no fixtures at {GOLDEN}")
WANTED: dict[str, Any] = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
CASES = [(revision, scenario) for revision, scenarios in WANTED.items() for scenario in scenarios]


def test_fixtures_are_here() -> None:
    assert GOLDEN.exists(), f"the fixtures are not at {GOLDEN}; set UNDERWAY_FIXTURES"
    assert len(CASES) == 10


def check_figures(profiles: dict[str, Any], wanted: dict[str, Any], problems: list[Problem]) -> None:
    """The figures of the golden file, exactly, and each class without a snippet by its name."""
    assert list(profiles) == list(wanted)
    assert {name: {key: profiles[name][key] for key in wanted[name]} for name in wanted} == wanted
    told = [problem.message for problem in problems if problem.code == "class-without-snippet"]
    for name, profile in wanted.items():
        listed = [text for text in told if text.startswith(f"profile '{name}'")]
        assert len(listed) == bool(profile["classes_without_snippet"])
        assert all(missing in text for missing in profile["classes_without_snippet"] for text in listed)


def executed(inputs: Inputs, target: str) -> Iterator[tuple[str, int, str]]:
    """(host, tag, task) in the order of the plan; a condition on the first host is judged, others run."""
    plan = build_plan(inputs.cluster, inputs.catalogue, target, digests={})
    for work, host in plan.actions():
        first = plan.role_vars.get(work.role, {}).get("spinalstack_first_host")
        for step in (plan.steps[name] for leg in work.legs for name in leg.steps if work.stage == "control"):
            for task in step.tasks:
                if task["name"].startswith("Hand "):
                    continue  # a helper's arguments, told with the helper
                condition = task.get("when", "")
                if condition != "inventory_hostname == spinalstack_first_host" or host == first:
                    assert step.number is not None
                    yield host, step.number, task["name"].lower()


def by_the_rules(files: Any, snippets_of: dict[str, list[str]]) -> Iterator[tuple[str, int, str]]:
    """The same from the raw files: profile order, hosts one by one, tags ascending, snippets in order, first host."""
    infra, env = (yaml.safe_load(path.read_text()) for path in (files.infra, files.env))
    tasks = {path.stem: path for path in files.snippets.glob("*.yaml")}
    for profile in infra["ordered_profiles"]:
        hosts = sorted((host for host, body in env["hosts"].items() if body["profile"] == profile), key=natural)
        for host in hosts:
            for tag in range(1, 10):
                for snippet in ["edeploy", *snippets_of[profile]]:
                    for task in yaml.safe_load(tasks[snippet].read_text()) or []:
                        alone = "when" in task and host != hosts[0]
                        if task["tags"] == tag and not alone:
                            name = task.get("name") or task["debug"].removeprefix('msg="').removesuffix('"')
                            yield f"{host}.example.net", tag, name.lower()


@here
@pytest.mark.parametrize(("revision", "scenario"), CASES)
def test_golden_playbooks_are_met_and_done_in_their_order(revision: str, scenario: str, tmp_path: Path) -> None:
    files = fixture(tmp_path / "in", revision, scenario)
    done = imported(files)
    assert not done.errors and done.native is not None
    check_figures(done.report["profiles"], WANTED[revision][scenario], done.problems)
    write_directory(tmp_path / "out", done.native.files())
    inputs = load(tmp_path / "out" / "cluster.yaml")
    wanted = {name: profile["snippets_deduplicated"] for name, profile in WANTED[revision][scenario].items()}
    assert list(executed(inputs, "J.1.1.0")) == list(by_the_rules(files, wanted))
    for role in inputs.cluster.roles.values():  # hosts one at a time
        assert role.limit is not None and role.limit.count == 1
    plan = build_plan(inputs.cluster, inputs.catalogue, "J.1.1.0", digests={})
    last = [stage for stage in plan.stages if stage.kind == "finalize"]
    assert [plan.steps[step].name[:20] for leg in plan.passes[last[0].passes[0]].legs for step in leg.steps] == [
        "configuration step 0",
        "configuration step 5",
    ]


@here
def test_duplicate_keys_of_the_fixtures_are_refused_naming_both_lines(tmp_path: Path) -> None:
    files = fixture(tmp_path / "in", "J.1.1", "2nodes")
    base = REVISIONS["J.1.1"]
    done = import_files(
        type(files)(files.infra, files.env, base / "upgrade/upgrade.yaml", *_rest(files)),
        metadata=None, vault_password=None, strict=False,
    )  # fmt: skip
    told = [str(problem) for problem in done.errors if problem.code == "duplicate-key"]
    assert len(told) == 1
    assert "upgrade.yaml:27:1: key 'cloud::database::sql::mysql' stands twice: here and at line 19" in told[0]
    packed = REVISIONS["master"] / "scenarios/ref-arch-packed/infra.yaml"
    files = fixture(tmp_path / "packed", "master", "ref-arch-packed")
    done = import_files(
        type(files)(packed, *_rest(files, 1)), metadata=None, vault_password=None, strict=False
    )  # fmt: skip
    told = [str(problem) for problem in done.errors if problem.code == "duplicate-key"]
    assert len(told) == 1
    assert "infra.yaml:136:3: key 'cloud::install::puppetdb::server' stands twice: here and at line 135" in told[0]


def _rest(files: Any, after: int = 3) -> tuple[Any, ...]:
    return tuple(getattr(files, name) for name in type(files).__slots__)[after:]


@here
def test_a_profile_that_is_ordered_and_not_defined_is_refused(tmp_path: Path) -> None:
    told = [str(problem) for problem in imported(fixture(tmp_path / "in", "J.1.1", "ref-arch-packed")).errors]
    wanted = "infra.yaml:116:5: ordered_profiles[2]: profile 'compute-storage' is not defined"
    assert any(wanted in line for line in told), told


@here
def test_the_malformed_snippet_and_the_undefined_variable_are_refused_at_their_line(tmp_path: Path) -> None:
    files = fixture(tmp_path / "in", "J.1.1", "2nodes")
    assert files.env is not None  # the environment adds a class to a profile of the scenario
    more = "profiles: {controller: {steps: {5: {roles: ['cloud::spof']}}}}\n"
    files.env.write_text(files.env.read_text() + more)
    told = [str(problem) for problem in imported(files).errors]
    assert [text.rpartition("snippets/")[2] for text in told] == [
        "pacemaker.yaml:4:3: unknown key 'tagss' (did you mean 'tags'?)",
        "pacemaker.yaml:5:3: not YAML: no key before 'inventory_hostname == groups['fakehostgroup'][-1]' "
        "(is 'when: ' missing before it?)",
        "ceilometer-central-agent.yaml:1:3: tasks[0]: variable 'ceilometer_agent_central' is not defined for RedHat "
        "(vars/RedHat) (did you mean 'ceilometer_agent_compute'?)",
    ]


@here
def test_strict_makes_errors_of_classes_without_a_snippet_and_of_empty_snippets(tmp_path: Path) -> None:
    done = imported(fixture(tmp_path / "in", "J.1.1", "ref-arch"), strict=True)
    codes = {problem.code for problem in done.errors}
    assert {"class-without-snippet", "empty-snippet"} <= codes
    assert done.native is None
    assert sorted(done.report["snippets_empty"]) == ["elasticsearch", "memcached", "mongodb", "rabbitmq", "redis"]
