"""How tasks become steps: both notations, blocks, what asks, what belongs together, fast forward (B3-B26)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fast.importers.test_tripleo_bad_input import asked, service, tree
from underway.config.load import load
from underway.core.planner import build_plan
from underway.importers.native import write_directory


def steps(root: Path, tasks: str, rest: str = "", **more: Any) -> list[dict[str, Any]]:
    """The upgrade steps of a service with these tasks."""
    done = asked(tree(root, {"services/web.yaml": service(tasks, rest)}), **more)
    assert done.converted is not None, done.problems
    found: list[dict[str, Any]] = done.converted.native.services["web"]["phases"]["upgrade"]
    return found


def numbers(step: dict[str, Any]) -> list[int]:
    return step.get("numbers") or [step["number"]]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("step|int == 1", [11]),
        ("(step|int) == 1", [11]),
        ("step | int==1", [11]),
        ("step == '1'", [11]),
        ("step|int in [1, 3]", [11, 13]),
        ("step|int >= 4", [14, 15]),
        ("step|int != 2", [10, 11, 13, 14, 15]),
        ("not (step|int == 2 or step|int > 3)", [10, 11, 13]),
        ("misstep|int == 3", [10, 11, 12, 13, 14, 15]),
        ("{{ step|int == 5 }}", [15]),
        ("[step|int == 1, ready.rc == 0]", [11]),
    ],
)
def test_conditions_on_the_step(tmp_path: Path, when: str, expected: list[int]) -> None:
    found = steps(tmp_path, f"- name: a\n  command: x\n  when: {when if when[0] == '[' else repr(when)}")
    assert [number for step in found for number in numbers(step)] == expected
    assert "step" not in str(found[0]["tasks"][0].get("when", "")).replace("misstep", "")


def test_a_condition_with_more_than_the_step_keeps_it_and_is_told_the_step(tmp_path: Path) -> None:
    (step,) = steps(tmp_path, "- name: a\n  command: x\n  when: step|int == 1 and ready.rc == 0")
    assert step["tasks"][0] == {
        "name": "A",
        "ansible.builtin.command": "x",
        "changed_when": True,
        "when": "step|int == 1 and ready.rc == 0",
        "vars": {"step": 1},
    }


def test_common_checks_gather_at_every_step_and_other_tags_are_not_steps(tmp_path: Path) -> None:
    check = "- {name: ask, tags: common, command: systemctl is-enabled web, register: web, ignore_errors: yes}\n"
    stop = "- {name: stop, tags: 'step1,validation', service: name=web state=stopped enabled=no, when: web.rc == 0}"
    asks, stops = steps(tmp_path, check + stop)
    assert asks["numbers"] == [10, 11, 12, 13, 14, 15] and asks["gathers"] is True
    task = asks["tasks"][0]
    assert task["failed_when"] == "web.rc not in [0, 1, 4] or 'Failed to connect' in web.stderr"
    assert "ignore_errors" not in task  # a question that fails is not the answer no
    assert stops["number"] == 11 and stops["idempotent"] is True
    assert stops["tasks"][0]["ansible.builtin.service"] == {"name": "web", "state": "stopped", "enabled": False}
    (skipped,) = steps(tmp_path, check + stop, skip=["validation"])
    assert skipped["step"].startswith("every step")


def test_untagged_tasks_are_never_selected_where_steps_are_tags(tmp_path: Path) -> None:
    found = steps(
        tmp_path, "- {name: a, tags: step2, command: x}\n- {name: b, command: y}\n- {name: c, tags: step6, command: z}"
    )
    assert [(step["number"], step["tasks"][0]["name"]) for step in found] == [(12, "A"), (99, "B"), (99, "C")]


def test_a_block_has_its_tags_for_what_is_in_it(tmp_path: Path) -> None:
    inside = "    - {name: a, command: x}\n    - {name: b, tags: other, command: y}"
    block = f"- tags: step2\n  when: ready.rc == 0\n  block:\n{inside}"
    (step,) = steps(tmp_path, block)
    assert step["number"] == 12 and step["tasks"][0]["when"] == "ready.rc == 0"
    assert [task["name"] for task in step["tasks"][0]["block"]] == ["A", "B"]


def test_blocks_without_a_step_are_cut_by_the_steps_inside(tmp_path: Path) -> None:
    block = (
        "- block:\n    - {name: a, command: x, when: step|int == 1}\n    - {name: b, command: y, when: step|int == 2}"
    )
    first, second = steps(tmp_path, block)
    assert [task["name"] for task in first["tasks"][0]["block"]] == ["A"] and first["number"] == 11
    assert [task["name"] for task in second["tasks"][0]["block"]] == ["B"] and second["number"] == 12


def test_what_reads_a_result_is_one_step_with_what_made_it(tmp_path: Path) -> None:
    tasks = (
        "- {name: make, tags: step1, shell: make-it, register: made}\n- {name: other, tags: step1, command: x}\n"
        "- {name: use, tags: step1, command: 'use {{ made.stdout }}'}\n- {name: last, tags: step1, command: y}"
    )
    found = [[task["name"] for task in step["tasks"]] for step in steps(tmp_path, tasks)]
    assert found == [["Make", "Other", "Use"], ["Last"]]


@pytest.mark.parametrize(
    ("command", "looks"),
    [
        ("httpd -t -D DUMP_VHOSTS | grep -q web", True),
        ("/usr/bin/systemctl show 'web' --property ActiveState | grep '\\bactive\\b'", True),
        ("rpm -qa | awk -F- '/^web-2/{print $2}'", True),
        ("systemctl is-enabled web; rm -rf /srv", False),
        ("grep a b | sed -i s/a/b/ c", False),
        ("cat $(make-it)", False),
        ("systemctl stop web", False),
    ],
)
def test_only_commands_that_look_gather(tmp_path: Path, command: str, looks: bool) -> None:
    tasks = f"- name: a\n  tags: step1\n  register: b\n  shell: |\n    {command}\n"
    (step,) = steps(tmp_path, tasks)
    assert step.get("gathers", False) is looks


def test_parameters_are_settings_also_inside_of_text(tmp_path: Path) -> None:
    parameters = "parameters: {Level: {type: string, default: auto}, Tries: {type: number, default: 3}}\n"
    tasks = (
        "- name: a\n  tags: step1\n  retries: {get_param: Tries}\n  ini_file:\n    str_replace:\n"
        "      template: dest=/etc/web.conf value=LEVEL\n      params: {LEVEL: {get_param: Level}}"
    )
    (step,) = steps(tmp_path, tasks, parameters)
    assert step["tasks"][0] == {
        "name": "A",
        "community.general.ini_file": {"mode": "{{ omit }}", "dest": "/etc/web.conf", "value": "{{ tripleo_level }}"},
        "retries": "{{ tripleo_tries }}",
    }


def test_fast_forward_passes_through_releases(tmp_path: Path) -> None:
    tasks = (
        "- {name: every, command: x, when: 'step|int == 1'}\n"
        "- {name: old, command: y, when: [step|int == 2, release == 'ocata']}\n"
        "- {name: sync, command: z, when: [step|int == 8, release == 'pike']}"
    )
    text = service(tasks).replace("upgrade_tasks", "fast_forward_upgrade_tasks").replace(": ocata\n", ": queens\n")
    root = tree(tmp_path, {"services/web.yaml": text})
    done = asked(root, forward=["ocata", "pike", "queens"])
    assert done.converted is not None
    found = done.converted.native.services["web"]["phases"]["upgrade"]
    assert [(step["number"], step["tasks"][0]["name"]) for step in found] == [
        (101, "Every"), (102, "Old"), (201, "Every"), (208, "Sync"),
    ]  # fmt: skip
    assert found[3]["tasks"][0]["when"] == "underway_host == underway_hosts_by_role[underway_role][0].name"
    out = tmp_path / "out"
    write_directory(out, done.files)
    inputs = load(out / "cluster.yaml")
    plan = build_plan(inputs.cluster, inputs.catalogue, "queens", digests=inputs.digests)
    assert [pass_.number for pass_ in plan.passes.values() if pass_.number] == [101, 102, 201, 208]
    assert "tasks of fast forward, which are not imported" in str(asked(root).warnings)
