"""One coordinator acts, the others stand by; what a stale one writes is refused (P4, TRUST.md F5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fast.engine.made import RUN, Bench, works
from underway.app.process import gone, identity
from underway.core.model.base import replace
from underway.core.model.event import Event
from underway.core.model.state import Leader
from underway.engine.coordinator import Coordinator
from underway.engine.drive import ended
from underway.engine.leadership import LEASE, RENEW, Leadership
from underway.errors import Superseded
from underway.records.change import Change
from underway.records.repository import Repository


def leadership(bench: Bench, name: str, dead: Callable[[Leader], bool] = lambda leader: False) -> Leadership:
    return Leadership(Repository(bench.store, "c"), RUN, name, bench.clock, f"process of {name}", dead)


def coordinator(bench: Bench, name: str) -> tuple[Coordinator, Leadership]:
    part = leadership(bench, name)
    return bench.process(name=name, leadership=part), part


def test_the_first_leads_and_the_second_stands_by() -> None:
    bench = Bench()
    one, two = coordinator(bench, "one")[0], coordinator(bench, "two")[0]
    assert one.tick().leader == ""
    orders = len(bench.script.orders)
    assert orders > 0
    before = bench.store.list("").revision
    seen = two.tick()
    assert seen.leader == "one" and seen.decision is not None and not seen.changed
    assert bench.store.list("").revision == before and len(bench.script.orders) == orders


def test_one_that_stands_by_takes_over_when_the_leader_is_silent_for_its_lease_and_does_all_again() -> None:
    bench = Bench()
    one, two = coordinator(bench, "one")[0], coordinator(bench, "two")[0]
    one.tick()
    two.tick()
    handed_over = [(order.action, order.token) for order in bench.script.orders]
    bench.clock.advance(LEASE - 0.1)
    assert two.tick().leader == "one"
    bench.clock.advance(0.2)
    assert two.tick().leader == ""
    assert [(order.action, order.token) for order in bench.script.orders[len(handed_over) :]] == handed_over
    told = [entry.text for entry in bench.repository.events(RUN) if entry.kind == "note"]
    assert told == ["coordinator two leads now; one is silent or gone"]


def test_a_leader_that_renews_is_never_taken_over() -> None:
    bench = Bench()
    one, two = coordinator(bench, "one")[0], coordinator(bench, "two")[0]
    for _ in range(20):
        assert one.tick().leader == ""
        assert two.tick().leader == "one"
        bench.clock.advance(RENEW)


def test_a_leader_that_slept_writes_nothing_and_stands_by() -> None:
    """Stopped (SIGSTOP, a suspended machine) right after it asked whether it leads: its write is the first to know."""
    bench = Bench(at_once=works)
    one, part = coordinator(bench, "one")
    two, other = coordinator(bench, "two")
    assert part.lead() and not other.lead()
    fence = part.fence
    bench.clock.advance(LEASE + 1)
    assert other.lead()
    snapshot = bench.repository.snapshot(RUN)
    event = Event(at=1.0, kind="note", actor="coordinator:one", text="late")
    with pytest.raises(Superseded):
        bench.repository.commit(Change(run=RUN, events=(event,)), snapshot, fence)
    part._renewed = bench.clock.monotonic()  # it believes that it has just renewed
    revision = bench.store.list("").revision
    assert one.tick().leader == "another coordinator"
    assert bench.store.list("").revision == revision
    assert one.tick().leader == "two"
    bench.settle(two)
    assert set(bench.states().values()) <= {"done", "soaking"}


def test_terms_only_grow_and_a_resigned_leader_is_followed_at_once() -> None:
    bench = Bench()
    parts = [leadership(bench, name) for name in ("one", "two", "one")]
    terms = []
    for part in parts:
        assert part.lead()
        found, revision = bench.repository.leader(RUN)
        assert found is not None and revision == part.fence
        terms.append(found.term)
        part.resign()
        part.resign()
        assert part.fence is None
    assert terms == [1, 2, 3]


def test_a_leader_whose_process_is_seen_to_be_gone_is_followed_at_once() -> None:
    bench = Bench()
    assert leadership(bench, "one").lead()
    assert not leadership(bench, "two").lead()
    assert leadership(bench, "two", dead=lambda leader: leader.process == "process of one").lead()


def test_its_own_word_of_a_write_whose_outcome_it_never_learnt_does_not_keep_it_out() -> None:
    bench = Bench()
    first = leadership(bench, "one")
    assert first.lead()
    first.lost()
    assert first.lead()


def test_ctrl_c_ends_one_that_stands_by_and_touches_no_host() -> None:
    bench = Bench()
    coordinator(bench, "one")[0].tick()
    two, _ = coordinator(bench, "two")
    tick = two.tick()
    assert ended(tick, stopping=False, cancelled=False) is None
    assert ended(tick, stopping=True, cancelled=False) == "stopped"
    two.cancel_all()
    assert bench.script.cancelled == []


def test_a_process_is_known_to_be_gone_only_where_that_can_be_seen(tmp_path: Path) -> None:
    own = Leader(name="x", term=1, process=identity())
    assert own.process.count("/") == 4
    assert not gone(own)
    machine, boot, space, _, start = own.process.split("/")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert gone(replace(own, process=f"{machine}/{boot}/{space}/{child}/{start}"))
    assert gone(replace(own, process=f"{machine}/{boot}/{space}/{os.getpid()}/1"))  # its number was used again
    assert gone(replace(own, process=f"{machine}/another-boot/{space}/{os.getpid()}/{start}"))
    assert not gone(replace(own, process=f"elsewhere/{boot}/{space}/{child}/{start}"))
    assert not gone(replace(own, process=f"{machine}/{boot}/pid:[1]/{child}/{start}"))
    assert not gone(replace(own, process="")) and not gone(replace(own, process="a/b/c"))
