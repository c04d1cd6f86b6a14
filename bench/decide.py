"""How long a decision takes, whole and when one host changed, and what it needs in memory, as the fleet grows.

    python bench/decide.py [hosts ...]

A fleet: 3 stages (prepare, data, verify), 40 roles, a limit of 10 % each, half of the hosts upgraded, the slots in
use. Times are CPU time, the best of several rounds (the machine may be shared); the ratio is to the row above.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fast" / "rules"))

from fleets import make_pass, make_plan, seen

from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health
from underway.core.rules import Changes, Decider, decide

SIZES = (100, 1_000, 10_000, 100_000)
ROLES, DOMAINS = 40, 50
GOALS = {10_000: (50.0, 1.0)}


def fleet(size: int, domains: bool) -> tuple[Plan, Policy]:
    """A plan of ``size`` hosts in 40 roles and 50 failure domains."""
    roles = {f"role{r}": [f"h{r}-{n}" for n in range(size // ROLES or 1)] for r in range(ROLES)}
    passes = [
        make_pass(f"{stage}/{role}", hosts) for stage in ("prepare", "data", "verify") for role, hosts in roles.items()
    ]
    every = [host for hosts in roles.values() for host in hosts]
    policy = Policy(domain_limit=Limit(percent=20)) if domains else Policy()
    plan = make_plan(
        passes,
        roles,
        limits={role: max(1, len(hosts) // 10) for role, hosts in roles.items()},
        domains={host: f"rack{n % DOMAINS}" for n, host in enumerate(every)},
    )
    return plan, policy


def half_done(plan: Plan) -> dict[str, ActionRecord]:
    """Everything prepared, half of the data stage done, each role's slots in use."""
    done = ActionRecord(state="done", token=1, attempt=1)
    running = ActionRecord(state="running", token=1, attempt=1, claimed=1.0, started=2.0, step="svc.upgrade.turn")
    actions = {}
    for work in plan.passes.values():
        if work.stage == "prepare":
            actions.update({f"{work.id}/{host}": done for host in work.hosts})
        elif work.stage == "data":
            middle = len(work.hosts) // 2
            actions.update({f"{work.id}/{host}": done for host in work.hosts[:middle]})
            slots = plan.roles[work.role].limit
            actions.update({f"{work.id}/{host}": running for host in work.hosts[middle : middle + slots]})
    return actions


def best(rounds: int, call: object) -> float:
    """Milliseconds of the fastest of some calls."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        call()  # type: ignore[operator]
        found.append(time.process_time() - begin)
    return min(found) * 1000


def one_change(plan: Plan, policy: Policy, snapshot: Snapshot, hinted: bool) -> float:
    """Milliseconds of a decision after one host finished or took its work, over 40 steps of a run: the median."""
    decider = Decider(plan, policy)
    decision = decider.decide(snapshot, 10.0)
    actions, now, took = dict(snapshot.actions), 10.0, []
    busy = [action for action, record in actions.items() if record.state == "running"]
    for number in range(40):
        now += 1
        if decision.grants:
            action = decision.grants[0].action
            record = ActionRecord(state="running", token=number, attempt=1, claimed=now, started=now)
            busy.append(action)
        else:
            action = busy.pop(0)
            record = replace(actions[action], state="done", ended=now)
        actions = {**actions, action: record}
        snapshot = Snapshot(revision=number, run=snapshot.run, actions=actions, health=snapshot.health)
        begin = time.process_time()
        decision = decider.decide(snapshot, now, Changes(actions=[action]) if hinted else None)
        took.append(time.process_time() - begin)
    return sorted(took)[len(took) // 2] * 1000


def memory(plan: Plan, policy: Policy, snapshot: Snapshot) -> float:
    """MiB that a Decider keeps."""
    gc.collect()
    tracemalloc.start()
    decider = Decider(plan, policy)
    decision = decider.decide(snapshot, 10.0)
    kept = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    assert decision is not None
    return kept


def main(sizes: tuple[int, ...]) -> int:
    missed = 0
    for domains in (False, True):
        print(f"\n{'with a limit per failure domain (50)' if domains else 'limits per role only'}")
        print(f"{'hosts':>8} {'whole ms':>9} {'ratio':>6} {'one ms':>8} {'ratio':>6} {'diff ms':>8} {'MiB':>7}")
        before: tuple[float, float] | None = None
        for size in sizes:
            plan, policy = fleet(size, domains)
            health = {host: Health(healthy=True, since=1, checked=2) for host in plan.hosts}
            snapshot = seen(half_done(plan), health=health)
            whole = best(3 if size > 10_000 else 7, lambda p=plan, s=snapshot, q=policy: decide(p, s, q, 10.0))
            one = one_change(plan, policy, snapshot, hinted=True)
            diff = one_change(plan, policy, snapshot, hinted=False)
            kept = memory(plan, policy, snapshot)
            ratio = (f"{whole / before[0]:6.1f} ", f"{one / before[1]:6.1f} ") if before else ("     - ", "     - ")
            print(f"{size:>8} {whole:>9.2f} {ratio[0]}{one:>8.3f} {ratio[1]}{diff:>8.3f} {kept:>7.1f}")
            before = (whole, one)
            goal = GOALS.get(size)
            if goal and (whole > goal[0] or one > goal[1]):
                missed += 1
                print(f"         goal missed: whole under {goal[0]} ms, one under {goal[1]} ms")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(tuple(int(size) for size in sys.argv[1:]) or SIZES))
