"""What holds for the plan of any cluster."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fast.planner.drawn import fewest, shuffled, worlds
from fast.planner.made import NEW, OLD, plan
from underway.core.drift import drift
from underway.core.model.base import canonical, decode
from underway.core.model.cluster import Cluster
from underway.core.model.plan import STAGES, Pass, Plan
from underway.core.model.service import Catalogue
from underway.core.model.state import HostRecord
from underway.core.preview import tree
from underway.errors import OrderImpossible, Refused

World = tuple[Cluster, Catalogue, dict[str, HostRecord]]

USUAL = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=120, deadline=None)

VISIT = ("drain", "upgrade", "undrain", "verify")


def planned(world: World) -> Plan | None:
    """The plan; None where needs and ``after`` contradict each other or a service would be lost (both tested apart)."""
    made, found, known = world
    try:
        return plan(made, found, known=known)
    except Refused as error:
        if not isinstance(error, OrderImpossible):
            assert "policy.allow_full_outage" in str(error)
            return None
        assert error.path[0] == error.path[-1]
        assert len(error.edges) >= 2
        return None


def before(made: Plan) -> dict[str, set[str]]:
    """For each pass all those that are finished when it starts: by edges, and by the barrier of stages."""
    found: dict[str, set[str]] = {}
    earlier: set[str] = set()
    for stage in made.stages:
        for name in stage.passes:
            found[name] = set(earlier)
            for edge in made.passes[name].after:
                assert edge.after == name
                assert edge.reason
                assert edge.before in found, "a pass stands before what it waits for"
                assert made.passes[edge.before].stage == stage.kind
                found[name] |= {edge.before} | found[edge.before]
        earlier |= set(stage.passes)
    return found


def rolling(made: Plan) -> list[Pass]:
    return [work for work in made.passes.values() if work.rolling]


@USUAL
@given(worlds(), st.data())
def test_the_same_input_gives_the_same_bytes_in_any_order(world: World, data: st.DataObject) -> None:
    made = planned(world)
    again = planned((*data.draw(st.composite(shuffled)(*world[:2])), world[2]))
    assert (made is None) == (again is None)
    if made is not None and again is not None:
        assert canonical(made) == canonical(again)


@USUAL
@given(worlds())
def test_every_host_that_lags_does_all_its_work_in_one_sequence_of_its_role(world: World) -> None:
    made, (cluster, found, known) = planned(world), world
    if made is None:
        return
    changes = set(found.releases[NEW].services) or set(found.services)
    for name, host in cluster.hosts.items():
        mine = [work for work in rolling(made) if name in work.hosts and not work.once]
        done = [service for work in mine for service in work.services]
        expected = [
            service
            for service in cluster.roles[host.role].services
            if service in changes
            and any(kind in VISIT and not spec.once for kind, spec in found.services[service].phases.items())
        ]
        assert sorted(done) == ([] if name in known else sorted(expected))
        assert all(work.role == host.role and work.hosts.count(name) == 1 for work in mine)


@USUAL
@given(worlds())
def test_no_step_is_lost_or_made_up(world: World) -> None:
    made, (cluster, found, known) = planned(world), world
    if made is None:
        return
    changes = set(found.releases[NEW].services) or set(found.services)
    used = {step for work in made.passes.values() for leg in work.legs for step in leg.steps}
    undo = {step for steps in made.rollback.values() for step in steps}
    assert used | undo == set(made.steps)
    for name in changes:
        roles = [role for role in cluster.roles.values() if name in role.services]
        hosts = {host.name for host in cluster.hosts.values() if host.role in {role.name for role in roles}}
        for kind, spec in found.services[name].phases.items():
            steps = {step.id for step in spec.steps}
            if kind == "rollback":
                assert (steps <= undo) == bool(hosts)
            elif hosts - set(known):
                if not (spec.once and set(known) & hosts):  # the host that does it for all may have done it before
                    assert steps <= used
            elif not hosts:
                assert not steps & used


@USUAL
@given(worlds())
def test_every_need_and_every_after_is_met(world: World) -> None:
    made, (cluster, found, _) = planned(world), world
    if made is None:
        return
    ahead = before(made)
    passes = rolling(made)
    of: dict[str, list[Pass]] = {}
    for work in passes:
        for service in work.services:
            of.setdefault(service, []).append(work)
    for work in passes:
        for service in work.services:
            for need in reach(service, found, set(of)):
                for other in of[need]:
                    if other is work:
                        assert work.services.index(need) < work.services.index(service)
                    else:
                        assert other.id in ahead[work.id], f"{service} in {work.id} needs {need} in {other.id}"
        for role in closure(work.role, cluster):
            for other in passes:
                if other.role == role:
                    assert other.id in ahead[work.id]
    for one in passes:
        for other in passes:
            if one.role == other.role and one is not other and not one.once and not other.once:
                assert one.id in ahead[other.id] or other.id in ahead[one.id]


def reach(service: str, found: Catalogue, active: set[str]) -> set[str]:
    """Needs of a service among ``active``, also through others."""
    result, queue, seen = set(), list(found.services[service].needs), set()
    while queue:
        need = queue.pop()
        if need not in seen:
            seen.add(need)
            result |= {need} & active
            queue += found.services[need].needs
    return result


def closure(role: str, cluster: Cluster) -> set[str]:
    result: set[str] = set()
    queue = list(cluster.roles[role].after)
    while queue:
        other = queue.pop()
        result.add(other)
        queue += cluster.roles[other].after
    return result


@USUAL
@given(worlds())
def test_stages_and_passes_are_well_formed(world: World) -> None:
    made, (cluster, found, _) = planned(world), world
    if made is None:
        return
    kinds = [stage.kind for stage in made.stages]
    assert kinds == [kind for kind in STAGES if kind in kinds]
    assert sorted(made.passes) == sorted(name for stage in made.stages for name in stage.passes)
    assert sum(stage.point_of_no_return for stage in made.stages) <= 1
    ahead = before(made)
    for name, work in made.passes.items():
        assert work.id == name
        assert work.hosts
        assert all(leg.steps for leg in work.legs)
        assert work.legs
        assert work.rolling == (work.stage in ("control", "data"))
        assert 0 <= work.canaries <= len(work.hosts)
        assert 0 < work.p50 <= work.p90
        if work.once:
            assert len(work.hosts) == 1
            assert work.why
        if work.stage == "data":
            assert all(found.services[service].plane == "data" for service in work.services)
        if work.stage == "control" and all(found.services[s].plane == "data" for s in work.services):
            assert any(
                name in ahead[other] and any(found.services[s].plane == "control" for s in made.passes[other].services)
                for other in (pass_id for stage in made.stages if stage.kind == "control" for pass_id in stage.passes)
            )
    for loss in made.losses:
        assert 0 <= loss.lost <= loss.total
        assert loss.why
    assert {loss.service for loss in made.losses} == {name for work in rolling(made) for name in work.services}
    assert all(0 < len(line) <= 60 or line == "" for line in tree(made, width=60))
    assert cluster.roles.keys() == made.roles.keys()


@MANY
@given(worlds(plain=True))
def test_visits_are_as_few_as_possible(world: World) -> None:
    made, found, _ = world
    result = plan(made, found)
    assert not any("cut short" in warning for warning in result.warnings)
    assert sum(len(work.hosts) for work in result.passes.values()) == fewest(made, found)


@st.composite
def ordered_worlds(draw: st.DrawFn) -> World:
    """Roles with ``after`` in any direction that has no cycle by itself."""
    made, found, known = draw(worlds(plain=True))
    names = draw(st.permutations(sorted(made.roles)))
    roles = {
        name: type(role)(
            name=name, services=role.services, after=tuple(draw(st.sets(st.sampled_from(names[: names.index(name)]))))
            if names.index(name) else (),
        )
        for name, role in made.roles.items()
    }  # fmt: skip
    return Cluster(name="x", release=OLD, roles=roles, hosts=made.hosts, policy=made.policy), found, known


@MANY
@given(ordered_worlds())
def test_an_order_is_refused_only_if_there_is_none(world: World) -> None:
    result, least = planned(world), fewest(world[0], world[1])
    assert (result is None) == (least == -1)
    if result is not None:
        assert sum(len(work.hosts) for work in result.passes.values()) == least


@USUAL
@given(worlds())
def test_nothing_drifts_by_itself(world: World) -> None:
    made, (cluster, found, known) = planned(world), world
    if made is None:
        return
    assert drift(made, cluster, found, {}, known) == ()
    assert drift(decode(canonical(made), Plan), cluster, found, {}, known) == ()
