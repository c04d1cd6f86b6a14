"""A judge of decisions, written apart from the rules: slow, plain, straight from TRUST §3 and DESIGN §5.

It shares no code with ``underway.core`` but the model: what it says comes from the plan and the records alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from underway.core.model.decision import Decision
from underway.core.model.plan import GroupLimits, Pass, Plan, RoleLimits
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord

BUSY = ("claimed", "running", "soaking")
TROUBLE = ("failed", "unknown")
PENDING = ActionRecord(state="pending")


class Judge:
    """One look, judged."""

    def __init__(self, plan: Plan, snapshot: Snapshot, policy: Policy, now: float) -> None:
        self.plan, self.snapshot, self.policy, self.now = plan, snapshot, policy, now
        self._records = {
            (work.id, host): snapshot.actions.get(f"{work.id}/{host}", PENDING)
            for work in plan.passes.values()
            for host in work.hosts
        }
        self._closed: dict[str, list[str]] = {}
        self.gone = {host for host, machine in snapshot.machines.items() if machine.gone}
        self.here = {name: host for name, host in plan.hosts.items() if name not in self.gone}

    # --- the world ---------------------------------------------------------------------------------------------------

    def record(self, work: Pass, host: str) -> ActionRecord:
        return self._records.get((work.id, host), PENDING)

    def finished(self, work: Pass, host: str) -> bool:
        return self.record(work, host).state in ("done", "skipped")

    def stage_passes(self) -> Iterator[tuple[int, Pass]]:
        for number, stage in enumerate(self.plan.stages):
            for name in stage.passes:
                yield number, self.plan.passes[name]

    @cached_property
    def present(self) -> int:
        for number, work in self.stage_passes():
            if not all(self.finished(work, host) for host in work.hosts):
                return number
        return -1

    def sick(self, host: str) -> bool:
        health = self.snapshot.health.get(host)
        return health is not None and not health.healthy

    def retry(self, host: str) -> bool:
        return any(
            self.record(work, host).retry
            for number, work in self.stage_passes()
            if host in work.hosts and number == self.present and not self.finished(work, host)
        )

    @cached_property
    def down(self) -> set[str]:
        """Unavailable hosts: at work or in trouble with something that takes them out of service, or unhealthy.

        So is one whose machine was replaced after that had begun, until it is done on the new machine; and one that
        another run has taken, or has broken.
        """
        found = {host for host in self.plan.hosts if self.sick(host) or host in self.snapshot.elsewhere}
        for work in self.plan.passes.values():
            if work.rolling:
                found |= {host for host in work.hosts if self.record(work, host).state in (*BUSY, *TROUBLE)}
                found |= {
                    host
                    for host in work.hosts
                    if self.record(work, host).state == "pending" and self.record(work, host).voided
                }
        return found - self.gone

    @cached_property
    def trouble(self) -> set[str]:
        return {
            host
            for work in self.plan.passes.values()
            for host in work.hosts
            if self.record(work, host).state in TROUBLE and not self.record(work, host).retry
        } - self.gone

    # --- may it start? -----------------------------------------------------------------------------------------------

    def closed(self, work: Pass) -> list[str]:
        """Why no host may start in this pass, whatever it is."""
        if work.id not in self._closed:
            self._closed[work.id] = self._why_closed(work)
        return list(self._closed[work.id])

    def _why_closed(self, work: Pass) -> list[str]:
        found = []
        number = next(n for n, each in self.stage_passes() if each.id == work.id)
        stage = self.plan.stages[number]
        if number != self.present:
            found.append("I2 stage")
        if (stage.approval or stage.kind in self.policy.approvals) and stage.kind not in self.snapshot.approvals:
            found.append("approval")
        for edge in work.after:
            before = self.plan.passes.get(edge.before)
            if before is None or not all(self.well_done(before, host) for host in before.hosts):
                found.append(f"I2 order after {edge.before}")
        if work.rolling:
            for earlier, other in self.stage_passes():
                if earlier < number and other.rolling and not all(self.well_done(other, h) for h in other.hosts):
                    found.append(f"I2 {other.id} unhealthy")
            if self.policy.windows and not fits(self.policy.windows, self.now, work.p90):
                found.append("window")
        return found

    def well_done(self, work: Pass, host: str) -> bool:
        state = self.record(work, host).state
        if state == "done" and host in self.gone:
            return True
        return state == "skipped" or (state == "done" and not (work.rolling and self.fell_ill(host)))

    def fell_ill(self, host: str) -> bool:
        """Unhealthy, and neither is something at hand on it that explains it, nor did the operator give it up."""
        states = [
            (other.rolling, self.record(other, host).state)
            for other in self.plan.passes.values()
            if host in other.hosts
        ]
        at_hand = any(rolling and state not in ("pending", "done", "skipped") for rolling, state in states)
        return self.sick(host) and not at_hand and all(state != "skipped" for _, state in states)

    def blockers(self, work: Pass, host: str, granted: dict[str, Pass]) -> list[str]:
        """Every rule that starting this action now would break, given what was granted before it."""
        found = self.closed(work)
        record = self.record(work, host)
        run = self.snapshot.run.state
        if run != "running":
            found.append(f"P5 run is {run}")
        if "*" in self.snapshot.holds or host in self.snapshot.holds:
            found.append("I3 held")
        if host in self.snapshot.elsewhere:
            found.append("I4 another run has it")
        if host in self.gone:
            found.append("I3 it was dropped")
        if len(self.trouble) >= max(1, self.policy.failure_budget):
            found.append("I4 failure budget")
        if any(self.snapshot.outage.get(s, 0.0) > most for s, most in self.policy.outage_budget.items()):
            found.append("I4 outage budget")
        if not (record.state == "pending" or (record.retry and record.state in TROUBLE)):
            found.append(f"I5 it is {record.state}")
        for other in self.plan.passes.values():
            state = self.record(other, host).state
            waits = state in TROUBLE and self.record(other, host).retry
            if other.id != work.id and host in other.hosts and state in (*BUSY, *TROUBLE) and not waits:
                found.append(f"I4 another of its actions is {state}")
        if self.sick(host) and work.rolling and not self.retry(host) and self.plan.mode == "upgrade":
            found.append("unhealthy before its turn")
        canaries = work.hosts[: work.canaries]
        if host not in canaries and not all(self.well_done(work, canary) for canary in canaries):
            found.append("canary")
        found.extend(self.machines(work, host, granted))
        found.extend(self.limits(host, granted) if work.rolling else self.parallel(work, host, granted))
        return found

    def machines(self, work: Pass, host: str, granted: dict[str, Pass]) -> list[str]:
        active = {
            f"{other.id}/{h}": (h, other)
            for other in self.plan.passes.values()
            for h in other.hosts
            if self.record(other, h).state in ("claimed", "running") and h not in self.gone
        }
        active |= {f"{other.id}/{h}": (h, other) for h, other in granted.items()}
        found = []
        if {leg.on for leg in work.legs if leg.on} & {h for h, _ in active.values()}:
            found.append("executor at work")
        if any(host in [leg.on for leg in other.legs] for _, other in active.values()):
            found.append("executes for others")
        if work.once and any(other.id == work.id for _, other in active.values()):
            found.append("once")
        return found

    def parallel(self, work: Pass, host: str, granted: dict[str, Pass]) -> list[str]:
        using = {
            h
            for other in self.plan.passes.values()
            if not other.rolling
            for h in other.hosts
            if self.record(other, h).state in (*BUSY, "unknown") and h not in self.gone
        }
        using |= {h for h, other in granted.items() if not other.rolling}
        most = self.policy.prepare_limit.resolve(len(self.here))
        return ["parallel"] if most <= 0 or (host not in using and len(using) + 1 > most) else []

    def limits(self, host: str, granted: dict[str, Pass]) -> list[str]:
        """I1, unit by unit: |down ∪ {host}| <= limit."""
        down = self.down | {h for h, other in granted.items() if other.rolling}
        plan, policy, hosts = self.plan, self.policy, self.here
        if host in self.gone:
            return []
        role = hosts[host].role
        found = []

        def over(name: str, members: set[str], fixed: int | None, stated: Limit | None) -> None:
            limit = fixed if stated is None else stated.resolve(len(members))
            if limit is not None and len((down & members) | {host}) > limit:
                found.append(f"I1 {name}: {len((down & members) | {host})} > {limit}")

        of_role = {name for name, each in hosts.items() if each.role == role}
        over(f"role {role}", of_role, planned(plan.roles[role], of_role), policy.role_limits.get(role))
        for name, group in plan.groups.items():
            if role in group.roles:
                members = {h for h, each in hosts.items() if each.role in group.roles}
                over(f"group {name}", members, planned(group, members), policy.group_limits.get(name))
        over("total", set(hosts), None, policy.limit)
        domain = hosts[host].domain
        if domain:
            members = {h for h, each in hosts.items() if each.domain == domain}
            over(f"domain {domain}", members, None, policy.domain_limit)
            active = {hosts[h].domain for h in down} - {""}
            if policy.domains_at_once and len(active | {domain}) > policy.domains_at_once and domain not in active:
                found.append("domains at once")
        return found

    # --- the decision ------------------------------------------------------------------------------------------------

    def violations(self, decision: Decision) -> list[str]:
        """Everything that is wrong with a decision on this look; empty for a right one."""
        found = self._one_answer_each(decision)
        granted: dict[str, Pass] = {}
        for grant in decision.grants:
            work = self.plan.passes[grant.action.rpartition("/")[0]]
            found.extend(f"{grant.action}: {why}" for why in self.blockers(work, grant.host, granted))
            granted[grant.host] = work
        found.extend(self._not_granted(decision, granted))
        found.extend(self._verdicts(decision))
        found.extend(self._reasons(decision))
        if decision.finished != (self.present == -1):
            found.append(f"finished is {decision.finished}")
        return found

    def _one_answer_each(self, decision: Decision) -> list[str]:
        given = [grant.host for grant in decision.grants]
        found = ["I6 two grants for a host"] if len(given) != len(set(given)) else []
        if set(given) & set(decision.reasons) or set(given) | set(decision.reasons) != set(self.plan.hosts):
            found.append("I6 not exactly one answer for each host")
        return found

    def _not_granted(self, decision: Decision, granted: dict[str, Pass]) -> list[str]:
        """Nothing that could start is held back: each host's first pass that is open has a blocker of its own."""
        found = []
        stage = self.present
        for host in decision.reasons:
            todo = [w for n, w in self.stage_passes() if n == stage and host in w.hosts and not self.finished(w, host)]
            first = next((work for work in todo if not self.closed(work)), None)
            if first is not None and not self.blockers(first, host, granted):
                found.append(f"L2 {first.id}/{host} could start, but: {decision.reasons[host].sentence}")
        return found

    def _verdicts(self, decision: Decision) -> list[str]:
        wanted: dict[str, str] = {}
        for work in self.plan.passes.values():
            for host in work.hosts:
                if host in self.gone:
                    continue
                verdict = self._verdict(work, host)
                if verdict:
                    wanted[f"{work.id}/{host}"] = verdict
        given = {verdict.action: verdict.kind for verdict in decision.verdicts}
        return [] if given == wanted else [f"P7 verdicts {given}, should be {wanted}"]

    def _verdict(self, work: Pass, host: str) -> str:
        record, policy = self.record(work, host), self.policy
        health = self.snapshot.health.get(host)
        if record.state in ("claimed", "running"):
            late = self.now - (record.started or record.claimed) >= policy.deadline
            return "stuck" if late and not record.stuck else ""
        if record.state != "soaking":
            return ""
        over = self.now - record.finished >= policy.health_timeout
        if health is not None and not health.healthy:
            return "failed" if over else ""
        if health is not None and health.checked > record.finished:
            return "done" if self.now - max(record.finished, health.since) >= policy.soak else ""
        if any(probe.host == host for probe in self.plan.probes.values()):
            return "failed" if over else ""
        return "done" if self.now - record.finished >= policy.soak else ""

    def _reasons(self, decision: Decision) -> list[str]:
        found = []
        present, undoing = self.present, self.plan.mode == "rollback"
        for host, reason in decision.reasons.items():
            mine = [(n, w, self.record(w, host)) for n, w in self.stage_passes() if host in w.hosts]
            opened = [r for _, _, r in mine if not (r.retry and r.state in TROUBLE)]
            left = [w for _, w, r in mine if r.state not in ("done", "skipped")]
            now = [w for n, w, r in mine if n == present and r.state not in ("done", "skipped")]
            waived = [w for n, w, r in mine if r.state == "skipped" and present in (-1, n)]
            for state in ("unknown", "failed"):
                if any(r.state == state for r in opened):
                    break
            else:
                state = ""
            if host in self.gone:
                wanted = {"dropped"}
            elif state:
                wanted = {state}
            elif any(r.state in ("claimed", "running") and r.stuck for r in opened[:]):
                wanted = (
                    {"stuck", "at-work", "soaking"} if len([r for r in opened if r.state in BUSY]) > 1 else {"stuck"}
                )
            elif any(r.state == "soaking" for r in opened):
                wanted = {"soaking"}
            elif any(r.state in ("claimed", "running") for r in opened):
                wanted = {"at-work"}
            elif host in self.snapshot.holds and left:
                wanted = {"held"}
            elif host in self.snapshot.elsewhere and (now or self.snapshot.elsewhere[host].state in TROUBLE):
                wanted = {"other-run"}
            elif self.sick(host) and (
                not now or (not undoing and any(w.rolling for w in now) and not self.retry(host))
            ):
                wanted = {"host-unhealthy"}
            elif not now and waived:
                wanted = {"skipped"}
            elif not now and not any(n > present >= 0 for n, _, _ in mine):
                wanted = {"done"}
            else:
                wanted = set()
            if wanted and reason.kind not in wanted:
                found.append(f"reason of {host} is {reason.kind}, should be {wanted}")
            found.extend(self._plausible(host, reason.kind, reason.sentence, bool(decision.grants)))
        return found

    def stranded(self, host: str, domain: bool) -> bool:
        """Whether it is out itself, in a unit with more out than its limit, where none will come back by itself."""
        plan, policy = self.plan, self.policy
        here, hosts = plan.hosts[host], self.here

        def states(name: str) -> set[str]:
            return {self.record(work, name).state for work in plan.passes.values() if work.rolling}

        def alone(members: set[str], fixed: int | None, stated: Limit | None) -> bool:
            limit = fixed if stated is None else stated.resolve(len(members))
            out = self.down & members
            busy = {name for name, each in self.snapshot.elsewhere.items() if each.state in BUSY}
            back = {n for n in out if (n in busy or states(n) & set(BUSY)) and not states(n) & set(TROUBLE)}
            return limit is not None and host in out and len(out) > limit and not back

        if domain:
            return bool(here.domain) and alone(
                {name for name, each in hosts.items() if each.domain == here.domain}, None, policy.domain_limit
            )
        units: list[tuple[set[str], RoleLimits | GroupLimits, Limit | None]]
        units = [({here.role}, plan.roles[here.role], policy.role_limits.get(here.role))]
        units += [
            (set(group.roles), group, policy.group_limits.get(name))
            for name, group in plan.groups.items()
            if here.role in group.roles
        ]
        of = [({name for name, each in hosts.items() if each.role in roles}, one, said) for roles, one, said in units]
        return alone(set(hosts), None, policy.limit) or any(
            alone(members, planned(one, members), said) for members, one, said in of
        )

    def _plausible(self, host: str, kind: str, sentence: str, granted: bool) -> list[str]:
        kept = {
            (h, record.state, record.retry)
            for (name, h), record in self._records.items()
            if not self.plan.passes[name].rolling and record.state in (*BUSY, "unknown")
        }
        idle = bool(kept) and all(state == "unknown" and retry for _, state, retry in kept)
        idle = idle and not {h for h, _, _ in kept} & self.trouble
        if kind == "parallel-limit" and " at work at once " in sentence and idle and not granted:
            return [f"{host} waits for a turn that nobody gives back"]
        if kind == "over-limit" and "prepare" in sentence:
            return [] if idle else [f"{host} is told that nobody gives back a turn"]
        if kind == "over-limit" and not (self.stranded(host, domain=False) or self.stranded(host, domain=True)):
            return [f"{host} is said to be over a limit, and is not"]
        if kind in ("role-limit", "group-limit", "total-limit") and self.stranded(host, domain=False):
            return [f"{host} waits for a slot that nobody gives back"]
        if kind == "domain-limit" and self.stranded(host, domain=True):
            return [f"{host} waits for a slot of its domain that nobody gives back"]
        if sentence == "waits for its turn":
            return [f"{host} has no explanation"]
        if kind == "window-too-short" and "fits in no" not in sentence and not fits(self.policy.windows, self.now, 0.0):
            return [f"{host}: the window is closed, not too short"]
        if kind.startswith("window") and "fits in no" not in sentence:
            stage = self.plan.stages[self.present]
            todo = [self.plan.passes[name] for name in stage.passes if host in self.plan.passes[name].hosts]
            if not any(can_ever_fit(self.policy.windows, work.p90) for work in todo):
                return [f"{host}: it is not told that it fits in no window"]
        if (
            kind in ("role-limit", "group-limit", "domain-limit", "total-limit", "parallel-limit")
            and " of 0 " in sentence
        ):
            return [f"{host}: a limit of 0 is said to be a slot to wait for"]
        return []


def planned(limits: RoleLimits | GroupLimits, members: set[str]) -> int:
    """The plan's limit: one that was a percentage is of those that are left, where hosts were dropped."""
    return min(limits.limit, len(members) * limits.percent // 100) if limits.percent else limits.limit


def can_ever_fit(windows: tuple[Window, ...], seconds: float) -> bool:
    """With an hour to spare; for one window of one zone, every day (what ``world`` makes)."""
    return any(
        (window.end - window.start) % 1440 * 60 + 3600 > seconds or window.start == window.end for window in windows
    )


def fits(windows: tuple[Window, ...], now: float, seconds: float) -> bool:
    """Whether every tenth minute from ``now`` to the end of the work lies in a window, by the clock on the wall."""
    moment, end = now, now + seconds
    while moment < end:
        if not any(inside(window, moment) for window in windows):
            return False
        moment += 600
    return any(inside(window, end) for window in windows)


def inside(window: Window, at: float) -> bool:
    local = datetime.fromtimestamp(at, ZoneInfo(window.zone))
    minute = local.hour * 60 + local.minute + local.second / 60 + local.microsecond / 6e7
    yesterday = (local - timedelta(days=1)).weekday()
    if window.end > window.start:
        return local.weekday() in window.days and window.start <= minute < window.end
    return (local.weekday() in window.days and minute >= window.start) or (
        yesterday in window.days and minute < window.end
    )
