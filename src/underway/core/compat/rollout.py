"""Whom to let in next: status and instructions put to the one rule table of all upgrades (``core.rules.decide``).

A role becomes a rolling pass over its hosts, an order an edge between passes, a group a group. What the hosts' keys do
not tell is added from what the program remembers of its own rounds: a host that was let in uses its slot until it
reports another version, whatever its key says since then (P7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from underway.core.compat.instructions import Rules
from underway.core.compat.status import HostNow, Status, since_words
from underway.core.model.cluster import Host
from underway.core.model.decision import Decision, Reason
from underway.core.model.plan import Edge, GroupLimits, Leg, Pass, Plan, RoleLimits, Stage
from underway.core.model.policy import Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health, Hold, RunRecord
from underway.core.names import natural, ordered
from underway.core.rules import decide
from underway.core.words import clock, duration, plural, some

NO_RULE = "no rule: all at once"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds beside the instructions.

    ``deadline``: seconds within which a host that was let in reports its new version, else it counts as failed; 0: any
    time. ``failures``: hosts in trouble at which nobody else is let in.
    """

    deadline: float = 3600.0
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Release:
    """Who is let in: whole ``roles``, single ``hosts``; ``delete_hosts`` are all hosts of the whole roles: their host
    keys would only stand in the way of the role's."""

    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    delete_hosts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nobody is let in."""
        return not self.roles and not self.hosts


@dataclass(frozen=True, slots=True)
class Round:
    """One decision. ``granted``: every host that is let in by it, in order. ``why``: for every other host that is not
    upgraded, the one reason. ``halt``: why nobody may start at all; empty where that is not so."""

    release: Release
    granted: tuple[str, ...]
    why: Mapping[str, str]
    halt: str = ""


def next_round(status: Status, rules: Rules, terms: Terms, now: float) -> Round:
    """Who is let in at ``now`` (Unix seconds), and why nobody else is. Pure; it can only hold."""
    plan = plan_of(status, rules)
    snapshot = snapshot_of(status, terms, now)
    decision = decide(plan, snapshot, Policy(failure_budget=terms.failures), now)
    granted = tuple(grant.host for grant in decision.grants)
    why = {
        name: _why(host, decision.reasons.get(name), status, terms, now)
        for name, host in status.hosts.items()
        if (host.state != "upgraded" or host.left) and name not in granted
    }
    halt = _halt(status, decision, terms, now)
    return Round(release_of(status, rules, granted), granted, why, halt)


def plan_of(status: Status, rules: Rules) -> Plan:
    """The plan that the hosts' keys amount to: a pass per role, hosts in natural order. Hosts without a role are in
    none, so they are never let in."""
    by_role: dict[str, list[HostNow]] = {}
    for host in status.hosts.values():
        if host.role:
            by_role.setdefault(host.role, []).append(host)
    roles = ordered(by_role)
    groups: dict[str, list[str]] = {}
    for role in roles:
        if role in rules.group_of:
            groups.setdefault(rules.group_of[role], []).append(role)
    passes = {
        pass_id(role): Pass(
            id=pass_id(role),
            stage="data",
            role=role,
            services=(),
            hosts=tuple(host.name for host in by_role[role]),
            legs=(Leg(steps=()),),
            after=tuple(
                Edge(before=pass_id(other), after=pass_id(role), reason="role_order")
                for other in rules.after.get(role, ())
                if other in by_role
            ),
            rolling=True,
        )
        for role in roles
    }
    return Plan(
        cluster="compat",
        source="",
        target=status.tree.current,
        stages=(Stage(kind="data", passes=tuple(passes)),),
        passes=passes,
        steps={},
        hosts={host.name: Host(name=host.name, role=role) for role in roles for host in by_role[role]},
        roles={role: _role_limits(role, len(by_role[role]), rules) for role in roles},
        groups={
            name: _group_limits(name, members, sum(len(by_role[role]) for role in members), rules)
            for name, members in groups.items()
        },
    )


def pass_id(role: str) -> str:
    """The pass of a role."""
    return f"data/{role}"


def _role_limits(role: str, size: int, rules: Rules) -> RoleLimits:
    group = rules.group_of.get(role, "")
    # in a group the limit for all is the group's; one that names the role bounds it all the same
    limit = rules.instructions.limits.get(role) if group else rules.limit(role)
    stated = NO_RULE if limit is None else str(limit)
    return RoleLimits(name=role, limit=size if limit is None else limit, stated=stated, group=group)


def _group_limits(name: str, members: list[str], size: int, rules: Rules) -> GroupLimits:
    limit = rules.limit(name)
    stated = NO_RULE if limit is None else str(limit)
    return GroupLimits(name=name, roles=tuple(members), limit=size if limit is None else limit, stated=stated)


def snapshot_of(status: Status, terms: Terms, now: float) -> Snapshot:
    """The hosts' states as records of actions, holds and health."""
    actions: dict[str, ActionRecord] = {}
    holds: dict[str, Hold] = {}
    health: dict[str, Health] = {}
    for host in status.hosts.values():
        if not host.role:
            continue
        record = _record(host, terms, now)
        if record is not None:
            actions[f"{pass_id(host.role)}/{host.name}"] = record
        held = _held_by(host, status)
        if held:
            holds[host.name] = Hold(host=host.name, reason=held, by="its keys", at=0.0)
        if host.state == "unregistered" or (host.failing and host.state != "upgrading"):
            health[host.name] = Health(healthy=False, since=now, checked=now, detail=host.failing or "silent")
    run = RunRecord(id="compat", cluster="compat", plan="", source="", target=status.tree.current)
    return Snapshot(revision=status.tree.record.serial, run=run, actions=actions, holds=holds, health=health)


def _record(host: HostNow, terms: Terms, now: float) -> ActionRecord | None:
    if host.state == "upgraded" and not host.left:
        return ActionRecord(state="done")
    if host.state == "pending" and host.left:
        # it may be at work still, so it keeps its slot; letting it in again puts nobody else in danger
        return ActionRecord(state="unknown", retry=True)
    if host.state != "upgrading" and not host.left:
        return None
    if host.failing:
        return ActionRecord(state="failed")
    return ActionRecord(state="unknown" if _late(host, terms, now) else "running", started=host.since)


def _working(host: HostNow) -> bool:
    return host.state == "upgrading" or (host.state == "upgraded" and host.left)


def _late(host: HostNow, terms: Terms, now: float) -> bool:
    return 0 < terms.deadline <= now - host.since and host.since > 0


def _held_by(host: HostNow, status: Status) -> str:
    """The key that keeps a pending host out by somebody's hand: a pause, or a switch of its own or its role's.

    No algorithm writes False to these, so it was an operator (P5)."""
    if host.paused:
        return host.paused
    by_hand = host.switch and host.switch != status.tree.keys.switch("global")
    return host.switch if by_hand and host.state in ("pending", "unregistered") and not _free(host, status) else ""


def _free(host: HostNow, status: Status) -> bool:
    return status.tree.switches.get(host.switch) is True


def release_of(status: Status, rules: Rules, granted: tuple[str, ...]) -> Release:
    """The keys that let in whom was granted, and nobody else.

    A role key is used where the rest of the role (of all its group) fits the limit (SEMANTICS D11), so where every host
    of it that is not upgraded is let in; hosts that the rules leave out count: their role key would let them in, too.
    """
    units: dict[str, list[HostNow]] = {}
    for host in (*status.hosts.values(), *status.strangers.values()):
        if host.role:
            units.setdefault(rules.group_of.get(host.role, host.role), []).append(host)
    chosen = set(granted)
    roles: dict[str, None] = {}
    for hosts in units.values():
        left = [host for host in hosts if host.state != "upgraded" and host.name not in chosen]
        if all(host.state == "upgrading" for host in left):
            roles.update(dict.fromkeys(host.role for host in hosts if host.name in chosen))
    single = tuple(name for name in granted if status.hosts[name].role not in roles)
    whole = tuple(host.name for host in status.hosts.values() if host.role in roles)
    return Release(tuple(ordered(roles)), single, whole)


# --- words ------------------------------------------------------------------------------------------------------------


def _why(host: HostNow, reason: Reason | None, status: Status, terms: Terms, now: float) -> str:
    """The decision's sentence, in words of keys where an operator mends it by keys."""
    if reason is None:
        return "its role is not known (name it in the cluster file)"
    if reason.kind == "held":
        if host.paused:
            return f"paused by an operator (delete key {host.paused}, or set it to True)"
        return f"held by key {host.switch}, which somebody set by hand (delete the key)"
    if reason.kind == "failed":
        return (
            f"let in {since_words(host.since)}, {host.failing} (it keeps its slot until it reports {_target(status)})"
        )
    if reason.kind == "unknown":
        return _late_words(host, status, terms, now)
    if reason.kind == "at-work" and host.left:
        return f"let in to another version {since_words(host.since)}; has not reported since, and may be at work"
    if reason.kind == "at-work":
        paused = f"; paused since by key {host.paused}" if host.paused else ""
        return f"let in {since_words(host.since)}; has not reported {_target(status)} yet{paused}"
    if reason.kind == "host-unhealthy":
        if host.state == "unregistered":
            key = status.tree.keys.switch("host", host.name)
            return (
                "never registered a version, so it counts as out (set key "
                f"{key} to True to let it in, or take it out of the cluster file)"
            )
        return f"not let in: {host.failing} (it uses a slot; repair it, and report a run that passes)"
    if reason.kind == "halted-failures":
        return "nobody is let in: hosts in trouble are as many as the failure budget"
    if reason.kind == "order":
        return _order_words(host, reason, status)
    if reason.kind == "over-limit":
        unit, used, limit = (dict(reason.args)[name] for name in ("unit", "used", "limit"))
        return f"{unit} has {used} hosts out and a limit of {limit}: raise the limit to {used}, and lower it later"
    again = "was let in before and has not reported since; " if host.left else ""
    return again + reason.sentence


def _target(status: Status) -> str:
    return status.tree.current or "a version"


def _late_words(host: HostNow, status: Status, terms: Terms, now: float) -> str:
    return (
        f"has not reported {_target(status)} for {duration(now - host.since)}, its deadline is "
        f"{duration(terms.deadline)}: counts as failed and keeps its slot until it reports (look at the host)"
    )


def _order_words(host: HostNow, reason: Reason, status: Status) -> str:
    before = dict(reason.args)["before"].removeprefix("data/")
    hosts = [other for other in status.hosts.values() if other.role == before]
    late = [other.name for other in hosts if other.state != "upgraded"]
    if late:
        count = f"{len(late)} of {plural(len(hosts), 'host')} not upgraded"
        return f"role {host.role} waits for role {before}: {count} ({some(late)})"
    sick = [other.name for other in hosts if other.failing]
    return f"role {host.role} waits for role {before}: {some(sick)} upgraded, but failing"


def _halt(status: Status, decision: Decision, terms: Terms, now: float) -> str:
    if decision.halt is None:
        return ""
    parts = [
        f"{host.name} {host.failing}" if host.failing else f"{host.name} has not reported since {clock(host.since)} UTC"
        for host in status.hosts.values()
        if (host.state == "upgrading" and host.failing) or (_working(host) and _late(host, terms, now))
    ]
    return (
        f"halted: {plural(len(parts), 'host')} in trouble ({some(sorted(parts, key=natural))}), the failure budget is "
        f"{max(1, terms.failures)}"
    )
