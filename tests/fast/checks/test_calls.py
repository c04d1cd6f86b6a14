"""The figures and status lines in the words of Nova's probe tool (C18), worked out by hand."""

from __future__ import annotations

import pytest

from underway.core import calls
from underway.core.availability import account
from underway.core.model.cluster import Probe, ServerAsk
from underway.core.model.sample import Sample

PROBES = {
    "list": Probe(name="list", kind="http", service="nova", every=1.0),
    "create": Probe(name="create", kind="server", service="nova", every=10.0, server=ServerAsk(flavor="1")),
    "direct": Probe(name="direct", kind="http", service="nova", host="c1", every=1.0),
    "alone": Probe(name="alone", kind="http", service="placement", host="c1", every=1.0),
}
BEGUN = 1_893_553_445.0  # 2030-01-02T03:04:05Z


def sample(probe: str, second: float, bad: str = "", built: float = 0.0, result: str = "") -> Sample:
    word = result or ("bad" if bad else "ok")
    due = BEGUN + second
    return Sample(probe=probe, due=due, sent=due, took=0.1, result=word, error=bad, built=built)  # type: ignore[arg-type]


SAMPLES = [
    *(sample("list", second, "status 503" if second in (4, 5) else "") for second in range(20)),
    sample("create", 0, built=2.0),
    sample("create", 10, built=4.0),
    *(sample("direct", second, "refused") for second in range(20)),
    *(sample("alone", second, "refused" if second < 5 else "") for second in range(20)),
]


def test_the_fields() -> None:
    ledger = account(SAMPLES, PROBES, BEGUN + 20, BEGUN)
    nova, placement = calls.services(ledger.stats.values(), ledger.outages, ledger.gaps)
    assert nova.project == "nova"
    assert (nova.total_requests, nova.successful_requests, nova.failed_requests) == (22, 20, 2)
    assert nova.success_pct == 90.91
    assert (nova.start_time, nova.end_time) == ("2030-01-02T03:04:05.000Z", "2030-01-02T03:04:25.000Z")
    assert (nova.down_time, nova.uptime_pct) == (2.0, 90.0)
    assert nova.avg_build_time == 3.0, "a mean, not a sum"
    assert (placement.down_time, placement.uptime_pct, placement.avg_build_time) == (5.0, 75.0, None)


def test_no_attempt_is_no_division_by_zero() -> None:
    ledger = account([], PROBES, BEGUN + 20, BEGUN)
    assert calls.services(ledger.stats.values(), ledger.outages, ledger.gaps) == ()
    lost = [sample("list", second, "local: x", result="lost") for second in range(3)]
    ledger = account(lost, PROBES, BEGUN + 20, BEGUN)
    (nova,) = calls.services(ledger.stats.values(), ledger.outages, ledger.gaps)
    assert (nova.total_requests, nova.success_pct, nova.uptime_pct, nova.down_time) == (0, None, None, 0.0)


def test_the_status_lines() -> None:
    ledger = account(SAMPLES, PROBES, BEGUN + 20, BEGUN)
    lines = list(calls.status_lines(SAMPLES, PROBES, ledger.outages, BEGUN))
    assert len(lines) == 22, "back-ends asked directly have no line"
    bad = [line for line in lines if not line["nova_status"]]
    assert bad[1] == {
        "service": "nova",
        "nova_status": 0,
        "timestamp": "2030-01-02T03:04:10.000Z",
        "error": "status 503",
        "nova_total_down": 2.0,
        "nova_duration": 6.0,
        "time_run_started": "2030-01-02T03:04:05.000Z",
    }
    totals = [line["nova_total_down"] for line in lines if line["timestamp"] < "2030-01-02T03:04:09"]
    assert totals[0] == 0.0 and lines[-1]["nova_total_down"] == 2.0


@pytest.mark.parametrize(
    ("each", "seconds"),
    [
        ([], 0.0),
        ([[(0, 5)], []], 0.0),
        ([[(0, 5)]], 5.0),
        ([[(0, 5), (4, 8)], [(3, 9)]], 5.0),
        ([[(0, 2), (6, 8)], [(1, 7)], [(0, 9)]], 2.0),
    ],
)
def test_what_nobody_saw(each: list[list[tuple[float, float]]], seconds: float) -> None:
    assert calls.common(each) == seconds
