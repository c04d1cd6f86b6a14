"""From the board to a decision: grants in order, then one reason for everybody else, by the table's rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

from underway.core.board import Board
from underway.core.buckets import Bucket, Shape
from underway.core.layout import Visit
from underway.core.model.decision import Decision, Grant, Reason, Verdict
from underway.core.model.plan import Plan
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.reasons import Reasons
from underway.core.rulebook import IdleCase, Look, PassCase, Rulebook, first
from underway.core.tally import describe
from underway.core.windows import ALWAYS, Opening, Span, day_of, opening, spans

UNEXPLAINED = Reason("order", "waits for its turn")
"""Never seen with the standard table (a property test): no host may be without a reason, whatever rows are there."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of all records that differ from the snapshot decided on before; the values are read from the new one."""

    actions: Collection[str] = ()
    health: Collection[str] = ()
    holds: Collection[str] = ()
    elsewhere: Collection[str] = ()


class IncrementalDecider:
    """Decides over snapshots of one run, one after another."""

    def __init__(self, rules: Rulebook, plan: Plan, policy: Policy) -> None:
        self._rules = rules
        self._policy = policy
        self._board = Board(rules, plan, policy)
        self._loaded = ""
        self._spans: tuple[int, tuple[Span, ...]] | None = None

    def decide(self, snapshot: Snapshot, now: float, changes: Changes | None = None) -> Decision:
        """The decision on ``snapshot`` at ``now`` (Unix seconds).

        ``changes``: what differs from the snapshot of the call before, if the caller knows; a name too many costs
        little, one too few gives a decision on what was there before. None: it is found out here, by identity of the
        records. ``Decision.reasons`` is a read-only mapping that later calls do not change.
        """
        if self._loaded != snapshot.run.id:
            self._board.load(snapshot)
            self._loaded = snapshot.run.id
        elif changes is None:
            self._board.update(snapshot, None, None, None)
        else:
            self._board.update(snapshot, changes.actions, changes.health, changes.holds, changes.elsewhere)
        return self._decide(now)

    def decide_whole(self, snapshot: Snapshot, now: float) -> Decision:
        """The same from nothing; ``Decision.reasons`` is a dictionary."""
        self._board.load(snapshot)
        self._loaded = snapshot.run.id
        decision = self._decide(now)
        assert isinstance(decision.reasons, Reasons)
        return Decision(
            revision=decision.revision, grants=decision.grants, reasons=decision.reasons.plain(),
            verdicts=decision.verdicts, halt=decision.halt, stage=decision.stage, finished=decision.finished,
            wake=decision.wake, slots=decision.slots,
        )  # fmt: skip

    def _decide(self, now: float) -> Decision:
        board, look = self._board, self._board.look
        look.now, look.window = now, self._window(now)
        verdicts, wakes = self._verdicts(now)
        halt = next((row for row in self._rules.run if row.kind.startswith("halted") and row.when(look)), None)
        round_ = _Round(self._rules, board)
        round_.choose()
        if round_.closed is None:
            round_.grant()
        wakes.extend(round_.wakes(now))
        base, changes = board.tags.view()
        decision = Decision(
            revision=board.snapshot.revision,
            grants=tuple(round_.grants),
            reasons=Reasons(base, changes, round_.table(), frozenset(grant.host for grant in round_.grants)),
            verdicts=verdicts,
            halt=halt.reason(look) if halt is not None else None,
            stage=look.present.name if look.stage >= 0 else "",
            finished=look.stage < 0,
            wake=min(wakes, default=0.0),
            slots=round_.slots(),
        )
        round_.undo()
        return decision

    def _window(self, now: float) -> Opening:
        if not self._policy.windows:
            return ALWAYS
        day = day_of(now)
        if self._spans is None or self._spans[0] != day:
            self._spans = (day, spans(self._policy.windows, now))
        return opening(self._spans[1], now)

    def _verdicts(self, now: float) -> tuple[tuple[Verdict, ...], list[float]]:
        """What is due now, in the plan's order; and when more will be (only the earliest matters)."""
        ripe: list[tuple[int, int, Verdict]] = []
        wake = float("inf")
        for host, dues in self._board.dues.items():
            for visit, coming in dues:
                if coming.at > now:
                    if coming.at < wake:
                        wake = coming.at
                else:
                    verdict = Verdict(visit.prefix + host, coming.kind, coming.why)
                    ripe.append((visit.index, visit.place(host), verdict))
        ripe.sort(key=lambda entry: entry[:2])
        return tuple(entry[2] for entry in ripe), [wake] if wake < float("inf") else []


class _Round:
    """One decision in the making. Grants count in the tally at once, and are taken out again by ``undo``."""

    def __init__(self, rules: Rulebook, board: Board) -> None:
        self._rules = rules
        self._board = board
        self._look: Look = board.look
        self.grants: list[Grant] = []
        rule = first(rules.run, self._look)
        self.closed: Reason | None = rule.reason(self._look) if rule is not None else None
        self._pass_reasons: dict[Visit, Reason | None] = {}
        self._chosen: dict[Visit, list[Shape]] = {}
        self._undo: list[tuple[str, Visit, str, str]] = []
        self._taken: dict[Bucket, int] = {}

    def choose(self) -> None:
        """For each shape the pass that it waits in: the first of its passes that is not closed, else the first."""
        for shape in self._board.shapes.values():
            todo = shape.kind.todo
            visit = todo[0]
            if len(todo) > 1:
                visit = next((candidate for candidate in todo if self._pass_reason(candidate) is None), visit)
            self._chosen.setdefault(visit, []).append(shape)

    def _pass_reason(self, visit: Visit) -> Reason | None:
        if visit not in self._pass_reasons:
            case = PassCase(self._look, visit)
            rule = first(self._rules.passes, case)
            self._pass_reasons[visit] = rule.reason(case) if rule is not None else None
        return self._pass_reasons[visit]

    # --- grants ------------------------------------------------------------------------------------------------------

    def grant(self) -> None:
        """Grant what every row lets pass, in the order of passes and of hosts in them."""
        for visit in sorted(self._chosen, key=lambda visit: visit.index):
            if self._pass_reason(visit) is None:
                self._grant_in(visit, self._chosen[visit])

    def _grant_in(self, visit: Visit, shapes: list[Shape]) -> None:
        look, rules = self._look, self._rules
        heap: list[tuple[bool, int, int, int, list[int], Bucket]] = []
        for shape in shapes:
            some = next(iter(shape.buckets.values()))
            if first(rules.slots, some.case(look, visit)) is not None:
                continue
            for bucket in shape.buckets.values():
                places = bucket.places
                if shape.kind.todo[0] is not visit:
                    places = sorted(visit.place(host) for host in bucket.hosts())
                heap.append((not shape.kind.first, places[0], len(heap), 0, places, bucket))
        heapify(heap)
        closed: set[Shape] = set()
        while heap:
            late, place, number, index, places, bucket = heap[0]
            case = bucket.case(look, visit)
            if bucket.shape not in closed and first(rules.slots, case) is not None:
                closed.add(bucket.shape)
            if bucket.shape in closed or first(rules.domains, case) is not None:
                heappop(heap)  # limits only tighten while grants are made: the rest of the bucket waits too
                continue
            self._take(visit, visit.hosts[place], bucket)
            if index + 1 < len(places):
                heapreplace(heap, (late, places[index + 1], number, index + 1, places, bucket))
            else:
                heappop(heap)

    def _take(self, visit: Visit, host: str, bucket: Bucket) -> None:
        board = self._board
        self._undo.append((host, visit, board.tally.down.get(host, ""), board.parallel.members.get(host, "")))
        self._taken[bucket] = self._taken.get(bucket, 0) + 1
        board.at_work[host] = visit
        for name in visit.executors:
            board.executing[name] = board.executing.get(name, 0) + 1
        kind = bucket.shape.kind
        again = "on its new machine" if kind.renewed else "tried again" if kind.first else "next in order"
        if visit.rolling:
            board.tally.set(host, "at work")
            known = board.layout.plan.hosts[host]
            why = f"{again}; {describe(board.tally.spot(known.role, known.domain))}"
        else:
            board.parallel.add(host, "claimed")
            why = f"{again}; {len(board.parallel.members)} of {board.parallel.limit} at work at once with it"
        self.grants.append(Grant(visit.prefix + host, host, why))

    def undo(self) -> None:
        """Take the grants out of the accounts: they count when they are committed."""
        board = self._board
        for host, visit, cause, place in reversed(self._undo):
            board.at_work.pop(host, None)
            for name in visit.executors:
                board.executing[name] -= 1
            if visit.rolling:
                board.tally.set(host, cause)
            elif place:
                board.parallel.add(host, place)
            else:
                board.parallel.remove(host)

    # --- what is said of the rest ------------------------------------------------------------------------------------

    def table(self) -> dict[object, Reason]:
        """The reason of every tag that is not a reason itself, with the grants counted in."""
        look = self._look
        found: dict[object, Reason] = {}
        for number, idle in self._board.idle.items():
            if look.stage >= 0 or number < 0:
                found[idle] = self._idle_reason(IdleCase(look, idle.next))
        for visit, shapes in self._chosen.items():
            reason = self.closed or self._pass_reason(visit)
            for shape in shapes:
                self._explain(visit, shape, reason, found)
        return found

    def _idle_reason(self, case: IdleCase) -> Reason:
        rule = first(self._rules.idle, case)
        if rule is None:
            return UNEXPLAINED
        waits = rule.kind == "stage-waits"
        return self.closed if waits and self.closed is not None else rule.reason(case)

    def _explain(self, visit: Visit, shape: Shape, reason: Reason | None, found: dict[object, Reason]) -> None:
        look, rules = self._look, self._rules
        buckets = shape.buckets.values()
        if reason is None:
            case = next(iter(buckets)).case(look, visit)
            rule = first(rules.slots, case)
            reason = rule.reason(case) if rule is not None else None
        for bucket in buckets:
            if reason is not None:
                found[bucket] = reason
            elif self._taken.get(bucket, 0) < len(bucket.places):
                case = bucket.case(look, visit)
                row = first(rules.domains, case)
                found[bucket] = row.reason(case) if row is not None else UNEXPLAINED

    def wakes(self, now: float) -> list[float]:
        """When windows may change the answer."""
        window = self._look.window
        if window is ALWAYS:
            return []
        rolling = [visit for visit in self._chosen if visit.rolling]
        times = [window.opens, window.closes, *(window.closes - visit.p90 for visit in rolling)] if rolling else []
        return [time for time in times if time > now]

    def slots(self) -> dict[str, tuple[int, int]]:
        """What the present stage uses of its limits, grants counted in."""
        board, look = self._board, self._look
        if look.stage < 0:
            return {}
        units = {}
        visits = board.layout.by_stage[look.stage]
        for visit in visits:
            if visit.rolling and visit.role in board.tally.roles:
                for unit in board.tally.spot(visit.role, "").wide:
                    units[unit.name] = unit
        if not all(visit.rolling for visit in visits):
            units[look.present.name] = board.parallel
        return {
            name: (len(unit.members), unit.limit) for name, unit in units.items() if unit.limit is not None
        }  # fmt: skip
