"""How a run stands, whole: who works, who holds slots, who is in trouble, why the rest waits, and what to do next.

``status``, the live view, the API and the page show this one value. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from underway.core import words
from underway.core.availability import Stats
from underway.core.bouts import bouts
from underway.core.model.decision import Decision
from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.policy import Policy
from underway.core.model.sample import Outage
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import BUSY, FINISHED, TROUBLED, ActionState, Hold
from underway.core.progress import Progress, Waiting, progress
from underway.core.rollback import past_no_return
from underway.core.rows import SETTLED, HostState, NoticeRow, Verdict
from underway.core.summary import host_state

ALIKE = 3
"""Groups of one kind up to which each is told; of more the largest is, with the number of the others."""

SOME = 8
"""Names of hosts in a line on who has spoken."""

NAMED = 3
"""Hosts in trouble for which commands are spelt out; for more, the last line says that they are alike."""

AtWork = tuple[str, str, str, float]
"""Host, step, task (empty: between tasks), since (Unix seconds; 0: not known)."""


@dataclass(frozen=True, slots=True)
class Registered:
    """``unregistered``: hosts that fetch their work, and whose agent has never asked. Strangers, which count nowhere:
    ``agents`` of hosts that the plan does not have (or that do not fetch their work), and ``records`` of such hosts."""

    unregistered: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    records: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """At most a line of each, with some names."""
        if self.unregistered:
            yield (
                f"{words.plural(len(self.unregistered), 'host')} whose agent has never asked, refused when the turn "
                f"comes: {words.some(self.unregistered, SOME)} ('underway host enrol {self.unregistered[0]}')"
            )
        if self.agents:
            told = words.plural(len(self.agents), "agent")
            yield f"ignored: {told} of no host of the plan that fetches its work: {words.some(self.agents, SOME)}"
        if self.records:
            told = words.plural(len(self.records), "host")
            yield f"ignored: records of {told} that the plan does not have: {words.some(self.records, SOME)}"


@dataclass(frozen=True, slots=True)
class Extras:
    """What stands beside a snapshot and its decision: what probes saw, and which processes live.

    ``coordinator``: one is alive (None: not known). ``at_work``: the task of each host, from its journal. ``stats`` and
    ``outages`` are those of the ``Ledger``. ``progress``: as the coordinator last computed it; None: computed here, by
    ``policy`` where one is in force that is not the plan's. ``notices``: what tasks told operators so far.
    ``registered``: who has spoken, and who should not have. ``by_hand``: hosts that are on the run's release by an
    operator's word.
    """

    coordinator: bool | None = None
    prober: bool | None = None
    at_work: Sequence[AtWork] = ()
    outages: Sequence[Outage] = ()
    stats: Sequence[Stats] = ()
    progress: Progress | None = None
    policy: Policy | None = None
    notices: Sequence[NoticeRow] = ()
    registered: Registered = Registered()
    by_hand: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Busy:
    """An action at work; ``seconds`` since its claim, ``in_task`` since its task began (0: not known)."""

    action: str
    host: str
    state: ActionState
    step: str
    task: str
    seconds: float
    in_task: float
    stuck: bool
    slot: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """An action that failed or whose outcome is unknown.

    ``slot``: it keeps one; ``retry``: it will be tried again; ``on``: the machine that was to do it (a balancer, or the
    host).
    """

    action: str
    host: str
    state: ActionState
    step: str
    step_name: str
    reason: str
    seconds: float
    slot: bool
    retry: bool
    on: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """A machine that stands in the place of one that died in this run; ``left``: what it has still to do again."""

    host: str
    by: str
    at: float
    reason: str
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A host that is gone for good, by whose word; ``left``: work of this run that is still waited for there."""

    host: str
    by: str
    at: float
    reason: str
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator can do now, exactly as typed, and what it does."""

    line: str
    why: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that is true now."""

    verdict: Verdict
    why: str
    behind: tuple[str, ...]
    hosts: dict[HostState, int]
    busy: tuple[Busy, ...]
    trouble: tuple[Trouble, ...]
    held: tuple[Hold, ...]
    replaced: tuple[Replaced, ...]
    dropped: tuple[Dropped, ...]
    waiting: tuple[Waiting, ...]
    progress: Progress
    commands: tuple[Command, ...]
    extras: Extras = field(default_factory=Extras)
    mode: str = "upgrade"


def outlook(plan: Plan, snapshot: Snapshot, decision: Decision, extras: Extras | None, now: float) -> Outlook:
    """How the run stands at ``now`` (Unix seconds)."""
    extras = extras or Extras()
    # as the report counts them, so that the two never tell of different numbers
    extras = replace(extras, outages=[bout.outage for bout in bouts(extras.outages, plan.probes)])
    states = host_states(plan, snapshot)
    hosts: dict[HostState, int] = {}
    for state in states.values():
        hosts[state] = hosts.get(state, 0) + 1
    behind = tuple(host for host, state in states.items() if state not in SETTLED)
    trouble = tuple(_trouble(plan, snapshot, now))
    verdict, why = _verdict(snapshot, decision, behind)
    made = extras.progress or progress(plan, snapshot, decision, now, extras.policy)
    found = Outlook(
        verdict=verdict,
        mode=plan.mode,
        why=words.clean(why),
        behind=behind,
        hosts=hosts,
        busy=tuple(_busy(plan, snapshot, extras, now)),
        trouble=trouble,
        held=tuple(hold for _, hold in sorted(snapshot.holds.items())),
        replaced=tuple(_replaced(snapshot)),
        dropped=tuple(_dropped(plan, snapshot)),
        waiting=tuple(_fewer(made.waiting)),
        progress=made,
        commands=(),
        extras=extras,
    )
    named = f"underway --run {snapshot.run.id} " if plan.mode == "roll" else "underway "
    told = _commands(plan, snapshot, decision, found)
    return replace(found, commands=tuple(replace(one, line=one.line.replace("underway ", named, 1)) for one in told))


def host_states(plan: Plan, snapshot: Snapshot) -> dict[str, HostState]:
    """Every host of the plan with its state, from those of its actions."""
    found: dict[str, list[tuple[bool, ActionState]]] = {host: [] for host in plan.hosts}
    for work, host in plan.actions():
        found[host].append((work.upgrades, snapshot.state(action_id(work.id, host))))
    gone = snapshot.dropped()
    return {host: "dropped" if host in gone else host_state(states) for host, states in found.items()}


def _verdict(snapshot: Snapshot, decision: Decision, behind: Sequence[str]) -> tuple[Verdict, str]:
    run = snapshot.run
    if run.state == "done":
        return ("behind", f"{words.some(behind)} not on the new release") if behind else ("done", run.reason)
    if run.state != "running":
        by = f"by {run.by}" if run.by else ""
        return run.state, ": ".join(part for part in (by, run.reason) if part)
    if decision.halt is not None:
        return "halted", decision.halt.sentence.removeprefix("halted: ")
    return "running", ""


def _busy(plan: Plan, snapshot: Snapshot, extras: Extras, now: float) -> Iterator[Busy]:
    tasks = {entry[0]: entry for entry in extras.at_work}
    records = [(action, record) for action, record in snapshot.actions.items() if record.state in BUSY]
    for action, record in sorted(records, key=lambda pair: pair[1].claimed):
        pass_id, host = split_action(action)
        work = plan.passes.get(pass_id)
        on = work.legs[record.leg].on if work and record.leg < len(work.legs) else ""
        _, step, task, since = tasks.get(on or host, ("", "", "", 0.0))
        named = plan.steps[step or record.step].name if (step or record.step) in plan.steps else step or record.step
        if record.state == "soaking":
            named, task, since = "must stay healthy before its slot is free", "", record.finished
        yield Busy(
            action=action,
            host=host,
            state=record.state,
            step=words.clean(named),
            task=words.clean(task),
            seconds=max(now - record.claimed, 0.0),
            in_task=max(now - since, 0.0) if since else 0.0,
            stuck=record.stuck,
            slot=bool(work and work.rolling),
        )


def _trouble(plan: Plan, snapshot: Snapshot, now: float) -> Iterator[Trouble]:
    for action, record in sorted(snapshot.actions.items()):
        if record.state not in TROUBLED:
            continue
        pass_id, host = split_action(action)
        work = plan.passes.get(pass_id)
        yield Trouble(
            action=action,
            host=host,
            state=record.state,
            step=record.step,
            step_name=words.clean(plan.steps[record.step].name if record.step in plan.steps else record.step),
            reason=words.clean(record.reason) or "no reason was recorded",
            seconds=max(now - (record.ended or record.finished or record.claimed), 0.0),
            slot=bool(work and work.rolling),
            retry=record.retry,
            on=(work.legs[record.leg].on if work and record.leg < len(work.legs) else "") or host,
        )


def _replaced(snapshot: Snapshot) -> Iterator[Replaced]:
    for host, machine in sorted(snapshot.machines.items()):
        if machine.run == snapshot.run.id and not machine.gone:
            left = [name for name, record in snapshot.actions.items() if record.again and split_action(name)[1] == host]
            yield Replaced(host, machine.by, machine.at, machine.reason, tuple(left))


def _dropped(plan: Plan, snapshot: Snapshot) -> Iterator[Dropped]:
    gone = {host: machine for host, machine in snapshot.dropped().items() if host in plan.hosts}
    left: dict[str, list[str]] = {host: [] for host in gone}
    for work, host in plan.actions() if gone else ():
        action = action_id(work.id, host)
        if host in gone and snapshot.state(action) not in FINISHED:
            left[host].append(action)
    for host, machine in sorted(gone.items()):
        yield Dropped(host, machine.by, machine.at, machine.reason, tuple(left[host]))


def _fewer(groups: Sequence[Waiting]) -> Iterator[Waiting]:
    """Groups whose sentences differ by host only are told by their largest, so that 50 reasons fit a screen."""
    kinds: dict[str, list[Waiting]] = {}
    for group in groups:
        kinds.setdefault(group.kind, []).append(group)
    for alike in kinds.values():
        if len(alike) <= ALIKE:
            yield from (_cleaned(group) for group in alike)
            continue
        rest = sum(group.count for group in alike[1:])
        first = _cleaned(alike[0])
        sentence = f"{first.sentence} (and {words.plural(rest, 'host')} for a like reason)"
        yield Waiting(first.kind, first.count, first.hosts, sentence)


def _cleaned(group: Waiting) -> Waiting:
    return Waiting(group.kind, group.count, group.hosts, words.clean(group.sentence))


def _commands(plan: Plan, snapshot: Snapshot, decision: Decision, found: Outlook) -> Iterator[Command]:
    """What to do, most pressing first. Nothing where the run goes on by itself."""
    run = snapshot.run
    if run.state in ("done", "aborted"):
        yield Command("underway report", "what happened, in one file")
        if found.behind and plan.mode != "roll":
            yield Command("underway plan --to " + plan.target, "a plan for the hosts that are behind")
        return
    idle = found.extras.coordinator is False
    open_trouble = [trouble for trouble in found.trouble if not trouble.retry]
    forward = plan.mode == "upgrade" and past_no_return(plan, snapshot) is None
    yield from _for_trouble(open_trouble, forward)
    for busy in found.busy:
        if busy.stuck:
            yield Command(f"underway log | grep {busy.host}", f"{busy.host} is past its deadline; its slot stays used")
            break
    for gone in found.dropped:
        if gone.left:
            yield Command(f"underway drop {gone.host} --reason TEXT", "waive what this run still waits for there")
    if run.state == "paused":
        yield Command("underway resume", "undo the pause")
    kinds = {group.kind for group in found.progress.waiting}
    if "approval-wanted" in kinds:
        present = next((stage for stage in plan.stages if stage.name == decision.stage), None)
        final = present is not None and present.point_of_no_return
        line = "underway finalize" if final else f"underway approve {present.kind if present else decision.stage}"
        yield Command(line, "pass the point of no return" if final else f"let stage {decision.stage} begin")
    for hold in found.held:
        who = "'*'" if hold.host == "*" else hold.host
        yield Command(
            f"underway release {who} --reason TEXT", f"lift the hold by {words.clean(hold.by) or 'an operator'}"
        )
        break
    for name, (_, limit) in sorted(decision.slots.items()):
        if limit == 0 and "limit-zero" in kinds:
            yield Command(f"underway limit {name} 1 --reason TEXT", f"the limit of {name} is 0: none will move")
            break
    if idle:
        yield Command("underway upgrade", "no coordinator is at work: go on from where it stopped")
    if open_trouble and forward:
        yield Command("underway rollback --reason TEXT", "or bring all hosts back to " + plan.source)


def _for_trouble(trouble: Sequence[Trouble], forward: bool) -> Iterator[Command]:
    for row in trouble[:NAMED]:
        if row.state == "unknown" and row.step:
            yield Command(f"underway retry {row.host} --rerun", f"if “{row.step_name}” did not happen: run it again")
            yield Command(f"underway retry {row.host} --skip", f"if “{row.step_name}” did happen: go on after it")
        else:
            yield Command(f"underway retry {row.host}", "again, from the step that did not finish")
        yield Command(f"underway skip {row.host} --reason TEXT", "or go on without it; it stays as it is")
        if forward and not row.step:  # nobody knows what it did, or it took nothing at all
            yield Command(
                f"underway replace {row.on} --reason TEXT",
                f"if the machine {row.on} is gone for good: another one in its place does its work again",
            )
        if row.on == row.host and not row.step:
            off = " --off" if row.state == "unknown" else ""
            yield Command(
                f"underway drop {row.host}{off} --reason TEXT", "or nobody takes its place: it leaves the run"
            )
    if len(trouble) > NAMED:
        yield Command("underway retry HOST", f"and so for {words.plural(len(trouble) - NAMED, 'more host')} in trouble")
