"""Faults for the laboratory: each is in its service files where the truth says, and reports are compared strictly."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from labkit.topology import SMALL
from scenarios.attribution import certificates, page, site
from scenarios.attribution.fault import Fault, Insert
from scenarios.attribution.faults import FAULTS, LOCK, STRANGER, TOGETHER, UNDRAINED
from scenarios.attribution.outside import DEEDS, soaks
from scenarios.attribution.verdict import Finding, judge
from underway.config.load import load
from underway.core.model.plan import Plan
from underway.core.planner import build_plan

BEGAN = 1000.0
ABOUT = page.About("2025.1", "2026.1")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def planned(home: Path, fault: Fault) -> Plan:
    secrets = home / "secrets"
    secrets.mkdir()
    (secrets / "admin").write_text("x")
    if fault.certificates:
        (home / "ca.pem").write_bytes(certificates.make(NOW)["ca.pem"])
    site.write(SMALL, home, "2025.1", "2026.1", fault, secrets)
    inputs = load(home / "cluster.yaml")
    assert inputs.problems == ()
    return build_plan(inputs.cluster, inputs.catalogue, "2026.1", digests=inputs.digests)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_plan_has_the_tasks_that_the_truth_names(tmp_path: Path, fault: Fault) -> None:
    plan = planned(tmp_path, fault)
    tasks = {
        (step.service, step.name, task["name"]) for step in plan.steps.values() for task in step.tasks if "name" in task
    }
    assert {(at.service, at.step, at.task) for at in fault.truth} <= tasks
    assert len(fault.truth) == {"caused": 1, "shared": 2, "unattributed": 0}[fault.attribution]
    assert fault.timed_on and fault.outside in ("", *DEEDS)


def test_only_the_wanted_hosts_are_left_out(tmp_path: Path) -> None:
    [step] = site.catalogue(UNDRAINED)["keystone"]["phases"]["drain"]["steps"]
    assert [task["when"] for task in step["tasks"]] == [["openstack_drain", "underway_target not in ['c2']"]] * 2


def test_a_fault_at_a_task_that_is_not_there_is_an_error() -> None:
    wrong = replace(LOCK, edits=(Insert("keystone", "expand", "move the data", "Mograte", ()),))
    with pytest.raises(ValueError, match="Mograte"):
        site.catalogue(wrong)


def cause(fault: Fault, number: int = 0) -> dict[str, Any]:
    at = fault.truth[number]
    return {"host": at.host, "service": at.service, "step": at.step, "task": at.task}


def outage(fault: Fault, start: float = BEGAN + 0.1, **changes: Any) -> dict[str, Any]:
    return {
        "label": "O1", "probe": "front", "host": "", "start": start, "end": start + 3, "resolution": 0.05,
        "attribution": fault.attribution, "causes": [cause(fault, number) for number in range(len(fault.truth))],
        "cause": "what it says", **changes,
    }  # fmt: skip


def found(fault: Fault, *outages: dict[str, Any], verdict: str = "done") -> Finding:
    report = {
        "run": "r", "verdict": verdict, "reason": "why", "outages": list(outages), "requests": 100, "failed": 3,
        "duration": 60.0,
    }  # fmt: skip
    return judge(fault, report, BEGAN, BEGAN + 6, "commit 123")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_report_that_says_the_truth_is_right(fault: Fault) -> None:
    finding = found(fault, outage(fault))
    assert finding.right and finding.wrong == ()
    assert finding.lasted == 6 and finding.met == pytest.approx(3) and finding.late == pytest.approx(0.1)


def test_the_right_host_with_another_task_is_wrong() -> None:
    finding = found(UNDRAINED, outage(UNDRAINED, causes=[{**cause(UNDRAINED), "task": "Start it"}]))
    assert finding.wrong == ("O1 front: what it says",)


def test_one_wrong_outage_among_right_ones_is_wrong() -> None:
    other = outage(UNDRAINED, label="O2", attribution="unattributed", causes=[])
    assert found(UNDRAINED, outage(UNDRAINED), other).wrong == ("O2 front: unattributed",)


def test_half_of_what_shares_it_is_wrong() -> None:
    assert not found(TOGETHER, outage(TOGETHER, causes=[cause(TOGETHER)])).right
    assert not found(TOGETHER, outage(TOGETHER, attribution="caused", causes=[cause(TOGETHER)])).right


def test_a_report_without_an_outage_is_wrong() -> None:
    assert found(LOCK).wrong == ("no outage was reported",)


def test_a_run_that_is_not_done_is_wrong() -> None:
    assert found(LOCK, outage(LOCK), verdict="halted").wrong == ("the run is not done, but halted: why",)


def test_an_outage_at_another_time_was_not_injected() -> None:
    assert found(LOCK, outage(LOCK, BEGAN - 60)).wrong == ("O1 front: -60.0 s from the fault: it was not injected",)


def test_a_back_end_may_be_away_for_the_work_on_its_own_host_only() -> None:
    own: dict[str, Any] = {"label": "B1", "probe": "keystone-c3", "host": "c3", "attribution": "caused"}
    work = {"host": "c3", "service": "keystone", "step": "restart on the new release", "task": "Start it"}
    assert found(LOCK, outage(LOCK), outage(LOCK, BEGAN + 60, **own, causes=[work])).right
    assert not found(LOCK, outage(LOCK), outage(LOCK, BEGAN + 60, **own, causes=[{**work, "host": "c2"}])).right


def test_what_somebody_else_did_to_a_back_end_is_nobody_s_work() -> None:
    said: dict[str, Any] = {"label": "B1", "probe": "keystone-c2", "host": "c2"}
    work = {"host": "c2", "service": "keystone", "step": "restart on the new release", "task": "Start it"}
    away = outage(STRANGER, **said)
    assert found(STRANGER, outage(STRANGER), away).right
    assert not found(STRANGER, outage(STRANGER), {**away, "attribution": "caused", "causes": [work]}).right


def test_a_host_soaks_when_the_balancer_has_it_back(tmp_path: Path) -> None:
    path = tmp_path / ".underway/runs/one/journals/lb1.jsonl"
    path.parent.mkdir(parents=True)
    drained = {"kind": "leg-end", "action": "control/controller/c1"}
    path.write_text(
        json.dumps(drained) + "\n" + json.dumps({"kind": "leg-end", "action": "prepare/x/c1", "leg": 2}) + "\n"
    )
    assert not soaks(tmp_path, "c1")
    with path.open("a") as file:
        file.write(json.dumps({**drained, "leg": 2}) + "\n")
    assert soaks(tmp_path, "c1") and not soaks(tmp_path, "c2")


def test_the_page_has_a_row_for_each_fault_and_says_what_was_not_run() -> None:
    right, wrong = found(LOCK, outage(LOCK)), found(UNDRAINED)
    text = page.text(FAULTS, {"lock": right, "undrained": wrong}, ABOUT)
    assert "**1 of 2 right**; 8 not run." in text
    assert text.count("not run |") == 8
    assert text.count("never by hand: commit 123.") == 1
    assert "| no outage | **no** |" in text and "a back-end not drained\n: no outage was reported" in text
    rows = json.loads(page.data(FAULTS, {"lock": right}, ABOUT))["faults"]
    assert [row["right"] for row in rows] == [None, True, *[None] * 8]
    assert rows[1]["truth"][0]["host"] == "c1" and rows[1]["lasted"] == 6


def test_one_certificate_has_expired() -> None:
    made = certificates.make(NOW)
    until = {name: x509.load_pem_x509_certificate(content).not_valid_after_utc for name, content in made.items()}
    assert until["expired.pem"] < NOW < until["renewed.pem"]
