"""``strategy: lockstep``: a pass for each role and number, and a barrier between numbers (B4). Pure.

Assumptions
    1. ``gather`` has refused unknown names, cycles of services and cycles of roles; a cycle of both is found here.
Invariants
    1. The passes of one number are one stage: none begins before all passes of the numbers before have finished.
    2. A role has work at a number in one pass, unless needs between roles at that number force it into several.
    3. A pass takes all hosts of its role at once (``whole``), unless one of its steps is a ``batch`` step (B5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from underway.core.facts import VISIT, Facts, refuse
from underway.core.model.base import replace
from underway.core.model.plan import Pass
from underway.core.model.service import Phase, Step
from underway.core.ordering import Unit, closed, mixed_cycles
from underway.core.parts import split
from underway.core.passes import Builder, why_visit
from underway.core.rolling import ONCE_RANK, with_once
from underway.core.visits import Visit, arrange

EARLY: frozenset[Phase] = frozenset({"drain", "upgrade"})
"""Phases whose steps without a number are done at the first number; those of the others of a visit at the last."""

Picks = Callable[[Step], bool]


def lockstep(builder: Builder) -> list[tuple[int, list[str]]]:
    """Make the passes of each number, in order; their ids, each after what it waits for at the same number.

    Raises ``OrderImpossible`` for needs and ``after`` of roles that contradict each other at one number.
    """
    facts = builder.facts
    numbers = sorted({step.number for step in _steps(facts) if step.number is not None}) or [0]
    found = []
    for number in numbers:
        ids = split(builder, _passes(builder, number, _picks(number, number == numbers[0], number == numbers[-1])))
        if ids:
            found.append((number, ids))
    _mark(builder, found)
    return found


def _picks(number: int, first: bool, last: bool) -> Picks:
    """Whether a step makes a pass at a number. One that gathers and has none does so at the first, and joins others."""

    def picks(step: Step) -> bool:
        if step.number is not None:
            return step.number == number
        return first if step.gathers or step.phase in EARLY else last

    return picks


def _steps(facts: Facts) -> Iterable[Step]:
    for role in facts.members:
        for service in facts.cluster.roles[role].services if facts.pending[role] else ():
            if service in facts.services:
                yield from _of_service(facts, service)
    for phase in ONCE_RANK:
        for service in facts.once(phase):
            spec = facts.phase(service, phase, once=True)
            yield from spec.steps if spec else ()


def _of_service(facts: Facts, service: str) -> Iterable[Step]:
    for phase in VISIT:
        spec = facts.phase(service, phase, once=False)
        yield from spec.steps if spec else ()


def _passes(builder: Builder, number: int, picks: Picks) -> list[str]:
    facts = builder.facts
    roles = facts.cluster.roles
    units = []
    for role in facts.members:
        services = builder.in_order(role) if facts.pending[role] else []
        if any(picks(step) for service in services for step in _of_service(facts, service)):
            units += [
                Unit(role, service, 2)
                for service in services
                if any(picks(step) or _always(step) for step in _of_service(facts, service))
            ]
    once: dict[str, tuple[str, Phase, str]] = {}  # group -> service, phase, role
    for phase in ONCE_RANK:
        for service in facts.once(phase):
            spec = facts.phase(service, phase, once=True)
            host, role, _ = facts.primary(service)
            wanted = host in facts.pending[role] and service not in facts.done.get(host, ())
            if wanted and spec is not None and any(picks(step) for step in spec.steps):
                once[f"{service}:{phase}"] = (service, phase, role)
    units += [Unit(group, service, ONCE_RANK[phase]) for group, (service, phase, _) in once.items()]
    if not units:
        return []
    needs = builder.needs_among({unit.service for unit in units})
    once_role = {group: role for group, (_, _, role) in once.items()}
    stated = {name: role.after for name, role in roles.items()}
    refuse([*mixed_cycles(units, needs, with_once(stated, once_role), roles)])
    after = with_once(closed(stated), once_role)
    found = arrange(units, needs, after, roles, builder.alone, hosts=builder.sizes)
    if not found.exact:
        builder.notes.append(f"number {number}: the search for the fewest visits was cut short")

    def make(visit: Visit) -> str:
        if visit.group in once:
            return _once(builder, number, once[visit.group], picks)
        return _visit(builder, number, visit, picks)

    return builder.arranged(found, make)


def _always(step: Step) -> bool:
    """Whether it is in every pass that its role has."""
    return step.gathers and step.number is None


def _visit(builder: Builder, number: int, visit: Visit, picks: Picks) -> str:
    facts, role = builder.facts, visit.group
    name = f"control/{role}.step{number}" + (f".{visit.number}" if visit.number > 1 else "")
    legs = builder.legs(visit.services, VISIT, once=False, picks=lambda step: picks(step) or _always(step))
    builder.add(
        name, "control", role, visit.services, facts.pending[role], legs, why_visit(visit),
        canaries=facts.canaries[role],
    )  # fmt: skip
    steps = (builder.steps[step] for leg in legs for step in leg.steps)
    _change(builder, name, number=number, whole=not any(step.batch for step in steps))
    return name


def _once(builder: Builder, number: int, work: tuple[str, Phase, str], picks: Picks) -> str:
    service, phase, _ = work
    name = builder.once("control", phase, service, f".step{number}", picks)
    _change(builder, name, number=number, whole=True)
    return name


def _mark(builder: Builder, stages: Iterable[tuple[int, list[str]]]) -> None:
    """Say of which passes others of the same lockstep follow on their hosts: nothing is soaked, and nobody is asked for
    health, where services are stopped on purpose. A ``batch`` pass leaves its hosts serving: it is a visit like any
    other as long as no other pass has stopped what they run."""
    order = [name for _, ids in stages for name in ids]
    last: dict[str, str] = {}
    for name in order:
        for host in builder.passes[name].hosts:
            last[host] = name
    stopped: set[str] = set()
    for name in order:
        work = builder.passes[name]
        ends = any(last[host] == name for host in work.hosts)
        serves = not work.whole and not stopped.intersection(work.hosts)
        _change(builder, name, midway=not ends and not serves)
        if work.whole:
            stopped.update(work.hosts)


def _change(builder: Builder, name: str, **changes: object) -> Pass:
    builder.passes[name] = replace(builder.passes[name], **changes)
    return builder.passes[name]
