"""Tempest (or any tests of stestr): which tests, each once, and what became of every one of them.

``stestr list`` gives the ids; those that the suite asks for and that are not there are ``missing``, never passed.
``stestr run --subunit --load-list`` runs the others.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from underway.checks.suites import process
from underway.checks.suites.base import Around, plain
from underway.core.checking import of_release
from underway.core.model.base import replace
from underway.core.model.check import Case, Suite, SuiteResult, Tempest
from underway.core.nearest import nearest

LISTING = 300.0
"""Seconds that a list of tests may take: it imports all of them."""

_FIXTURE = re.compile(r"(setUpClass|tearDownClass|setUpModule) \((?P<place>.+)\)")


_NOT_RUN = Case(id="", outcome="failed", text="it was chosen and not run")


def chosen(ask: Tempest, listed: Sequence[str], release: str) -> tuple[dict[str, str], list[str]]:
    """Ids to run (without tags, to how stestr wrote them; each once, in its order) and ids that do not exist."""
    full = {plain(id_): id_ for id_ in listed}
    excluded = [re.compile(pattern) for pattern in of_release(ask.exclude, release)]
    selected = [re.compile(pattern) for pattern in ask.select]
    named = {plain(id_) for id_ in of_release(ask.tests, release)}
    every = not selected and not named
    wanted = {
        id_: text
        for id_, text in full.items()
        if (every or id_ in named or any(pattern.search(text) for pattern in selected))
        and not any(pattern.search(text) for pattern in excluded)
    }
    return wanted, sorted(named - set(full))


def run_tempest(suite: Suite, around: Around) -> SuiteResult:
    """Run the suite's tests."""
    assert suite.tempest is not None
    ask = suite.tempest
    directory = Path(ask.directory)
    listing, errors = around.logs / f"{suite.name}.list", around.logs / f"{suite.name}.log"

    def failed(problem: str) -> SuiteResult:
        return SuiteResult(suite=suite.name, kind=suite.kind, problem=problem)

    try:
        subunit = importlib.import_module("underway.checks.suites.subunit")
    except ModuleNotFoundError as error:
        return failed(f"the library {error.name} is not installed (pip install 'underway[openstack]')")
    ended = process.run([ask.program, "list"], listing, LISTING, directory=directory, errors=errors)
    if ended.problem or ended.status != 0:
        return failed(f"stestr list: {ended.problem or process.last_line(errors) or process.word_of(ended.status)}")
    listed = [line for line in listing.read_text(errors="replace").splitlines() if "." in line and " " not in line]
    wanted, missing = chosen(ask, listed, around.release)
    there = [plain(id_) for id_ in listed]
    cases = [Case(id=id_, outcome="missing", text=f"no such test{nearest(id_, there)}") for id_ in missing]
    if wanted:
        load = around.logs / f"{suite.name}.load"
        load.write_text("".join(f"{id_}\n" for id_ in wanted.values()))
        stream = around.logs / f"{suite.name}.subunit"
        words = [ask.program, "run", "--subunit", "--load-list", str(load)]
        words += ["--concurrency", str(ask.workers)] if ask.workers else []
        ended = process.run(words, stream, suite.timeout, directory=directory, errors=errors)
        cases += _results(wanted, subunit.read(stream))
        if ended.problem:
            return SuiteResult(suite=suite.name, kind=suite.kind, cases=tuple(cases), problem=ended.problem)
    elif not missing:
        return failed("no test is selected")
    return SuiteResult(suite=suite.name, kind=suite.kind, cases=tuple(cases))


def _results(wanted: Mapping[str, str], found: Mapping[str, Case]) -> Iterator[Case]:
    """One case for each test that was to run; where its class could not be set up, what became of that.

    A class that could not clean up after its tests is a case of its own: what they made is left behind.
    """
    of_class: dict[str, Case] = {}
    for id_, case in found.items():
        match = _FIXTURE.fullmatch(id_)
        if match and case.outcome != "passed":
            if match[1] != "tearDownClass":
                of_class[match["place"]] = case
            elif any(one.startswith(f"{match['place']}.") for one in wanted):
                yield case
    for id_ in wanted:
        case = found.get(id_, _NOT_RUN)
        if case is _NOT_RUN:
            place = id_
            while "." in place and place not in of_class:
                place = place.rpartition(".")[0]
            whole = of_class.get(place)
            case = replace(whole if whole is not None else _NOT_RUN, id=id_)
        yield case
