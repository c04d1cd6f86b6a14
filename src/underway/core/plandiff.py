"""What changed between two plans, in sentences. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from underway.core.estimates import estimate
from underway.core.model.plan import Pass, Plan
from underway.core.names import ordered
from underway.core.words import duration, plural, some

NAMED = 5
"""Names that one sentence lists before it counts the rest."""


def compare(old: Plan, new: Plan) -> list[str]:
    """A sentence for each difference in stages, passes, hosts, order, steps, limits, losses, time; empty if none."""
    return list(dict.fromkeys(_all(old, new)))


def _all(old: Plan, new: Plan) -> Iterator[str]:
    for what in ("cluster", "source", "target"):
        if getattr(old, what) != getattr(new, what):
            yield f"{what}: {getattr(new, what)}, was {getattr(old, what)}"
    if old.part != new.part:
        yield f"part: {new.part.text or 'the whole'}, was {old.part.text or 'the whole'}"
    yield from _names("host", list(old.hosts), list(new.hosts))
    yield from _stages(old, new)
    yield from _passes(old, new)
    yield from _steps(old, new)
    yield from _limits(old, new)
    yield from _policy(old, new)
    for what, was, now in (("settings", old.settings, new.settings), ("variables", _vars(old), _vars(new))):
        if was != now:
            yield f"{what} differ"
    yield from _losses(old, new)
    yield from _time(old, new)
    yield from (f"new warning: {text}" for text in new.warnings if text not in old.warnings)
    yield from (f"warning gone: {text}" for text in old.warnings if text not in new.warnings)


def _vars(plan: Plan) -> tuple[object, ...]:
    return plan.role_vars, plan.service_vars, {name: host.vars for name, host in plan.hosts.items() if host.vars}


def _names(what: str, old: Sequence[str], new: Sequence[str], many: str = "") -> Iterator[str]:
    added, gone = ordered(set(new) - set(old)), ordered(set(old) - set(new))
    for names, verb in ((added, "added"), (gone, "removed")):
        if names:
            yield f"{plural(len(names), what, many)} {verb}: {some(names, NAMED)}"


def _stages(old: Plan, new: Plan) -> Iterator[str]:
    before = {stage.name: stage for stage in old.stages}
    after = {stage.name: stage for stage in new.stages}
    yield from (f"stage {kind} added" for kind in after if kind not in before)
    yield from (f"stage {kind} removed" for kind in before if kind not in after)
    for kind, stage in after.items():
        if kind in before and before[kind].approval != stage.approval:
            yield f"stage {kind} " + ("now waits for approval" if stage.approval else "no longer waits for approval")
        if kind in before and before[kind].point_of_no_return != stage.point_of_no_return:
            yield f"stage {kind} is {'now' if stage.point_of_no_return else 'no longer'} the point of no return"


def _passes(old: Plan, new: Plan) -> Iterator[str]:
    yield from _names("pass", list(old.passes), list(new.passes), "passes")
    for stage in new.stages:
        for name in stage.passes:
            if name in old.passes:
                yield from _pass(old.passes[name], new.passes[name])


def _pass(old: Pass, new: Pass) -> Iterator[str]:
    gone = set(old.hosts) - set(new.hosts)
    for hosts, verb in ((ordered(set(new.hosts) - set(old.hosts)), "gains"), (ordered(gone), "loses")):
        if hosts:
            yield f"{new.id} {verb} {plural(len(hosts), 'host')}: {some(hosts, NAMED)}"
    kept = [host for host in old.hosts if host in set(new.hosts)]
    if kept != [host for host in new.hosts if host not in set(new.hosts) - set(old.hosts)]:
        yield f"{new.id}: the order of its hosts changed, first is now {new.hosts[0]}"
    if old.canaries != new.canaries:
        yield f"{new.id}: {plural(new.canaries, 'canary', 'canaries')}, was {old.canaries}"
    before, after = {edge.before: edge for edge in old.after}, {edge.before: edge for edge in new.after}
    yield from (f"{new.id} now waits for {name}: {edge.reason}" for name, edge in after.items() if name not in before)
    yield from (f"{new.id} no longer waits for {name}" for name in before if name not in after)
    if set(old.services) != set(new.services):
        yield from (f"{new.id}: {text}" for text in _names("service", old.services, new.services))
    elif old.services != new.services:
        yield f"{new.id}: the order of its services is now {', '.join(new.services)}"
    was = [(leg.on, step) for leg in old.legs for step in leg.steps]
    now = [(leg.on, step) for leg in new.legs for step in leg.steps]
    if was != now:
        told = list(_names("step", _told(was), _told(now)))
        yield from (f"{new.id}: {text}" for text in told or ["the order of its steps, or where they run, changed"])
    if old.p50 != new.p50 or old.p90 != new.p90:
        yield (
            f"{new.id}: {duration(new.p50)} a host ({duration(new.p90)} at p90, {new.basis}), "
            f"was {duration(old.p50)} ({duration(old.p90)}, {old.basis})"
        )


def _told(steps: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{step} on {machine}" if machine else step for machine, step in steps]


def _steps(old: Plan, new: Plan) -> Iterator[str]:
    yield from _names("step", list(old.steps), list(new.steps))
    for name in ordered(name for name, step in new.steps.items() if old.steps.get(name, step) != step):
        was, now = old.steps[name], new.steps[name]
        fields = [part for part in now.__struct_fields__ if getattr(was, part) != getattr(now, part)]
        yield f"step {name}: {', '.join(fields)} changed"
    handlers = {*old.handlers, *new.handlers}
    names = [name for name in ordered(handlers) if old.handlers.get(name) != new.handlers.get(name)]
    if names:
        yield f"handlers of {some(names, NAMED)} changed"
    for role in ordered({*old.rollback, *new.rollback}):
        if old.rollback.get(role) != new.rollback.get(role):
            yield f"the rollback of role {role} changed"


def _limits(old: Plan, new: Plan) -> Iterator[str]:
    for what in ("role", "group"):
        before, after = (old.roles, new.roles) if what == "role" else (old.groups, new.groups)
        yield from _names(what, list(before), list(after))
        for name in ordered({*before} & {*after}):
            was, now = before[name], after[name]
            if (was.limit, was.stated) != (now.limit, now.stated):
                yield f"limit of {what} {name}: {now.limit} ({now.stated}), was {was.limit} ({was.stated})"


def _policy(old: Plan, new: Plan) -> Iterator[str]:
    for part in new.policy.__struct_fields__:
        if getattr(old.policy, part) != getattr(new.policy, part):
            yield f"policy.{part} changed"
    yield from _names("probe", list(old.probes), list(new.probes))
    for name in ordered({*old.probes} & {*new.probes}):
        if old.probes[name] != new.probes[name]:
            yield f"probe {name} changed"


def _losses(old: Plan, new: Plan) -> Iterator[str]:
    before = {loss.service: loss for loss in old.losses}
    for loss in new.losses:
        was = before.get(loss.service)
        if was is not None and (was.lost, was.total) != (loss.lost, loss.total):
            yield f"worst loss of {loss.service}: {loss.lost} of {loss.total}, was {was.lost} of {was.total}"


def _time(old: Plan, new: Plan) -> Iterator[str]:
    was, now = estimate(old), estimate(new)
    if was != now:
        yield f"estimated time: {_length(now)}, was {_length(was)}"


def _length(seconds: float) -> str:
    return "without end" if math.isinf(seconds) else duration(seconds)
