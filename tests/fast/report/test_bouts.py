"""Outages that are one trouble to a reader are one row, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from underway.core.bouts import bouts
from underway.core.model.cluster import Probe
from underway.core.model.sample import Cause, Outage

PROBES = {"vip": Probe(name="vip", kind="http", every=0.1), "slow": Probe(name="slow", kind="http", every=5.0)}


def outage(start: float, end: float, action: str = "", probe: str = "vip", **more: object) -> Outage:
    causes = (Cause(action=action, host="h1", overlap=end - start),) if action else ()
    return Outage(
        probe=probe, service="s", start=start, end=end, errors={"status 502": 1}, failed=1, resolution=0.1,
        attribution="caused" if action else "unattributed", causes=causes, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_flapping_balancer_is_one_bout() -> None:
    found = bouts([outage(n * 0.3, n * 0.3 + 0.1, "control/s/h1") for n in range(10)], PROBES)
    assert len(found) == 1
    assert (found[0].intervals, round(found[0].down, 6), found[0].outage.failed) == (10, 1.0, 10)
    assert (found[0].outage.start, round(found[0].outage.end, 6)) == (0.0, 2.8)
    assert found[0].outage.errors == {"status 502": 10}
    assert round(found[0].outage.causes[0].overlap, 6) == 1.0


def test_other_work_another_probe_or_a_pause_is_another_bout() -> None:
    told = [
        outage(0.0, 0.1, "control/s/h1"),
        outage(0.3, 0.4, "control/s/h2"),
        outage(0.3, 0.4, "control/s/h1", probe="slow"),
        outage(2.2, 2.3, "control/s/h1"),
        outage(0.5, 0.6),
    ]
    assert [bout.intervals for bout in bouts(told, PROBES)] == [1, 1, 1, 1, 1]


def test_a_slow_probe_is_patient_and_an_open_outage_ends_a_bout() -> None:
    assert len(bouts([outage(0, 5, probe="slow"), outage(15, 20, probe="slow")], PROBES)) == 1
    assert len(bouts([outage(0, 5, probe="slow"), outage(21, 25, probe="slow")], PROBES)) == 2
    assert bouts([outage(0, 0.1), outage(0.3, 0.4, open=True)], PROBES)[0].outage.open


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 3), st.sampled_from(["", "a/s/h", "b/s/h"])), max_size=30))
def test_nothing_is_lost(drawn: list[tuple[float, float, str]]) -> None:
    told = [outage(start, start + length, action) for start, length, action in drawn]
    found = bouts(told, PROBES)
    assert sum(bout.intervals for bout in found) == len(told)
    assert sum(bout.outage.failed for bout in found) == len(told)
    assert abs(sum(bout.down for bout in found) - sum(one.end - one.start for one in told)) < 1e-6
