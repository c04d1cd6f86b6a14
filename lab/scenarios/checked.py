"""Checked before, during and after: Tempest, tests of hosts and persistent resources around a drained upgrade.

With --checks-only nothing is upgraded: the same is checked twice. With --survey every test that Tempest has for
services that are there is run once, to find out which cannot run here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from labkit import keys, testers
from labkit.cloud import Cloud
from labkit.errors import LabError
from labkit.places import places
from scenarios import checksfile, hop, tempest, tempest_page
from scenarios.checksfile import Testers
from scenarios.hop import Hop
from scenarios.judge import Verdict
from scenarios.operator import Running, ours
from scenarios.tempest_page import Checked

NAME = "checked"
SURVEY = r"^tempest\.(api\.(identity|image|compute)|scenario|serial_tests)\."
BAD = 1
"""Exit code of checks of which something got worse."""


def play(given: argparse.Namespace) -> list[Verdict]:
    """The scenario, as its options say."""
    environment = testers.built(places())
    with hop.ready(NAME, given.to, fresh=not given.as_it_is) as stage:
        if stage.lab.size != "full":
            raise LabError("this scenario needs Nova and Glance: 'lab/run down', then 'lab/run up'")
        prepare(stage, environment, given.survey)
        if given.survey:
            stage.hands.underway("check", "run", "before", "--suite", "survey")
            [survey] = read(stage, "before")
            tempest_page.write_survey(stage, survey, docs=given.write)
            return [Verdict(None, tempest_page.counts(survey, "survey"))]
        stage.hands.underway("check", "run", "before")
        return compare(stage, upgrading=not given.checks_only, docs=given.write)


def compare(stage: Hop, *, upgrading: bool, docs: bool) -> list[Verdict]:
    """What follows once all has passed: the upgrade, the same checks, the page."""
    # judged before the tests: they make servers, whose rows Nova's data migrations would find
    found = [*upgrade(stage), *hop.concluded(stage).verdicts] if upgrading else []
    code = stage.hands.underway("check", "run", "after", good=(0, BAD))
    before, after, during = read(stage, "before")[-1], read(stage, "after")[-1], read(stage, "during")
    compared = stage.hands.underway("check", "compare", before.id, after.id, good=(0, BAD))
    found += judge(before, after, code, compared)
    if upgrading:
        found += of_during(during)
    tempest_page.write(stage, before, after, during, found, docs=docs and upgrading)
    return found


def prepare(stage: Hop, environment: Path, survey: str) -> None:
    """Tempest's workspace, and the checks in the cluster file."""
    passwords = keys.read(stage.here)
    needs = tempest.needs(Cloud(passwords), stage.lab)
    space = tempest.workspace(environment, stage.home, needs, passwords["secret_admin"])
    checksfile.write(stage.here, stage.home, Testers(environment, space, needs.images[0]), survey)
    stage.hands.underway("validate")


def upgrade(stage: Hop) -> list[Verdict]:
    """Upgrade, and look at the resources after each step. Raises ``LabError`` where the run does not finish."""
    running = stage.hands.start("upgrade", "plan.json", "--yes", "--plain")
    running.await_line("claimed")
    beside = start_gently(stage, "check", "run", "during")
    code = running.end()
    looked = beside.end(300)
    if code:
        raise LabError(f"the upgrade did not finish: exit code {code}; see {stage.home}")
    return [Verdict(looked == 0, f"checks during the upgrade: exit code {looked}")]


def start_gently(stage: Hop, *words: str) -> Running:
    """A command of Underway that gives way to others: it stands for one on another machine."""
    transcript = stage.hands.transcript
    number = transcript.command(f"underway {' '.join(words)}")
    process = subprocess.Popen(
        ours(stage.here, "nice", "-n", "19", str(Path(sys.executable).with_name("underway")), *words),
        cwd=stage.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Running(process, transcript, number)


def read(stage: Hop, moment: str) -> list[Checked]:
    """The results of a moment that ``underway check`` kept."""
    return [tempest_page.load(path) for path in sorted(stage.home.glob(f".underway/checks/*-{moment}.json"))]


def judge(
    before: Checked, after: Checked, code: int, compared: int, listed: Path = checksfile.CANNOT
) -> Iterator[Verdict]:
    """What the checks must come to. ``listed``: the file of tests that are known to fail."""
    yield Verdict(code == compared == 0, f"nothing got worse: after has exit code {code}, compare {compared}")
    for suite in before.suites:
        was, now = before.outcomes(suite), after.outcomes(suite)
        same = {id_ for id_, outcome in was.items() if outcome == "passed"} <= {
            id_ for id_, outcome in now.items() if outcome == "passed"
        }
        good = same and not before.problem(suite) and not after.problem(suite) and "passed" in was.values()
        text = f"{tempest_page.counts(before, suite)} before, {tempest_page.counts(after, suite)} after"
        yield Verdict(good, f"{suite}: {text}{before.problem(suite) or after.problem(suite)}")
    failed = {id_ for id_, outcome in before.outcomes("tempest").items() if outcome == "failed"}
    idle = [
        pattern for pattern in checksfile.cannot(listed) if not any(tempest_page.fits(id_, pattern) for id_ in failed)
    ]
    own = [pattern for pattern in idle if any(tempest_page.fits(id_, pattern) for id_ in before.outcomes("tempest"))]
    yield Verdict(not own, f"tests that are listed as failing here failed{': not ' + ', '.join(own) if own else ''}")


def of_during(during: list[Checked]) -> Iterator[Verdict]:
    """What was seen of the resources while all was upgraded."""
    looks = [look for checks in during for look in checks.looks]
    bad = sorted({id_ for look in looks for id_ in look})
    yield Verdict(
        bool(looks) and not bad,
        f"{len(looks)} looks at the resources{': broken: ' + ', '.join(bad) if bad else ', each whole'}",
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checks-only", action="store_true", help="upgrade nothing: check, and check again")
    parser.add_argument(
        "--survey", nargs="?", const=SURVEY, default="", metavar="REGEX",
        help="find out which tests cannot run here (of those whose ids match; default: of services that are there)",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write docs/tempest.md and docs/tempest.json")


if __name__ == "__main__":
    sys.exit(hop.command(NAME, __doc__ or "", play, _options))
