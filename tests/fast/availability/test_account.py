"""The account: up, down, unobserved; streaming equals batch; never more than wall time."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underway.core.availability import (
    NETWORK_LOST,
    UNASKED,
    Account,
    Ledger,
    account,
    backend_seconds,
    service_seconds,
    union,
)
from underway.core.model.cluster import Probe
from underway.core.model.sample import Outage, Sample, SampleResult

T0 = 1_800_000_000.0


def probe(name: str = "vip", every: float = 0.5, timeout: float = 2.0, **more: object) -> Probe:
    return Probe(name=name, kind="http", service="keystone", every=every, timeout=timeout, **more)  # type: ignore[arg-type]


def sample(
    n: float, result: SampleResult = "ok", error: str = "", *, name: str = "vip", every: float = 0.5, took: float = 0.01
) -> Sample:
    due = T0 + n * every
    if result == "bad" and not error:
        error = "status 503"
    return Sample(probe=name, due=due, sent=due, took=took, result=result, error=error)


def series(text: str, **more: object) -> list[Sample]:
    """One letter a due time: o ok, b bad, l lost, a no token, . nothing."""
    kinds: dict[str, tuple[SampleResult, str]] = {
        "o": ("ok", ""),
        "b": ("bad", "status 503"),
        "l": ("lost", "timeout"),
        "a": ("bad", "auth: refused"),
        "s": ("lost", "local: skipped 3: the prober was late"),
    }
    return [sample(n, *kinds[letter], **more) for n, letter in enumerate(text) if letter != "."]  # type: ignore[arg-type]


def spans(ledger: Ledger) -> list[tuple[float, float]]:
    return [(outage.start - T0, outage.end - T0) for outage in ledger.outages]


def test_an_outage_runs_from_the_first_bad_due_time_to_the_first_good_one() -> None:
    ledger = account(series("oobbboo"), {"vip": probe()}, T0 + 3.5)
    (outage,) = ledger.outages
    assert spans(ledger) == [(1.0, 2.5)]
    assert (outage.failed, outage.errors, outage.resolution) == (3, {"status 503": 3}, 0.5)
    assert not outage.open and ledger.gaps == ()
    stats = ledger.stats["vip"]
    assert (stats.up, stats.down, stats.unobserved) == (2.0, 1.5, 0.0)
    assert (stats.start, stats.end, stats.outages, stats.longest) == (T0, T0 + 3.5, 1, 1.5)
    assert ledger.services == {"keystone": 1.5}


def test_a_flap_of_1_2_s_is_seen_as_itself() -> None:
    ledger = account(series("oo" + "b" * 12 + "ooo", every=0.1), {"vip": probe(every=0.1)}, T0 + 1.7)
    assert [round(end - start, 6) for start, end in spans(ledger)] == [1.2]


def test_an_outage_that_lasts_is_open_and_ends_now() -> None:
    ledger = account(series("oobb"), {"vip": probe()}, T0 + 2.2)
    (outage,) = ledger.outages
    assert outage.open and outage.end == T0 + 2.2
    assert ledger.stats["vip"].down == pytest.approx(1.2)


def test_a_hole_is_a_gap_and_cuts_an_outage_in_two_with_the_doubt_in_its_resolution() -> None:
    ledger = account(series("obb......bo"), {"vip": probe()}, T0 + 5.5)
    assert spans(ledger) == [(0.5, 1.5), (4.5, 5.0)]
    (gap,) = ledger.gaps
    assert (gap.start - T0, gap.end - T0, gap.why) == (1.5, 4.5, "no samples")
    assert [outage.resolution for outage in ledger.outages] == [3.5, 3.5]
    assert ledger.stats["vip"].unobserved == 3.0


def test_the_probers_own_network_loss_is_no_outage() -> None:
    ledger = account(series("oolllloo"), {"vip": probe()}, T0 + 4.0)
    assert ledger.outages == () and ledger.services == {}
    assert [(gap.start - T0, gap.end - T0, gap.why) for gap in ledger.gaps] == [(1.0, 3.0, NETWORK_LOST)]
    assert ledger.stats["vip"].lost == 4


def test_a_skipped_question_says_why_in_the_gap() -> None:
    ledger = account(series("oos..oo"), {"vip": probe()}, T0 + 3.5)
    assert [gap.why for gap in ledger.gaps] == ["skipped 3: the prober was late"]


def test_a_failing_token_is_booked_on_keystone_and_not_on_the_service() -> None:
    glance = Probe(name="vip", kind="http", service="glance", every=0.5, auth={"user": "u"}, host="c1")
    ledger = account(series("oaabbo"), {"vip": glance}, T0 + 3.0)
    assert [(o.service, o.host, o.start - T0, o.end - T0) for o in ledger.outages] == [
        ("keystone", "", 0.5, 1.5),
        ("glance", "c1", 1.5, 2.5),
    ]
    assert ledger.services == {"keystone": 1.0}
    assert [gap.why for gap in ledger.gaps] == [UNASKED]
    stats = ledger.stats["vip"]
    assert (stats.up, stats.down, stats.unobserved) == (1.0, 1.0, 1.0)


def test_one_backend_down_is_reported_and_not_counted_against_the_service() -> None:
    probes = {"vip": probe(), "c1": probe("c1", host="ctrl1")}
    samples = series("oooooo") + series("obbboo", name="c1")
    ledger = account(samples, probes, T0 + 3.0)
    assert ledger.services == {}
    assert backend_seconds(ledger.outages) == {("keystone", "ctrl1"): 1.5}


def test_outages_of_two_probes_of_one_service_count_once() -> None:
    def down(start: float, end: float, service: str = "nova") -> Outage:
        return Outage(probe="p", service=service, start=start, end=end, errors={}, failed=1, resolution=0.1)

    assert service_seconds([down(0, 4), down(3, 6), down(5, 5.5), down(9, 10), down(1, 2, "glance")]) == {
        "glance": 1.0,
        "nova": 7.0,
    }
    assert union([]) == 0.0


def test_time_before_the_first_sample_is_unobserved() -> None:
    ledger = account(series("oo"), {"vip": probe()}, T0 + 1.0, start=T0 - 5.0)
    assert ledger.stats["vip"].unobserved == 5.0
    assert ledger.stats["vip"].start == T0 - 5.0


def test_a_probe_that_was_never_asked_is_unobserved_throughout() -> None:
    ledger = account([], {"vip": probe()}, T0 + 8.0, start=T0)
    assert ledger.stats["vip"].unobserved == 8.0
    assert [(gap.start, gap.end) for gap in ledger.gaps] == [(T0, T0 + 8.0)]


def test_unknown_late_and_doubled_samples_are_counted_not_booked() -> None:
    live = Account({"vip": probe()})
    live.feed(series("ooo"))
    live.close()
    live.feed([*series("ooo"), sample(1, name="stranger")])
    assert live.dropped == 4
    assert live.ledger(T0 + 1.5).stats["vip"].samples == 3


def test_a_slow_answer_keeps_later_ones_waiting_and_none_is_lost() -> None:
    """Time-outs are written long after the good answers that follow them."""
    live = Account({"vip": probe(every=0.1)})
    live.feed(series("ooo", every=0.1))
    live.close()
    late = sample(3, "bad", "timeout", every=0.1, took=2.0)
    live.feed([sample(n, every=0.1) for n in range(4, 12)])
    assert live.ledger(T0 + 1.2).stats["vip"].samples == 3
    live.feed([late])
    assert live.ledger(T0 + 1.2).stats["vip"].samples == 12
    assert [round(outage.end - outage.start, 6) for outage in live.ledger(T0 + 1.2).outages] == [0.1]


def test_what_never_comes_is_waited_for_no_longer_than_it_can() -> None:
    live = Account({"vip": probe(every=0.1)})
    live.feed(series("ooo", every=0.1))
    live.close()
    live.feed([sample(n, every=0.1) for n in range(5, 12)])
    live.settle(T0 + 3.0)
    assert live.ledger(T0 + 3.0).stats["vip"].samples == 3
    live.settle(T0 + 0.5 + 2.0 + 2.5 + 0.7)
    assert live.ledger(T0 + 6.0).stats["vip"].samples == 10
    assert [round(gap.end - gap.start, 6) for gap in live.ledger(T0 + 1.2).gaps] == [0.2]


def test_answers_still_under_way_are_not_called_a_gap() -> None:
    live = Account({"vip": probe(every=0.1)})
    live.feed(series("ooo", every=0.1))
    live.close()
    assert live.ledger(T0 + 2.0).gaps == ()
    assert live.ledger(T0 + 2.0, final=True).gaps != ()


def test_changes_tell_when_an_outage_began_and_ended() -> None:
    live = Account({"vip": probe()})
    live.feed(series("oob"))
    live.close()
    assert [(change.kind, change.outage.open) for change in live.changes()] == [("outage-began", True)]
    live.feed(series("ooboo")[3:])
    assert [(change.kind, change.outage.open) for change in live.changes()] == [("outage-ended", False)]
    assert live.changes() == []


def test_a_control_target_is_no_probe() -> None:
    assert account([], {"gw": probe("gw", control=True)}, T0 + 1, start=T0).stats == {}


letters = st.text(alphabet="oooobbbl.as", min_size=1, max_size=120)


@given(text=letters, extra=st.floats(0, 8), ahead=st.floats(0, 3))
@settings(max_examples=150, deadline=None)
def test_up_down_and_unobserved_are_the_wall_time(text: str, extra: float, ahead: float) -> None:
    """I15, and the intervals that are listed add up to what is counted."""
    samples = series(text, every=0.5)
    now = T0 + len(text) * 0.5 + extra
    ledger = account(samples, {"vip": probe()}, now, start=T0 - ahead)
    stats = ledger.stats["vip"]
    assert stats.up + stats.down + stats.unobserved == pytest.approx(now - (T0 - ahead), abs=1e-6)
    assert min(stats.up, stats.down, stats.unobserved) >= 0
    mine = [outage for outage in ledger.outages if not any(error.startswith("auth") for error in outage.errors)]
    assert sum(outage.end - outage.start for outage in mine) == pytest.approx(stats.down, abs=1e-6)
    assert sum(gap.end - gap.start for gap in ledger.gaps) == pytest.approx(stats.unobserved, abs=1e-6)
    assert sum(outage.failed for outage in ledger.outages) == stats.failed == sum(text.count(c) for c in "ba")
    assert stats.lost == sum(text.count(c) for c in "ls")
    assert len(mine) == stats.outages
    bounds = sorted([(o.start, o.end) for o in mine] + [(g.start, g.end) for g in ledger.gaps])
    for (_, end), (start, _) in itertools.pairwise(bounds):
        assert end <= start + 1e-6, "outages and gaps of one probe overlap"


@given(text=letters, seed=st.integers(0, 1 << 30), cut=st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_the_streaming_account_equals_the_batch(text: str, seed: int, cut: int) -> None:
    """Fed in the order in which answers end (bad ones up to a time-out later), in pieces, looked at in between."""
    chance = random.Random(seed)
    samples = [
        Sample(probe=s.probe, due=s.due, sent=s.due, took=chance.uniform(0, 2.0), result=s.result, error=s.error)
        for s in series(text)
    ]
    now = T0 + len(text) * 0.5 + 5
    arrived = sorted(samples, key=lambda s: s.sent + s.took)
    live = Account({"vip": probe()}, T0)
    for at in range(0, len(arrived), cut):
        live.feed(arrived[at : at + cut])
        live.ledger(now)
    live.close()
    assert live.dropped == 0
    assert live.ledger(now, final=True) == account(samples, {"vip": probe()}, now, start=T0)


injected = st.lists(st.tuples(st.floats(0.5, 8.0), st.floats(0.05, 6.0)), min_size=0, max_size=4)


@given(
    pauses=injected,
    every=st.sampled_from([0.1, 0.25, 1.0]),
    phase=st.floats(0, 1),
    timeout=st.sampled_from([0.2, 1.0, 2.0]),
    kind=st.sampled_from(["refused", "hang", "slow"]),
)
@settings(max_examples=150, deadline=None)
def test_measured_differs_from_injected_by_at_most_interval_and_timeout(
    pauses: list[tuple[float, float]], every: float, phase: float, timeout: float, kind: str
) -> None:
    """In virtual time: the true service, the fixed clock, the account; each bound and each length is compared.

    ``hang`` answers nothing that came while it lasted until it is over; ``slow`` answers such questions 3 s late.
    """
    margin = every + (timeout if kind != "refused" else 0.0)
    truth: list[tuple[float, float]] = []
    at = T0
    for pause, length in pauses:
        # Apart by more than the error, and long enough to be seen: what is shorter than an interval may fall through.
        at += pause + 2 * margin
        truth.append((at, at + length + every))
        at += length + every
    stop = at + 3 * margin + 1
    samples = []
    n = 0
    while (due := T0 + phase * every + n * every) < stop:
        n += 1
        inside = next((end for start, end in truth if start <= due < end), None)
        took, error = 0.004, ""
        if inside is not None and kind == "refused":
            error = "refused"
        elif inside is not None:
            took = inside - due if kind == "hang" else 3.0
            if took > timeout:
                took, error = timeout, "timeout"
        samples.append(Sample(probe="vip", due=due, sent=due, took=took, result="bad" if error else "ok", error=error))
    ledger = account(samples, {"vip": probe(every=every, timeout=timeout)}, stop)
    seen = [(start, end) for start, end in truth if kind == "refused" or end - start > timeout + every]
    found = [(o.start, o.end) for o in ledger.outages]
    if kind == "refused" or len(seen) == len(truth):
        assert len(found) == len(truth)
    for start, end in found:
        true_start, true_end = min(truth, key=lambda interval: abs(interval[0] - start))
        assert abs(start - true_start) <= margin + 1e-6
        assert abs(end - true_end) <= margin + 1e-6
        assert abs((end - start) - (true_end - true_start)) <= every + timeout + 1e-6
    for outage in ledger.outages:
        assert outage.resolution == every
