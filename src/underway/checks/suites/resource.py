"""Persistent resources by Grenade's protocol: a program is called with a verb and a side.

``PROGRAM VERB SIDE`` with ``VERB`` ``early_create``, ``create``, ``verify``, ``verify_noapi`` or ``destroy`` and
``SIDE`` ``pre-upgrade``, ``during-upgrade`` or ``post-upgrade``. Exit status 0 is good. ``UNDERWAY_SAVE`` names a
directory that outlives the upgrade, for what the program must remember; ``UNDERWAY_RELEASE`` the release. A program
that looks after several resources says so on its output, a line each, as TAP does: ``ok NAME``,
``ok NAME # SKIP why``, ``not ok NAME: why``.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from underway.checks.suites import process
from underway.core.model.check import Case, Suite, SuiteResult
from underway.core.sanity import Side, Verb

_LINE = re.compile(r"(?P<not>not )?ok (?P<id>.+?)(?: # SKIP ?(?P<skip>.*)|: (?P<why>.*))?")


class ResourceProgram:
    """One resource of the checks, with the directory in which it remembers."""

    def __init__(self, suite: Suite, save: Path, logs: Path, release: str) -> None:
        assert suite.resource is not None
        self._suite = suite
        self._words = suite.resource.program
        self._environment = {
            **suite.resource.environment,
            "UNDERWAY_SAVE": str(save),
            "UNDERWAY_RELEASE": release,
            "UNDERWAY_PYTHON": sys.executable,
        }
        self._save = save
        self._logs = logs

    def call(self, verbs: Sequence[tuple[Verb, Side]]) -> SuiteResult:
        """Call the program for each verb until one fails; the cases are of the last one called.

        Raises nothing: a program that is not there is a problem of the suite.
        """
        self._save.mkdir(mode=0o700, parents=True, exist_ok=True)
        cases: tuple[Case, ...] = ()
        for verb, side in verbs:
            log = self._logs / f"{self._suite.name}.{verb}.log"
            begun = time.monotonic()
            ended = process.run([*self._words, verb, side], log, self._suite.timeout, environment=self._environment)
            took = round(time.monotonic() - begun, 3)
            if ended.problem:
                return SuiteResult(suite=self._suite.name, kind=self._suite.kind, problem=f"{verb}: {ended.problem}")
            told = tuple(_cases(log))
            whole = self._whole(verb, ended.status, log, took)
            # What was verified without the APIs is told as well as what was verified with them.
            cases = _merge(cases, told or (whole,))
            if ended.status != 0 or any(case.outcome == "failed" for case in told):
                if not any(case.outcome == "failed" for case in told):
                    cases = _merge(cases, (whole,))
                break
        return SuiteResult(suite=self._suite.name, kind=self._suite.kind, cases=cases)

    def _whole(self, verb: Verb, status: int, log: Path, took: float) -> Case:
        name = self._suite.name
        if status == 0:
            return Case(id=name, outcome="passed", took=took)
        said = process.last_line(log)
        text = f"{verb}: {process.word_of(status)}" + (f": {said}" if said else "")
        return Case(id=name, outcome="failed", took=took, text=text)


def _merge(earlier: tuple[Case, ...], later: tuple[Case, ...]) -> tuple[Case, ...]:
    """The later word on each resource counts, unless it only skips."""
    found = {case.id: case for case in earlier}
    for case in later:
        if case.outcome != "skipped" or case.id not in found:
            found[case.id] = case
    return tuple(found.values())


def _cases(log: Path) -> Iterator[Case]:
    size = log.stat().st_size
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in file if size < 16 * 1024 * 1024 else ():
            match = _LINE.fullmatch(line.rstrip())
            if match is None:
                continue
            if match["skip"] is not None:
                yield Case(id=match["id"], outcome="skipped", text=match["skip"])
            elif match["not"]:
                yield Case(id=match["id"], outcome="failed", text=(match["why"] or "")[: process.TEXT])
            else:
                yield Case(id=match["id"], outcome="passed")
