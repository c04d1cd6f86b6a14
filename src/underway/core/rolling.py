"""The rolling stages: visits become passes of ``control`` and ``data``, each edge with its reason. Pure.

Assumptions
    1. ``gather`` has refused unknown names, cycles of services and cycles of roles; a cycle of both is found here.
Invariants
    1. Each host that is to be upgraded is in every rolling pass of its role, and in no other role's.
    2. A pass is in ``control`` if it has a service of that plane, or if such a pass waits for it; else in ``data``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from underway.core import graphs
from underway.core.advice import is_danger
from underway.core.facts import VISIT, Facts, refuse
from underway.core.losses import Losses
from underway.core.model.base import replace
from underway.core.model.plan import Edge, Loss, Pass, StageKind
from underway.core.model.service import Phase
from underway.core.names import natural
from underway.core.ordering import Unit, closed, mixed_cycles
from underway.core.passes import Builder, why_visit
from underway.core.visits import Visit, arrange
from underway.errors import OrderImpossible

ONCE_RANK: Mapping[Phase, int] = {"drain": 0, "upgrade": 1, "undrain": 3}
"""Where a once-only phase stands among its service's visits (which are 2); a once-only ``verify`` is the last stage."""


def rolling(builder: Builder) -> tuple[list[str], list[str]]:
    """Make the passes of ``control`` and of ``data``; their ids, each after what it waits for.

    Raises ``OrderImpossible``.
    """
    facts = builder.facts
    roles = facts.cluster.roles
    once: dict[str, tuple[str, Phase, str, str]] = {}  # group -> service, phase, host, role
    for phase in ONCE_RANK:
        for service in facts.once(phase):
            host, role, _ = facts.primary(service)
            if host in facts.pending[role] and service not in facts.done.get(host, ()):
                once[f"{service}:{phase}"] = (service, phase, host, role)
    units = _units(builder)
    units += [Unit(group, service, ONCE_RANK[phase]) for group, (service, phase, _, _) in once.items()]
    needs = builder.needs_among({unit.service for unit in units})
    once_role = {group: role for group, (_, _, _, role) in once.items()}
    stated = {name: role.after for name, role in roles.items()}
    problems: list[str | OrderImpossible] = [*mixed_cycles(units, needs, with_once(stated, once_role), roles)]
    refuse(problems)
    after = with_once(closed(stated), once_role)
    found = arrange(units, needs, after, roles, builder.alone, hosts=builder.sizes)
    if not found.exact:
        builder.notes.append("the search for the fewest visits was cut short: another order may need fewer")
    visits = found.visits
    before = {index: [other for other, _ in visit.after] for index, visit in enumerate(visits)}
    above = graphs.ancestors(list(range(len(visits))), before)
    control, because = _control(facts, visits, above)
    names: dict[int, str] = {}
    keys = [(natural(visit.group), visit.number) for visit in visits]
    stages: dict[StageKind, list[str]] = {"control": [], "data": []}
    for kind, ids in stages.items():
        inside = [index for index in range(len(visits)) if (index in control) == (kind == "control")]
        for index in graphs.topological(inside, before, keys.__getitem__):
            visit = visits[index]
            if visit.group in once:
                names[index] = builder.once(kind, once[visit.group][1], visit.services[0])
            else:
                names[index] = _visit(builder, kind, visit)
            ids.append(names[index])
    for index, name in names.items():
        work = builder.passes[name]
        edges = tuple(
            Edge(before=names[other], after=name, reason=reason)
            for other, reason in visits[index].after
            if other in names and builder.passes[names[other]].stage == work.stage
        )
        why = work.why
        if index in because and because[index] in names:
            why += f"{'; ' if why else ''}in the control stage because {names[because[index]]} waits for it"
        builder.passes[name] = replace(work, after=edges, why=why)
    return stages["control"], stages["data"]


def _visit(builder: Builder, kind: StageKind, visit: Visit) -> str:
    facts, role = builder.facts, visit.group
    return builder.add(
        builder.visit_id(kind, visit),
        kind,
        role,
        visit.services,
        facts.pending[role],
        builder.legs(visit.services, VISIT, once=False),
        why_visit(visit),
        canaries=facts.canaries[role],
    )


def _units(builder: Builder) -> list[Unit]:
    """Services with work at a visit, on roles that have hosts to upgrade."""
    facts = builder.facts
    return [
        Unit(role, service, 2)
        for role in facts.members
        if facts.pending[role]
        for service in builder.in_order(role)
        if any(facts.phase(service, phase, once=False) for phase in VISIT)
    ]


def with_once(after: Mapping[str, Collection[str]], once_role: Mapping[str, str]) -> dict[str, set[str]]:
    """``after`` of roles and of once-only pieces: these wait, and are waited for, like the role of their host."""
    groups = {**{role: role for role in after}, **once_role}
    return {
        group: set(after[role]) | {once for once, other in once_role.items() if other in after[role]}
        for group, role in groups.items()
    }


def _control(facts: Facts, visits: Sequence[Visit], above: Mapping[int, set[int]]) -> tuple[set[int], dict[int, int]]:
    """Visits of the control stage, and for those that are there only for another's sake: whose."""
    own = [
        index
        for index, visit in enumerate(visits)
        if any(facts.service(name).plane == "control" for name in visit.services)
    ]
    control = set(own)
    because: dict[int, int] = {}
    for index in own:
        for other in sorted(above[index]):
            if other not in control:
                control.add(other)
                because[other] = index
    return control, because


def set_apart(facts: Facts, losses: Losses, passes: dict[str, Pass]) -> tuple[Loss, ...]:
    """The worst losses, after passes that together would take a whole service (or its quorum) out were made to wait.

    Each role keeps to its limit, but a service that runs on two roles is lost where both limits are used at once. So
    the later of two such passes comes after the earlier; ``passes`` is changed. Where the policy allows a full
    outage nothing is changed.
    """
    found = losses.of(passes)
    if facts.cluster.policy.allow_full_outage:
        return tuple(loss for loss, _ in found.values())
    while True:
        for loss, together in found.values():
            if len(together) > 1 and is_danger(facts, loss):
                earlier, later = together[0], together[1]
                what = "all" if loss.lost == loss.total else f"{loss.lost} of {loss.total}"
                reason = f"both run {loss.service}: {what} hosts of it could be out at once"
                if loss.lost < loss.total:
                    reason += ", and its quorum with them"
                edge = Edge(before=earlier.id, after=later.id, reason=reason)
                passes[later.id] = replace(later, after=(*later.after, edge))
                break
        else:
            return tuple(loss for loss, _ in found.values())
        found = losses.of(passes)
