"""The fixed clock and the verdict "lost", in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.virtual_time import VirtualLoop, run
from underway.checks.base import Answer, Check
from underway.checks.fake import FakeCheck, QuickFakeCheck, Spell
from underway.checks.sampler import Sampler
from underway.checks.vantage import Vantage
from underway.core.availability import account
from underway.core.model.cluster import Probe
from underway.core.model.sample import Sample

T0 = 1000.01
"""When the sampler's clock starts: 10 ms after the loop's."""

DOWN = Answer(ok=False, error="refused")
SILENT = Answer(ok=False, error="timeout")


def probe(name: str = "vip", every: float = 0.1, timeout: float = 2.0) -> Probe:
    return Probe(name=name, kind="http", service=name, every=every, timeout=timeout)


def sample_for(
    seconds: float,
    *scripts: tuple[Probe, Sequence[Spell], float],
    controls: Sequence[Sequence[Spell]] = (),
    during: Callable[[VirtualLoop], object] | None = None,
    most_open: int = 4000,
    kind: type[FakeCheck] = FakeCheck,
) -> tuple[list[Sample], Sampler]:
    """Samples of some probes, each with its spells and usual delay; loop time is Unix time."""

    async def main() -> tuple[list[Sample], Sampler]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        found: list[Sample] = []
        checks: dict[str, Check] = {p.name: kind(loop.time, spells, delay) for p, spells, delay in scripts}
        vantage = Vantage([FakeCheck(loop.time, spells) for spells in controls], far=bool(controls))
        sampler = Sampler(
            [p for p, _, _ in scripts],
            checks,
            found.append,
            stamp=lambda at: at,
            vantage=vantage,
            most_open=most_open,
        )
        vantage.start()
        sampler.start()
        if during is not None:
            during(loop)
        await asyncio.sleep(seconds)
        await sampler.stop()
        return found, sampler

    return run(main())


KINDS = pytest.mark.parametrize("kind", [FakeCheck, QuickFakeCheck])


@KINDS
def test_due_times_never_drift_with_the_response_time(kind: type[FakeCheck]) -> None:
    """Answers take fifteen times the interval; questions overlap."""
    found, sampler = sample_for(60.0, (probe(), (), 1.5), kind=kind)
    dues = sorted(sample.due for sample in found)
    assert dues == [pytest.approx(T0 + n * 0.1, abs=1e-6) for n in range(len(dues))]
    assert len(dues) == 600
    assert all(sample.result == "ok" and sample.took == pytest.approx(1.5) for sample in found)
    assert (sampler.counts.late, sampler.counts.skipped) == (0, 0)


def test_a_late_question_does_not_move_the_ones_after_it() -> None:
    def hold_up(loop: VirtualLoop) -> None:
        loop.stall(0.03)
        loop.call_later(0.5, hold_up, loop)

    found, sampler = sample_for(20.0, (probe(), (), 0.0), during=hold_up)
    dues = [sample.due for sample in found]
    assert dues == [pytest.approx(T0 + n * 0.1, abs=1e-6) for n in range(len(dues))]
    assert sampler.counts.late > 10 and sampler.counts.worst == pytest.approx(0.03, abs=0.001)


@KINDS
def test_a_question_that_hangs_ends_at_its_time_out_and_not_later(kind: type[FakeCheck]) -> None:
    found, _ = sample_for(5.0, (probe(timeout=0.3), [Spell(1002, 1003, DOWN, delay=60)], 0.01), kind=kind)
    assert len(found) == 50
    bad = [sample for sample in found if sample.result == "bad"]
    assert len(bad) == 10
    assert {sample.error for sample in bad} == {"timeout"}
    assert all(sample.took == pytest.approx(0.3) for sample in bad)


def test_a_stopped_prober_says_so_instead_of_asking_all_at_once() -> None:
    found, sampler = sample_for(10.0, (probe(), (), 0.0), during=lambda loop: loop.call_later(3.0, loop.stall, 4.05))
    lost = [sample for sample in found if sample.result == "lost"]
    assert len(lost) == 1 and "the prober was late" in lost[0].error
    assert sampler.counts.skipped == 40
    ledger = account(found, {"vip": probe()}, 1010.0)
    assert ledger.outages == ()
    (gap,) = ledger.gaps
    assert gap.end - gap.start == pytest.approx(4.0, abs=0.11)
    assert gap.why == "skipped 40: the prober was late"


def test_a_question_that_was_open_while_the_prober_was_stopped_is_no_outage() -> None:
    """Its answer needs more than one turn of the loop, and its time-out is over at the first."""
    script = (probe(timeout=0.3), [Spell(1002.9, 1003.0, DOWN, delay=60)], 0.01)
    found, _ = sample_for(10.0, script, kind=QuickFakeCheck, during=lambda loop: loop.call_later(3.0, loop.stall, 4.05))
    assert account(found, {"vip": probe()}, 1010.0).outages == ()
    late = [sample for sample in found if sample.error.startswith("local: the prober was late by ")]
    assert [sample.result for sample in late] == ["lost"] and late[0].due == pytest.approx(1002.91)


def test_probes_with_one_interval_are_spread_over_it() -> None:
    probes = [probe(f"p{n}") for n in range(10)]
    found, _ = sample_for(1.0, *[(p, (), 0.0) for p in probes])
    first = {sample.probe: sample.due for sample in reversed(found)}
    assert len({round(due, 4) for due in first.values()}) == 10


@KINDS
def test_the_number_of_open_questions_is_bounded(kind: type[FakeCheck]) -> None:
    hangs = (probe(timeout=100.0), [Spell(0, 9e9, DOWN, delay=1e6)], 0.0)
    found, sampler = sample_for(10.0, hangs, most_open=30, kind=kind)
    assert sampler.counts.asked == 30
    assert sampler.counts.skipped == 70
    assert sum("too many questions are open" in sample.error for sample in found) == 70


def test_a_check_that_breaks_is_not_taken_for_an_outage() -> None:
    class Broken:
        async def ask(self) -> Answer:
            raise RuntimeError("a plug-in's mistake")

        async def close(self) -> None: ...

    async def main() -> list[Sample]:
        found: list[Sample] = []
        sampler = Sampler(
            [probe()], {"vip": Broken()}, found.append, stamp=lambda at: at, vantage=Vantage([], far=False)
        )
        sampler.start()
        await asyncio.sleep(0.5)
        await sampler.stop()
        return found

    found = run(main())
    assert {sample.result for sample in found} == {"lost"}
    assert "RuntimeError" in found[0].error


# -- lost --------------------------------------------------------------------------------------------

LOSS = (1005.0, 1009.0)


def test_when_all_probes_and_all_controls_fail_the_prober_is_lost() -> None:
    down = [Spell(*LOSS, SILENT, delay=2.0)]
    found, _ = sample_for(15.0, (probe("a"), down, 0.01), (probe("b"), down, 0.01), controls=[down, down])
    ledger = account(found, {"a": probe("a"), "b": probe("b")}, 1015.0)
    assert ledger.outages == ()
    assert ledger.stats["a"].unobserved == pytest.approx(4.0, abs=0.2)
    assert {sample.result for sample in found if sample.probe == "b"} == {"ok", "lost"}


def test_when_one_control_answers_the_service_is_down() -> None:
    down = [Spell(*LOSS, SILENT, delay=2.0)]
    found, _ = sample_for(15.0, (probe("a"), down, 0.01), controls=[down, ()])
    (outage,) = account(found, {"a": probe("a")}, 1015.0).outages
    assert outage.end - outage.start == pytest.approx(4.0, abs=0.11)


def test_when_another_probe_is_reached_the_service_is_down() -> None:
    down = [Spell(*LOSS, SILENT, delay=2.0)]
    found, _ = sample_for(15.0, (probe("a"), down, 0.01), (probe("b"), (), 0.01), controls=[down])
    assert [outage.probe for outage in account(found, {"a": probe("a"), "b": probe("b")}, 1015.0).outages] == ["a"]


def test_an_answer_from_the_other_side_is_never_lost() -> None:
    control = [Spell(*LOSS, SILENT, delay=2.0)]
    found, _ = sample_for(15.0, (probe("a"), [Spell(*LOSS, DOWN)], 0.01), controls=[control])
    (outage,) = account(found, {"a": probe("a")}, 1015.0).outages
    assert outage.errors == {"refused": outage.failed}


def test_no_route_without_a_control_target_is_the_probers_own() -> None:
    none = [Spell(*LOSS, Answer(ok=False, error="network: unreachable"))]
    found, _ = sample_for(15.0, (probe("a"), none, 0.01))
    assert account(found, {"a": probe("a")}, 1015.0).outages == ()
    found, _ = sample_for(15.0, (probe("a"), none, 0.01), (probe("b"), (), 0.01))
    assert len(account(found, {"a": probe("a"), "b": probe("b")}, 1015.0).outages) == 1


def test_a_machine_that_could_not_ask_says_nothing_of_the_service() -> None:
    full = [Spell(*LOSS, Answer(ok=False, error="local: too many open files"))]
    found, _ = sample_for(15.0, (probe("a"), full, 0.01), (probe("b"), (), 0.01))
    ledger = account(found, {"a": probe("a"), "b": probe("b")}, 1015.0)
    assert ledger.outages == ()
    assert {gap.why for gap in ledger.gaps} == {"too many open files"}


@given(
    start=st.floats(1.0, 5.0),
    length=st.floats(0.3, 6.0),
    every=st.sampled_from([0.1, 0.25, 1.0]),
    delay=st.floats(0.0, 0.5),
    silent=st.booleans(),
    kind=st.sampled_from([FakeCheck, QuickFakeCheck]),
)
@settings(max_examples=40, deadline=None)
def test_every_due_time_has_its_sample_and_measured_is_injected(
    start: float, length: float, every: float, delay: float, silent: bool, kind: type[FakeCheck]
) -> None:
    """The real sampler on a scripted service: no hole, and the error is at most an interval and a time-out."""
    timeout = 1.0
    length = max(length, every * 1.01)
    at = (1000 + start, 1000 + start + length)
    spell = Spell(*at, SILENT, delay=99) if silent else Spell(*at, DOWN, delay=delay)
    asked = probe(every=every, timeout=timeout)
    found, _ = sample_for(start + length + 4.0, (asked, [spell], delay), controls=[()], kind=kind)
    dues = sorted(sample.due for sample in found)
    assert dues == [pytest.approx(T0 + n * every, abs=1e-6) for n in range(len(dues))]
    ledger = account(found, {"vip": asked}, max(dues) + every)
    (outage,) = ledger.outages
    assert abs(outage.start - at[0]) <= every + 1e-6
    assert abs(outage.end - at[1]) <= every + 1e-6
    assert ledger.gaps == ()
