"""The coordinator: one tick looks, decides, commits and acts. Any process may be killed at any moment.

Assumptions
    1. The store commits atomically and durably (``store/base.py``); the host is the authority on what it did.
    2. Submitting an order again is harmless (``executors/base.py``).
Invariants (tested in ``tests/fast/engine`` and, against hosts that misbehave, in the simulator)
    1. A grant is acted on only after it was committed against the admission record that the decision had seen.
    2. Nothing is remembered here that a new process would miss: what was submitted is submitted again.
    3. Reports are applied before the look, and a report changes nothing but the action whose token it carries.
    4. After ``stop_granting`` no grant is committed (P6); those at work are followed to their end.
    5. With a ``leadership``, nothing is written or handed over while another coordinator leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as copy_of

from underway.core import milestones
from underway.core.model.base import replace
from underway.core.model.decision import Decision, Verdict
from underway.core.model.event import Event, EventKind
from underway.core.model.plan import Plan, split_action
from underway.core.model.policy import Policy
from underway.core.model.sample import Outage
from underway.core.model.state import ActionRecord, HostRecord
from underway.core.rules import Decider
from underway.core.standing import host_record
from underway.engine.clock import Clock
from underway.engine.leadership import Leadership
from underway.engine.measure import Measure, Measurement, health_changes, outage_news
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.engine.outcomes import Outcome, Patience, outcomes
from underway.engine.silence import Silences, patience
from underway.engine.strays import check_actions, went_back
from underway.errors import Conflict, StoreError, Superseded
from underway.executors.base import Executor, Order, Report
from underway.records.change import Change
from underway.records.repository import Repository
from underway.records.seen import Seen

GRANTS_AT_ONCE = 25
"""Grants in one transaction: each writes an action and an audit entry, beside their fence; a commit holds 60 keys."""


ACTOR = "coordinator:"
"""Prefix of a coordinator's name in the audit."""


def beat_name(run: str) -> str:
    """Prefix of the names under which a run's coordinators say that they live: a hint for ``status``, no more."""
    return f"{run}/{ACTOR}"


BEAT_EVERY = 5.0
BEAT_LIFE = 15.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick saw and did; ``changed`` asks to look again at once. ``leader``: who leads, where that is another
    coordinator; then this one only looked."""

    snapshot: Seen
    decision: Decision
    outages: Sequence[Outage] = ()
    changed: bool = False
    events: Sequence[Event] = field(default_factory=tuple)
    policy: Policy | None = None  # in force for this look
    leader: str = ""


class Coordinator:
    """Drives one run of one plan over a repository and an executor."""

    def __init__(
        self,
        *,
        repository: Repository,
        executor: Executor,
        plan: Plan,
        run: str,
        orders: OrderBook,
        mirror: Mirror,
        measure: Measure,
        clock: Clock,
        name: str,
        decider: Callable[[Plan, Policy], Decider] = Decider,
        leadership: Leadership | None = None,
    ) -> None:
        self._repository = repository
        self._executor = executor
        self._plan = plan
        self._run = run
        self._orders = orders
        self._mirror = mirror
        self._measure = measure
        self._clock = clock
        self._name, self._actor = name, f"{ACTOR}{name}"
        self._policy = plan.policy
        self._make_decider = decider
        self._decider = decider(plan, self._policy)
        self._submitted: dict[str, tuple[int, int, float]] = {}
        self._silences = Silences(clock)
        self._leadership = leadership
        self._granting = True
        self._events: list[Event] = []
        self._backlog: list[Report] = []
        self._beaten = float("-inf")
        self._decided = self._dispatched = -1  # revisions of the looks that were decided on, and acted upon, last

    def stop_granting(self) -> None:
        """From now on start nothing; hosts at work are followed to their end. Takes effect before the next grant."""
        self._granting = False

    def cancel_all(self) -> None:
        """Stop every host at work: its process group is ended and waited for by the runner."""
        self._granting = False
        if self._leadership is not None and self._leadership.fence is None:
            return  # they are another coordinator's
        snapshot = self._repository.snapshot(self._run)
        for action, record in snapshot.actions.items():
            if record.state in ("claimed", "running"):
                self._executor.cancel(self._order(snapshot, action, record))

    def tick(self, timeout: float = 0.0) -> Tick:
        """One round. Waits at most ``timeout`` seconds for the first report, otherwise never blocks.

        Raises StoreUnavailable and other StoreErrors as they come: nothing is lost, tick again later.
        """
        self._events = []
        self._beat()
        if self._leadership is None:
            return self._work(timeout)
        if self._leadership.lead():
            try:
                return self._work(timeout)
            except Superseded:
                self._leadership.lost()
        return self._stand_by(timeout)

    def _stand_by(self, timeout: float) -> Tick:
        """Only look. Whatever was handed over here is followed by who leads now, and handed over again if that ends."""
        self._executor.reports(timeout)
        self._submitted.clear()
        self._backlog.clear()
        self._dispatched = -1
        snapshot = self._repository.snapshot(self._run)
        self._follow_policy(snapshot)
        decision = self._decider.decide(snapshot, self._clock.now(), snapshot.changes(self._decided))
        self._decided = snapshot.revision
        leader = self._leadership.leader if self._leadership is not None else ""
        return Tick(snapshot, decision, policy=self._policy, leader=leader or "another coordinator")

    def _work(self, timeout: float) -> Tick:
        """The round of a coordinator that leads."""
        changed = self._take_reports(self._executor.reports(timeout))
        snapshot = self._repository.snapshot(self._run)
        if self._check_history(snapshot):
            snapshot = self._repository.snapshot(self._run)
            changed = True
        measured = self._measure.look(self._clock.now(), snapshot.actions)
        if self._record_measurement(snapshot, measured):
            snapshot = self._repository.snapshot(self._run)
            changed = True
        self._follow_policy(snapshot)  # of the very look that is decided on, not of an earlier one
        decision = self._decider.decide(snapshot, self._clock.now(), snapshot.changes(self._decided))
        self._decided = snapshot.revision
        try:
            changed |= self._commit_verdicts(snapshot, decision.verdicts)
            changed |= self._commit_run(snapshot, decision)
            changed |= self._commit_grants(snapshot, decision)
        except Superseded:
            raise
        except Conflict:
            changed = True  # somebody wrote first: drop the decision and look again
        if changed:
            snapshot = self._repository.snapshot(self._run)
        self._dispatch(snapshot)
        return Tick(snapshot, decision, measured.outages, changed, tuple(self._events), self._policy)

    def close(self) -> None:
        """Say that this coordinator is gone, and let go of executor, measure and mirror; hosts at work go on."""
        with suppress(StoreError):  # then it is silent soon, which says the same
            self._repository.store.beat(beat_name(self._run) + self._name, 0.0)
            if self._leadership is not None:
                self._leadership.resign()
        self._executor.close()
        self._measure.close()
        self._mirror.close()

    # --- reports -----------------------------------------------------------------------------------------------

    def _take_reports(self, reports: Sequence[Report]) -> bool:
        """Apply what came in: the first changes of all actions in one transaction, then the second ones, and so on."""
        for report in reports:
            self._mirror.take(report.host, report.lines)
            if report.run == self._run and report.kind != "busy":  # a busy host is asked again by the executor
                self._backlog.append(report)
        changed = False
        while self._backlog:
            # a report leaves the backlog only once it is applied: the store may be out of reach in between
            self._backlog, some = self._take_round(self._backlog)
            changed |= some
        return changed

    def _take_round(self, reports: Sequence[Report]) -> tuple[list[Report], bool]:
        """Commit at most one change per action; returns the reports that are not used up, and whether any changed.

        A report is applied to what the store holds now; on conflict it is applied again to what is there then.
        """
        snapshot = self._repository.snapshot(self._run)
        now = self._clock.now()
        left: list[Report] = []
        actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
        events: list[Event] = []
        notes: dict[str, Event] = {}
        done: list[tuple[str, ActionRecord]] = []
        for report in reports:
            record = snapshot.actions.get(report.action)
            if record is None:
                continue
            if report.action in actions:
                left.append(report)
                continue
            silent = self._silences.seconds(report)
            waits = patience(self._plan, report, self._mirror.of(report.host)) if silent else Patience()
            if news := self._silences.news(report, record, silent, waits):
                notes[report.action] = self._event("note", news, report.action, record.token)
            steps = outcomes(self._plan.pass_of(report.action), record, report, now, silent, waits)
            if not steps:
                continue
            first: Outcome = steps[0]
            actions[report.action] = (record, first.record)
            events.append(self._event(first.kind, first.text, report.action, first.record.token, f"host:{report.host}"))
            if first.record.state == "done":
                done.append((report.action, first.record))
            if len(steps) > 1:
                left.append(report)
        if not actions and not notes:
            return left, False
        change = Change(run=self._run, events=(*notes.values(), *events), actions=actions)
        change = self._with_records_of_done(snapshot, change, dict(done))
        if not self._try_commit(change, snapshot):
            return list(reports), True
        for action in notes:
            self._silences.told(action)
        return left, True

    # --- what follows from a look ------------------------------------------------------------------------------

    def _check_history(self, snapshot: Seen) -> bool:
        """Whether something had to be written, because hosts know more than the store (``strays``)."""
        known = snapshot.changes(self._decided)
        check_actions(self._plan, self._run, snapshot.actions if known is None else known.actions)
        token, host = self._mirror.highest(self._run)
        change = went_back(snapshot, token, host, lambda text, who: self._event("run-paused", text, host=who))
        if change is None:
            return False
        self._try_commit(change, snapshot)  # where somebody wrote first, the next look tells
        return True

    def _follow_policy(self, snapshot: Seen) -> None:
        policy = snapshot.policy.policy if snapshot.policy is not None else self._plan.policy
        if policy != self._policy:
            self._policy = policy
            self._decider = self._make_decider(self._plan, policy)

    def _record_measurement(self, snapshot: Seen, measured: Measurement) -> bool:
        gone = snapshot.dropped()  # what its address answers is no word on a host that is in no count
        changes = {host: health for host, health in health_changes(snapshot, measured).items() if host not in gone}
        events: list[Event] = []
        for host, health in sorted(changes.items()):
            before = snapshot.health.get(host)
            if before is None or before.healthy != health.healthy:
                kind: EventKind = "healthy" if health.healthy else "unhealthy"
                if before is not None or not health.healthy:
                    events.append(self._event(kind, f"{host}: {health.detail}", host=host))
        events.extend(self._event(kind, text, host=host) for kind, text, host in outage_news(measured))
        budgeted = {name: measured.outage.get(name, 0.0) for name in self._policy.outage_budget}
        grown = {name: value for name, value in budgeted.items() if value > snapshot.outage.get(name, 0.0) + 0.05}
        if not changes and not events and not grown:
            return False
        if not events:
            events.append(self._event("note", "health was checked: " + ", ".join(sorted(changes) or sorted(grown))))
        change = Change(
            run=self._run,
            events=tuple(events),
            health=changes,
            outage={**snapshot.outage, **grown} if grown else None,
        )
        self._try_commit(change, snapshot)  # where somebody wrote first, the next look tells
        return True

    def _commit_verdicts(self, snapshot: Seen, verdicts: Sequence[Verdict]) -> bool:
        """All in one transaction: each stands for itself, and a conflict drops them all until the next look.

        Against the admission record, as grants are: a host that was healthy in the look may be ill by now.
        """
        if not verdicts:
            return False
        now = self._clock.now()
        change = Change(run=self._run, events=())
        actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
        events: list[Event] = []
        done: dict[str, ActionRecord] = {}
        for verdict in verdicts:
            old = snapshot.actions[verdict.action]
            if verdict.kind == "stuck":
                new = replace(old, stuck=True)
            elif verdict.kind == "failed":
                new = replace(old, state="failed", reason=verdict.why, ended=now)
            else:
                new = replace(old, state="done", ended=now, reason="")
            events.append(self._event(verdict.kind, verdict.why, verdict.action, old.token))
            actions[verdict.action] = (old, new)
            if new.state == "done":
                done[verdict.action] = new
        change = self._with_records_of_done(snapshot, change, done)
        fenced = copy_of(change, events=tuple(events), actions=actions, admission=snapshot.admission)
        self._commit(fenced, snapshot)
        return True

    def _with_records_of_done(self, snapshot: Seen, change: Change, done: Mapping[str, ActionRecord]) -> Change:
        """Add what is known from now on, over runs: how long it took, what hosts run, what is done for all of them (a
        roll says nothing of these)."""
        if self._plan.mode == "roll" or not done:
            return change
        now = self._clock.now()
        durations: dict[str, tuple[float, ...]] = {}
        hosts: dict[str, HostRecord] = {}
        for action, record in done.items():
            name = self._plan.pass_of(action).id  # the planner looks estimates up by it
            if self._plan.mode == "upgrade":  # how long it takes to undo a pass says nothing of the pass
                durations[name] = (*durations.get(name, ()), round(record.duration, 2))
            known = host_record(self._plan, snapshot, action, done, now)
            if known is not None:
                hosts[split_action(action)[1]] = known
        once = milestones.reached_by(self._plan, snapshot, done, self._run, now)
        return copy_of(change, durations=durations, hosts=hosts, once=once)

    def _commit_run(self, snapshot: Seen, decision: Decision) -> bool:
        run = snapshot.run
        halted = decision.halt.sentence if decision.halt is not None else ""
        if decision.finished and run.state == "running":
            done = replace(run, state="done", ended=self._clock.now(), reason="")
            event = self._event("run-done", "every action is done or was waived")
            # fenced like a grant: an operator may have said meanwhile that a host is to do something again
            over = Change(run=self._run, events=(event,), run_record=done, admission=snapshot.admission)
            self._commit(over, snapshot)
            return True
        if run.state == "running" and halted != run.reason:
            kind: EventKind = "run-halted" if halted else "run-resumed"
            event = self._event(kind, halted or "no longer halted")
            self._commit(Change(run=self._run, events=(event,), run_record=replace(run, reason=halted)), snapshot)
            return True
        return False

    def _commit_grants(self, snapshot: Seen, decision: Decision) -> bool:
        if not self._granting or not decision.grants:
            return False
        grants = decision.grants[:GRANTS_AT_ONCE]
        actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
        events = []
        for index, grant in enumerate(grants):
            token = snapshot.token(index)
            old = snapshot.actions.get(grant.action)
            new = replace(
                old or ActionRecord(state="pending"),
                state="claimed",
                token=token,
                attempt=(old.attempt if old else 0) + 1,
                claimed=self._clock.now(),
                started=0.0,
                finished=0.0,
                ended=0.0,
                by=self._actor,
                reason="",
                stuck=False,
                retry=False,
            )
            actions[grant.action] = (old, new)
            events.append(self._event("claimed", grant.why, grant.action, token))
        self._commit(
            Change(
                run=self._run,
                events=tuple(events),
                actions=actions,
                admission=snapshot.admission,
                bump="granted " + ", ".join(grant.host for grant in grants[:5]),
            ),
            snapshot,
        )
        return True

    # --- acting ------------------------------------------------------------------------------------------------

    def _dispatch(self, snapshot: Seen) -> None:
        """Hand over every order that is open and that this process has not handed over yet."""
        known = snapshot.changes(self._dispatched)
        self._dispatched = snapshot.revision
        for action in snapshot.actions if known is None else known.actions:
            record = snapshot.actions.get(action)
            if record is None:
                continue
            at_work = record.state in ("claimed", "running") or (record.state == "unknown" and not record.retry)
            if not at_work:
                if self._submitted.pop(action, None) is not None:
                    self._executor.withdraw(self._run, action)
                continue
            if record.leg >= len(self._plan.pass_of(action).legs):
                continue
            # one that was unknown and is at work after all is asked again: nobody may be following it any more
            lifted = record.ended if record.state == "running" else 0.0
            mark = (record.token, record.leg, lifted)
            if self._submitted.get(action) != mark:
                self._submitted[action] = mark
                self._executor.submit(self._order(snapshot, action, record))

    def _order(self, snapshot: Seen, action: str, record: ActionRecord) -> Order:
        return self._orders.order(action, record, self._mirror, snapshot)

    def _beat(self) -> None:
        if self._clock.monotonic() - self._beaten >= BEAT_EVERY:
            self._beaten = self._clock.monotonic()
            self._repository.store.beat(beat_name(self._run) + self._name, BEAT_LIFE)

    # --- helpers -----------------------------------------------------------------------------------------------

    def _try_commit(self, change: Change, snapshot: Seen) -> bool:
        """Whether it was written; if not, somebody wrote first. Raises Superseded, StoreError."""
        try:
            self._commit(change, snapshot)
        except Superseded:
            raise
        except Conflict:
            return False
        return True

    def _commit(self, change: Change, snapshot: Seen) -> None:
        self._repository.commit(change, snapshot, self._leadership.fence if self._leadership is not None else None)
        self._events.extend(change.events)

    def _event(
        self, kind: EventKind, text: str, action: str = "", token: int = 0, actor: str = "", host: str = ""
    ) -> Event:
        if action and not host:
            host = split_action(action)[1]
        return Event(
            at=self._clock.now(),
            kind=kind,
            actor=actor or self._actor,
            action=action,
            host=host,
            text=text,
            token=token,
        )
