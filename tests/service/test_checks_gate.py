"""An upgrade that does not begin before its checks have passed, from the command line, with real processes (C1)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

UNDERWAY = str(Path(sys.executable).parent / "underway")

CLUSTER = """\
cluster: small
release: "1.0"
roles:
  web: {services: [web]}
hosts:
  web1: {role: web, connection: local, directory: machines/web1}
policy:
  approvals: [preflight]  # so that a run which begins ends at once
checks:
  page:
    command: [test, -e, page]
    when: [before]
  afterwards:
    command: ["false"]
    when: [after]
"""
SERVICE = """\
service: web
phases:
  preflight:
    - {step: look, idempotent: true, tasks: [{name: Look, ansible.builtin.command: "true"}]}
"""


class Operator:
    """Calls ``underway`` in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = [UNDERWAY, *line.split(), *more]
        return subprocess.run(words, cwd=self.directory, capture_output=True, text=True, timeout=120, check=False)

    def refused(self, line: str, *words: str) -> None:
        """It is refused in one line that says these words, and no run was begun by it."""
        runs = self("log --json").stdout.count("run-started")
        done = self(line)
        assert done.returncode == 3, done
        (said,) = done.stderr.splitlines()
        assert said.startswith("underway: the checks before the upgrade do not let it begin: "), said
        for word in (*words, "underway check run before", "--without-checks REASON"):
            assert word in said, said
        assert self("log --json").stdout.count("run-started") == runs


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    release = 'release: "2.0"\nsupports: ["1.0"]\n'
    for name, text in (("cluster.yaml", CLUSTER), ("services/web.yaml", SERVICE), ("releases/2.0.yaml", release)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Operator(tmp_path)


def test_a_night_with_checks(operator: Operator) -> None:
    """One story, since each step stands on the one before: not run, failed, passed, begun, over, waived."""
    saved = operator("plan --to 2.0 -o plan.json")
    assert saved.returncode == 0, saved.stderr
    assert "next: underway check run before, then underway upgrade plan.json" in saved.stdout

    begin = "upgrade plan.json --yes --plain"
    operator.refused(begin, "page: not run yet")
    assert "there was no run yet" in operator("status").stderr

    assert operator("check run before").returncode == 1
    operator.refused(begin, "page: page did not pass (")

    (operator.directory / "page").touch()
    good = operator("check run before")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "next: underway upgrade plan.json" in operator("plan --to 2.0 -o plan.json").stdout
    begun = operator(begin)
    assert begun.returncode == 4, begun.stdout + begun.stderr
    entries = operator("log").stdout
    assert f"; checked by {good.stdout.splitlines()[-1].split()[2]}" in entries, "the run says on what it stands"
    assert "checks-waived" not in entries

    # one that has begun goes on, however the checks stand now
    (operator.directory / "page").unlink()
    assert operator("check run before").returncode == 1
    for line in (begin, "upgrade --plain"):
        assert operator(line).returncode == 4
    unused = operator(begin + " --without-checks", "for nothing")
    assert (unused.returncode, "--without-checks is not recorded" in unused.stderr) == (4, True)
    refused = operator("upgrade --plain --without-checks", "I know better")
    assert (refused.returncode, "give PLAN" in refused.stderr) == (2, True)

    (operator.directory / "page").touch()
    assert operator("check run before").returncode == 0
    assert operator("abort --reason shown").returncode == 0
    operator.refused(begin, "page: run before the last upgrade was over (")
    blank = operator(begin + " --without-checks", " ")
    assert (blank.returncode, "do not let it begin" in blank.stderr) == (3, True)

    waived = operator(begin + " --without-checks", "the page is known\x1b[31m to be there")
    assert waived.returncode == 4, waived.stdout + waived.stderr
    assert "without its checks: page: run before the last upgrade was over (" in waived.stderr
    said = "it began without its checks (page: run before the last upgrade was over ("
    (entry,) = [
        entry for entry in map(json.loads, operator("log --json").stdout.splitlines()) if "waived" in entry["kind"]
    ]
    assert entry["text"].startswith(said) and entry["actor"].startswith("operator:")
    assert operator("audit verify").returncode == 0
    report = json.loads(operator("report --json").stdout)
    assert report["warnings"][0].startswith(said) and report["warnings"][0].endswith("): the page is known to be there")
    assert [row["why"] for row in report["operator"] if row["kind"] == "checks-waived"] == report["warnings"][:1]


def test_results_that_are_too_old(operator: Operator) -> None:
    cluster = operator.directory / "cluster.yaml"
    cluster.write_text(cluster.read_text().replace("policy:\n", "policy:\n  checks_age: 1m\n"))
    (operator.directory / "page").touch()
    assert operator("plan --to 2.0 -o plan.json").returncode == 0
    assert operator("check run before").returncode == 0
    (kept,) = operator.directory.glob(".underway/checks/*.json")
    results = json.loads(kept.read_text())
    results["started"] -= 300
    results["ended"] -= 300
    kept.write_text(json.dumps(results))
    operator.refused("upgrade plan.json --yes --plain", "page: run 5 min", "ago, at most 1 min counts")


def test_a_cluster_without_checks_begins_as_ever(operator: Operator) -> None:
    cluster = operator.directory / "cluster.yaml"
    cluster.write_text(cluster.read_text().partition("checks:")[0])
    assert "next: underway upgrade plan.json" in operator("plan --to 2.0 -o plan.json").stdout
    assert operator("upgrade plan.json --yes --plain --without-checks", "there are none").returncode == 4
    assert "waived" not in operator("log").stdout


def test_results_are_compared_with_each_suites_own_latest(operator: Operator) -> None:
    cluster = operator.directory / "cluster.yaml"
    text = (
        cluster.read_text()
        .replace("    when: [before]\n", "")
        .replace("    when: [after]\n", "")
        .replace('"false"', '"true"')
    )
    cluster.write_text(text)
    (operator.directory / "page").touch()
    ids = []
    for suite in ("page", "afterwards", "page"):
        ids.append(operator(f"check run before --suite {suite}").stdout.split()[-3])
        time.sleep(1.1)  # ids are by the second
    after = operator("check run after --suite afterwards").stdout
    assert f"against {ids[1]}\n" in after, "not with the newest, which has nothing of it"
    assert f"against {ids[1]}, {ids[2]}\n" in operator("check run after").stdout


NOTE = """
case $1 in
  create) echo here > "$UNDERWAY_SAVE/note" ;;
  verify) test -s "$UNDERWAY_SAVE/note" ;;
  destroy) rm "$UNDERWAY_SAVE/note" ;;
esac
"""


def test_what_nobody_looked_after_is_made_anew_for_the_next_upgrade(operator: Operator) -> None:
    """'check run after' is forgotten; or 'before' is: in no case is a resource said to be kept that was not there."""
    top, note = operator.directory, operator.directory / ".underway/checks/saved/note"
    (top / "note.sh").write_text(NOTE)
    cluster = top / "cluster.yaml"
    checks = "checks:\n  note:\n    resource: {program: [bash, note.sh]}\n"
    cluster.write_text(cluster.read_text().partition("checks:")[0] + checks)

    nothing = operator("check run after --release 2.0")
    assert nothing.returncode == 1, "there was never anything"
    assert (
        "could not be run: note: nothing of it was there from before: it is not there, and was not made"
        in nothing.stdout
    )
    assert not (note / "note").exists()

    assert operator("check run before").returncode == 0
    (note / "note").write_text("of the first release")
    late = operator("check run before --release 2.0")
    assert late.returncode == 0, late.stdout + late.stderr
    said = late.stderr.splitlines()
    assert said[-2:] == [
        "  of an earlier release: it is looked for, and removed",
        "  not there yet: it is made and looked for",
    ]
    assert (note / "note").read_text() == "here\n", "made anew, for the next upgrade to keep"
    assert json.loads((note / "record").read_text())["release"] == "2.0"

    after = operator("check run after --release 3.0")
    assert after.returncode == 0 and not (note / "note").exists(), after.stdout
    again = operator("check run after --release 3.0")
    assert again.returncode == 0 and "what " in again.stderr and "-after found stands" in again.stderr, again.stdout
    assert operator("check run after --release 4.0").returncode == 1
