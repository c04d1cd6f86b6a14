"""The tick: killed between any two commits it ends the same, it hands over again, forgets no report, and stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from fast.engine.made import RUN, Bench, plan_of, works
from underway.core.model.policy import Limit, Policy
from underway.engine.outcomes import PATIENCE
from underway.errors import StoreUnavailable
from underway.executors.base import Order, ReportKind
from underway.records.keys import Keys
from underway.sim.faults import Killed
from underway.sim.stage import Parts, Stage
from underway.sim.through import Through
from underway.store.base import Listing, Store
from underway.store.memory import MemoryStore


class KilledAt:
    """Ends the process before or after its ``number``-th commit; every process of the run counts on."""

    def __init__(self, number: int, before: bool) -> None:
        self.number, self.before, self.commits = number, before, 0
        self.happened = False

    def wrap(self, store: Store) -> Store:
        return _Killing(store, self)


class _Killing(Through):
    def __init__(self, store: Store, at: KilledAt) -> None:
        super().__init__(store)
        self._at = at

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        self._at.commits += 1
        here = self._at.commits == self._at.number
        self._at.happened |= here
        if here and self._at.before:
            raise Killed
        found = self._store.commit(expect, writes)
        if here:
            raise Killed
        return found


def ends(at: KilledAt) -> tuple[dict[str, str], Counter[tuple[str, str, str]], int]:
    """States of all actions, how often each step was begun and ended, and the kills."""
    stage = Stage(
        plan_of(3, limit=2), seed=1, durations=lambda *_: 5.0, failures=lambda *_: False, parts=Parts(wrap=at.wrap)
    )
    assert stage.world.run(stage.finished, 5000)
    assert stage.oracle.violations == []
    assert stage.repository.verify()[1] == []
    states = {name: record["state"] for name, record in stage.oracle.actions.items()}
    did = Counter((effect.action, effect.step, str(effect.kind)) for effect in stage.effects)
    return states, did, stage.coordinators[0].kills


def test_killed_around_any_commit_it_ends_the_same() -> None:
    whole = KilledAt(0, before=True)
    states, did, kills = ends(whole)
    assert (kills, set(states.values())) == (0, {"done"})
    assert set(did.values()) == {1}
    assert whole.commits >= 15
    number, points = 1, 0
    while number <= 4 * whole.commits:
        for before in (True, False):
            at = KilledAt(number, before)
            found = ends(at)
            if not at.happened:
                break
            points += 1
            assert found == (states, did, 1), f"killed {'before' if before else 'after'} commit {number}"
        else:
            number += 1
            continue
        break
    assert points >= 30


def test_a_new_process_hands_the_same_ticket_over_again() -> None:
    here = Bench()
    here.settle()
    first = [order.ticket for order in here.script.orders]
    assert len(first) == 3
    here.settle(here.process())
    assert [order.ticket for order in here.script.orders[3:]] == first


def test_one_process_hands_an_order_over_once_also_when_the_host_is_busy() -> None:
    here = Bench()
    here.settle()
    for order in list(here.script.orders):
        here.script.say(order, "busy")
    here.settle()
    assert len(here.script.orders) == 3


def test_nothing_is_granted_after_the_word_stop_and_reports_are_still_taken() -> None:
    here = Bench()
    here.settle()
    here.coordinator.stop_granting()
    for order in here.script.orders:
        for kind in works(order):
            here.script.say(order, kind)
    here.settle()
    assert set(here.states().values()) == {"done"}
    assert len(here.script.orders) == 3, "the next stage was not begun"


def test_ctrl_c_twice_cancels_what_is_at_work_and_nothing_else() -> None:
    here = Bench()
    here.settle()
    here.script.say(here.script.orders[0], "finished")
    here.settle()
    here.coordinator.cancel_all()
    assert {order.action for order in here.script.cancelled} == {order.action for order in here.script.orders[1:3]}


class Flaky(MemoryStore):
    """Out of reach while ``down``."""

    down = False

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return super().commit(expect, writes)


def test_reports_survive_a_store_that_is_out_of_reach() -> None:
    store = Flaky()
    here = Bench(store=store)
    here.settle()
    for order in here.script.orders:
        here.script.say(order, "finished")
    store.down = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            here.coordinator.tick()
    store.down = False
    here.settle()
    assert {state for name, state in here.states().items() if name.startswith("prepare")} == {"done"}


def test_reports_of_another_run_or_another_token_change_nothing() -> None:
    here = Bench()
    here.settle()
    order = here.script.orders[0]
    before = here.repository.snapshot(RUN).actions
    here.script.say(order, "finished")
    (report,) = here.script.inbox
    for wrong in (
        {"run": "other"},
        {"token": report.token + 1},
        {"token": report.token - 1},
        {"action": "prepare/web/h9"},
    ):
        fields = {name: getattr(report, name) for name in report.__dataclass_fields__} | wrong
        here.script.inbox = [type(report)(**fields)]
        here.settle()
    assert here.repository.snapshot(RUN).actions == before


def test_silence_becomes_unknown_and_a_word_lifts_it() -> None:
    here = Bench()
    here.settle()
    order = here.script.orders[0]
    for _ in range(3):
        here.script.say(order, "unreachable")
        here.settle()
        here.clock.advance(100)
    assert here.states()[order.action] == "unknown"
    here.clock.advance(1e6)
    here.settle()
    assert here.states()[order.action] == "unknown", "no timer moves it"
    here.script.say(order, "finished")
    here.settle()
    assert here.states()[order.action] == "done"


def test_what_is_at_work_after_all_is_asked_again_and_a_better_reason_is_kept() -> None:
    """The sign of life may be late, of a machine that is gone: whoever stands there now must be asked."""
    here = Bench()
    here.settle()
    order = here.script.orders[0]
    here.script.say(order, "refused", text="is not enrolled")  # before it was taken: failed, and nothing else
    here.settle()
    assert here.states()[order.action] == "failed"
    order = here.script.orders[1]
    here.script.say(order, "accepted")
    here.script.say(order, "refused", text="is not enrolled")
    here.script.say(order, "unknown", text="the journal ends at line 0")
    here.settle()
    record = here.repository.snapshot(RUN).actions[order.action]
    assert (record.state, record.reason) == ("unknown", "the journal ends at line 0")
    asked = len(here.script.orders)
    here.script.say(order, "accepted")
    here.settle()
    assert here.states()[order.action] == "running"
    assert [(again.action, again.token) for again in here.script.orders[asked:]] == [(order.action, order.token)]


def test_silence_is_told_long_before_work_is_called_unknown_and_once() -> None:
    here = Bench()
    here.settle()
    order = here.script.orders[0]

    def notes() -> list[str]:
        return [event.text for event in here.repository.events(RUN) if event.kind == "note" and "reached" in event.text]

    for _ in range(8):  # 0 to 35 s
        here.script.say(order, "unreachable", text="no route")
        here.settle()
        here.clock.advance(5)
    host = order.host.name
    assert notes() == [f"{host} cannot be reached for 15 s: no route; its work is called unknown after 120 s"]
    here.script.say(order, "progress")
    here.settle()
    assert notes()[1:] == [f"{host} is reached again"]
    here.script.say(order, "unreachable")
    here.settle()
    here.clock.advance(5)
    here.script.say(order, "progress")
    here.settle()
    assert len(notes()) == 2, "a blink is not told"


def test_a_limit_that_was_lowered_counts_for_the_decision_of_the_same_look() -> None:
    here = Bench(plan_of(4, limit=3), at_once=lambda order: works(order) if order.action.startswith("prepare") else ())
    here.control.limit("web", Limit(count=0), "held")
    here.settle()
    assert not [order for order in here.script.orders if order.action.startswith("control")]
    here.control.limit("web", Limit(count=2), "two")
    here.settle()
    assert len([order for order in here.script.orders if order.action.startswith("control")]) == 2


def test_many_grants_are_committed_in_parts_and_all_are_handed_over() -> None:
    here = Bench(plan_of(100, policy=Policy(prepare_limit=Limit(count=100))))
    here.settle()
    assert len({order.action for order in here.script.orders}) == 100
    assert len({order.token for order in here.script.orders}) == 100


def test_a_failure_halts_and_says_so_once() -> None:
    def one_fails(order: Order) -> tuple[ReportKind, ...]:
        return ("failed",) if order.action == "prepare/web/h1" else works(order)

    here = Bench(at_once=one_fails)
    here.settle()
    for _ in range(5):
        here.coordinator.tick()
    assert here.kinds().count("run-halted") == 1
    here.control.skip("h1", "without it")
    here.settle()
    assert here.repository.snapshot(RUN).run.state == "done"
    assert "run-resumed" in here.kinds()


def test_one_that_leaves_is_not_alive_any_more() -> None:
    here = Bench(at_once=works)
    here.coordinator.tick()
    assert [left > 0 for left in here.store.alive().values()] == [True]
    here.coordinator.close()
    assert [left > 0 for left in here.store.alive().values()] == [False]


def test_an_order_that_an_operator_gave_up_is_taken_back() -> None:
    """A host that nobody waits for any more must not begin when it is reached again, and the others go on."""
    bench = Bench(plan_of(2, limit=1), at_once=lambda order: works(order) if order.target != "h1" else ())
    bench.settle()
    order = next(order for order in bench.script.orders if order.target == "h1")
    for _ in range(2):
        bench.script.say(order, "unreachable", text="no route")
        bench.settle()
        bench.clock.advance(PATIENCE + 1)
    assert bench.states()[order.action] == "unknown" and (RUN, order.action) not in bench.script.withdrawn
    bench.control.skip("h1", "its disk is dead")
    bench.settle()
    assert (RUN, order.action) in bench.script.withdrawn


class Meddling(Through):
    """A store in which an operator holds all hosts just before the commit that ends the run; notes looks after that."""

    def __init__(self, store: Store, hold: Callable[[], object]) -> None:
        super().__init__(store)
        self._hold = hold
        self.tried = self.looked = 0

    def list(self, prefix: str, since: int = 0) -> Listing:
        self.looked += bool(self.tried == 1)
        return self._store.list(prefix, since)

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        if b'"state":"done"' in (writes.get(Keys("c").run(RUN).record) or b""):
            self.tried += 1
            if self.tried == 1:
                self._hold()
        return self._store.commit(expect, writes)


def test_the_end_of_a_run_is_fenced_like_a_grant() -> None:
    """An operator may have said since the look that a host is to do something again: look again before it is over."""
    here = Bench(at_once=works)
    store = Meddling(here.store, lambda: here.control.hold("*", "wait"))
    process = here.process(store)
    for _ in range(5):
        here.settle(process)
        here.clock.advance(3600)
    assert here.repository.snapshot(RUN).run.state == "done"
    assert store.tried == 2 and store.looked > 0
