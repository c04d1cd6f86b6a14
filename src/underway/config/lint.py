"""What is allowed and most likely a mistake: migrations on every host, steps that no number selects. Warnings, which
``underway validate --strict`` refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from underway.config.documents import ClusterFile, PhaseFile, ServiceFile, StepFile
from underway.config.located import Document
from underway.config.words import shown
from underway.core.facts import ALWAYS_ONCE
from underway.errors import Problem

Loc = tuple[str | int, ...]

_RUNS = frozenset({"command", "shell", "raw", "script", "expect"})
"""Modules that run a program, by their last name."""

_MIGRATES = re.compile(
    r"-manage\s+([^|;&]*\s)?(db|api_db|database|db_sync|online_data_migrations)\b(?!\s+(version|current|show|list|archive|purge))"
    r"|\b(db[-_ ]?sync|dbsync)\b|\b(gnocchi|ceilometer)-upgrade\b|-db-manage\s+([^|;&]*\s)?upgrade\b"
    r"|\bmanage\.py\s+migrate\b|\balembic\s+([^|;&]*\s)?upgrade\b"
)
"""Commands that change a database's schema or move its data: those of the services of OpenStack (the upgrade guide of
each at docs.openstack.org), Django's and Alembic's."""

_LONGEST = 10_000
"""Characters of a command that are looked at."""

_ONE_HOST = re.compile(r"bootstrap|inventory_hostname|underway_hosts_by|ansible_play_hosts|groups\s*\[|primary|first")
"""A condition that most likely holds on one host only (A29, B14)."""


def check_migrations(doc: Document, service: ServiceFile) -> Iterator[Problem]:
    """Migrations that every host of the service would run, at the same time as others (SEMANTICS B(c))."""
    for phase, spec in service.phases.items():
        if spec.once or phase in ALWAYS_ONCE:
            continue
        for index, step in enumerate(spec.steps):
            if step.read_only or step.gathers:
                continue
            for place, task in enumerate(step.tasks):
                at: Loc = ("phases", phase, "steps", index, "tasks", place)
                yield from _migrates(doc, at, task, f"step {shown(step.step)}")


def _migrates(doc: Document, at: Loc, task: Any, told: str) -> Iterator[Problem]:
    if not isinstance(task, dict) or _ONE_HOST.search(str(task.get("when", ""))):
        return
    for key, value in task.items():
        if key in ("block", "rescue", "always") and isinstance(value, list):
            for index, inner in enumerate(value):
                yield from _migrates(doc, (*at, key, index), inner, told)
        elif key.rpartition(".")[2] in _RUNS:
            found = _MIGRATES.search(_text(value)[:_LONGEST])
            if found:
                message = f"{told} migrates a database ({shown(found.group().strip())}) on every host of the service"
                hint = "put it into 'expand', 'contract' or 'migrate', or a phase with 'once: true'"
                yield doc.problem((*at, key), "migration", message, hint, of="key", severity="warning")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(_text(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_text(item) for item in value)
    return str(value)


def check_selected(
    cluster: ClusterFile, files: Mapping[str, tuple[Document, ServiceFile]], used: Mapping[str, Sequence[str]]
) -> Iterator[Problem]:
    """Steps of services that run somewhere, with numbers that are not run (B19). ``used``: hosts by service."""
    run = set(cluster.numbers)
    for name, (doc, service) in files.items():
        if not run or not used.get(name):
            continue
        for phase, spec in service.phases.items():
            yield from _selected(doc, phase, spec, run)


def _selected(doc: Document, phase: str, spec: PhaseFile, run: set[int]) -> Iterator[Problem]:
    for index, step in enumerate(spec.steps):
        lost = sorted(set(_numbers(step)) - run)
        if lost:
            key = "numbers" if step.numbers else "number"
            message = f"step {shown(step.step)} is never selected at {', '.join(map(str, lost))}"
            hint = f"'numbers' of the cluster has {', '.join(map(str, sorted(run)))}"
            at: Loc = ("phases", phase, "steps", index, key)
            yield doc.problem(at, "never-selected", message, hint, severity="warning")


def _numbers(step: StepFile) -> Sequence[int]:
    return step.numbers or (() if step.number is None else (step.number,))
