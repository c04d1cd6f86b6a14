"""A part of an upgrade: what is planned now, while the rest waits for later plans."""

from __future__ import annotations

from typing import Literal

from underway.core.model.base import Value

Plane = Literal["control", "data"]


class Part(Value, frozen=True, kw_only=True):
    """Which services on which hosts. Each word narrows, several of one kind widen: a service is taken if it is of one
    of ``planes`` and one of ``services``, a host if it is one of ``hosts`` and of one of ``roles``; an empty kind takes
    all. Without any word it is no part, but the whole upgrade.
    """

    planes: tuple[Plane, ...] = ()
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is left out by choice."""
        return self == Part()

    @property
    def text(self) -> str:
        """As an operator says it: ``plane control, role database``."""
        kinds = (("plane", self.planes), ("role", self.roles), ("host", self.hosts), ("service", self.services))
        return ", ".join(f"{kind} {' '.join(names)}" for kind, names in kinds if names)


class Partial(Value, frozen=True, kw_only=True):
    """Hosts that are not brought to the release in one plan: their services that runs before this plan brought to it
    (``done``), and those that are on the old release after it, too (``left``)."""

    hosts: tuple[str, ...]
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Milestone(Value, frozen=True, kw_only=True):
    """What a service did for the whole deployment (a phase that is done once, or on all hosts after the point of no
    return), when, and in which run. ``digest``: of what it was made of: work that changed is done again."""

    release: str
    digest: str
    by_run: str = ""
    at: float = 0.0
