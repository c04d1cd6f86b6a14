"""Suites that are run before, during and after an upgrade, and what they found."""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value
from underway.core.model.cluster import Probe

Moment = Literal["before", "during", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")

Outcome = Literal["passed", "failed", "skipped", "missing"]
"""``missing``: it was asked for by name, and there is no such test."""

SuiteKind = Literal["command", "probe", "tempest", "testinfra", "resource", "javelin"]

CHECK_SCHEMA = 1


class Tempest(Value, frozen=True, kw_only=True):
    """Tests that stestr runs in ``directory``, where its ``.stestr.conf`` lies.

    ``select`` are regular expressions over ids with their tags; ``tests`` ids, by release (``*``: every release);
    ``exclude`` regular expressions, by release. ``workers``: tests at once, 0 lets stestr choose.
    """

    directory: str
    program: str = "stestr"
    select: tuple[str, ...] = ()
    tests: dict[str, tuple[str, ...]] = {}
    exclude: dict[str, tuple[str, ...]] = {}
    workers: int = 0


class Testinfra(Value, frozen=True, kw_only=True):
    """Files of tests that pytest with testinfra runs against ``hosts`` (testinfra's words for how to reach them)."""

    __test__ = False  # pytest looks at names that begin so

    python: str
    files: tuple[str, ...]
    hosts: tuple[str, ...] = ()


class Resource(Value, frozen=True, kw_only=True):
    """A persistent resource by Grenade's protocol: ``program VERB SIDE``; exit status 0 is good.

    ``environment`` is added to that of the program.
    """

    program: tuple[str, ...]
    environment: dict[str, str] = {}


class Suite(Value, frozen=True, kw_only=True):
    """One named part of the checks; one of the fields that are called like its kind is set.

    ``when``: the moments at which it is run. ``timeout``: seconds that the whole may take. ``known``: by release
    (``*``: every release), ids (with ``*`` for any letters) that are known to fail and stop nobody.
    """

    name: str
    kind: SuiteKind
    when: tuple[Moment, ...] = ("before", "after")
    timeout: float = 1800.0
    known: dict[str, tuple[str, ...]] = {}
    command: tuple[str, ...] = ()
    probe: Probe | None = None
    tempest: Tempest | None = None
    testinfra: Testinfra | None = None
    resource: Resource | None = None


class Case(Value, frozen=True, kw_only=True):
    """One test and how it ended. ``took``: seconds; ``text``: one line on why it did not pass."""

    id: str
    outcome: Outcome
    took: float = 0.0
    text: str = ""


class SuiteResult(Value, frozen=True, kw_only=True):
    """What a suite found. ``problem``: why it could not be run to its end, empty where it was. ``left``: how many
    things that it made could not be deleted yet; its next run tries again."""

    suite: str
    kind: SuiteKind
    cases: tuple[Case, ...] = ()
    problem: str = ""
    left: int = 0


class Look(Value, frozen=True, kw_only=True):
    """One look at the resources during a run: from when to when (Unix seconds), and the ids that did not pass."""

    start: float
    end: float
    failed: dict[str, str] = {}  # id -> why


class CheckRun(Value, frozen=True, kw_only=True):
    """One run of the checks. ``run``: the upgrade that was under way or just over; ``looks``: see ``Look``."""

    schema: int = CHECK_SCHEMA
    id: str
    cluster: str
    moment: Moment
    release: str
    run: str = ""
    by: str = ""
    started: float
    ended: float
    suites: tuple[SuiteResult, ...] = ()
    looks: tuple[Look, ...] = ()


class ResourceRecord(Value, frozen=True, kw_only=True):
    """What the last sanity run left of a resource: its release, and whether the resource is there."""

    release: str
    present: bool
    at: float
