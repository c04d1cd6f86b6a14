"""How far a run is, for people: counts by state, what works, what is next, why the rest waits, when it ends. Pure.

The estimate is that of list scheduling over the remaining hosts: every pass fills the slots of its role, a stage ends
with its longest chain of passes, and shared limits (groups, all) stretch it where they are narrower. A host takes
the median of what this run measured for its pass, where three hosts or more are done; else the plan's p50.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from underway.core import windows
from underway.core.layout import Layout, Visit
from underway.core.model.decision import Decision, ReasonKind
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import BUSY, FINISHED, TROUBLED, ActionRecord, ActionState
from underway.core.tally import Tally
from underway.core.words import plural

MEASURED = 3
"""So many hosts of a pass must be done before their median counts more than the plan's p50."""
NEXT = 5
"""Actions listed as next."""
SHOWN = 3
"""Hosts named per group of reasons."""

_CAPACITY: frozenset[ReasonKind] = frozenset(
    {
        "canary-first", "role-limit", "group-limit", "domain-limit", "domains-at-once", "total-limit", "window-closed",
        "window-too-short", "parallel-limit", "busy-elsewhere",
    }
)  # fmt: skip
_SETTLED: frozenset[ReasonKind] = frozenset({"done", "at-work", "soaking"})
_URGENT: tuple[ReasonKind, ...] = (
    "unknown", "failed", "stuck", "halted-failures", "halted-outage", "host-unhealthy", "approval-wanted", "paused",
    "aborted", "held", "dropped", "limit-zero", "over-limit", "other-run",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage in actions. ``states`` has every state that occurs."""

    kind: str
    total: int
    states: dict[ActionState, int]

    @property
    def finished(self) -> int:
        """Actions that are done or waived."""
        return self.states.get("done", 0) + self.states.get("skipped", 0)


@dataclass(frozen=True, slots=True)
class Working:
    """An action at work or soaking; ``seconds`` since it was granted."""

    action: str
    host: str
    state: ActionState
    step: str
    seconds: float
    stuck: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Hosts that wait for the same thing: how many, some of them, and the sentence for all."""

    kind: ReasonKind
    count: int
    hosts: tuple[str, ...]
    sentence: str

    def __str__(self) -> str:
        sentence = self.sentence
        if self.count > 1 and sentence.startswith("waits "):
            return f"{plural(self.count, 'host')} wait {sentence[6:].replace('its turn', 'their turn', 1)}"
        return f"{plural(self.count, 'host')}: {sentence}" if self.count > 1 else f"{self.hosts[0]}: {sentence}"


@dataclass(frozen=True, slots=True)
class Progress:
    """``hosts`` counts hosts by state (pending, upgrading, upgraded, failed, unknown; dropped ones are in none) and,
    beside it, held ones.
    ``eta``: seconds until all is done, None where only an operator can say (``basis`` tells which it is).
    """

    stages: tuple[StageProgress, ...]
    stage: str
    hosts: dict[str, int]
    working: tuple[Working, ...]
    next: tuple[str, ...]
    waiting: tuple[Waiting, ...]
    slots: dict[str, tuple[int, int]]
    eta: float | None
    basis: str

    @property
    def guessed(self) -> bool:
        """Whether ``eta`` rests on guesses: some work that is left has never been measured."""
        return self.basis.startswith("guesses")

    @property
    def total(self) -> int:
        """Actions of the plan."""
        return sum(stage.total for stage in self.stages)

    @property
    def finished(self) -> int:
        """Actions that are done or waived."""
        return sum(stage.finished for stage in self.stages)


def progress(plan: Plan, snapshot: Snapshot, decision: Decision, now: float, policy: Policy | None = None) -> Progress:
    """What to show of a run. ``policy``: the one in force where it is not the plan's (it changes the estimate)."""
    layout = Layout(plan)
    records = _records(layout, snapshot)
    eta, basis = _eta(layout, records, snapshot, decision, now, policy or plan.policy)
    return Progress(
        stages=tuple(_stage(layout, records, number) for number in range(len(plan.stages))),
        stage=decision.stage,
        hosts=_hosts(layout, records, snapshot),
        working=_working(records, now),
        next=_next(layout, decision),
        waiting=waiting(decision),
        slots=dict(decision.slots),
        eta=eta,
        basis=basis,
    )


def waiting(decision: Decision) -> tuple[Waiting, ...]:
    """Why hosts wait, grouped: what asks for an operator first, then the largest groups."""
    groups: dict[tuple[str, str], list[str]] = {}
    said: dict[tuple[str, str], tuple[ReasonKind, str]] = {}
    for host, reason in decision.reasons.items():
        if reason.kind in _SETTLED:
            continue
        key = (reason.kind, reason.sentence)
        group = groups.get(key)
        if group is None:
            groups[key] = [host]
            said[key] = (reason.kind, reason.sentence)
        else:
            group.append(host)
    found = [
        Waiting(said[key][0], len(group), tuple(group[:SHOWN]), said[key][1]) for key, group in groups.items()
    ]  # fmt: skip
    rank = {kind: place for place, kind in enumerate(_URGENT)}
    found.sort(key=lambda group: (rank.get(group.kind, len(rank)), -group.count))
    return tuple(found)


def counts_by_kind(decision: Decision) -> dict[ReasonKind, int]:
    """How many hosts have a reason of each kind, the largest first."""
    counts: dict[ReasonKind, int] = {}
    for reason in decision.reasons.values():
        counts[reason.kind] = counts.get(reason.kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: -entry[1]))


# --- counts ----------------------------------------------------------------------------------------------------------

_Records = Mapping[Visit, dict[str, ActionRecord]]


def _records(layout: Layout, snapshot: Snapshot) -> _Records:
    found: dict[Visit, dict[str, ActionRecord]] = {visit: {} for visit in layout.visits.values()}
    for action, record in snapshot.actions.items():
        name, _, host = action.rpartition("/")
        visit = layout.visits.get(name)
        if visit is not None and host in visit.members:
            found[visit][host] = record
    return found


def _stage(layout: Layout, records: _Records, number: int) -> StageProgress:
    states: dict[ActionState, int] = {}
    total = 0
    for visit in layout.by_stage[number]:
        known = records[visit]
        total += len(visit.members)
        for record in known.values():
            states[record.state] = states.get(record.state, 0) + 1
        silent = len(visit.members) - len(known)
        if silent:
            states["pending"] = states.get("pending", 0) + silent
    return StageProgress(layout.stages[number].name, total, states)


def _hosts(layout: Layout, records: _Records, snapshot: Snapshot) -> dict[str, int]:
    """Hosts by state: what the passes say that bring them to the release, or all their passes where none does."""
    moved: set[str] = set()
    for visit in layout.rolling:
        if visit.upgrades:
            moved |= visit.members
    wanted: dict[str, int] = {}
    worst: dict[str, str] = {}
    order = ("upgrading", "unknown", "failed")
    for visit, known in records.items():
        for host in visit.members if visit.upgrades else visit.members - moved:
            wanted[host] = wanted.get(host, 0) + 1
        for host, record in known.items():
            if record.state in FINISHED:
                if visit.upgrades or host not in moved:
                    wanted[host] = wanted.get(host, 0) - 1
                continue
            state = record.state if record.state in TROUBLED else "upgrading" if record.state in BUSY else ""
            if state and (host not in worst or order.index(state) > order.index(worst[host])):
                worst[host] = state
    counts = dict.fromkeys(("pending", "upgrading", "upgraded", "failed", "unknown"), 0)
    for host in layout.plan.hosts.keys() - snapshot.dropped().keys():
        counts[worst.get(host) or ("pending" if wanted.get(host, 0) > 0 else "upgraded")] += 1
    counts["held"] = sum(1 for host in snapshot.holds if host in layout.plan.hosts)
    return counts


def _working(records: _Records, now: float) -> tuple[Working, ...]:
    found = [
        Working(visit.prefix + host, host, record.state, record.step, max(0.0, now - record.claimed), record.stuck)
        for visit, known in records.items()
        for host, record in known.items()
        if record.state in BUSY
    ]
    found.sort(key=lambda work: -work.seconds)
    return tuple(found)


def _next(layout: Layout, decision: Decision) -> tuple[str, ...]:
    """Granted ones first, then those that wait for capacity only, in the plan's order."""
    found = [grant.action for grant in decision.grants[:NEXT]]
    for number, stage in enumerate(layout.stages):
        if stage.name != decision.stage:
            continue
        for visit in layout.by_stage[number]:
            for host in visit.hosts:
                if len(found) >= NEXT:
                    return tuple(found)
                reason = decision.reasons.get(host)
                if reason is not None and reason.kind in _CAPACITY:
                    found.append(visit.prefix + host)
    return tuple(found)


# --- the estimate ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Load:
    """What is left of a pass: hosts to start, when each busy slot is free, what a host takes, slots (seconds)."""

    waiting: int
    busy: tuple[float, ...]
    takes: float
    slots: int

    def length(self) -> float:
        """Seconds until the pass is done, by list scheduling of equal pieces over the slots."""
        slots = max(self.slots, 1)
        free = sorted([*self.busy, *([0.0] * max(0, slots - len(self.busy)))])[: max(slots, len(self.busy))]
        rounds, rest = divmod(self.waiting, len(free))
        ends = [at + self.takes * (rounds + (place < rest)) for place, at in enumerate(free)]
        return max(max(ends), max(self.busy, default=0.0))

    def work(self) -> float:
        """Seconds of one slot that all of it takes."""
        return self.waiting * self.takes + sum(self.busy)


def _eta(
    layout: Layout, records: _Records, snapshot: Snapshot, decision: Decision, now: float, policy: Policy
) -> tuple[float | None, str]:
    if decision.finished:
        return 0.0, "finished"
    if snapshot.run.state != "running":
        return None, f"the run is {snapshot.run.state}"
    if decision.halt is not None:
        return None, decision.halt.sentence
    tally = Tally(layout, policy, dropped=snapshot.dropped())
    whole = policy.prepare_limit.resolve(tally.size)
    pace = _pace(records)
    at, measured, guessed, approvals, zero = now, 0, 0, [], set()
    for number, stage in enumerate(layout.stages):
        loads: dict[Visit, _Load] = {}
        for visit in layout.by_stage[number]:
            load, real = _load(visit, records[visit], tally, whole, now, policy, pace)
            if load.waiting or load.busy:
                loads[visit] = load
                measured += real
                guessed += not real and visit.guessed
                if not load.slots and load.waiting:
                    zero.add(visit.role if visit.rolling else "prepare")
        if not loads:
            continue
        if (stage.approval or stage.kind in policy.approvals) and stage.kind not in snapshot.approvals:
            approvals.append(stage.kind)
        length = _length(loads, tally, whole)
        at = _through_windows(at, length, policy) if any(visit.rolling for visit in loads) else at + length
    if zero:
        return None, f"a limit is 0: {', '.join(sorted(zero))}"
    basis = "durations measured in this run" if measured else "the plan's estimates"
    if guessed:
        basis = "guesses" if pace == 1.0 else "guesses at this run's pace"
    if approvals:
        basis += f", without the wait for the approval of {', '.join(approvals)}"
    if snapshot.holds:
        basis += f", as if {plural(len(snapshot.holds), 'hold')} were lifted"
    return at - now, basis


def _pace(records: _Records) -> float:
    """How long work takes for each second that it was guessed to take, by what this run has done; 1 with too little."""
    pairs = [
        (record.duration, visit.p50)
        for visit, known in records.items()
        if visit.guessed and visit.p50 > 0
        for record in known.values()
        if record.state == "done" and record.duration > 0
    ]
    if len(pairs) < MEASURED:
        return 1.0
    return sum(spent for spent, _ in pairs) / sum(guess for _, guess in pairs)


def _load(
    visit: Visit,
    known: dict[str, ActionRecord],
    tally: Tally,
    whole: int,
    now: float,
    policy: Policy,
    pace: float,
) -> tuple[_Load, bool]:
    spent = [record.duration for record in known.values() if record.state == "done" and record.duration > 0]
    real = len(spent) >= MEASURED
    takes = median(spent) if real else visit.p50 * (pace if visit.guessed else 1.0)
    soak = policy.soak if visit.rolling else 0.0
    busy, left = [], len(visit.members)
    for record in known.values():
        if record.state in FINISHED:
            left -= 1
        elif record.state in ("claimed", "running"):
            busy.append(max(0.0, (record.started or record.claimed or now) + takes - now) + soak)
            left -= 1
        elif record.state == "soaking":
            busy.append(max(0.0, record.finished + soak - now))
            left -= 1
    slots = whole
    if visit.rolling:
        limit = tally.roles[visit.role].limit if visit.role in tally.roles else 1
        slots = min(len(visit.members), limit if limit is not None else len(visit.members))
    return _Load(left, tuple(busy), takes + soak, 1 if visit.once else slots), real


def _length(loads: Mapping[Visit, _Load], tally: Tally, whole: int) -> float:
    """Seconds of a stage: its longest chain of passes, or the work under a shared limit where that is longer."""
    ends: dict[str, float] = {}

    def end(visit: Visit, seen: frozenset[str]) -> float:
        if visit.id not in ends:
            before = [other for other in loads if any(edge.before == other.id for edge in visit.after)]
            start = max((end(other, seen | {visit.id}) for other in before if other.id not in seen), default=0.0)
            ends[visit.id] = start + loads[visit].length()
        return ends[visit.id]

    chain = max(end(visit, frozenset()) for visit in loads)
    shared = [*tally.groups.values(), tally.total]
    bounds = [
        _share(load for visit, load in loads.items() if visit.rolling and unit in tally.spot(visit.role, "").wide)
        / unit.limit
        for unit in shared
        if unit.limit
    ]
    still = [load for visit, load in loads.items() if not visit.rolling]
    return max([chain, *bounds, _share(still) / max(whole, 1)])


def _share(loads: Iterable[_Load]) -> float:
    return sum(load.work() for load in loads)


def _through_windows(at: float, length: float, policy: Policy) -> float:
    """When ``length`` seconds of work that may only go on inside windows are over."""
    if not policy.windows:
        return at + length
    for _ in range(1000):  # a run of twenty years; more is no estimate
        opening = windows.look(policy.windows, at)
        if not opening.open:
            if not opening.opens:
                return at + length
            at = opening.opens
            continue
        if at + length <= opening.closes:
            return at + length
        length -= opening.closes - at
        at = opening.closes
    return at + length
