"""Hosts that are not of today: the oldest Python, and agents whose protocol is one before or after ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fleet import EFFECTS, Fleet
from underway_agent.letters import PROTOCOL

pytestmark = [pytest.mark.service, pytest.mark.slow]

TOP = Path(__file__).parents[2]
OLD = TOP / ".pythons/3.9/bin/python"

NEIGHBOUR = """\
# The agent of another release, as far as letters can tell: it says another number, and checks others' by it.
import sys
from underway_agent import letters
letters.PROTOCOL = {protocol}
from underway_agent.main import main
sys.exit(main())
"""


def old_python() -> str:
    if not OLD.exists():
        pytest.skip("NOT RUN: no Python 3.9 in .pythons (scripts/pythons makes it, where there is one)")
    return str(OLD)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "fleet")
    made.make()
    made.serve()
    yield made
    made.close()


def speaking(tmp_path: Path, protocol: int) -> list[str]:
    program = tmp_path / f"agent{protocol}.py"
    program.write_text(NEIGHBOUR.format(protocol=protocol))
    return [sys.executable, str(program)]


def test_every_module_that_hosts_get_is_one_of_the_oldest_python() -> None:
    """Those that a small upgrade has no use for, too."""
    look = (
        "import importlib, pkgutil, sys, underway_agent, underway_runner\n"
        "names = [one.name for part in (underway_agent, underway_runner)"
        " for one in pkgutil.walk_packages(part.__path__, part.__name__ + '.') if not one.name.endswith('__main__')"
        " and '.plugins' not in one.name]\n"
        "[importlib.import_module(name) for name in names]\n"
        "print(sys.version_info[:2], len(names))\n"
    )
    done = subprocess.run([old_python(), "-W", "error", "-c", look], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 9) ") and int(done.stdout.split()[-1]) > 40, done.stdout


def test_hosts_of_other_releases_are_upgraded_with_the_others(fleet: Fleet, tmp_path: Path) -> None:
    """One on Python 3.9, one a protocol behind, one ahead. One that is too far is refused, in words, on the host."""
    fleet.pythons["web1"] = old_python()
    fleet.programs["web2"] = speaking(tmp_path, PROTOCOL + 1)
    fleet.programs["web3"] = speaking(tmp_path, PROTOCOL - 1)
    for host in fleet.hosts:
        fleet.enrol(host)
        fleet.agent(host)
    assert fleet.upgrade().wait(600) == 0, fleet.told()
    for host in fleet.hosts:
        assert fleet.effects(host) == EFFECTS, f"{host}: {fleet.effects(host)}: {fleet.told()}"
    listed = {one["host"]: one for one in json.loads(fleet.underway("host", "list", "--json"))}
    assert [listed[host]["protocol"] for host in fleet.hosts] == [PROTOCOL, PROTOCOL + 1, PROTOCOL - 1]
    fleet.end("agent-web3")
    fleet.programs["web3"] = speaking(tmp_path, PROTOCOL + 2)
    fleet.agent("web3")
    words = f"the agent of web3 speaks protocol {PROTOCOL + 2}, this server speaks {PROTOCOL}: only neighbours"
    fleet.wait(lambda: words in fleet.log("agent-web3"))
    assert "Traceback" not in fleet.told()
