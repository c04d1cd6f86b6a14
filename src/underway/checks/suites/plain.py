"""Suites of one case: a command, or a probe that is asked once."""

from __future__ import annotations

import asyncio
import time

from underway.checks.base import Answer
from underway.checks.build import Kit
from underway.checks.suites import process
from underway.checks.suites.base import Around
from underway.core.model.check import Case, Suite, SuiteResult
from underway.core.model.cluster import Probe
from underway.errors import InputError


def run_command(suite: Suite, around: Around) -> SuiteResult:
    """Exit status 0 is good."""
    log = around.logs / f"{suite.name}.log"
    begun = time.monotonic()
    ended = process.run(suite.command, log, suite.timeout)
    took = round(time.monotonic() - begun, 3)
    if ended.problem:
        return SuiteResult(suite=suite.name, kind=suite.kind, problem=ended.problem)
    if ended.status == 0:
        return _one(suite, Case(id=suite.name, outcome="passed", took=took))
    said = process.last_line(log)
    text = process.word_of(ended.status) + (f": {said}" if said else "")
    return _one(suite, Case(id=suite.name, outcome="failed", took=took, text=text))


def run_probe(suite: Suite, around: Around) -> SuiteResult:
    """A good answer is good; what a write probe made is deleted before this returns."""
    assert suite.probe is not None
    begun = time.monotonic()
    try:
        answer = asyncio.run(_ask(suite.probe, around))
    except InputError as error:
        return SuiteResult(suite=suite.name, kind=suite.kind, problem=str(error))
    took = round(time.monotonic() - begun, 3)
    return _one(
        suite,
        Case(id=suite.name, outcome="passed" if answer.ok else "failed", took=took, text=answer.error),
    )


async def _ask(probe: Probe, around: Around) -> Answer:
    kit = Kit({probe.name: probe}, around.wall, around.logs / f"{probe.name}.leftovers")
    try:
        async with asyncio.timeout(probe.timeout):
            return await kit.checks[probe.name].ask()
    except TimeoutError:
        return Answer(ok=False, error="timeout")
    finally:
        await kit.close()


def _one(suite: Suite, case: Case) -> SuiteResult:
    return SuiteResult(suite=suite.name, kind=suite.kind, cases=(case,))
