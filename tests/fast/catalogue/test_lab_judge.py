"""What a scenario makes of a report: each failure is said, and a probe that stopped early is no proof."""

from __future__ import annotations

from typing import Any

from scenarios.judge import of_report


def report(**changes: Any) -> dict[str, Any]:
    probes = [
        {"probe": "token", "host": "", "end": 2000.0},
        {"probe": "keystone-c1", "host": "c1", "end": 100.0},
        {"probe": "network", "host": "", "end": None},
    ]
    good = {"verdict": "done", "requests": 20_000, "failed": 0, "longest": None, "outages": [], "ended": 2000.0}
    good["promises"] = [{"stage": "expand", "kept": True, "outages": []}]
    return {**good, "probes": probes, **changes}


def said(found: dict[str, Any]) -> list[str]:
    return [one.text for one in of_report(found, 10_000) if not one.good]


def test_all_is_well() -> None:
    assert said(report()) == []


def test_too_few_requests_prove_nothing() -> None:
    assert said(report(requests=9_999)) == ["9,999 requests (wanted more than 10,000)"]


def test_a_failure_is_told_with_its_cause() -> None:
    outage = {
        "label": "O1", "probe": "token", "host": "", "length": 2.5, "cause": "c1: a step", "attribution": "caused",
        "errors": {"refused": 3},
    }  # fmt: skip
    assert said(report(failed=3, longest=outage, outages=[outage])) == [
        "3 failed, longest outage: 2.5 s (token)",
        "O1 token 2.5 s: c1: a step: {'refused': 3}",
    ]


def test_what_a_back_end_misses_while_it_is_drained_is_no_failure() -> None:
    outage = {"label": "B1", "probe": "keystone-c1", "host": "c1", "length": 9.0, "cause": "", "attribution": ""}
    assert said(report(outages=[outage])) == []


def test_downtime_where_none_was_expected_is_told() -> None:
    broken: dict[str, Any] = {"stage": "expand", "kept": False, "outages": ["O1", "O2"]}
    assert said(report(promises=[broken])) == ["expand, which stops nothing: not without downtime: O1, O2"]
    unseen: dict[str, Any] = {"stage": "prepare", "kept": None, "outages": []}
    assert said(report(promises=[unseen])) == ["prepare, which stops nothing: not without downtime: nobody observed"]


def test_a_probe_that_stopped_early_is_named() -> None:
    probes = [{"probe": "token", "host": "", "end": 1900.0}]
    assert said(report(probes=probes)) == ["1 probes asked to the end: not token"]
