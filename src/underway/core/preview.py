"""A plan as the tree that an operator reads before saying yes: what, where, in which order, and why. Pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from underway.core.estimates import GUESS, LEG, SPREAD, stage_estimate
from underway.core.model.plan import Leg, Pass, Plan, Stage
from underway.core.names import ordered, span
from underway.core.words import clean, duration, plural

Style = Literal["", "head", "danger", "warning", "quiet"]

CODES: dict[Style, str] = {"head": "\x1b[1m", "danger": "\x1b[1;31m", "warning": "\x1b[33m", "quiet": "\x1b[2m"}

NAMED = 12
"""Steps of a leg up to which each is named; of more only the number is told."""

HELD = "without end: a limit of 0 holds it"

NARROWEST = 40
"""Columns below which lines are not folded further: a tree needs room for its branches."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree (folded where it is too long) with the branches under it."""

    text: str
    under: tuple[Branch, ...] = ()
    style: Style = ""


def tree(plan: Plan, *, width: int = 80, color: bool = False) -> list[str]:
    """The lines of the tree, each at most ``width`` columns (not below 40); ``color`` adds ANSI styles.

    Stages with their passes come first, then the worst simultaneous loss of each service, the time, the defaults that
    were taken, and the warnings last, where the eye rests.
    """
    width = max(width, NARROWEST)
    lines = [line for text, style in _head(plan) for line in _folded(text, "", "", width, style, color)]
    times = [stage_estimate(plan, stage) for stage in plan.stages]
    stages = [_stage(plan, stage, number, times[number - 1]) for number, stage in enumerate(plan.stages, 1)]
    lines += _drawn(stages, "", width, color)
    for title, branches in _sections(plan, sum(times)):
        if branches:
            lines += ["", *_folded(title, "", "", width, "head", color)]
            lines += _drawn(branches, "", width, color)
    return lines


def _head(plan: Plan) -> Iterator[tuple[str, Style]]:
    yield f"{plan.cluster}: {plan.way}", "head"
    actions = sum(len(work.hosts) for work in plan.passes.values())
    yield (
        f"{plural(len(plan.hosts), 'host')}, {plural(len(plan.stages), 'stage')}, "
        f"{plural(len(plan.passes), 'pass', 'passes')}, {plural(actions, 'action')}; plan {plan.digest()[:12]}",
        "quiet",
    )


def _stage(plan: Plan, stage: Stage, number: int, seconds: float) -> Branch:
    marks = ["point of no return"] if stage.point_of_no_return else []
    if stage.approval:
        marks.append("waits for your approval")
    if stage.number is not None:
        marks.insert(0, f"number {stage.number}")
    title = f"{number} {stage.kind}" + "".join(f", {mark}" for mark in marks)
    passes = tuple(_pass(plan, plan.passes[name]) for name in stage.passes)
    style: Style = "danger" if stage.point_of_no_return else "head"
    return Branch(f"{title}: {stage.why} ({_about(seconds)})", passes, style)


def _pass(plan: Plan, work: Pass) -> Branch:
    under = []
    if not work.once:
        under.append(Branch(f"hosts: {_hosts(plan, work)}"))
    elif work.why:
        under.append(Branch(f"why: {work.why}"))
    under += [Branch(f"after {_short(edge.before)}: {edge.reason}") for edge in work.after]
    if work.why and not work.once:
        under.append(Branch(f"why: {work.why}"))
    under += [Branch(text) for text in _legs(plan, work.legs)]
    causes = {name: "; ".join(plan.causes[name]) for name in work.services if name in plan.causes}
    under += [Branch(f"because of {name}: {cause}") for name, cause in causes.items()]
    each = "" if work.once else " a host"
    under.append(Branch(f"time: {duration(work.p50)}{each}, p90 {duration(work.p90)} ({work.basis})", (), "quiet"))
    services = ", ".join(work.services)
    name = _short(work.id)
    return Branch(name if services == name else f"{name}: {services}", tuple(under))


def _short(pass_id: str) -> str:
    return pass_id.partition("/")[2]


def _hosts(plan: Plan, work: Pass) -> str:
    front, rest = work.hosts[: work.canaries], work.hosts[work.canaries :]
    hosts = span(rest if work.rolling else ordered(rest))
    if front:
        hosts = f"{span(front)} first ({'canary' if len(front) == 1 else 'canaries'})" + (
            f", then {hosts}" if rest else ""
        )
    if not work.rolling:
        return hosts
    limits = plan.roles[work.role]
    within = f", within group {limits.group}" if limits.group else ""
    if limits.limit == 0:
        return f"{hosts}; held (limit 0)"
    if work.whole:
        return f"{hosts}; all at once{within}"
    stated = "" if limits.stated.isdigit() else f" ({limits.stated})"
    return f"{hosts}; {limits.limit} at a time{stated}{within}"


def _legs(plan: Plan, legs: Sequence[Leg]) -> Iterator[str]:
    """A line for each leg; neighbours with the same steps on several machines are one line."""
    index = 0
    while index < len(legs):
        leg = legs[index]
        machines = [leg.on]
        while leg.on and index + 1 < len(legs) and legs[index + 1].on and legs[index + 1].steps == leg.steps:
            index += 1
            machines.append(legs[index].on)
        where = f"on {span(machines)}{' in turn' if len(machines) > 1 else ''}: " if leg.on else ""
        yield where + _steps(plan, leg.steps)
        index += 1


def _steps(plan: Plan, names: Sequence[str]) -> str:
    """``drain nova-api (take out); upgrade keystone (stop, start)``; of many steps only how many they are."""
    phases: list[tuple[str, dict[str, list[str]]]] = []
    for name in names:
        step = plan.steps[name]
        if not phases or phases[-1][0] != step.phase:
            phases.append((step.phase, {}))
        phases[-1][1].setdefault(step.service, []).append(step.name)
    few = len(names) <= NAMED
    return "; ".join(
        f"{phase} "
        + ", ".join(
            f"{service} ({', '.join(told)})" if few else f"{service} ({plural(len(told), 'step')})"
            for service, told in services.items()
        )
        for phase, services in phases
    )


def _sections(plan: Plan, seconds: float) -> Iterator[tuple[str, list[Branch]]]:
    members = {role: ordered(name for name, host in plan.hosts.items() if host.role == role) for role in plan.by_hand}
    by_hand = [Branch(f"{role}: {span(members[role])}; {_steps(plan, plan.by_hand[role])}") for role in plan.by_hand]
    yield "Done by operators, no part of a run", by_hand
    losses: dict[tuple[int, int, str], list[str]] = {}
    for loss in plan.losses:
        losses.setdefault((loss.lost, loss.total, loss.why), []).append(loss.service)
    yield (
        "Worst simultaneous loss",
        [
            Branch(f"{lost:,} of {total:,}: {', '.join(services)}; {why}", (), "danger" if lost == total > 1 else "")
            for (lost, total, why), services in losses.items()
        ],
    )
    yield "Estimated time", [Branch(text) for text in _time(plan, seconds)]
    yield "Defaults taken", [Branch(text, (), "quiet") for text in plan.defaults]
    yield "Warnings", [Branch(text, (), "warning") for text in plan.warnings]


def _time(plan: Plan, seconds: float) -> Iterator[str]:
    if not plan.passes:
        return
    if math.isinf(seconds):
        yield HELD
        return
    guessed = sum(1 for work in plan.passes.values() if work.basis.startswith("guess"))
    if guessed == len(plan.passes):
        basis = "all passes are guessed: too few past runs"
    elif guessed:
        basis = f"{guessed} of {len(plan.passes)} passes are guessed, the others from past runs"
    else:
        basis = "from past runs"
    yield f"{_about(seconds)} if nothing fails and nothing waits for you ({basis})"
    if guessed:
        used = {plan.steps[name].phase for work in plan.passes.values() for leg in work.legs for name in leg.steps}
        steps = ", ".join(f"{phase} {duration(time)}" for phase, time in GUESS.items() if phase in used)
        yield f"guessed for a step: {steps}; {LEG:.0f} s more for each leg; p90 is {SPREAD:.0f} times that"


def _about(seconds: float) -> str:
    return HELD if math.isinf(seconds) else f"about {duration(seconds)}"


def _drawn(branches: Sequence[Branch], prefix: str, width: int, color: bool) -> list[str]:
    lines = []
    for index, branch in enumerate(branches):
        last = index == len(branches) - 1
        tee, bar = ("└─ ", "   ") if last else ("├─ ", "│  ")
        hang = prefix + bar + ("│  " if branch.under else "  ")
        lines += _folded(branch.text, prefix + tee, hang, width, branch.style, color)
        lines += _drawn(branch.under, prefix + bar, width, color)
    return lines


def _folded(text: str, first: str, hang: str, width: int, style: Style, color: bool) -> list[str]:
    """``text`` in lines of at most ``width`` columns, the first behind ``first``, the others behind ``hang``."""
    folded = textwrap.wrap(clean(text), width - max(len(first), len(hang)), break_on_hyphens=False) or [""]
    if color and style in CODES:
        folded = [f"{CODES[style]}{line}\x1b[0m" for line in folded]
    return [first + folded[0], *(hang + line for line in folded[1:])]
