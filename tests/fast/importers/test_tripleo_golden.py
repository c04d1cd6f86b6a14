"""The golden plan of TripleO 6.2.0, and the counts of both trees of fixtures (B9-B13, B19)."""

from __future__ import annotations

import json

import pytest

from fast.importers.tripleo_made import FIXTURES, GOLDEN, OCATA, collected
from underway.importers.tripleo.report import roles_report, whole_report

here = pytest.mark.skipif(not GOLDEN.exists(), reason=f"NOT RUN: no fixtures at {GOLDEN}")


def test_fixtures_are_here() -> None:
    assert GOLDEN.exists(), f"the fixtures are not in {FIXTURES}; set UNDERWAY_FIXTURES"


@here
def test_golden_plan_of_ocata_is_met_exactly() -> None:
    found = {
        "default": roles_report(collected(OCATA)),
        "puppet-ceph": roles_report(collected(OCATA, OCATA / "environments" / "puppet-ceph.yaml")),
    }
    assert found == json.loads(GOLDEN.read_text())


@here
def test_every_template_of_ocata_is_imported_whole() -> None:
    report = whole_report(collected(OCATA))
    assert report["notation"] == "tags"
    assert report["templates"] == {
        "with_tasks": 76,  # 74 with upgrade tasks, and ceph-mon and ceph-osd with batch tasks alone
        "imported": 76,
        "without_asked": 0,
        "refused": 0,
        "aggregators": ["puppet/services/services.yaml"],
        "tasks": {"upgrade_batch_tasks": 20, "upgrade_tasks": 240},
    }
    assert report["unresolved"] == report["problems"] == []
