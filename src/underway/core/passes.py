"""Passes of each stage: which hosts, which legs, after what, and why. Pure.

Assumptions
    1. ``gather`` has refused unknown names and cycles of services.
Invariants
    1. A host is in the passes of its own role only (and of the once-only work that it does for all).
    2. A pass of a stage waits only for passes of the same stage; what it waits for in an earlier one is the barrier's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from underway.core import graphs
from underway.core.facts import ALWAYS_ONCE, Facts
from underway.core.model.base import replace
from underway.core.model.plan import Edge, Leg, Pass, StageKind
from underway.core.model.service import Phase, Step
from underway.core.names import listing, natural, slug
from underway.core.numbered import by_number, without_duplicates
from underway.core.ordering import Needs, Unit, service_order
from underway.core.visits import Arrangement, Visit, arrange

AGAIN = "-at-the-end"
"""Ends the id of a step of ``verify`` that the last stage does once more: it is a step of its own in the journal."""


class Builder:
    """Collects passes and the steps that they name."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.passes: dict[str, Pass] = {}
        self.steps: dict[str, Step] = {}
        self.notes: list[str] = []
        self._needs = {name: service.waits_for for name, service in facts.catalogue.services.items()}
        self._after = {name: service.after for name, service in facts.catalogue.services.items() if service.after}
        self._direct = self.needs_among(facts.services).of
        self.sizes = {role: len(hosts) for role, hosts in facts.members.items()}
        self.alone = frozenset(role for role, hosts in facts.members.items() if len(hosts) == 1)
        self._checks = _release_checks(facts)
        self._used: set[str] = {
            f"{stage}/{role}" for stage in ("control", "data", "finalize", "preflight", "prepare", "verify")
            for role in facts.cluster.roles
        }  # fmt: skip

    def needs_among(self, services: Iterable[str]) -> Needs:
        """What waits for what among services that have work."""
        return Needs(self._needs, set(services), self._after)

    # -- legs

    def legs(
        self,
        services: Sequence[str],
        phases: Iterable[Phase],
        once: bool,
        again: bool = False,
        picks: Callable[[Step], bool] | None = None,
    ) -> tuple[Leg, ...]:
        """What is executed where, in order: consecutive steps on the same machine are one leg. ``picks``: which steps;
        None: all of the phases."""
        work: list[tuple[str, list[str]]] = []
        for phase in phases:
            listed: list[tuple[str, Step]] = []
            for service in reversed(services) if phase == "drain" else services:
                spec = self.facts.phase(service, phase, once)
                if spec is not None:
                    listed += [(spec.on, step) for step in spec.steps if picks is None or picks(step)]
            inner: list[tuple[str, list[str]]] = []  # (service whose hosts do it, steps), neighbours together
            for on, step in without_duplicates(by_number(listed), self.facts.catalogue.services):
                if not inner or inner[-1][0] != on:
                    inner.append((on, []))
                inner[-1][1].append(self.step(step, again))
            for on, names in inner:
                for machine in self.facts.hosts_of(on) if on else ("",):
                    if work and work[-1][0] == machine:
                        work[-1][1].extend(names)
                    else:
                        work.append((machine, list(names)))
        return tuple(Leg(steps=tuple(names), on=machine) for machine, names in work)

    def step(self, step: Step, again: bool = False) -> str:
        """Keep a step for the plan; its id."""
        if again:
            step = replace(step, id=step.id + AGAIN)
        name, number = step.id, 1
        while self.steps.setdefault(step.id, step) != step:  # less than it is elsewhere, and another part of it
            number += 1
            step = replace(step, id=f"{name}{number}")
        return step.id

    # -- stages without order: every host at any time

    def per_host(self, kind: StageKind, phase: Phase, again: bool = False) -> list[str]:
        """A pass for each role whose services have steps in ``phase``; no role waits for another."""
        facts = self.facts
        found = []
        for role, hosts in (facts.members if facts.part.whole and not facts.catch_up else facts.pending).items():
            if not hosts:
                continue
            services = [name for name in self.in_order(role) if facts.phase(name, phase, once=False)]
            legs = self.legs(services, (phase,), once=False, again=again)
            if kind == "preflight":
                checks = self._checks_of(role)
                services += [name for name in dict.fromkeys(step.service for step in checks) if name not in services]
                legs = _joined(legs, [self.step(step, again=False) for step in checks])
            if legs:
                found.append(self.add(f"{kind}/{role}", kind, role, services, hosts, legs))
        return found

    def once_only(self, kind: StageKind, phase: Phase) -> list[str]:
        """A pass for each service that does ``phase`` once for all, in the order of needs where that matters."""
        services = list(self.facts.once(phase))
        if phase not in ALWAYS_ONCE:
            return [self._prepared(self.once(kind, phase, service)) for service in services]
        found = arrange([Unit(service, service) for service in services], self.needs_among(services))
        return self.arranged(found, lambda visit: self.once(kind, phase, visit.services[0]))

    def _prepared(self, name: str) -> str:
        """What a service prepares once for all comes after its role was prepared: it may use what that put there."""
        work = self.passes[name]
        before = f"prepare/{work.role}"
        if work.stage == "prepare" and before in self.passes:
            reason = f"{listing(work.services)} may use what prepare puts on hosts of {work.role}"
            self.passes[name] = replace(work, after=(Edge(before=before, after=name, reason=reason),))
        return name

    def finalize(self) -> list[str]:
        """Per host and once-only work of the point of no return, both in the order of needs.

        Where services are restarted the pass is rolling: it leaves its balancer, uses its role's slots and passes the
        gates as in an upgrade.
        """
        facts = self.facts
        units = [
            Unit(role, service, 0)
            for role in facts.members
            for service in self.in_order(role)
            if facts.members[role]
            and facts.phase(service, "finalize", once=False)
            and (service, "finalize") not in facts.finished
        ]
        units += [Unit(f"{service}:finalize", service, 1) for service in facts.once("finalize")]
        needs = self.needs_among({unit.service for unit in units})
        found = arrange(units, needs, roles=facts.cluster.roles, alone=self.alone, hosts=self.sizes)

        def make(visit: Visit) -> str:
            if visit.group not in facts.cluster.roles:
                return self.once("finalize", "finalize", visit.services[0])
            restarted = [name for name in visit.services if self._restarted(name)]
            legs = (
                *self.legs(restarted, ("drain",), once=False, again=True),
                *self.legs(visit.services, ("finalize",), once=False),
                *self.legs(restarted, ("undrain",), once=False, again=True),
            )
            name, hosts = self.visit_id("finalize", visit), facts.members[visit.group]
            self.add(name, "finalize", visit.group, visit.services, hosts, merged(legs), why_visit(visit))
            self.passes[name] = replace(self.passes[name], rolling=bool(restarted))
            return name

        return self.arranged(found, make)

    def _restarted(self, service: str) -> bool:
        spec = self.facts.phase(service, "finalize", once=False)
        return spec is not None and spec.restarts

    # -- common parts

    def arranged(self, found: Arrangement, make: Callable[[Visit], str]) -> list[str]:
        """Passes of an ordered stage with their edges, listed so that each comes after what it waits for."""
        before = {index: {other for other, _ in visit.after} for index, visit in enumerate(found.visits)}
        keys = [(natural(visit.group), visit.number) for visit in found.visits]
        names: dict[int, str] = {}
        for index in graphs.topological(range(len(found.visits)), before, keys.__getitem__):
            names[index] = make(found.visits[index])
        for index, name in names.items():
            edges = tuple(
                Edge(before=names[other], after=name, reason=reason) for other, reason in found.visits[index].after
            )
            self.passes[name] = replace(self.passes[name], after=edges)
        return list(names.values())

    def once(
        self, kind: StageKind, phase: Phase, service: str, suffix: str = "", picks: Callable[[Step], bool] | None = None
    ) -> str:
        """A pass of once-only work, on the service's primary host. ``suffix`` ends its id."""
        host, role, why = self.facts.primary(service)
        name = (f"{kind}/{service}" if phase == kind else f"{kind}/{service}.{phase}") + suffix
        while name in self._used:
            name += ".once"
        legs = self.legs((service,), (phase,), once=True, picks=picks)
        text = f"once for {service}, on {host} ({why})"
        return self.add(name, kind, role, (service,), (host,), legs, text, once=True)

    def visit_id(self, kind: StageKind, visit: Visit) -> str:
        name, number = f"{kind}/{visit.group}", visit.number
        if number == 1:
            return name
        while f"{name}.{number}" in self._used:
            number += 1
        return f"{name}.{number}"

    def add(
        self,
        name: str,
        kind: StageKind,
        role: str,
        services: Sequence[str],
        hosts: tuple[str, ...],
        legs: tuple[Leg, ...],
        why: str = "",
        once: bool = False,
        canaries: int = 0,
    ) -> str:
        self._used.add(name)
        rolling = kind in ("control", "data")
        self.passes[name] = Pass(
            id=name, stage=kind, role=role, services=tuple(services), hosts=hosts, legs=legs, rolling=rolling,
            once=once, canaries=canaries, why=why,
        )  # fmt: skip
        return name

    def in_order(self, role: str) -> list[str]:
        """Services of a role that take part, in the order of their needs, else as the role lists them."""
        listed = dict.fromkeys(self.facts.cluster.roles[role].services)
        return service_order([name for name in listed if name in self._direct], self._direct)

    def _checks_of(self, role: str) -> list[Step]:
        services = self.facts.cluster.roles[role].services
        facts = self.facts  # a check of what the release does not change is made all the same: it was asked for
        mine = {name for name in services if name in facts.services or name in facts.unchanged}
        return [step for step in self._checks if step.service in mine]


def merged(legs: Iterable[Leg]) -> tuple[Leg, ...]:
    """Neighbouring legs on the same machine as one."""
    found: list[Leg] = []
    for leg in legs:
        if found and found[-1].on == leg.on:
            found[-1] = replace(leg, steps=(*found[-1].steps, *leg.steps))
        else:
            found.append(leg)
    return tuple(found)


def _joined(legs: tuple[Leg, ...], steps: Sequence[str]) -> tuple[Leg, ...]:
    """The legs with more steps on the host itself."""
    if not steps:
        return legs
    if legs and not legs[-1].on:
        return (*legs[:-1], replace(legs[-1], steps=(*legs[-1].steps, *steps)))
    return (*legs, Leg(steps=tuple(steps)))


def _release_checks(facts: Facts) -> list[Step]:
    """The release's checks as steps of ``preflight``: they run on every host of the service that they are about."""
    found: list[Step] = []
    used: set[str] = set()
    for check in facts.release.checks:
        name = unique = f"{check.service}.preflight.release-{slug(check.name)}"
        number = 1
        while unique in used:
            number += 1
            unique = f"{name}-{number}"
        used.add(unique)
        found.append(
            Step(
                id=unique, name=check.name, service=check.service, phase="preflight", tasks=(check.task,),
                idempotent=True,
            )
        )  # fmt: skip
    return found


def why_visit(visit: Visit) -> str:
    """Why a visit exists: nothing to say where it is the only one of its role."""
    if visit.of == 1:
        return ""
    why = f", {visit.why}" if visit.why else ": what can be done before the other roles"
    return f"visit {visit.number} of {visit.of}{why}"
