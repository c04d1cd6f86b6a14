"""The prober as a process: killed, stopped, doubled, cut off from its network; and what its file says then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.fake_api import FakeApi
from support.prober import Prober
from underway.checks.prober import command, write_probes
from underway.checks.samples import Tail, read
from underway.core.availability import Account, account
from underway.core.model.cluster import Probe
from underway.errors import EXIT_INPUT, EXIT_REFUSED

pytestmark = pytest.mark.service


def probes_of(api: FakeApi, count: int = 1, every: float = 0.1) -> dict[str, Probe]:
    return {
        f"p{n}": Probe(name=f"p{n}", kind="http", service="s", url=f"{api.url}/", every=every, timeout=0.5)
        for n in range(count)
    }


def test_a_killed_prober_leaves_a_gap_and_no_silent_hole(tmp_path: Path) -> None:
    """Kill -9 five times; what was not seen is listed, to the second, and nothing else is."""
    with FakeApi() as api:
        probes = probes_of(api, 3, 0.05)
        tail, live = Tail(tmp_path), Account(probes)
        holes = []
        with Prober(tmp_path, probes) as prober:
            for _ in range(5):
                time.sleep(0.5)
                prober.kill()
                last = max(sample.due for sample in read(prober.out)[0])
                time.sleep(0.3)
                live.feed(tail.poll())
                prober.start()
                first = min(sample.due for sample in read(prober.out)[0] if sample.due > last + 0.1)
                holes.append((last, first))
            assert prober.stop() == 0
        chunk = prober.read()
        live.feed(tail.poll())
        live.close()
        assert tail.torn == chunk.torn <= 5
        assert [mark.mark for mark in chunk.marks] == ["start"] * 6 + ["end"]
        end = max(sample.due for sample in chunk.samples) + 0.05
        start = chunk.marks[0].epoch
        ledger = account(chunk.samples, probes, end, start)
        assert ledger.outages == ()
        assert {sample.result for sample in chunk.samples} <= {"ok", "lost"}
        assert all("late" in sample.error for sample in chunk.samples if sample.result == "lost")
        for stats in ledger.stats.values():
            assert stats.up + stats.unobserved == pytest.approx(end - start, abs=1e-6)
            assert stats.unobserved >= sum(first - last for last, first in holes) - 5 * 0.15
        for probe in probes:
            gaps = [gap for gap in ledger.gaps if gap.probe == probe]
            for last, first in holes:  # what lies between is in one gap, up to an interval at its edges
                assert any(gap.start <= last + 0.06 and gap.end >= first - 0.06 for gap in gaps)
        # The streaming account, fed while the prober was killed, says the same (its wall time began with its samples).
        streamed = live.ledger(end, final=True)
        whole = account(chunk.samples, probes, end)
        assert streamed.outages == whole.outages and streamed.gaps == whole.gaps


def test_stamps_before_and_after_a_restart_are_of_one_time(tmp_path: Path) -> None:
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        prober.kill()
        prober.start()
        one, two = prober.read().marks
        assert one.boot == two.boot and one.pid != two.pid
        assert (two.epoch - one.epoch) == pytest.approx(two.mono - one.mono, abs=0.05)
        served = sorted(seen.at for seen in api.seen)
        sent = sorted(sample.sent for sample in prober.read().samples)
        assert served[0] == pytest.approx(sent[0], abs=0.1)


def test_a_torn_last_line_is_waited_for_and_never_swallows_the_next(tmp_path: Path) -> None:
    with FakeApi() as api:
        prober = Prober(tmp_path, probes_of(api))
        prober.out.write_bytes(b'{"due":1.0,"probe":"p0","resu')
        assert read(prober.out) == ([], 0)
        with prober:
            assert prober.stop() == 0
        chunk = prober.read()
        assert chunk.torn == 1 and [mark.mark for mark in chunk.marks] == ["start", "end"]
        assert len(chunk.samples) == chunk.marks[-1].asked


@pytest.mark.parametrize("way", ["file", "TERM", "INT"])
def test_it_ends_when_told_and_finishes_what_is_open(tmp_path: Path, way: str) -> None:
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        api.set("hang")
        time.sleep(0.3)
        assert prober.process is not None
        if way == "file":
            prober.stop_file.touch()
        else:
            os.kill(prober.process.pid, getattr(signal, f"SIG{way}"))
        assert prober.process.wait(10) == 0
        chunk = prober.read()
        assert chunk.marks[-1].mark == "end" and chunk.marks[-1].asked == len(chunk.samples)
        assert chunk.samples[-1].error == "timeout"


def test_it_lives_on_when_the_one_who_started_it_is_killed(tmp_path: Path) -> None:
    with FakeApi() as api:
        prober = Prober(tmp_path, probes_of(api))
        script = (
            "import subprocess, sys, time; "
            "p = subprocess.Popen(sys.argv[1:], start_new_session=True); print(p.pid, flush=True); time.sleep(60)"
        )
        starter = subprocess.Popen(
            [sys.executable, "-c", script, *command(prober.file, prober.out, prober.stop_file)], stdout=subprocess.PIPE
        )
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        end = time.monotonic() + 20
        while not prober.read().samples and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait(10)
        starter.stdout.close()
        before = len(prober.read().samples)
        time.sleep(0.5)
        assert len(prober.read().samples) > before
        prober.stop_file.touch()
        end = time.monotonic() + 10
        while prober.read().marks[-1].mark != "end" and time.monotonic() < end:
            time.sleep(0.02)
        assert prober.read().marks[-1].mark == "end"
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.02)


def test_it_ends_when_its_file_was_deleted(tmp_path: Path) -> None:
    """The prober of a run whose directory was thrown away does not ask for ever."""
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        prober.out.unlink()
        assert prober.process is not None
        assert prober.process.wait(10) == 0


def test_one_prober_a_file(tmp_path: Path) -> None:
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        second = subprocess.run(
            command(prober.file, prober.out, prober.stop_file), capture_output=True, text=True, timeout=20
        )
        assert second.returncode == EXIT_REFUSED
        assert "another prober writes this file" in second.stderr and "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "readable file"),
        ("{", "as JSON"),
        ('{"probes": {"p": {"name": "q", "kind": "tcp"}}}', "expected the name p"),
        ('{"probes": {"p": {"name": "p", "kind": "http", "url": "file:///x"}}}', "expected http or https"),
        ('{"probes": {"p": {"name": "p", "kind": "tcp", "address": "x:1", "every": 0}}}', "every"),
        ('{"schema": 9, "probes": {}}', "expected schema 1"),
    ],
)
def test_a_wrong_file_of_probes_is_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "probes.json"
    if text is not None:
        path.write_text(text)
    done = subprocess.run(
        command(path, tmp_path / "out", tmp_path / "stop"), capture_output=True, text=True, timeout=20
    )
    assert done.returncode == EXIT_INPUT
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_stopped_process_is_unobserved_and_not_an_outage(tmp_path: Path) -> None:
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        assert prober.process is not None
        time.sleep(0.3)
        os.kill(prober.process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(prober.process.pid, signal.SIGCONT)
        time.sleep(0.4)
        assert prober.stop() == 0
        samples = prober.read().samples
        ledger = account(samples, probes_of(api), samples[-1].due + 0.1)
        assert ledger.outages == ()
        assert sum(gap.end - gap.start for gap in ledger.gaps) == pytest.approx(1.5, abs=0.25)
        assert all("late" in gap.why for gap in ledger.gaps)


NETWORK = r"""
set -eu
ip link set lo up
"$1" -c '
import subprocess, sys, time
from pathlib import Path
from support.fake_api import FakeApi
from support.prober import Prober
from underway.core.model.cluster import Probe
with FakeApi() as a, FakeApi() as b:
    probes = {
        n: Probe(name=n, kind="http", service=n, url=f"{api.url}/", every=0.1, timeout=0.5)
        for n, api in (("a", a), ("b", b))
    }
    with Prober(Path(sys.argv[1]), probes) as prober:
        time.sleep(0.5)
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
        time.sleep(2.0)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        time.sleep(1.0)
        a.set("503")
        time.sleep(1.0)
        a.set("ok")
        time.sleep(0.5)
        assert prober.stop() == 0
' "$2"
"""


def test_the_probers_own_loss_of_network_is_not_an_outage_of_the_service(tmp_path: Path) -> None:
    """A real one: the only interface of a network namespace goes down for two seconds."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("NOT RUN: this machine lets nobody make a network namespace (unshare -rn)")
    if not shutil.which("ip"):
        pytest.skip("NOT RUN: the program ip (iproute2) is missing")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}"}
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", NETWORK, "sh", sys.executable, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    probes = {n: Probe(name=n, kind="http", service=n, every=0.1, timeout=0.5) for n in ("a", "b")}
    samples, _ = read(tmp_path / "samples.jsonl")
    ledger = account(samples, probes, max(sample.due for sample in samples) + 0.1)
    assert {outage.service for outage in ledger.outages} == {"a"}, ledger.outages
    assert {error for outage in ledger.outages for error in outage.errors} == {"status 503"}
    for name in ("a", "b"):
        unseen = sum(gap.end - gap.start for gap in ledger.gaps if gap.probe == name)
        assert unseen == pytest.approx(2.0, abs=0.8)
    assert "the prober had no network" in {gap.why for gap in ledger.gaps}


def test_a_full_disk_costs_samples_and_not_the_prober(tmp_path: Path) -> None:
    """A file size limit stands in for the disk: what could not be written is counted, and a gap."""
    with FakeApi() as api:
        prober = Prober(tmp_path, probes_of(api, 5, 0.02))
        write_probes(prober.file, probes_of(api, 5, 0.02))
        limited = ("prlimit", "--fsize=20000:unlimited")
        if not shutil.which("prlimit"):
            pytest.skip("NOT RUN: the program prlimit (util-linux) is missing")
        prober.prefix = limited
        with prober:
            assert prober.process is not None
            end = time.monotonic() + 10
            while prober.out.stat().st_size < 20000 and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.5)
            assert prober.process.poll() is None
            subprocess.run(["prlimit", f"--pid={prober.process.pid}", "--fsize=unlimited"], check=True)
            time.sleep(0.5)
            assert prober.stop() == 0
        chunk = prober.read()
        full = [mark for mark in chunk.marks if mark.mark == "full"]
        assert full and full[0].dropped > 20
        assert chunk.torn <= 1
        ledger = account(chunk.samples, probes_of(api, 5, 0.02), chunk.samples[-1].due)
        assert ledger.outages == ()
        assert {gap.probe for gap in ledger.gaps if gap.end - gap.start > 0.3} == {f"p{n}" for n in range(5)}


def test_every_line_is_json_with_sorted_keys(tmp_path: Path) -> None:
    with FakeApi() as api, Prober(tmp_path, probes_of(api)) as prober:
        assert prober.stop() == 0
        for line in prober.out.read_text().splitlines():
            found = json.loads(line)
            assert list(found) == sorted(found)
            assert "mark" in found or {"probe", "due", "sent", "took", "result"} <= set(found)
        assert prober.out.stat().st_mode & 0o777 == 0o600
        assert prober.file.stat().st_mode & 0o777 == 0o600
