"""What Tempest found before and after an upgrade, and what it cannot test here, as a page and as JSON for programs.

The survey (what cannot run, of everything that Tempest has for services that are there) is kept beside the figures of
an upgrade: each is written by its own run, and the page is made of both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from labkit import testers
from labkit.places import PROJECT
from scenarios import checksfile
from scenarios.hop import Hop
from scenarios.judge import Verdict
from scenarios.story import mark

JSON = PROJECT / "docs/tempest.json"
PAGE = PROJECT / "docs/tempest.md"
WORDS = ("passed", "failed", "skipped", "missing")
SUITES = {
    "tempest": "Tempest: smoke, and tests by name",
    "balancers": "tests of balancers over SSH",
    "controllers": "tests of controllers over SSH",
    "computes": "tests of computes over SSH",
    "boot": "a server made and deleted",
    "workload": "resource by Grenade's protocol",
    "accounts": "resources of a Javelin file",
}

_SERVERS = "tempest.api.compute.servers"
PERSISTENT = {
    "pause, unpause": f"{_SERVERS}.test_server_actions.ServerActionsTestJSON.test_pause_unpause_server",
    "suspend, resume": f"{_SERVERS}.test_server_actions.ServerActionsTestJSON.test_suspend_resume_server",
    "shelve, unshelve": f"{_SERVERS}.test_server_actions.ServerActionsTestOtherB.test_shelve_unshelve_server",
    "rescue, unrescue": f"{_SERVERS}.test_server_rescue.ServerRescueTestJSON.test_rescue_unrescue_instance",
    "security group on a rescued server": (
        f"{_SERVERS}.test_server_rescue.ServerRescueTestJSONUnderV235.test_rescued_vm_add_remove_security_group"
    ),
    "scheduling to all computes": (
        "tempest.scenario.test_server_multinode.TestServerMultinode.test_schedule_to_all_nodes"
    ),
    "basic operations": "tempest.scenario.test_server_basic_ops.TestServerBasicOps.test_server_basic_ops",
    "host name, over SSH": f"{_SERVERS}.test_create_server.ServersTestJSON.test_host_name_is_same_as_server_name",
    "vCPUs, over SSH": f"{_SERVERS}.test_create_server.ServersTestJSON.test_verify_created_server_vcpus",
    "details": f"{_SERVERS}.test_create_server.ServersTestJSON.test_verify_server_details",
}
"""What Nova's rolling upgrade tests ask of a server that was made before the upgrade (SEMANTICS.md, C(d) 17)."""

Case = dict[str, Any]

_CLASS = re.compile(r"^\w+ skipped as ")
"""How Tempest begins some of its reasons: with the name of the class."""


@dataclass(frozen=True)
class Checked:
    """One run of the checks as ``underway check`` keeps it: cases by suite, why a suite could not be run, and what each
    look during an upgrade found broken."""

    id: str
    release: str
    took: float
    suites: Mapping[str, tuple[Case, ...]]
    problems: Mapping[str, str]
    looks: tuple[Mapping[str, str], ...] = ()

    def outcomes(self, suite: str) -> dict[str, str]:
        """What became of each test."""
        return {case["id"]: case["outcome"] for case in self.suites.get(suite, ())}

    def problem(self, suite: str) -> str:
        """Why a suite could not be run, after a colon; empty where it was."""
        return f": {self.problems[suite]}" if suite in self.problems else ""


def load(path: Path) -> Checked:
    """Results of checks from their file."""
    read = json.loads(path.read_text())
    return Checked(
        id=read["id"],
        release=read["release"],
        took=round(read["ended"] - read["started"], 1),
        suites={one["suite"]: tuple(one.get("cases", ())) for one in read.get("suites", ())},
        problems={one["suite"]: one["problem"] for one in read.get("suites", ()) if one.get("problem")},
        looks=tuple(look.get("failed", {}) for look in read.get("looks", ())),
    )


def fits(id_: str, pattern: str) -> bool:
    """Whether a test is one of a pattern's, as ``known`` of cluster.yaml means it."""
    return fnmatchcase(id_, pattern)


def count(checked: Checked, suite: str) -> dict[str, int]:
    """How many tests of a suite came to what."""
    found = Counter(checked.outcomes(suite).values())
    return {word: found[word] for word in WORDS}


def counts(checked: Checked, suite: str) -> str:
    """The same in words."""
    return _numbers(count(checked, suite))


def why(case: Case, cannot: Mapping[str, str]) -> str:
    """Why a test did not run, or failed: Tempest's own words for what it skips, ours for what failed."""
    if case["outcome"] == "skipped":
        return str(case.get("text", ""))
    return next((said for pattern, said in cannot.items() if fits(case["id"], pattern)), "")


def rows(cases: Iterable[Case], cannot: Mapping[str, str]) -> list[dict[str, str]]:
    """Each test that did not pass: what became of it, why, and what it said."""
    return [
        {"id": case["id"], "outcome": case["outcome"], "why": why(case, cannot), "said": str(case.get("text", ""))}
        for case in sorted(cases, key=lambda one: str(one["id"]))
        if case["outcome"] != "passed"
    ]


def figures(before: Checked, after: Checked, during: Sequence[Checked], cannot: Mapping[str, str]) -> dict[str, Any]:
    """What the upgrade's JSON holds."""
    return {
        "source": before.release,
        "target": after.release,
        "seconds": {"before": before.took, "after": after.took},
        "suites": {
            suite: {
                "before": count(before, suite),
                "after": count(after, suite),
                "compared": moved(before, after, suite),
            }
            for suite in before.suites
        },
        "looks": {
            "number": sum(len(one.looks) for one in during),
            "broken": sorted({id_ for one in during for look in one.looks for id_ in look}),
        },
        "passed": sorted(id_ for id_, said in after.outcomes("tempest").items() if said == "passed"),
        "cannot": rows(after.suites.get("tempest", ()), cannot),
    }


def moved(before: Checked, after: Checked, suite: str) -> dict[str, str]:
    """Tests with another outcome after than before: ``passed to failed``."""
    was, now = before.outcomes(suite), after.outcomes(suite)
    return {
        id_: f"{was.get(id_, 'not run')} to {now.get(id_, 'not run')}"
        for id_ in sorted({*was, *now})
        if was.get(id_) != now.get(id_)
    }


def write(
    stage: Hop, before: Checked, after: Checked, during: Sequence[Checked], found: Sequence[Verdict], *, docs: bool
) -> None:
    """Write page and JSON beside the run, and to ``docs`` where it is asked for."""
    upgrade = figures(before, after, during, checksfile.cannot())
    upgrade |= {"made": stage.made.told(), "verdicts": [{"good": one.good, "text": one.text} for one in found]}
    _keep(stage, "upgrade", upgrade, docs=docs)


def write_survey(stage: Hop, survey: Checked, *, docs: bool) -> None:
    """The same of a survey."""
    cases = survey.suites.get("survey", ())
    told = {
        "made": stage.made.told(),
        "release": survey.release,
        "seconds": survey.took,
        "counts": count(survey, "survey"),
        "problem": survey.problems.get("survey", ""),
        "cannot": rows(cases, checksfile.cannot()),
    }
    _keep(stage, "survey", told, docs=docs)


def _keep(stage: Hop, part: str, told: dict[str, Any], *, docs: bool) -> None:
    kept = json.loads(JSON.read_text()) if JSON.exists() else {}
    whole = {**kept, "tempest": testers.VERSION, part: told}
    for path, text in ((JSON, json.dumps(whole, indent=1, sort_keys=True) + "\n"), (PAGE, page(whole))):
        (stage.home / path.name).write_text(text)
        if docs:
            path.write_text(text)


INTRODUCTION = """\
# Tempest before and after an upgrade

Tempest {version}, in the laboratory ({{doc}}`how-to/lab`), whose Nova has the fake driver and whose Neutron is a stub.
Every figure and every list here is written by `lab/run scenario checked --write`, and by
`lab/run scenario checked --survey --write`, to `tempest.json` as well.

The fake driver keeps servers in memory, and forgets them when nova-compute restarts; Nova goes on to call them ACTIVE.
So a server that was made before an upgrade can be shown, listed and deleted after it, and not stopped, paused or
resized: tests of Tempest make servers of their own, and the resources are only asked for what Nova itself knows.
Servers have no network either, so that nothing can be asked over SSH.
"""


def page(whole: Mapping[str, Any]) -> str:
    """The page, from the JSON alone."""
    lines = [INTRODUCTION.format(version=whole["tempest"])]
    if "upgrade" in whole:
        lines += _upgrade(whole["upgrade"])
    if "survey" in whole:
        lines += _survey(whole["survey"])
    return "\n".join(lines).rstrip() + "\n"


def _upgrade(told: Mapping[str, Any]) -> Iterator[str]:
    took = told["seconds"]
    yield f"## {told['source']} to {told['target']}"
    yield ""
    yield f"{told['made']}. The checks took {took['before']:.0f} s before and {took['after']:.0f} s after."
    yield ""
    yield "| checks | before | after |"
    yield "|---|---|---|"
    suites = dict(_in_order(told["suites"]))  # the file that keeps them sorts them
    for suite, one in suites.items():
        yield f"| {SUITES.get(suite, suite)} | {_numbers(one['before'])} | {_numbers(one['after'])} |"
    yield ""
    other = [f"- `{id_}`: {how}" for one in suites.values() for id_, how in one["compared"].items()]
    yield "With another outcome after than before:" if other else "No test has another outcome after than before."
    yield ""
    yield from [*other, ""] if other else ()
    broken = told["looks"]["broken"]
    seen = f"broken: {', '.join(broken)}" if broken else "all were whole each time"
    yield f"During the upgrade the resources were looked at {told['looks']['number']} times: {seen}."
    yield ""
    yield from (f"- {mark(Verdict(one['good'], one['text']))}{one['text']}" for one in told["verdicts"])
    yield from [""] if told["verdicts"] else ()
    yield "### What Nova's own upgrade tests ask of a server"
    yield ""
    yield "They ask the server that was made before the upgrade, which the fake driver forgets: here each has its own."
    yield ""
    yield from _persistent(told)
    yield ""
    yield "### What passed"
    yield ""
    yield from (f"- `{id_}`" for id_ in told["passed"])
    yield ""
    yield "### What cannot run here, of smoke and the tests by name"
    yield ""
    yield from _groups(told["cannot"])


def _persistent(told: Mapping[str, Any]) -> Iterator[str]:
    """A row for each of them: what became of it after the upgrade, and why it did not run."""
    missed = {row["id"]: row for row in told["cannot"]}
    yield "| test | after | why |"
    yield "|---|---|---|"
    for name, id_ in PERSISTENT.items():
        passed = {"outcome": "passed", "why": ""}
        absent = {"outcome": "not run", "why": "not yet asked for when this was measured"}
        row = missed.get(id_, passed if id_ in told["passed"] else absent)
        yield f"| {name} | {row['outcome']} | {row['why']} |"


def _in_order(suites: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Suites as the page has them, those that it does not know last."""
    for suite in (*SUITES, *sorted(suites.keys() - SUITES.keys())):
        if suite in suites:
            yield suite, suites[suite]


def _numbers(found: Mapping[str, int]) -> str:
    return ", ".join(f"{found[word]} {word}" for word in WORDS if found[word]) or "nothing"


def _survey(told: Mapping[str, Any]) -> Iterator[str]:
    words = _numbers(told["counts"])
    yield "## What cannot run here, of all tests for services that are there"
    yield ""
    yield f"{told['made']}, on {told['release']}, in {told['seconds']:.0f} s: {words}. {told['problem']}".rstrip()
    yield ""
    yield from _groups(told["cannot"])


def _groups(cannot: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Tests that failed first, then those that Tempest skips; each group under its reason."""
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in cannot:
        reason = _CLASS.sub("", row["why"])
        groups.setdefault((row["outcome"], reason[:1].upper() + reason[1:]), []).append(row)
    for (outcome, reason), tests in sorted(groups.items(), key=lambda one: (one[0][0], -len(one[1]), one[0][1])):
        said = (
            f"Tempest skips it: {reason}"
            if outcome == "skipped"
            else f"{outcome}: {reason or 'no reason is known yet'}"
        )
        yield f"**{said}** ({len(tests)})"
        yield ""
        for row in tests:
            words = f": {row['said']}" if outcome != "skipped" else ""
            yield f"- `{row['id'].removeprefix('tempest.')}`{words}"
        yield ""
