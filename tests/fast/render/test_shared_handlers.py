"""What two services restart is restarted once: a handler that both have word for word is one, run after the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from support.render_samples import sample, say, step
from underway.core.model.base import replace
from underway.core.model.plan import Leg, Plan
from underway.core.model.service import Step, Task
from underway.render.playbook import leg_playbook
from underway.render.variables import Variables

RESTART = say("Restart apache", "apache-restart")
OWN = say("Restart api", "own")


def plan_of(
    handlers: Mapping[str, tuple[Task, ...]],
    *steps: Step,
    needs: Mapping[str, tuple[str, ...]] | None = None,
    defaults: Mapping[str, dict[str, Any]] | None = None,
) -> Plan:
    plan = sample()
    found = plan.passes["control/controller"]
    return replace(
        plan, steps={one.id: one for one in steps}, handlers=dict(handlers), needs=dict(needs or {}),
        service_vars=dict(defaults or {}), rollback={},
        passes={found.id: replace(found, legs=(Leg(steps=tuple(one.id for one in steps)),))},
    )  # fmt: skip


def rendered(plan: Plan) -> tuple[list[str], list[str]]:
    """Tags of steps and flushes in order, and the names of handlers."""
    [found] = yaml.safe_load(leg_playbook(Variables(plan), plan.passes["control/controller"], 0))
    tags = [tag for task in found["tasks"] for tag in task.get("tags", ()) if tag.startswith(("step_", "flush_"))]
    return tags, [task["name"] for task in found["handlers"]]


def changes(service: str, notify: str = "Restart apache", name: str = "write") -> Step:
    return step(service, "upgrade", name, say("Write", service, notify=notify))


def test_the_same_handler_of_two_services_is_one() -> None:
    both = {"horizon": (RESTART,), "keystone": (RESTART,)}
    tags, handlers = rendered(plan_of(both, changes("keystone"), changes("horizon")))
    assert handlers == ["Restart apache"]
    assert tags == ["step_keystone_upgrade_write", "step_horizon_upgrade_write", "flush_horizon_upgrade"]


def test_a_handler_that_means_something_else_stays_its_services_own() -> None:
    both = {"horizon": (say("Restart apache", "{{ word }}"),), "keystone": (say("Restart apache", "{{ word }}"),)}
    alike = {"horizon": {"word": "x"}, "keystone": {"word": "x"}}
    steps = changes("keystone"), changes("horizon")
    assert rendered(plan_of(both, *steps, defaults=alike))[1] == ["Restart apache"]
    apart = {"horizon": {"word": "x"}, "keystone": {"word": "y"}}
    tags, handlers = rendered(plan_of(both, *steps, defaults=apart))
    assert handlers == ["Restart apache (keystone)", "Restart apache (horizon)"]
    assert "flush_keystone_upgrade" in tags


def test_who_is_needed_in_between_is_back_before() -> None:
    handlers = {"horizon": (RESTART,), "keystone": (RESTART, OWN), "glance": ()}
    steps = changes("keystone"), step("glance", "upgrade", "write", say("Write", "glance")), changes("horizon")
    late, _ = rendered(plan_of(handlers, *steps))
    assert [tag for tag in late if tag.startswith("flush_")] == ["flush_horizon_upgrade"]
    for needs in ({"glance": ("keystone",)}, {"horizon": ("keystone",)}, {"horizon": ("x",), "x": ("keystone",)}):
        soon, _ = rendered(plan_of(handlers, *steps, needs=needs))
        assert [tag for tag in soon if tag.startswith("flush_")] == ["flush_keystone_upgrade", "flush_horizon_upgrade"]


def test_three_services_share_one() -> None:
    handlers = dict.fromkeys(("keystone", "horizon", "placement"), (RESTART,))
    tags, found = rendered(plan_of(handlers, changes("keystone"), changes("horizon"), changes("placement")))
    assert (tags[-1], len([tag for tag in tags if tag.startswith("flush_")]), found) == (
        "flush_placement_upgrade", 1, ["Restart apache"],
    )  # fmt: skip


def test_blocks_have_the_tags_of_their_numbers() -> None:
    look = replace(step("keystone", "upgrade", "look", say("Look", "x")), gathers=True)
    three, five = (
        replace(step("keystone", "upgrade", f"do-{number}", say("Do", "x")), number=number) for number in (3, 5)
    )
    plain = step("keystone", "upgrade", "plain", say("Do", "x"))
    plan = plan_of({}, look, plain, three, five)
    [found] = yaml.safe_load(leg_playbook(Variables(plan), plan.passes["control/controller"], 0))
    blocks = [task["tags"] for task in found["tasks"] if "block" in task]
    tags = {one[0]: one[1:] for one in blocks if one[0].startswith("step_")}
    assert tags == {
        "step_keystone_upgrade_look": ["number_3", "number_5"], "step_keystone_upgrade_plain": [],
        "step_keystone_upgrade_do-3": ["number_3"], "step_keystone_upgrade_do-5": ["number_5"],
    }  # fmt: skip
