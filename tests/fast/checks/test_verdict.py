"""What a run of checks means, compared with one before (C22), and the three cases of the sanity run (A28)."""

from __future__ import annotations

from typing import Any

import pytest

from underway.core import checking, sanity
from underway.core.model.base import replace
from underway.core.model.check import Case, CheckRun, Look, Moment, Outcome, ResourceRecord, Suite, SuiteResult, Tempest
from underway.core.rows import StepRow

SUITES = {"smoke": Suite(name="smoke", kind="tempest", known={"2": ("known.*",), "*": ("always",)})}


def checks(moment: Any, problem: str = "", suite: str = "smoke", **outcomes: Outcome) -> CheckRun:
    cases = tuple(
        Case(id=id_.replace("_", "."), outcome=outcome, text="why" if outcome != "passed" else "")
        for id_, outcome in outcomes.items()
    )
    result = SuiteResult(suite=suite, kind="tempest", cases=cases, problem=problem)
    return CheckRun(id=moment, cluster="c", moment=moment, release="2", started=0, ended=1, suites=(result,))


def ids(found: tuple[checking.Finding, ...]) -> list[str]:
    return [one.id for one in found]


def test_before_and_after() -> None:
    before = checks("before", a="passed", b="failed", c="passed", d="passed", e="skipped", f="missing", g="passed")
    after = checks(
        "after", a="passed", b="failed", c="failed", d="skipped", e="skipped", f="passed", h="failed", known_x="failed",
        always="failed",
    )  # fmt: skip
    verdict = checking.judge(after, before, SUITES)
    assert ids(verdict.regressions) == ["c", "d", "g"]
    assert ids(verdict.still) == ["b"]
    assert ids(verdict.failures) == ["h"]
    assert ids(verdict.known) == ["known.x", "always"]
    assert ids(verdict.mended) == ["f"]
    assert (verdict.passed, verdict.skipped, verdict.good) == (2, 2, False)
    said = list(checking.lines(verdict, "before"))
    assert "regression: smoke: c: failed (was passed): why" in said
    assert "regression: smoke: g: not run (was passed): it passed before and was not run now" in said
    assert said[-1] == ("2 passed, 2 skipped, 1 failed, 1 still failing, 2 known to fail, 3 regressions against before")


def test_what_failed_before_stops_nobody_after() -> None:
    verdict = checking.judge(checks("after", a="passed", b="failed"), checks("before", a="passed", b="failed"), SUITES)
    assert verdict.good


def test_a_first_run_fails_for_every_failure() -> None:
    assert not checking.judge(checks("before", a="failed"), None, SUITES).good
    assert not checking.judge(checks("before", a="missing"), None, SUITES).good
    assert checking.judge(checks("before", a="passed", b="skipped", always="failed"), None, SUITES).good


def test_a_suite_that_could_not_be_run() -> None:
    verdict = checking.judge(checks("after", problem="stestr: no such file"), checks("before", a="passed"), SUITES)
    assert not verdict.good
    assert verdict.regressions == (), "its tests were not run: that is one problem, not many"
    assert next(checking.lines(verdict, "")) == "could not be run: smoke: stestr: no such file"


def test_another_suite_is_not_compared() -> None:
    before = checks("before", suite="other", a="passed")
    assert checking.judge(checks("after", b="passed"), before, SUITES).good


@pytest.mark.parametrize(
    ("record", "case"),
    [
        (None, "first"),
        (ResourceRecord(release="2", present=True, at=0), "same"),
        (ResourceRecord(release="1", present=True, at=0), "upgraded"),
        (ResourceRecord(release="1", present=False, at=0), "first"),
        (ResourceRecord(release="2", present=False, at=0), "first"),
    ],
)
def test_the_three_cases(record: ResourceRecord | None, case: str) -> None:
    assert sanity.case_of(record, "2") == case


def test_a_suite_of_which_nothing_passed_tested_nothing() -> None:
    for now in (checks("before", a="skipped"), checks("before"), checks("before", always="failed")):
        verdict = checking.judge(now, None, SUITES)
        assert (verdict.good, verdict.idle) == (False, ("smoke",))
        assert "tested nothing: smoke: none of its tests passed" in list(checking.lines(verdict, ""))
    verdict = checking.judge(checks("before", a="skipped", b="failed"), None, SUITES)
    assert (verdict.good, verdict.idle) == (False, ()), "why is told already"
    assert checking.judge(checks("before", a="skipped", b="passed"), None, SUITES).good


def test_what_is_left_behind_is_told_and_stops_nobody() -> None:
    now = checks("before", a="passed")
    verdict = checking.judge(replace(now, suites=(replace(now.suites[0], left=2),)), None, SUITES)
    assert verdict.good
    said = "left behind: smoke: 2 things that it made and could not delete (its next run tries again)"
    assert said in list(checking.lines(verdict, ""))


OLD, NEW = ResourceRecord(release="1", present=True, at=0), ResourceRecord(release="2", present=True, at=0)


@pytest.mark.parametrize(
    ("moment", "record", "upgraded", "cases"),
    [
        ("before", None, True, ("first",)),
        ("before", OLD, True, ("upgraded", "first")),  # nobody looked after the last upgrade
        ("before", NEW, True, ("same",)),
        ("after", OLD, True, ("upgraded",)),
        ("after", None, True, ()),
        ("after", ResourceRecord(release="1", present=False, at=0), True, ()),
        ("after", NEW, True, ()),  # made after the upgrade: it outlived nothing
        ("after", NEW, False, ("same",)),  # given up, or rolled back to where it was made
    ],
)
def test_something_must_have_been_there_before(
    moment: Moment, record: ResourceRecord | None, upgraded: bool, cases: tuple[str, ...]
) -> None:
    assert sanity.cases_at(moment, record, "2", upgraded=upgraded) == cases


def test_nothing_is_destroyed_before_it_was_found() -> None:
    verbs = [verb for verb, _ in sanity.VERBS["upgraded"]]
    assert verbs.index("verify") < verbs.index("destroy")


def step(name: str, host: str, start: float, end: float | None, outcome: Any = "ok") -> StepRow:
    return StepRow(
        host=host, on=host, action=f"control/keystone/{host}", stage="control", leg=0, step=name, name=name,
        service="keystone", phase="upgrade", start=start, end=end, duration=None, outcome=outcome, attempt=1, changed=0,
        text="", tasks=(),
    )  # fmt: skip


STEPS = [
    step("expand", "c1", 5, 9),
    step("turn", "c1", 11, 19),
    step("turn", "c2", 21, 29),
    step("late", "c3", 31, None),
]


def look(start: float, *failed: str) -> Look:
    return Look(start=start, end=start + 0.5, failed=dict.fromkeys(failed, "gone"))


@pytest.mark.parametrize(
    ("looks", "attribution", "names"),
    [
        ([look(10), look(20, "vm"), look(30, "vm")], "caused", ["turn c1"]),
        ([look(10), look(30, "vm")], "shared", ["turn c1", "turn c2"]),
        ([look(30), look(33, "vm")], "caused", ["late c3"]),
        ([look(2), look(3, "vm")], "unattributed", []),
        ([look(10, "vm"), look(20, "vm")], "unattributed", []),
        ([look(20, "vm"), look(10)], "caused", ["turn c1"]),
    ],
    ids=["between two looks", "several", "at work", "none", "never whole", "out of order"],
)
def test_the_step_after_which_it_broke(looks: list[Look], attribution: str, names: list[str]) -> None:
    (found,) = sanity.broken(looks, STEPS)
    assert (found.id, found.attribution) == ("vm", attribution)
    assert [f"{row.name} {row.host}" for row in found.steps] == names


def test_what_breaks_twice_is_told_twice() -> None:
    found = sanity.broken([look(4), look(10, "vm"), look(12), look(20, "vm"), look(22, "vm", "net")], STEPS)
    assert [(one.id, one.found) for one in found] == [("vm", 10.5), ("vm", 20.5), ("net", 22.5)]


def test_lists_by_release() -> None:
    assert checking.of_release({"*": ("a", "b"), "1": ("b", "c"), "2": ("d",)}, "1") == ("a", "b", "c")


def test_which_tests_are_run() -> None:
    from underway.checks.suites.tempest import chosen

    listed = ["m.A.one[id-1,smoke]", "m.A.two[id-2]", "m.B.three[id-3,smoke,slow]", "m.B.four"]
    ask = Tempest(
        directory="/", select=("smoke",), tests={"*": ("m.A.one", "m.B.four", "m.B.gone"), "9": ("m.A.two",)},
        exclude={"2": ("slow",)},
    )  # fmt: skip
    wanted, missing = chosen(ask, listed, "2")
    assert list(wanted) == ["m.A.one", "m.B.four"], "each once"
    assert missing == ["m.B.gone"]
    assert list(chosen(ask, listed, "9")[0]) == ["m.A.one", "m.A.two", "m.B.three", "m.B.four"]
    assert len(chosen(Tempest(directory="/"), listed, "2")[0]) == 4, "without a choice, all"
