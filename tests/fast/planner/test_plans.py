"""Plans of small clusters, rule by rule."""

from __future__ import annotations

from fast.planner.made import (
    NEW,
    OLD,
    Group,
    Limit,
    Policy,
    catalogue,
    cluster,
    many,
    phase,
    plan,
    service,
    step,
    whole,
)
from underway.core import visits
from underway.core.model.base import replace
from underway.core.model.cluster import Probe
from underway.core.model.part import Part
from underway.core.model.plan import Plan
from underway.core.model.service import ReleaseCheck, Service
from underway.core.model.state import HostRecord
from underway.core.ordering import Needs, Unit

ONE = {"api": (["keystone"], ["a1", "a2", "a10"])}


def legs(made: Plan, name: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(leg.on, leg.steps) for leg in made.passes[name].legs]


def test_stages_come_in_order_and_those_without_work_are_left_out() -> None:
    assert [stage.kind for stage in plan(cluster(ONE), catalogue(service("keystone"))).stages] == ["control"]
    assert [stage.kind for stage in plan(cluster(ONE), catalogue(whole("keystone"))).stages] == [
        "preflight", "prepare", "expand", "control", "finalize", "migrate", "contract", "verify",
    ]  # fmt: skip


def test_drain_goes_against_the_needs_and_the_rest_with_them() -> None:
    made = plan(
        cluster({"api": (["nova", "keystone"], ["a1"])}), catalogue(whole("keystone"), whole("nova", ["keystone"]))
    )
    assert legs(made, "control/api") == [
        (
            "",
            (
                "nova.drain.drain", "keystone.drain.drain",
                "keystone.upgrade.stop", "keystone.upgrade.turn-link", "keystone.upgrade.start",
                "nova.upgrade.stop", "nova.upgrade.turn-link", "nova.upgrade.start",
                "keystone.undrain.undrain", "nova.undrain.undrain", "keystone.verify.ask", "nova.verify.ask",
            ),
        )
    ]  # fmt: skip
    assert made.rollback == {"api": ("nova.rollback.turn-back", "keystone.rollback.turn-back")}
    assert made.steps["nova.rollback.turn-back"].phase == "rollback"


def test_phases_on_other_hosts_are_legs_of_their_own_in_the_right_place() -> None:
    made = plan(
        cluster({"api": (["keystone"], ["a1"]), "lb": (["haproxy"], ["l10", "l2"])}),
        catalogue(whole("keystone", balancer="haproxy"), service("haproxy")),
    )
    assert legs(made, "control/api") == [
        ("l2", ("keystone.drain.drain",)),
        ("l10", ("keystone.drain.drain",)),
        ("", ("keystone.upgrade.stop", "keystone.upgrade.turn-link", "keystone.upgrade.start")),
        ("l2", ("keystone.undrain.undrain",)),
        ("l10", ("keystone.undrain.undrain",)),
        ("", ("keystone.verify.ask",)),
    ]


def test_consecutive_legs_on_the_same_machine_are_one() -> None:
    phases = {
        "undrain": phase("keystone", "undrain", "back", on="haproxy"),
        "verify": phase("keystone", "verify", "see", on="haproxy"),
    }
    made = plan(
        cluster({"api": (["keystone"], ["a1"]), "lb": (["haproxy"], ["l1"])}),
        catalogue(service("keystone", phases=phases), service("haproxy")),
    )
    assert legs(made, "control/api") == [("l1", ("keystone.undrain.back", "keystone.verify.see"))]


def test_hosts_are_in_natural_order_and_canaries_first() -> None:
    made = plan(cluster(ONE, canary={"api": ["a10"]}), catalogue(service("keystone")))
    assert made.passes["control/api"].hosts == ("a10", "a1", "a2")
    assert made.passes["control/api"].canaries == 1


def test_once_only_work_is_on_a_canary_else_on_the_first_host_and_says_so() -> None:
    roles = {"web": (["keystone"], ["w3"]), "api": (["keystone"], ["a2", "a10"])}
    has = catalogue(whole("keystone"))
    made = plan(cluster(roles), has).passes["expand/keystone"]
    assert (made.hosts, made.why) == (("a2",), "once for keystone, on a2 (first of 3 hosts)")
    made = plan(cluster(roles, canary={"web": ["w3"]}), has).passes["expand/keystone"]
    assert (made.hosts, made.role, made.why) == (("w3",), "web", "once for keystone, on w3 (canary of web)")


def test_what_is_prepared_once_for_all_comes_after_its_role_was_prepared() -> None:
    both = (
        service("code", phases={"prepare": phase("code", "prepare", "unpack")}),
        service("nova", phases={"prepare": phase("nova", "prepare", "ask", once=True)}),
    )
    made = plan(cluster({"api": (["nova", "code"], ["a1", "a2"]), "db": (["code"], ["d1"])}), catalogue(*both))
    edges = [(edge.before, edge.reason) for edge in made.passes["prepare/nova"].after]
    assert edges == [("prepare/api", "nova may use what prepare puts on hosts of api")]
    alone = plan(cluster({"api": (["nova"], ["a1"])}), catalogue(both[1]))
    assert alone.passes["prepare/nova"].after == ()


def test_expand_is_done_once_whether_it_says_so_or_not() -> None:
    made = plan(
        cluster(ONE), catalogue(service("keystone", phases={"expand": phase("keystone", "expand", "grow")}))
    ).passes["expand/keystone"]
    assert made.once
    assert made.hosts == ("a1",)


def test_expand_is_in_the_order_of_needs_also_through_services_without_it() -> None:
    has = catalogue(whole("nova", ["placement"]), service("placement", ["keystone"]), whole("keystone"))
    made = plan(cluster({"api": (["nova", "placement", "keystone"], ["a1"])}), has)
    assert made.stages[2].passes == ("expand/keystone", "expand/nova")
    assert [(edge.before, edge.reason) for edge in made.passes["expand/nova"].after] == [
        ("expand/keystone", "nova needs keystone (through placement)")
    ]


def test_once_only_parts_of_a_visit_stand_before_and_behind_it() -> None:
    phases = {
        "drain": phase("vip", "drain", "away", once=True),
        "upgrade": phase("vip", "upgrade", "change"),
        "undrain": phase("vip", "undrain", "back", once=True),
        "verify": phase("vip", "verify", "smoke", once=True),
    }
    has = catalogue(service("vip", phases=phases), service("web", ["vip"]))
    made = plan(cluster({"front": (["vip", "web"], ["f1", "f2"])}), has)
    assert {name: (work.hosts, [edge.before for edge in work.after]) for name, work in made.passes.items()} == {
        "control/vip.drain": (("f1",), []),
        "control/front": (("f1", "f2"), ["control/vip.drain"]),
        "control/vip.undrain": (("f1",), ["control/front"]),
        "control/front.2": (("f1", "f2"), ["control/vip.undrain"]),
        "verify/vip": (("f1",), []),
    }
    assert made.passes["control/front.2"].why == (
        "visit 2 of 2, because web on front needs vip's once-only work, which waits for vip on front"
    )
    assert made.passes["control/front.2"].after[0].reason == "web on front needs vip's once-only work"
    assert made.passes["control/vip.undrain"].after[0].reason == "what vip does once comes after its visits on front"
    assert made.passes["control/front"].after[0].reason == "what vip does once comes first"


def test_a_role_named_as_a_service_keeps_its_pass_ids_apart() -> None:
    phases = {"preflight": phase("db", "preflight", "look", once=True)}
    two = service("db", phases=phases)
    made = plan(
        cluster({"db": (["db", "web"], ["d1"])}),
        catalogue(two, service("web", phases={"preflight": phase("web", "preflight", "look")})),
    )
    assert made.stages[0].passes == ("preflight/db", "preflight/db.once")


def test_a_second_visit_never_takes_the_id_of_a_role() -> None:
    has = catalogue(service("queue"), service("db", ["queue"]), service("web", ["db"]))
    made = plan(cluster({"a": (["queue", "web"], ["a1"]), "b": (["db"], ["b1"]), "a.2": (["db"], ["c1"])}), has)
    assert {name: work.services for name, work in made.passes.items()} == {
        "control/a": ("queue",),
        "control/a.2": ("db",),
        "control/b": ("db",),
        "control/a.3": ("web",),
    }


def test_a_need_across_roles_orders_their_passes() -> None:
    made = plan(
        cluster({"controller": (["keystone"], ["c1"]), "database": (["mariadb"], ["d1"])}),
        catalogue(service("keystone", ["mariadb"]), service("mariadb")),
    )
    (edge,) = made.passes["control/controller"].after
    assert (edge.before, edge.reason) == ("control/database", "keystone on controller needs mariadb on database")


def test_edges_that_follow_from_others_are_left_out() -> None:
    has = catalogue(service("a"), service("b", ["a"]), service("c", ["a", "b"]))
    made = plan(cluster({"ra": (["a"], ["h1"]), "rb": (["b"], ["h2"]), "rc": (["c"], ["h3"])}), has)
    assert [edge.before for edge in made.passes["control/rc"].after] == ["control/rb"]


def test_data_passes_that_control_waits_for_move_to_the_control_stage() -> None:
    has = catalogue(service("ovn", plane="data"), service("northd", ["ovn"]), service("agent", plane="data"))
    made = plan(cluster({"net": (["ovn"], ["n1"]), "api": (["northd"], ["a1"]), "edge": (["agent"], ["e1"])}), has)
    assert [(stage.kind, stage.passes) for stage in made.stages] == [
        ("control", ("control/net", "control/api")),
        ("data", ("data/edge",)),
    ]
    assert made.passes["control/net"].why == "in the control stage because control/api waits for it"


def test_hosts_that_run_the_target_are_in_no_rolling_pass() -> None:
    made = cluster(ONE, canary={"api": ["a2"]})
    made = replace(made, hosts={**made.hosts, "a10": replace(made.hosts["a10"], release=NEW)})
    result = plan(made, catalogue(whole("keystone")), known={"a2": HostRecord(release=NEW)})
    assert result.passes["control/api"].hosts == ("a1",)
    assert result.passes["control/api"].canaries == 0
    assert result.passes["verify/api"].hosts == ("a2", "a1", "a10")
    assert f"already on {NEW}, so in no rolling pass: a2, a10" in result.warnings


def test_the_last_run_is_believed_more_than_the_file() -> None:
    made = cluster(ONE)
    made = replace(made, hosts={**made.hosts, "a1": replace(made.hosts["a1"], release="2025.1")})
    result = plan(made, catalogue(service("keystone")), known={"a1": HostRecord(release=NEW)})
    assert result.passes["control/api"].hosts == ("a2", "a10")
    assert "the last run is believed, not the cluster file, on the release of a1" in result.warnings
    other = plan(made, catalogue(service("keystone")))
    assert other.passes["control/api"].hosts == ("a1", "a2", "a10")
    assert f"on 2025.1 and not on {OLD}: a1" in other.warnings


def test_when_every_host_is_done_only_the_end_is_left() -> None:
    known = {name: HostRecord(release=NEW) for name in ("a1", "a2", "a10")}
    made = plan(cluster(ONE), catalogue(whole("keystone")), known=known)
    assert "control" not in [stage.kind for stage in made.stages]
    assert "finalize" in [stage.kind for stage in made.stages]
    assert made.warnings[0].startswith(f"every host already runs {NEW}; what is left is done once for all")


def test_a_cluster_on_the_target_has_nothing_to_do() -> None:
    made = plan(cluster(ONE, release=NEW), catalogue(whole("keystone")))
    assert made.stages == ()
    assert made.passes == {}
    assert made.warnings == (f"nothing to do: the cluster and all its hosts run {NEW}",)


def test_a_host_that_lags_behind_its_cluster_catches_up_alone() -> None:
    made = plan(cluster(ONE, release=NEW), catalogue(whole("keystone")), known={"a2": HostRecord(release=OLD)})
    assert [stage.kind for stage in made.stages] == ["preflight", "prepare", "control"]
    assert {work.hosts for work in made.passes.values()} == {("a2",)}


def test_only_services_that_change_take_part() -> None:
    made = plan(
        cluster({"api": (["keystone", "memcached"], ["a1", "a2"])}),
        catalogue(service("keystone"), service("memcached"), changes=["keystone", "swift"]),
    )
    assert made.passes["control/api"].services == ("keystone",)
    assert f"unchanged in {NEW}, so left alone: memcached" in made.defaults
    assert f"phases never used, since {NEW} does not change these services: memcached" in made.warnings
    assert f"{NEW} changes services that the catalogue does not have: swift" in made.warnings


def test_release_checks_are_steps_of_preflight_on_the_hosts_of_their_service() -> None:
    task = {"ansible.builtin.command": "/bin/true"}
    checks = tuple(
        ReleaseCheck(name="Upgrade check!", service=name, task=task) for name in ("keystone", "keystone", "x")
    )
    made = plan(
        cluster({"api": (["keystone"], ["a1"]), "db": (["mariadb"], ["d1"])}),
        catalogue(whole("keystone"), service("mariadb"), checks=checks),
    )
    assert legs(made, "preflight/api") == [
        (
            "",
            (
                "keystone.preflight.check",
                "keystone.preflight.release-upgrade-check",
                "keystone.preflight.release-upgrade-check-2",
            ),
        )
    ]
    assert "preflight/db" not in made.passes


def test_approvals_and_the_point_of_no_return_mark_their_stages() -> None:
    made = plan(cluster(ONE, policy=Policy(approvals=("control", "finalize", "data"))), catalogue(whole("keystone")))
    assert [stage.kind for stage in made.stages if stage.approval] == ["control", "finalize"]
    assert [stage.kind for stage in made.stages if stage.point_of_no_return] == ["finalize"]
    assert "approval of data is asked for, but the plan has no such stage" in made.warnings
    only = catalogue(service("keystone", phases={"contract": phase("keystone", "contract", "shrink")}))
    assert [s.kind for s in plan(cluster(ONE), only).stages if s.point_of_no_return] == ["contract"]


def test_verify_is_done_again_at_the_end_if_something_changed_for_all() -> None:
    made = plan(cluster(ONE), catalogue(whole("keystone")))
    assert legs(made, "verify/api") == [("", ("keystone.verify.ask-at-the-end",))]
    assert made.steps["keystone.verify.ask-at-the-end"].tasks == made.steps["keystone.verify.ask"].tasks
    assert "verify/api" not in plan(cluster(ONE), catalogue(service("keystone"))).passes


def test_variables_handlers_gates_and_settings_reach_the_plan() -> None:
    handler = {"name": "Restart", "ansible.builtin.command": "/bin/restart"}
    gate = {"ansible.builtin.uri": {"url": "http://localhost"}}
    has = catalogue(
        service("keystone", vars={"port": 5000}, handlers=(handler,), gate=gate), vars={"series": "g", "debug": True}
    )
    made = cluster(ONE, settings={"debug": False})
    made = replace(made, roles={"api": replace(made.roles["api"], vars={"x": 1})})
    result = plan(made, has)
    assert result.settings == {"debug": False}
    assert result.release_vars == {"series": "g", "debug": True}
    assert result.role_vars == {"api": {"x": 1}}
    assert result.service_vars == {"keystone": {"port": 5000}}
    assert result.handlers == {"keystone": (handler,)}
    last = result.passes["control/api"].legs[-1].steps[-1]
    assert (last, result.steps[last].tasks) == ("keystone.verify.gate", (gate,))


def test_limits_are_resolved_in_hosts() -> None:
    made = cluster(
        {"a": (["s"], many("a", 7)), "b": (["s"], many("b", 9)), "c": (["s"], many("c", 3))},
        limits={"a": "30%", "b": 0},
        groups={"g": Group(name="g", roles=("a", "b"), limit=Limit(percent=20))},
        policy=Policy(role_limits={"c": Limit(count=2)}),
    )
    result = plan(made, catalogue(service("s")))
    assert {name: (role.limit, role.stated, role.group) for name, role in result.roles.items()} == {
        "a": (2, "30%", "g"), "b": (0, "0", "g"), "c": (2, "2", ""),
    }  # fmt: skip
    assert (result.groups["g"].limit, result.groups["g"].stated) == (3, "20%")
    assert "role b is held: limit 0, no host of it will move and what comes after it waits" in result.warnings
    assert plan(cluster(ONE), catalogue(service("keystone"))).roles["api"].stated == "default 1"


def test_warnings_of_steps_health_balancers_and_what_is_not_there() -> None:
    phases = {
        "drain": phase("keystone", "drain", "out", idempotent=False, check={"ansible.builtin.command": "/bin/out"}),
        "upgrade": replace(
            phase("keystone", "upgrade", "start"),
            steps=(step("keystone", "upgrade", "stop", idempotent=False), step("keystone", "upgrade", "start")),
        ),
    }
    has = catalogue(service("keystone", ["ldap"], phases=phases), service("ldap"), Service(name="empty"))
    made = plan(cluster({"api": (["keystone", "empty"], ["a1"]), "idle": (["keystone"], [])}), has)
    assert made.warnings == (
        "without hosts: role idle",
        "on one host only, so down while that host is upgraded: keystone",
        "keystone: step upgrade.stop is neither idempotent nor checked: treated as not idempotent, so an interruption "
        "there waits for your word",
        "health unknown: no gate, verify step or probe for role api",
        "keystone needs ldap, which no role runs: taken as given from outside",
        "empty: changes in 2026.1, but has no steps",
        "keystone: drains its hosts, but has no undrain phase that puts them back",
    )
    probed = cluster(ONE, probes={"p": Probe(name="p", kind="tcp", host="a2")})
    bare = catalogue(service("keystone", phases={"upgrade": phase("keystone", "upgrade", "go")}))
    assert not [text for text in plan(probed, bare).warnings if "health" in text]
    assert [text for text in plan(cluster(ONE), bare).warnings if "health" in text]


def test_some_hosts_alone_end_before_the_point_of_no_return() -> None:
    made = plan(cluster(ONE), catalogue(whole("keystone")), part=Part(hosts=("a2",)))
    assert [stage.kind for stage in made.stages] == ["preflight", "prepare", "expand", "control"]
    assert made.passes["control/api"].hosts == ("a2",)
    assert any("the plan ends before the point of no return: a1, a10" in text for text in made.warnings)


def test_a_cut_search_is_greedy_says_so_and_loses_nothing() -> None:
    units = [Unit(f"r{role}", name) for role in range(6) for name in ("ovn", "nova", "edge")]
    needs = Needs({"nova": ["ovn"], "edge": ["nova"]}, ["ovn", "nova", "edge"])
    cut = visits.arrange(units, needs, cap=0)
    full = visits.arrange(units, needs)
    assert not cut.exact
    assert full.exact
    assert len(full.visits) == 16
    assert sorted((visit.group, name) for visit in cut.visits for name in visit.services) == sorted(
        (unit.group, unit.service) for unit in units
    )


def test_a_role_waits_for_another_through_one_without_work() -> None:
    made = plan(
        cluster(
            {"db": (["mariadb"], ["d1"]), "idle": ([], []), "api": (["keystone"], ["a1"])},
            after={"db": ["idle"], "idle": ["api"]},
        ),
        catalogue(service("keystone"), service("mariadb")),
    )
    (edge,) = made.passes["control/db"].after
    assert (edge.before, edge.reason) == ("control/api", "role db comes after role api")


def test_a_role_waits_for_all_visits_of_another_although_a_third_is_split_around_them() -> None:
    has = catalogue(service("a"), service("b", ["c"]), service("c"), service("d", ["a"]))
    made = plan(
        cluster({"ra": (["a"], ["a1"]), "rb": (["b"], ["b1"]), "rc": (["c", "d"], ["c1"])}, after={"ra": ["rb"]}), has
    )
    assert [(name, work.services) for name, work in made.passes.items()] == [
        ("control/rc", ("c",)),
        ("control/rb", ("b",)),
        ("control/ra", ("a",)),
        ("control/rc.2", ("d",)),
    ]


def test_once_only_work_of_a_visit_is_not_done_again_by_a_host_that_is_done() -> None:
    phases = {"upgrade": phase("vip", "upgrade", "change", once=True), "verify": phase("vip", "verify", "ask")}
    has = catalogue(service("vip", phases=phases))
    made = plan(cluster({"f": (["vip"], ["f1", "f2"])}), has, known={"f1": HostRecord(release=NEW)})
    assert [(name, work.hosts) for name, work in made.passes.items()] == [("control/f", ("f2",))]


def test_what_comes_after_on_every_host_gets_a_visit_of_its_own() -> None:
    api = replace(whole("api"), after=("conductor",))
    services = catalogue(whole("conductor"), whole("scheduler", ["conductor"]), api)
    made = plan(cluster({"control": (["api", "scheduler", "conductor"], ["c1", "c2"])}), services)
    [stage] = [stage for stage in made.stages if stage.kind == "control"]
    assert [made.passes[name].services for name in stage.passes] == [("conductor", "scheduler"), ("api",)]
    assert made.passes["control/control.2"].why == (
        "visit 2 of 2, because api comes after conductor on every host"
    )  # fmt: skip
    assert made.needs["api"] == ("conductor",)


def test_one_host_needs_no_visit_more() -> None:
    api = replace(whole("api"), after=("conductor",))
    made = plan(cluster({"control": (["api", "conductor"], ["c1"])}), catalogue(whole("conductor"), api))
    assert made.passes["control/control"].services == ("conductor", "api")


def test_what_comes_after_waits_through_services_without_work() -> None:
    api = replace(service("api"), needs=("front",))
    front = replace(service("front"), after=("conductor",), phases={})
    made = plan(
        cluster({"control": (["api", "front", "conductor"], ["c1", "c2"])}), catalogue(service("conductor"), front, api)
    )
    assert [made.passes[name].services for name in ("control/control", "control/control.2")] == [
        ("conductor",),
        ("api",),
    ]


def test_finalize_that_restarts_is_drained_and_keeps_to_slots_and_gates() -> None:
    found = whole("nova")
    finalize = replace(found.phases["finalize"], restarts=True)
    nova = replace(found, phases={**found.phases, "finalize": finalize})
    made = plan(cluster({"compute": (["nova"], ["n1", "n2", "n3"])}, limits={"compute": 2}), catalogue(nova))
    [stage] = [stage for stage in made.stages if stage.kind == "finalize"]
    assert stage.passes == ("finalize/compute",)
    work = made.passes["finalize/compute"]
    assert (work.rolling, work.upgrades, work.hosts) == (True, False, ("n1", "n2", "n3"))
    assert legs(made, "finalize/compute") == [
        ("", ("nova.drain.drain-at-the-end", "nova.finalize.unpin", "nova.undrain.undrain-at-the-end"))
    ]


def agents_of_two_roles(*sizes: int) -> Plan:
    """An agent on two roles that is upgraded on one after the other, and only restarted on both in ``finalize``."""
    phases = {"verify": phase("agent", "verify", "ask"), "finalize": phase("agent", "finalize", "restart")}
    phases["finalize"] = replace(phases["finalize"], restarts=True)
    near, far = sizes
    roles = {"compute": (["agent"], many("n", near)), "network": (["agent"], many("g", far))}
    return plan(cluster(roles), catalogue(service("agent", phases=phases)))


def test_what_is_restarted_in_finalize_counts_as_lost_there() -> None:
    [loss] = agents_of_two_roles(3, 3).losses
    assert (loss.service, loss.lost, loss.total) == ("agent", 2, 6)


def test_no_service_is_restarted_everywhere_at_once() -> None:
    made = agents_of_two_roles(1, 1)
    [stage] = [stage for stage in made.stages if stage.kind == "finalize"]
    first, second = (made.passes[name] for name in stage.passes)
    assert [edge.before for edge in second.after] == [first.id]
    assert "all hosts of it could be out at once" in second.after[0].reason
    assert [(loss.lost, loss.total) for loss in made.losses] == [(1, 2)]
