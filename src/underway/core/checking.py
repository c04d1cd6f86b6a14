"""Results of checks compared, and what follows from them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from underway.core.model.check import Case, CheckRun, Outcome, Suite, SuiteResult
from underway.core.words import plural

EVERY = "*"
"""The key of what holds for every release."""


def of_release(listed: Mapping[str, Sequence[str]], release: str) -> tuple[str, ...]:
    """What a mapping by release says for one: that of ``*`` and its own, each once, in the order written."""
    return tuple(dict.fromkeys((*listed.get(EVERY, ()), *listed.get(release, ()))))


@dataclass(frozen=True, slots=True)
class Finding:
    """A test that did not pass (or passes again): the suite, what it was before, what it is now, and why."""

    suite: str
    id: str
    before: Outcome | None
    now: Outcome | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run of checks means.

    ``regressions`` passed before and do not now (also those that were skipped or are no longer there). ``failures``
    are new: nothing is known of them from before. ``still`` failed before as well. ``known`` are on the suite's list
    for this release. ``mended`` pass now. ``problems`` are suites that could not be run; ``idle`` those that tested
    nothing: none of their tests passed, though none is told above. ``left``: suites with how many things
    of theirs are left behind; that stops nobody. ``skipped`` and ``passed`` are counts.
    """

    regressions: tuple[Finding, ...]
    failures: tuple[Finding, ...]
    still: tuple[Finding, ...]
    known: tuple[Finding, ...]
    mended: tuple[Finding, ...]
    problems: tuple[tuple[str, str], ...]
    idle: tuple[str, ...]
    left: tuple[tuple[str, int], ...]
    passed: int
    skipped: int

    @property
    def good(self) -> bool:
        """Whether nothing got worse, nothing new failed and each suite tested something. What failed before as well
        is told, and stops nobody."""
        return not (self.regressions or self.failures or self.problems or self.idle)


def judge(now: CheckRun, before: CheckRun | None, suites: Mapping[str, Suite]) -> Verdict:
    """A run of checks, compared with an earlier one where there is one.

    A skipped test is neither good nor bad by itself; one that passed before and is skipped now is a regression: what it
    tested is no longer shown to work. Suites that only one of the two has are not compared.
    """
    earlier = {result.suite: _by_id(result) for result in before.suites} if before is not None else {}
    regressions: list[Finding] = []
    failures: list[Finding] = []
    still: list[Finding] = []
    known: list[Finding] = []
    mended: list[Finding] = []
    idle: list[str] = []
    passed = skipped = 0
    for result in now.suites:
        bad = len(regressions) + len(failures) + len(still)
        listed = of_release(suites[result.suite].known, now.release) if result.suite in suites else ()
        was_there = result.suite in earlier
        for case, was in _pairs(result, earlier.get(result.suite, {})):
            found = Finding(result.suite, case.id, was, case.outcome, case.text)
            passed += case.outcome == "passed"
            skipped += case.outcome == "skipped"
            if case.outcome == "passed":
                if was in ("failed", "missing"):
                    mended.append(found)
            elif case.outcome == "skipped" and was != "passed":
                continue
            elif any(fnmatchcase(case.id, pattern) for pattern in listed):
                known.append(found)
            elif was == "passed":
                regressions.append(found)
            elif was_there and was in ("failed", "missing"):
                still.append(found)
            else:
                failures.append(found)
        if was_there and not result.problem:
            here = {case.id for case in result.cases}
            gone = [id_ for id_, outcome in earlier[result.suite].items() if id_ not in here and outcome == "passed"]
            text = "it passed before and was not run now"
            regressions += [Finding(result.suite, id_, "passed", None, text) for id_ in gone]
        told = result.problem or len(regressions) + len(failures) + len(still) > bad
        if not told and all(case.outcome != "passed" for case in result.cases):
            idle.append(result.suite)
    problems = tuple((result.suite, result.problem) for result in now.suites if result.problem)
    left = tuple((result.suite, result.left) for result in now.suites if result.left)
    return Verdict(
        tuple(regressions), tuple(failures), tuple(still), tuple(known), tuple(mended), problems, tuple(idle), left,
        passed, skipped,
    )  # fmt: skip


def _by_id(result: SuiteResult) -> dict[str, Outcome]:
    return {case.id: case.outcome for case in result.cases}


def _pairs(result: SuiteResult, earlier: Mapping[str, Outcome]) -> Iterator[tuple[Case, Outcome | None]]:
    for case in result.cases:
        yield case, earlier.get(case.id)


def lines(verdict: Verdict, compared_with: str) -> Iterator[str]:
    """The verdict for people, a sentence a line; ``compared_with`` is the id of the earlier run, empty for none."""
    groups = (
        ("regression", verdict.regressions),
        ("failed", verdict.failures),
        ("still failing", verdict.still),
        ("known to fail", verdict.known),
        ("passes again", verdict.mended),
    )
    for suite, problem in verdict.problems:
        yield f"could not be run: {suite}: {problem}"
    for suite in verdict.idle:
        yield f"tested nothing: {suite}: none of its tests passed"
    for suite, number in verdict.left:
        what = plural(number, "thing that it made", "things that it made")
        yield f"left behind: {suite}: {what} and could not delete (its next run tries again)"
    for word, found in groups:
        for one in found:
            was = f" (was {one.before})" if one.before is not None and one.before != one.now else ""
            why = f": {one.text}" if one.text else ""
            yield f"{word}: {one.suite}: {one.id}: {one.now or 'not run'}{was}{why}"
    counts = [f"{verdict.passed} passed"]
    for number, word in (
        (verdict.skipped, "skipped"),
        (len(verdict.failures), "failed"),
        (len(verdict.still), "still failing"),
        (len(verdict.known), "known to fail"),
    ):
        if number:
            counts.append(f"{number} {word}")
    if compared_with:
        counts.append(f"{plural(len(verdict.regressions), 'regression')} against {compared_with}")
    yield ", ".join(counts)
