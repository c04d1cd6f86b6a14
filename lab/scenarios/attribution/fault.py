"""What a fault is: how it is brought in, and what is true of it. Stated before anything runs; pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Task = Mapping[str, Any]
"""An Ansible task, as it stands in a service file."""

Attribution = Literal["caused", "shared", "unattributed"]

STAMPS = "cat /run/fault/began /run/fault/ended"
"""Prints when a fault began and ended, as the scripts that do the harm wrote it down."""


@dataclass(frozen=True)
class At:
    """A task: where an outage begins, in the words of the report."""

    host: str
    service: str
    step: str
    task: str

    def __str__(self) -> str:
        return f"{self.host}: {self.service} “{self.step}”, task “{self.task}”"


@dataclass(frozen=True)
class Insert:
    """Tasks put into a step that is there, behind the task called ``after``."""

    service: str
    phase: str
    step: str
    after: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Append:
    """A step put at the end of a phase; the phase is made if the service does not have it."""

    service: str
    phase: str
    step: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Omit:
    """A task that is not done for some hosts."""

    service: str
    phase: str
    step: str
    task: str
    hosts: tuple[str, ...]


Edit = Insert | Append | Omit


@dataclass(frozen=True)
class Fault:
    """One fault and the truth about it.

    ``attribution`` and ``truth`` are what the report must say of every outage that users meet: the one task in which
    it began, all tasks that share it, or none. ``edits`` are what the service files of this run have otherwise than
    those that are shipped, ``services`` are service files of its own on the controllers. ``arrange`` are scripts that
    run on hosts before the run (what the fault needs and is none itself), ``outside`` is what somebody else does
    meanwhile (``outside.py``). ``clock`` prints on each of the hosts ``clocked`` (else those of ``truth``) the Unix
    times between which the fault lasted. ``backends``: whether each back-end is asked for itself, too.
    """

    name: str
    title: str
    story: str
    attribution: Attribution
    truth: tuple[At, ...]
    edits: tuple[Edit, ...] = ()
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arrange: Mapping[str, str] = field(default_factory=dict)
    outside: str = ""
    clock: str = STAMPS
    clocked: tuple[str, ...] = ()
    backends: bool = True
    certificates: bool = False
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    host_vars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def timed_on(self) -> tuple[str, ...]:
        """The hosts that know when the fault began and ended."""
        return self.clocked or tuple(dict.fromkeys(at.host for at in self.truth))
