"""The judge itself: a fault that it would not see is one that nobody sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fast.engine.made import plan_of
from underway.config.scenario import Scenario
from underway.core.model.base import canonical, replace
from underway.core.model.plan import Plan
from underway.core.model.policy import Limit, Policy, Window
from underway.core.model.ticket import Ticket
from underway.sim.faults import FaultyStore, Killed, Trouble
from underway.sim.hosts import Effect, EffectKind
from underway.sim.oracle import Oracle
from underway.sim.simulate import simulate
from underway.sim.world import World
from underway.store.memory import MemoryStore

NOW = 1_800_000_000.0  # a Friday, 08:00 UTC


class Told:
    """An oracle that is told of commits as the test words them."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.now = plan, NOW
        self.oracle = Oracle(plan, "r1", lambda: self.now)
        self.token = 0
        self.commit(record={"plan": plan.digest()})

    def commit(self, by: str = "operator:me", kind: str = "note", action: str = "", **values: dict[str, Any]) -> None:
        entry = {"seq": 1, "at": self.now, "kind": kind, "actor": by, "action": action}
        writes = {"underway/c/audit/1": msgspec.json.encode({"s": 1, "v": entry})}
        for name, value in values.items():
            key = action if name == "record_of" else name
            root = "underway/c/" if name.startswith(("holds", "health")) else "underway/c/runs/r1/"
            key = f"actions/{action}" if name == "record_of" else key.replace("__", "/")
            writes[root + key] = msgspec.json.encode({"s": 1, "v": value})
        self.oracle.judge(writes)

    def move(self, action: str, state: str, by: str, **more: object) -> None:
        self.commit(by, "note", action, record_of={"state": state, "token": self.token, **more})

    def claim(self, action: str, **more: object) -> None:
        self.token += 1
        self.move(action, "claimed", "coordinator:one", claimed=self.now, **more)

    def effect(self, action: str, step: str, kind: EffectKind, leg: int = 0, host: str = "", token: int = 0) -> None:
        target = action.rpartition("/")[2]
        steps = self.plan.pass_of(action).legs[leg].steps
        ticket = Ticket(
            cluster="c", run="r1", action=action, leg=leg, token=token or self.token, host=host or target,
            target=target, plan=self.plan.digest(), playbook="", digest="", steps=steps,
        )  # fmt: skip
        self.oracle.see(Effect(self.now, host or target, action, step, token or self.token, kind, ticket))

    def work(self, action: str, legs: list[tuple[str, str]]) -> None:
        for number, (step, host) in enumerate(legs):
            self.effect(action, step, "begin", number, host)
            self.effect(action, step, "end", number, host)

    def prepared(self) -> Told:
        for name in self.plan.passes["prepare/web"].hosts:
            action = f"prepare/web/{name}"
            self.claim(action)
            self.work(action, [("s.prepare.bits", name)])
            self.move(action, "running", f"host:{name}")
            self.move(action, "done", f"host:{name}", leg=1)
        assert self.oracle.violations == []
        return self


LEGS = [("s.drain.off", "lb"), ("s.upgrade.turn", "")]


def told(policy: Policy | None = None, limit: int = 2) -> Told:
    return Told(plan_of(3, limit=limit, policy=policy))


def test_a_right_run_is_right() -> None:
    here = told().prepared()
    action = "control/web/h1"
    here.claim(action)
    here.move(action, "running", "host:h1")
    here.work(action, LEGS)
    here.move(action, "soaking", "host:h1", leg=2, finished=here.now)
    here.move(action, "done", "coordinator:one", leg=2)
    assert here.oracle.violations == []


def _limit(here: Told) -> None:
    for host in ("h1", "h2", "h3"):
        here.claim(f"control/web/{host}")


def _order(here: Told) -> None:
    here.oracle.actions["prepare/web/h2"] = {"state": "failed", "retry": True}
    here.claim("control/web/h1")


def _hold(here: Told) -> None:
    here.commit("operator:me", "hold", holds__h1={"host": "h1"})
    here.claim("control/web/h1")


def _hold_lifted(here: Told) -> None:
    here.commit("operator:me", "hold", holds__h1={"host": "h1"})
    here.commit("coordinator:one", "release", holds__h1={})


def _pause(here: Told) -> None:
    here.commit("operator:me", "run-paused", record={"plan": here.plan.digest(), "state": "paused"})
    here.claim("control/web/h1")


def _pause_lifted(here: Told) -> None:
    here.commit("operator:me", "run-paused", record={"plan": here.plan.digest(), "state": "paused"})
    here.commit("coordinator:one", "run-resumed", record={"plan": here.plan.digest()})


def _unhealthy(here: Told) -> None:
    for host in ("h2", "h3"):
        ill: dict[str, Any] = {f"health__{host}": {"healthy": False}}
        here.commit("coordinator:one", "unhealthy", **ill)
    here.claim("control/web/h1")


def _slot_freed(here: Told) -> None:
    here.claim("control/web/h1")
    here.move("control/web/h1", "unknown", "host:h1")
    here.move("control/web/h1", "skipped", "coordinator:one")


def _unknown_again(here: Told) -> None:
    here.claim("control/web/h1")
    here.move("control/web/h1", "unknown", "host:h1")
    here.claim("control/web/h1")


def _retry_unasked(here: Told) -> None:
    here.claim("control/web/h1")
    here.move("control/web/h1", "unknown", "host:h1")
    here.move("control/web/h1", "unknown", "coordinator:one", retry=True)


def _skipped_step(here: Told) -> None:
    here.claim("control/web/h1")
    here.move("control/web/h1", "running", "host:h1")
    here.work("control/web/h1", LEGS[:1])
    here.move("control/web/h1", "soaking", "host:h1", leg=2, finished=here.now)


def _soak(here: Told) -> None:
    here.oracle.policy = replace(here.oracle.policy, soak=10.0)
    here.claim("control/web/h1")
    here.move("control/web/h1", "running", "host:h1")
    here.work("control/web/h1", LEGS)
    here.move("control/web/h1", "soaking", "host:h1", leg=2, finished=here.now)
    here.now += 9.0
    here.move("control/web/h1", "done", "coordinator:one", leg=2)


def _again(here: Told) -> None:
    here.claim("control/web/h1")
    here.work("control/web/h1", LEGS[:1])
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")


def _failed_again(here: Told) -> None:
    here.claim("control/web/h1")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
    here.effect("control/web/h1", "s.drain.off", "fail", 0, "lb")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")


def _never_claimed(here: Told) -> None:
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb", token=99)


def _old_token(here: Told) -> None:
    here.claim("control/web/h1")
    old = here.token
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
    here.effect("control/web/h1", "s.drain.off", "fail", 0, "lb")
    here.move("control/web/h1", "failed", "host:lb")
    here.move("control/web/h1", "failed", "operator:me", retry=True)
    here.claim("control/web/h1")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
    here.effect("control/web/h1", "s.drain.off", "fail", 0, "lb")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb", token=old)


def _two_at_once(here: Told) -> None:
    here.claim("control/web/h1")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
    here.claim("control/web/h2")
    here.effect("control/web/h2", "s.drain.off", "begin", 0, "lb")


def _wrong_host(here: Told) -> None:
    here.claim("control/web/h1")
    here.effect("control/web/h1", "s.drain.off", "begin", 0, "h2")


def _out_of_order(here: Told) -> None:
    here.claim("control/web/h1")
    here.effect("control/web/h1", "s.upgrade.turn", "begin", 1)


def _nobody_told(here: Told) -> None:
    here.token += 1
    key = "underway/c/runs/r1/actions/control/web/h1"
    record = {"state": "claimed", "token": here.token, "claimed": here.now}
    here.oracle.judge({key: msgspec.json.encode({"s": 1, "v": record})})


def _outage(here: Told) -> None:
    here.oracle.policy = replace(here.oracle.policy, outage_budget={"s": 5.0})
    here.commit("coordinator:one", outages={"seconds": {"s": 5.1}})
    here.claim("control/web/h1")


def _budget(here: Told) -> None:
    here.claim("control/web/h2")
    here.move("control/web/h2", "failed", "host:h2")
    here.claim("control/web/h1")


def _window(here: Told) -> None:
    open_ = Window(days=(4,), start=479, end=480, text="closes now")
    here.oracle.policy = replace(here.oracle.policy, windows=(open_,))
    here.claim("control/web/h1")


def _early_end(here: Told) -> None:
    here.commit("coordinator:one", "run-done", record={"plan": here.plan.digest(), "state": "done"})


def _left_done(here: Told) -> None:
    here.claim("prepare/web/h1")


def _policy(here: Told) -> None:
    here.commit("coordinator:one", "policy", policy={"policy": {"failure_budget": 3}, "by": "", "at": 1.0})


WRONG: dict[str, tuple[str, Callable[[Told], None]]] = {
    "limit": ("P1", _limit), "order": ("P2", _order), "hold": ("P5", _hold), "hold lifted": ("I11", _hold_lifted),
    "pause": ("P5", _pause), "pause lifted": ("P5", _pause_lifted), "unhealthy hosts": ("P1", _unhealthy),
    "slot freed": ("P7", _slot_freed), "unknown tried again": ("I10", _unknown_again),
    "retry unasked": ("I10", _retry_unasked), "step skipped": ("I6", _skipped_step), "soak cut short": ("P7", _soak),
    "step again": ("P3", _again), "failed step again": ("P3", _failed_again), "never claimed": ("I3", _never_claimed),
    "old token": ("P4", _old_token), "two at once": ("I4", _two_at_once), "another host": ("P8", _wrong_host),
    "out of order": ("I6", _out_of_order), "nobody told": ("I13", _nobody_told), "outage budget": ("P6", _outage),
    "failure budget": ("P6", _budget), "window": ("P6", _window), "done too early": ("P2", _early_end),
    "done work claimed": ("I12", _left_done), "policy changed": ("I7", _policy),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(name: str) -> None:
    promise, wrong = WRONG[name]
    here = told().prepared()
    wrong(here)
    assert [text for text in here.oracle.violations if text.startswith(promise)], here.oracle.violations


def test_an_interrupted_step_runs_again_only_with_a_reason() -> None:
    for idempotent, answer, right in ((True, "", True), (False, "", False), (False, "rerun", True)):
        plan = plan_of(3, limit=2)
        steps = {name: replace(step, idempotent=idempotent) for name, step in plan.steps.items()}
        here = Told(replace(plan, steps=steps)).prepared()
        here.claim("control/web/h1")
        here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
        here.effect("control/web/h1", "s.drain.off", "cut", 0, "lb")
        here.move("control/web/h1", "unknown", "host:lb")
        said = {"answers": {"s.drain.off": answer}} if answer else {}
        here.move("control/web/h1", "unknown", "operator:me", retry=True, **said)
        here.claim("control/web/h1", **said)
        here.effect("control/web/h1", "s.drain.off", "begin", 0, "lb")
        assert (here.oracle.violations == []) is right, (idempotent, answer, here.oracle.violations)


def test_a_big_plan_is_simulated() -> None:
    """Its plan is kept in several pieces, which are no records."""
    plan = plan_of(600)
    only = replace(
        plan, stages=plan.stages[:1], policy=Policy(prepare_limit=Limit(count=600)), settings={"much": "x" * 300_000}
    )
    assert len(canonical(only)) > 256 * 1024
    found = simulate(only, Scenario(), 1)
    assert (found.ended, found.actions) == ("done", 600)


def test_faults_of_the_store_are_counted() -> None:
    world = World(1)
    store = FaultyStore(MemoryStore(), world, Trouble(kill_after=1.0))
    with pytest.raises(Killed):
        store.commit({}, {"a": b"1"})
    assert world.happened["kill-after-commit"] == 1
    assert store.get("a") is not None
