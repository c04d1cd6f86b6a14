"""Hosts that wait for the same thing lie in one bucket, so that one look at the rules answers for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from underway.core.layout import Visit
from underway.core.rulebook import Look, SlotCase
from underway.core.tally import Spot


class Kind(NamedTuple):
    """What hosts of one shape have in common: their passes and all that the slot rows ask."""

    todo: tuple[Visit, ...]
    canary: tuple[bool, ...]  # per pass of todo
    role: str
    counted: bool = False
    placed: bool = False
    first: bool = False
    renewed: bool = False
    executor: str = ""


class Shape:
    """Hosts of one kind, in a bucket per failure domain."""

    __slots__ = ("buckets", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.buckets: dict[str, Bucket] = {}


class Bucket:
    """Hosts of one shape and failure domain; ``places`` are their places in the first pass of ``todo``, sorted."""

    __slots__ = ("_case", "domain", "places", "shape", "spot")

    def __init__(self, shape: Shape, domain: str, spot: Spot) -> None:
        self.shape = shape
        self.domain = domain
        self.spot = spot
        self.places: list[int] = []
        self._case: SlotCase | None = None

    def case(self, look: Look, visit: Visit) -> SlotCase:
        """The subject of the slot rows for these hosts in one of their passes."""
        if self._case is None or self._case.visit is not visit:
            kind = self.shape.kind
            canary = kind.canary[kind.todo.index(visit)]
            self._case = SlotCase(look, visit, canary, kind.counted, kind.placed, kind.executor, self.spot)
        return self._case

    def hosts(self) -> Iterator[str]:
        """Their names, in order."""
        names = self.shape.kind.todo[0].hosts
        return (names[place] for place in self.places)


class Idle:
    """The mark of hosts without work in the present stage; ``next`` is the stage that has more (-1: none)."""

    __slots__ = ("next",)

    def __init__(self, stage: int) -> None:
        self.next = stage
