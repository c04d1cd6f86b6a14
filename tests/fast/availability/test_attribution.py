"""Each outage on the right work, or shared, or unattributed; never guessed (P9)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underway.core.attribution import WorkSpan, attribute, clock_offset, closure, is_own_work, spans
from underway.core.model.base import replace
from underway.core.model.cluster import Host, Probe
from underway.core.model.event import HostLine
from underway.core.model.plan import Leg, Pass, Plan
from underway.core.model.sample import Outage
from underway.core.model.service import Step

VIP = Probe(name="vip", kind="http", service="keystone", every=0.1, timeout=2.0)
BACK = Probe(name="back", kind="http", service="keystone", host="c1", every=0.1, timeout=2.0)
PROBES = {"vip": VIP, "back": BACK}


def outage(start: float, end: float, probe: Probe = VIP, answered: float = 0.0) -> Outage:
    return Outage(
        probe=probe.name,
        service=probe.service,
        host=probe.host,
        start=start,
        end=end,
        errors={"status 503": 3},
        failed=3,
        resolution=probe.every,
        answered=answered,
    )


def work(
    start: float, end: float, host: str, service: str = "keystone", task: str = "restart", on: str = "", step: str = "s"
) -> WorkSpan:
    return WorkSpan(start, end, f"control/p/{host}", on or host, host, service, step, task)


def verdict(found: Outage, *work_spans: WorkSpan, **more: object) -> tuple[str, list[str]]:
    (result,) = attribute([found], work_spans, PROBES, **more)  # type: ignore[arg-type]
    return result.attribution, [cause.host for cause in result.causes]


def test_one_action_at_work_caused_it() -> None:
    assert verdict(outage(5, 6), work(4, 8, "c1")) == ("caused", ["c1"])


def test_nothing_at_work_is_unattributed() -> None:
    assert verdict(outage(5, 6), work(1, 4, "c1"), work(7, 9, "c2")) == ("unattributed", [])
    assert verdict(outage(5, 6)) == ("unattributed", [])


def test_two_alike_are_shared_and_both_named_the_one_it_began_in_first() -> None:
    (found,) = attribute([outage(5, 8)], [work(6, 20, "c2"), work(4, 7, "c1")], PROBES)
    assert (found.attribution, [cause.host for cause in found.causes]) == ("shared", ["c1", "c2"])
    assert [cause.overlap for cause in found.causes] == [2.0, 2.0]


def test_the_same_service_is_preferred_over_another_one() -> None:
    assert verdict(outage(5, 6), work(4, 8, "c1"), work(4, 8, "n7", "nova-compute")) == ("caused", ["c1"])


def test_a_service_that_is_needed_is_preferred_over_an_unrelated_one() -> None:
    needs = {"keystone": ("mariadb",), "mariadb": ("pacemaker",)}
    compute, database = work(4, 8, "n7", "nova-compute"), work(4, 8, "db1", "pacemaker")
    assert verdict(outage(5, 6), compute, database, needs=needs) == ("caused", ["db1"])
    assert verdict(outage(5, 6), compute, database) == ("shared", ["db1", "n7"])
    assert verdict(outage(5, 6), compute, database, work(4, 8, "c1"), needs=needs) == ("caused", ["c1"])


def test_a_front_door_outage_with_one_unrelated_action_at_work_is_put_on_it() -> None:
    """A balancer takes services down that do not need it by name."""
    assert verdict(outage(5, 6), work(4, 8, "lb1", "caddy")) == ("caused", ["lb1"])


def test_a_backend_is_put_on_work_on_its_host_first() -> None:
    assert verdict(outage(5, 6, BACK), work(4, 8, "c1", "nova"), work(4, 8, "c2")) == ("caused", ["c1"])


def test_of_two_actions_on_the_backends_host_its_service_tells_them_apart() -> None:
    nova = WorkSpan(4, 8, "control/q/c1", "c1", "c1", "nova", "s", "t")
    (found,) = attribute([outage(5, 6, BACK)], [work(4, 8, "c1"), nova], PROBES)
    assert [cause.action for cause in found.causes] == ["control/p/c1"]


def test_a_backend_that_is_drained_by_a_balancer_is_put_on_its_own_action() -> None:
    found = attribute([outage(5, 6, BACK)], [work(4, 8, "c1", "caddy", on="lb1")], PROBES)[0]
    assert (found.attribution, found.causes[0].host) == ("caused", "c1")
    assert is_own_work(found)


def test_a_backend_is_never_put_on_unrelated_work_elsewhere() -> None:
    assert verdict(outage(5, 6, BACK), work(4, 8, "n7", "nova-compute")) == ("unattributed", [])
    assert verdict(outage(5, 6, BACK), work(4, 8, "c2")) == ("caused", ["c2"])
    assert not is_own_work(attribute([outage(5, 6, BACK)], [work(4, 8, "c2")], PROBES)[0])


def test_work_that_ended_within_one_interval_before_the_first_bad_sample_counts() -> None:
    assert verdict(outage(5, 6), work(4, 4.95, "c1")) == ("caused", ["c1"])
    assert verdict(outage(5, 6), work(4, 4.85, "c1")) == ("unattributed", [])


def test_work_that_began_after_the_last_bad_sample_does_not_count() -> None:
    assert verdict(outage(5, 6), work(4, 5.5, "c1"), work(5.95, 8, "c2")) == ("caused", ["c1"])


def test_a_question_that_was_cut_off_is_put_on_what_cut_it_off() -> None:
    assert verdict(outage(5, 5.1, answered=6.6), work(6.5, 9, "c1")) == ("caused", ["c1"])
    assert verdict(outage(5, 5.1, answered=6.6), work(6.7, 9, "c1")) == ("unattributed", [])
    assert verdict(outage(5, 5.1, answered=6.6), work(6.5, 9, "c1"), work(4, 6, "c2")) == ("caused", ["c2"])


def test_the_step_and_task_are_those_in_which_it_began() -> None:
    whole = WorkSpan(0, 20, "control/p/c1", "c1", "c1")
    step = WorkSpan(2, 15, "control/p/c1", "c1", "c1", "keystone", "switch")
    tasks = [work(2, 4.97, "c1", task="stop", step="switch"), work(4.97, 15, "c1", task="wait", step="switch")]
    (found,) = attribute([outage(5, 9)], [whole, step, *tasks], PROBES)
    assert (found.causes[0].step, found.causes[0].task) == ("switch", "stop")
    assert found.causes[0].overlap == 4.0
    (found,) = attribute([outage(5.2, 9)], [whole, step, *tasks], PROBES)
    assert found.causes[0].task == "wait"
    (found,) = attribute([outage(17, 18)], [whole, step, *tasks], PROBES)
    assert (found.causes[0].step, found.causes[0].task) == ("", "")


def test_of_the_steps_of_a_pass_the_one_of_the_service_is_named() -> None:
    glance = WorkSpan(4.9, 5.5, "control/p/c1", "c1", "c1", "glance", "restart", "stop")
    keystone = work(4, 4.99, "c1", step="restart", task="wait")
    for found in ([glance, keystone], [keystone, glance]):
        (told,) = attribute([outage(5, 6)], found, PROBES)
        assert (told.causes[0].service, told.causes[0].task) == ("keystone", "wait")


def test_a_task_outside_of_any_step_is_not_named() -> None:
    """The program's own guard before the first step: an operator would look for it in vain."""
    whole = WorkSpan(4, 9, "control/p/c1", "c1", "c1")
    guard = WorkSpan(
        4.2, 5.5, "control/p/c1", "c1", "c1", "", "", "Go on only if hosts before this one have not failed"
    )
    (told,) = attribute([outage(5, 7)], [whole, guard, work(5.5, 9, "c1")], PROBES)
    assert (told.attribution, told.causes[0].step, told.causes[0].task) == ("caused", "", "")
    (told,) = attribute([outage(5, 7)], [guard], PROBES)
    assert (told.causes[0].action, told.causes[0].task) == ("control/p/c1", "")


def test_what_a_service_needs_indirectly_and_in_a_circle() -> None:
    assert closure({"a": ("b",), "b": ("c",), "c": ("a",)}, "a") == {"a", "b", "c"}
    assert closure({}, "a") == frozenset()


# -- from journals -----------------------------------------------------------------------------------


def a_plan() -> Plan:
    steps = {
        name: Step(id=name, name=name, service=service, phase="upgrade", tasks=())
        for name, service in (("lb.drain", "caddy"), ("ks.switch", "keystone"), ("ks.verify", "keystone"))
    }
    legs = (Leg(steps=("lb.drain",), on="lb1"), Leg(steps=("ks.switch", "ks.verify")))
    roll = Pass(id="control/p", stage="control", role="p", services=("keystone",), hosts=("c1",), legs=legs)
    hosts = {name: Host(name=name, role="p") for name in ("c1", "lb1")}
    return Plan(
        cluster="x", source="1", target="2", stages=(), passes={"control/p": roll}, steps=steps, hosts=hosts, roles={}
    )


def line(seq: int, at: float, kind: str, leg: int = 1, **more: object) -> HostLine:
    return HostLine(seq=seq, at=at, mono=at, kind=kind, action="control/p/c1", leg=leg, **more)  # type: ignore[arg-type]


DRAIN = [
    line(1, 10, "accepted", 0),
    line(2, 11, "begin", 0, step="lb.drain"),
    line(3, 11.5, "task", 0, step="lb.drain", task="cut"),
    line(4, 12, "task-end", 0, step="lb.drain", task="cut"),
    line(5, 13, "end", 0, step="lb.drain"),
    line(6, 14, "leg-end", 0),
]


def brief(found: list[WorkSpan]) -> list[tuple[float, float, str, str, str, str]]:
    return [(s.start, s.end, s.host, s.service, s.step, s.task) for s in found]


def test_journals_become_spans_of_action_steps_and_tasks() -> None:
    switch = [
        line(1, 20, "accepted"),
        line(2, 21, "begin", step="ks.switch"),
        line(3, 22, "task", step="ks.switch", task="stop"),
        line(4, 23, "task", step="ks.switch", task="start"),
        line(5, 25, "end", step="ks.switch"),
        line(6, 26, "leg-end"),
    ]
    assert brief(spans([*switch, *DRAIN], a_plan())) == [
        (10, 26, "c1", "", "", ""),
        (11, 13, "lb1", "caddy", "lb.drain", ""),
        (11.5, 12, "lb1", "caddy", "lb.drain", "cut"),
        (21, 25, "c1", "keystone", "ks.switch", ""),
        (22, 23, "c1", "keystone", "ks.switch", "stop"),
        (23, 25, "c1", "keystone", "ks.switch", "start"),
    ]


def test_a_step_that_was_cut_off_lasts_until_the_host_says_more() -> None:
    cut = [
        line(1, 20, "accepted"),
        line(2, 21, "begin", step="ks.switch"),
        line(3, 22, "task", step="ks.switch", task="a"),
    ]
    assert brief(spans(cut, a_plan(), now=30.0)) == [
        (20, 30, "c1", "", "", ""),
        (21, 30, "c1", "keystone", "ks.switch", ""),
        (22, 30, "c1", "keystone", "ks.switch", "a"),
    ]
    more = [*cut, line(4, 40, "resumed"), line(5, 41, "begin", step="ks.switch"), line(6, 42, "end", step="ks.switch")]
    found = [span for span in spans(more, a_plan(), now=50.0) if span.step and not span.task]
    assert [(span.start, span.end) for span in found] == [(21, 40), (41, 42)]


def test_a_machine_that_died_is_not_at_work_until_another_one_is() -> None:
    """An outage while its place stood empty is not put on the step in which it died."""
    lines = [
        replace(line(1, 20, "accepted"), token=3),
        replace(line(2, 21, "begin", step="ks.switch"), token=3),
        replace(line(3, 22, "task", step="ks.switch", task="a"), token=3),
        replace(line(1_000_000, 500, "new-machine"), action="", token=0),
        replace(line(1_000_001, 510, "accepted"), token=9),
        replace(line(1_000_002, 511, "begin", step="ks.switch"), token=9),
        replace(line(1_000_003, 520, "end", step="ks.switch"), token=9),
        replace(line(1_000_004, 521, "leg-end"), token=9),
    ]
    assert brief(spans(lines, a_plan(), now=600.0)) == [
        (20, 22, "c1", "", "", ""),
        (21, 22, "c1", "keystone", "ks.switch", ""),
        (22, 22, "c1", "keystone", "ks.switch", "a"),
        (510, 521, "c1", "", "", ""),
        (511, 520, "c1", "keystone", "ks.switch", ""),
    ]


def test_an_action_that_failed_is_not_at_work_until_it_is_tried_again() -> None:
    lines = [
        line(1, 20, "accepted"),
        line(2, 22, "leg-end", rc=1),
        line(3, 60, "accepted"),
        line(4, 61, "leg-end"),
    ]
    assert [(span.start, span.end) for span in spans(lines, a_plan(), now=99.0)] == [(20, 22), (60, 61)]


def test_an_action_whose_first_leg_failed_is_over() -> None:
    lines = [line(1, 20, "accepted", 0), line(2, 22, "leg-end", 0, rc=2)]
    assert [(span.start, span.end) for span in spans(lines, a_plan(), now=99.0)] == [(20, 22)]


def test_lines_of_another_plan_are_left_out() -> None:
    strange = HostLine(seq=1, at=1, mono=1, kind="accepted", action="else/where/c9")
    refused = HostLine(seq=1, at=1, mono=1, kind="refused", action="control/p/c1")
    assert spans([strange, refused], a_plan()) == []


def test_the_clock_of_a_host_on_the_probers_machine_is_known_exactly() -> None:
    late = HostLine(seq=1, at=1030.0, mono=50.0, kind="begin", boot="b1")
    assert clock_offset(late, epoch=1000.0, mono=25.0, boot="b1") == 5.0
    assert clock_offset(late, epoch=1000.0, mono=25.0, boot="b2") is None
    assert clock_offset(line(1, 2, "begin"), epoch=1000.0, mono=25.0, boot="") is None


intervals = st.tuples(st.floats(0, 100), st.floats(0.01, 30)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(
    down=intervals,
    jobs=st.lists(
        st.tuples(intervals, st.sampled_from(["c1", "c2", "c3"]), st.sampled_from(["keystone", "nova"])), max_size=8
    ),
    back=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_never_guessed(down: tuple[float, float], jobs: list[tuple[tuple[float, float], str, str]], back: bool) -> None:
    """Whatever is named was at work; whatever was at work on the same host and service is named."""
    probe = BACK if back else VIP
    found = outage(*down, probe)
    work_spans = [work(*when, host, service) for when, host, service in jobs]
    (result,) = attribute([found], work_spans, PROBES)
    low, high = down[0] - probe.every, down[1]
    near = {s.action for s in work_spans if s.start <= high and s.end >= low}
    named = [cause.action for cause in result.causes]
    assert set(named) <= near and len(named) == len(set(named))
    assert {"caused": 1, "unattributed": 0}.get(result.attribution, len(named)) == len(named)
    assert (result.attribution == "shared") == (len(named) > 1)
    inside = [s for s in work_spans if s.start <= max(down[0], down[1] - probe.every) and s.end >= low]
    exact = {s.action for s in inside if s.service == "keystone" and (not back or s.target == "c1")}
    if exact:
        assert set(named) == exact
    for cause in result.causes:
        assert 0 <= cause.overlap <= down[1] - down[0] + 1e-5
    assert (found.start, found.end, found.errors) == (result.start, result.end, result.errors)


@pytest.mark.parametrize("count", [3000])
def test_many_spans_are_searched_by_time(count: int) -> None:
    jobs = [work(i, i + 1.5, f"h{i}") for i in range(count)]
    found = attribute([outage(i + 0.7, i + 0.8) for i in range(1, count, 10)], jobs, PROBES)
    assert all(len(result.causes) <= 2 for result in found)
    assert all(result.attribution in ("caused", "shared") for result in found)
