"""A scenario with faults as a page for readers: what was broken, what came of it, what the operator saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.places import PROJECT
from scenarios.hop import Hop
from scenarios.judge import Verdict
from scenarios.transcript import Entry, readable

HOME = PROJECT / "docs/scenarios"


def write(
    stage: Hop,
    name: str,
    what: str,
    found: Sequence[Verdict],
    report: dict[str, Any],
    entries: Sequence[Entry],
    *,
    docs: bool,
) -> Path:
    """Write the page beside the run, and to ``docs/scenarios`` where it is asked for; the path."""
    about = f"{stage.lab.size} laboratory, {stage.source} to {stage.target}; {stage.made.told()}"
    text = page(name, what, about, found, report, entries)
    path = stage.home / "story.md"
    path.write_text(text)
    if docs:
        HOME.mkdir(parents=True, exist_ok=True)
        (HOME / f"{name}.md").write_text(text)
    return path


def page(
    name: str, what: str, about: str, found: Sequence[Verdict], report: dict[str, Any], entries: Sequence[Entry]
) -> str:
    """The page. ``what``: the scenario's docstring; its first sentence is the title."""
    title, _, rest = what.strip().partition("\n")
    lines = [f"# {title.rstrip('.')}", "", *([rest.strip(), ""] if rest.strip() else [])]
    lines += [f"`lab/run scenario {name}`: {about}. Written by that command alone.", ""]
    lines += ["## What came of it", "", report["headline"], ""]
    lines += [f"- {mark(one)}{one.text}" for one in found]
    lines += ["", "## What the operator saw", "", "Hosts are enrolled, and the plan is made.", "", readable(entries)]
    return "\n".join(lines)


def mark(one: Verdict) -> str:
    """How a list says whether something is as promised; nothing for a mere figure."""
    return "" if one.good is None else "as promised: " if one.good else "**not as promised**: "
