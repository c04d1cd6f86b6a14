"""The judge: counts on its own, from raw records at each commit and from what hosts really did (``Witness``); shares no
code with the rules, the records or the engine that it judges.

Promises judged: P1 (limits), P2 (order), P3 (no silent repeat, no silent skip), P4 (tokens), P5 (holds, pause), P6
(budgets), P7 (slots), P8 (what ran is in the plan); TRUST.md I1-I7, I10-I13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from underway.core.model.plan import Pass, Plan, action_id, split_action
from underway.core.model.policy import Limit, Policy
from underway.sim.hosts import Effect
from underway.sim.through import Through
from underway.sim.witness import Witness
from underway.store.base import Store

HOLDING = ("claimed", "running", "soaking", "failed", "unknown")
OVER = ("done", "skipped")

WHO: dict[tuple[str, str], tuple[str, ...]] = {
    ("pending", "claimed"): ("coordinator",),
    ("failed", "claimed"): ("coordinator",),  # after an operator's retry, judged apart
    ("unknown", "claimed"): ("coordinator",),  # the same
    ("claimed", "running"): ("host",),
    ("unknown", "running"): ("host",),
    ("running", "soaking"): ("host",),
    ("unknown", "soaking"): ("host",),
    ("failed", "soaking"): ("operator",),  # all its steps had happened: look at its health again
    ("running", "done"): ("host",),
    ("unknown", "done"): ("host",),
    ("soaking", "done"): ("coordinator",),  # the gate, judged apart
    ("claimed", "failed"): ("host",),
    ("running", "failed"): ("host",),
    ("unknown", "failed"): ("host",),
    ("soaking", "failed"): ("coordinator",),
    ("claimed", "unknown"): ("host",),
    ("running", "unknown"): ("host",),
    ("pending", "skipped"): ("operator",),
    ("failed", "skipped"): ("operator",),
    ("unknown", "skipped"): ("operator",),
    **{(state, "pending"): ("operator",) for state in ("soaking", "done", "failed", "unknown", "skipped")},  # replaced
    ("soaking", "skipped"): ("operator",),  # dropped
}
"""Every change of state that may be, and by whose word (TRUST.md I10, I12, P7): nothing else frees a slot."""


@dataclass(slots=True)
class Told:
    """The audit entries of one commit."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def of(self, action: str) -> list[str]:
        """Who spoke of an action: coordinator, host or operator."""
        return [entry["actor"].partition(":")[0] for entry in self.entries if entry.get("action") == action]

    def by_operator(self, *kinds: str) -> bool:
        """Whether an operator did one of these."""
        return any(entry["kind"] in kinds and entry["actor"].startswith("operator:") for entry in self.entries)


class Oracle:
    """Judges one run of one plan; told of every commit by ``JudgedStore`` and of every effect by the hosts."""

    def __init__(self, plan: Plan, run: str, now: Callable[[], float]) -> None:
        self._plan, self._now = plan, now
        self._root = f"underway/{plan.cluster}/"
        self._run = f"{self._root}runs/{run}/"
        self.violations: list[str] = []
        self.watching = True  # off: only the run's state is followed (the judge's own counting is dear on big plans)
        self.claims = 0
        self.changes = 0
        self.gone: set[str] = set()  # hosts that were dropped: in no count
        self._before: dict[str, dict[str, Any]] = {}  # actions before the commit that is judged
        self.out: set[str] = set()  # rolling actions that a machine which was replaced had begun: to be done again
        self.reached: set[str] = set()  # states that some action was in
        self.actions: dict[str, dict[str, Any]] = {}
        self.health: dict[str, dict[str, Any]] = {}
        self.holds: set[str] = set()
        self.state = "running"
        self.policy = plan.policy
        self.outage: dict[str, float] = {}
        self.approved: set[str] = set()
        self.stopped: set[str] = set()  # coordinators that were told to grant no more
        self.most: dict[str, tuple[int, int]] = {}  # label -> most hosts down at a claim, and the limit then
        self._digest = ""
        self._largest: dict[str, int] = {}
        self._members: dict[str, frozenset[str]] = {}
        self._gated = {probe.host for probe in plan.probes.values() if probe.host}
        self.witness = Witness(plan, lambda: self._digest, self._bad)
        self._note_limits()

    # --- commits -------------------------------------------------------------------------------------------------

    def judge(self, writes: Mapping[str, bytes | None]) -> None:
        """One commit that succeeded, in the order in which they happened."""
        record = writes.get(self._run + "record")
        if not self.watching:
            self.state = _value(record)["state"] if record is not None else self.state
            return
        told, found = Told(), {}
        for key, raw in writes.items():
            if key.startswith(self._run + "actions/"):
                found[key[len(self._run + "actions/") :]] = _value(raw)
            elif key.startswith(self._root + "audit/"):
                told.entries.append(_value(raw))
        before = dict(self.actions)
        self._before = before
        claimed = []
        for action, new in found.items():
            old = before.get(action, {"state": "pending"})
            self._judge_action(action, old, new, told)
            if new.get("token", 0) != old.get("token", 0) or (new["state"] == "claimed") > (old["state"] == "claimed"):
                claimed.append(action)
            self.actions[action] = new
            self.reached.add(new["state"])
        for action in claimed:
            self.claims += 1
            self._judge_claim(action, before, claimed)
            self.witness.claimed(action, found[action])
        for key, raw in writes.items():
            self._follow(key, raw, told)

    def _judge_action(self, action: str, old: dict[str, Any], new: dict[str, Any], told: Told) -> None:
        here = f"{action} ({old['state']} to {new['state']})"
        speakers = told.of(action)
        if old["state"] != new["state"]:
            self.changes += 1
            by = WHO.get((old["state"], new["state"]))
            if by is None:
                self._bad(f"I12: {here} is no change that may be")
            elif not speakers:
                self._bad(f"I13: {here} was told of by nobody")
            elif not set(speakers) & set(by):
                self._bad(f"P7: {here} by the word of a {speakers[0]}, expected a {by[0]}")
        if new["state"] == "claimed" and old["state"] != "claimed":
            if new.get("token", 0) <= old.get("token", 0):
                self._bad(f"P4: token of {action} did not grow")
            if old["state"] in ("failed", "unknown") and not old.get("retry"):
                self._bad(f"I10: {here}, though no operator had said retry")
        elif new.get("token", 0) != old.get("token", 0):
            self._bad(f"I3: token of {here} changed without a claim")
        asked = (new.get("retry") and not old.get("retry")) or new.get("answers", {}) != old.get("answers", {})
        if asked and "operator" not in speakers:
            self._bad(f"I10: retry or answer of {here}, though no operator had said so")
        legs = len(self._plan.pass_of(action).legs)
        if new["state"] in ("soaking", "done") and old["state"] not in ("soaking", "failed"):
            self._happened(action, legs, here)
        elif new.get("leg", 0) > old.get("leg", 0):
            self._happened(action, new.get("leg", 0), here)
        if old["state"] == "soaking" and new["state"] == "done":
            self._judge_gate(action, old)
        work = self._plan.pass_of(action)
        if old["state"] != "soaking" and new["state"] == "done" and work.rolling and not work.midway:
            self._bad(f"P7: {here} without a gate")
        if new["state"] == "skipped":
            self.witness.waived.add(action)
            self.witness.finished(action)
        if new["state"] in OVER:
            self.out.discard(action)
        elif new["state"] == "pending" and old["state"] != "pending":
            self._judge_again(action, old, told)

    def _judge_again(self, action: str, old: dict[str, Any], told: Told) -> None:
        """What was begun is pending again: only because the operator said that another machine stands there."""
        host, work = split_action(action)[1], self._plan.pass_of(action)
        if not any(entry["kind"] == "replaced" and entry["host"] == host for entry in told.entries):
            self._bad(f"I10: {action} is to be done again, though no operator had said that {host} was replaced")
        if work.once and old["state"] == "done":
            self._bad(f"P3: {action} was done once for all, and is to be done again")
        self.witness.voided(action, old.get("token", 0))
        if work.rolling and old.get("token", 0):
            self.out.add(action)

    def _judge_replaced(self, host: str, told: Told) -> None:
        """After the commit of an operator's word that another machine stands there."""
        self.witness.replaced(host)
        if not told.by_operator("replaced"):
            self._bad(f"I11: {host} was replaced by no operator")
        passed = False
        for stage in self._plan.stages:
            passed |= stage.point_of_no_return
            for pass_id in stage.passes:
                work = self._plan.passes[pass_id]
                state = self.actions.get(action_id(pass_id, host), {}).get("state", "pending")
                if host in work.hosts and not work.once and state != "pending":
                    self._bad(f"I6: {host} was replaced, and {pass_id} stays {state} there")
                if passed and any(
                    self.actions.get(action_id(pass_id, name), {}).get("state", "pending") not in ("pending", "skipped")
                    for name in work.hosts
                ):
                    self._bad(f"P2: {host} was replaced after {pass_id}, past the point of no return, had begun")
                    return

    def _judge_machine(self, host: str, value: dict[str, Any], told: Told) -> None:
        """After the commit of a word on who stands in a host's place: another machine, nobody, or one again."""
        if value.get("gone"):
            self._judge_dropped(host, told)
            return
        came_back = host in self.gone and told.by_operator("enrolled")
        self._stay(self.gone - {host})
        if not came_back:
            self._judge_replaced(host, told)

    def _judge_dropped(self, host: str, told: Told) -> None:
        """Only by an operator's word, never over work that goes on, and nothing of the host is left to wait for."""
        if not told.by_operator("dropped"):
            self._bad(f"P7: {host} was dropped by no operator")
        for work in self._plan.passes.values():
            state = self.actions.get(action_id(work.id, host), {}).get("state", "pending")
            if host in work.hosts and state not in OVER:
                self._bad(f"I6: {host} was dropped, and {work.id} stays {state} there")
            if any(
                (leg.on or member) == host
                and self._before.get(action_id(work.id, member), {}).get("state") in ("claimed", "running")
                for leg in work.legs
                for member in work.hosts
            ):
                self._bad(f"P7: {host} was dropped while {work.id} was at work there")
        self._stay(self.gone | {host})

    def _stay(self, gone: set[str]) -> None:
        """Percentages are of those that are left."""
        self.gone = gone
        self._members.clear()
        self._note_limits()

    def _happened(self, action: str, legs: int, here: str) -> None:
        missing = self.witness.left(action, legs)
        if missing:
            self._bad(f"I6: {here}, but {missing} never happened")
        elif legs == len(self._plan.pass_of(action).legs):
            self.witness.finished(action)

    def _judge_gate(self, action: str, old: dict[str, Any]) -> None:
        """Done only after the soak time, and where the host has probes only by a fresh and unbroken good answer."""
        host, since = split_action(action)[1], old.get("finished", 0.0)
        health = self.health.get(host)
        if health is not None and not health["healthy"]:
            self._bad(f"P7: {action} passed its gate while {host} was unhealthy")
        elif host in self._gated:
            if health is None or health["checked"] <= since:
                self._bad(f"P7: {action} passed its gate, though {host} was not checked after its work")
                return
            since = max(since, health["since"])
        if self._now() - since < self.policy.soak - 1e-6:
            self._bad(f"P7: {action} passed its gate after {self._now() - since:.1f} s of {self.policy.soak:.1f} s")

    def _follow(self, key: str, raw: bytes | None, told: Told) -> None:
        if key.startswith(self._run + "plan"):
            return  # pieces of bytes, no records
        value = _value(raw)
        if key.startswith(self._root + "holds/"):
            host = "*" if key.endswith("/_all") else key.rpartition("/")[2]
            if not told.by_operator("hold" if value else "release"):
                self._bad(f"I11: the hold of {host} was changed by no operator")
            (self.holds.add if value else self.holds.discard)(host)
        elif key.startswith(self._root + "health/"):
            self.health[key.rpartition("/")[2]] = {"healthy": False, "since": 0.0, "checked": 0.0, **value}
        elif key.startswith(self._root + "machines/"):
            self._judge_machine(key.rpartition("/")[2], value, told)
        elif key == self._run + "record":
            self._follow_run(value, told)
        elif key == self._run + "policy":
            if not told.by_operator("policy"):
                self._bad("I7: the policy was changed by no operator")
            self.policy = msgspec.convert(value["policy"], Policy)
            self._note_limits()
        elif key == self._run + "outages":
            self.outage = value["seconds"]
        elif key.startswith(self._run + "approvals/"):
            if not told.by_operator("approve"):
                self._bad("I7: an approval was changed by no operator")
            (self.approved.add if value else self.approved.discard)(key.rpartition("/")[2])

    def _follow_run(self, value: dict[str, Any], told: Told) -> None:
        state = value.get("state", "running")
        self._digest = self._digest or value["plan"]
        if value["plan"] != self._digest:
            self._bad("I8: the run's plan was changed")
        if state != self.state:
            word = {"paused": "run-paused", "running": "run-resumed", "aborted": "run-aborted"}.get(state, "")
            if self.state in ("done", "aborted"):
                self._bad(f"I12: the run left {self.state} for {state}")
            elif word and not told.by_operator(word):
                self._bad(f"P5: the run became {state} by no operator's word")
            elif state == "done" and any(
                self.actions.get(action_id(work.id, host), {}).get("state") not in OVER
                for work, host in self._plan.actions()
            ):
                self._bad("P2: the run is done, not all of its actions are")
        self.state = state

    # --- claims --------------------------------------------------------------------------------------------------

    def _judge_claim(self, action: str, before: dict[str, dict[str, Any]], together: list[str]) -> None:
        pass_id, host = split_action(action)
        work, record = self._plan.passes[pass_id], self.actions[action]
        if self.state != "running":
            self._bad(f"P5: {action} was claimed while the run was {self.state}")
        if host in self.gone:
            self._bad(f"P5: {action} was claimed, {host} was dropped")
        if host in self.holds or "*" in self.holds:
            self._bad(f"P5: {action} was claimed while {host} was held")
        if record.get("by") in self.stopped:
            self._bad(f"P6: {action} was claimed by {record['by']}, which was told to stop")
        if host not in work.hosts:
            self._bad(f"P8: {action} was claimed, the plan has no such work for {host}")
        self._judge_order(action, before)
        troubled = {
            split_action(name)[1]
            for name, other in before.items()
            if other.get("state") in ("failed", "unknown") and not other.get("retry")
        }
        if len(troubled) >= max(1, self.policy.failure_budget):
            self._bad(f"P6: {action} was claimed with {len(troubled)} hosts failed or unknown")
        for service, most in self.policy.outage_budget.items():
            if self.outage.get(service, 0.0) > most:
                self._bad(
                    f"P6: {action} was claimed, {service} was down for {self.outage[service]:.0f} of {most:.0f} s"
                )
        busy = {
            name for name, other in before.items()
            if split_action(name)[1] == host and name != action and other["state"] in ("claimed", "running", "soaking")
        }  # fmt: skip
        if busy:
            self._bad(f"I4: {action} was claimed while {min(busy)} was at work on the same host")
        if work.number is not None:
            self._judge_lockstep(action, work.number)
        if work.rolling:
            self._judge_limits(work, host, before, together)
            self._judge_window(action, record, work.p90)
        else:
            self._judge_parallel(action, before, together)

    def _judge_order(self, action: str, before: dict[str, dict[str, Any]]) -> None:
        pass_id, host = split_action(action)
        work = self._plan.passes[pass_id]
        edges = [edge.before for edge in work.after]
        barrier: list[str] = []
        for stage in self._plan.stages:
            if pass_id in stage.passes:
                wanted = stage.approval or stage.kind in self.policy.approvals
                if wanted and stage.kind not in self.approved:
                    self._bad(f"P2: {action} was claimed before stage {stage.kind} was approved")
                break
            barrier.extend(stage.passes)
        canaries = [] if host in work.hosts[: work.canaries] else [
            (pass_id, member, True) for member in work.hosts[: work.canaries]
        ]  # fmt: skip
        first = [(other, member, True) for other in edges for member in self._plan.passes[other].hosts]
        first += [(other, member, work.rolling) for other in barrier for member in self._plan.passes[other].hosts]
        for other, member, well in first + canaries:
            name = action_id(other, member)
            state = before.get(name, {}).get("state")
            if state not in OVER:
                self._bad(f"P2: {action} was claimed before {name} had finished")
                return
            sick = not self.health.get(member, {"healthy": True})["healthy"]
            if (
                well
                and state == "done"
                and sick
                and self._plan.passes[other].rolling
                and not self._plan.passes[other].midway
                and not self._stopped(member, before)
                and member not in self.gone
                and not _at_hand(member, self._plan, before)
            ):
                self._bad(f"P2: {action} was claimed while {member}, which it comes after, was unhealthy")
                return

    def _stopped(self, host: str, before: dict[str, dict[str, Any]]) -> bool:
        """Whether the last that was done to a host leaves it to others of its lockstep: it may be ill on purpose."""
        passes = [name for stage in self._plan.stages for name in stage.passes if self._plan.passes[name].rolling]
        done = [name for name in passes if before.get(action_id(name, host), {}).get("state") == "done"]
        return bool(done) and self._plan.passes[done[-1]].midway

    def _judge_lockstep(self, action: str, number: int) -> None:
        """B4: nobody begins a number before all hosts have finished all numbers below it, whatever stages say."""
        for work, host in self._plan.actions():
            if work.number is not None and work.number < number:
                name = action_id(work.id, host)
                if self.actions.get(name, {}).get("state") not in OVER:
                    self._bad(f"P2: {action}, number {number}, was claimed before {name}, number {work.number}, ended")
                    return

    def _judge_limits(self, work: Pass, host: str, before: dict[str, dict[str, Any]], together: list[str]) -> None:
        down = set(self.witness.began.values())
        down |= {split_action(name)[1] for name in together if self._plan.pass_of(name).rolling} - {host}
        for name, record in before.items():
            if record.get("state") in HOLDING and self._plan.pass_of(name).rolling:
                down.add(split_action(name)[1])
        down |= {split_action(name)[1] for name in self.out}
        down |= {name for name, health in self.health.items() if not health["healthy"] and name in self._plan.hosts}
        down -= self.gone
        active = {self._plan.hosts[name].domain for name in down} - {""}  # with its own, if it is down already
        here = self._plan.hosts[host].domain
        if (
            self.policy.domains_at_once
            and here
            and len(active | {here}) > max(self.policy.domains_at_once, len(active))
        ):
            self._bad(f"P1: {host} was claimed with {len(active)} other failure domains down")
        down.add(host)
        for label, members, limit in self._groups(host, work):
            used = len(down & members)
            self.most[label] = max(self.most.get(label, (0, 0)), (used, limit))
            if used > limit:
                self._bad(f"P1: {host} was claimed with {used} of {label} down, the limit is {limit}")

    def _judge_window(self, action: str, record: dict[str, Any], p90: float) -> None:
        """By the time of the decision: no store compares a commit with a clock."""
        windows = self.policy.windows
        moment = record["claimed"]
        day, minute = int(moment // 86400 + 3) % 7, moment % 86400 / 60
        for window in windows:
            assert window.zone == "UTC"
            length = (window.end - window.start) % 1440 or 1440
            for past in (0, 1):  # opened today, or yesterday
                spent = minute - window.start + 1440 * past
                if (day - past) % 7 in window.days and spent >= 0 and spent + p90 / 60 <= length:
                    return
        if windows:
            self._bad(f"P6: {action} was claimed outside the windows, or without room for its {p90:.0f} s")

    def _judge_parallel(self, action: str, before: dict[str, dict[str, Any]], together: list[str]) -> None:
        old = before.get(action, {})
        if old.get("state") == "unknown":
            return  # it keeps its place, and is tried again in it
        busy = {name for name, record in before.items() if record["state"] in ("claimed", "running", "unknown")}
        busy = {name for name in busy | set(together) if not self._plan.pass_of(name).rolling}
        limit = self.policy.prepare_limit.resolve(len(self._plan.hosts) - len(self.gone))
        if len(busy) > limit:
            self._bad(f"P1: {action} was claimed with {len(busy)} at work at once, the limit is {limit}")

    # --- groups and limits -----------------------------------------------------------------------------------------

    def _groups(self, host: str, work: Pass | None = None) -> list[tuple[str, frozenset[str], int]]:
        found: list[tuple[str, frozenset[str], int]] = []
        here, policy = self._plan.hosts[host], self.policy

        def add(
            label: str, roles: tuple[str, ...] | None, domain: str | None, limit: Limit | None, planned: int
        ) -> None:
            members = self._members.get(label)
            if members is None:
                members = self._members[label] = frozenset(
                    name for name, other in self._plan.hosts.items()
                    if name not in self.gone
                    and (roles is None or other.role in roles)
                    and (domain is None or other.domain == domain)
                )  # fmt: skip
            found.append((label, members, limit.resolve(len(members)) if limit is not None else planned))

        planned = self._plan.roles[here.role].limit
        if work is None or not work.whole:  # a whole pass takes all hosts of its role, which the plan says
            add(f"role {here.role}", (here.role,), None, policy.role_limits.get(here.role), planned)
        for group in self._plan.groups.values():
            if here.role in group.roles:
                add(f"group {group.name}", group.roles, None, policy.group_limits.get(group.name), group.limit)
        if policy.limit is not None:
            add("the whole", None, None, policy.limit, 0)
        if policy.domain_limit is not None and here.domain:
            add(f"domain {here.domain}", None, here.domain, policy.domain_limit, 0)
        return found

    def _note_limits(self) -> None:
        """The largest limit that was ever in force: a lowered one does not stop hosts that are at work."""
        everybody = len(self._plan.hosts)
        if self.policy.limit is None:
            self._largest["the whole"] = everybody
        if self.policy.domain_limit is None:
            self._largest.update({f"domain {host.domain}": everybody for host in self._plan.hosts.values()})
        for name in {(host.role, host.domain): name for name, host in self._plan.hosts.items()}.values():
            for label, _, limit in self._groups(name):
                self._largest[label] = max(self._largest.get(label, 0), limit)

    # --- the true world ------------------------------------------------------------------------------------------

    def see(self, effect: Effect) -> None:
        """What a host really did, at its moment."""
        if not self.watching:
            return
        begun = len(self.witness.began)
        self.witness.see(effect)
        if len(self.witness.began) == begun:
            return
        busy = set(self.witness.began.values())
        self._see_lockstep(effect)
        for label, members, _ in self._groups(split_action(effect.action)[1], self._plan.pass_of(effect.action)):
            used = len(busy & members)
            if used > self._largest[label]:
                self._bad(f"I1: {used} hosts of {label} were at work at once, the limit was {self._largest[label]}")

    def _see_lockstep(self, effect: Effect) -> None:
        """B4, on what hosts do: while one is at a number, none is at another, but for a new machine that catches up."""
        number = self._plan.pass_of(effect.action).number if effect.action not in self.out else None
        for action in self.witness.began.keys() - self.out if number is not None else ():
            other = self._plan.pass_of(action).number
            if other is not None and other != number:
                self._bad(f"B4: {effect.action} of number {number} was begun while {action} of {other} was not over")

    def judge_end(self) -> None:
        """After a run that is done: nothing was skipped silently (I6), and nothing goes on."""
        for work, host in self._plan.actions():
            action = action_id(work.id, host)
            state = self.actions.get(action, {}).get("state")
            if state == "done" and self.witness.left(action, len(work.legs)):
                self._bad(f"I6: {action} is done, {self.witness.left(action, len(work.legs))} never happened")

    def _bad(self, text: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(text)


def _at_hand(host: str, plan: Plan, before: Mapping[str, dict[str, Any]]) -> bool:
    """Whether a host is ill for a reason that is dealt with: other work on it is open, or an operator waived some."""
    mine = [(name, other["state"]) for name, other in before.items() if split_action(name)[1] == host]
    return any(
        state == "skipped" or (state != "done" and state != "pending" and plan.pass_of(name).rolling)
        for name, state in mine
    )


def _value(raw: bytes | None) -> dict[str, Any]:
    """The value in a record's envelope; empty for one that was deleted or withdrawn."""
    if raw is None:
        return {}
    found: dict[str, Any] = msgspec.json.decode(raw).get("v") or {}
    return found


class JudgedStore(Through):
    """Stands between everybody and the true store, and tells the oracle of every commit."""

    def __init__(self, store: Store, oracle: Oracle) -> None:
        super().__init__(store)
        self._oracle = oracle

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """See Store; every commit that succeeds is judged."""
        revision = self._store.commit(expect, writes)
        self._oracle.judge(writes)
        return revision
