"""Tests of hosts by pytest-testinfra, from an environment of its own; results from pytest's JUnit file.

That file is trusted: pytest writes it into a directory that only we can write to.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from underway.checks.suites import process
from underway.checks.suites.base import Around
from underway.core.model.check import Case, Outcome, Suite, SuiteResult

_TEXT = 300
_RAN = (0, 1)
"""Exit statuses of pytest with which all tests were run: all passed, some failed."""


def run_testinfra(suite: Suite, around: Around) -> SuiteResult:
    """Run the suite's files against its hosts."""
    assert suite.testinfra is not None
    ask = suite.testinfra
    report, log = around.logs / f"{suite.name}.xml", around.logs / f"{suite.name}.log"
    report.unlink(missing_ok=True)
    words = [ask.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    words += [f"--hosts={','.join(ask.hosts)}"] if ask.hosts else []
    if ask.hosts and around.known_hosts is not None:
        ssh = around.logs / f"{suite.name}.ssh"
        ssh.write_text(_ssh(around.known_hosts))
        words.append(f"--ssh-config={ssh}")  # testinfra 10.2 has --ssh-extra-args, and forgets it
    ended = process.run([*words, *ask.files], log, suite.timeout)
    problem = ended.problem
    if not problem and ended.status not in _RAN:
        problem = f"pytest: {process.word_of(ended.status)}: {process.last_line(log)}"
    try:
        root = ElementTree.parse(report).getroot()  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return SuiteResult(suite=suite.name, kind=suite.kind, problem=problem or "pytest wrote no results")
    return SuiteResult(
        suite=suite.name, kind=suite.kind, cases=tuple(_case(one) for one in root.iter("testcase")), problem=problem
    )


def _ssh(known_hosts: Path) -> str:
    """A configuration of ssh: host keys are those that the hosts were enrolled with, and nobody is asked anything.

    The first value of an option counts, so what users have in their own configuration weakens none of these.
    """
    path = str(known_hosts.absolute()).replace("%", "%%")
    return f"""\
Host *
    BatchMode yes
    StrictHostKeyChecking yes
    UserKnownHostsFile "{path}"
    GlobalKnownHostsFile /dev/null
    ForwardAgent no
    Include ~/.ssh/config
    Include /etc/ssh/ssh_config
"""


def _case(element: ElementTree.Element) -> Case:
    outcome: Outcome = "passed"
    text = ""
    for kind, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = element.find(kind)
        if found is not None:
            outcome = "failed" if word == "failed" else "skipped"
            text = (found.get("message") or "").strip().split("\n")[0][:_TEXT]
            break
    id_ = f"{element.get('classname', '')}.{element.get('name', '')}".strip(".")
    return Case(id=id_, outcome=outcome, took=float(element.get("time") or 0.0), text=text)
