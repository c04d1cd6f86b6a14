"""Sealing: every playbook's digest is in the plan, and an order carries those bytes or none."""

from __future__ import annotations

import re

import pytest

from support.render_samples import sample, say
from underway.core.model.base import digest, replace
from underway.core.model.plan import Plan
from underway.errors import Drifted, InputError, Refused
from underway.render.seal import Bundler, bundle, seal


def every_leg(plan: Plan) -> list[tuple[str, int]]:
    return [(f"{pass_.id}/{host}", number) for pass_, host in plan.actions() for number in range(len(pass_.legs))]


def test_every_order_carries_what_the_plan_names() -> None:
    plan = seal(sample())
    bundler = Bundler()
    for action, number in every_leg(plan):
        leg = plan.pass_of(action).legs[number]
        files = bundler(plan, action, number)
        assert set(files) == {leg.playbook, "inventory.yml"}
        assert digest(files[leg.playbook]) == leg.digest
        assert files == bundle(plan, action, number), "what is kept between orders changes nothing"
    assert len({leg.playbook for pass_ in plan.passes.values() for leg in pass_.legs}) == 7
    assert len(every_leg(plan)) == 17


def test_a_way_back_that_cannot_be_rendered_is_refused_at_once() -> None:
    back = sample().steps["keystone.rollback.turn-back"]
    broken = replace(back, tasks=(say("Turn back", "back", notify="nobody"),))
    with pytest.raises(InputError, match="notifies 'nobody', which is no handler"):
        seal(replace(sample(), steps={**sample().steps, back.id: broken}))


def test_a_change_of_the_plan_changes_the_digest_of_its_playbook_only() -> None:
    plan = sample()
    tidy = plan.steps["keystone.upgrade.tidy"]
    changed = replace(plan, steps={**plan.steps, tidy.id: replace(tidy, tasks=(*tidy.tasks, *tidy.tasks))})
    one, two = (
        {leg.playbook: leg.digest for pass_ in seal(found).passes.values() for leg in pass_.legs}
        for found in (plan, changed)
    )
    assert [name for name in one if one[name] != two[name]] == ["control-controller-1.yml"]


def test_values_of_hosts_do_not_change_playbooks() -> None:
    one, two = seal(sample()), seal(sample(more="x"))
    assert one.passes == two.passes


def test_other_bytes_than_were_signed_are_refused() -> None:
    plan = seal(sample())
    found = plan.passes["data/compute"]
    legs = (replace(found.legs[0], digest="0" * 64),)
    stale = replace(plan, passes={**plan.passes, found.id: replace(found, legs=legs)})
    with pytest.raises(Drifted, match=re.escape("data-compute-0.yml: this version of Underway renders")):
        bundle(stale, "data/compute/cmp1", 0)


def test_a_plan_that_is_not_sealed_is_carried_nowhere() -> None:
    with pytest.raises(Refused, match="not sealed"):
        bundle(sample(), "data/compute/cmp1", 0)


def test_a_bundler_follows_the_plan_that_it_is_given() -> None:
    bundler = Bundler()
    one, two = seal(sample()), seal(sample(more="x"))
    first = bundler(one, "data/compute/cmp1", 0)
    second = bundler(two, "data/compute/cmp1", 0)
    assert b"more: !unsafe x" in second["inventory.yml"]
    assert b"more" not in first["inventory.yml"]
    assert bundler(one, "data/compute/cmp1", 0) == first


@pytest.mark.parametrize("action", ["data/compute/nobody", "data/nothing/cmp1"])
def test_an_action_of_another_plan_is_a_mistake_of_the_caller(action: str) -> None:
    with pytest.raises(KeyError):
        bundle(seal(sample()), action, 0)
