"""The small laboratory, booted for real: what it says, what it serves, and that nothing is left of it.

Needs root and Debian's archive. It uses the laboratory's directory of this machine (``UNDERWAY_LAB``), so that layers
are built once; a laboratory that is up is left alone, and the test says so. All of it takes no more than ten minutes.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labkit import machine, network
from labkit.places import PROJECT, places
from labkit.topology import BRIDGE, SMALL, VIP

pytestmark = pytest.mark.lab


LIMIT = 600.0
"""Seconds that all tests of this file may take together."""
_BEGAN: list[float] = []


def left_of_limit() -> float:
    """Seconds, from the first test on."""
    if not _BEGAN:
        _BEGAN.append(time.monotonic())
    return LIMIT - (time.monotonic() - _BEGAN[0])


def lab(*words: str, timeout: float = 0) -> str:
    timeout = timeout or left_of_limit()
    assert timeout > 0, f"the tests of the small laboratory took more than {LIMIT:.0f} s"
    done = subprocess.run(
        [PROJECT / "lab/run", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"lab/run {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def left() -> dict[str, list[str]]:
    """What of a laboratory is on this machine."""
    return {
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if str(places().hosts) in line],
        "namespaces": [path.name for path in Path("/run/netns").glob(network.namespace("*"))],
        "links": [path.name for path in Path("/sys/class/net").iterdir() if ours(path.name)],
        "processes": [
            path.name
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and f"{places().hosts}".encode() in _command(path)
        ],
    }


def ours(link: str) -> bool:
    return link == BRIDGE or link.startswith(network.port(""))


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


NOTHING: dict[str, list[str]] = {"mounts": [], "namespaces": [], "links": [], "processes": []}


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[str]:
    if obstacle := machine.obstacle():
        pytest.skip(f"NOT RUN: {obstacle}")
    if (places().run / "lab.json").exists():
        pytest.skip(f"NOT RUN: a laboratory is up in {places().top}, and is left alone; 'lab/run down' ends it")
    request.addfinalizer(lambda: lab("down", timeout=120))
    yield lab("up", "--small")


def healthy(patience: float = 30) -> int:
    """Answers of Keystone behind the balancer until it says 200, or the time is over."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(f"http://{VIP}:5000/healthcheck", timeout=10) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_it_serves_keystone_and_says_what_it_took(small: str, record_property: Callable[[str, object], None]) -> None:
    record_property("figures", small.strip().splitlines()[-2])
    assert healthy() == 200
    text = lab("status")
    assert text.count(" active 2025.1") == 3
    assert max(map(len, text.splitlines())) <= 80


def test_hosts_are_debian_of_their_own(small: str) -> None:
    for host in SMALL.hosts:
        failed = "systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1"
        name, system, *units = lab("ssh", host.name, f"hostname; systemctl is-system-running || true; {failed}").split()
        assert name == host.name
        assert (system in ("running", "starting"), units) == (True, []), f"{name} is {system}: {units} failed"


def test_nothing_leads_out_of_the_network(small: str) -> None:
    assert "default" not in lab("ssh", "c1", "ip route")


def test_a_host_that_lost_its_power_comes_back_by_itself(small: str) -> None:
    lab("halt", "c2")
    assert healthy() == 200
    lab("boot", "c2")
    assert lab("ssh", "c2", "systemctl is-active mariadb keystone").split() == ["active", "active"]


def test_a_host_that_reboots_itself_joins_again(small: str) -> None:
    before = lab("ssh", "c3", "stat -c %Y /proc/1").split()[0]
    lab("ssh", "c3", "systemctl reboot --no-block")
    deadline = time.monotonic() + 90
    while True:
        said = subprocess.run(
            [PROJECT / "lab/run", "ssh", "c3", "stat -c %Y /proc/1; systemctl is-active mariadb keystone"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if said[1:] == ["active", "active"] and said[0] != before:
            return
        assert time.monotonic() < deadline, said
        time.sleep(1)


def test_a_restored_laboratory_has_forgotten_what_was_written(small: str) -> None:
    lab("ssh", "c1", "touch /etc/written")
    name = json.loads((places().run / "lab.json").read_text())["snapshot"]
    lab("restore", name)
    assert healthy() == 200
    assert lab("ssh", "c1", "test -e /etc/written && echo there || echo gone").split() == ["gone"]


def test_it_is_upgraded_to_the_end_while_its_coordinator_is_killed(
    small: str, record_property: Callable[[str, object], None]
) -> None:
    said = lab("scenario", "killed", "--kills", "3", "--as-it-is")  # exit code 0: all is as promised
    record_property("figures", next(line for line in said.splitlines() if "hosts upgraded in" in line))
    assert lab("status").count(" active 2026.1") == 3


def test_a_restart_is_rolled_out_and_nobody_notices(small: str, record_property: Callable[[str, object], None]) -> None:
    said = lab("scenario", "restarted")
    record_property("figures", next(line for line in said.splitlines() if "hosts done in" in line))


def test_down_after_a_kill_leaves_nothing_and_takes_nothing_else(small: str) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    began = subprocess.Popen(
        [PROJECT / "lab/run", "restore", json.loads((places().run / "lab.json").read_text())["snapshot"]]
    )
    time.sleep(4)
    began.send_signal(signal.SIGKILL)
    began.wait()
    lab("down")
    assert left() == NOTHING
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert "lab: down: ended 0 hosts" in lab("down")  # again: nothing to do


def test_all_of_this_took_no_more_than_ten_minutes(small: str, record_property: Callable[[str, object], None]) -> None:
    took = LIMIT - left_of_limit()
    record_property("figures", f"tests of the small laboratory: {took:.0f} s, at most {LIMIT:.0f} s are allowed")
    assert took <= LIMIT
