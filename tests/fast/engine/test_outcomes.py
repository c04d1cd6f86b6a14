"""What reports change: any sequence of them, late, twice and mixed up, makes only changes that may be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fast.engine.made import plan_of
from underway.core.model.state import BUSY, FINISHED, TRANSITIONS, ActionRecord, ActionState
from underway.engine.outcomes import PATIENCE, Patience, outcomes
from underway.executors.base import Report, ReportKind

PLAN = plan_of()
ROLLING, PREPARE = PLAN.passes["control/web"], PLAN.passes["prepare/web"]
KINDS: list[ReportKind] = [
    "accepted", "progress", "finished", "failed", "unknown", "refused", "unreachable", "busy",
]  # fmt: skip


def report(kind: ReportKind, token: int = 7, leg: int = 0, step: str = "") -> Report:
    return Report(run="r1", action="control/web/h1", leg=leg, token=token, host="h1", kind=kind, step=step)


reports = st.builds(
    report,
    st.sampled_from(KINDS),
    st.sampled_from([6, 7, 8]),
    st.integers(0, 2),
    st.sampled_from(["", "s.upgrade.turn"]),
)


@given(st.lists(st.tuples(reports, st.floats(0, 300)), max_size=30), st.sampled_from([ROLLING, PREPARE]))
@example([(report("unknown", 7, 0, "s.upgrade.turn"), 0.0), (report("unknown", 7, 0, ""), 0.0)], ROLLING)
@example([(report("unknown", 7, 0, ""), 0.0), (report("unknown", 7, 0, "s.upgrade.turn"), 0.0)], ROLLING)
def test_any_reports_make_only_changes_that_may_be(said: list[tuple[Report, float]], work: object) -> None:
    assert work in (ROLLING, PREPARE)
    chosen = ROLLING if work is ROLLING else PREPARE
    record = ActionRecord(state="claimed", token=7, claimed=1.0)
    finished_legs: set[int] = set()
    for number, (one, silent) in enumerate(said):
        before = record
        for outcome in outcomes(chosen, record, one, 100.0 + number, silent):
            # unknown out of silence becomes unknown at a step, once the host can be asked
            stays = record.state == outcome.record.state == "unknown" and not record.step
            assert stays or (record.state, outcome.record.state) in TRANSITIONS
            assert outcome.record.token == 7
            assert outcome.record.leg >= record.leg
            record = outcome.record
        if one.token != 7 or before.state in FINISHED or before.state in ("soaking", "failed"):
            assert record == before
        if one.kind == "finished" and one.token == 7 and one.leg == before.leg:
            finished_legs.add(one.leg)
        if one.kind in ("busy", "accepted", "progress", "unreachable"):
            assert record.leg == before.leg
            assert record.state not in ("failed", "soaking", "done") or record.state == before.state
    assert set(range(record.leg)) <= finished_legs, "a leg was passed that nobody had said was finished"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["pending", "done", "skipped", "soaking", "failed"])
def test_what_has_ended_is_not_moved_by_reports(state: ActionState, kind: ReportKind) -> None:
    assert outcomes(ROLLING, ActionRecord(state=state, token=7), report(kind), 1.0, 1e6) == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["unknown", "failed"])
def test_what_waits_to_be_tried_again_is_not_moved(state: ActionState, kind: ReportKind) -> None:
    record = ActionRecord(state=state, token=7, retry=True)
    assert outcomes(ROLLING, record, report(kind), 1.0, 1e6) == ()


@pytest.mark.parametrize("state", sorted(BUSY - {"soaking"}))
def test_silence_is_unknown_after_patience_and_never_failed(state: ActionState) -> None:
    record = ActionRecord(state=state, token=7)
    assert outcomes(ROLLING, record, report("unreachable"), 1.0, PATIENCE) == ()
    (outcome,) = outcomes(ROLLING, record, report("unreachable"), 1.0, PATIENCE + 0.1)
    assert outcome.record.state == "unknown"
    assert outcome.record.step == ""


def test_a_sign_of_life_lifts_silence_but_not_what_the_host_itself_called_unknown() -> None:
    silent = ActionRecord(state="unknown", token=7)
    (lifted,) = outcomes(ROLLING, silent, report("accepted"), 1.0)
    assert lifted.record.state == "running"
    told = ActionRecord(state="unknown", token=7, step="s.upgrade.turn")
    assert outcomes(ROLLING, told, report("accepted"), 1.0) == ()


def test_an_acceptance_that_was_lost_is_made_up_for() -> None:
    record = ActionRecord(state="claimed", token=7)
    assert [one.record.state for one in outcomes(PREPARE, record, report("finished"), 5.0)] == ["running", "done"]
    assert [one.kind for one in outcomes(ROLLING, record, report("finished"), 5.0)] == ["started", "leg-done"]
    assert [one.record.state for one in outcomes(ROLLING, record, report("failed"), 5.0)] == ["running", "failed"]


def test_a_rolling_pass_soaks_after_its_last_leg() -> None:
    record = ActionRecord(state="running", token=7, leg=1, duration=2.0)
    (outcome,) = outcomes(ROLLING, record, report("finished", leg=1), 9.0)
    assert (outcome.record.state, outcome.record.leg, outcome.record.finished) == ("soaking", 2, 9.0)


def test_a_refusal_fails_what_was_not_begun_and_makes_the_rest_unknown() -> None:
    (fresh,) = outcomes(ROLLING, ActionRecord(state="claimed", token=7), report("refused"), 1.0)
    assert fresh.record.state == "failed"
    (begun,) = outcomes(ROLLING, ActionRecord(state="running", token=7), report("refused"), 1.0)
    assert begun.record.state == "unknown"


def test_a_host_that_reboots_is_waited_for_as_long_as_its_step_may_take() -> None:
    record = ActionRecord(state="running", token=7, started=1.0)
    reboots = Patience(1200.0, reboots=True)
    assert outcomes(ROLLING, record, report("unreachable"), 1.0, 1200.0, reboots) == ()
    (outcome,) = outcomes(ROLLING, record, report("unreachable"), 1.0, 1200.1, reboots)
    assert outcome.record.state == "unknown", "its slot stays used (P7)"
    assert outcome.text.startswith("h1 has not come back from its reboot for 1200 s")
    (back,) = outcomes(ROLLING, outcome.record, report("accepted"), 2.0)
    assert back.record.state == "running"
