"""C1: an upgrade begins only on checks that passed, of this cluster as it is now, and lately."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underway.core.model.base import replace
from underway.core.model.check import Case, CheckRun, Moment, Outcome, Suite, SuiteResult
from underway.core.readiness import Readiness, readiness

NOW, AGE, OVER = 1000.0, 100.0, 950.0
SUITES = {
    "smoke": Suite(name="smoke", kind="tempest", known={"*": ("old.*",)}),
    "page": Suite(name="page", kind="command", when=("before",)),
    "late": Suite(name="late", kind="command", when=("after",)),
}


def result(suite: str, outcomes: dict[str, Outcome], problem: str = "") -> SuiteResult:
    cases = tuple(Case(id=id_, outcome=outcome) for id_, outcome in outcomes.items())
    return SuiteResult(suite=suite, kind="command", cases=cases, problem=problem)


GOOD = CheckRun(
    id="good", cluster="c", moment="before", release="1", started=960.0, ended=970.0,
    suites=(result("smoke", {"a": "passed"}), result("page", {"page": "passed"})),
)  # fmt: skip


def ask(*kept: CheckRun, suites: dict[str, Suite] = SUITES) -> Readiness:
    return readiness(suites, kept, cluster="c", release="1", since=OVER, age=AGE, now=NOW)


def test_good_ones_let_it_begin() -> None:
    assert ask(GOOD) == Readiness(("smoke", "page"), ("good",), ())


def test_without_suites_that_are_due_it_begins() -> None:
    assert ask(suites={}) == Readiness((), (), ())
    assert ask(suites={"late": SUITES["late"]}).missing == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"moment": "after"}, "smoke, page: not run yet"),
        ({"cluster": "d"}, "smoke, page: not run yet"),
        ({"release": "2"}, "smoke, page: run on release 2, and 1 runs now (good)"),
        ({"started": 949.0}, "smoke, page: run before the last upgrade was over (good)"),
        ({"ended": 1001.0}, "smoke, page: dated 1.0 s after now, which this machine's clock tells (good)"),
        ({"ended": 899.0}, "smoke, page: run 1 min 41 s ago, at most 1 min 40 s counts (good)"),
        ({"suites": (GOOD.suites[0],)}, "page: not run yet"),
        ({"suites": (GOOD.suites[0], result("page", {"page": "failed"}))}, "page: page did not pass (good)"),
        ({"suites": (GOOD.suites[0], result("page", {"page": "missing"}))}, "page: page did not pass (good)"),
        ({"suites": (result("smoke", {"a": "skipped"}), GOOD.suites[1])}, "smoke: none of its tests passed (good)"),
        ({"suites": (result("smoke", {"old.b": "failed"}), GOOD.suites[1])}, "smoke: none of its tests passed (good)"),
        ({"suites": (GOOD.suites[0], result("page", {}))}, "page: none of its tests passed (good)"),
        ({"suites": (GOOD.suites[0], result("page", {}, "it said: token 123"))}, "page: could not be run (good)"),
    ],
)
def test_what_does_not_count(changes: dict[str, Any], sentence: str) -> None:
    assert ask(replace(GOOD, **changes)).missing == (sentence,)


def test_the_latest_of_each_suite_counts() -> None:
    red = replace(GOOD, id="red", started=955.0, ended=956.0, suites=(result("smoke", {"a": "failed"}),))
    assert ask(red, GOOD).missing == () == ask(GOOD, red).missing
    red = replace(red, started=965.0)
    assert ask(GOOD, red).missing == ("smoke: a did not pass (red)",)
    mended = replace(red, id="mended", started=966.0, suites=(result("smoke", {"a": "passed", "old.b": "failed"}),))
    assert ask(GOOD, red, mended) == Readiness(("smoke", "page"), ("good", "mended"), ())


def test_many_failures_are_one_line() -> None:
    names: dict[str, Outcome] = {f"t{number}": "failed" for number in range(50)}
    (sentence,) = ask(replace(GOOD, suites=(result("smoke", names), GOOD.suites[1]))).missing
    assert sentence == "smoke: t0, t1, t2 and 47 others did not pass (good)"
    (sentence,) = ask(
        replace(GOOD, suites=(result("smoke", {"x\x1b[31m" + "y" * 500: "failed"}), GOOD.suites[1]))
    ).missing
    assert "\x1b" not in sentence and len(sentence) < 200


OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "skipped", "missing")
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")


@st.composite
def runs(draw: st.DrawFn) -> list[CheckRun]:
    found = []
    for number in range(draw(st.integers(0, 5))):
        started = draw(st.sampled_from((940.0, 950.0, 980.0, 990.0))) + number / 100  # no two at once: one machine
        results = []
        some = st.lists(st.sampled_from(("smoke", "page", "late", "gone")), unique=True)
        for suite in draw(st.one_of(st.just(["smoke", "page"]), some)):
            outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
                draw(st.sampled_from((("passed",), ("passed", "skipped"), OUTCOMES)))
            )
            cases = draw(st.dictionaries(st.sampled_from(("a", "b", "old.c")), outcomes))
            results.append(result(suite, cases, draw(st.sampled_from(("", "", "", "no program")))))
        found.append(
            CheckRun(
                id=f"run{number}",
                cluster=draw(st.sampled_from(("c", "c", "c", "d"))),
                moment=draw(st.sampled_from(("before", "before", *MOMENTS))),
                release=draw(st.sampled_from(("1", "1", "1", "2"))),
                started=started,
                ended=started + draw(st.sampled_from((0.0, 5.0, 5.0, 120.0))),
                suites=tuple(results),
            )
        )
    return draw(st.permutations(found))


def may_begin(kept: list[CheckRun]) -> bool:
    """The promise, written down anew: of each suite that is due, the latest before counts, and is good in all;
    good is what has a test that passed, and none that failed beside those that are known to."""
    for name in ("smoke", "page"):
        mine = [
            (one.started, one, own)
            for one in kept
            for own in one.suites
            if own.suite == name and one.moment == "before" and one.cluster == "c"
        ]
        if not mine:
            return False
        _, checks, own = max(mine, key=lambda row: row[0])
        bad = [
            case for case in own.cases
            if case.outcome in ("failed", "missing") and not (name == "smoke" and case.id.startswith("old."))
        ]  # fmt: skip
        in_time = checks.started >= OVER and NOW - AGE <= checks.ended <= NOW
        if (
            bad
            or not any(case.outcome == "passed" for case in own.cases)
            or own.problem
            or checks.release != "1"
            or not in_time
        ):
            return False
    return True


@settings(max_examples=400, deadline=None)
@given(runs())
def test_it_begins_exactly_when_every_suite_is_good(kept: list[CheckRun]) -> None:
    found = ask(*kept)
    assert (found.missing == ()) == may_begin(kept)
    assert all("no program" not in sentence for sentence in found.missing), "what programs say stays out of the audit"
