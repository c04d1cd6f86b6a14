"""Executors start work on hosts and bring back what the hosts say. The host is the authority.

``submit`` is idempotent: the same ticket may be handed over any number of times, by any number of coordinators;
the host's runner accepts a token once and answers "what did you do?" for ever after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from underway.core.model.cluster import Host
from underway.core.model.event import HostLine


@dataclass(frozen=True, slots=True)
class Order:
    """A leg of an action to be carried to one machine.

    ``host`` is the machine that executes (a balancer for a drain leg), ``target`` the host that the action is
    about. ``ticket`` and ``plan`` are signed DSSE envelopes (bytes); ``files`` maps file names of the bundle to
    bytes (their digests are in the signed plan). ``since`` is the last journal line already seen,
    ``known`` the last of them that was durable: a host that does not have it is not the machine that it was.
    """

    run: str
    action: str
    leg: int
    token: int
    host: Host
    target: str
    ticket: bytes
    plan: bytes
    files: tuple[tuple[str, bytes], ...]
    since: int = 0
    known: int = 0
    timeout: float = 3600.0


ReportKind = Literal["accepted", "progress", "finished", "failed", "unknown", "refused", "unreachable", "busy"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a host (or the way to it) says of an order.

    ``accepted``: the runner took the ticket (durably). ``progress``: only new ``lines``. ``finished``: the leg is
    done. ``failed``: a step failed, the host says so. ``unknown``: a step was interrupted and nobody can tell
    whether it happened; an answer is wanted. ``refused``: the runner did not take the ticket (``text`` says
    why); nothing was done. ``unreachable``: no word from the host; says nothing of what it did. ``busy``:
    another pass holds the host's lock; will be tried again.
    """

    run: str
    action: str
    leg: int
    token: int
    host: str
    kind: ReportKind
    lines: Sequence[HostLine] = ()
    text: str = ""
    step: str = ""
    duration: float = 0.0


@runtime_checkable
class Executor(Protocol):
    """The contract: calls of which none blocks for long."""

    def submit(self, order: Order) -> None:
        """Hand an order over (again): start it if the host has not, else follow it from ``order.since``."""
        ...

    def cancel(self, order: Order) -> None:
        """Stop the leg: the host's whole process group is ended and waited for. Reports follow as usual."""
        ...

    def withdraw(self, run: str, action: str) -> None:
        """Nobody waits for this action any more: it ended, or an operator spoke.

        An order that was not accepted is taken back, so that a host that is reached again does not begin it; work that
        has begun goes on.
        """
        ...

    def reports(self, timeout: float) -> list[Report]:
        """What came in since the last call; waits up to ``timeout`` seconds for the first."""
        ...

    def close(self) -> None:
        """Let go of connections; work on hosts goes on."""
        ...
