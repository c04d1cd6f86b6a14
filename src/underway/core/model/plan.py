"""The plan: data that can be printed, saved, hashed, compared, signed, simulated, exported and applied.

plan > stage > pass > action. A *pass* is the work that all hosts of a role do at one visit (or one once-only
piece of work on one host); an *action* is a pass on one host, with the id ``<pass id>/<host>``. Steps are
stored once and named by passes, so that a plan of 10,000 hosts stays small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from underway.core.model.base import Value, digest
from underway.core.model.cluster import Group, Host, Probe
from underway.core.model.part import Part, Partial
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Step, Task

PLAN_SCHEMA = 1

StageKind = Literal["preflight", "prepare", "expand", "control", "data", "finalize", "migrate", "contract", "verify"]

STAGES: tuple[StageKind, ...] = (
    "preflight", "prepare", "expand", "control", "data", "finalize", "migrate", "contract", "verify",
)  # fmt: skip

ROLLING_STAGES: frozenset[StageKind] = frozenset({"control", "data"})
"""Stages whose passes take a host out of service and bring it to the other release."""


class Edge(Value, frozen=True, kw_only=True):
    """``after`` waits for ``before`` (pass ids), and the reason, as a sentence for people."""

    before: str
    after: str
    reason: str


class Leg(Value, frozen=True, kw_only=True):
    """The part of a pass that one machine executes, in order with the other legs of the pass.

    ``on``: empty for the action's own host, else the name of the host that executes it (a balancer that
    drains the action's host). ``playbook`` is the file name in the rendered bundle, ``digest`` the SHA-256 of
    its bytes: what is executed equals what was planned (P8). Both are filled by ``render.seal``.
    """

    steps: tuple[str, ...]
    on: str = ""
    playbook: str = ""
    digest: str = ""


class Pass(Value, frozen=True, kw_only=True):
    """The work of one visit. ``hosts`` in the order in which they may start (canaries first).

    ``after``: passes of the same stage that must have finished on every host first. ``rolling``: it takes the
    host out of service. ``once``: exactly one host does it for all. ``canaries``: how many hosts at the
    front must have finished before the rest may start.

    With ``strategy: lockstep`` a pass has the ``number`` of its steps. ``whole``: it takes all hosts of its role at
    once, the role's limit does not hold (but for 0). ``midway``: others follow on its hosts before they serve again, so
    nothing is soaked after it and nobody is asked for their health.
    """

    id: str
    stage: StageKind
    role: str
    services: tuple[str, ...]
    hosts: tuple[str, ...]
    legs: tuple[Leg, ...]
    after: tuple[Edge, ...] = ()
    rolling: bool = False
    once: bool = False
    canaries: int = 0
    number: int | None = None
    whole: bool = False
    midway: bool = False
    why: str = ""  # why this pass exists, or why it was split from another
    p50: float = 0.0  # seconds one host takes, half of the time
    p90: float = 0.0
    basis: str = ""  # what the estimate rests on: "guess: …" or "12 past runs"

    @property
    def upgrades(self) -> bool:
        """Whether it brings its hosts to the other release; a rolling pass of ``finalize`` only restarts them."""
        return self.rolling and self.stage in ROLLING_STAGES


class Stage(Value, frozen=True, kw_only=True):
    """Passes between two barriers: every pass waits for all passes of the stage before.

    ``number``: of a lockstep, where several stages are of one kind, one for each number.
    """

    kind: StageKind
    passes: tuple[str, ...]
    number: int | None = None
    why: str = ""
    approval: bool = False
    point_of_no_return: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others of its plan: ``control``, or ``control 3`` in a lockstep."""
        return self.kind if self.number is None else f"{self.kind} {self.number}"


class Loss(Value, frozen=True, kw_only=True):
    """The worst simultaneous loss of a service under the plan's limits: ``lost`` of ``total`` hosts."""

    service: str
    lost: int
    total: int
    why: str


class RoleLimits(Value, frozen=True, kw_only=True):
    """A role as the rules see it: who belongs to it, its limit resolved in hosts, and where that came from."""

    name: str
    limit: int
    stated: str  # what the operator wrote, or "default 1"
    group: str = ""
    percent: int = 0  # of a limit that was stated as a percentage: it shrinks with the role where hosts are dropped


class GroupLimits(Value, frozen=True, kw_only=True):
    """A group as the rules see it."""

    name: str
    roles: tuple[str, ...]
    limit: int
    stated: str
    percent: int = 0


class Plan(Value, frozen=True, kw_only=True):
    """Everything that a run needs; the same input always gives the same bytes."""

    schema: int = PLAN_SCHEMA
    cluster: str
    source: str
    target: str
    stages: tuple[Stage, ...]
    passes: dict[str, Pass]
    steps: dict[str, Step]
    handlers: dict[str, tuple[Task, ...]] = {}
    hosts: dict[str, Host]
    roles: dict[str, RoleLimits]
    groups: dict[str, GroupLimits] = {}
    role_vars: dict[str, dict[str, Any]] = {}
    service_vars: dict[str, dict[str, Any]] = {}
    release_vars: dict[str, Any] = {}  # of the target release: over service_vars, under settings
    settings: dict[str, Any] = {}
    needs: dict[str, tuple[str, ...]] = {}  # service -> services that it needs, to put outages on their causes
    rollback: dict[str, tuple[str, ...]] = {}  # role -> step ids that undo its pass, in order
    by_hand: dict[str, tuple[str, ...]] = {}  # role that operators upgrade themselves -> its step ids, in order
    policy: Policy = Policy()
    probes: dict[str, Probe] = {}
    losses: tuple[Loss, ...] = ()
    warnings: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()  # the safe defaults that were taken, as sentences
    inputs: dict[str, str] = {}  # part of the input -> its digest, to find drift
    mode: Literal["upgrade", "rollback", "roll"] = "upgrade"  # rollback: hosts that finish run `source` again
    title: str = ""  # of a roll: what is done on each host
    part: Part = Part()  # what is upgraded now by choice; the rest waits for later plans
    every: bool = False  # also what does not change, or was done for the whole deployment by earlier runs (--all)
    causes: dict[str, tuple[str, ...]] = {}  # service -> what changes of it, where the releases say what they hold
    partial: tuple[Partial, ...] = ()  # hosts that earlier plans began, or that this one does not finish
    once: dict[str, str] = {}  # <service>/<phase> that is done for the whole deployment -> digest of what it is made of

    @property
    def way(self) -> str:
        """From where to where, or what is rolled out, in a few words."""
        ways = {"rollback": f"rollback to {self.source}", "roll": self.title}
        only = f", only {self.part.text}" if self.part.text else ""
        return ways.get(self.mode, f"{self.source} to {self.target}{only}")

    def pass_of(self, action: str) -> Pass:
        """The pass of an action id. Raises KeyError for an id that is not of this plan."""
        pass_id, host = split_action(action)
        found = self.passes[pass_id]
        if host not in self.hosts:
            raise KeyError(action)
        return found

    def actions(self) -> Iterator[tuple[Pass, str]]:
        """Every (pass, host), in the order of stages, passes and hosts."""
        for stage in self.stages:
            for pass_id in stage.passes:
                found = self.passes[pass_id]
                for host in found.hosts:
                    yield found, host

    def digest(self) -> str:
        """SHA-256 of the canonical plan."""
        return digest(self)


def action_id(pass_id: str, host: str) -> str:
    """``<pass id>/<host>``."""
    return f"{pass_id}/{host}"


def split_action(action: str) -> tuple[str, str]:
    """(pass id, host) of an action id; host names hold no slash."""
    pass_id, _, host = action.rpartition("/")
    return pass_id, host


__all__ = [
    "PLAN_SCHEMA", "ROLLING_STAGES", "STAGES", "Edge", "Group", "GroupLimits", "Leg", "Limit", "Loss", "Pass",
    "Plan", "RoleLimits", "Stage", "StageKind", "action_id", "split_action",
]  # fmt: skip
