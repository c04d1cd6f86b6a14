"""A service of the catalogue: phases of tasks, what it needs, its checks; and a release.

Read from ``services/*.yaml`` and ``releases/*.yaml`` by ``config``. Tasks are ordinary Ansible tasks, kept
as data and never interpreted here.
"""

from __future__ import annotations

from typing import Any, Literal

from underway.core.model.base import Value
from underway.core.model.manifest import Kind, Manifest

Phase = Literal[
    "preflight", "prepare", "expand", "drain", "upgrade", "undrain", "verify", "finalize", "migrate",
    "contract", "rollback",
]  # fmt: skip

PHASES: tuple[Phase, ...] = (
    "preflight", "prepare", "expand", "drain", "upgrade", "undrain", "verify", "finalize", "migrate",
    "contract", "rollback",
)  # fmt: skip

Task = dict[str, Any]


class Step(Value, frozen=True, kw_only=True):
    """What the journal knows: a named piece of a phase with ordinary Ansible tasks inside.

    ``id`` is unique in a plan: ``<service>.<phase>.<slug of the name>``. ``idempotent``: it may run again
    after an interruption. ``check``: one Ansible task that succeeds if the step has happened, and fails if
    it has not. A step with neither that was interrupted is ``unknown`` and asks the operator. ``read_only``: it only
    looks, so it is idempotent, and where it fails at the point of no return the way back is still open (C9, C20).
    ``timeout`` is seconds. ``again``: exit codes (of the step's last task) are not known here: a step of
    the ``migrate`` phase repeats itself with Ansible's own ``until``. ``reboot``: its tasks make the machine reboot
    (unless none of them changes anything); it is done once the host is in another boot than it was begun in (F9).

    ``number`` orders steps inside a host's upgrade over the services of its role (A4, B4): within a phase steps without
    one come first, then the numbers in order, each in the order of services. ``gathers``: it changes nothing and only
    leaves results for later tasks, so it runs each time its pass begins or goes on (B6, B15); without a number it is in
    every pass of a lockstep upgrade. ``batch``: in lockstep, under the role's limit and not on all hosts at once (B5).
    """

    id: str
    name: str
    service: str
    phase: Phase
    tasks: tuple[Task, ...]
    idempotent: bool = False
    read_only: bool = False
    check: Task | None = None
    timeout: float = 3600.0
    reboot: bool = False
    number: int | None = None
    gathers: bool = False
    batch: bool = False

    @property
    def settles_itself(self) -> bool:
        """Whether an interruption is never a question to the operator: it may run again, or it tells what happened."""
        return self.idempotent or self.check is not None or self.reboot


class PhaseSpec(Value, frozen=True, kw_only=True):
    """One phase of a service. ``once``: on one host of the service only, in an action of its own.

    ``on``: empty for the host itself, else the name of a service on whose hosts the steps run (a drain at
    the balancers, say), with ``underway_target`` naming the host that is drained. ``restarts`` (of ``finalize``): it
    takes the service on a host away for a moment, so hosts use the slots and gates of their role, each
    drained before and undrained after.
    """

    steps: tuple[Step, ...]
    once: bool = False
    on: str = ""
    restarts: bool = False


class ActionSpec(Value, frozen=True, kw_only=True):
    """What can be rolled out for a service at any time; ``drain``: it leaves its balancer meanwhile, where it can."""

    steps: tuple[Step, ...]
    drain: bool = True


class Service(Value, frozen=True, kw_only=True):
    """One composable piece of the catalogue.

    ``needs``: services that must be upgraded before this one. ``after``: needs that must be finished on every host,
    those of its own role included, before this one is upgraded anywhere. ``plane``: which stage it belongs to.
    ``balancer``: the name its back-ends have at the load balancer (for attribution and documentation).
    ``quorum``: the service stops serving when half of its hosts are down: limits are checked against it.
    ``vars``: defaults for its tasks, under cluster settings, role and host values. ``duplicates``: ``once`` if a task
    that another such service of the role has in the same phase and number runs once, where it stands first (B8).
    """

    name: str
    plane: Literal["control", "data"] = "control"
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    balancer: str = ""
    quorum: bool = False
    duplicates: Literal["run", "once"] = "run"
    phases: dict[str, PhaseSpec] = {}
    handlers: tuple[Task, ...] = ()
    probes: dict[str, Any] = {}
    vars: dict[str, Any] = {}
    logs: tuple[str, ...] = ()  # paths on a host, with * for any letters and {variable}, or journal:UNIT
    version: tuple[str, ...] = ()  # program and arguments that print the version that is there
    actions: dict[str, ActionSpec] = {}
    bits: dict[Kind, tuple[str, ...]] = {}  # patterns of what it is made of, by kind of list (``core.changes``)
    gate: Task | None = None  # one Ansible task; the host is healthy when it succeeds. None: `verify` is the gate

    @property
    def waits_for(self) -> tuple[str, ...]:
        """``needs`` and ``after`` together, each service once."""
        return tuple(dict.fromkeys((*self.needs, *self.after)))


class ReleaseCheck(Value, frozen=True, kw_only=True):
    """A check of a release that must pass before anything else: one Ansible task run in preflight."""

    name: str
    service: str
    task: Task


class Release(Value, frozen=True, kw_only=True):
    """A named version of the whole cluster, with the jumps it supports.

    ``supports``: releases from which an upgrade to this one is allowed. ``services``: version per service
    (what changes); a service that is absent does not change. ``vars`` reach the tasks. ``manifest``: what its hosts
    are made of, where that is listed.
    """

    name: str
    supports: tuple[str, ...]
    services: dict[str, str] = {}
    notes: dict[str, str] = {}
    checks: tuple[ReleaseCheck, ...] = ()
    vars: dict[str, Any] = {}
    manifest: Manifest | None = None


class Catalogue(Value, frozen=True, kw_only=True):
    """All services and releases that were read."""

    services: dict[str, Service]
    releases: dict[str, Release]
