"""``drop``: a host that died for good leaves the run and the counts, by an operator's word and no other way."""

from __future__ import annotations

import pytest

from fast.engine.made import RUN, Bench, plan_of, works
from fast.engine.test_control import bench, dead_at_work, late_plan
from underway.core.history import dropped
from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.outlook import host_states, outlook
from underway.core.rules import decide
from underway.core.summary import summarise
from underway.errors import InputError, Refused
from underway.executors.base import Order, ReportKind


def look(here: Bench) -> tuple[str, ...]:
    seen = here.repository.snapshot(RUN)
    found = outlook(
        here.plan, seen, decide(here.plan, seen, here.plan.policy, here.clock.now()), None, here.clock.now()
    )
    return (found.verdict, *(f"{row.host} {row.by} {row.reason} {row.left}" for row in found.dropped))


def test_a_dead_host_leaves_the_run_which_goes_on_and_is_done() -> None:
    here = dead_at_work()
    with pytest.raises(
        Refused, match=r"nobody can tell whether h1 is still at work on control/web/h1; nothing was .*--off"
    ):
        here.control.drop("h1", "mainboard")
    assert here.states()["control/web/h1"] == "unknown"
    found = here.control.drop("h1", "mainboard", off=True)
    assert list(found.waived) == ["control/web/h1"]
    here.script.at_once = works
    here.settle()
    assert here.repository.snapshot(RUN).run.state == "done"
    assert here.states()["control/web/h1"] == "skipped"
    assert {here.states()[f"control/web/{host}"] for host in ("h2", "h3")} == {"done"}
    seen = here.repository.snapshot(RUN)
    assert host_states(here.plan, seen)["h1"] == "dropped"
    assert look(here) == ("done", "h1 me mainboard ()"), "a dropped host is not one that is behind"
    reason = decide(here.plan, seen, here.plan.policy, here.clock.now()).reasons["h1"]
    assert reason.kind == "dropped"
    assert reason.sentence.endswith("UTC: mainboard (it is in no count)")
    said = [entry for entry in here.repository.events(RUN) if entry.kind in ("dropped", "skipped")]
    assert [(entry.kind, entry.actor) for entry in said] == [("dropped", "operator:me"), ("skipped", "operator:me")]
    assert here.repository.verify()[1] == []


def test_a_late_report_of_a_dropped_host_changes_nothing() -> None:
    here = dead_at_work()
    (old,) = [order for order in here.script.orders if order.action == "control/web/h1" and order.leg == 1]
    here.control.drop("h1", "mainboard", off=True)
    before = here.repository.snapshot(RUN).actions["control/web/h1"]
    for kind in ("accepted", "finished", "failed", "unknown"):
        here.script.say(old, kind)
    here.coordinator.stop_granting()
    here.settle()
    assert here.repository.snapshot(RUN).actions["control/web/h1"] == before


def test_it_is_refused_while_something_may_be_at_work_there() -> None:
    here = bench(at_once=lambda order: ("accepted",))
    here.settle()
    for off in (False, True):
        with pytest.raises(Refused, match=r"h1 is believed to be at work on prepare/web/h1 since .* called unknown"):
            here.control.drop("h1", "a slip", off=off)
    assert here.repository.snapshot(RUN).machines == {}
    with pytest.raises(InputError, match="the plan has no host 'h9'"):
        here.control.drop("h9", "a slip")


def test_no_time_drops_a_silent_host() -> None:
    """P7: unknown stays unknown."""
    here = dead_at_work()
    for _ in range(20):
        here.clock.advance(7 * 86400.0)
        here.settle()
    assert here.states()["control/web/h1"] == "unknown"
    assert here.repository.snapshot(RUN).dropped() == {}
    assert here.repository.snapshot(RUN).run.reason.startswith("halted")


def test_a_host_that_others_need_is_not_dropped_silently() -> None:
    here = bench(at_once=lambda order: ("accepted", "failed") if order.host.name == "lb" else works(order))
    here.settle()
    with pytest.raises(
        Refused, match=r"lb does a part of the work of 3 other hosts \(h1, h2, h3\), .*underway replace lb"
    ):
        here.control.drop("lb", "power supply")
    shared = bench(late_plan(), at_once=lambda order: ("accepted", "failed"))
    shared.settle()
    with pytest.raises(Refused, match=r"h1 is to do expand/s/h1 once for all hosts, .*'underway replace h1'.*skip h1"):
        shared.control.drop("h1", "disk")
    shared.control.skip("h1", "done by hand")
    assert shared.control.drop("h1", "disk").waived == {}
    assert look(shared)[1:] == ("h1 me disk ()",)


def test_said_again_it_changes_nothing_and_replace_brings_another_machine() -> None:
    here = dead_at_work()
    here.control.drop("h1", "mainboard", off=True)
    before = here.store.list("underway/").revision
    here.control.drop("h1", "said twice")
    assert here.store.list("underway/").revision == before
    assert here.repository.machines()["h1"].base == 1_000_000
    machine, found = here.control.replace("h1", "a spare one was there after all")
    assert (machine.number, machine.gone) == (1, False)
    assert list(found.again) == ["prepare/web/h1", "control/web/h1"]
    here.script.at_once = works
    here.settle()
    assert set(here.states().values()) == {"done"}
    assert host_states(here.plan, here.repository.snapshot(RUN))["h1"] == "upgraded"


def test_enrolled_anew_it_counts_again_and_what_was_waived_stays_so() -> None:
    here = dead_at_work()
    assert not here.control.enrolled("h1")
    here.control.drop("h1", "mainboard", off=True)
    assert here.control.enrolled("h1")
    assert not here.control.enrolled("h1")
    seen = here.repository.snapshot(RUN)
    assert seen.dropped() == {}
    assert host_states(here.plan, seen)["h1"] == "skipped"
    assert dropped(here.repository.events(RUN)) == frozenset()
    again = here.control.replace("h1", "and it joins the run")[1].again
    assert list(again) == ["prepare/web/h1", "control/web/h1"]
    assert here.states()["control/web/h1"] == "pending"


def percent(plan: Plan, percent: int, hosts: int) -> Plan:
    roles = {**plan.roles, "web": replace(plan.roles["web"], limit=hosts * percent // 100, percent=percent)}
    return replace(plan, roles=roles)


def test_percentages_are_of_the_hosts_that_are_left() -> None:
    """Half of four is two; once one is dropped it is one."""

    def idles(order: Order) -> tuple[ReportKind, ...]:
        return works(order) if order.action.startswith("prepare") or order.leg == 0 else ()

    whole = Bench(percent(plan_of(4), 50, 4), idles)
    whole.settle()
    assert sum(state == "claimed" for state in whole.states().values()) + sum(
        state == "running" for state in whole.states().values()
    ) == 2  # fmt: skip
    less = Bench(percent(plan_of(4), 50, 4), works)
    less.control.drop("h4", "sold")
    less.script.at_once = idles
    less.settle()
    assert [host for host in ("h1", "h2", "h3") if less.states().get(f"control/web/{host}") == "running"] == ["h1"]
    reason = decide(less.plan, less.repository.snapshot(RUN), less.plan.policy, less.clock.now()).reasons["h2"]
    assert reason.sentence == "waits for a slot: role web has 1 of 1 unavailable (h1 at work)"
    with pytest.raises(InputError, match="33% of 3 hosts rounds down to none"):
        less.control.limit("web", Limit(percent=33), "less")


def test_a_percentage_that_comes_to_no_host_is_told() -> None:
    here = Bench(percent(plan_of(2), 50, 2), works)
    assert here.control.drop("h2", "sold").held == ("web",)
    here.settle()
    assert "control/web/h1" not in here.states()
    here.control.limit("web", Limit(count=1), "the one that is left")
    here.settle()
    assert here.states()["control/web/h1"] == "done"


def test_the_report_of_a_run_that_is_over_tells_of_a_host_that_was_dropped_since() -> None:
    here = bench(replace(plan_of(), policy=Policy(failure_budget=5)), at_once=works)
    here.settle()
    seen = here.repository.snapshot(RUN)
    assert here.repository.snapshot(RUN).run.state == "done"
    here.control.drop("h1", "sold")
    report = summarise(
        here.plan, here.repository.snapshot(RUN).run, seen.actions, here.repository.events(RUN), {}, [], [], [], 0.0
    )
    assert {row.host: row.state for row in report.hosts}["h1"] == "dropped"
    assert report.verdict == "done"
    assert ", 1 dropped;" in report.claim
    assert any("h1 is gone for good and leaves the counts" in text for text in report.warnings)
