"""How plans are shown and compared."""

from __future__ import annotations

import pytest

from fast.planner.cases import CASES
from fast.planner.made import (
    NEW,
    Group,
    Limit,
    Policy,
    catalogue,
    cluster,
    many,
    phase,
    plan,
    service,
    whole,
)
from underway.core.model.base import canonical, decode, replace
from underway.core.model.cluster import Probe
from underway.core.model.plan import Plan
from underway.core.names import listing, ordered, slug, span
from underway.core.plandiff import compare
from underway.core.preview import tree

ONE = {"api": (["keystone"], ["a1", "a2"])}
HAS = catalogue(whole("keystone"))


@pytest.mark.parametrize("width", [20, 40, 57, 80, 200])
@pytest.mark.parametrize("name", CASES)
def test_every_line_fits(name: str, width: int) -> None:
    lines = tree(CASES[name](), width=width)
    assert max(map(len, lines)) <= max(width, 40)
    assert all(line == line.rstrip() for line in lines)


def test_colour_changes_no_word() -> None:
    made = CASES["three-controllers"]()
    plain, styled = tree(made), tree(made, color=True)
    assert any("\x1b[1;31m" in line for line in styled)
    bare = list(styled)
    for code in ("\x1b[1m", "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"):
        bare = [line.replace(code, "") for line in bare]
    assert bare == plain


def test_foreign_text_cannot_draw_on_the_terminal() -> None:
    made = plan(cluster(ONE, name="x\x1b[2Jy\u202e"), HAS)
    assert tree(made)[0] == "xy: 2025.2 to 2026.1"


def test_a_held_role_has_no_end() -> None:
    text = "\n".join(tree(plan(cluster(ONE, limits={"api": 0}), HAS), width=120))
    assert "a1, a2; held (limit 0)" in text
    assert "└─ without end: a limit of 0 holds it\n" in text


def test_nothing_to_do_is_said() -> None:
    lines = tree(plan(cluster(ONE, release=NEW), HAS))
    assert lines[-1] == f"└─ nothing to do: the cluster and all its hosts run {NEW}"
    assert "Estimated time" not in lines


def test_many_steps_are_counted_and_few_are_named() -> None:
    few = catalogue(service("keystone", phases={"upgrade": phase("keystone", "upgrade", *many("s", 12))}))
    lots = catalogue(service("keystone", phases={"upgrade": phase("keystone", "upgrade", *many("s", 13))}))
    assert "upgrade keystone (s1, s2, s3, s4" in "\n".join(tree(plan(cluster(ONE), few)))
    assert "upgrade keystone (13 steps)" in "\n".join(tree(plan(cluster(ONE), lots)))


# -- names


def test_names_sort_as_people_count() -> None:
    assert ordered(["cp10", "cp2", "cp02", "a", "cp", "10", "cp2b"]) == ["10", "a", "cp", "cp02", "cp2", "cp2b", "cp10"]


def test_names_are_listed_short() -> None:
    assert span(many("c", 4)) == "c1, c2, c3, c4"
    assert span(many("c", 1040)) == "c1 … c1040 (1,040 hosts)"
    assert [listing(many("c", count)) for count in range(4)] == ["", "c1", "c1 and c2", "c1, c2 and c3"]
    assert slug("  Ünder way: DB_sync! ") == "nder-way-db-sync"
    assert slug("…") == "x"


# -- differences


@pytest.mark.parametrize("name", CASES)
def test_a_plan_does_not_differ_from_itself_as_saved(name: str) -> None:
    made = CASES[name]()
    assert compare(made, made) == []
    assert compare(decode(canonical(made), Plan), made) == []
    assert tree(decode(canonical(made), Plan)) == tree(made)


def test_hosts_limits_losses_and_time_are_compared() -> None:
    old = plan(cluster({"api": (["keystone"], many("a", 4))}), catalogue(service("keystone")))
    new = plan(
        cluster({"api": (["keystone"], ["a2", "a3", "a4", "a5", "a6"])}, limits={"api": "40%"}, canary={"api": ["a3"]}),
        catalogue(service("keystone")),
        durations={"control/api": [10.0] * 5},
    )
    assert compare(old, new) == [
        "2 hosts added: a5, a6",
        "1 host removed: a1",
        "control/api gains 2 hosts: a5, a6",
        "control/api loses 1 host: a1",
        "control/api: the order of its hosts changed, first is now a3",
        "control/api: 1 canary, was 0",
        "control/api: 10 s a host (10 s at p90, 5 past runs), was 1 min 15 s (2 min 30 s, guess: 2 steps)",
        "limit of role api: 2 (40%), was 1 (default 1)",
        "worst loss of keystone: 2 of 5, was 1 of 4",
        "estimated time: 30 s, was 5 min",
    ]


def test_stages_order_and_steps_are_compared() -> None:
    two = {"api": (["keystone"], ["a1", "a2"]), "db": (["mariadb"], ["d1", "d2"])}
    old = plan(cluster(two), catalogue(whole("keystone", ["mariadb"]), service("mariadb")))
    keystone = whole("keystone")
    upgrade = phase("keystone", "upgrade", "stop", "start", "turn-link", timeout=60.0)
    phases = {**keystone.phases, "upgrade": upgrade, "drain": phase("keystone", "drain", "drain", on="mariadb")}
    del phases["migrate"]
    new = plan(
        cluster(two, policy=Policy(approvals=("finalize",))),
        catalogue(replace(keystone, phases=phases, gate={"ping": {}}), service("mariadb")),
    )
    assert [line for line in compare(old, new) if "host (" not in line] == [
        "stage migrate removed",
        "stage finalize now waits for approval",
        "1 pass removed: migrate/keystone",
        "control/api no longer waits for control/db",
        "control/api: 3 steps added: keystone.drain.drain on d1, keystone.drain.drain on d2, keystone.verify.gate",
        "control/api: 1 step removed: keystone.drain.drain",
        "verify/api: 1 step added: keystone.verify.gate-at-the-end",
        "2 steps added: keystone.verify.gate, keystone.verify.gate-at-the-end",
        "1 step removed: keystone.migrate.move-data",
        "step keystone.upgrade.start: timeout changed",
        "step keystone.upgrade.stop: timeout changed",
        "step keystone.upgrade.turn-link: timeout changed",
        "policy.approvals changed",
        "estimated time: 12 min 45 s, was 15 min",
    ]
    back = compare(new, old)
    assert "stage migrate added" in back
    assert "stage finalize no longer waits for approval" in back
    assert "control/api now waits for control/db: keystone on api needs mariadb on db" in back


def test_order_inside_a_pass_and_what_stands_beside_passes_are_compared() -> None:
    both = {"api": (["a", "b"], ["a1", "a2"])}
    old = plan(cluster(both), catalogue(service("a"), service("b")))
    new = plan(
        cluster(
            both,
            settings={"x": 1},
            groups={"g": Group(name="g", roles=("api",), limit=Limit(count=1))},
            probes={"p": Probe(name="p", kind="tcp")},
        ),
        catalogue(service("a", ["b"]), service("b")),
    )
    assert compare(old, new) == [
        "control/api: the order of its services is now b, a",
        "control/api: the order of its steps, or where they run, changed",
        "1 group added: g",
        "1 probe added: p",
        "settings differ",
    ]
    other = replace(new, cluster="x", role_vars={"api": {"a": 1}}, warnings=("beware",), rollback={"api": ("a",)})
    assert compare(new, other) == [
        "cluster: x, was prod",
        "the rollback of role api changed",
        "variables differ",
        "new warning: beware",
    ]
    assert "warning gone: beware" in compare(other, new)
