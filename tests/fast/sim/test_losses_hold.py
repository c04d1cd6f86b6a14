"""What a plan says is lost at worst is never exceeded when it is simulated: both stand on one page for the operator."""

from __future__ import annotations

import random

import pytest

from underway.config.scenario import Scenario
from underway.sim.plans import planned
from underway.sim.simulate import simulate


@pytest.mark.parametrize("chunk", range(4))
def test_no_more_is_down_at_once_than_the_plan_says(chunk: int) -> None:
    looked = met = 0
    for seed in range(chunk * 30, chunk * 30 + 30):
        chance = random.Random(seed)
        plan = planned(chance)
        if plan is None or not plan.stages:
            continue
        durations = {name: (low := chance.uniform(1, 30), low + chance.uniform(0, 60)) for name in plan.passes}
        found = simulate(plan, Scenario(durations=durations, retry=True), seed)
        for loss in plan.losses:
            most = found.worst[f"service {loss.service}"]
            assert most <= loss.lost, f"seed {seed}: {loss.service}: {most} down at once, the plan says {loss.lost}"
            looked += 1
            met += most == loss.lost
    assert looked > 20 and met > looked / 3, "the bound is never met: the simulation shows nothing"
