"""The judge: counts on its own, from raw records at each commit and from what hosts really did; shares no code with the
rules that it judges.

Promises judged: P1 (limits), P2 (order), P3 (no silent repeat, no silent skip), P4 (tokens), P5 (holds, pause), P6
(budgets), P7 (slots), P8 (what ran is in the plan); TRUST.md I1-I7, I11, I12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from underway.core.model.plan import Plan, action_id, split_action
from underway.core.model.policy import Limit, Policy
from underway.sim.hosts import Effect
from underway.store.base import Item, Listing, Store

HOLDING = ("claimed", "running", "soaking", "failed", "unknown")


class Oracle:
    """Judges one run of one plan; told of every commit by ``JudgedStore`` and of effects by ``judge_effects``."""

    def __init__(self, plan: Plan, run: str) -> None:
        self._plan = plan
        self._root = f"underway/{plan.cluster}/"
        self._run = f"{self._root}runs/{run}/"
        self.violations: list[str] = []
        self.watching = True  # off: only the run's state is followed (the judge's own counting is dear on big plans)
        self.claims = 0
        self.actions: dict[str, dict[str, Any]] = {}
        self.waived: set[str] = set()
        self.health: dict[str, bool] = {}
        self.holds: set[str] = set()
        self.state = "running"
        self.policy = plan.policy
        self.approved: set[str] = set()
        self._reruns: dict[tuple[str, str], int] = {}
        self._limits_seen: dict[str, int] = {}
        self._note_limits()

    # --- commits -------------------------------------------------------------------------------------------------

    def judge(self, writes: Mapping[str, bytes | None]) -> None:
        """One commit that succeeded, in the order in which they happened."""
        if not self.watching:
            self.state = _value(writes[self._run + "record"])["state"] if self._run + "record" in writes else self.state
            return
        claimed: list[str] = []
        before = dict(self.actions)
        for key, raw in writes.items():
            if key.startswith(self._run + "actions/"):
                action = key[len(self._run + "actions/") :]
                record = _value(raw)
                old = self.actions.get(action, {})
                if record.get("state") == "claimed" and (
                    old.get("state") != "claimed" or old.get("token") != record.get("token")
                ):
                    claimed.append(action)
                    if record.get("token", 0) <= old.get("token", 0):
                        self._bad(f"P4: token of {action} did not grow")
                if old.get("state") in ("done", "skipped") and record.get("state") != old.get("state"):
                    self._bad(f"I12: {action} left {old.get('state')} for {record.get('state')}")
                self._answers(action, old, record)
                self.actions[action] = record
                if record.get("state") == "skipped":
                    self.waived.add(action)
        for action in claimed:
            self.claims += 1
            self._judge_claim(action, before, claimed)
        for key, raw in writes.items():
            self._follow(key, raw)

    def _follow(self, key: str, raw: bytes | None) -> None:
        if key.startswith(self._root + "holds/"):
            host = key.rpartition("/")[2]
            (self.holds.add if _value(raw) else self.holds.discard)("*" if host == "_all" else host)
        elif key.startswith(self._root + "health/"):
            self.health[key.rpartition("/")[2]] = bool(_value(raw).get("healthy"))
        elif key == self._run + "record":
            self.state = _value(raw).get("state", "running")
        elif key == self._run + "policy":
            self.policy = msgspec.convert(_value(raw)["policy"], Policy)
            self._note_limits()
        elif key.startswith(self._run + "approvals/"):
            (self.approved.add if _value(raw) else self.approved.discard)(key.rpartition("/")[2])

    def _answers(self, action: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        """An operator's retry allows one more execution of the step that failed, or that he said to run again."""
        if new.get("retry") and not old.get("retry"):
            step = new.get("step", "")
            self._reruns[(action, step)] = self._reruns.get((action, step), 0) + 1

    def _judge_claim(self, action: str, before: dict[str, dict[str, Any]], together: list[str]) -> None:
        pass_id, host = split_action(action)
        work = self._plan.passes[pass_id]
        if self.state != "running":
            self._bad(f"P5: {action} was claimed while the run was {self.state}")
        if host in self.holds or "*" in self.holds:
            self._bad(f"P5: {action} was claimed while {host} was held")
        self._judge_order(action, before)
        troubled = {
            split_action(name)[1]
            for name, record in before.items()
            if record.get("state") in ("failed", "unknown") and not record.get("retry")
        }
        if len(troubled) >= max(1, self.policy.failure_budget):
            self._bad(f"P6: {action} was claimed with {len(troubled)} hosts failed or unknown")
        if work.rolling:
            self._judge_limits(host, before, together)

    def _judge_order(self, action: str, before: dict[str, dict[str, Any]]) -> None:
        pass_id, host = split_action(action)
        work = self._plan.passes[pass_id]
        needed: list[str] = [edge.before for edge in work.after]
        for stage in self._plan.stages:
            if stage.kind == work.stage:
                if stage.approval and stage.kind not in self.approved:
                    self._bad(f"P2: {action} was claimed before stage {stage.kind} was approved")
                break
            needed.extend(stage.passes)
        canaries = work.hosts[: work.canaries]
        for other in needed:
            for member in self._plan.passes[other].hosts:
                if before.get(action_id(other, member), {}).get("state") not in ("done", "skipped"):
                    self._bad(f"P2: {action} was claimed before {action_id(other, member)} had finished")
                    return
        if host not in canaries:
            for member in canaries:
                if before.get(action_id(pass_id, member), {}).get("state") not in ("done", "skipped"):
                    self._bad(f"P2: {action} was claimed before its canary {member} had finished")
                    return

    def _judge_limits(self, host: str, before: dict[str, dict[str, Any]], together: list[str]) -> None:
        down = {host} | {split_action(name)[1] for name in together if self._plan.pass_of(name).rolling}
        for name, record in before.items():
            if record.get("state") in HOLDING and self._plan.pass_of(name).rolling:
                down.add(split_action(name)[1])
        down |= {name for name, healthy in self.health.items() if not healthy and name in self._plan.hosts}
        for label, members, limit in self._groups(host):
            used = len(down & members)
            if used > limit:
                self._bad(f"P1: {host} was claimed with {used} of {label} down, the limit is {limit}")

    def _groups(self, host: str) -> list[tuple[str, set[str], int]]:
        found = []
        hosts = self._plan.hosts
        here = hosts[host]
        members = {name for name, other in hosts.items() if other.role == here.role}
        found.append((f"role {here.role}", members, self._limit(self.policy.role_limits.get(here.role), members,
                      self._plan.roles[here.role].limit)))  # fmt: skip
        for group in self._plan.groups.values():
            if here.role in group.roles:
                grouped = {name for name, other in hosts.items() if other.role in group.roles}
                found.append((f"group {group.name}", grouped, self._limit(self.policy.group_limits.get(group.name),
                              grouped, group.limit)))  # fmt: skip
        if self.policy.limit is not None:
            found.append(("the whole", set(hosts), self.policy.limit.resolve(len(hosts))))
        if self.policy.domain_limit is not None and here.domain:
            domain = {name for name, other in hosts.items() if other.domain == here.domain}
            found.append((f"domain {here.domain}", domain, self.policy.domain_limit.resolve(len(domain))))
        return found

    @staticmethod
    def _limit(stated: Limit | None, members: set[str], planned: int) -> int:
        return stated.resolve(len(members)) if stated is not None else planned

    def _note_limits(self) -> None:
        """The largest limit that was ever in force: a lowered one does not stop hosts that are at work."""
        if self.policy.limit is None:
            self._limits_seen["the whole"] = len(self._plan.hosts)
        if self.policy.domain_limit is None:
            for domain in {host.domain for host in self._plan.hosts.values()}:
                self._limits_seen[f"domain {domain}"] = len(self._plan.hosts)
        one_each = {(host.role, host.domain): name for name, host in self._plan.hosts.items()}
        for host in one_each.values():
            for label, _, limit in self._groups(host):
                self._limits_seen[label] = max(self._limits_seen.get(label, 0), limit)

    # --- the true world ------------------------------------------------------------------------------------------

    def judge_effects(self, effects: list[Effect]) -> None:
        """What hosts really did, after the world has ended (or at any moment)."""
        if not self.watching:
            return
        counts: dict[tuple[str, str], int] = {}
        tokens: dict[tuple[str, str], int] = {}
        open_step: dict[str, str] = {}
        finished: set[tuple[str, str]] = set()
        for effect in effects:
            key = (effect.action, effect.step)
            if effect.kind == "begin":
                counts[key] = counts.get(key, 0) + 1
                if key in finished:
                    self._bad(f"P3: {effect.step} of {effect.action} ran again after it had finished")
                if effect.token < tokens.get((effect.host, effect.action), 0):
                    self._bad(f"P4: {effect.host} began {effect.step} under an older token")
                tokens[(effect.host, effect.action)] = effect.token
                open_step[effect.host] = effect.step
                self._limit_of_world(effect, effects)
            elif effect.kind == "end":
                finished.add(key)
            step = self._plan.steps.get(effect.step)
            if step is None or not any(effect.step in leg.steps for leg in self._plan.pass_of(effect.action).legs):
                self._bad(f"P8: {effect.step} is not part of {effect.action}")
        for (action, step_id), count in counts.items():
            if not self._plan.steps[step_id].idempotent and count > 1 + self._reruns.get((action, step_id), 0):
                self._bad(f"P3: {step_id} of {action} ran {count} times, nobody had said so")

    def _limit_of_world(self, effect: Effect, effects: list[Effect]) -> None:
        """Hosts whose rolling work had begun and not ended, at this moment, against the largest limit there was."""
        if not self._plan.pass_of(effect.action).rolling:
            return
        busy: set[str] = set()
        for other in effects:
            if other is effect:
                break
            work = self._plan.pass_of(other.action)
            if not work.rolling:
                continue
            target = split_action(other.action)[1]
            busy.add(target)
            last = work.legs[-1].steps[-1]
            if other.kind == "end" and other.step == last:
                busy.discard(target)
        target = split_action(effect.action)[1]
        waived = {split_action(action)[1] for action in self.waived}
        for label, members, _ in self._groups(target):
            used = len((busy | {target}) & members - waived)
            if used > self._limits_seen[label]:
                self._bad(f"I1: {used} hosts of {label} were at work at once, the limit was {self._limits_seen[label]}")

    def judge_end(self, effects: list[Effect]) -> None:
        """After a run that is done: nothing was skipped silently (I6)."""
        ended = {(effect.action, effect.step) for effect in effects if effect.kind == "end"}
        for work, host in self._plan.actions():
            action = action_id(work.id, host)
            record = self.actions.get(action, {})
            if record.get("state") == "skipped":
                continue
            for leg in work.legs:
                for step in leg.steps:
                    if (action, step) not in ended and step not in record.get("answers", {}):
                        self._bad(f"I6: {step} of {action} never finished, yet it is {record.get('state')}")

    def _bad(self, text: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(text)


def _value(raw: bytes | None) -> dict[str, Any]:
    """The value in a record's envelope; empty for one that was deleted or withdrawn."""
    if raw is None:
        return {}
    found: dict[str, Any] = msgspec.json.decode(raw).get("v") or {}
    return found


class JudgedStore:
    """Stands between everybody and the true store, and tells the oracle of every commit."""

    def __init__(self, store: Store, oracle: Oracle) -> None:
        self._store, self._oracle = store, oracle

    def get(self, key: str) -> Item | None:
        """See Store."""
        return self._store.get(key)

    def list(self, prefix: str, since: int = 0) -> Listing:
        """See Store."""
        return self._store.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        """See Store; every commit that succeeds is judged."""
        revision = self._store.commit(expect, writes)
        self._oracle.judge(writes)
        return revision

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        """See Store."""
        return self._store.watch(prefix, since, timeout)

    def beat(self, name: str, ttl: float) -> None:
        """See Store."""
        self._store.beat(name, ttl)

    def alive(self) -> dict[str, float]:
        """See Store."""
        return self._store.alive()

    def close(self) -> None:
        """See Store."""
        self._store.close()
