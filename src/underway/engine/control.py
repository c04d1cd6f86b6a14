"""What an operator may do to a run: each verb is one transaction with who, when and why.

It takes effect before the next grant: it bumps the admission record, so that a decision made on an older look cannot
be committed.

The three faces (command line, API, page) call these and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from underway.core.dropping import Dropping, dropping
from underway.core.model.base import replace
from underway.core.model.cluster import Host
from underway.core.model.event import Event, EventKind
from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.policy import Limit, Policy
from underway.core.model.state import (
    TROUBLED,
    ActionRecord,
    Approval,
    Hold,
    Machine,
    PolicyRecord,
    RunRecord,
)
from underway.core.nearest import nearest
from underway.core.replacement import Replacement, replacement
from underway.engine import machines
from underway.engine.clock import Clock
from underway.engine.machines import why
from underway.errors import Conflict, InputError, Refused
from underway.records.change import Change
from underway.records.repository import Repository
from underway.records.seen import Seen

TRIES = 50
"""How often a verb looks again after a conflict: each conflict means that somebody else made progress."""

OUTAGE = "outage:"
"""Prefix of a service's name where a limit is its outage budget."""


class Control:
    """The verbs, for one run, spoken by one operator."""

    def __init__(self, repository: Repository, plan: Plan, run: str, clock: Clock, operator: str) -> None:
        self._repository = repository
        self._plan = plan
        self._run = run
        self._clock = clock
        self._operator = operator

    # --- the run -----------------------------------------------------------------------------------------------

    def pause(self, reason: str) -> None:
        """No new host starts; those at work finish. Pausing a paused run changes nothing."""
        self._run_state("paused", "run-paused", reason, idle=("paused",))

    def resume(self, reason: str = "") -> None:
        """Undo a pause."""
        self._run_state("running", "run-resumed", reason, idle=("running",))

    def abort(self, reason: str) -> None:
        """End the run for good: no new host starts, those at work finish. Hosts stay as they are."""
        self._run_state("aborted", "run-aborted", reason, idle=("aborted",))

    def approve(self, stage: str, reason: str = "") -> None:
        """Let a stage begin that waits for an operator. Raises InputError for a stage that the plan does not have."""
        names = [found.kind for found in self._plan.stages]
        late = [found.kind for found in self._plan.stages if found.point_of_no_return]
        if stage == "finalize" and stage not in names and late:
            stage = late[0]  # as in the policy: the point of no return, whichever stage it is
        if stage not in names:
            raise InputError(f"the plan has no stage {stage!r}{nearest(stage, names)}: it has {', '.join(names)}")
        approval = Approval(stage=stage, by=self._operator, at=self._clock.now(), reason=reason)

        def change(seen: Seen) -> Change | None:
            if stage in seen.approvals:
                return None
            event = self._event("approve", f"stage {stage} may begin" + why(reason))
            return Change(run=self._run, events=(event,), approvals={stage: approval}, bump=f"approve {stage}")

        self._change(change)

    def finalize(self, reason: str = "") -> None:
        """Approve the point of no return. Raises Refused while a host is not on the new release."""
        stages = [found.kind for found in self._plan.stages if found.point_of_no_return]
        if not stages:
            raise Refused("this plan has no point of no return: there is nothing to finalize")
        self._before_finalize()
        self.approve(stages[0], reason)

    def limit(self, what: str, limit: Limit, reason: str) -> None:
        """Change a limit mid-run. ``what``: ``total``, ``domain``, ``prepare``, ``budget``, a role or group, or
        ``outage:<service>`` (then ``limit.count`` is seconds of outage, of a service that has such a budget).

        Raises InputError for a name that the plan does not have, or a percentage that rounds to no host.
        """
        self._check_limit(what, limit)

        def change(seen: Seen) -> Change | None:
            policy = self._with_limit(seen.policy.policy if seen.policy else self._plan.policy, what, limit)
            new = PolicyRecord(policy=policy, by=self._operator, at=self._clock.now(), reason=reason)
            event = self._event("policy", f"limit of {what} is {limit} from now on" + why(reason))
            return Change(run=self._run, events=(event,), policy=new, bump=f"limit {what}")

        self._change(change)

    # --- hosts -------------------------------------------------------------------------------------------------

    def hold(self, host: str, reason: str) -> None:
        """Never start this host (``*``: any host) until it is released; one at work finishes."""
        self._known(host, star=True)
        mark = Hold(host=host, reason=reason, by=self._operator, at=self._clock.now())
        self._change(
            lambda seen: (
                None
                if host in seen.holds
                else Change(
                    run=self._run,
                    events=(self._event("hold", f"{host} is held" + why(reason), host=host),),
                    holds={host: mark},
                    bump=f"hold {host}",
                )
            )
        )

    def release(self, host: str, reason: str) -> None:
        """Lift a hold. A host without one is an InputError (nothing else frees anything)."""
        self._known(host, star=True)

        def change(seen: Seen) -> Change | None:
            if host not in seen.holds:
                raise InputError(f"{host} is not held; nothing was changed" + self._slot_hint(seen, host))
            event = self._event("release", f"{host} is no longer held" + why(reason), host=host)
            return Change(run=self._run, events=(event,), holds={host: None}, bump=f"release {host}")

        self._change(change)

    def retry(self, host: str, reason: str, answer: Literal["", "rerun", "skip"] = "") -> list[str]:
        """Do the failed or unknown work of a host again, from the step that did not finish.

        A step whose outcome is unknown needs ``answer``: ``rerun`` (run it again) or ``skip`` (it happened). Raises
        InputError where the host has nothing to retry or the answer is missing. Returns the action ids.
        """
        self._known(host)
        found: list[str] = []

        def change(seen: Seen) -> Change | None:
            found.clear()
            actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
            for action, record in self._troubled(seen, host):
                if record.state == "unknown" and record.step and not answer:
                    raise InputError(
                        f"{host}: nobody can tell whether step {record.step} happened; look at the host, then "
                        f"'underway retry {host} --rerun' (run it again) or '--skip' (it happened)"
                    )
                # an answer is about this interruption only: an older one must not answer for the next
                answers = {record.step: answer} if answer and record.step else {}
                actions[action] = (record, self._again(action, record, answers))
                found.append(action)
            event = self._event("retry", f"{host} is tried again{' (' + answer + ')' if answer else ''}" + why(reason))
            events = tuple(replace(event, host=host, action=action) for action in found)
            return Change(run=self._run, events=events, actions=actions, bump=f"retry {host}")

        self._change(change)
        return found

    def _again(self, action: str, record: ActionRecord, answers: dict[str, Literal["rerun", "skip"]]) -> ActionRecord:
        """The record of work that is to be tried again; where only the gate had failed, the gate is tried again."""
        if record.leg >= len(self._plan.pass_of(action).legs):
            return replace(record, state="soaking", finished=self._clock.now(), ended=0.0, reason="", stuck=False)
        return replace(record, retry=True, answers=answers, stuck=False)

    def replace(self, host: str, reason: str, rerun: bool = False) -> tuple[Machine, Replacement]:
        """Record that the host's machine died for good and that another stands in its place, installed anew.

        Everything of its own that it had begun is done again there, and until its rolling passes are the host counts
        as out of service; what it had finished once for all stays done (``rerun``: an unfinished one is begun anew
        although it is not idempotent). Said again before the new machine did anything, it changes nothing.

        Raises InputError for no such host, Refused as ``core.replacement`` says.
        """
        self._known(host)
        found: list[tuple[Machine, Replacement]] = []

        def change(seen: Seen) -> Change | None:
            found.clear()
            here = replacement(self._plan, seen, host, rerun)
            machine = machines.stands_in(self._plan, seen, host, self._word(seen, host, reason))
            found.append((machine, here))
            if machine is seen.machines.get(host) and not here.again:
                return None
            return machines.replaced(self._plan, seen, machine, here, self._event)

        self._change(change)
        return found[0]

    def check_replace(self, host: str, rerun: bool) -> int:
        """Where the journal of the new machine will begin. Raises what ``replace`` would, and changes nothing."""
        self._known(host)
        seen = self._repository.snapshot(self._run)
        replacement(self._plan, seen, host, rerun)
        return machines.stands_in(self._plan, seen, host, self._word(seen, host, "")).base

    def drop(self, host: str, reason: str, off: bool = False) -> Dropping:
        """Record that the host's machine is gone for good and that nobody takes its place: it leaves the run and every
        count, and comes back only as one that is enrolled anew (``enrolled``), or by ``replace``.

        ``off``: the operator says that it is off and stays so, where nobody can tell what it does. Said again, it
        changes nothing. Raises InputError for no such host, Refused as ``core.dropping`` says.
        """
        self._known(host)
        found: list[Dropping] = []

        def change(seen: Seen) -> Change | None:
            found[:] = [dropping(self._plan, seen, host, off)]
            return machines.dropped(seen, self._word(seen, host, reason), found[0], self._event)

        self._change(change)
        return found[0]

    def enrolled(self, host: str) -> bool:
        """A new machine was enrolled in the place of a host that was dropped: it counts again. Whether it was one."""
        found: list[bool] = []

        def change(seen: Seen) -> Change | None:
            made = machines.enrolled(seen, host, self._event)
            found[:] = [made is not None]
            return made

        self._change(change)
        return found[0]

    def host(self, name: str) -> Host:
        """A host of the plan. Raises InputError for no such host."""
        self._known(name)
        return self._plan.hosts[name]

    def _word(self, seen: Seen, host: str, reason: str) -> Machine:
        """What is said of a host's machine, as the first word on it."""
        return Machine(
            host=host, number=1, by=self._operator, at=self._clock.now(), reason=reason, run=self._run,
            serial=seen.serial,
        )  # fmt: skip

    def skip(self, host: str, reason: str, action: str = "") -> list[str]:
        """Waive a host's failed, unknown or pending work: later stages no longer wait for it. Returns the actions."""
        self._known(host)
        found: list[str] = []

        def change(seen: Seen) -> Change | None:
            found.clear()
            actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = {}
            for work in self._plan.passes.values():
                identity = action_id(work.id, host)
                if host not in work.hosts or (action and identity != action):
                    continue
                record = seen.actions.get(identity)
                if record is not None and record.state not in TROUBLED and record.state != "pending":
                    continue
                old = record or ActionRecord(state="pending")
                actions[identity] = (record, replace(old, state="skipped", reason=reason, ended=self._clock.now()))
                found.append(identity)
            if not actions:
                raise InputError(f"{host} has no failed, unknown or pending work to skip")
            events = tuple(
                replace(self._event("skipped", f"{identity} is waived" + why(reason), host=host), action=identity)
                for identity in found
            )
            return Change(run=self._run, events=events, actions=actions, bump=f"skip {host}")

        self._change(change)
        return found

    # --- helpers -----------------------------------------------------------------------------------------------

    def _run_state(
        self, state: Literal["running", "paused", "aborted"], kind: EventKind, reason: str, idle: tuple[str, ...]
    ) -> None:
        def change(seen: Seen) -> Change | None:
            run = seen.run
            if run.state in idle:
                return None
            if run.state in ("done", "aborted"):
                raise Refused(f"run {run.id} is {run.state}: it cannot become {state}")
            ended = self._clock.now() if state == "aborted" else run.ended
            new: RunRecord = replace(run, state=state, by=self._operator, ended=ended)
            event = self._event(kind, f"the run is {state}" + why(reason))
            return Change(run=self._run, events=(event,), run_record=new, bump=state)

        self._change(change)

    def _change(self, make: Callable[[Seen], Change | None]) -> None:
        """Look, make the change, commit; look again on conflict. ``None`` means that it is already so."""
        for _ in range(TRIES):
            seen = self._repository.snapshot(self._run)
            change = make(seen)
            if change is None:
                return
            try:
                self._repository.commit(change, seen)
            except Conflict:
                continue
            return
        raise Refused(f"other writers were faster {TRIES} times: nothing was changed; try again")

    def _troubled(self, seen: Seen, host: str) -> list[tuple[str, ActionRecord]]:
        found = [
            (action, record)
            for action, record in seen.actions.items()
            if split_action(action)[1] == host and record.state in TROUBLED and not record.retry
        ]
        if not found:
            raise InputError(f"{host} has no failed or unknown work to retry")
        return found

    def _known(self, host: str, star: bool = False) -> None:
        if host not in self._plan.hosts and not (star and host == "*"):
            raise InputError(f"the plan has no host {host!r}{nearest(host, self._plan.hosts)}")

    def _slot_hint(self, seen: Seen, host: str) -> str:
        troubled = [
            record.state for action, record in seen.actions.items()
            if split_action(action)[1] == host and record.state in TROUBLED
        ]  # fmt: skip
        return f" (it is {troubled[0]}: use retry or skip)" if troubled else ""

    def _before_finalize(self) -> None:
        seen = self._repository.snapshot(self._run)
        behind = sorted(
            {
                host
                for work, host in self._plan.actions()
                if work.upgrades and seen.state(action_id(work.id, host)) not in ("done", "skipped")
            }
        )
        if behind:
            names = ", ".join(behind[:5]) + (f" and {len(behind) - 5} more" if len(behind) > 5 else "")
            raise Refused(f"the point of no return waits: {names} not on {self._plan.target} yet")

    def _check_limit(self, what: str, limit: Limit) -> None:
        hosts = [host for name, host in self._plan.hosts.items() if name not in self._dropped()]
        sizes = dict.fromkeys(("total", "domain", "prepare", "budget"), len(hosts))
        for role in self._plan.roles:
            sizes[role] = sum(1 for host in hosts if host.role == role)
        for group in self._plan.groups.values():
            sizes[group.name] = sum(sizes[role] for role in group.roles)
        budgets = {f"{OUTAGE}{service}" for service in self._plan.policy.outage_budget}
        sizes.update(dict.fromkeys(budgets, 0))
        if what not in sizes:
            raise InputError(
                f"there is no role, group or limit {what!r}{nearest(what, sizes)}: "
                "expected total, domain, prepare, budget, a role, a group or outage:SERVICE"
            )
        if what in budgets and limit.percent is not None:
            raise InputError("an outage budget is a number of seconds")
        if limit.percent is not None and limit.resolve(sizes[what]) == 0:
            raise InputError(f"{limit} of {sizes[what]} hosts rounds down to none; give a number (0 holds {what})")
        if what == "budget" and limit.percent is not None:
            raise InputError("the failure budget is a number of hosts")

    def _dropped(self) -> Collection[str]:
        return self._repository.snapshot(self._run).dropped()

    def _with_limit(self, policy: Policy, what: str, limit: Limit) -> Policy:
        if what == "total":
            return replace(policy, limit=limit)
        if what == "domain":
            return replace(policy, domain_limit=limit)
        if what == "prepare":
            return replace(policy, prepare_limit=limit)
        if what == "budget":
            return replace(policy, failure_budget=limit.count or 0)
        if what.startswith(OUTAGE):
            seconds = float(limit.count or 0)
            return replace(policy, outage_budget={**policy.outage_budget, what.removeprefix(OUTAGE): seconds})
        if what in self._plan.roles:
            return replace(policy, role_limits={**policy.role_limits, what: limit})
        return replace(policy, group_limits={**policy.group_limits, what: limit})

    def _event(self, kind: EventKind, text: str, host: str = "") -> Event:
        return Event(
            at=self._clock.now(), kind=kind, actor=f"operator:{self._operator}", action="", host=host, text=text
        )
