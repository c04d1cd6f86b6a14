"""A scenario for ``underway simulate``: how long work takes, and what fails.

::

    durations:            # one host's pass; a length of time, or two for a uniform draw
      control/keystone: 40s
      data/compute: [1m, 5m]
      data/compute/cmp7: 30m
    fail:                 # the first time that a host does this step, it fails
      - {host: cmp3, step: nova-compute.upgrade.restart}
    unhealthy: [cmp9]     # hosts that are down from the beginning
    retry: true           # an operator retries what failed after a minute (default: nobody does)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from underway.config.faults import examine
from underway.config.fragment import Fragment
from underway.config.located import Document
from underway.config.reading import MAX_SMALL_BYTES, read
from underway.config.values import Seconds
from underway.core.model.plan import Plan, action_id
from underway.core.nearest import nearest
from underway.errors import FileProblems, Problem


class Failure(Fragment):
    """A step that fails on a host, once."""

    host: str
    step: str


class ScenarioFile(Fragment):
    """As written."""

    durations: dict[str, Seconds | list[Seconds]] = Field(default={})
    fail: list[Failure] = Field(default=[])
    unhealthy: list[str] = Field(default=[])
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """``durations``: pass id or action id -> (shortest, longest) seconds. ``fail``: (host, step id) pairs."""

    durations: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fail: frozenset[tuple[str, str]] = frozenset()
    unhealthy: tuple[str, ...] = ()
    retry: bool = False


def load_scenario(path: Path | None, plan: Plan) -> Scenario:
    """Read a scenario for a plan; None is the empty one. Raises FileProblems with every mistake."""
    if path is None:
        return Scenario()
    doc = read(path, str(path), MAX_SMALL_BYTES)
    fragment, problems = examine(doc, ScenarioFile)
    if fragment is None:
        raise FileProblems(problems)
    problems += _unknown(doc, fragment, plan)
    durations: dict[str, tuple[float, float]] = {}
    for name, value in fragment.durations.items():
        both = value if isinstance(value, list) else [value, value]
        if len(both) != 2 or both[0] > both[1]:
            problems.append(
                doc.problem(("durations", name), "duration", "expected a length of time, or [shortest, longest]")
            )
            continue
        durations[name] = (both[0], both[1])
    if problems:
        raise FileProblems(sorted(problems))
    fail = frozenset((failure.host, failure.step) for failure in fragment.fail)
    return Scenario(durations, fail, tuple(fragment.unhealthy), fragment.retry)


def _unknown(doc: Document, fragment: ScenarioFile, plan: Plan) -> list[Problem]:
    found = []
    for name in fragment.durations:
        pass_id, _, host = name.rpartition("/")
        if name not in plan.passes and not (pass_id in plan.passes and host in plan.passes[pass_id].hosts):
            names = [*plan.passes, *(action_id(work.id, host) for work in plan.passes.values() for host in work.hosts)]
            found.append(
                doc.problem(
                    ("durations", name),
                    "unknown-pass",
                    f"the plan has no pass or action {name!r}",
                    nearest(name, names).strip(" ()"),
                    of="key",
                )
            )
    for number, failure in enumerate(fragment.fail):
        if failure.host not in plan.hosts:
            found.append(
                doc.problem(
                    ("fail", number, "host"),
                    "unknown-host",
                    f"the plan has no host {failure.host!r}",
                    nearest(failure.host, plan.hosts).strip(" ()"),
                )
            )
        if failure.step not in plan.steps:
            found.append(
                doc.problem(
                    ("fail", number, "step"),
                    "unknown-step",
                    f"the plan has no step {failure.step!r}",
                    nearest(failure.step, plan.steps).strip(" ()"),
                )
            )
    for number, host in enumerate(fragment.unhealthy):
        if host not in plan.hosts:
            found.append(
                doc.problem(
                    ("unhealthy", number),
                    "unknown-host",
                    f"the plan has no host {host!r}",
                    nearest(host, plan.hosts).strip(" ()"),
                )
            )
    return found
