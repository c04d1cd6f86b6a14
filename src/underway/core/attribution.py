"""Which work an outage is put on: what was at work when it began or lasted, by host and service first.

Nothing is guessed. If the best-fitting work is one action, the outage is *caused* by it; if it is several, it is
*shared* and all are named; if nothing was at work, it is *unattributed*. What fits best:

1. for a probe that asks one back-end: work on that host (and on its service, where that tells two actions
   apart), else work on the same service elsewhere, else on a service that it needs; unrelated work on other hosts
   never;
2. for a probe through the front door: work on the same service, else on one that it needs, else whatever was at work.

The true start of an outage lies up to one ``resolution`` before the first bad sample was due, so work that ended
within that time counts. Work that began after the last bad sample was due does not: no bad answer speaks against it.
A question that was open may be cut off by work that began after it was asked: only where nothing else fits, work that
began before the last bad answer came counts as well.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from underway.core.availability import union
from underway.core.model.base import replace
from underway.core.model.cluster import Probe
from underway.core.model.event import HostLine, machine_of
from underway.core.model.plan import Plan, split_action
from underway.core.model.sample import Cause, Outage


@dataclass(frozen=True, slots=True, order=True)
class WorkSpan:
    """An interval of work: of a whole action (no ``step``), of a step (no ``task``) or of a task.

    ``host`` executed it, ``target`` is the host that the action is about; they differ where a balancer drains
    a host. Times are Unix seconds of the prober's clock.
    """

    start: float
    end: float
    action: str
    host: str
    target: str
    service: str = ""
    step: str = ""
    task: str = ""


class _Leg:
    """Reads one host's lines of one action and leg."""

    def __init__(self, plan: Plan, action: str, executor: str, target: str, found: list[WorkSpan]) -> None:
        self.plan = plan
        self.action = action
        self.executor = executor
        self.target = target
        self.found = found
        self.step: tuple[float, str] | None = None
        self.task: tuple[float, str] | None = None

    def span(self, start: float, end: float, step: str = "", task: str = "") -> None:
        known = self.plan.steps.get(step)
        self.found.append(
            WorkSpan(
                start=start,
                end=max(start, end),
                action=self.action,
                host=self.executor,
                target=self.target,
                service=known.service if known is not None else "",
                step=step,
                task=task,
            )
        )

    def end_task(self, at: float) -> None:
        if self.task is not None:
            self.span(self.task[0], at, self.step[1] if self.step is not None else "", self.task[1])
            self.task = None

    def end_step(self, at: float) -> None:
        self.end_task(at)
        if self.step is not None:
            self.span(self.step[0], at, self.step[1])
            self.step = None

    def read(self, line: HostLine, at: float) -> None:
        """One line. A step that was cut off lasts until the host says more of the leg."""
        if line.kind == "begin":
            self.end_step(at)
            self.step = (at, line.step)
        elif line.kind == "task":
            self.end_task(at)
            if self.step is None and line.step:
                self.step = (at, line.step)
            self.task = (at, line.task)
        elif line.kind == "task-end":
            self.end_task(at)
        elif line.kind in ("end", "skip"):
            if self.step is None or not line.step or self.step[1] == line.step:
                self.end_step(at)
        elif line.kind in ("accepted", "resumed", "leg-end", "unknown", "cancelled"):
            self.end_step(at)


def spans(
    lines: Iterable[HostLine],
    plan: Plan,
    *,
    now: float | None = None,
) -> list[WorkSpan]:
    """Work intervals from hosts' journals, sorted by start.

    ``lines`` of any number of hosts; those of one host in the order of its journal (or with ``seq`` that sorts them).
    Times are by one clock (``core/clocks.py``). What has not ended lasts until ``now`` (default: the last line of
    that leg). Lines of actions that the plan does not have are left out.
    """
    found: list[WorkSpan] = []
    legs: dict[tuple[str, int, str], _Leg] = {}
    latest: dict[tuple[str, int, str], float] = {}
    machines: dict[tuple[str, int, str], int] = {}
    actions: dict[str, list[tuple[float, HostLine, bool]]] = {}
    for line in sorted(lines, key=lambda line: (line.run, line.action, line.leg, line.seq)):
        try:
            work = plan.pass_of(line.action)
        except (KeyError, ValueError):
            continue
        target = split_action(line.action)[1]
        executor = (work.legs[line.leg].on if line.leg < len(work.legs) else "") or target
        at = line.at
        key = (line.action, line.leg, executor)
        leg = legs.get(key)
        if leg is None:
            leg = legs[key] = _Leg(plan, line.action, executor, target, found)
        if machine_of(line.seq) != machines.setdefault(key, machine_of(line.seq)):
            leg.end_step(latest[key])  # the machine that began it is gone: nothing is known after its last line
            machines[key] = machine_of(line.seq)
        leg.read(line, at)
        latest[key] = at
        actions.setdefault(line.action, []).append((at, line, line.leg + 1 >= len(work.legs)))
    for key, leg in legs.items():
        leg.end_step(max(latest[key], now) if now is not None else latest[key])
    for action, seen in actions.items():
        _whole(action, seen, found, now)
    found.sort()
    return found


def _whole(action: str, seen: list[tuple[float, HostLine, bool]], found: list[WorkSpan], now: float | None) -> None:
    """The spans of an action as a whole: from its first leg's start to its last leg's end, or to its failure.

    They cover what lies between steps and between legs; an action that failed and was tried again has several.
    """
    target = split_action(action)[1]
    begun: float | None = None
    seen.sort(key=lambda entry: (entry[0], entry[1].leg, entry[1].seq))
    at, token = 0.0, 0
    for then, line, last in seen:
        if begun is not None and line.token != token:  # another claim: of the one before nothing more was heard
            found.append(WorkSpan(begun, at, action, target, target))
            begun = None
        at, token = then, line.token
        over = line.kind in ("unknown", "cancelled") or (line.kind == "leg-end" and (last or line.rc != 0))
        if over:
            if begun is not None:
                found.append(WorkSpan(begun, at, action, target, target))
            begun = None
        elif begun is None and line.kind not in ("refused", "output", "leg-end"):
            begun = at
    if begun is not None:
        found.append(WorkSpan(begun, max(at, now) if now is not None else at, action, target, target))


def clock_offset(line: HostLine, *, epoch: float, mono: float, boot: str) -> float | None:
    """Seconds that a host's wall clock was ahead of the prober's at a line, where both ran on one machine.

    ``epoch``, ``mono`` and ``boot`` are of the prober's ``start`` mark. The two share the monotonic clock of one boot,
    so this is exact even where the wall clock was set in between. None for a line of another machine or boot.
    """
    if not boot or line.boot != boot:
        return None
    return (line.at - line.mono) - (epoch - mono)


class _Index:
    """Spans by time."""

    def __init__(self, work: Sequence[WorkSpan]) -> None:
        self._work = sorted(work)
        self._starts = [span.start for span in self._work]
        self._longest = max((span.end - span.start for span in self._work), default=0.0)

    def within(self, low: float, high: float) -> list[WorkSpan]:
        """Those that share time with [low, high]."""
        first = bisect.bisect_left(self._starts, low - self._longest)
        last = bisect.bisect_right(self._starts, high)
        return [span for span in self._work[first:last] if span.end >= low]


def closure(needs: Mapping[str, Iterable[str]], service: str) -> frozenset[str]:
    """What a service needs, directly or not."""
    found: set[str] = set()
    waiting = list(needs.get(service, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return frozenset(found)


def attribute(
    outages: Iterable[Outage],
    work: Sequence[WorkSpan],
    probes: Mapping[str, Probe],
    needs: Mapping[str, Iterable[str]] | None = None,
) -> list[Outage]:
    """The outages with ``attribution`` and ``causes`` set, in the same order.

    ``needs``: service -> services that it needs (``Service.needs``). Of each cause, ``step`` and ``task`` are those at
    work when the outage began (the largest share of the time in which it can have begun), ``overlap`` is the
    seconds of the outage in which the action was at work. The first cause is the one in which it began.
    """
    index = _Index(work)
    return [_one(outage, index, probes.get(outage.probe), needs or {}) for outage in outages]


def _one(outage: Outage, index: _Index, probe: Probe | None, needs: Mapping[str, Iterable[str]]) -> Outage:
    low = outage.start - outage.resolution
    required = closure(needs, outage.service) if outage.service else frozenset()
    every = probe.every if probe is not None else outage.resolution
    last_bad = max(outage.start, outage.end - every)
    ranks = _ranks(outage, index.within(low, last_bad), required)
    if not ranks and outage.answered > last_bad:
        ranks = _ranks(outage, index.within(low, outage.answered), required)
    if not ranks:
        return replace(outage, attribution="unattributed", causes=())
    best = max(rank for rank, _ in ranks.values())
    causes = [
        (_began(outage, [span for _, span in found]), _cause(outage, action, found))
        for action, (rank, found) in ranks.items()
        if rank == best
    ]
    causes.sort(key=lambda entry: (entry[0], -entry[1].overlap, entry[1].action))
    return replace(
        outage,
        attribution="caused" if len(causes) == 1 else "shared",
        causes=tuple(cause for _, cause in causes),
    )


def _ranks(
    outage: Outage, found: Iterable[WorkSpan], required: frozenset[str]
) -> dict[str, tuple[int, list[tuple[int, WorkSpan]]]]:
    """Per action: how well it fits (the best of its spans), and its spans, each with how well that one does.

    A back-end's leave out unrelated ones.
    """
    ranks: dict[str, tuple[int, list[tuple[int, WorkSpan]]]] = {}
    for span in found:
        known, own = ranks.setdefault(span.action, (0, []))
        same = bool(outage.service) and span.service == outage.service
        if outage.host and outage.host in (span.target, span.host):
            rank = 4 if same else 3
        else:
            rank = 2 if same else 1 if span.service in required else 0
        own.append((rank, span))
        ranks[span.action] = (max(known, rank), own)
    return {action: entry for action, entry in ranks.items() if entry[0] or not outage.host}


def _began(outage: Outage, found: Sequence[WorkSpan]) -> tuple[int, float]:
    """Sorts first the actions that were at work when the outage began, earlier ones first."""
    first = min(span.start for span in found)
    return (0 if first <= outage.start else 1, first)


def _cause(outage: Outage, action: str, found: Sequence[tuple[int, WorkSpan]]) -> Cause:
    low = outage.start - outage.resolution

    def fit(entry: tuple[int, WorkSpan]) -> tuple[bool, int, int, float, float]:
        rank, span = entry
        share = min(span.end, outage.start) - max(span.start, low)
        # a task outside of any step is the program's own (a guard, a pause): it says no more than the action does
        depth = 0 if not span.step else 2 if span.task else 1
        # At work while it can have begun; then of the service that fits best, where a pass does several; then the
        # most precise; then the largest share, the earlier of equals.
        return (share >= 0, rank if depth else 0, depth, share, -span.start)

    _, named = max(found, key=fit)
    clipped = ((max(span.start, outage.start), min(span.end, outage.end)) for _, span in found)
    return Cause(
        action=action,
        host=named.target,
        service=named.service,
        step=named.step,
        task=named.task if named.step else "",
        overlap=round(union((start, end) for start, end in clipped if end > start), 6),
    )


def is_own_work(outage: Outage) -> bool:
    """Whether a back-end was down because of the work on its own host: real, and expected."""
    return bool(outage.host) and outage.attribution == "caused" and outage.causes[0].host == outage.host
