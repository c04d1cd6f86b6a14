"""``build_plan``: cluster + catalogue + target -> plan. Pure: the same input always gives the same bytes.

The work is spread over ``facts`` (what is there), ``passes`` and ``rolling`` (who does what after whom), ``visits``
(the fewest visits that the needs allow), ``losses``, ``estimates`` and ``advice`` (what it means for the operator).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as copy_of
from itertools import chain

from underway.core import advice, milestones
from underway.core.changes import Changes, real_changes, unclaimed_text
from underway.core.drift import input_digests
from underway.core.estimates import timed
from underway.core.facts import VISIT, Facts, gather, refuse
from underway.core.gatestep import with_gates
from underway.core.lockstep import lockstep
from underway.core.losses import Losses, group_limits, role_limits
from underway.core.model.base import replace
from underway.core.model.cluster import Cluster
from underway.core.model.part import Milestone, Part
from underway.core.model.plan import Plan, Stage, StageKind
from underway.core.model.service import Catalogue
from underway.core.model.state import HostRecord
from underway.core.numbered import never_selected, with_selected
from underway.core.parts import Selection, problems, split
from underway.core.passes import Builder
from underway.core.rolling import rolling, set_apart

WHY: dict[StageKind, str] = {
    "preflight": "what must be true is checked on every host; nothing is changed",
    "prepare": "new bits on every host; nothing is restarted, so no downtime is expected",
    "expand": "what all hosts share gets what the new release adds; the old release keeps working",
    "control": "the control plane, host by host, under its limits",
    "data": "the data plane, host by host, once the control plane runs the new release",
    "finalize": "no old or orphaned service is left, then pins are taken off",
    "migrate": "data is moved over while the services run",
    "contract": "what only the old release used is removed",
    "verify": "the result is proven as a whole",
}

LOCKSTEP = "all hosts finish this number before any begins the next"

NO_RETURN: tuple[StageKind, ...] = ("finalize", "migrate", "contract")
"""The first of these that a plan has is its point of no return: after it the old release cannot run."""


def build_plan(
    cluster: Cluster,
    catalogue: Catalogue,
    target: str,
    *,
    digests: Mapping[str, str],
    known: Mapping[str, HostRecord] | None = None,
    durations: Mapping[str, Sequence[float]] | None = None,
    part: Part | None = None,
    reached: Mapping[str, Milestone] | None = None,
    every: bool = False,
) -> Plan:
    """The plan that upgrades ``cluster`` from its release to ``target``.

    ``digests`` are SHA-256 of input files by name, kept in ``Plan.inputs`` (``drift`` compares them). ``known`` is what
    earlier runs recorded of hosts: one that runs the target already is in no rolling pass. ``durations`` are seconds
    that passes took in past runs, by pass id. ``part``: what is to be upgraded now; the plan then ends before the
    point of no return. ``reached``: what earlier runs did for the whole deployment, by ``<service>/<phase>``: it is
    left out, unless ``every`` says that all is to be planned. Where nothing is to be done the plan has no stages, and
    its one warning says so.

    Raises ``Refused`` for a jump that is not supported, names that do not exist, limits that round to none or take a
    whole service down, and ``OrderImpossible`` for an order that has a cycle; all problems of a kind at once, a line
    each.
    """
    known = known or {}
    stated, catalogue = catalogue, with_gates(with_selected(catalogue, cluster.numbers))
    finished = () if every else milestones.standing(catalogue, target, reached or {})
    gathered = gather(cluster, catalogue, target, known)
    found = Changes() if every else real_changes(gathered)
    whole = copy_of(
        gathered,
        finished=frozenset(finished),
        services=tuple(name for name in gathered.services if name not in found.same),
        same=found.same,
    )
    selection = Selection(whole, part or Part())
    if part is not None and not part.whole:
        refuse([*problems(whole, part)])
        make = lockstep if cluster.strategy == "lockstep" else rolling
        make(Builder(whole))  # an order that is impossible as a whole is told as what it is
        refuse([*selection.out_of_order()])
    facts = selection.facts_of_part()
    roles, groups = role_limits(cluster), group_limits(cluster)
    builder = Builder(facts)
    idle = milestones.nothing_left(facts)
    stages = () if idle else _stages(builder, cluster.policy.approvals)
    losses = set_apart(facts, Losses(cluster, roles, groups), builder.passes)
    refuse([*advice.dangers(facts, losses), *advice.own_reboots(cluster.hosts, builder.passes, builder.steps)])
    passes = {}
    for name, work in builder.passes.items():
        p50, p90, basis = timed(work, builder.steps, durations or {})
        passes[name] = replace(work, p50=p50, p90=p90, basis=basis)
    rollback = {} if idle else _rollback(builder)
    by_hand = {} if idle else _by_hand(builder)
    told = {step.service for step in builder.steps.values()}
    warned = advice.warnings(facts, stages, passes, builder.steps, roles, groups, losses, known)
    if idle:
        warned = iter((milestones.why_nothing(facts),))
    if found.unclaimed:
        warned = chain(warned, (unclaimed_text(found.unclaimed, target),))
    return Plan(
        cluster=cluster.name,
        source=cluster.release,
        target=target,
        stages=stages,
        passes=passes,
        steps=builder.steps,
        handlers={name: s.handlers for name, s in catalogue.services.items() if name in told and s.handlers},
        hosts=cluster.hosts,
        roles=roles,
        groups=groups,
        role_vars={name: role.vars for name, role in cluster.roles.items() if role.vars},
        service_vars={name: s.vars for name, s in catalogue.services.items() if name in told and s.vars},
        settings=cluster.settings,
        needs={name: s.waits_for for name, s in catalogue.services.items() if name in facts.services and s.waits_for},
        release_vars=facts.release.vars,
        rollback=rollback,
        by_hand=by_hand,
        policy=cluster.policy,
        probes=cluster.probes,
        losses=losses,
        warnings=(*warned, *builder.notes, *never_selected(cluster, stated)),
        defaults=(*advice.defaults(facts, roles, builder.steps), *milestones.told(facts, reached or {})),
        inputs=input_digests(cluster, stated, target, digests, known, finished),
        part=facts.part,
        every=every,
        causes={name: causes for name, causes in found.causes.items() if name in told},
        partial=selection.partial(),
        once=milestones.of_stages(facts, stages, passes),
    )


def _stages(builder: Builder, approvals: Sequence[str]) -> tuple[Stage, ...]:
    facts = builder.facts
    lag = any(facts.behind(host) for hosts in facts.driven.values() for host in hosts)
    late = not facts.catch_up and facts.part.whole and not lag
    once = not facts.catch_up
    made: dict[StageKind, list[str]] = {}
    made["preflight"] = builder.per_host("preflight", "preflight") + builder.once_only("preflight", "preflight")
    made["prepare"] = builder.per_host("prepare", "prepare") + builder.once_only("prepare", "prepare")
    made["expand"] = builder.once_only("expand", "expand") if once else []
    numbered = lockstep(builder) if facts.cluster.strategy == "lockstep" else []
    made["control"], made["data"] = ([], []) if numbered else (split(builder, ids) for ids in rolling(builder))
    made["finalize"] = builder.finalize() if late else []
    made["migrate"] = builder.once_only("migrate", "migrate") if late else []
    made["contract"] = builder.once_only("contract", "contract") if late else []  # what has moved is in its place now
    # What was verified during the visits is verified once more if something was changed for all since then.
    changed = any(made[kind] for kind in NO_RETURN)
    again = builder.per_host("verify", "verify", again=True) if changed else []
    made["verify"] = again + (builder.once_only("verify", "verify") if facts.part.whole else [])
    no_return = next((kind for kind in NO_RETURN if made[kind]), None)
    listed: list[tuple[StageKind, int | None, list[str]]] = []
    for kind, ids in made.items():
        listed += [("control", number, found) for number, found in numbered] if kind == "control" else []
        listed.append((kind, None, ids))
    return tuple(
        Stage(
            kind=kind,
            number=number,
            passes=tuple(ids),
            why=WHY[kind] if number is None else LOCKSTEP,
            # "finalize" in the policy means the point of no return, whichever stage that is in this plan
            approval=kind in approvals or (kind == no_return and "finalize" in approvals),
            point_of_no_return=kind == no_return,
        )
        for kind, number, ids in listed
        if ids
    )


def _rollback(builder: Builder) -> dict[str, tuple[str, ...]]:
    """Role -> steps that undo its visits, services in reverse order of their needs."""
    facts: Facts = builder.facts
    found = {}
    for role in facts.members:
        steps = [
            builder.step(step)
            for service in reversed(builder.in_order(role))
            if facts.members[role] and (spec := facts.service(service).phases.get("rollback"))
            for step in spec.steps
        ]
        if steps:
            found[role] = tuple(steps)
    return found


def _by_hand(builder: Builder) -> dict[str, tuple[str, ...]]:
    """Role that operators upgrade themselves -> the steps of its hosts' upgrade, in order (B12)."""
    found = {}
    for role in (name for name, hosts in builder.facts.driven.items() if hosts):
        legs = builder.legs(builder.in_order(role), ("prepare", *VISIT), once=False)
        steps = tuple(step for leg in legs if not leg.on for step in leg.steps)
        if steps:
            found[role] = steps
    return found


__all__ = ["build_plan"]
