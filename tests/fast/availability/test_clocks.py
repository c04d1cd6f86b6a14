"""Clocks that differ are found from the tickets, within what they prove, and outages keep their cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from support.sample_run import SampleRun, keystone_run
from underway.core.attribution import attribute, spans
from underway.core.clocks import best, corrected, offsets
from underway.core.model.base import replace
from underway.core.model.event import HostLine
from underway.core.model.state import ActionRecord

T0 = 1_800_000_000.0

latency = st.floats(0.001, 2.0)


@given(
    ahead=st.floats(-7200.0, 7200.0),
    tickets=st.lists(st.tuples(st.floats(0.0, 3000.0), latency, latency), min_size=1, max_size=6),
)
def test_the_bounds_hold_the_truth_and_nothing_unproven_is_corrected(
    ahead: float, tickets: list[tuple[float, float, float]]
) -> None:
    lines, actions = [], {}
    for number, (at, took, noted) in enumerate(tickets):
        name = f"control/r/h{number}"
        claimed = T0 + at
        actions[name] = ActionRecord(state="done", token=1, claimed=claimed, started=claimed + took + noted)
        lines.append(HostLine(seq=number, at=claimed + took + ahead, mono=0, kind="accepted", action=name, token=1))
    found = offsets({"h": lines}, actions, "run")
    narrowest = min(took + noted for _, took, noted in tickets)
    if "h" in found:
        least, most = found["h"]
        assert least - 1e-6 <= ahead <= most + 1e-6 and most - least <= narrowest + 1e-6
        assert abs(best(found["h"]) - ahead) <= narrowest / 2 + 1e-6
    else:
        assert abs(ahead) <= narrowest + 1e-6, "a clock that is provably off was taken for right"


def test_a_clock_that_was_set_during_the_run_is_left_as_it_is() -> None:
    actions = {
        "control/r/a": ActionRecord(state="done", token=1, claimed=T0, started=T0 + 1),
        "data/r/a": ActionRecord(state="done", token=2, claimed=T0 + 100, started=T0 + 101),
    }
    lines = [
        HostLine(seq=1, at=T0 + 60.5, mono=0, kind="accepted", action="control/r/a", token=1),
        HostLine(seq=2, at=T0 + 100.5, mono=0, kind="accepted", action="data/r/a", token=2),
    ]
    assert corrected({"h": lines}, actions, "run") == ({"h": lines}, {})


def test_tickets_of_other_claims_prove_nothing() -> None:
    actions = {"control/r/a": ActionRecord(state="done", token=7, claimed=T0, started=T0 + 1)}
    line = HostLine(seq=1, at=T0 - 900, mono=0, kind="accepted", action="control/r/a", token=6)
    other = replace(line, token=7, run="another")
    assert offsets({"h": [line, other]}, actions, "run") == {}


def test_an_outage_keeps_its_cause_though_all_clocks_are_wrong() -> None:
    made = keystone_run()
    right = {o.probe: causes(made.lines, made, o.probe) for o in made.outages}
    assert any(right.values())
    for host, off in (("ctrl1", 47.0), ("ctrl2", -63.0), ("ctrl3", 25.0), ("lb1", -31.0)):
        made.lines[host] = [replace(line, at=line.at + off) for line in made.lines[host]]
    moved, skews = corrected(made.lines, made.actions, made.run.id)
    assert set(skews) == {"ctrl1", "ctrl2", "ctrl3", "lb1"}
    assert {o.probe: causes(moved, made, o.probe) for o in made.outages} == right
    assert {o.probe: causes(made.lines, made, o.probe) for o in made.outages} != right, "the correction did nothing"


def causes(lines: Mapping[str, Sequence[HostLine]], made: SampleRun, probe: str) -> list[tuple[str, str, str]]:
    """(attribution, host, step) of each outage of a probe, by these lines."""
    work = spans([line for journal in lines.values() for line in journal], made.plan, now=made.now)
    mine = [outage for outage in made.outages if outage.probe == probe]
    found = attribute(mine, work, made.plan.probes, made.plan.needs)
    return [(o.attribution, *((o.causes[0].host, o.causes[0].step) if o.causes else ("", ""))) for o in found]


def test_a_machine_that_was_replaced_had_a_clock_of_its_own() -> None:
    """The old one was an hour ahead, the new one is right: only the old one's lines are moved, and it is named."""
    actions = {
        "expand/s/a": ActionRecord(state="done", token=1, claimed=T0, started=T0 + 1),
        "control/r/a": ActionRecord(state="done", token=7, claimed=T0 + 100, started=T0 + 101),
    }
    old = HostLine(seq=1, at=T0 + 3600.5, mono=0, kind="accepted", action="expand/s/a", token=1)
    new = HostLine(seq=1_000_001, at=T0 + 100.5, mono=0, kind="accepted", action="control/r/a", token=7)
    moved, found = corrected({"a": [old, new]}, actions, "run")
    assert list(found) == ["the former a"]
    assert [line.at - T0 for line in moved["a"]] == [0.5, 100.5]
    assert corrected({"a": []}, actions, "run") == ({"a": []}, {})
