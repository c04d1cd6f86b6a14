"""What a service does for the whole deployment: when it may, that it is done once, whatever the number of runs. Pure.

Invariants
    1. What changes the deployment for good (``finalize``, ``migrate``, ``contract``) is in no plan of a part; in the
       plan of the whole it stands behind the stages that bring every service of every host to the release (B22).
    2. What a run did is in no later plan for the same release, unless what it is made of changed meanwhile: its steps,
       the service's version, its variables, those of the release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from underway.core.facts import Facts
from underway.core.model.base import digest
from underway.core.model.part import Milestone
from underway.core.model.plan import Pass, Plan, Stage, StageKind, action_id
from underway.core.model.service import Catalogue, Phase, Release
from underway.core.model.snapshot import Snapshot
from underway.core.words import some

KINDS: tuple[Phase, ...] = ("expand", "finalize", "migrate", "contract")
"""Phases whose work is for the whole deployment, each a stage; the others belong to a host's visit, or only look."""


def key_of(service: str, phase: str) -> str:
    """How a piece is called in plans and records."""
    return f"{service}/{phase}"


def made_of(catalogue: Catalogue, release: Release, service: str, phase: Phase) -> str:
    """The digest of what a piece is made of."""
    spec = catalogue.services[service]
    return digest([spec.phases[phase], release.services.get(service, ""), spec.vars, release.vars])


def standing(catalogue: Catalogue, target: str, reached: Mapping[str, Milestone]) -> tuple[tuple[str, Phase], ...]:
    """The pieces that earlier runs did for ``target`` as the catalogue has them now, in the order of their names."""
    release = catalogue.releases.get(target)
    found = []
    for name, service in sorted(catalogue.services.items()):
        for phase in KINDS:
            known = reached.get(key_of(name, phase))
            if release is None or known is None or phase not in service.phases or known.release != target:
                continue
            if known.digest == made_of(catalogue, release, name, phase):
                found.append((name, phase))
    return tuple(found)


def nothing_left(facts: Facts) -> bool:
    """Whether no host has anything to be upgraded, and nothing is left to be done for the deployment."""
    if facts.same and not facts.services:
        return True
    if any(facts.pending.values()):
        return False
    if facts.catch_up or not facts.part.whole:
        return True
    pieces = [(name, phase) for name in facts.services if facts.hosts_of(name) for phase in KINDS]
    has = [piece for piece in pieces if (spec := facts.service(piece[0]).phases.get(piece[1])) and spec.steps]
    return bool(has) and facts.finished.issuperset(has)


def why_nothing(facts: Facts) -> str:
    """The sentence of a plan without stages."""
    if facts.same and not facts.services:
        return f"nothing to do: nothing that services are made of changes with {facts.target} (--all plans them all)"
    if not facts.part.whole:
        return f"nothing to do: all of it ({facts.part.text}) runs {facts.target} already, or is not changed by it"
    if facts.catch_up:
        return f"nothing to do: the cluster and all its hosts run {facts.target}"
    return (
        f"nothing to do: all hosts run {facts.target}, and what is done for the whole deployment is done (set release: "
        f"{facts.target} in the cluster file; --all does that work again)"
    )


def told(facts: Facts, reached: Mapping[str, Milestone]) -> Iterator[str]:
    """What is left out because it is done, with the runs that did it; and what waits for the plan of the whole."""
    by_run: dict[tuple[str, str], list[str]] = {}
    for name, kind in sorted(facts.finished):
        if name in facts.services:
            by_run.setdefault((kind, reached[key_of(name, kind)].by_run), []).append(name)
    for (phase, run), names in by_run.items():
        yield f"{phase} of {some(names, 6)}: done in run {run}, so left out (--all: done again)"
    if facts.part.whole or facts.catch_up:
        return
    late = [name for name in facts.services if any(kind in facts.service(name).phases for kind in KINDS[1:])]
    if late:
        yield (
            f"for the whole deployment (finalize, migrate, contract of {some(late, 6)}): in the plan without a part "
            f"(underway plan --to {facts.target}), once every service of every host is on {facts.target}"
        )


def of_stages(facts: Facts, stages: Sequence[Stage], passes: Mapping[str, Pass]) -> dict[str, str]:
    """``Plan.once``: the pieces that these stages do, each with what it is made of."""
    return {
        key_of(name, stage.kind): made_of(facts.catalogue, facts.release, name, stage.kind)
        for stage in stages
        if stage.kind in KINDS
        for pass_id in stage.passes
        for name in passes[pass_id].services
    }


def reached_by(plan: Plan, snapshot: Snapshot, done: Collection[str], run: str, now: float) -> dict[str, Milestone]:
    """Pieces that are finished by the actions ``done``, which ``snapshot`` does not know of yet.

    A piece counts as done when every action of it is; what an operator waived is not done.
    """
    if plan.mode != "upgrade":
        return {}
    found: dict[str, Milestone] = {}
    kinds: dict[StageKind, set[str]] = {}
    for action in done:
        work = plan.pass_of(action)
        if work.stage in KINDS:
            kinds.setdefault(work.stage, set()).update(work.services)
    for kind, services in kinds.items():
        for service in sorted(services):
            key = key_of(service, kind)
            if key in plan.once and all(
                action_id(work.id, host) in done or snapshot.state(action_id(work.id, host)) == "done"
                for work in plan.passes.values()
                if work.stage == kind and service in work.services
                for host in work.hosts
            ):
                found[key] = Milestone(release=plan.target, digest=plan.once[key], by_run=run, at=now)
    return found
