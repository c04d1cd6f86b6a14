"""A change: everything that one look at the world leads to, committed as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from underway.core.model.base import canonical
from underway.core.model.event import Event
from underway.core.model.part import Milestone
from underway.core.model.plan import split_action
from underway.core.model.state import (
    RUN_TRANSITIONS,
    ActionRecord,
    ActionState,
    Approval,
    Health,
    Hold,
    HostRecord,
    IllegalTransition,
    Machine,
    PolicyRecord,
    RunRecord,
    check_transition,
)
from underway.records.seen import Seen

_ONCE = "~once"  # stands for no host: none has such a name
_OVERHEAD = 300  # bytes of a record beside its value, and of an audit entry beside its event


class BadChange(ValueError):
    """A programming error: a change that must never be committed, whatever the store holds."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written, and the facts that tell of it. All of it is one transaction (see ``pieces``).

    ``run``: the run that the events belong to; "" for what concerns none (a hold while nothing runs).
    ``events``: at least one; every action whose state changes is named by an event (its ``action``).
    ``actions``: action id -> (the record as seen, None where absent; the new record). ``None`` as a hold or
    approval withdraws it. ``outage`` is the whole map of service to seconds. ``durations`` are *added* to what is
    known, by ``<stage>/<role>``. ``once``: what is done for the whole deployment from now on, by
    ``<service>/<phase>``. ``admission``: the revision of the admission record that must still hold: needed
    for every grant, allowed for anything. ``bump``: why the admission record is bumped, where the repository does
    not see by itself that it must be (``bumps_run`` and ``bumps_cluster`` say when it does). ``serial``: where it is
    bumped, no token up to this one will be used any more.
    """

    run: str
    events: tuple[Event, ...]
    actions: Mapping[str, tuple[ActionRecord | None, ActionRecord]] = field(default_factory=dict)
    run_record: RunRecord | None = None
    holds: Mapping[str, Hold | None] = field(default_factory=dict)
    approvals: Mapping[str, Approval | None] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    policy: PolicyRecord | None = None
    outage: Mapping[str, float] | None = None
    hosts: Mapping[str, HostRecord] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)
    once: Mapping[str, Milestone] = field(default_factory=dict)
    durations: Mapping[str, Sequence[float]] = field(default_factory=dict)
    admission: int | None = None
    bump: str | None = None
    serial: int = 0

    def claims(self) -> dict[str, int]:
        """Actions that are claimed by this change, with their tokens."""
        return {name: new.token for name, (old, new) in self.actions.items() if _state(old) != new.state == "claimed"}


def _state(record: ActionRecord | None) -> ActionState:
    return record.state if record is not None else "pending"


def check(change: Change, seen: Seen | None) -> None:
    """Raise ``BadChange`` or ``IllegalTransition`` for what no store content could make right."""
    if not change.events:
        raise BadChange("a change without an event: every change is told of (I13)")
    if seen is not None and seen.run.id != change.run:
        raise BadChange(f"a change of run {change.run!r} on a look at run {seen.run.id!r}")
    if seen is None:
        scoped = change.actions or change.approvals or change.run_record or change.policy or change.outage is not None
        if scoped or change.machines or change.admission is not None:
            raise BadChange(f"a change of run {change.run!r} needs a look at that run")
        return
    told = {event.action for event in change.events}
    claims = change.claims()
    for action, (old, new) in change.actions.items():
        if old != seen.actions.get(action):
            raise BadChange(f"{action}: the change does not begin at the record that was seen")
        if _state(old) != new.state:
            check_transition(_state(old), new.state)
            if action not in told:
                raise BadChange(f"{action}: becomes {new.state} without an event that names it")
        if new.token != (old.token if old is not None else 0) and action not in claims:
            raise BadChange(f"{action}: its token changes without a claim (I3)")
    if change.run_record is not None:
        _check_run(seen.run, change.run_record)
    _check_claims(change, seen, list(claims.values()))


def _check_run(old: RunRecord, new: RunRecord) -> None:
    if (old.id, old.cluster, old.plan) != (new.id, new.cluster, new.plan):
        raise BadChange(f"run {old.id}: id, cluster and plan of a run never change (I8)")
    if old.state != new.state and (old.state, new.state) not in RUN_TRANSITIONS:
        raise IllegalTransition(f"run {old.id}: {old.state} -> {new.state} is not allowed")


def _check_claims(change: Change, seen: Seen, tokens: list[int]) -> None:
    if not tokens:
        return
    if change.admission is None:
        raise BadChange(f"{len(tokens)} claims without the admission revision that was seen")
    if tokens[0] <= seen.serial or any(one >= two for one, two in pairwise(tokens)):
        raise BadChange(f"tokens {tokens} of claims: expected growing ones above {seen.serial} (Seen.token)")


def bumps_run(change: Change, old_outage: Mapping[str, float]) -> str:
    """Why a decision on an older look at ``change.run`` could now be wrong; "" if it could not.

    A claim; an action that failed or whose outcome is unknown (the budget may now halt the run); an approval that is
    withdrawn; any change of the run's record or policy; more seconds of outage; a machine that was replaced, with which
    what was finished is to be done again, or dropped, with which percentages are of fewer hosts. What only frees
    capacity needs none.
    """
    for action, (old, new) in change.actions.items():
        if new.state != _state(old) and new.state in ("claimed", "failed", "unknown"):
            return f"{new.state}: {action}"
    for stage, approval in change.approvals.items():
        if approval is None:
            return f"approval withdrawn: {stage}"
    if change.run_record is not None:
        return f"run: {change.run_record.state}"
    if change.policy is not None:
        return "policy"
    for host in change.machines:
        return f"replaced: {host}"
    for service, seconds in (change.outage or {}).items():
        if seconds > old_outage.get(service, 0.0):
            return f"outage: {service}"
    return ""


def bumps_cluster(change: Change, old_health: Mapping[str, Health]) -> str:
    """The same for what belongs to no run: a hold, or a host that becomes (or is first seen) unhealthy.

    There is one admission record, so whoever grants in any run must look again.
    """
    for host, health in change.health.items():
        before = old_health.get(host)
        if not health.healthy and (before is None or before.healthy):
            return f"unhealthy: {host}"
    for host, hold in change.holds.items():
        if hold is not None:
            return f"hold: {host}"
    return ""


@dataclass(slots=True)
class _Unit:
    """What is never divided: all that a change says of one host (``""``: of none), with the events that tell it."""

    actions: dict[str, tuple[ActionRecord | None, ActionRecord]] = field(default_factory=dict)
    events: list[int] = field(default_factory=list)
    keys: int = 0
    size: int = 0

    def add(self, value: object) -> None:
        self.keys += 1
        self.size += len(canonical(value)) + _OVERHEAD


def pieces(change: Change, keys: int, size: int) -> list[Change]:
    """The change in parts of about ``keys`` keys and ``size`` bytes, so that each fits one transaction.

    Divided by host only: what is said of one host, and the events that name it or its action, stay together; what
    is about no host goes with the first part, and what is done for all from now on with the last, as it rests on the
    others. Each part stands for itself: a claim without the other claims of its decision is as right as with them.
    """
    units = _units(change)
    parts: list[list[str]] = [[]]
    used = spent = 0
    for host, unit in units.items():
        if parts[-1] and (used + unit.keys > keys or spent + unit.size > size):
            parts.append([])
            used = spent = 0
        parts[-1].append(host)
        used, spent = used + unit.keys, spent + unit.size
    if len(parts) == 1:
        return [change]
    return [_part(change, [(host, units[host]) for host in hosts], first=hosts is parts[0]) for hosts in parts]


def _units(change: Change) -> dict[str, _Unit]:
    units = defaultdict[str, _Unit](_Unit)
    about_none = units[""]
    for one in (change.run_record, change.policy, change.outage, change.durations or None, *change.approvals.values()):
        if one is not None:
            about_none.add(one)
    for action, pair in change.actions.items():
        unit = units[split_action(action)[1]]
        unit.actions[action] = pair
        unit.add(pair[1])
    for named in (change.holds, change.health, change.hosts, change.machines):
        for host, value in named.items():
            units[host].add(value)
    for place, event in enumerate(change.events):
        host = split_action(event.action)[1] or event.host
        unit = units.get(host, about_none)
        unit.events.append(place)
        unit.add(event)
    for milestone in change.once.values():
        units[_ONCE].add(milestone)  # behind all hosts
    return units


def _part(change: Change, units: list[tuple[str, _Unit]], first: bool) -> Change:
    hosts = {host for host, _ in units}
    return Change(
        run=change.run,
        events=tuple(change.events[place] for place in sorted(place for _, unit in units for place in unit.events)),
        actions={action: pair for _, unit in units for action, pair in unit.actions.items()},
        run_record=change.run_record if first else None,
        holds={host: hold for host, hold in change.holds.items() if host in hosts},
        approvals=change.approvals if first else {},
        health={host: health for host, health in change.health.items() if host in hosts},
        policy=change.policy if first else None,
        outage=change.outage if first else None,
        hosts={host: record for host, record in change.hosts.items() if host in hosts},
        machines={host: machine for host, machine in change.machines.items() if host in hosts},
        once=change.once if _ONCE in hosts else {},
        durations=change.durations if first else {},
        admission=change.admission,
        bump=change.bump,
        serial=change.serial,
    )
