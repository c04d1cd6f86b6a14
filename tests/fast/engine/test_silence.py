"""How long a host may be out of reach: as long as its reboot may take, where it is believed to be at one."""

from __future__ import annotations

import pytest

from fast.engine.made import RUN, Bench, plan_of
from underway.core.model.base import replace
from underway.core.model.event import HostLine, HostLineKind
from underway.core.model.plan import Leg, Plan
from underway.core.model.service import Step
from underway.engine.outcomes import PATIENCE, Patience
from underway.engine.silence import patience
from underway.executors.base import Report

IDS = ("s.upgrade.bits", "s.upgrade.reboot", "s.upgrade.tidy")
ACTION = "control/web/h1"
LONG = Patience(600.0, reboots=True)


def rebooting(timeout: float = 600.0) -> Plan:
    """Hosts reboot in the middle of the last leg of ``control/web``."""
    plan = plan_of(2)
    steps = {
        name: Step(
            id=name, name=name, service="s", phase="upgrade", tasks=(), reboot=name.endswith("reboot"), timeout=timeout
        )
        for name in IDS
    }
    work = plan.passes["control/web"]
    return replace(
        plan,
        steps={**plan.steps, **steps},
        passes={**plan.passes, work.id: replace(work, legs=(work.legs[0], Leg(steps=IDS)))},
    )


def line(seq: int, kind: HostLineKind, step: str, rc: int = 0, token: int = 7) -> HostLine:
    return HostLine(seq=seq, at=1.0, mono=1.0, kind=kind, run="r1", action=ACTION, leg=1, token=token, step=step, rc=rc)


BITS = (line(1, "begin", IDS[0]), line(2, "end", IDS[0]))
REBOOT = (*BITS, line(3, "begin", IDS[1]))
BACK = (*REBOOT, line(4, "end", IDS[1]))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((), Patience()),
        (BITS[:1], LONG),
        (BITS, LONG),
        (REBOOT, LONG),
        ((*REBOOT, line(4, "end", IDS[1], rc=1)), LONG),
        (BACK, Patience()),
        ((*BACK, line(5, "begin", IDS[2])), Patience()),
        ((*REBOOT, line(4, "skip", IDS[1])), Patience()),
    ],
    ids=["far from it", "the step before", "about to", "at it", "retried", "back", "behind it", "left out"],
)
def test_where_the_host_may_be(seen: tuple[HostLine, ...], expected: Patience) -> None:
    said = Report(run="r1", action=ACTION, leg=1, token=7, host="h1", kind="unreachable")
    assert patience(rebooting(), said, seen) == expected
    assert patience(rebooting(), replace_leg(said, 0), seen) == Patience(), "another leg is another machine's"
    other = tuple(replace(one, run="r0") for one in seen)
    assert patience(rebooting(), said, other) == Patience(), "another run's steps are not this one's"


def replace_leg(said: Report, leg: int) -> Report:
    return Report(run=said.run, action=said.action, leg=leg, token=said.token, host=said.host, kind=said.kind)


def test_a_short_time_for_a_reboot_is_not_shorter_than_for_silence() -> None:
    said = Report(run="r1", action=ACTION, leg=1, token=7, host="h1", kind="unreachable")
    assert patience(rebooting(5.0), said, REBOOT) == Patience(PATIENCE, reboots=True)


def test_a_host_that_reboots_keeps_its_slot_and_is_told_of_as_what_it_is() -> None:
    """Down for longer than any silence, it is not unknown; after the step's time it is, and nobody takes its slot."""
    here = Bench(rebooting(), at_once=lambda order: ("accepted", "finished") if order.leg == 0 else ("accepted",))
    here.settle()
    order = here.script.orders[-1]
    assert (order.action, order.leg) == (ACTION, 1)
    lines = tuple(replace(one, token=order.token) for one in REBOOT)
    here.script.say(order, "progress")
    here.script.inbox[-1] = Report(
        run=order.run, action=order.action, leg=1, token=order.token, host="h1", kind="progress", lines=lines
    )
    here.settle()

    def silent(seconds: float) -> str:
        here.script.say(order, "unreachable", text="no route")
        here.settle()
        here.clock.advance(seconds)
        here.script.say(order, "unreachable", text="no route")
        here.settle()
        return here.states()[ACTION]

    assert silent(PATIENCE * 3) == "running"
    told = [event.text for event in here.repository.events(RUN) if event.kind == "note"]
    assert any(text.startswith("h1 reboots, and was not reached for") and "after 600 s" in text for text in told), told
    assert silent(300.0) == "unknown"
    assert "control/web/h2" not in here.states(), "the slot is used"
    here.script.say(order, "accepted")
    here.settle()
    assert here.states()[ACTION] == "running"
