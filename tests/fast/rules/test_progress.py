"""Progress: counts that add up, reasons in groups, and an estimate that the run then keeps."""

from __future__ import annotations

import pytest

from fast.rules.fleets import RUN, make_pass, make_plan, names, one_role, seen
from fast.rules.test_slot_window import makespan
from fast.rules.world import World
from underway.core.model.base import replace
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord
from underway.core.progress import Progress, Waiting, counts_by_kind, progress
from underway.core.rules import decide

T0 = 1_790_000_000.0
RUNNING = ActionRecord(state="running", claimed=T0, started=T0, step="s")


def of(plan: Plan, snapshot: Snapshot, now: float = T0) -> Progress:
    return progress(plan, snapshot, decide(plan, snapshot, plan.policy, now), now)


def timed(count: int, limit: int, p50: float = 60.0, **more: object) -> Plan:
    plan = one_role(count, limit, **more)
    passes = {name: replace(work, p50=p50) for name, work in plan.passes.items()}
    return replace(plan, passes=passes)


def test_counts_and_groups() -> None:
    plan = timed(40, 2)
    actions: dict[str, ActionRecord | str] = {
        "data/web/web1": "done",
        "data/web/web2": RUNNING,
        "data/web/web3": RUNNING,
    }
    found = of(plan, seen(actions, held=["web40"]), T0 + 30)
    assert found.stage == "data"
    assert (found.total, found.finished) == (40, 1)
    assert found.stages[0].states == {"done": 1, "running": 2, "pending": 37}
    assert found.hosts == {"pending": 37, "upgrading": 2, "upgraded": 1, "failed": 0, "unknown": 0, "held": 1}
    assert [str(group) for group in found.waiting] == [
        "web40: held by ana: disk (underway release web40)",
        "36 hosts wait for a slot: role web has 2 of 2 unavailable (web2 at work, web3 at work)",
    ]
    assert [(work.host, work.seconds) for work in found.working] == [("web2", 30.0), ("web3", 30.0)]
    assert found.next[:2] == ("data/web/web4", "data/web/web5")
    assert found.slots == {"web": (2, 2)}


def test_hosts_that_wait_are_told_in_the_plural() -> None:
    both = Waiting("parallel-limit", 2, ("web1", "web2"), "waits for its turn: 1 of 1 at work at once in stage prepare")
    assert str(both) == "2 hosts wait for their turn: 1 of 1 at work at once in stage prepare"


def test_estimate_is_kept_by_the_run() -> None:
    for count, limit in ((10, 5), (11, 5), (7, 1), (3, 9)):
        plan = timed(count, limit)
        found = of(plan, seen(), 0.0)
        span, _ = makespan(plan, plan.policy, dict.fromkeys(plan.hosts, 60.0))
        assert found.eta == span
        assert (found.basis, found.guessed) == ("guesses", True)


def test_guesses_keep_to_the_pace_of_the_run() -> None:
    """What was guessed and took a fifth of it, three times, makes other guesses five times shorter; figures stay."""
    hosts = names("web", 6)
    later = [make_pass("verify/web", hosts, p50=100.0), make_pass("contract/db", hosts, p50=50.0, basis="9 past runs")]
    plan = make_plan([make_pass("prepare/web", hosts, p50=100.0), *later], roles={"web": hosts})
    done = {f"prepare/web/{host}": ActionRecord(state="done", duration=20.0) for host in hosts}
    found = of(plan, seen(done))
    slow = {action: replace(record, duration=100.0) for action, record in done.items()}
    assert (found.basis, found.guessed) == ("guesses at this run's pace", True)
    assert of(plan, seen(slow)).eta == 100 + 50  # all hosts of a stage that is not rolling at once
    assert found.eta == 20 + 50


def test_estimate_counts_what_is_at_work_and_soak() -> None:
    plan = timed(4, 2, policy=Policy(soak=10.0))
    actions = {"data/web/web1": RUNNING, "data/web/web2": RUNNING}
    assert of(plan, seen(actions), T0 + 45).eta == (60 - 45) + 10 + 70


def test_measured_durations_replace_the_plans() -> None:
    plan = timed(6, 1)
    done = {f"data/web/web{n}": ActionRecord(state="done", duration=20.0) for n in (1, 2, 3)}
    found = of(plan, seen(done))
    assert found.eta == 60.0
    assert found.basis == "durations measured in this run"


def test_shared_limits_stretch_the_estimate() -> None:
    roles = {role: names(role, 5) for role in ("a", "b")}
    plan = make_plan(
        [make_pass(f"data/{role}", hosts, p50=60.0) for role, hosts in roles.items()],
        roles,
        limits={"a": 5, "b": 5},
        policy=Policy(limit=Limit(count=2)),
    )
    assert of(plan, seen(), 0.0).eta == 300.0
    assert makespan(plan, plan.policy, dict.fromkeys(plan.hosts, 60.0))[0] == 300.0


def test_ordered_passes_add_up() -> None:
    plan = make_plan(
        [make_pass("data/a", ["a1"], p50=60.0), make_pass("data/b", ["b1"], after=["data/a"], p50=30.0)],
        {"a": ["a1"], "b": ["b1"]},
    )
    assert of(plan, seen(), 0.0).eta == 90.0


def test_windows_stretch_the_estimate() -> None:
    night = Window(days=tuple(range(7)), start=22 * 60, end=23 * 60, zone="UTC")
    plan = timed(2, 1, p50=2400.0, policy=Policy(windows=(night,)))
    opens = T0 + (22 * 3600 - (14 * 3600 + 13 * 60 + 20))
    assert of(plan, seen()).eta == opens - T0 + 86400 + 1200


@pytest.mark.parametrize(
    ("snapshot", "basis"),
    [
        (seen(run=replace(RUN, state="paused")), "the run is paused"),
        (seen({"data/web/web1": "failed"}), "halted: 1 host in trouble"),
    ],
)
def test_where_only_an_operator_can_say(snapshot: Snapshot, basis: str) -> None:
    found = of(timed(3, 1), snapshot)
    assert found.eta is None
    assert found.basis.startswith(basis)


def test_a_limit_of_zero_has_no_end() -> None:
    found = of(timed(3, 0), seen())
    assert (found.eta, found.basis) == (None, "a limit is 0: web")


def test_finished() -> None:
    found = of(timed(1, 1), seen({"data/web/web1": "done"}))
    assert (found.eta, found.basis, found.hosts["upgraded"]) == (0.0, "finished", 1)


def test_counts_add_up_in_any_world() -> None:
    for seed in range(60):
        world = World(seed)
        for _ in range(25):
            snapshot = world.snapshot()
            decision = decide(world.plan, snapshot, world.policy, world.now)
            found = progress(world.plan, snapshot, decision, world.now, world.policy)
            for stage in found.stages:
                assert sum(stage.states.values()) == stage.total
            assert sum(count for state, count in found.hosts.items() if state != "held") == len(
                world.plan.hosts.keys() - snapshot.dropped().keys()
            )
            assert found.eta is None or found.eta >= 0
            assert (found.finished == found.total) == decision.finished
            assert sum(counts_by_kind(decision).values()) == len(decision.reasons)
            assert sum(group.count for group in found.waiting) <= len(decision.reasons)
            world.apply(decision)
            world.happen()
