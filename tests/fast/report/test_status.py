"""status and the live view: the whole truth after a crash, what to type, and a screen that always fits."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pytest

from support.sample_run import START, SampleRun, fleet_run, keystone_run
from support.spite import spiteful_run
from underway.cli.live import LiveView, Mode, bar, event_line, frame
from underway.cli.view import status_json, status_lines
from underway.core.model.base import replace
from underway.core.model.decision import Decision, Reason
from underway.core.model.event import Event
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Approval, Hold
from underway.core.outlook import Extras, outlook
from underway.core.rules import decide


def snapshot(made: SampleRun, holds: Mapping[str, Hold] | None = None) -> Snapshot:
    return Snapshot(revision=1, run=made.run, actions=made.actions, holds=holds or {})


def status(made: SampleRun, extras: Extras | None = None, holds: Mapping[str, Hold] | None = None) -> str:
    seen = snapshot(made, holds)
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    lines = status_lines(made.plan, seen, decision, extras, made.now)
    assert all(len(line) <= 80 and (line == "" or line.isprintable()) for line in lines)
    return "\n".join(lines)


def commands(made: SampleRun, extras: Extras | None = None, holds: Mapping[str, Hold] | None = None) -> list[str]:
    seen = snapshot(made, holds)
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    return [command.line for command in outlook(made.plan, seen, decision, extras, made.now).commands]


def seen_by_probes(made: SampleRun, coordinator: bool | None = None) -> Extras:
    return Extras(coordinator=coordinator, outages=made.outages, stats=made.stats)


# --- the truth ---------------------------------------------------------------------------------------------------


def test_after_a_crash_of_the_coordinator() -> None:
    made = fleet_run(until=1720)
    told = status(made, seen_by_probes(made, coordinator=False))
    assert "no coordinator is at work: hosts at work go on, no other starts until one is" in told
    assert "Hosts   27 upgrading, 227 pending, 246 upgraded" in told
    assert "Slots   compute 30 of 30" in told
    assert "comp101 running for 1 min 16 s, “ask for the release”" in told
    assert "wait for a slot: role compute has 30 of 30 unavailable (30 at work)" in told
    assert commands(made, seen_by_probes(made, coordinator=False)) == ["underway upgrade"]
    assert commands(made, seen_by_probes(made, coordinator=True)) == [], "it goes on by itself"


def test_a_failed_host_says_where_why_and_what_to_type() -> None:
    made = keystone_run(broken=True)
    told = status(made, seen_by_probes(made))
    assert "halted: 1 host in trouble (ctrl2 failed)" in told
    assert "ctrl2 failed at “turn the link”" in told and "keeps its slot" in told
    assert commands(made) == [
        "underway retry ctrl2", "underway skip ctrl2 --reason TEXT", "underway rollback --reason TEXT",
    ]  # fmt: skip


def test_an_unknown_step_asks_whether_it_happened() -> None:
    made = fleet_run(fails=True)
    assert commands(made)[:3] == [
        "underway retry comp060 --rerun", "underway retry comp060 --skip", "underway skip comp060 --reason TEXT",
    ]  # fmt: skip


def test_a_host_that_will_be_tried_again_is_not_asked_for_twice() -> None:
    made = keystone_run(broken=True)
    action = "control/controller/ctrl2"
    made.actions[action] = replace(made.actions[action], retry=True)
    assert "will be tried again" in status(made) and not any("retry" in line for line in commands(made))


def test_a_paused_run() -> None:
    made = fleet_run(until=640)
    made.run = replace(made.run, state="paused", by="ada", reason="looking at the dashboards")
    assert "paused: by ada: looking at the dashboards" in status(made)
    assert commands(made, Extras(coordinator=True)) == ["underway resume"]


def test_a_hold_says_by_whom_and_how_to_lift_it() -> None:
    made = fleet_run(until=640)
    holds = {"comp300": Hold(host="comp300", reason="new RAM", by="ada", at=START + 100)}
    assert "comp300 by ada 9 min ago: new RAM" in status(made, holds=holds)
    assert "underway release comp300 --reason TEXT" in commands(made, holds=holds)
    star = {"*": Hold(host="*", reason="", by="ada", at=START)}
    assert "underway release '*' --reason TEXT" in commands(made, holds=star)


def test_the_point_of_no_return_waits_for_its_own_command() -> None:
    made = keystone_run()
    made.run = replace(made.run, state="running", ended=0.0)
    for action in [name for name in made.actions if name.startswith(("contract", "verify"))]:
        del made.actions[action]
    assert commands(made) == ["underway finalize"]
    seen = replace_approvals(snapshot(made), "contract")
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    assert outlook(made.plan, seen, decision, None, made.now).commands == ()


def replace_approvals(seen: Snapshot, stage: str) -> Snapshot:
    return Snapshot(
        revision=1, run=seen.run, actions=seen.actions, approvals={stage: Approval(stage=stage, by="ada", at=START)}
    )  # fmt: skip


def test_after_the_point_of_no_return_nobody_is_told_to_roll_back() -> None:
    made = keystone_run()
    made.run = replace(made.run, state="running", ended=0.0)
    made.actions["contract/keystone/ctrl1"] = ActionRecord(state="failed", claimed=START, step="x", reason="no")
    assert not any("rollback" in line for line in commands(made))


@pytest.mark.parametrize("state", ["skipped", "failed", "unknown", "pending"])
def test_a_run_is_never_called_done_with_a_host_behind(state: str) -> None:
    made = keystone_run()
    made.actions["control/controller/ctrl3"] = ActionRecord(state=state)  # type: ignore[arg-type]
    told = status(made)
    assert "\nover, with hosts behind: ctrl3 not on the new release\n" in told and "\ndone\n" not in told
    assert "\ndone\n" in status(keystone_run())


def test_outages_so_far_and_what_nobody_observed() -> None:
    made = keystone_run(broken=True)
    assert "2 outages that ended, the longest 1.2 s ± 100 ms (token at 09:01:25)" in status(made, seen_by_probes(made))
    assert "not observed: no probe has asked" in status(made, Extras())
    made.outages = [replace(made.outages[0], open=True, end=0.0)]
    assert "token down since 09:01:25" in status(made, seen_by_probes(made))
    assert "no prober is at work" in status(made, Extras(prober=False))


def test_outages_are_counted_as_the_report_counts_them() -> None:
    made = keystone_run(broken=True)
    first = replace(made.outages[0], open=False)
    flapping = [replace(first, start=first.start + at, end=first.start + at + 0.2) for at in (0, 0.5, 1.0)]
    made.outages = [*flapping, *made.outages[1:]]
    users = [row for row in made.summary().outages if not row.host]
    assert len(users) < len([outage for outage in made.outages if not outage.host])
    assert f"{len(users)} outages that ended" in status(made, seen_by_probes(made))


def test_the_machine_form_leaves_nothing_out() -> None:
    made = fleet_run(until=1720)
    seen = snapshot(made)
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    told = json.loads(json.dumps(status_json(made.plan, seen, decision, seen_by_probes(made, False), made.now)))
    granted = {grant.host for grant in decision.grants}
    assert set(told["reasons"]) | granted == set(made.plan.hosts)
    assert len(told["at_work"]) == 27 and told["slots"]["compute"] == {"used": 30, "limit": 30}
    assert told["next"][0]["command"] == "underway upgrade" and told["verdict"] == "running"


def test_spiteful_texts_move_no_cursor() -> None:
    made = spiteful_run()
    status(made, seen_by_probes(made), {"ctrl3": Hold(host="ctrl3", reason="\x1b[2J", by="\x07\u202e", at=START)})


# --- the screen --------------------------------------------------------------------------------------------------


def blocked(made: SampleRun, distinct: int) -> Decision:
    """50 hosts that wait, each for its own sentence: what is worst for a screen."""
    decision = decide(made.plan, snapshot(made), made.plan.policy, made.now)
    reasons = dict(decision.reasons)
    for host in list(reasons)[-50:]:
        sentence = f"rack of {host if distinct else 'all'} has lost power, and it is not known since when it has"
        reasons[host] = Reason("host-unhealthy", sentence)
    return Decision(revision=1, grants=(), reasons=reasons, stage=decision.stage, slots=decision.slots)


@pytest.mark.parametrize(("width", "height"), [(80, 40), (80, 24), (60, 15), (200, 60)])
@pytest.mark.parametrize("distinct", [0, 1])
def test_500_hosts_with_50_blocked_fit(width: int, height: int, distinct: int) -> None:
    made = fleet_run(until=1720)
    lines = frame(made.plan, snapshot(made), blocked(made, distinct), seen_by_probes(made), made.now, width, height)
    assert len(lines) <= height and all(len(text) <= width for text, _ in lines)
    told = "\n".join(text for text, _ in lines)
    assert "has lost power" in told, "the top reason is always there"
    assert "27 upgrading, 227 pending, 246 upgraded" in told
    if (width, height) == (80, 40):
        assert "comp101 running" in told and "outages that ended" in told and "Slots   compute 30 of 30" in told
        if distinct:
            assert "49 hosts for a like reason" in " ".join(told.split())


def test_a_screen_says_what_is_at_work_and_for_how_long() -> None:
    made = fleet_run(until=1720)
    work = [("comp101", "", "Restart nova", made.now - 7)]
    lines = frame(made.plan, snapshot(made), blocked(made, 0), Extras(at_work=work), made.now)
    assert any(
        "comp101 running for 1 min 16 s, “ask for the release” › Restart nova (7.0 s)" in text for text, _ in lines
    )


def test_a_bar_is_full_only_at_the_end() -> None:
    assert bar(999, 1000, 20) == "━" * 19 + "─" and bar(1000, 1000, 20) == "━" * 20 and bar(0, 0, 5) == "─" * 5


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(mode: Mode, out: io.StringIO, made: SampleRun) -> None:
    seen = snapshot(made)
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    view = LiveView(made.plan, out, mode, 80, 24)
    for second in range(3):
        view.update(seen, decision, None, (), made.outages, made.now + second)
        view.event(made.events[-1 - second])
    view.update(seen, decision, None, (), made.outages, made.now + 100)
    view.close()


def test_plain_is_one_line_per_event_and_a_sign_of_life() -> None:
    out = io.StringIO()
    made = keystone_run(broken=True)
    drive("plain", out, made)
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["progress", "run-halted", "failed", "started", "progress"]
    assert lines[2] == (
        "2026-11-21T09:01:29.266Z failed       control/controller/ctrl2: task “Restart keystone” ended with 1: "
        "Job for keystone.service failed (host:ctrl2)"
    )


def test_json_is_one_object_a_line() -> None:
    out = io.StringIO()
    drive("json", out, keystone_run(broken=True))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["kind"] for entry in told] == ["progress", "event", "event", "event", "progress"]
    assert told[1]["event"] == "run-halted" and told[0]["verdict"] == "halted"


def test_rich_redraws_on_a_terminal_and_leaves_the_last_picture() -> None:
    out = Terminal()
    drive("rich", out, keystone_run(broken=True))
    told = out.getvalue()
    assert "\x1b[" in told and "What to do" in told and "underway retry ctrl2" in told
    assert told.count("run-halted") == 1, "a loud event stays above the screen"


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_only_our_own_escape_sequences_reach_a_terminal(mode: Mode) -> None:
    out = Terminal()
    drive(mode, out, spiteful_run())
    assert not [bad for bad in ("\x1b]", "\x07", "\u202e", "\x9b", "\x1b[31mred") if bad in out.getvalue()]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("mode", ["plain", "json", "rich"])
def test_a_reader_who_has_gone_does_not_stop_the_run(mode: Mode) -> None:
    drive(mode, Closed(), keystone_run(broken=True))


def test_an_output_without_our_characters_gets_others() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    view = LiveView(keystone_run().plan, out, "plain")
    view.event(Event(at=START, kind="failed", actor="host:a", action="p/a", host="a", text="“quoted”"))
    assert raw.getvalue().endswith(b"?quoted? (host:a)\n")


def test_an_events_line_names_who_only_where_it_matters() -> None:
    event = Event(at=START, kind="claimed", actor="coordinator:c-1", action="p/a", host="a", text="slot free")
    assert event_line(event) == "2026-11-21T09:00:00.000Z claimed      p/a: slot free"
