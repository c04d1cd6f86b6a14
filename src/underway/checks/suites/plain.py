"""Suites of one case: a command, or a probe that is asked once."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from underway.checks.base import Answer
from underway.checks.build import Kit
from underway.checks.leftovers import Leftovers
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
    """A good answer is good. What a write probe made is deleted before this returns, or counted and left to the next
    run, which also deletes what a run that was killed has left."""
    assert suite.probe is not None
    begun = time.monotonic()
    leftovers = around.saved / suite.name / "leftovers"
    try:
        with _alone(leftovers):
            answer = asyncio.run(_ask(suite.probe, around, leftovers))
            left = Leftovers.count(leftovers)
    except (InputError, _Busy) as error:
        return SuiteResult(suite=suite.name, kind=suite.kind, problem=str(error))
    took = round(time.monotonic() - begun, 3)
    return _one(
        suite,
        Case(id=suite.name, outcome="passed" if answer.ok else "failed", took=took, text=answer.error),
        left,
    )


class _Busy(Exception):
    """Another process runs the suite."""


@contextlib.contextmanager
def _alone(leftovers: Path) -> Iterator[None]:
    """Nobody else writes the file meanwhile: it is read once and rewritten. Raises _Busy."""
    leftovers.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with leftovers.with_name("lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _Busy("another 'underway check' asks this probe now; run it again when that is over") from None
        yield


async def _ask(probe: Probe, around: Around, leftovers: Path) -> Answer:
    kit = Kit({probe.name: probe}, around.wall, leftovers)
    try:
        async with asyncio.timeout(probe.timeout):
            return await kit.checks[probe.name].ask()
    except TimeoutError:
        return Answer(ok=False, error="timeout")
    finally:
        await kit.close()


def _one(suite: Suite, case: Case, left: int = 0) -> SuiteResult:
    return SuiteResult(suite=suite.name, kind=suite.kind, cases=(case,), left=left)
