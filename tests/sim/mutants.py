"""Deliberately wrong variants of the program (TRUST.md §3, D1-D8): each breaks one rule, none by patching.

A mutant is made of parts that the real composition takes as well: a store that is wrapped, a decider that is made
otherwise, a coordinator that does one thing differently, hosts whose runner has a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as copy_of

from fast.rules.test_mutants import timer_frees, zero_is_no_limit
from underway.core.decider import Changes, IncrementalDecider
from underway.core.dropping import dropping
from underway.core.model.base import replace
from underway.core.model.decision import Decision
from underway.core.model.plan import Edge, Plan, Stage
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Machine
from underway.core.rules import RULES, Decider, Rulebook
from underway.engine import machines
from underway.engine.coordinator import Coordinator
from underway.errors import Conflict, Refused
from underway.records.change import Change
from underway.records.seen import Seen
from underway.sim.hosts import SimHost
from underway.sim.lockplans import lockstep_plan
from underway.sim.plans import random_plan
from underway.sim.schedule import Result, run_schedule
from underway.sim.stage import Parts
from underway.sim.through import Through
from underway.store.base import Store


class BlindStore(Through):
    """Commits whatever ``blind`` says need not be as it was seen."""

    def __init__(self, store: Store, blind: Callable[[str], bool]) -> None:
        super().__init__(store)
        self._blind = blind

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        kept = {key: revision for key, revision in expect.items() if not self._blind(key)}
        return self._store.commit(kept, writes)


def store(blind: Callable[[str], bool]) -> Parts:
    return Parts(wrap=lambda true: BlindStore(true, blind))


# --- decisions ------------------------------------------------------------------------------------------------------


def table(rules: Rulebook) -> Parts:
    """The whole engine with another rule table."""

    class Mutant(Decider):
        def __init__(self, plan: Plan, policy: Policy) -> None:
            IncrementalDecider.__init__(self, rules, plan, policy)

    return Parts(decider=Mutant)


class SilentIgnored(Decider):
    """D3: a stage or an order waits only for hosts that were heard of: they have a record, or are healthy."""

    def __init__(self, plan: Plan, policy: Policy) -> None:
        super().__init__(plan, policy)
        self._whole, self._by = plan, policy

    def decide(self, snapshot: Snapshot, now: float, changes: Changes | None = None) -> Decision:
        heard = {action.rpartition("/")[2] for action in snapshot.actions}
        passes = {
            name: replace(work, hosts=tuple(host for host in work.hosts if host in heard) or work.hosts[:1])
            for name, work in self._whole.passes.items()
        }
        first = IncrementalDecider(RULES, replace(self._whole, passes=passes), self._by).decide_whole(snapshot, now)
        real = super().decide(snapshot, now, changes)
        return first if first.grants and not real.grants else real


class ByName(Decider):
    """D8: an upgrade of everything does away with operators' holds first."""

    def decide(self, snapshot: Snapshot, now: float, changes: Changes | None = None) -> Decision:
        return super().decide(copy_of(snapshot, holds={}), now)


class NumbersApart(Decider):
    """B4: the passes of a lockstep wait for those of their own number and role only."""

    def __init__(self, plan: Plan, policy: Policy) -> None:
        merged: list[Stage] = []
        passes = dict(plan.passes)
        for stage in plan.stages:
            if stage.number is None or not merged or merged[-1].kind != stage.kind:
                merged.append(replace(stage, number=None))
                continue
            before = merged[-1].passes
            for name in stage.passes:
                edges = [
                    Edge(before=other, after=name, reason="its own")
                    for other in before
                    if passes[other].role == passes[name].role
                ]
                passes[name] = replace(passes[name], after=(*passes[name].after, *edges))
            merged[-1] = replace(merged[-1], passes=(*before, *stage.passes))
        super().__init__(replace(plan, stages=tuple(merged), passes=passes), policy)


class BatchesWhole(Decider):
    """B5: batch steps are done by all hosts at once."""

    def __init__(self, plan: Plan, policy: Policy) -> None:
        passes = {name: replace(work, whole=work.number is not None) for name, work in plan.passes.items()}
        super().__init__(replace(plan, passes=passes), policy)


class CountsTheDropped(Decider):
    """P1: a percentage is of hosts that are long gone, too."""

    def decide(self, snapshot: Snapshot, now: float, changes: Changes | None = None) -> Decision:
        return super().decide(copy_of(snapshot, machines={}), now)


# --- coordinators ---------------------------------------------------------------------------------------------------


class TimeToLive(Coordinator):
    """P7: work that has not been heard of for half a minute loses its slot: it counts as waived."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        now = self._clock.now()
        for action, record in snapshot.actions.items():
            if record.state == "unknown" or (record.state == "failed" and now - record.ended > 30.0):
                new = replace(record, state="skipped", ended=now)
                event = self._event("skipped", "its lease expired", action, record.token)
                self._commit(Change(run=self._run, events=(event,), actions={action: (record, new)}), snapshot)
                return True
        return super()._commit_grants(snapshot, decision)


class UnknownTimesOut(Coordinator):
    """I10: what is unknown for a minute is tried again, without a word."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        now = self._clock.now()
        for action, record in snapshot.actions.items():
            if record.state == "unknown" and not record.retry and now - record.ended > 20.0:
                event = self._event("retry", "tried again", action, record.token)
                new: ActionRecord = replace(record, retry=True)
                self._commit(Change(run=self._run, events=(event,), actions={action: (record, new)}), snapshot)
                return True
        return super()._commit_grants(snapshot, decision)


class DropsByTimer(Coordinator):
    """P7: a host that has been unknown for twenty seconds is dropped, without a word."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        now = self._clock.now()
        for action, record in snapshot.actions.items():
            if record.state == "unknown" and not record.retry and now - record.ended > 20.0:
                host = action.rpartition("/")[2]
                word = Machine(host=host, number=1, by="a timer", at=now, reason="", run=self._run, serial=0)
                with suppress(Refused):
                    here = dropping(self._plan, snapshot, host, off=True)
                    change = machines.dropped(
                        snapshot, word, here, lambda kind, text, one: self._event(kind, text, host=one)
                    )
                    if change is not None:
                        self._commit(change, snapshot)
                        return True
        return super()._commit_grants(snapshot, decision)


class StartsBeforeCommit(Coordinator):
    """I3: the order goes out before its claim is committed."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        if self._granting:
            for index, grant in enumerate(decision.grants):
                old = snapshot.actions.get(grant.action)
                token = snapshot.token(index)
                early = replace(
                    old or ActionRecord(state="claimed"), state="claimed", token=token, claimed=self._clock.now()
                )
                self._executor.submit(self._order(snapshot, grant.action, early))
        return super()._commit_grants(snapshot, decision)


class IgnoresConflicts(Coordinator):
    """P4: what was decided is acted upon although the commit was refused."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        try:
            return super()._commit_grants(snapshot, decision)
        except Conflict:
            for index, grant in enumerate(decision.grants):
                old = snapshot.actions.get(grant.action)
                early = replace(old or ActionRecord(state="claimed"), state="claimed", token=snapshot.token(index))
                self._executor.submit(self._order(snapshot, grant.action, early))
            raise


class WriteSkew(Coordinator):
    """TRUST §0, 3: the fence is the host's own record; the group's is taken as it is now, not as it was seen."""

    def _commit(self, change: Change, snapshot: Seen) -> None:
        key = self._repository.keys.admission
        for _ in range(10 if change.claims() else 0):
            item = self._repository.store.get(key)
            change = copy_of(change, admission=item.revision if item is not None else 0)
            try:
                super()._commit(change, snapshot)
                return
            except Conflict as conflict:
                if conflict.key != key:
                    raise
        super()._commit(change, snapshot)


class SubmitsOnce(Coordinator):
    """F2: only the process that made a claim hands it over: after its end nobody does (crash window)."""

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        done = super()._commit_grants(snapshot, decision)
        self._mine = getattr(self, "_mine", set()) | ({grant.action for grant in decision.grants} if done else set())
        return done

    def _dispatch(self, snapshot: Seen) -> None:
        mine: set[str] = getattr(self, "_mine", set())
        kept = {action: record for action, record in snapshot.actions.items() if action in mine}
        super()._dispatch(copy_of(snapshot, actions=kept))


class DropsReports(Coordinator):
    """F3: reports that were taken while the store was out of reach are lost."""

    def _take_reports(self, reports: object) -> bool:
        self._backlog = []
        return super()._take_reports(reports)  # type: ignore[arg-type]


class DeafToStop(Coordinator):
    """P6: Ctrl-C is ignored."""

    def stop_granting(self) -> None:
        pass


class OldPolicy(Coordinator):
    """The policy is that of the look before (found-bugs.md)."""

    def _follow_policy(self, snapshot: Seen) -> None:
        before = getattr(self, "_before", None)
        self._before = snapshot
        if before is not None:
            super()._follow_policy(before)


class VerdictsUnfenced(Coordinator):
    """A gate is passed on an old look (found-bugs.md)."""

    def _commit(self, change: Change, snapshot: Seen) -> None:
        if change.admission is not None and not change.claims():
            change = copy_of(change, admission=None)
        super()._commit(change, snapshot)


# --- hosts ----------------------------------------------------------------------------------------------------------


def host(fault: str) -> Callable[[SimHost], None]:
    def make(target: SimHost) -> None:
        assert not getattr(target.wrong, fault)
        setattr(target.wrong, fault, True)

    return make


@dataclass(frozen=True)
class Mutant:
    """What is wrong, and which promise it must be seen to break (the beginnings of the oracle's words)."""

    breaks: tuple[str, ...]
    parts: Parts | None = None
    host_fault: Callable[[SimHost], None] | None = None
    plans: Callable[[random.Random], Plan] = random_plan

    def run(self, seed: int) -> Result:
        return run_schedule(seed, self.parts, self.host_fault, plans=self.plans)

    def right(self, seed: int) -> Result:
        """The same schedule of the right program."""
        return run_schedule(seed, plans=self.plans)


LIMITS = ("P1", "I1")

MUTANTS: dict[str, Mutant] = {
    # TRUST §3: stores
    "no compare-and-set at all": Mutant(("P", "I"), store(lambda key: "audit" not in key)),
    "compare-and-set on the host's key only": Mutant(LIMITS, Parts(coordinator=WriteSkew)),
    "D6 second coordinator unfenced": Mutant(
        ("P", "I"), store(lambda key: key.endswith("/admission") or "/actions/" in key)
    ),
    # decisions
    "health not counted": Mutant(LIMITS, table(RULES.without("down:unhealthy"))),
    "D4 only those at work count": Mutant(
        LIMITS, table(RULES.without("down:failed", "down:unknown", "down:unhealthy", "down:soaking"))
    ),
    "D1 zero or global": Mutant(LIMITS, table(copy_of(RULES, limits=zero_is_no_limit))),
    "D3 silent hosts ignored": Mutant(("P2",), Parts(decider=SilentIgnored)),
    "D8 holds are deleted": Mutant(("P5",), Parts(decider=ByName)),
    "a timer frees the slot (rule)": Mutant(LIMITS, table(timer_frees(RULES))),
    "pause is ignored": Mutant(("P5",), table(RULES.without("paused"))),
    "abort is ignored": Mutant(("P5",), table(RULES.without("aborted"))),
    "failure budget is ignored": Mutant(("P6",), table(RULES.without("halted-failures"))),
    "outage budget is ignored": Mutant(("P6",), table(RULES.without("halted-outage"))),
    "windows are ignored": Mutant(("P6",), table(RULES.without("window-closed", "window-too-short"))),
    "order is ignored": Mutant(("P2",), table(RULES.without("order"))),
    "canaries are ignored": Mutant(("P2",), table(RULES.without("canary-first"))),
    "approvals are ignored": Mutant(("P2",), table(RULES.without("approval"))),
    "group limit is ignored": Mutant(LIMITS, table(RULES.without("group-limit"))),
    "domain limit is ignored": Mutant(LIMITS, table(RULES.without("domain-limit"))),
    "total limit is ignored": Mutant(LIMITS, table(RULES.without("total-limit"))),
    "parallel limit is ignored": Mutant(LIMITS, table(RULES.without("parallel-limit"))),
    "domains at once are ignored": Mutant(LIMITS, table(RULES.without("domains-at-once"))),
    # lockstep
    "numbers do not wait for each other": Mutant(("P2", "B4"), Parts(decider=NumbersApart), plans=lockstep_plan),
    "batches go all at once": Mutant(LIMITS, Parts(decider=BatchesWhole), plans=lockstep_plan),
    "what was gathered is not gathered again": Mutant(("B15",), host_fault=host("keeps_gathered"), plans=lockstep_plan),
    # coordinators
    "a lease frees the slot": Mutant(("P7",), Parts(coordinator=TimeToLive)),
    "unknown times out": Mutant(("I10",), Parts(coordinator=UnknownTimesOut)),
    "start without compare-and-set": Mutant(("I3", "I1", "P1"), Parts(coordinator=StartsBeforeCommit)),
    "a refused commit is acted upon": Mutant(("I3", "I1", "P1"), Parts(coordinator=IgnoresConflicts)),
    "crash window between claim and start": Mutant(("L1",), Parts(coordinator=SubmitsOnce)),
    "reports are lost with the store": Mutant(("L1",), Parts(coordinator=DropsReports)),
    "Ctrl-C is ignored": Mutant(("P6",), Parts(coordinator=DeafToStop)),
    "policy of an older look": Mutant(("P", "I"), Parts(coordinator=OldPolicy)),
    "verdicts are not fenced": Mutant(("P7",), Parts(coordinator=VerdictsUnfenced)),
    # hosts
    "host takes any token": Mutant(("P4", "P3", "I4"), host_fault=host("takes_any_token")),
    "re-run after a crash": Mutant(("P3",), host_fault=host("reruns")),
    "journal ignored": Mutant(("P3",), host_fault=host("forgets")),
    "lost journal is a fresh one": Mutant(("P3",), host_fault=host("fresh_when_lost")),
    "stale resume of what has ended": Mutant(("P3",), host_fault=host("resumes_finished")),
    "leftovers are not waited for": Mutant(("I4", "P3"), host_fault=host("leaves_leftovers")),
    "journal is written after the step began": Mutant(("P3",), host_fault=host("writes_late")),
    "an old answer serves again": Mutant(("P3",), host_fault=host("old_answers")),
    "an interrupted step counts as done": Mutant(("I6",), host_fault=host("skips_open")),
    # machines that were replaced
    "a replaced host does not count": Mutant(LIMITS, table(RULES.without("down:replaced"))),
    # hosts that were dropped
    "a timer drops hosts": Mutant(("P7",), Parts(coordinator=DropsByTimer)),
    "percentages count who was dropped": Mutant(LIMITS, Parts(decider=CountsTheDropped)),
    "a short journal is as good as any": Mutant(("I9",), host_fault=host("starts_short")),
    "tickets of the machine before are taken": Mutant(("I3", "I9", "P4"), host_fault=host("takes_for_others")),
    "what was done for the machine before counts": Mutant(("I6",), host_fault=host("keeps_void")),
}
