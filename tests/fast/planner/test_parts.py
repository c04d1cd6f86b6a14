"""Parts of an upgrade: any sequence of them does all that the whole would, once, in its order; else it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.planner.drawn import worlds
from fast.planner.made import NEW, OLD, Policy, catalogue, cluster, phase, plan, service, step, whole
from fast.planner.test_properties import closure, reach
from underway.core.drift import drift
from underway.core.milestones import reached_by, standing
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.part import Milestone, Part
from underway.core.model.plan import Plan, action_id
from underway.core.model.service import Catalogue, PhaseSpec, Service
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, HostRecord, Machine, RunRecord
from underway.core.rollback import rollback_plan
from underway.core.standing import host_record, refuse_later
from underway.errors import OrderImpossible, Refused

VISIT = ("drain", "upgrade", "undrain", "verify")
World = tuple[Cluster, Catalogue, dict[str, HostRecord]]
Pair = tuple[str, str]
"""(service, host)"""


@dataclass
class Diary:
    """What runs leave behind, and what they did in which order: (service, host) of visits, pieces done for all."""

    hosts: dict[str, HostRecord] = field(default_factory=dict)
    once: dict[str, Milestone] = field(default_factory=dict)
    visits: list[Pair] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    beside: list[tuple[str, ...]] = field(default_factory=list)  # the services of each visit's pass
    pieces: list[str] = field(default_factory=list)

    def run(self, made: Plan, stop: int = -1) -> None:
        """Do a plan, action by action; with ``stop`` only as many, as a run that is aborted does."""
        seen: dict[str, ActionRecord] = {}
        for number, (work, host) in enumerate(made.actions()):
            if number == stop:
                return
            action = action_id(work.id, host)
            snapshot = look(made, dict(seen))
            if work.upgrades:
                self.visits += [(name, host) for name in work.services]
                self.stages += [work.stage for _ in work.services]
                self.beside += [work.services for _ in work.services]
            for key in () if work.upgrades else (f"{name}/{work.stage}" for name in work.services):
                if key in made.once and key not in self.pieces:
                    self.pieces.append(key)
            known = host_record(made, snapshot, action, {action}, 1.0)
            if known is not None:
                self.hosts[host] = known
            self.once |= reached_by(made, snapshot, {action}, "r1", 1.0)
            seen[action] = ActionRecord(state="done")

    def plan(self, world: World, part: Part | None = None) -> Plan:
        known = {**world[2], **self.hosts}
        return plan(world[0], world[1], known=known, part=part, reached=self.once)


def look(made: Plan, actions: Mapping[str, ActionRecord], **more: object) -> Snapshot:
    run = RunRecord(id="r1", cluster=made.cluster, plan="p", source=made.source, target=made.target)
    return Snapshot(revision=1, run=run, actions=actions, holds={}, approvals={}, health={}, outage={}, **more)  # type: ignore[arg-type]


def moving(world: World) -> dict[str, set[str]]:
    """Host -> services that a run of the whole upgrades there; the rule anew, from the files alone."""
    made, found, known = world
    changes = set(found.releases[NEW].services) or set(found.services)
    result: dict[str, set[str]] = {name: set() for name in made.hosts}
    for name, host in made.hosts.items():
        for one in made.roles[host.role].services:
            phases = found.services[one].phases
            if one in changes and any(kind in VISIT and not spec.once for kind, spec in phases.items()):
                result[name].add(one)
    return {name: services for name, services in result.items() if name not in known}


def before(world: World, pair: Pair, other: Pair) -> bool:
    """Whether ``other`` must be done before ``pair``: a need, or the role's ``after``."""
    made, found, _ = world
    (name, host), (earlier, there) = pair, other
    role, place = made.hosts[host].role, made.hosts[there].role
    if place in closure(role, made):
        return True
    active = {one for services in moving((made, found, {})).values() for one in services}
    return earlier in reach(name, found, active) and (host == there or role != place)


def early(world: World) -> set[str]:
    """Services whose visits belong to the control stage."""
    made, found, _ = world
    active = {one for services in moving((made, found, {})).values() for one in services}
    control = {one for one in active if found.services[one].plane == "control"}
    return control | {need for one in control for need in reach(one, found, active)}


def barred(world: World, takes: set[Pair], left: set[Pair]) -> bool:
    """Whether ``takes`` has a visit of the data stage although there is control ``left`` that it comes after."""
    hosts, first = world[0].hosts, early(world)
    control = {hosts[host].role for name, host in takes if name in first}
    return any(
        hosts[host].role not in control and name in first and (host == there or hosts[host].role != hosts[there].role)
        for _, host in takes
        for name, there in left
    )


def assert_order(world: World, diary: Diary) -> None:
    hosts, first = world[0].hosts, early(world)
    for index, pair in enumerate(diary.visits):
        for other in diary.visits[index + 1 :]:
            assert not before(world, pair, other), f"{other} comes before {pair}"
            # what the control plane needs may be planned with the data plane alone, on several roles
            if diary.stages[index] == "data" and other[0] in first and first.isdisjoint(diary.beside[index]):
                assert hosts[other[1]].role == hosts[pair[1]].role, f"{other} is of the control stage, {pair} is not"
    assert len(diary.pieces) == len(set(diary.pieces))


@st.composite
def parts(draw: st.DrawFn, made: Cluster) -> Part:
    """Words of any kind that name something."""

    def some(names: list[str], most: int = 3) -> tuple[str, ...]:
        return tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=most))) if names else ()

    services = sorted({name for role in made.roles.values() for name in role.services})
    kind = draw(st.integers(0, 4))
    return Part(
        planes=some(["control", "data"], 1) if kind in (0, 4) else (),  # type: ignore[arg-type]
        roles=some(sorted(made.roles)) if kind in (1, 4) else (),
        hosts=some(sorted(made.hosts)) if kind == 2 else (),
        services=some(services) if kind == 3 else (),
    )


def no_once(world: World) -> World:
    """The world without once-only work in visits, which the oracle does not know."""
    made, found, known = world
    services = {
        name: replace(
            one, phases={kind: replace(spec, once=spec.once and kind not in VISIT) for kind, spec in one.phases.items()}
        )
        for name, one in found.services.items()
    }
    return made, replace(found, services=services), known


@settings(max_examples=100, deadline=None)
@given(worlds(), st.data())
def test_parts_do_in_any_number_of_runs_what_the_whole_does_and_in_its_order(drawn: World, data: st.DataObject) -> None:
    world = no_once(drawn)
    made, found, _ = world
    try:
        plan(made, found, known=world[2])
    except Refused:
        return  # the whole is refused, and so are parts, or the rest that they leave
    diary = Diary()
    wanted = {(name, host) for host, services in moving(world).items() for name in services}
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(parts(made))
        done = set(diary.visits)
        takes = {
            (name, host)
            for name, host in wanted - done
            if (not part.planes or found.services[name].plane in part.planes)
            and (not part.services or name in part.services)
            and (not part.hosts or host in part.hosts)
            and (not part.roles or made.hosts[host].role in part.roles)
        }
        against = {one for one in wanted - done - takes if any(before(world, pair, one) for pair in takes)}
        stopped = bool(against) or barred(world, takes, wanted - done - takes)
        try:
            current = diary.plan(world, part)
        except Refused as error:
            unchanged = set(part.services) - (set(found.releases[NEW].services) or set(found.services))
            apart = bool(part.roles and part.hosts)
            lost = "allow_full_outage" in str(error)
            assert stopped or unchanged or apart or lost or isinstance(error, OrderImpossible), str(error)
            continue
        if not part.whole:
            assert not stopped
            assert not {stage.kind for stage in current.stages} & {"finalize", "migrate", "contract"}
        assert drift(current, made, found, {}, {**world[2], **diary.hosts}, standing(found, NEW, diary.once)) == ()
        began = len(diary.visits)
        diary.run(current)
        assert set(diary.visits[began:]) == takes
    try:
        rest = diary.plan(world)
    except Refused as error:
        assert "allow_full_outage" in str(error)
        return
    diary.run(rest)
    assert sorted(diary.visits) == sorted(wanted), "each service on each host once, none left out"
    assert_order(world, diary)
    again = diary.plan(world)
    assert not any(work.upgrades for work in again.passes.values())
    assert not {stage.kind for stage in again.stages} & {"expand", "finalize", "migrate", "contract"}


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 25))
def test_a_run_that_ends_early_leaves_the_rest_and_nothing_twice(drawn: World, stop: int) -> None:
    world = no_once(drawn)
    diary = Diary()
    try:
        diary.run(diary.plan(world), stop)
        diary.run(diary.plan(world))
    except Refused:
        return
    wanted = {(name, host) for host, services in moving(world).items() for name in services}
    assert sorted(diary.visits) == sorted(wanted)
    assert_order(world, diary)


THREE = {"ctl": (["keystone", "nova"], ["c1", "c2"]), "cmp": (["compute"], ["n1", "n2"])}
CLOUD = catalogue(
    whole("keystone"), whole("nova", ["keystone"]), service("compute", ["nova"], plane="data"),
)  # fmt: skip


def world(**more: object) -> World:
    return cluster(THREE, **more), CLOUD, {}


def test_control_then_data_then_what_is_for_all() -> None:
    diary = Diary()
    with pytest.raises(Refused) as caught:
        diary.plan(world(), Part(planes=("data",)))
    assert str(caught.value) == (
        "compute (cmp) comes after keystone (ctl), and c1, c2 are left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --plane control)"
    )
    control = diary.plan(world(), Part(planes=("control",)))
    assert [stage.kind for stage in control.stages] == ["preflight", "prepare", "expand", "control"]
    assert control.way == "2025.2 to 2026.1, only plane control"
    assert any(
        "for the whole deployment (finalize, migrate, contract of keystone, nova)" in t for t in control.defaults
    )
    diary.run(control)
    assert {name: record.release for name, record in diary.hosts.items()} == {"c1": NEW, "c2": NEW}
    data = diary.plan(world(), Part(planes=("data",)))
    assert [(stage.kind, stage.passes) for stage in data.stages] == [("data", ("data/cmp",))]
    diary.run(data)
    last = diary.plan(world())
    kinds = [stage.kind for stage in last.stages]
    assert kinds == ["preflight", "prepare", "finalize", "migrate", "contract", "verify"]
    assert "expand of keystone, nova: done in run r1, so left out (--all: done again)" in last.defaults
    diary.run(last)
    end = diary.plan(world())
    assert end.stages == ()
    assert end.warnings[0].startswith("nothing to do: all hosts run 2026.1, and what is done for the whole deployment")
    again = plan(*world()[:2], known=diary.hosts, reached=diary.once, every=True)
    assert [stage.kind for stage in again.stages][2:] == ["expand", "finalize", "migrate", "contract", "verify"]


def test_a_service_alone_leaves_its_hosts_half_way_and_says_so() -> None:
    diary = Diary()
    first = diary.plan(world(), Part(services=("keystone",)))
    assert [(one.hosts, one.done, one.left) for one in first.partial] == [(("c1", "c2"), (), ("nova",))]
    diary.run(first)
    assert diary.hosts["c1"] == HostRecord(release=OLD, by_run="r1", at=1.0, services={"keystone": NEW})
    rest = diary.plan(world())
    assert rest.passes["control/ctl"].services == ("nova",)
    assert rest.passes["control/ctl"].why == "earlier runs brought keystone to the release there"
    assert drift(first, *world()[:2], {}, diary.hosts) == (
        "hosts c1, c2 run 2025.2, keystone 2026.1, planned from 2025.2",
    )
    diary.run(rest)
    assert diary.hosts["c1"] == HostRecord(release=NEW, by_run="r1", at=1.0)


def test_hosts_of_a_role_that_differ_do_each_what_is_left_there_canaries_first() -> None:
    diary = Diary()
    made = world(canary={"ctl": ["c2"]})
    diary.run(diary.plan(made, Part(services=("keystone",), hosts=("c2",))))
    rest = diary.plan(made)
    parts = {name: (work.hosts, work.services, work.canaries) for name, work in rest.passes.items() if work.upgrades}
    assert parts == {
        "control/ctl": (("c2",), ("nova",), 1),
        "control/ctl.rest": (("c1",), ("keystone", "nova"), 0),
        "data/cmp": (("n1", "n2"), ("compute",), 0),
    }
    assert [edge.reason for edge in rest.passes["control/ctl.rest"].after] == ["canaries of ctl go first"]


def test_words_that_name_nothing_are_told_with_the_nearest() -> None:
    unchanged = catalogue(*CLOUD.services.values(), service("memcached"), changes=["keystone", "nova", "compute"])
    roles = {**THREE, "ctl": (["keystone", "nova", "memcached"], ["c1", "c2"])}
    part = Part(roles=("ctll",), hosts=("c3",), services=("keyston", "memcached"))
    with pytest.raises(Refused) as caught:
        plan(cluster(roles), unchanged, part=part)
    assert str(caught.value).splitlines() == [
        "--role ctll: there is no role of this name (did you mean 'ctl'?)",
        "--host c3: there is no host of this name",
        "--service keyston: there is no service on any role of this name (did you mean 'keystone'?)",
        "--service memcached: 2026.1 does not change it",
    ]
    with pytest.raises(Refused) as caught:
        plan(cluster(THREE), CLOUD, part=Part(roles=("cmp",), hosts=("c1",)))
    assert str(caught.value) == "--host c1: it is of role ctl, and --role says cmp"
    with pytest.raises(Refused) as caught:
        plan(cluster(THREE), CLOUD, part=Part(planes=("data",), services=("nova",)))
    assert str(caught.value) == "--service nova: it is of the control plane, and --plane says data"


def test_a_kernel_comes_once_all_that_it_is_after_runs_the_release_whatever_the_number_of_runs() -> None:
    boot = PhaseSpec(steps=(step("kernel", "upgrade", "boot", reboot=True, idempotent=False),))
    kernel = Service(name="kernel", plane="data", after=("keystone", "compute"), phases={"upgrade": boot})
    roles = {"ctl": (["keystone", "kernel"], ["c1", "c2"]), "cmp": (["compute", "kernel"], ["n1", "n2"])}
    made = cluster(roles)
    has = catalogue(service("keystone"), service("compute", ["keystone"], plane="data"), kernel)
    here: World = (made, has, {})
    diary = Diary()
    diary.run(diary.plan(here, Part(services=("keystone",))))
    diary.run(diary.plan(here, Part(services=("compute",), hosts=("n1",))))
    for part in (Part(hosts=("c1",)), Part(services=("kernel",), hosts=("n1",))):
        with pytest.raises(Refused, match=r"comes after compute \(cmp\), and n2 is left out but not on 2026.1 yet"):
            diary.plan(here, part)
    rest = diary.plan(here)
    assert rest.passes["data/cmp"].hosts == ("n2",)
    diary.run(diary.plan(here, Part(services=("compute",))))
    diary.run(diary.plan(here, Part(hosts=("n2",))))
    assert {name: record.release for name, record in diary.hosts.items()} == {
        "c1": OLD,
        "c2": OLD,
        "n1": OLD,
        "n2": NEW,
    }
    assert {work.services for work in diary.plan(here).passes.values()} == {("kernel",)}


def test_work_of_a_visit_that_is_done_once_keeps_its_hosts_together() -> None:
    phases = {"drain": phase("vip", "drain", "out", once=True), "upgrade": phase("vip", "upgrade", "go")}
    has = catalogue(service("vip", phases=phases))
    made = cluster({"f": (["vip"], ["f1", "f2"])})
    with pytest.raises(Refused) as caught:
        plan(made, has, part=Part(hosts=("f2",)))
    assert str(caught.value) == (
        "vip (f) comes after vip (f), and f1 is left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --service vip)"
    )
    diary = Diary()
    diary.run(diary.plan((made, has, {}), Part(hosts=("f1",))))
    assert list(diary.plan((made, has, {})).passes) == ["control/f"]


def numbered(name: str, plane: str, *numbers: int) -> Service:
    """A service with a step of its upgrade at each number."""
    steps = tuple(step(name, "upgrade", f"do-{number}", number=number) for number in numbers)
    return Service(name=name, plane=plane, phases={"upgrade": PhaseSpec(steps=steps)})  # type: ignore[arg-type]


def test_in_a_lockstep_the_roles_of_a_plane_go_together() -> None:
    roles = {"ctl": (["api"], ["c1"]), "db": (["sql"], ["d1"]), "cmp": (["agent"], ["n1"])}
    has = catalogue(numbered("api", "control", 1, 2), numbered("sql", "control", 1, 3), numbered("agent", "data", 2))
    made = cluster(roles, strategy="lockstep", policy=Policy(allow_full_outage=True))
    with pytest.raises(Refused) as caught:
        plan(made, has, part=Part(roles=("ctl",)))
    assert str(caught.value) == (
        "api (ctl) comes after sql (db), and d1 is left out but not on 2026.1 yet "
        "(first: underway plan --to 2026.1 --plane control)"
    )
    with pytest.raises(Refused, match=r"agent \(cmp\) comes after api \(ctl\), and c1 is left out"):
        plan(made, has, part=Part(planes=("data",)))
    diary = Diary()
    first = diary.plan((made, has, {}), Part(planes=("control",)))
    assert list(first.passes) == ["control/ctl.step1", "control/db.step1", "control/ctl.step2", "control/db.step3"]
    diary.run(first)
    assert {name: record.release for name, record in diary.hosts.items()} == {"c1": NEW, "d1": NEW}
    assert list(diary.plan((made, has, {})).passes) == ["control/cmp.step2"]


def test_a_lockstep_that_ended_early_does_again_only_services_that_it_had_not_finished() -> None:
    roles = {"ctl": (["api", "sql"], ["c1"])}
    has = catalogue(numbered("api", "control", 1), numbered("sql", "control", 1, 2))
    made = cluster(roles, strategy="lockstep", policy=Policy(allow_full_outage=True))
    diary = Diary()
    diary.run(diary.plan((made, has, {})), 1)
    assert diary.hosts["c1"].services == {"api": NEW}
    rest = diary.plan((made, has, {}))
    assert {name: work.services for name, work in rest.passes.items()} == {
        "control/ctl.step1": ("sql",), "control/ctl.step2": ("sql",),
    }  # fmt: skip
    assert not rest.passes["control/ctl.step2"].midway


def test_work_for_all_that_changed_since_is_done_again_and_is_drift() -> None:
    diary = Diary()
    diary.run(diary.plan(world()))
    newer = replace(CLOUD.releases[NEW], vars={"keystone_version": "29.1"})
    changed = replace(CLOUD, releases={**CLOUD.releases, NEW: newer})
    found = plan(cluster(THREE), changed, known=diary.hosts, reached=diary.once)
    assert {"expand/keystone", "finalize/ctl"} <= set(found.passes)
    before_it = plan(cluster(THREE), CLOUD, known={}, reached={})
    told = drift(before_it, cluster(THREE), CLOUD, {}, {}, standing(CLOUD, NEW, diary.once))
    assert "contract of nova was done for 2026.1 since" in told


def test_what_an_operator_waived_is_not_known_as_done() -> None:
    made = plan(*world()[:2])
    states = {action_id(work.id, host): ActionRecord(state="done") for work, host in made.actions()}
    last = "contract/keystone/c1"
    assert reached_by(made, look(made, states), {last}, "r1", 1.0).keys() == {"keystone/contract"}
    some = {**states, "finalize/ctl/c1": ActionRecord(state="skipped")}
    assert reached_by(made, look(made, some), {"finalize/ctl/c2"}, "r1", 1.0) == {}


def test_another_machine_in_its_place_does_not_have_what_earlier_runs_did() -> None:
    diary = Diary()
    diary.run(diary.plan(world(), Part(services=("keystone",))))
    rest = diary.plan(world())
    machine = Machine(host="c1", number=1, by="me", at=1.0, reason="dead", run="r1", serial=3)
    action = "control/ctl/c1"
    known = host_record(rest, look(rest, {}, machines={"c1": machine}), action, {action}, 2.0)
    assert known == HostRecord(release=OLD, by_run="r1", at=2.0, services={"nova": NEW})
    assert host_record(rest, look(rest, {}), action, {action}, 2.0) == HostRecord(release=NEW, by_run="r1", at=2.0)


def test_a_run_is_rolled_back_before_those_that_it_came_after() -> None:
    run = RunRecord(id="r1", cluster="prod", plan="p", source=OLD, target=NEW, started=5.0)
    known = {
        "c1": HostRecord(release=NEW, by_run="r1", at=6.0),  # its own
        "d1": HostRecord(release=NEW, by_run="r0", at=4.0),  # before it
        "e1": HostRecord(release=OLD, by_run="r4", at=9.0),  # rolled back since
    }
    refuse_later(run, known)
    half = HostRecord(release=OLD, by_run="r2", at=7.0, services={"compute": NEW})
    with pytest.raises(Refused) as caught:
        refuse_later(run, {**known, "n1": half, "n2": HostRecord(release=NEW, by_run="r3", at=8.0)})
    assert str(caught.value) == (
        "n2 was brought to 2026.1 after run r1, by run r3; nothing was changed (the latest goes back first: underway "
        "--run r3 rollback)"
    )


def test_a_rollback_takes_back_what_its_run_did_and_nothing_of_the_runs_before() -> None:
    diary = Diary()
    diary.run(diary.plan(world(), Part(services=("keystone",))))
    rest = diary.plan(world(), Part(planes=("control",)))
    action = "control/ctl/c1"
    back = rollback_plan(rest, look(rest, {action: ActionRecord(state="done", attempt=1)}))
    known = host_record(back, look(back, {}), action, {action}, 3.0)
    assert known == HostRecord(release=OLD, by_run="r1", at=3.0, services={"keystone": NEW})
