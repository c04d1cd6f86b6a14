"""Whether the checks before an upgrade let it begin (SEMANTICS C1: "refuses to begin unless smoke tests pass"). Pure.

Names of suites and tests are told, what the programs said is not: the sentences go into the audit, and output of
programs may hold secrets. The results, with what was said, are kept by ``underway check``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from underway.core.checking import judge
from underway.core.model.base import replace
from underway.core.model.check import CheckRun, Suite
from underway.core.words import clean, duration, some

SHOWN = 120
"""Characters of a test's id that a sentence shows: some have their parameters in it."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Which suites are ``due`` before an upgrade, the ids of the results that it stands ``on``, oldest first, and why
    it may not begin (``missing``, a sentence for each reason; empty: it may)."""

    due: tuple[str, ...]
    on: tuple[str, ...]
    missing: tuple[str, ...]


def readiness(
    suites: Mapping[str, Suite],
    kept: Iterable[CheckRun],
    *,
    cluster: str,
    release: str,
    since: float,
    age: float,
    now: float,
) -> Readiness:
    """Whether each suite that is due ``before`` has passed, by its latest results of that moment.

    They must be of ``cluster`` and of ``release``, have begun at or after ``since`` (when the last run was over; Unix
    seconds) and have ended at most ``age`` seconds before ``now``. Tests that are known to fail or
    are skipped stop nobody, but of each suite one at least must have passed: else nothing was tested.
    """
    due = {name: suite for name, suite in suites.items() if "before" in suite.when}
    latest: dict[str, CheckRun] = {}
    for checks in sorted(kept, key=lambda one: one.started):
        if checks.moment == "before" and checks.cluster == cluster:
            latest.update(dict.fromkeys((result.suite for result in checks.suites), checks))
    reasons: dict[str, list[str]] = {}
    on: dict[str, float] = {}
    for name in due:
        why = "not run yet"
        if name in latest:
            checks = latest[name]
            why = next(_against(name, checks, suites, release, since, age, now), "")
            on[checks.id] = checks.started
        if why:
            reasons.setdefault(why, []).append(name)
    missing = tuple(f"{some(names)}: {why}" for why, names in reasons.items())
    return Readiness(tuple(due), tuple(sorted(on, key=lambda id_: on[id_])), missing)


def _against(
    name: str, checks: CheckRun, suites: Mapping[str, Suite], release: str, since: float, age: float, now: float
) -> Iterator[str]:
    """What stands against the latest results of a suite, the most telling first."""
    if checks.release != release:
        yield f"run on release {checks.release}, and {release} runs now ({checks.id})"
    if checks.started < since:
        yield f"run before the last upgrade was over ({checks.id})"
    if checks.ended > now:
        yield f"dated {duration(checks.ended - now)} after now, which this machine's clock tells ({checks.id})"
    if now - checks.ended > age:
        yield f"run {duration(now - checks.ended)} ago, at most {duration(age)} counts ({checks.id})"
    own = tuple(result for result in checks.suites if result.suite == name)
    verdict = judge(replace(checks, suites=own), None, suites)
    if verdict.problems:
        yield f"could not be run ({checks.id})"
    if verdict.failures:
        failed = some([clean(one.id, SHOWN) for one in verdict.failures])
        yield f"{failed} did not pass ({checks.id})"
    if verdict.idle:
        yield f"none of its tests passed ({checks.id})"
