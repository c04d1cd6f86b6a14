"""What the rules ask of a plan again and again, worked out once: who is in which pass, stage, role and domain.

A layout depends on the plan alone and never changes, so one may serve any number of decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from underway.core.model.plan import Edge, Pass, Plan, Stage


class Visit:
    """A pass, with what the rules ask of it.

    ``known`` is false for a pass that a stage names and the plan does not have: nobody can finish it, so what comes
    after it waits (a decision holds where it does not know). ``executors``: hosts that execute a leg for others
    (balancers). ``undoes``: it is a rollback's, for hosts that may be ill because of what it undoes. ``follows``: a
    pass of the same lockstep took its hosts' services away before, so they may be ill for that.
    """

    __slots__ = (
        "after", "canaries", "executors", "follows", "guessed", "hosts", "id", "index", "known", "members", "midway",
        "once", "p50", "p90", "places", "prefix", "role", "rolling", "stage", "undoes", "upgrades", "whole",
    )  # fmt: skip

    def __init__(self, index: int, stage: int, name: str, work: Pass | None, undoes: bool) -> None:
        self.index = index
        self.stage = stage
        self.id = name
        self.prefix = name + "/"
        self.known = work is not None
        self.hosts: tuple[str, ...] = work.hosts if work else ()
        self.members = frozenset(self.hosts)
        self.after: tuple[Edge, ...] = work.after if work else ()
        self.role = work.role if work else ""
        self.rolling = work.rolling if work else False
        self.upgrades = work.upgrades if work else False
        self.once = work.once if work else False
        self.canaries = work.canaries if work else 0
        self.whole = work.whole if work else False
        self.midway = work.midway if work else False
        self.follows = False
        self.guessed = work is not None and not work.basis.endswith("past runs")
        self.p50 = work.p50 if work else 0.0
        self.p90 = work.p90 if work else 0.0
        self.executors: tuple[str, ...] = tuple(dict.fromkeys(leg.on for leg in work.legs if leg.on)) if work else ()
        self.undoes = undoes
        self.places: dict[str, int] | None = None

    def place(self, host: str) -> int:
        """The host's place in the order of the pass."""
        if self.places is None:
            self.places = {name: place for place, name in reversed(list(enumerate(self.hosts)))}
        return self.places[host]

    def __repr__(self) -> str:
        return f"Visit({self.id})"


class Layout:
    """The plan as the rules see it. Stages and passes count from 0 in the plan's order."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stages: tuple[Stage, ...] = plan.stages
        by_stage: list[tuple[Visit, ...]] = []
        self.visits: dict[str, Visit] = {}
        taken: set[str] = set()
        for number, stage in enumerate(plan.stages):
            found = []
            for name in dict.fromkeys(stage.passes):
                if name in self.visits:
                    continue  # a pass belongs to the first stage that names it
                visit = Visit(len(self.visits), number, name, plan.passes.get(name), plan.mode == "rollback")
                visit.follows = visit.role in taken
                if visit.midway:
                    taken.add(visit.role)
                self.visits[name] = visit
                found.append(visit)
            by_stage.append(tuple(found))
        self.by_stage = tuple(by_stage)
        self.rolling = tuple(visit for visit in self.visits.values() if visit.rolling)

    @cached_property
    def executors(self) -> frozenset[str]:
        """Hosts that execute legs for others."""
        return frozenset(name for visit in self.visits.values() for name in visit.executors)

    @cached_property
    def probed(self) -> frozenset[str]:
        """Hosts that have a probe of their own."""
        return frozenset(probe.host for probe in self.plan.probes.values() if probe.host)

    def gated(self, host: str) -> bool:
        """Whether something outside checks the host's health after its work: a probe of its own.

        The gates of its services are steps of its visit, and have been passed when the work is finished.
        """
        return host in self.probed

    @cached_property
    def order(self) -> dict[str, int]:
        """Each host's place in the plan: the canonical order wherever names are listed."""
        return {host: place for place, host in enumerate(self.plan.hosts)}

    def work(self, stage: int) -> dict[str, tuple[Visit, ...]]:
        """Each host's passes in a stage, in the order of the stage; hosts without one are absent."""
        found: dict[str, tuple[Visit, ...]] = {}
        for visit in self.by_stage[stage]:
            both = found.keys() & visit.members
            earlier = {host: found[host] for host in both}
            found.update(dict.fromkeys(visit.hosts, (visit,)))
            for host, visits in earlier.items():
                found[host] = (*visits, visit)
        return found

    def next_stages(self, stage: int) -> dict[str, int]:
        """For each host the first stage after ``stage`` that has work for it; hosts without one are absent."""
        found: dict[str, int] = {}
        for number in range(len(self.stages) - 1, stage, -1):
            for visit in self.by_stage[number]:
                found.update(dict.fromkeys(visit.hosts, number))
        return found

    def visits_of(self, host: str) -> Iterator[Visit]:
        """The passes that a host is in, in the plan's order."""
        return (visit for visit in self.visits.values() if host in visit.members)
