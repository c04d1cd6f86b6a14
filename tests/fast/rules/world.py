"""Seeded worlds: a random fleet and a random history of hosts, checks and operators, driven by a decision function."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Literal

from fast.rules.fleets import RUN, make_pass, make_plan, names
from fast.rules.oracle import BUSY, TROUBLE, Judge
from underway.core.model.base import replace
from underway.core.model.decision import Decision
from underway.core.model.plan import Pass, Plan
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.snapshot import Elsewhere, Snapshot
from underway.core.model.state import ActionRecord, Approval, Health, Hold, Machine, RunRecord

Decide = Callable[[Plan, Snapshot, Policy, float], Decision]

START = 1_790_000_000.0  # Monday 2026-09-21 14:13:20 UTC


def random_plan(rng: Random) -> Plan:
    """Up to 12 hosts in up to 3 roles, 1 to 4 stages, with now and then everything that a plan may have."""
    roles = {
        role: names(role, rng.randint(1, 4))
        for role in rng.choice((("web",), ("web", "db"), ("web", "lb"), ("web", "db", "lb")))
    }
    every = [host for hosts in roles.values() for host in hosts]
    passes: list[Pass] = []
    if rng.random() < 0.3:
        for role, hosts in roles.items():
            passes.append(make_pass(f"prepare/{role}", hosts))
    if rng.random() < 0.2:
        passes.append(make_pass("expand/one", [roles["web"][0]], once=True, role="web"))
        passes.append(make_pass("expand/two", rng.sample(every, min(2, len(every))), once=True, role="web"))
    for stage in rng.choice((("control",), ("data",), ("control", "data"), ("control", "data"))):
        rolling = _rolling(rng, stage, roles)
        if stage == "data" or len(roles) == 1:
            passes.extend(rolling)
        else:
            passes.extend(rolling[: rng.randint(1, len(rolling))])
    if rng.random() < 0.3:
        passes.append(make_pass("verify/all", rng.sample(every, len(every)), role="web"))
    domains = {host: rng.choice(("a", "b", "c", "")) for host in every} if rng.random() < 0.6 else {}
    groups = {"g": (tuple(roles)[:2], rng.randint(0 if rng.random() < 0.2 else 1, 3))} if rng.random() < 0.4 else {}
    return make_plan(
        passes,
        roles,
        limits={role: rng.choice((0, *[1] * 4, *[2] * 4, 3)) for role in roles},
        groups=groups,
        domains=domains,
        probed=rng.random() < 0.4,
        approvals=(rng.choice(("data", "control", "verify")),) if rng.random() < 0.2 else (),
    )


def _rolling(rng: Random, stage: str, roles: dict[str, list[str]]) -> list[Pass]:
    found: list[Pass] = []
    for role, hosts in rng.sample(list(roles.items()), len(roles)):
        before = [work.id for work in found if rng.random() < 0.4]
        if rng.random() < 0.03:
            before.append(f"{stage}/misspelt")
        found.append(
            make_pass(
                f"{stage}/{role}",
                rng.sample(hosts, len(hosts)),
                after=before,
                canaries=rng.choice((0, 0, 1)),
                on=rng.sample(roles["lb"], 1) if role == "web" and "lb" in roles and rng.random() < 0.8 else (),
                p90=rng.choice((0.0, 1800.0, 18000.0)),
                p50=60.0,
            )
        )
    if rng.random() < 0.25:
        role = rng.choice(list(roles))
        after = [found[-1].id] if rng.random() < 0.7 else []
        found.append(make_pass(f"{stage}/{role}-2", roles[role], role=role, after=after))
    return found


def _percentages(rng: Random, plan: Plan) -> Plan:
    """The plan with some limits stated as percentages of hosts."""
    sizes = {role: sum(host.role == role for host in plan.hosts.values()) for role in plan.roles}

    def stated(size: int) -> dict[str, int]:
        percent = rng.choice((34, 50, 67))
        return {"percent": percent, "limit": size * percent // 100} if rng.random() < 0.6 else {}

    return replace(
        plan,
        roles={name: replace(one, **stated(sizes[name])) for name, one in plan.roles.items()},
        groups={
            name: replace(one, **stated(sum(sizes[role] for role in one.roles))) for name, one in plan.groups.items()
        },
    )


def random_policy(rng: Random, plan: Plan) -> Policy:
    """A policy with some of everything; mostly one under which the run can go on."""

    def maybe(chance: float, value: object, other: object) -> object:
        return value if rng.random() < chance else other

    window = Window(
        days=tuple(range(7)), start=rng.randrange(0, 1440, 60), end=rng.randrange(0, 1440, 60), zone="Europe/Paris"
    )
    return Policy(
        limit=maybe(0.3, Limit(count=rng.randint(1, 4)), None),  # type: ignore[arg-type]
        domain_limit=maybe(0.5, Limit(count=rng.choice((0, 1, 1, 1, 2))), None),  # type: ignore[arg-type]
        domains_at_once=rng.choice((0, 1, 2)),
        failure_budget=rng.choice((0, 1, 2, 3, 5)),
        soak=rng.choice((0.0, 0.0, 20.0)),
        health_timeout=rng.choice((60.0, 300.0)),
        deadline=rng.choice((100.0, 3600.0)),
        windows=(window,) if rng.random() < 0.25 else (),
        approvals=("data",) if rng.random() < 0.1 else (),
        outage_budget={"svc": 4.0} if rng.random() < 0.4 else {},
        prepare_limit=Limit(count=rng.choice((0, 1, 2, 2, 20, 20, 20, 20))),
        role_limits={rng.choice(list(plan.roles)): Limit(count=rng.randint(0, 3))} if rng.random() < 0.2 else {},
        group_limits={"g": Limit(percent=50)} if rng.random() < 0.1 else {},
    )


class World:
    """What is true; ``step`` decides, applies what was decided, and lets something happen."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.dies = Random(seed) if seed % 5 == 3 else None  # apart: the other schedules stay what they were
        self.beside = Random(seed) if seed % 5 == 2 else None  # another run of the same cluster goes on
        self.leaves = Random(seed) if seed % 11 in (0, 6, 9) else None  # hosts are dropped, limits are percentages
        self.machines: dict[str, Machine] = {}
        self.dropped = 0
        self.plan = random_plan(self.rng)
        if self.leaves is not None:
            self.plan = _percentages(self.leaves, self.plan)
        self.policy = random_policy(self.rng, self.plan)
        self.now = START
        self.run: RunRecord = RUN
        self.actions: dict[str, ActionRecord] = {}
        self.health: dict[str, Health] = {}
        self.holds: dict[str, Hold] = {}
        self.approvals: dict[str, Approval] = {}
        self.outage: dict[str, float] = {}
        self.elsewhere: dict[str, Elsewhere] = {}
        self.revision = 0
        self.skipped = 0
        self.replaced = 0

    def snapshot(self) -> Snapshot:
        self.revision += 1
        return Snapshot(
            revision=self.revision, run=self.run, actions=dict(self.actions), holds=dict(self.holds),
            approvals=dict(self.approvals), health=dict(self.health), outage=dict(self.outage),
            elsewhere=dict(self.elsewhere), machines=self.machines,
        )  # fmt: skip

    def apply(self, decision: Decision) -> None:
        """Commit verdicts and grants, as the coordinator does."""
        for verdict in decision.verdicts:
            old = self.actions[verdict.action]
            if verdict.kind == "stuck":
                self.actions[verdict.action] = replace(old, stuck=True)
            else:
                self.actions[verdict.action] = replace(old, state=verdict.kind, ended=self.now)
        for grant in decision.grants:
            past = self.actions.get(grant.action) or ActionRecord(state="pending")
            self.actions[grant.action] = replace(
                past, state="claimed", token=self.revision, attempt=past.attempt + 1, claimed=self.now, started=0.0,
                retry=False, stuck=False,
            )  # fmt: skip

    def happen(self) -> None:
        """One or a few random events."""
        for _ in range(self.rng.choice((1, 1, 2))):
            self._event()
        if self.dies is not None and self.dies.random() < 0.08:
            self._replace(self.dies.choice(list(self.plan.hosts)))
        if self.beside is not None and self.beside.random() < 0.5:
            self._other_run(self.beside)

        if self.leaves is not None and self.leaves.random() < 0.1:
            self._drop(self.leaves, self.leaves.choice(list(self.plan.hosts)))

    def _drop(self, rng: Random, host: str) -> None:
        """It is gone for good, or comes back. Now and then its work is waived only later: another run's word did it."""
        known = self.machines.get(host)
        mine = {action: record for action, record in self.actions.items() if action.rpartition("/")[2] == host}
        if known is not None and known.gone and rng.random() < 0.3:
            self.machines = {**self.machines, host: replace(known, gone=False)}
            return
        if any(record.state in ("claimed", "running") for record in mine.values()):
            return
        word = Machine(host=host, number=1, by="ana", at=self.now, reason="", run="r1", serial=0, gone=True)
        self.machines = {**self.machines, host: known if known is not None and known.gone else word}
        self.dropped += 1
        if rng.random() >= 0.3:
            self.waive(host)

    def waive(self, host: str) -> None:
        """The word that drops a host, spoken to this run."""
        for work in self.plan.passes.values():
            if host in work.hosts:
                old = self.actions.get(f"{work.id}/{host}") or ActionRecord(state="pending")
                if old.state != "done":
                    self.actions[f"{work.id}/{host}"] = replace(old, state="skipped", retry=False)

    def _other_run(self, rng: Random) -> None:
        """It takes a host that nobody is at work on, breaks one, or gives one back."""
        host = rng.choice(list(self.plan.hosts))
        if host in self.elsewhere:
            state = rng.choice(("running", "soaking", "failed", "unknown", ""))
            self.elsewhere.pop(host)
            if state:
                self.elsewhere[host] = Elsewhere("r2", f"roll/web/{host}", state)  # type: ignore[arg-type]
            return
        mine = [record.state for name, record in self.actions.items() if name.rpartition("/")[2] == host]
        if not set(mine) & {*BUSY, *TROUBLE} and len(self.elsewhere) < 3:
            self.elsewhere[host] = Elsewhere("r2", f"roll/web/{host}", "claimed")

    def _replace(self, host: str) -> None:
        """Its machine is gone for good, another one stands there: all of its own that had begun is to be done again."""
        mine = {action: record for action, record in self.actions.items() if action.rpartition("/")[2] == host}
        if any(record.state in ("claimed", "running") for record in mine.values()):
            return
        for action, record in mine.items():
            done_for_all = self.plan.pass_of(action).once and record.state in ("done", "skipped")
            if record.state != "pending" and not done_for_all:
                self.actions[action] = ActionRecord(
                    state="pending", token=record.token, attempt=record.attempt, voided=record.token
                )
                self.replaced += 1

    def _event(self) -> None:
        rng = self.rng
        busy = [action for action, record in self.actions.items() if record.state in BUSY]
        chance = rng.random()
        if busy and chance < 0.6:
            self._work(rng.choice(busy))
        elif chance < 0.7:
            self.now += rng.choice((1.0, 15.0, 60.0, 400.0, 4000.0, 20000.0))
        elif chance < 0.78:
            self._check(rng.choice(list(self.plan.hosts)), 0.7)
        elif chance < 0.9:
            self._operator_on_action()
        else:
            self._operator_on_run()

    def _work(self, action: str) -> None:
        record, rng = self.actions[action], self.rng
        self.now += rng.choice((0.0, 1.0, 5.0))
        if record.state == "claimed":
            new = rng.choice(("running",) * 8 + ("failed", "unknown", "pending"))
        elif record.state == "running":
            new = rng.choice(("soaking",) * 6 + ("failed", "unknown"))
        else:
            self._check(action.rpartition("/")[2], 0.85)
            return
        times = {"running": {"started": self.now}, "soaking": {"finished": self.now}}.get(new, {})
        self.actions[action] = replace(record, state=new, **times)

    def _check(self, host: str, well: float = 0.75) -> None:
        healthy = self.rng.random() < well
        before = self.health.get(host)
        since = before.since if before is not None and before.healthy == healthy else self.now
        self.health[host] = Health(
            healthy=healthy, since=since, checked=self.now + 0.5, detail="" if healthy else "503"
        )

    def _operator_on_action(self) -> None:
        rng = self.rng
        trouble = [a for a, record in self.actions.items() if record.state in TROUBLE]
        if trouble and rng.random() < 0.8:
            action = rng.choice(trouble)
            word = rng.choice(("retry", "retry", "skip"))
            old = self.actions[action]
            new = replace(old, retry=True) if word == "retry" else replace(old, state="skipped", retry=False)
            self.actions[action] = new
        elif rng.random() < 0.15:
            work = rng.choice(list(self.plan.passes.values()))
            action = f"{work.id}/{rng.choice(work.hosts)}"
            if action not in self.actions:
                self.actions[action] = ActionRecord(state="skipped", reason="not wanted")
        else:
            host = rng.choice([*self.plan.hosts, "*"])
            if self.holds.pop(host, None) is None and rng.random() < 0.2:
                self.holds[host] = Hold(host=host, reason="disk", by="ana", at=self.now)

    def _operator_on_run(self) -> None:
        rng = self.rng
        word = rng.choice(("pause", *["resume"] * 5, *["approve"] * 4, "policy", "outage", "heal", "heal", "abort"))
        if word == "pause":
            self.run = replace(self.run, state="paused")
        elif word == "resume" and self.run.state == "paused":
            self.run = replace(self.run, state="running")
        elif word == "approve":
            stage = rng.choice(self.plan.stages).kind
            self.approvals[stage] = Approval(stage=stage, by="ana", at=self.now)
        elif word == "policy":
            self.policy = random_policy(rng, self.plan)
        elif word == "outage":
            self.outage["svc"] = self.outage.get("svc", 0.0) + rng.choice((1.0, 5.0))
        elif word == "heal":
            for host, health in self.health.items():
                if not health.healthy:
                    self.health[host] = Health(healthy=True, since=self.now, checked=self.now + 0.5)
        elif word == "abort" and rng.random() < 0.35:
            self.run = replace(self.run, state=rng.choice(("aborted", "done")))


SAFETY = re.compile(r"(I[1-5] |P[57] |canary|window$|approval$|parallel$|once$|executor |executes |domains at once)")


def violations(
    seed: int, decide: Decide, steps: int = 60, safety: bool = False, mode: Literal["upgrade", "rollback"] = "upgrade"
) -> list[str]:
    """Run one seeded schedule under ``decide``; the violations of the first decision that has any, else none.

    ``safety``: only those that do harm (a start that a promise forbids, a slot freed), not a wrong reason or a wait.
    """
    world = World(seed)
    world.plan = replace(world.plan, mode=mode)
    for number in range(steps):
        snapshot = world.snapshot()
        decision = decide(world.plan, snapshot, world.policy, world.now)
        found = Judge(world.plan, snapshot, world.policy, world.now).violations(decision)
        if safety:
            found = [each for each in found if SAFETY.search(each)]
        if found:
            return [f"seed {seed}, step {number}: {each}" for each in found]
        world.apply(decision)
        world.happen()
    return []
