"""What a playbook holds: steps as blocks with tags, handlers told apart, the same bytes for the same plan."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from support.render_samples import STEPS, sample, say, step
from underway.core.model.base import canonical, decode, replace
from underway.core.model.plan import Leg, Plan
from underway.core.model.service import Step, Task
from underway.errors import InputError
from underway.render.playbook import leg_playbook, playbook, rollback_playbook
from underway.render.seal import seal
from underway.render.variables import Variables


def play(plan: Plan, pass_id: str = "control/controller", number: int = 1) -> dict[str, Any]:
    """The one play of a leg's playbook."""
    found = yaml.safe_load(leg_playbook(Variables(plan), plan.passes[pass_id], number))
    assert isinstance(found, list)
    assert len(found) == 1, "one play"
    assert isinstance(found[0], dict)
    return found[0]


def tagged(play_: dict[str, Any], prefix: str) -> list[str]:
    return [tag for task in play_["tasks"] for tag in task.get("tags", ()) if tag.startswith(prefix)]


def with_steps(plan: Plan, *steps: Step) -> Plan:
    """The sample with other steps in the middle leg of its control pass."""
    found = plan.passes["control/controller"]
    legs = (found.legs[0], Leg(steps=tuple(step.id for step in steps)), found.legs[2])
    return replace(
        plan,
        steps=plan.steps | {step.id: step for step in steps},
        passes=plan.passes | {found.id: replace(found, legs=legs)},
    )


def test_the_same_plan_gives_the_same_bytes_however_it_was_read() -> None:
    plan = seal(sample())
    again = seal(decode(canonical(plan), Plan))
    assert canonical(again) == canonical(plan)
    assert list(again.steps["keystone.prepare.fetch"].tasks[0]) != list(
        plan.steps["keystone.prepare.fetch"].tasks[0]
    ), "the order of keys differs, or this test shows nothing"
    pass_ = plan.passes["control/controller"]
    assert playbook(plan, pass_, pass_.legs[1]) == leg_playbook(Variables(again), pass_, 1)


def test_steps_are_blocks_in_the_order_of_the_leg_with_tasks_as_written() -> None:
    found = play(sample())
    assert tagged(found, "step_") == [
        "step_keystone_upgrade_turn-the-link",
        "step_keystone_upgrade_tidy",
        "step_glance_upgrade_turn-the-link",
    ]
    tidy = next(task for task in found["tasks"] if task["name"] == "Tidy")
    assert tidy["block"] == list(next(step for step in STEPS if step.name == "tidy").tasks)
    assert found["gather_facts"] is False
    assert found["hosts"] == "{{ underway_hosts | default('pass_control_controller') }}"


def test_a_leg_on_another_machine_runs_there() -> None:
    found = play(sample(), number=0)
    assert found["hosts"] == "{{ underway_hosts | default('lb1') }}"
    assert "serial" not in found


def test_handlers_of_two_services_with_one_name_are_told_apart() -> None:
    found = play(sample())
    assert [task["name"] for task in found["handlers"]] == ["Restart api (keystone)", "Restart api (glance)", "Tell"]
    blocks = {task["tags"][0]: task["block"] for task in found["tasks"] if "block" in task}
    assert blocks["step_keystone_upgrade_turn-the-link"][0]["notify"] == "Restart api (keystone)"
    nested = blocks["step_glance_upgrade_turn-the-link"][0]["block"][0]
    assert nested["notify"] == ["Restart api (glance)", "restarted"]
    assert [task["name"] for task in play(sample(), number=0)["handlers"]] == ["Restart api"], "no need, no suffix"


def test_one_topic_in_two_services_is_told_apart() -> None:
    handlers: dict[str, tuple[Task, ...]] = {
        "keystone": (say("A", "a", listen="changed"),),
        "glance": (say("B", "b", listen=["changed", "other"]), {"listen": "bare", "ansible.builtin.debug": {}}),
    }
    plan = with_steps(
        replace(sample(), handlers=handlers),
        step("keystone", "upgrade", "x", say("X", "x", notify="changed")),
        step("glance", "upgrade", "y", say("Y", "y", notify=["other", "changed", "bare", "A"])),
    )
    found = play(plan)
    assert [(task["name"], task["listen"]) for task in found["handlers"]] == [
        ("A", ["changed (keystone)"]),
        ("B", ["changed (glance)", "other"]),
        ("Handle bare", ["bare"]),
    ]
    notify = [task["block"][0]["notify"] for task in found["tasks"] if "block" in task]
    assert notify == ["changed (keystone)", ["other", "changed (glance)", "bare", "A"]]


def test_names_that_give_one_tag_are_told_apart() -> None:
    handlers: dict[str, tuple[Task, ...]] = {
        "keystone": (say("Restart-api", "1"), say("restart api", "2"), say("Ж", "3"), say("Щ", "4")),
    }
    plan = with_steps(
        replace(sample(), handlers=handlers),
        step("keystone", "upgrade", "x", say("X", "x", notify=["Restart-api", "restart api", "Щ"])),
    )
    found = play(plan)
    assert tagged(found, "raise_") == ["raise_restart_api", "raise_restart_api_2", "raise_2", "raise_3"]
    assert [task["name"] for task in found["handlers"]] == ["Restart-api", "restart api 2", "Ж 2", "Щ 3"]
    assert found["tasks"][-2]["block"][0]["notify"] == ["Restart-api", "restart api 2", "Щ 3"]


def test_each_handler_can_be_raised_again() -> None:
    found = play(sample())
    raised = [task for task in found["tasks"] if "notify" in task]
    assert [task["notify"] for task in raised] == [task["name"] for task in found["handlers"]]
    assert all(task["tags"][0] == "never" and task["changed_when"] is True for task in raised)
    assert found["tasks"].index(raised[-1]) < next(
        number for number, task in enumerate(found["tasks"]) if "step_" in task["tags"][-1]
    )


def test_handlers_are_flushed_after_each_phase_of_a_service_that_has_some() -> None:
    found = play(sample())
    tags = [task["tags"][-1] for task in found["tasks"]]
    assert [tag for tag in tags if tag.startswith(("step_", "flush_"))] == [
        "step_keystone_upgrade_turn-the-link",
        "step_keystone_upgrade_tidy",
        "flush_keystone_upgrade",
        "step_glance_upgrade_turn-the-link",
        "flush_glance_upgrade",
    ]
    flushes = [task for task in found["tasks"] if "ansible.builtin.meta" in task]
    assert all(task["tags"][0] == "always" for task in flushes), "a resumed pass must not skip them"


def test_no_handlers_no_flush() -> None:
    plan = with_steps(replace(sample(), handlers={}), step("keystone", "upgrade", "x", say("X", "x")))
    found = play(plan)
    assert "handlers" not in found
    assert tagged(found, "flush_") == tagged(found, "raise_") == []


def test_a_check_stands_before_its_step_and_never_runs_unasked() -> None:
    found = play(sample())
    tags = [task["tags"] for task in found["tasks"]]
    check = ["never", "check_keystone_upgrade_turn-the-link"]
    assert tags.index(check) == tags.index(["step_keystone_upgrade_turn-the-link"]) - 1
    assert tagged(found, "check_") == check[1:]


def test_the_pause_after_a_batch_is_last_and_only_in_rolling_passes() -> None:
    assert play(sample(), "data/compute", 0)["tasks"][-1] == {
        "name": "Soak",
        "ansible.builtin.pause": {"seconds": "{{ underway_soak }}"},
        "when": "underway_soak is defined",
    }
    for pass_id, number in (("prepare/controller", 0), ("control/controller", 2)):  # the latter ends on the balancer
        assert [task for task in play(sample(), pass_id, number)["tasks"] if task["name"] == "Soak"] == []


def test_the_rollback_playbook_has_the_steps_of_its_role() -> None:
    found = yaml.safe_load(rollback_playbook(Variables(sample()), "controller"))[0]
    assert tagged(found, "step_") == ["step_keystone_rollback_turn-back"]
    assert found["hosts"] == "{{ underway_hosts | default('role_controller') }}"


def test_defaults_that_differ_are_each_services_own() -> None:
    found = play(sample())
    scopes = {task["tags"][0]: task["vars"]["api_port"] for task in found["tasks"] if "block" in task}
    assert "underway_defaults['glance']['api_port']" in scopes["step_glance_upgrade_turn-the-link"]
    assert "underway_defaults['keystone']['api_port']" in scopes["step_keystone_upgrade_tidy"]
    assert "underway_defaults['glance']['api_port']" in found["handlers"][1]["vars"]["api_port"]
    settled = play(sample(api_port=1))
    assert all("vars" not in task for task in settled["tasks"]), "a setting outranks all defaults"


@pytest.mark.parametrize(
    ("handlers", "notify", "sentence"),
    [
        ((), "Restart", "step 'x': notifies 'Restart', which is no handler .*known: none"),
        ((say("A", "a"),), "B", "notifies 'B', which is no handler .*known: A"),
        (({"ansible.builtin.debug": {}},), "A", "a handler has no name"),
        ((say("A {{ b }}", "a"),), "A", "is a template"),
        ((say("A", "a"), say("A", "a")), "A", "two handlers are called 'A'"),
    ],
)
def test_handlers_that_could_not_be_notified_are_refused(
    handlers: tuple[Task, ...], notify: str, sentence: str
) -> None:
    plan = with_steps(
        replace(sample(), handlers={"keystone": handlers}),
        step("keystone", "upgrade", "x", {"name": "B", "block": [say("X", "x"), say("Y", "y", notify=[notify])]}),
    )
    with pytest.raises(InputError, match=sentence):
        play(plan)


def test_a_notify_that_is_a_template_is_left_alone() -> None:
    plan = with_steps(sample(), step("keystone", "upgrade", "x", say("X", "x", notify="{{ which }}")))
    assert next(task for task in play(plan)["tasks"] if task["name"] == "X")["block"][0]["notify"] == "{{ which }}"


def test_two_steps_with_one_tag_are_refused() -> None:
    one = replace(step("a", "upgrade", "x", say("X", "x")), id="a.upgrade.verify.x")
    two = replace(step("a", "upgrade", "y", say("Y", "y")), id="a_upgrade.verify.x")
    with pytest.raises(InputError, match="tag step_a_upgrade_verify_x"):
        play(with_steps(sample(), one, two))


def test_top_level_names_are_unique_and_begin_with_a_capital() -> None:
    names = [task["name"] for task in play(sample())["tasks"]]
    assert len(set(names)) == len(names)
    assert [name for name in names if name[0].islower()] == []
