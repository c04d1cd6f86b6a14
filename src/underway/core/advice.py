"""What an operator should know of a plan before it is applied: dangers that are refused, warnings, defaults. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from underway.core.facts import Facts, phases_in_order
from underway.core.losses import role_sizes
from underway.core.model.cluster import Host
from underway.core.model.plan import GroupLimits, Loss, Pass, RoleLimits, Stage
from underway.core.model.policy import Policy
from underway.core.model.service import Step
from underway.core.model.state import HostRecord
from underway.core.names import listing, ordered, span
from underway.core.words import duration, some


def dangers(facts: Facts, losses: Sequence[Loss]) -> Iterator[str]:
    """Losses that are refused unless the policy allows a full outage (TRUST.md §4, 17 and 18)."""
    if facts.cluster.policy.allow_full_outage:
        return
    lost = [loss.service for loss in losses if is_danger(facts, loss)]
    if lost and facts.cluster.strategy == "lockstep":
        yield (
            f"strategy: lockstep takes all hosts of a role at once, and so {some(lost)}: allow it with "
            "policy.allow_full_outage: true (--allow-full-outage)"
        )
        return
    for loss in losses:
        if loss.lost == loss.total > 1:
            yield (
                f"{loss.service}: the whole group at once, all {loss.total:,} hosts ({loss.why}); lower the limit, or "
                "allow it with policy.allow_full_outage: true (--allow-full-outage)"
            )
        elif _quorum_lost(facts, loss) and loss.lost > 1:
            most = (loss.total - 1) // 2
            yield (
                f"{loss.service}: {loss.lost} of {loss.total} hosts at once lose its quorum ({loss.why}); "
                f"expected at most {most}, or policy.allow_full_outage: true"
            )


def own_reboots(hosts: Mapping[str, Host], passes: Mapping[str, Pass], steps: Mapping[str, Step]) -> Iterator[str]:
    """Passes that would reboot the machine which the program itself runs on."""
    for work in passes.values():
        if any(steps[step].reboot for leg in work.legs if not leg.on for step in leg.steps):
            here = [host for host in work.hosts if hosts[host].connection == "local"]
            if here:
                yield (
                    f"{work.id}: a step would reboot {some(here)}, which {'is' if len(here) == 1 else 'are'} this very "
                    "machine (connection: local), and the program with it; reboot it yourself, or leave it out"
                )


def is_danger(facts: Facts, loss: Loss) -> bool:
    """Whether a loss takes a service down whole, or takes its quorum, although less could be out at once."""
    return loss.lost > 1 and (loss.lost == loss.total or _quorum_lost(facts, loss))


def _quorum_lost(facts: Facts, loss: Loss) -> bool:
    return facts.service(loss.service).quorum and loss.total > 1 and 2 * loss.lost >= loss.total


def warnings(
    facts: Facts,
    stages: Sequence[Stage],
    passes: Mapping[str, Pass],
    steps: Mapping[str, Step],
    roles: Mapping[str, RoleLimits],
    groups: Mapping[str, GroupLimits],
    losses: Sequence[Loss],
    known: Mapping[str, HostRecord],
) -> Iterator[str]:
    """Sentences, the most pressing first."""
    yield from _of_hosts(facts, known)
    yield from _of_limits(facts, passes, roles, groups, losses)
    yield from _of_steps(steps)
    yield from _of_health(facts, passes)
    yield from _of_catalogue(facts)
    for name in facts.cluster.policy.approvals:
        late = name == "finalize" and any(stage.point_of_no_return for stage in stages)
        if stages and not late and name not in {stage.kind for stage in stages}:
            yield f"approval of {name} is asked for, but the plan has no such stage"


def _of_hosts(facts: Facts, known: Mapping[str, HostRecord]) -> Iterator[str]:
    hosts = facts.cluster.hosts
    there = ordered(
        name for name in hosts if facts.releases.get(name, facts.cluster.release) == facts.target and not facts.catch_up
    )
    if there and len(there) == len(hosts):
        yield (
            f"every host already runs {facts.target}; what is left is done once for all or proves the result "
            f"(when it is done, set release: {facts.target} in the cluster file)"
        )
    elif there:
        yield f"already on {facts.target}, so in no rolling pass: {span(there, 8)}"
    other: dict[str, list[str]] = {}
    for name, release in facts.releases.items():
        if release != facts.target:
            other.setdefault(release, []).append(name)
    for release in ordered(other):
        yield f"on {release} and not on {facts.cluster.release}: {span(ordered(other[release]), 8)}"
    unlike = ordered(
        name for name, record in known.items() if name in hosts and hosts[name].release not in ("", record.release)
    )
    if unlike:
        yield f"the last run is believed, not the cluster file, on the release of {span(unlike, 8)}"
    if facts.outside:
        yield (
            f"left out by choice and not on {facts.target} yet, so the plan ends before the point of no return: "
            f"{span(ordered(facts.outside), 8)}"
        )
    for role, members in facts.driven.items():
        lag = [name for name in members if facts.behind(name)]
        if lag:
            ends = "" if facts.catch_up else ", and until then no plan passes the point of no return"
            yield f"operators upgrade role {role} themselves, so it has no passes: {span(lag, 8)}{ends}"
    empty = [name for name, members in facts.members.items() if not members and name not in facts.driven]
    if empty:
        yield f"without hosts: role{'s' if len(empty) > 1 else ''} {listing(empty)}"


def _of_limits(
    facts: Facts,
    passes: Mapping[str, Pass],
    roles: Mapping[str, RoleLimits],
    groups: Mapping[str, GroupLimits],
    losses: Sequence[Loss],
) -> Iterator[str]:
    sizes = role_sizes(facts.cluster)
    touched = {work.role for work in passes.values() if work.rolling}
    whole = {work.role for work in passes.values() if work.whole}
    for name in ordered(touched):
        limit = roles[name]
        if limit.limit == 0:
            yield f"role {name} is held: limit 0, no host of it will move and what comes after it waits"
        elif limit.limit >= sizes[name] > 1 and name not in whole:
            yield f"role {name}: limit {limit.limit} is the whole group at once ({sizes[name]} hosts)"
    for name, group in groups.items():
        size = sum(sizes[role] for role in group.roles)
        if group.limit == 0 and touched & set(group.roles):
            yield f"group {name} is held: limit 0, no host of {listing(group.roles)} will move"
        elif group.limit >= size > 1:
            yield f"group {name}: limit {group.limit} is the whole group at once ({size} hosts)"
    if facts.cluster.policy.limit is not None and touched and facts.cluster.policy.limit.count == 0:
        yield "policy.limit is 0: no host will move"
    alone = [loss.service for loss in losses if loss.lost == loss.total == 1]
    if alone:
        yield f"on one host only, so down while that host is upgraded: {', '.join(alone)}"
    out = [loss.service for loss in losses if loss.lost == loss.total > 1]
    if out and facts.cluster.strategy == "lockstep":
        yield f"all hosts at once, allowed by policy.allow_full_outage: {', '.join(out)}"
    for loss in losses:
        if loss.service in out and facts.cluster.strategy == "lockstep":
            continue
        if loss.lost == loss.total > 1:
            yield f"{loss.service}: all {loss.total:,} hosts at once, allowed by policy.allow_full_outage"
        elif _quorum_lost(facts, loss):
            yield f"{loss.service}: loses its quorum with {loss.lost} of {loss.total} hosts out"


def _of_steps(steps: Mapping[str, Step]) -> Iterator[str]:
    bare: dict[str, list[str]] = {}
    for step in steps.values():
        if not step.settles_itself and step.phase != "rollback":
            bare.setdefault(step.service, []).append(step.id.removeprefix(step.service + "."))
    for service in ordered(bare):
        names = bare[service]
        one = len(names) == 1
        yield (
            f"{service}: {'step' if one else 'steps'} {', '.join(names)} {'is' if one else 'are'} neither idempotent "
            "nor checked: treated as not idempotent, so an interruption there waits for your word"
        )


def _of_health(facts: Facts, passes: Mapping[str, Pass]) -> Iterator[str]:
    asked_hosts = {probe.host for probe in facts.cluster.probes.values() if probe.host}
    asked = {probe.service for probe in facts.cluster.probes.values() if probe.service}
    asked_roles = {facts.cluster.hosts[name].role for name in asked_hosts if name in facts.cluster.hosts}
    blind = []
    for role in ordered({work.role for work in passes.values() if work.rolling and not work.once}):
        services = [name for name in facts.cluster.roles[role].services if name in facts.services]
        if role in asked_roles or asked & set(services):
            continue
        if not any(facts.service(name).gate or facts.phase(name, "verify", once=False) for name in services):
            blind.append(role)
    if blind:
        yield (
            f"health unknown: no gate, verify step or probe for role{'s' if len(blind) > 1 else ''} {listing(blind)}"
        )


def _of_catalogue(facts: Facts) -> Iterator[str]:
    outside: dict[str, list[str]] = {}
    for name in facts.services:
        for need in facts.service(name).waits_for:
            if need not in facts.running:
                outside.setdefault(need, []).append(name)
    for need in ordered(outside):
        users = outside[need]
        verb = "needs" if len(users) == 1 else "need"
        yield f"{listing(users)} {verb} {need}, which no role runs: taken as given from outside"
    for name in facts.services:
        phases = set(phases_in_order(facts.service(name)))
        if "drain" in phases and "undrain" not in phases:
            yield f"{name}: drains its hosts, but has no undrain phase that puts them back"
        if "undrain" in phases and "drain" not in phases:
            yield f"{name}: has an undrain phase, but no drain phase"
        if not phases:
            yield f"{name}: changes in {facts.target}, but has no steps"
    never = [name for name in facts.unchanged if phases_in_order(facts.service(name))]
    if never:
        yield f"phases never used, since {facts.target} does not change these services: {', '.join(never)}"
    unknown = ordered(name for name in facts.release.services if name not in facts.catalogue.services)
    if unknown:
        yield f"{facts.target} changes services that the catalogue does not have: {', '.join(unknown)}"


def defaults(facts: Facts, roles: Mapping[str, RoleLimits], steps: Mapping[str, Step]) -> Iterator[str]:
    """The safe defaults that were taken, as sentences."""
    policy, standard = facts.cluster.policy, Policy()
    bare = [name for name, limit in roles.items() if limit.stated == "default 1" and name not in facts.driven]
    if bare and facts.cluster.strategy == "rolling":
        yield f"limit of {listing(bare)}: 1 host at a time (none is stated)"
    if policy.failure_budget == standard.failure_budget:
        yield "failure budget: 1, so the first failed or unknown host halts the run"
    if policy.limit is None and policy.domain_limit is None:
        yield "limit in all and per failure domain: none beside those of roles and groups"
    if policy.soak == standard.soak:
        yield "soak: 0 s, so a slot is free as soon as its host has passed its gate"
    if policy.health_timeout == standard.health_timeout:
        yield f"health timeout: {duration(policy.health_timeout)} for a host to become healthy after its work"
    if policy.deadline == standard.deadline:
        yield f"deadline: a host at work for {duration(policy.deadline)} is called stuck"
    if policy.prepare_limit == standard.prepare_limit:
        yield f"prepare limit: {policy.prepare_limit} hosts at once where nothing is restarted"
    if any(step.timeout == STEP_TIMEOUT for step in steps.values()):
        yield f"step timeout: {duration(STEP_TIMEOUT)} where a step states none"
    if not policy.windows:
        yield "windows: none, so hosts may start at any time"
    if not policy.approvals:
        yield "approvals: none, so no stage waits for your word"
    if facts.unchanged:
        yield f"unchanged in {facts.target}, so left alone: {', '.join(facts.unchanged)}"
    if facts.same:
        same = ", ".join(facts.same)
        yield f"nothing of what they are made of changes, so left alone (--all plans them, too): {same}"


STEP_TIMEOUT = 3600.0
"""The default of ``Step.timeout``."""
