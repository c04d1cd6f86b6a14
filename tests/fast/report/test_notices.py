"""What tasks tell operators: once for all hosts that say the same, in status and in every form of the report."""

from __future__ import annotations

import json
from dataclasses import replace

from fast.report.test_status import seen_by_probes, snapshot, status
from support.sample_run import SampleRun, keystone_run
from underway.cli.view import status_json
from underway.core.history import steps
from underway.core.model.base import replace as line_with
from underway.core.notices import counted, notices
from underway.core.rows import NoticeRow, Summary
from underway.core.rules import decide
from underway.report import html, jsonform, text

STEP = "keystone.prepare.install-the-new-release"
OLD = "keystone.conf: Deprecated opt token/driver found"


def told(made: SampleRun, host: str, *texts: str, attempt: int = 1) -> None:
    """Let the step of a host tell these, at its ``attempt``."""
    lines = made.lines[host]
    begins = [index for index, line in enumerate(lines) if line.kind == "begin" and line.step == STEP]
    at = begins[attempt - 1]
    more = [line_with(lines[at], kind="notice", task="Tell what it found", text=text) for text in texts]
    made.lines[host] = [*lines[: at + 1], *more, *lines[at + 1 :]]


def again(made: SampleRun, host: str) -> None:
    """The step of a host once more: it was interrupted."""
    lines = made.lines[host]
    first = next(index for index, line in enumerate(lines) if line.kind == "begin" and line.step == STEP)
    last = next(index for index, line in enumerate(lines) if line.kind == "end" and line.step == STEP)
    body = [line for line in lines[first : last + 1] if line.kind != "notice"]
    made.lines[host] = [*lines[:last], *body, *lines[last + 1 :]]


def example() -> SampleRun:
    made = keystone_run()
    for host in ("ctrl1", "ctrl2", "ctrl3"):
        told(made, host, OLD)
    told(made, "ctrl2", "\x1b[31mkeystone.conf: DEFAULT/x is not part of the sample config\u202e", OLD)
    return made


def summary() -> Summary:
    return example().summary()


def test_the_same_is_told_once_with_its_hosts() -> None:
    every, one = sorted(summary().notices, key=lambda row: -len(row.hosts))
    assert every == NoticeRow(
        service="keystone", phase="prepare", step="install the new release", text=OLD, hosts=("ctrl1", "ctrl2", "ctrl3")
    )
    assert (one.hosts, one.text) == (("ctrl2",), "keystone.conf: DEFAULT/x is not part of the sample config")
    assert counted(summary().notices) == "2 (keystone 2)"


def test_what_was_put_right_before_the_step_ran_again_is_not_told() -> None:
    made = example()
    again(made, "ctrl2")
    told(made, "ctrl2", OLD, attempt=2)
    found = notices(steps(made.plan, made.run.id, made.actions, made.lines))
    assert [(row.text, row.hosts) for row in found] == [(OLD, ("ctrl1", "ctrl2", "ctrl3"))]


def test_lines_outside_of_a_step_belong_to_none() -> None:
    made = keystone_run()
    lines = made.lines["ctrl1"]
    stray = line_with(lines[0], kind="notice", step=STEP, text="stray")
    made.lines["ctrl1"] = [stray, *lines, stray]
    assert made.summary().notices == ()


def test_every_form_of_the_report_has_them() -> None:
    made = summary()
    said = "\n".join(text.lines(made))
    assert "\nNotices\n  keystone, ctrl" in said
    assert "\n  keystone, ctrl1, ctrl2, ctrl3: keystone.conf: Deprecated opt token/driver" in said
    page = html.render(made)
    assert '<section id="notices"' in page and OLD in page and "\x1b" not in page and "\u202e" not in page
    form = json.loads(jsonform.dumps(made))
    assert {row["text"] for row in form["notices"]} == {row.text for row in made.notices}
    assert sum(len(row["notices"]) for row in form["steps"]) == 5, "each step has its own, as it told them"
    without = keystone_run().summary()
    assert 'id="notices"' not in html.render(without) and "Notices" not in "\n".join(text.lines(without))


def test_a_flood_is_bounded_where_it_is_read() -> None:
    made = keystone_run()
    told(made, "ctrl1", *(f"option {number} is deprecated" for number in range(html.MOST_NOTICES + 7)))
    page = html.render(made.summary())
    assert "7 more are in report.json" in page and page.count("is deprecated") == html.MOST_NOTICES
    assert "and 487 more" in "\n".join(text.lines(made.summary()))
    assert len(json.loads(jsonform.dumps(made.summary()))["notices"]) == html.MOST_NOTICES + 7


def test_status_says_so_in_one_line() -> None:
    made = example()
    extras = replace(seen_by_probes(made), notices=made.summary().notices)
    said = status(made, extras)
    assert "Notices 2 (keystone 2): 'underway report --text' tells them\n" in said
    seen = snapshot(made)
    decision = decide(made.plan, seen, made.plan.policy, made.now)
    form = json.loads(json.dumps(status_json(made.plan, seen, decision, extras, made.now)))
    assert [row["hosts"] for row in form["notices"]] == [list(row.hosts) for row in made.summary().notices]
    assert "Notices" not in status(keystone_run(), seen_by_probes(keystone_run()))
