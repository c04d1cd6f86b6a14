"""From samples to what the coordinator acts on: settled health, silence, outages once, outage seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast.engine.made import Bench, plan_of
from underway.checks.samples import encode
from underway.core.model.base import replace
from underway.core.model.cluster import Probe
from underway.core.model.plan import Plan
from underway.core.model.sample import Sample, SampleResult
from underway.core.model.snapshot import Snapshot
from underway.core.model.state import ActionRecord, Health, RunRecord
from underway.engine.measure import HostAnswer, Measurement, health_changes
from underway.engine.mirror import Mirror
from underway.engine.probing import SILENT, SampleMeasure

START = 1_800_000_000.0
PROBES = {
    "own": Probe(name="own", kind="tcp", host="h1", service="s", address="127.0.0.1:1", every=1.0, timeout=1.0),
    "vip": Probe(name="vip", kind="http", service="s", url="http://127.0.0.1/", every=1.0, timeout=1.0),
}


RUN = RunRecord(id="r", cluster="c", plan="p", source="1", target="2", started=START)


class Samples:
    """A prober's file, written as the test says."""

    def __init__(self, place: Path) -> None:
        self.plan: Plan = replace(plan_of(2), probes=PROBES)
        self.path = place / "p.jsonl"
        self.measure = SampleMeasure(self.plan, place, Mirror(), RUN)

    def write(self, probe: str, first: float, answers: str) -> None:
        kinds: dict[str, SampleResult] = {"o": "ok", "x": "bad", "?": "lost"}
        with self.path.open("ab") as out:
            for number, letter in enumerate(answers):
                at = START + first + number
                result = kinds[letter]
                error = "refused" if result == "bad" else ""
                out.write(encode(Sample(probe=probe, due=at, sent=at, took=0.01, result=result, error=error)))

    def look(self, at: float) -> Measurement:
        return self.measure.look(START + at, {})


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return Samples(tmp_path)


def test_nothing_is_said_before_two_answers(samples: Samples) -> None:
    samples.write("own", 0, "o")
    assert samples.look(1).hosts == {}
    samples.write("own", 1, "o")
    assert samples.look(2).hosts["h1"].healthy


def test_one_bad_answer_is_noise_and_two_are_a_fact(samples: Samples) -> None:
    samples.write("own", 0, "ooox")
    assert samples.look(4).hosts["h1"].healthy
    samples.write("own", 4, "oxx")
    ill = samples.look(7).hosts["h1"]
    assert (ill.healthy, ill.since) == (False, START + 5)
    samples.write("own", 7, "oo")
    well = samples.look(9).hosts["h1"]
    assert (well.healthy, well.since) == (True, START + 7)


def test_our_own_loss_of_network_says_nothing_of_the_host(samples: Samples) -> None:
    samples.write("own", 0, "oo????")
    assert samples.look(6).hosts["h1"].healthy


def test_a_host_that_nobody_asks_is_not_called_healthy(samples: Samples) -> None:
    samples.write("own", 0, "oo")
    assert samples.look(3).hosts["h1"].healthy
    late = samples.look(3 + SILENT + 2)
    assert not late.hosts["h1"].healthy
    assert "last asked" in late.hosts["h1"].detail


def test_an_outage_is_told_once_at_its_beginning_and_once_at_its_end(samples: Samples) -> None:
    samples.write("vip", 0, "ooxxx")
    began = [outage for at in (5.0, 5.5, 6.0) for outage in samples.look(at).began]
    assert [outage.probe for outage in began] == ["vip"]
    samples.write("vip", 5, "oo")
    looks = [samples.look(at) for at in (7.0, 7.5, 8.0)]
    assert [outage.probe for look in looks for outage in look.ended] == ["vip"]
    assert looks[-1].outage["s"] == pytest.approx(3.0, abs=1.0)


def snapshot(health: dict[str, Health], **actions: ActionRecord) -> Snapshot:
    run = RunRecord(id="r", cluster="c", plan="", source="1", target="2")
    return Snapshot(revision=1, run=run, health=health, actions={f"control/web/{h}": r for h, r in actions.items()})


def test_only_changes_and_awaited_answers_are_written() -> None:
    known = {"h1": Health(healthy=True, since=1.0, checked=5.0)}
    same = Measurement(hosts={"h1": HostAnswer(True, 1.0, 20.0, "")})
    assert health_changes(snapshot(known), same) == {}
    soaking = snapshot(known, h1=ActionRecord(state="soaking", finished=10.0))
    assert health_changes(soaking, same)["h1"].checked == 20.0
    stale = Measurement(hosts={"h1": HostAnswer(True, 1.0, 9.0, "")})
    assert health_changes(soaking, stale) == {}, "an answer from before its work proves nothing"
    ill = Measurement(hosts={"h1": HostAnswer(False, 19.0, 20.0, "")})
    assert health_changes(snapshot(known), ill)["h1"].flaps == 1


def test_a_host_that_falls_ill_stops_the_next_one(tmp_path: Path) -> None:
    samples = Samples(tmp_path)
    here = Bench(samples.plan, measure=samples.measure)
    here.clock.advance_to(START + 3)
    samples.write("own", 0, "xx")
    here.settle()
    assert "unhealthy" in here.kinds()
    seen = here.repository.snapshot("r1")
    assert not seen.health["h1"].healthy


def test_a_healthy_host_with_several_probes_is_said_to_answer_all_of_them(tmp_path: Path) -> None:
    samples = Samples(tmp_path)
    second = replace(PROBES["own"], name="second")
    samples.plan = replace(samples.plan, probes={**PROBES, "second": second})
    samples.measure = SampleMeasure(samples.plan, tmp_path, Mirror(), RUN)
    samples.write("own", 0, "oo")
    assert samples.look(2).hosts["h1"].detail == "probe own answers"
    samples.write("second", 0, "oo")
    assert samples.look(3).hosts["h1"].detail == "all of its 2 probes answer"
    samples.write("second", 2, "xx")
    assert samples.look(5).hosts["h1"].detail == "probe second says: refused"
