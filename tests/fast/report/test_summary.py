"""A run in figures: what the records, journals and probes say, and nothing that they do not."""

from __future__ import annotations

from support.sample_run import START, fleet_run, keystone_run
from underway.core.availability import Stats
from underway.core.history import absences, losses, steps
from underway.core.model.base import replace
from underway.core.model.event import Event, HostLine, HostLineKind
from underway.core.model.state import ActionRecord
from underway.core.rows import HostState
from underway.core.summary import figures, host_state, summarise

UPGRADE = "keystone.upgrade.turn-the-link"


def line(number: int, kind: HostLineKind, **more: object) -> HostLine:
    fields = {"run": "r", "action": "control/controller/ctrl1", "step": UPGRADE, "boot": "b", "mono": 50.0 + number}
    return HostLine(seq=number, at=START + number, kind=kind, **{**fields, **more})  # type: ignore[arg-type]


def rows(*lines: HostLine, state: str = "failed"):  # type: ignore[no-untyped-def]
    plan = keystone_run().plan
    return steps(plan, "r", {"control/controller/ctrl1": ActionRecord(state=state)}, {"ctrl1": lines})  # type: ignore[arg-type]


def test_the_keystone_run() -> None:
    s = keystone_run().summary()
    assert s.headline.startswith("prod-eu1: 2025.2 to 2026.1: 3 hosts upgraded in 2 min 41 s; 3 outages, 25 of ")
    assert s.result.endswith("; ctrl1 25 s, ctrl2 29 s, ctrl3 22 s")
    assert [row.label for row in s.outages] == ["O1", "B1", "B2", "O2", "O3", "B3"]
    assert s.failed == 25, "answers of single back-ends are not the service's"
    assert s.longest is not None and s.longest.probe == "token"
    assert {row.name: (row.lost, row.allowed) for row in s.losses} == {"controller": (1, 1), "keystone": (1, 1)}
    assert [row.kind for row in s.operator] == ["run-paused", "run-resumed", "approve"]
    assert {row.host: row.state for row in s.hosts}["lb1"] == "untouched"


def test_a_run_that_is_done_with_hosts_behind_is_never_called_done() -> None:
    made = keystone_run()
    made.actions["control/controller/ctrl3"] = ActionRecord(state="skipped", claimed=START, reason="no time")
    s = made.summary()
    assert (made.run.state, s.verdict) == ("done", "behind")
    assert "2 of 3 hosts upgraded (ctrl3 not upgraded)" in s.headline


def test_a_host_that_was_tried_again_was_out_all_the_while() -> None:
    made = keystone_run()
    action = "control/controller/ctrl2"
    last = made.actions[action]
    first = next(found for found in made.lines["ctrl2"] if found.kind == "begin" and found.action == action)
    # an attempt that failed a minute and a half before the steps of the last one
    earlier = replace(first, seq=0, at=first.at - 90.0, mono=first.mono - 90.0)
    failed = replace(earlier, kind="end", rc=2, at=earlier.at + 1.0, mono=earlier.mono + 1.0)
    made.lines["ctrl2"] = [earlier, failed, *made.lines["ctrl2"]]
    made.actions[action] = replace(last, attempt=2)
    (row,) = (row for row in made.summary().hosts if row.host == "ctrl2")
    assert row.took is not None and last.duration + 80.0 < row.took < last.duration + 91.0
    assert ", ctrl2 1 min 5" in made.summary().result


def test_nobody_observed_is_not_zero() -> None:
    made = keystone_run()
    made.stats, made.outages, made.gaps = [], [], []
    s = made.summary()
    assert (s.requests, s.failed, s.unobserved, s.longest) == (None, None, None, None)
    assert "nobody observed whether it served" in s.headline
    assert s.result.startswith("no request was made; ")
    assert len(s.probes) == 6 and all(row.up is None and row.requests is None for row in s.probes)
    assert sum("never asked" in text for text in s.warnings) == 6


def test_probes_that_lost_their_network_made_no_request_that_counts() -> None:
    row = figures(Stats(probe="p", samples=10, lost=4, failed=6, down=6.0))
    assert (row.requests, row.failed, row.lost, row.mean) == (6, 6, 4, None)


def test_where_only_back_ends_are_asked_they_count() -> None:
    made = keystone_run()
    made.plan = replace(made.plan, probes={n: p for n, p in made.plan.probes.items() if p.host})
    made.stats = [found for found in made.stats if found.host]
    made.outages = [found for found in made.outages if found.host]
    s = made.summary()
    assert [row.label for row in s.outages] == ["O1", "O2", "O3"] and s.failed == 126


def test_a_step_and_its_tasks() -> None:
    (row,) = rows(
        line(1, "begin"), line(2, "task", task="a\x1b[1m"), line(4, "task-end", task="a\x1b[1m", changed=True),
        line(5, "end", text="fine"),
    )  # fmt: skip
    assert (row.outcome, row.duration, row.changed, row.attempt) == ("ok", 4.0, 1, 1)
    assert [(task.task, task.rc, task.end) for task in row.tasks] == [("a", 0, START + 4)]
    assert (row.service, row.phase, row.name) == ("keystone", "upgrade", "turn the link")


def test_a_step_without_an_end_is_unknown_unless_its_action_works() -> None:
    assert [row.outcome for row in rows(line(1, "begin"))] == ["unknown"]
    assert [row.outcome for row in rows(line(1, "begin"), state="running")] == ["running"]
    assert rows(line(1, "begin"))[0].end is None


def test_a_step_that_begins_anew_counts_attempts_and_hides_nothing() -> None:
    found = rows(line(1, "begin"), line(3, "resumed"), line(4, "begin", boot="c"), line(6, "end", boot="c", rc=2))
    assert [(row.outcome, row.attempt, row.duration) for row in found] == [("unknown", 1, None), ("failed", 2, 2.0)]


def test_a_step_in_which_its_machine_died_is_unknown_and_done_by_the_next_one() -> None:
    new = line(1_000_000, "new-machine", run="", action="", step="")
    found = rows(line(1, "begin"), new, line(1_000_001, "begin"), line(1_000_002, "end"))
    assert [(row.outcome, row.attempt) for row in found] == [("unknown", 1), ("ok", 2)]
    assert found[0].text == "its machine died and never said how this ended"


def test_the_monotonic_clock_of_another_boot_measures_nothing() -> None:
    (row,) = rows(line(1, "begin", boot="b"), line(4, "end", boot="c", mono=3.0))
    assert row.duration is None and row.end == START + 4


def test_a_skip_is_told_once_and_not_for_what_this_run_finished() -> None:
    found = rows(line(1, "begin"), line(2, "end"), line(3, "skip"), line(4, "skip", step="other"))
    assert [(row.step, row.outcome, row.duration) for row in found] == [
        (UPGRADE, "ok", 1.0),
        ("other", "skipped", None),
    ]


def test_lines_of_another_run_are_not_this_run() -> None:
    assert rows(line(1, "begin", run="older"), line(2, "end", run="older")) == ()


def test_a_drain_is_done_on_the_balancer_and_is_about_the_host() -> None:
    drains = [row for row in keystone_run().summary().steps if row.phase == "drain"]
    assert {(row.host, row.on) for row in drains} == {(f"ctrl{n}", "lb1") for n in (1, 2, 3)}


def claim(at: float, kind: str, host: str) -> Event:
    return Event(at=START + at, kind=kind, actor="coordinator:c", action=f"control/controller/{host}", host=host)  # type: ignore[arg-type]


def worst(*events: Event) -> tuple[int, tuple[str, ...]]:
    plan = keystone_run().plan
    found = {row.name: row for row in losses(plan, absences(plan, {}, events, START + 100))}
    return found["controller"].lost, found["controller"].hosts


def test_a_refilled_slot_is_not_two_hosts_out() -> None:
    assert worst(claim(1, "claimed", "ctrl1"), claim(5, "done", "ctrl1"), claim(5, "claimed", "ctrl2"))[0] == 1


def test_a_failed_host_stays_out_until_the_end() -> None:
    found = worst(claim(1, "claimed", "ctrl1"), claim(5, "failed", "ctrl1"), claim(9, "claimed", "ctrl2"))
    assert found == (2, ("ctrl1", "ctrl2"))


def test_a_waiver_of_the_whole_host_brings_it_back() -> None:
    waived = Event(at=START + 6, kind="skipped", actor="operator:ada", host="ctrl1", text="waived")
    assert (
        worst(claim(1, "claimed", "ctrl1"), claim(5, "failed", "ctrl1"), waived, claim(9, "claimed", "ctrl2"))[0] == 1
    )


def test_a_host_that_was_replaced_is_out_from_that_word_on() -> None:
    again = Event(
        at=START + 6, kind="again", actor="operator:ada", action="control/controller/ctrl1", host="ctrl1", token=1
    )
    done = [claim(1, "claimed", "ctrl1"), claim(5, "done", "ctrl1")]
    assert worst(*done, claim(7, "claimed", "ctrl2"))[0] == 1
    assert worst(*done, again, claim(7, "claimed", "ctrl2")) == (2, ("ctrl1", "ctrl2"))
    never_begun = replace(again, token=0)
    assert worst(*done, never_begun, claim(7, "claimed", "ctrl2"))[0] == 1


def test_bad_health_is_a_loss_too() -> None:
    ill = Event(at=START + 2, kind="unhealthy", actor="coordinator:c", host="ctrl3")
    assert worst(claim(1, "claimed", "ctrl1"), ill)[1] == ("ctrl1", "ctrl3")


def test_records_stand_in_where_events_are_missing() -> None:
    made = keystone_run()
    found = absences(made.plan, made.actions, (), made.now)
    assert sorted(host for _, _, host in found["control/controller"]) == ["ctrl1", "ctrl2", "ctrl3"]


def test_the_state_of_a_host() -> None:
    cases: list[tuple[list[tuple[bool, str]], HostState]] = [
        ([], "untouched"),
        ([(False, "done"), (True, "pending")], "pending"),
        ([(False, "done"), (True, "done"), (False, "pending")], "upgraded"),
        ([(True, "done"), (False, "failed")], "failed"),
        ([(True, "failed"), (False, "unknown")], "unknown"),
        ([(True, "soaking")], "upgrading"),
        ([(True, "done"), (True, "skipped")], "skipped"),
    ]
    for states, wanted in cases:
        assert host_state(states) == wanted, states  # type: ignore[arg-type]


def test_a_clock_that_is_behind_is_told() -> None:
    made = keystone_run()
    made.lines["ctrl1"] = [replace(found, at=found.at - 30) for found in made.lines["ctrl1"]]
    s = made.summary()
    assert any(text.startswith("ctrl1's clock is 30 s behind the coordinator's") for text in s.warnings)
    moved = max(abs(one.start - two.start) for one, two in zip(s.steps, keystone_run().summary().steps, strict=True))
    assert moved < 0.2, "its steps are shown by the coordinator's clock"
    assert not any("clock" in text for text in keystone_run().summary().warnings)


def test_foreign_text_is_clean_in_every_row() -> None:
    made = keystone_run(broken=True)
    bad = "\x1b[31m\u202eevil\x07"
    made.lines["ctrl1"] = [replace(found, text=bad, task=bad if found.task else "") for found in made.lines["ctrl1"]]
    made.events = [replace(found, text=bad, actor="operator:" + bad) for found in made.events]
    made.outages = [replace(found, errors={bad: 1}) for found in made.outages]
    made.run = replace(made.run, reason=bad)
    assert (
        "\x1b" not in str(made.summary()) and "\\x1b" not in str(made.summary()) and "\u202e" not in str(made.summary())
    )


def test_a_fleet_is_summarised_in_one_line() -> None:
    s = fleet_run(fails=True).summary()
    assert s.verdict == "halted" and len(s.hosts) == 500
    assert len(s.result) < 100 and "longest comp017" in s.result


def test_a_halt_is_said_once() -> None:
    made = fleet_run(fails=True)
    made.run = replace(made.run, reason="halted: 1 host in trouble (comp003 failed), the failure budget is 1")
    headline = made.summary().headline
    assert headline.count("halted") == 1 and "(1 host in trouble (comp003 failed), the" in headline


def test_a_run_that_never_began() -> None:
    made = keystone_run()
    s = summarise(made.plan, replace(made.run, state="running", started=0.0, ended=0.0), {}, (), {}, (), (), (), START)
    assert (s.duration, s.started, s.steps, s.requests) == (None, None, (), None)
    assert all(row.took is None for row in s.hosts)
    assert "in not known" not in s.headline


def test_limits_that_were_changed_are_told() -> None:
    made = keystone_run()
    made.events.append(Event(at=made.now, kind="policy", actor="operator:ada", text="limit of controller is 2"))
    assert any(text.startswith("limits were changed") for text in made.summary().warnings)
