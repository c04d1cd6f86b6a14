"""How long passes and plans take: from past runs, else stated guesses. Pure. All figures are seconds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

from underway.core.model.plan import Pass, Plan, Stage
from underway.core.model.service import Phase, Step

ENOUGH = 3
"""Past runs from which on they are believed more than a guess."""

GUESS: dict[Phase, float] = {
    "preflight": 10.0, "prepare": 120.0, "expand": 30.0, "drain": 15.0, "upgrade": 60.0, "undrain": 10.0,
    "verify": 10.0, "finalize": 15.0, "contract": 30.0, "migrate": 60.0, "rollback": 60.0,
}  # fmt: skip
"""What a step of each phase is guessed to take: round figures, said to be guesses wherever they are shown."""

LEG = 5.0
"""What is guessed for each leg: to start Ansible on the machine and to gather its facts."""

SPREAD = 2.0
"""A guessed p90 is this many times the guessed p50."""


def timed(work: Pass, steps: Mapping[str, Step], durations: Mapping[str, Sequence[float]]) -> tuple[float, float, str]:
    """(p50, p90, what they rest on) of one host's pass. ``durations`` are by pass id: ``<stage>/<role>`` for the usual
    one, so that a once-only pass and a second visit have figures of their own."""
    past = sorted(durations.get(work.id, ()))
    if len(past) >= ENOUGH:
        return round(quantile(past, 0.5), 1), round(quantile(past, 0.9), 1), f"{len(past)} past runs"
    count = sum(len(leg.steps) for leg in work.legs)
    p50 = LEG * len(work.legs)
    for leg in work.legs:
        p50 += sum(_guess(steps[name]) for name in leg.steps)
    legs = f" in {len(work.legs)} legs" if len(work.legs) > 1 else ""
    return p50, SPREAD * p50, f"guess: {count} step{'s' if count > 1 else ''}{legs}"


def _guess(step: Step) -> float:
    """One that only gathers looks at things, in whatever phase."""
    return min(GUESS["preflight" if step.gathers else step.phase], step.timeout)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie, linear between two of them."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def estimate(plan: Plan) -> float:
    """Seconds that the whole plan takes by list scheduling, each host at its pass's p50 and its soak.

    Slots are refilled as soon as a host is done. Limits per role, per group and in all are as the plan has them; those
    per failure domain bound a pass by the sum that its domains allow at once. Windows, approvals and failures are
    not counted. Infinite where a pass is held by a limit of 0.
    """
    return sum(stage_estimate(plan, stage) for stage in plan.stages)


def stage_estimate(plan: Plan, stage: Stage) -> float:
    """Seconds that one stage takes by itself (see ``estimate``)."""
    return _Schedule(plan, [plan.passes[name] for name in stage.passes]).length()


class _Schedule:
    """List scheduling of one stage; hosts of a pass take equally long, so they start and end in batches."""

    def __init__(self, plan: Plan, passes: Sequence[Pass]) -> None:
        self._passes = passes
        policy = plan.policy
        rolling = any(work.rolling for work in passes)
        self._soak = policy.soak if rolling else 0.0
        in_all = policy.limit if rolling else policy.prepare_limit
        self._free: dict[str, int] = {}
        self._pools: dict[str, tuple[str, ...]] = {}
        if in_all is not None:
            self._free["*"] = in_all.resolve(len(plan.hosts))
        for work in passes:
            pools = ["*"] if in_all is not None else []
            if work.rolling and work.role in plan.roles:
                limits = plan.roles[work.role]
                if not work.whole or not limits.limit:
                    self._free.setdefault(f"role {work.role}", limits.limit)
                    pools.append(f"role {work.role}")
                if limits.group in plan.groups:
                    self._free.setdefault(f"group {limits.group}", plan.groups[limits.group].limit)
                    pools.append(f"group {limits.group}")
            if work.rolling and (policy.domain_limit is not None or policy.domains_at_once):
                self._free[f"domains {work.id}"] = _domain_slots(plan, work)
                pools.append(f"domains {work.id}")
            self._pools[work.id] = tuple(pools)

    def length(self) -> float:
        """Seconds from the start of the first host to the end of the last one."""
        left = {work.id: len(work.hosts) for work in self._passes}
        canaries = {work.id: work.canaries for work in self._passes}
        at_work = dict.fromkeys(left, 0)
        inside = set(left)
        running: list[tuple[float, int, str, int]] = []
        now, serial = 0.0, 0
        finished: set[str] = {name for name, count in left.items() if count == 0}
        while len(finished) < len(left):
            for work in self._passes:
                if left[work.id] == 0 or any(e.before in inside and e.before not in finished for e in work.after):
                    continue
                count = left[work.id]
                if canaries[work.id]:
                    done = len(work.hosts) - left[work.id] - at_work[work.id]
                    ahead = canaries[work.id] - (len(work.hosts) - left[work.id])
                    if done >= canaries[work.id]:
                        canaries[work.id] = 0
                    else:
                        count = min(count, max(ahead, 0))
                count = min([count, *(self._free[pool] for pool in self._pools[work.id])])
                if count <= 0:
                    continue
                for pool in self._pools[work.id]:
                    self._free[pool] -= count
                left[work.id] -= count
                at_work[work.id] += count
                serial += 1
                heapq.heappush(running, (now + work.p50 + self._soak, serial, work.id, count))
            if not running:
                return math.inf
            now, _, name, count = heapq.heappop(running)
            for pool in self._pools[name]:
                self._free[pool] += count
            at_work[name] -= count
            if left[name] == 0 and at_work[name] == 0:
                finished.add(name)
        return now


def _domain_slots(plan: Plan, work: Pass) -> int:
    """Hosts of a pass that failure domains let be out at once."""
    policy = plan.policy
    sizes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for host in plan.hosts.values():
        sizes[host.domain] = sizes.get(host.domain, 0) + 1
    for name in work.hosts:
        domain = plan.hosts[name].domain
        counts[domain] = counts.get(domain, 0) + 1
    free = counts.pop("", 0)
    limit = policy.domain_limit
    allowed = sorted(
        (min(n, limit.resolve(sizes[domain])) if limit is not None else n for domain, n in counts.items()), reverse=True
    )
    return free + sum(allowed[: policy.domains_at_once or None])
