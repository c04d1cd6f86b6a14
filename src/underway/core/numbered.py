"""Steps by number: which of them are run, in which order inside a visit, and tasks of several services that run once.

Rules: inside a phase, steps without a number come first, then the numbers from the lowest up, each in the order of
services (A2, A4, B4, B8). A number that is not among the cluster's is never selected, which is told (B19). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from underway.core.model.base import canonical, replace
from underway.core.model.cluster import Cluster
from underway.core.model.service import Catalogue, Service, Step
from underway.core.names import ordered

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Placed = tuple[str, Step]
"""The service on whose hosts a step runs (empty: the host itself), and the step."""


def with_selected(catalogue: Catalogue, numbers: Iterable[int]) -> Catalogue:
    """The catalogue without steps that no number selects; ``numbers``: those that are run, none: all of them."""
    run = frozenset(numbers)
    if not run:
        return catalogue
    services = {name: _selected(service, run) for name, service in catalogue.services.items()}
    return replace(catalogue, services=services)


def _selected(service: Service, run: frozenset[int]) -> Service:
    if all(step.number is None or step.number in run for spec in service.phases.values() for step in spec.steps):
        return service
    phases = {}
    for phase, spec in service.phases.items():
        steps = tuple(step for step in spec.steps if step.number is None or step.number in run)
        if steps:
            phases[phase] = replace(spec, steps=steps)
    return replace(service, phases=phases)


def never_selected(cluster: Cluster, catalogue: Catalogue) -> Iterator[str]:
    """A sentence for each service that runs somewhere and has steps which no number selects (B19)."""
    run = frozenset(cluster.numbers)
    used = {name for role in cluster.roles.values() for name in role.services}
    for name in ordered(used & set(catalogue.services)) if run else ():
        lost = [
            f"{phase} step {step.name!r} (number {step.number})"
            for phase, spec in catalogue.services[name].phases.items()
            for step in spec.steps
            if step.number is not None and step.number not in run
        ]
        if lost:
            yield f"{name}: never selected, as 'numbers' of the cluster does not have it: {', '.join(lost)}"


def by_number(found: Iterable[Placed]) -> list[Placed]:
    """Steps of one phase, given in the order of services, by number."""
    return sorted(found, key=lambda placed: -1 if placed[1].number is None else placed[1].number)


def without_duplicates(found: Iterable[Placed], services: Mapping[str, Service]) -> Iterator[Placed]:
    """Steps without tasks that an earlier one of the same phase and number has, too, among services that ask for it.

    A task is the same where its text is, and what its service says of the variables and handlers that it names. A step
    of which nothing is left is left out; one that lost tasks is a step of its own, ``<id>.less``.
    """
    seen: set[tuple[str, str, int | None, bytes]] = set()
    for on, step in found:
        service = services[step.service]
        if service.duplicates == "run":
            yield on, step
            continue
        tasks = []
        for task in step.tasks:
            notified = service.handlers if "notify" in canonical(task).decode() else ()
            key = (on, step.phase, step.number, meaning([task, notified], service.vars))
            if key not in seen:
                seen.add(key)
                tasks.append(task)
        if len(tasks) == len(step.tasks):
            yield on, step
        elif tasks:
            yield on, replace(step, id=f"{step.id}.less", tasks=tuple(tasks))


def meaning(content: object, defaults: Mapping[str, object]) -> bytes:
    """Content of a service with the defaults of the variables that it names, at any distance."""
    found: dict[str, object] = {}
    queue = set(_WORD.findall(canonical(content).decode()))
    while queue:
        values = {name: defaults[name] for name in (queue & defaults.keys()) - found.keys()}
        found |= values
        queue = set(_WORD.findall(canonical(values).decode())) if values else set()
    return canonical([content, found])
