"""Numbers of steps: their order in a visit, lockstep, roles of operators, tasks that several services have."""

from __future__ import annotations

from typing import Any

import pytest

from fast.planner.made import NEW, Policy, catalogue, cluster, many, phase, plan, service, step
from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.service import PhaseSpec, Service, Step
from underway.core.model.state import HostRecord
from underway.core.preview import tree
from underway.errors import OrderImpossible, Refused

OUTAGE = Policy(allow_full_outage=True)


def numbered(name: str, *parts: tuple[int | None, str], **more: Any) -> Service:
    """A service whose upgrade has steps with these numbers and names."""
    steps = tuple(step(name, "upgrade", text, number=number) for number, text in parts)
    return service(name, phases={"upgrade": PhaseSpec(steps=steps)}, **more)


def order(made: Plan, name: str) -> list[str]:
    return [step for leg in made.passes[name].legs for step in leg.steps]


def lockstep(roles: dict[str, tuple[list[str], list[str]]], *services: Service, **more: Any) -> Plan:
    made = cluster(roles, strategy="lockstep", policy=more.pop("policy", OUTAGE), **more)
    return plan(made, catalogue(*services))


def test_numbers_order_the_steps_of_all_services_of_a_visit() -> None:
    made = plan(
        cluster({"all": (["a", "b"], ["h1"])}),
        catalogue(
            numbered("a", (7, "start-a"), (None, "look-a"), (3, "stop-a")),
            numbered("b", (3, "stop-b"), (5, "copy-b"), (None, "look-b"), needs=["a"]),
        ),
    )
    names = [name.rpartition(".")[2] for name in order(made, "control/all")]
    assert names == ["look-a", "look-b", "stop-a", "stop-b", "copy-b", "start-a"]


def test_phases_come_before_numbers() -> None:
    one = service(
        "a",
        phases={
            "upgrade": phase("a", "upgrade", "switch", number=9),
            "verify": phase("a", "verify", "ask", number=1),
            "drain": phase("a", "drain", "leave", number=20),
        },
    )
    made = plan(cluster({"all": (["a"], ["h1"])}), catalogue(one))
    assert order(made, "control/all") == ["a.drain.leave", "a.upgrade.switch", "a.verify.ask"]


def test_a_number_that_is_not_run_is_told_and_left_out() -> None:
    made = plan(
        cluster({"all": (["a", "b"], ["h1"])}, numbers=(0, 1)),
        catalogue(numbered("a", (1, "stop"), (6, "start")), numbered("b", (6, "begin"))),
    )
    assert order(made, "control/all") == ["a.upgrade.stop"]
    told = [line for line in made.warnings if "never selected" in line]
    assert told == [
        "a: never selected, as 'numbers' of the cluster does not have it: upgrade step 'start' (number 6)",
        "b: never selected, as 'numbers' of the cluster does not have it: upgrade step 'begin' (number 6)",
    ]


# --- lockstep --------------------------------------------------------------------------------------------------------


def test_each_number_is_a_stage_of_all_roles() -> None:
    made = lockstep(
        {"one": (["a"], ["h1", "h2"]), "two": (["b"], ["h3"])},
        numbered("a", (0, "stop"), (2, "start")),
        numbered("b", (0, "stop"), (1, "copy"), plane="data"),
    )
    assert [(stage.name, stage.passes) for stage in made.stages] == [
        ("control 0", ("control/one.step0", "control/two.step0")),
        ("control 1", ("control/two.step1",)),
        ("control 2", ("control/one.step2",)),
    ]
    assert made.passes["control/one.step0"].hosts == ("h1", "h2")
    assert all(work.whole and work.rolling for work in made.passes.values())
    assert {name: work.midway for name, work in made.passes.items()} == {
        "control/one.step0": True, "control/two.step0": True, "control/two.step1": False, "control/one.step2": False,
    }  # fmt: skip


def test_steps_without_a_number_stand_at_the_ends() -> None:
    one = replace(
        numbered("a", (3, "stop"), (4, "start")),
        phases={
            "drain": phase("a", "drain", "leave"),
            "upgrade": PhaseSpec(
                steps=(
                    step("a", "upgrade", "install"), step("a", "upgrade", "stop", number=3),
                    step("a", "upgrade", "start", number=4),
                )
            ),
            "undrain": phase("a", "undrain", "join"),
        },
        gate={"ansible.builtin.command": "ask"},
    )  # fmt: skip
    made = lockstep({"one": (["a"], ["h1"])}, one)
    assert order(made, "control/one.step3") == ["a.drain.leave", "a.upgrade.install", "a.upgrade.stop"]
    assert order(made, "control/one.step4") == ["a.upgrade.start", "a.undrain.join", "a.verify.gate"]


def test_what_gathers_stands_in_every_pass_of_its_role() -> None:
    gathers = Service(
        name="a",
        phases={
            "upgrade": PhaseSpec(
                steps=(
                    step("a", "upgrade", "look", gathers=True), step("a", "upgrade", "stop", number=1),
                    step("a", "upgrade", "count", number=2, gathers=True),
                )
            )
        },
    )  # fmt: skip
    made = lockstep(
        {"one": (["a", "b"], ["h1"]), "two": (["b"], ["h2"])}, gathers, numbered("b", (1, "stop"), (3, "start"))
    )
    assert order(made, "control/one.step1") == ["a.upgrade.look", "a.upgrade.stop", "b.upgrade.stop"]
    assert order(made, "control/one.step2") == ["a.upgrade.look", "a.upgrade.count"]  # B6: also with nothing else
    assert order(made, "control/one.step3") == ["a.upgrade.look", "b.upgrade.start"]
    assert order(made, "control/two.step3") == ["b.upgrade.start"]


def test_a_batch_step_keeps_to_the_limit_of_its_role() -> None:
    batch = service(
        "a",
        phases={
            "upgrade": PhaseSpec(
                steps=(step("a", "upgrade", "roll", number=0, batch=True), step("a", "upgrade", "stop", number=10))
            )
        },
    )
    made = lockstep({"one": (["a"], many("h", 3))}, batch, limits={"one": 2})
    first, second = made.passes["control/one.step0"], made.passes["control/one.step10"]
    assert (first.whole, first.midway) == (False, False)  # its hosts serve after it, and are asked
    assert (second.whole, second.midway) == (True, False)
    assert made.roles["one"].limit == 2


def test_a_full_outage_has_to_be_said() -> None:
    services = numbered("a", (0, "stop")), numbered("b", (0, "stop"))
    roles = {"one": (["a"], ["h1", "h2"]), "two": (["b"], ["h3"])}
    with pytest.raises(Refused) as refused:
        lockstep(roles, *services, policy=Policy())
    assert str(refused.value) == (
        "strategy: lockstep takes all hosts of a role at once, and so a: allow it with policy.allow_full_outage: true "
        "(--allow-full-outage)"
    )
    made = lockstep(roles, *services)
    assert [(loss.service, loss.lost, loss.total, loss.why) for loss in made.losses] == [
        ("a", 2, 2, "lockstep takes all of one"),
        ("b", 1, 1, "lockstep takes all of two"),
    ]
    assert "all hosts at once, allowed by policy.allow_full_outage: a" in made.warnings


def test_needs_between_roles_order_the_passes_of_a_number() -> None:
    made = lockstep(
        {"one": (["a"], ["h1"]), "two": (["b"], ["h2"])},
        numbered("a", (0, "stop"), (1, "start"), needs=["b"]),
        numbered("b", (1, "start")),
    )
    work = made.passes["control/one.step1"]
    assert [(edge.before, edge.reason) for edge in work.after] == [("control/two.step1", "a on one needs b on two")]
    assert made.passes["control/one.step0"].after == ()


def test_a_role_is_visited_twice_at_one_number_where_needs_force_it() -> None:
    made = lockstep(
        {"one": (["a", "c"], ["h1", "h3"]), "two": (["b"], ["h2"])},
        numbered("a", (0, "x")),
        numbered("b", (0, "x"), needs=["a"]),
        numbered("c", (0, "x"), needs=["b"]),
    )
    assert made.stages[0].passes == ("control/one.step0", "control/two.step0", "control/one.step0.2")
    assert [made.passes[name].midway for name in made.stages[0].passes] == [True, False, False]


def test_a_cycle_at_a_number_is_told_with_its_path() -> None:
    with pytest.raises(OrderImpossible) as refused:
        lockstep(
            {"one": (["a"], ["h1"]), "two": (["b"], ["h2"])},
            numbered("a", (4, "x"), needs=["b"]),
            numbered("b", (4, "x")),
            after={"two": ["one"]},
        )
    assert "a on one -> b on two -> a on one" in str(refused.value)


def test_once_only_work_has_a_number() -> None:
    database = Service(
        name="db",
        phases={
            "upgrade": PhaseSpec(
                steps=(step("db", "upgrade", "sync", number=5), step("db", "upgrade", "check", number=6)), once=True
            )
        },
    )
    made = lockstep({"one": (["db", "a"], ["h1", "h2"])}, database, numbered("a", (3, "stop"), (6, "start")))
    assert [stage.passes for stage in made.stages] == [
        ("control/one.step3",), ("control/db.upgrade.step5",), ("control/db.upgrade.step6", "control/one.step6"),
    ]  # fmt: skip
    assert made.passes["control/db.upgrade.step5"].hosts == ("h1",)
    assert order(made, "control/db.upgrade.step5") == ["db.upgrade.sync"]


def test_lockstep_without_numbers_is_one_step() -> None:
    made = lockstep({"one": (["a"], ["h1", "h2"])}, service("a"))
    assert [stage.name for stage in made.stages] == ["control 0"]
    assert order(made, "control/one.step0") == ["a.upgrade.switch", "a.verify.ask"]


# --- roles of operators ----------------------------------------------------------------------------------------------


def by_hand(known: dict[str, HostRecord] | None = None, **more: Any) -> Plan:
    made = cluster({"one": (["a"], ["h1"]), "compute": (["b"], ["c1", "c2"])}, **more)
    roles = {**made.roles, "compute": replace(made.roles["compute"], operator_driven=True)}
    finalize = service("a", phases={"upgrade": phase("a", "upgrade", "x"), "finalize": phase("a", "finalize", "unpin")})
    return plan(replace(made, roles=roles), catalogue(finalize, numbered("b", (3, "y"), (1, "z"))), known=known or {})


def test_a_role_of_operators_has_no_passes_but_is_shown() -> None:
    made = by_hand()
    assert {work.role for work in made.passes.values()} == {"one"}
    assert made.by_hand == {"compute": ("b.upgrade.z", "b.upgrade.y")}
    assert set(made.by_hand["compute"]) <= set(made.steps)
    lines = tree(made, width=120)
    at = lines.index("Done by operators, no part of a run")
    assert lines[at + 1] == "└─ compute: c1, c2; upgrade b (z, y)"
    assert [stage.kind for stage in made.stages] == ["control"]  # B22: not all hosts are on the new release
    assert (
        "operators upgrade role compute themselves, so it has no passes: c1 to c2, and until then no plan passes the "
        "point of no return"
    ) in [line.replace("c1, c2", "c1 to c2").replace("c1-c2", "c1 to c2") for line in made.warnings]


def test_the_end_is_planned_once_operators_have_upgraded_theirs() -> None:
    made = by_hand({"c1": HostRecord(release=NEW), "c2": HostRecord(release=NEW)})
    assert [stage.kind for stage in made.stages] == ["control", "finalize"]


def test_nothing_comes_after_a_role_of_operators() -> None:
    with pytest.raises(Refused) as refused:
        by_hand(after={"one": ["compute"]})
    assert "roles.one.after: operators upgrade role compute themselves, so nothing can wait for it" in str(
        refused.value
    )


# --- duplicates ------------------------------------------------------------------------------------------------------

RESTART: dict[str, Any] = {
    "name": "Restart it",
    "ansible.builtin.service": {"name": "{{ unit }}", "state": "restarted"},
}
OTHER: dict[str, Any] = {"name": "Look", "ansible.builtin.command": "true"}


def twin(name: str, tasks: tuple[dict[str, Any], ...], number: int | None = 1, **more: Any) -> Service:
    made = Step(
        id=f"{name}.upgrade.x", name="x", service=name, phase="upgrade", tasks=tasks, idempotent=True, number=number
    )
    return Service(name=name, phases={"upgrade": PhaseSpec(steps=(made,))}, **more)


def tasks_of(*services: Service) -> list[tuple[str, int]]:
    made = plan(cluster({"one": ([one.name for one in services], ["h1"])}), catalogue(*services))
    return [(name, len(made.steps[name].tasks)) for name in order(made, "control/one")]


def test_a_task_of_two_services_runs_once_where_they_ask_for_it() -> None:
    both: dict[str, Any] = {"duplicates": "once", "vars": {"unit": "httpd"}}
    one, two = twin("a", (RESTART,), **both), twin("b", (OTHER, RESTART), **both)
    assert tasks_of(one, two) == [("a.upgrade.x", 1), ("b.upgrade.x.less", 1)]
    assert tasks_of(one, replace(two, duplicates="run")) == [("a.upgrade.x", 1), ("b.upgrade.x", 2)]
    assert tasks_of(one, twin("b", (RESTART,), **both)) == [("a.upgrade.x", 1)]  # nothing of it is left


def test_a_task_that_means_something_else_is_no_duplicate() -> None:
    one = twin("a", (RESTART,), duplicates="once", vars={"unit": "httpd"})
    for other in (
        twin("b", (RESTART,), duplicates="once", vars={"unit": "nginx"}),
        twin("b", (RESTART,), 2, duplicates="once", vars={"unit": "httpd"}),
        twin("b", ({**RESTART, "when": "true"},), duplicates="once", vars={"unit": "httpd"}),
    ):
        assert tasks_of(one, other) == [("a.upgrade.x", 1), ("b.upgrade.x", 1)]
    far = {"unit": "{{ deeper }}"}
    one, other = (
        twin(name, (RESTART,), duplicates="once", vars={**far, "deeper": value})
        for name, value in (("a", "x"), ("b", "y"))
    )
    assert tasks_of(one, other) == [("a.upgrade.x", 1), ("b.upgrade.x", 1)]


def test_the_same_step_may_lose_other_tasks_on_another_role() -> None:
    a, b = twin("a", (RESTART,), duplicates="once"), twin("b", (OTHER,), duplicates="once")
    both = twin("c", (RESTART, OTHER, {"name": "Own", "command": "true"}), duplicates="once")
    made = plan(
        cluster({"one": (["a", "c"], ["h1"]), "two": (["b", "c"], ["h2"]), "three": (["c"], ["h3"])}),
        catalogue(a, b, both),
    )
    found = {name: [step for step in order(made, name) if step.startswith("c.")] for name in made.passes}
    assert found == {
        "control/one": ["c.upgrade.x.less"], "control/three": ["c.upgrade.x"], "control/two": ["c.upgrade.x.less2"],
    }  # fmt: skip
    assert len(made.steps["c.upgrade.x"].tasks) == 3
