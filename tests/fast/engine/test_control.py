"""The verbs: each is one transaction, told of, takes effect once, and changes nothing where it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from fast.engine.made import RUN, Bench, plan_of, works
from underway.core.model.base import decode, replace
from underway.core.model.cluster import Probe
from underway.core.model.plan import Leg, Plan, Stage
from underway.core.model.policy import Limit, Policy
from underway.core.model.state import ActionRecord, Machine
from underway.core.model.ticket import Ticket
from underway.core.outlook import host_states
from underway.engine.clock import ManualClock
from underway.engine.control import Control
from underway.engine.measure import HostAnswer, Measurement
from underway.errors import InputError, Refused
from underway.executors.base import Order, ReportKind
from underway.store.memory import MemoryStore


class Counted(MemoryStore):
    """Counts commits that succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        found = super().commit(expect, writes)
        self.commits += 1
        return found


def bench(plan: Plan | None = None, at_once: Callable[[Order], tuple[ReportKind, ...]] | None = None) -> Bench:
    return Bench(plan or plan_of(policy=Policy(outage_budget={"s": 5.0})), at_once, store=Counted())


def fails(order: Order) -> tuple[ReportKind, ...]:
    return ("accepted", "failed") if order.action == "control/web/h1" and order.leg == 1 else works(order)


def failed() -> Bench:
    found = bench(at_once=fails)
    found.settle()
    assert found.states()["control/web/h1"] == "failed"
    return found


Verb = Callable[[Control], object]
ONCE: dict[str, tuple[Verb, str]] = {
    "pause": (lambda c: c.pause("why"), "run-paused"),
    "abort": (lambda c: c.abort("why"), "run-aborted"),
    "approve": (lambda c: c.approve("control", "why"), "approve"),
    "hold": (lambda c: c.hold("h1", "why"), "hold"),
    "hold all": (lambda c: c.hold("*", "why"), "hold"),
}
EACH: dict[str, tuple[Verb, str]] = {
    "limit": (lambda c: c.limit("web", Limit(count=2), "why"), "policy"),
    "limit of all": (lambda c: c.limit("total", Limit(percent=50), "why"), "policy"),
    "outage budget": (lambda c: c.limit("outage:s", Limit(count=60), "why"), "policy"),
    "skip": (lambda c: c.skip("h1", "why", "prepare/web/h1"), "skipped"),
}


@pytest.mark.parametrize("name", [*ONCE, *EACH])
def test_a_verb_is_one_transaction_that_is_told_of(name: str) -> None:
    verb, kind = {**ONCE, **EACH}[name]
    here = bench()
    assert isinstance(here.store, Counted)
    before, serial = here.store.commits, here.repository.snapshot(RUN).serial
    verb(here.control)
    assert here.store.commits == before + 1
    last = here.repository.events(RUN)[-1]
    assert (last.kind, last.actor) == (kind, "operator:me")
    assert "why" in last.text
    assert here.repository.snapshot(RUN).serial > serial, "a decision on an older look must not be committed"
    assert here.repository.verify()[1] == []


@pytest.mark.parametrize("name", ONCE)
def test_said_twice_it_changes_nothing_more(name: str) -> None:
    here = bench()
    assert isinstance(here.store, Counted)
    ONCE[name][0](here.control)
    before = here.store.commits
    ONCE[name][0](here.control)
    assert here.store.commits == before


REFUSED: dict[str, tuple[Verb, str]] = {
    "release of what is not held": (lambda c: c.release("h1", ""), "h1 is not held"),
    "hold of nobody": (lambda c: c.hold("h9", ""), "no host 'h9'"),
    "retry of what did not fail": (lambda c: c.retry("h1", ""), "no failed or unknown work"),
    "approval of no stage": (lambda c: c.approve("controll"), "no stage 'controll'"),
    "limit of nothing": (lambda c: c.limit("wbe", Limit(count=1), ""), "no role, group or limit 'wbe'"),
    "a percentage of none": (lambda c: c.limit("web", Limit(percent=10), ""), "rounds down to none"),
    "a percentage of failures": (lambda c: c.limit("budget", Limit(percent=50), ""), "number of hosts"),
    "a percentage of seconds": (lambda c: c.limit("outage:s", Limit(percent=50), ""), "number of seconds"),
    "an outage budget that is none": (lambda c: c.limit("outage:t", Limit(count=5), ""), "outage:t"),
    "skip of no work": (lambda c: c.skip("lb", ""), "no failed, unknown or pending work"),
    "finalize without an end": (lambda c: c.finalize(), "no point of no return"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_verb_changes_nothing(name: str) -> None:
    verb, words = REFUSED[name]
    here = bench()
    assert isinstance(here.store, Counted)
    before = here.store.commits
    with pytest.raises((InputError, Refused), match=words):
        verb(here.control)
    assert here.store.commits == before


def test_after_the_end_nothing_resumes() -> None:
    here = bench()
    here.control.abort("enough")
    with pytest.raises(Refused, match="aborted"):
        here.control.resume("no")
    with pytest.raises(Refused, match="aborted"):
        here.control.pause("no")


def test_a_pause_is_heeded_before_the_next_grant() -> None:
    here = bench(at_once=works)
    here.control.pause("wait")
    here.settle()
    assert here.states() == {}
    here.control.resume("go")
    here.settle()
    assert set(here.states().values()) == {"done"}


def test_retry_goes_on_at_the_leg_that_failed() -> None:
    here = failed()
    assert here.control.retry("h1", "repaired") == ["control/web/h1"]
    record = here.repository.snapshot(RUN).actions["control/web/h1"]
    assert (record.state, record.retry, record.leg) == ("failed", True, 1)
    with pytest.raises(InputError, match="no failed or unknown work"):
        here.control.retry("h1", "again")
    here.script.at_once = works
    here.settle()
    assert set(here.states().values()) == {"done"}
    again = [order for order in here.script.orders if order.action == "control/web/h1"]
    assert [order.leg for order in again] == [0, 1, 1]
    assert again[2].token > again[1].token


def test_an_interrupted_step_wants_an_answer_and_the_answer_is_for_it_alone() -> None:
    here = bench()
    here.settle()
    order = here.script.orders[0]
    here.script.say(order, "unknown", step="s.prepare.bits")
    here.settle()
    host = order.host.name
    with pytest.raises(InputError, match="--rerun"):
        here.control.retry(host, "")
    here.control.retry(host, "looked", "rerun")
    here.settle()
    record = here.repository.snapshot(RUN).actions[order.action]
    assert (record.state, record.answers) == ("claimed", {"s.prepare.bits": "rerun"})
    later = next(found for found in reversed(here.script.orders) if found.action == order.action)
    here.script.say(later, "failed", step="")
    here.settle()
    here.control.retry(host, "looked again")
    assert here.repository.snapshot(RUN).actions[order.action].answers == {}


class Probes:
    """Answers of hosts' probes, as the test sets them."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.healthy = clock, True

    def look(self, now: float, actions: Mapping[str, ActionRecord]) -> Measurement:
        return Measurement(hosts={"h1": HostAnswer(self.healthy, now - 1, now, "asked")})

    def close(self) -> None:
        """Nothing is held."""


def test_work_of_which_only_the_gate_failed_is_looked_at_again() -> None:
    probe = Probe(name="p", kind="tcp", host="h1", address="127.0.0.1:1")
    plan = replace(plan_of(1, policy=Policy(health_timeout=30.0)), probes={"p": probe})
    here = bench(plan)
    probes = here.measure = Probes(here.clock)
    process = here.process()
    for _ in range(4):  # prepare, then the two legs
        here.settle(process)
        if here.script.orders:
            here.script.say(here.script.orders[-1], "finished")
    probes.healthy = False
    here.settle(process)
    here.clock.advance(60)
    here.settle(process)
    record = here.repository.snapshot(RUN).actions["control/web/h1"]
    assert (record.state, record.leg) == ("failed", 2)
    orders = len(here.script.orders)
    here.control.retry("h1", "repaired")
    probes.healthy = True
    here.clock.advance(2)
    here.settle(process)
    assert here.states()["control/web/h1"] == "done"
    assert len(here.script.orders) == orders, "its steps had all happened: none is done again"


def test_skip_lets_later_work_begin() -> None:
    here = failed()
    here.control.skip("h1", "will be thrown away")
    here.settle()
    assert here.states()["control/web/h1"] == "skipped"
    assert here.repository.snapshot(RUN).run.state == "done"


def test_finalize_waits_for_every_host() -> None:
    plan = plan_of(approval=True)
    stages = (plan.stages[0], replace(plan.stages[1], point_of_no_return=True))
    here = bench(replace(plan, stages=stages))
    with pytest.raises(Refused, match="h1"):
        here.control.finalize("now")


def test_hosts_are_upgraded_before_a_finalize_that_restarts_them() -> None:
    """A rolling pass of the point of no return uses slots and gates; it is not what brings a host to the release."""
    plan = plan_of(approval=False)
    again = replace(plan.passes["control/web"], id="finalize/web", stage="finalize")
    last = Stage(kind="finalize", passes=(again.id,), approval=True, point_of_no_return=True)
    here = bench(replace(plan, stages=(*plan.stages, last), passes={**plan.passes, again.id: again}), works)
    with pytest.raises(Refused, match="h1"):
        here.control.finalize("too early")
    here.settle()
    seen = here.repository.snapshot(RUN)
    assert {host: record.release for host, record in here.repository.hosts().items()} == dict.fromkeys(
        ("h1", "h2", "h3"), "2"
    )
    assert {host_states(here.plan, seen)[host] for host in ("h1", "h2", "h3")} == {"upgraded"}
    here.control.finalize("now")
    here.settle()
    assert here.repository.snapshot(RUN).run.state == "done"
    assert here.kinds().count("claimed") == 9, "prepare, control and finalize on three hosts"


# --- replace --------------------------------------------------------------------------------------------------------


def dead_at_work() -> Bench:
    """h1 is done with prepare, and silent in its rolling pass until it is called unknown."""
    here = bench(
        at_once=lambda order: works(order) if order.host.name != "h1" or order.action != "control/web/h1" else ()
    )
    here.settle()
    (order,) = [order for order in here.script.orders if order.action == "control/web/h1" and order.leg == 1]
    here.script.say(order, "unreachable", text="no route")
    here.settle()
    here.clock.advance(200)
    here.script.say(order, "unreachable", text="no route")
    here.settle()
    assert here.states()["control/web/h1"] == "unknown"
    return here


def test_replace_voids_what_the_machine_had_begun_and_ends_the_halt() -> None:
    here = dead_at_work()
    assert here.repository.snapshot(RUN).run.reason.startswith("halted")
    before = {action: record.token for action, record in here.repository.snapshot(RUN).actions.items()}
    machine, found = here.control.replace("h1", "mainboard")
    assert (machine.host, machine.number, machine.base, machine.by) == ("h1", 1, 1_000_000, "me")
    assert list(found.again) == ["prepare/web/h1", "control/web/h1"]
    seen = here.repository.snapshot(RUN)
    for action in found.again:
        record = seen.actions[action]
        assert (record.state, record.leg, record.voided, record.again) == ("pending", 0, before[action], True)
    here.script.at_once = works
    here.settle()
    assert set(here.states().values()) == {"done"}
    late = [order for order in here.script.orders if order.action == "control/web/h1"]
    assert [decode(order.ticket, Ticket).voided for order in late if order.token > before["control/web/h1"]] == [
        before["control/web/h1"]
    ] * 2
    assert [decode(order.ticket, Ticket).base for order in late[-2:]] == [0, 1_000_000], "the balancer is the same one"
    texts = [entry.text for entry in here.repository.events(RUN) if entry.kind == "replaced"]
    assert texts == [
        "h1 died for good, another machine stands in its place: prepare/web/h1, control/web/h1 to be done again there: "
        "mainboard"
    ]
    assert here.repository.hosts()["h1"].release == "2"
    assert here.repository.verify()[1] == []


def test_a_late_report_of_the_machine_before_changes_nothing() -> None:
    here = dead_at_work()
    (old,) = [order for order in here.script.orders if order.action == "control/web/h1" and order.leg == 1]
    here.control.replace("h1", "mainboard")
    for kind in ("accepted", "finished", "failed", "unknown"):
        here.script.say(old, kind)
    here.coordinator.stop_granting()
    here.settle()
    assert here.states()["control/web/h1"] == "pending"


def test_a_host_that_was_done_is_on_the_old_release_again() -> None:
    here = bench(at_once=lambda order: () if order.action == "control/web/h3" else works(order))
    here.settle()
    assert here.repository.hosts()["h1"].release == "2"
    here.control.replace("h1", "mainboard")
    assert here.repository.hosts()["h1"].release == "1"
    assert here.control.check_replace("h1", rerun=False) == 1_000_000


def test_said_again_before_the_new_machine_did_anything_it_changes_nothing() -> None:
    here = dead_at_work()
    assert isinstance(here.store, Counted)
    first, _ = here.control.replace("h1", "mainboard")
    commits = here.store.commits
    second, found = here.control.replace("h1", "once more")
    assert second == first and found.again == {}
    assert here.store.commits == commits
    here.script.at_once = lambda order: ("accepted", "failed") if order.host.name == "h1" else works(order)
    here.settle()
    third, _ = here.control.replace("h1", "the second died, too")
    assert (third.number, third.base) == (2, 2_000_000)


def test_replace_is_refused_while_something_may_be_at_work_there() -> None:
    here = bench(at_once=lambda order: ("accepted",))
    here.settle()
    assert isinstance(here.store, Counted)
    commits = here.store.commits
    with pytest.raises(Refused, match=r"h1 is believed to be at work on prepare/web/h1 since .* called unknown"):
        here.control.replace("h1", "too early")
    assert here.store.commits == commits
    through = bench(at_once=lambda order: works(order) if order.leg == 0 and order.host.name != "lb" else ("accepted",))
    through.settle()
    with pytest.raises(Refused, match="lb does a part of control/web/h1, which is at work"):
        through.control.replace("lb", "too early")


def test_replace_is_refused_when_the_run_is_over() -> None:
    here = bench(at_once=works)
    here.settle()
    with pytest.raises(Refused, match=r"run r1 is done: nothing of it is done again"):
        here.control.replace("h1", "too late")


def late_plan(shared_idempotent: bool = True) -> Plan:
    """The plan of the bench with once-only work at its beginning, and a point of no return at its end."""
    plan = plan_of(2)
    step = replace(plan.steps["s.prepare.bits"], id="s.expand.add", idempotent=shared_idempotent)
    last = replace(plan.steps["s.prepare.bits"], id="s.finalize.pin")
    expand = replace(
        plan.passes["prepare/web"],
        id="expand/s",
        stage="expand",
        hosts=("h1",),
        legs=(Leg(steps=(step.id,)),),
        once=True,
    )
    pin = replace(plan.passes["prepare/web"], id="finalize/web", stage="finalize", legs=(Leg(steps=(last.id,)),))
    return replace(
        plan,
        steps={**plan.steps, step.id: step, last.id: last},
        passes={expand.id: expand, **plan.passes, pin.id: pin},
        stages=(
            Stage(kind="expand", passes=(expand.id,)),
            *plan.stages,
            Stage(kind="finalize", passes=(pin.id,), approval=True, point_of_no_return=True),
        ),
    )


def test_what_was_done_once_for_all_stays_done() -> None:
    here = bench(late_plan(), at_once=works)
    here.settle()
    _, found = here.control.replace("h1", "mainboard")
    assert found.stays == ("expand/s/h1",)
    assert here.states()["expand/s/h1"] == "done"
    begun = len(here.script.orders)
    here.settle()
    assert [order.action for order in here.script.orders[begun:]] == ["prepare/web/h1", *["control/web/h1"] * 2]


@pytest.mark.parametrize("idempotent", [True, False])
def test_once_only_work_that_was_cut_off_needs_a_second_word_unless_it_is_idempotent(idempotent: bool) -> None:
    here = bench(late_plan(idempotent), at_once=lambda order: ("accepted", "failed"))
    here.settle()
    assert here.states() == {"expand/s/h1": "failed"}
    if not idempotent:
        with pytest.raises(Refused, match=r"s.expand.add may have happened already .*'underway replace h1 --rerun'"):
            here.control.replace("h1", "mainboard")
    _, found = here.control.replace("h1", "mainboard", rerun=not idempotent)
    assert list(found.again) == ["expand/s/h1"]
    assert here.states() == {"expand/s/h1": "pending"}


def test_past_the_point_of_no_return_the_word_is_another_one() -> None:
    here = bench(late_plan(), at_once=works)
    here.settle()
    here.control.finalize("all well")
    here.script.at_once = lambda order: ("accepted", "failed")
    here.settle()
    assert "failed" in here.states().values()
    with pytest.raises(Refused, match=r"the point of no return is passed: .*install the new one with 2, .*skip h1"):
        here.control.replace("h1", "mainboard")


def test_others_whose_next_part_was_to_be_done_there_are_named() -> None:
    here = bench(at_once=lambda order: ("accepted", "failed") if order.host.name == "lb" else works(order))
    here.settle()
    assert here.states()["control/web/h1"] == "failed"
    machine, found = here.control.replace("lb", "power supply")
    assert (machine.host, found.again, found.stranded) == ("lb", {}, ("h1",))
    here.control.retry("h1", "lb is there again")
    here.script.at_once = works
    here.settle()
    first = next(order for order in here.script.orders[::-1] if order.action == "control/web/h1" and order.leg == 0)
    assert decode(first.ticket, Ticket).base == machine.base


def test_a_ticket_is_for_the_machine_that_stood_there_when_it_was_claimed() -> None:
    machine = Machine(host="h1", number=2, by="me", at=0.0, reason="", run=RUN, serial=7)
    assert [machine.base_for(token) for token in (3, 7, 8)] == [1_000_000, 1_000_000, 2_000_000]
