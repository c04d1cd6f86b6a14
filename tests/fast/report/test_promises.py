"""Downtime where none was expected: told from the outages that users met, and never from what nobody saw."""

from __future__ import annotations

import pytest

from support.sample_run import SampleRun, keystone_run
from underway.core.model.base import replace
from underway.core.model.sample import Attribution, Cause


def blamed(made: SampleRun, attribution: Attribution, *actions: str) -> SampleRun:
    """The run, with the first outage of a service put on these actions, and no other outage."""
    found = next(outage for outage in made.outages if not outage.host)
    causes = tuple(Cause(action=action, host="ctrl1", service="keystone") for action in actions)
    made.outages = [replace(found, attribution=attribution, causes=causes)]
    return made


@pytest.mark.parametrize(
    ("attribution", "actions"),
    [
        ("caused", ["expand/controller/ctrl1"]),
        ("shared", ["control/controller/ctrl2", "expand/controller/ctrl1"]),
    ],
)
def test_an_outage_by_the_work_of_one_is_told_before_all_else(attribution: Attribution, actions: list[str]) -> None:
    s = blamed(keystone_run(), attribution, *actions).summary()
    assert [(row.stage, row.kept, row.outages) for row in s.promises] == [
        ("prepare", True, ()),
        ("expand", False, ("O1",)),
    ]
    assert s.warnings[0] == "no downtime was expected in expand: O1 is put on work of that stage"


def test_an_outage_by_other_work_breaks_no_promise() -> None:
    s = blamed(keystone_run(), "caused", "control/controller/ctrl1").summary()
    assert [(row.stage, row.kept) for row in s.promises] == [("prepare", True), ("expand", True)]
    assert not [text for text in s.warnings if "no downtime" in text]


def test_what_nobody_saw_is_neither_kept_nor_broken() -> None:
    made = keystone_run()
    made.stats, made.outages = [], []
    assert [row.kept for row in made.summary().promises] == [None, None]


def test_a_stage_that_has_not_begun_promises_nothing_yet() -> None:
    made = keystone_run()
    made.actions = {name: record for name, record in made.actions.items() if name.startswith("preflight/")}
    assert made.summary().promises == ()
