"""What holds for the plan of any lockstep: barrier, needs, numbers, fewest passes, cycles with their path (B4, B21)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fast.planner.drawn import fewest
from fast.planner.made import NEW, OLD, Limit, Policy, catalogue, many, step
from underway.core.model.base import canonical, decode, replace
from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.plan import Pass, Plan
from underway.core.model.service import Catalogue, PhaseSpec, Service
from underway.core.planner import build_plan
from underway.errors import OrderImpossible

MANY = settings(max_examples=80, deadline=None)
NUMBERS = (0, 1, 5)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Cluster, Catalogue]:
    """Services that need others in any direction, roles that come after others, steps with and without numbers."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 4)))]
    services = []
    for name in names:
        steps = []
        for index in range(draw(st.integers(1, 3))):
            more: dict[str, Any] = {"number": draw(st.sampled_from([None, *NUMBERS]))}
            if draw(st.integers(0, 3)) == 0:
                more["gathers"] = True
            elif more["number"] == 0:
                more["batch"] = draw(st.booleans())
            steps.append(step(name, "upgrade", f"t{index}", **more))
        needs = draw(st.lists(st.sampled_from([other for other in names if other != name] or [name]), max_size=1))
        services.append(
            Service(
                name=name, needs=tuple(need for need in needs if need != name),
                phases={"upgrade": PhaseSpec(steps=tuple(steps))},
            )
        )  # fmt: skip
    roles: dict[str, Role] = {}
    hosts: dict[str, Host] = {}
    stems = [f"r{index}" for index in range(draw(st.integers(1, 3)))]
    for index, stem in enumerate(stems):
        after = draw(st.lists(st.sampled_from(stems[:index]), max_size=1)) if index else []
        listed = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
        roles[stem] = Role(name=stem, services=tuple(listed), after=tuple(after), limit=Limit(count=1))
        hosts |= {name: Host(name=name, role=stem) for name in many(stem + "-h", draw(st.integers(1, 3)))}
    made = Cluster(
        name="drawn", release=OLD, roles=roles, hosts=hosts, strategy="lockstep", policy=Policy(allow_full_outage=True)
    )
    return made, catalogue(*services)


def planned(world: tuple[Cluster, Catalogue]) -> Plan | None:
    try:
        return build_plan(*world, NEW, digests={})
    except OrderImpossible as error:
        assert error.path[0] == error.path[-1], "the path of a cycle leads back to where it began"
        assert len(set(error.path)) > 1
        assert len(error.edges) >= 2
        return None


def steps_of(made: Plan, work: Pass) -> list[str]:
    return [name for leg in work.legs for name in leg.steps]


@MANY
@given(worlds())
def test_numbers_are_barriers_and_each_host_does_all_of_its_steps_in_order(world: tuple[Cluster, Catalogue]) -> None:
    made = planned(world)
    if made is None:
        return
    stages = [stage for stage in made.stages if stage.kind == "control"]
    assert [stage.number for stage in stages] == sorted({stage.number or 0 for stage in stages})
    cluster, found = world
    numbers = [stage.number for stage in stages]
    for stage in stages:
        for name in stage.passes:
            work = made.passes[name]
            assert work.number == stage.number
            for one in (made.steps[one] for one in steps_of(made, work)):
                if one.number is not None:
                    assert one.number == work.number
                elif not one.gathers:
                    assert work.number == numbers[0]
            assert work.whole == (not any(made.steps[one].batch for one in steps_of(made, work)))
    for name, host in cluster.hosts.items():
        mine = [work for work in made.passes.values() if name in work.hosts]
        done = [one for work in mine for one in steps_of(made, work) if not made.steps[one].gathers]
        wanted = [
            one.id
            for service in cluster.roles[host.role].services
            for one in found.services[service].phases["upgrade"].steps
            if not one.gathers
        ]
        assert sorted(done) == sorted(wanted), "each step once"
        assert all(work.hosts == mine[0].hosts for work in mine), "all hosts of a role go together"
        last = [work for work in mine if not work.midway]
        assert mine == [] or mine[-1] in last, "who has come to the end is asked whether it is well"


@MANY
@given(worlds())
def test_needs_hold_at_each_number(world: tuple[Cluster, Catalogue]) -> None:
    made = planned(world)
    if made is None:
        return
    for stage in made.stages:
        ahead: dict[str, set[str]] = {}
        for name in stage.passes:
            ahead[name] = set()
            for edge in made.passes[name].after:
                assert edge.before in ahead, "a pass stands before what it waits for"
                ahead[name] |= {edge.before} | ahead[edge.before]
        for name in stage.passes:
            work = made.passes[name]
            order = list(dict.fromkeys(made.steps[one].service for one in steps_of(made, work)))
            for service in work.services:
                for need in world[1].services[service].needs:
                    for other in stage.passes:
                        if need not in made.passes[other].services:
                            continue
                        if other == name:
                            plain = [one for one in order if one in (need, service)]
                            numbered = {made.steps[one].number for one in steps_of(made, work)}
                            assert len(numbered) > 1 or plain in ([need, service], [need], [service])
                        else:
                            assert other in ahead[name]
            for role in world[0].roles[work.role].after:
                assert all(other in ahead[name] for other in stage.passes if made.passes[other].role == role)


@MANY
@given(worlds())
def test_passes_of_each_number_are_as_few_as_possible(world: tuple[Cluster, Catalogue]) -> None:
    """Against brute force over the services that have steps at the number, one number at a time."""
    made = planned(world)
    if made is None:
        return
    cluster, found = world
    for stage in made.stages:
        parts = {
            role.name: tuple(
                dict.fromkeys(
                    service
                    for name in stage.passes
                    if made.passes[name].role == role.name
                    for service in made.passes[name].services
                )
            )
            for role in cluster.roles.values()
        }
        roles = {name: replace(cluster.roles[name], services=services) for name, services in parts.items()}
        least = fewest(replace(cluster, roles=roles), found)
        assert sum(len(made.passes[name].hosts) for name in stage.passes) == least


@MANY
@given(worlds(), st.data())
def test_the_same_input_gives_the_same_bytes(world: tuple[Cluster, Catalogue], data: st.DataObject) -> None:
    made = planned(world)
    cluster, found = world
    mixed = dict(data.draw(st.permutations(sorted(found.services.items()))))
    again = planned((replace(cluster, roles=dict(reversed(cluster.roles.items()))), replace(found, services=mixed)))
    assert (made is None) == (again is None)
    if made is not None and again is not None:
        assert canonical(made) == canonical(again)
        assert decode(canonical(made), Plan) == made
