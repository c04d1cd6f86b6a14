"""How a drive ends: done, halted, waits, aborted, stopped, interrupted; and what it does while the store is away."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

import pytest

from fast.engine.made import Bench, plan_of, works
from underway.core.model.policy import Policy
from underway.engine.coordinator import Tick
from underway.engine.drive import STORE_PATIENCE, End, Interrupts, drive
from underway.errors import StoreUnavailable
from underway.executors.base import Order, ReportKind
from underway.store.memory import MemoryStore


def run(
    here: Bench, interrupts: Interrupts | None = None, linger: bool = False, most: int = 500
) -> tuple[End, list[Tick]]:
    seen: list[Tick] = []

    def show(tick: Tick) -> None:
        seen.append(tick)
        assert len(seen) < most, "it never ends"

    return drive(here.coordinator, here.clock, show, interrupts or Interrupts(), linger), seen


def test_done() -> None:
    end, seen = run(Bench(at_once=works))
    assert end == "done"
    assert seen[-1].decision.finished


def test_halted_ends_only_when_nobody_is_at_work() -> None:
    def slow(order: Order) -> tuple[ReportKind, ...]:
        return ("failed",) if order.action.endswith("/h1") else ("accepted",)

    here = Bench(at_once=slow)
    shown = 0

    def show(tick: Tick) -> None:
        nonlocal shown
        shown += 1
        if shown == 30:
            for order in here.script.orders:
                if not order.action.endswith("/h1"):
                    here.script.say(order, "finished")

    assert drive(here.coordinator, here.clock, show, Interrupts()) == "halted"
    assert shown > 30, "it went although hosts were at work"
    assert sorted(here.states().values()) == ["done", "done", "failed"]


@pytest.mark.parametrize("verb", ["hold", "pause", "approve"])
def test_waits_for_an_operator(verb: str) -> None:
    here = Bench(plan_of(approval=verb == "approve"), at_once=works)
    if verb == "hold":
        here.control.hold("h1", "why")
    elif verb == "pause":
        here.control.pause("why")
    assert run(here)[0] == "waits"


def test_a_soak_is_waited_for() -> None:
    here = Bench(plan_of(policy=Policy(soak=30.0)), at_once=works)
    start = here.clock.now()
    assert run(here)[0] == "done"
    assert here.clock.now() - start >= 3 * 30.0


def test_aborted() -> None:
    here = Bench(at_once=works)
    here.control.abort("enough")
    assert run(here)[0] == "aborted"


def test_lingering_sees_the_word_that_it_waits_for() -> None:
    here = Bench(plan_of(approval=True), at_once=works)
    ticks = 0

    def show(tick: Tick) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 20:
            here.control.approve("control", "go")
        assert ticks < 500

    assert drive(here.coordinator, here.clock, show, Interrupts(), linger=True) == "done"
    assert ticks > 20


def test_ctrl_c_once_lets_those_at_work_finish() -> None:
    here = Bench(plan_of(limit=3))
    interrupts = Interrupts()
    ticks = 0

    def show(tick: Tick) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            interrupts.count = 1
        if ticks == 10:
            for order in here.script.orders:
                here.script.say(order, "finished")
        assert ticks < 100

    assert drive(here.coordinator, here.clock, show, interrupts) == "stopped"
    assert ticks >= 10
    assert here.script.cancelled == []
    assert set(here.states().values()) == {"done"}


def test_ctrl_c_twice_ends_them() -> None:
    here = Bench()
    interrupts = Interrupts()
    ticks = 0

    def show(tick: Tick) -> None:
        nonlocal ticks
        ticks += 1
        interrupts.count = ticks // 3
        assert ticks < 100

    assert drive(here.coordinator, here.clock, show, interrupts) == "interrupted"
    assert len(here.script.cancelled) == 3, "each once"
    assert set(here.states().values()) == {"failed"}


class Down(MemoryStore):
    """Out of reach from one moment to another of the clock that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.looks_to_fail = 0

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        if self.looks_to_fail > 0:
            self.looks_to_fail -= 1
            raise StoreUnavailable("away")
        return super().commit(expect, writes)


def test_a_store_that_comes_back_is_waited_for() -> None:
    store = Down()
    here = Bench(at_once=works, store=store)
    store.looks_to_fail = 20
    assert run(here)[0] == "done"


def test_a_store_that_stays_away_ends_the_drive_after_patience() -> None:
    store = Down()
    here = Bench(at_once=works, store=store)
    store.looks_to_fail = 10**6
    start = here.clock.now()
    with pytest.raises(StoreUnavailable):
        run(here)
    assert here.clock.now() - start >= STORE_PATIENCE


def test_signals_are_counted_and_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.count == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
