"""The catalogue's script of online migrations, with a tool that answers as told in the place of nova-manage."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from support.fake_api import FakeApi
from underway.config import shipped

SCRIPT = yaml.safe_load((shipped.HOME / "openstack/nova.yaml").read_text())["vars"]["nova_portions"]
TOOL = """\
import json, pathlib, sys
left = pathlib.Path({left!r})
code, rows = (told := json.loads(left.read_text())).pop(0)
left.write_text(json.dumps(told))
if rows is None:
    raise SystemExit("Traceback (most recent call last):\\nConfigFilesNotFoundError: nova.conf")
print("Running", file=sys.stderr)
print("+------+\\n|  Migration   | Total Needed | Completed |\\n+------+")
print(f"| migrate_this |      10      |     {{rows}}     |")
print("| migrate_that |      0       |     0     |\\n+------+")
sys.exit(code)
"""


def portions(
    directory: Path, told: list[tuple[int, int | None]], url: str = "", limit: str = "1", patience: str = "600"
) -> subprocess.CompletedProcess[str]:
    """Run the script. ``told``: of each portion the exit code and the rows that it moves; None: it breaks off."""
    left = directory / "told"
    left.write_text(json.dumps(told))
    tool = directory / "tool.py"
    tool.write_text(TOOL.format(left=str(left)))
    return subprocess.run(
        [sys.executable, "-", url, limit, patience, sys.executable, str(tool)],
        input=SCRIPT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [([(0, 0)], "1 portions, 0 rows\n"), ([(1, 10), (1, 5), (0, 0)], "migrate_this: 15 rows\n3 portions, 15 rows\n")],
)
def test_migrations_go_on_while_there_is_more(tmp_path: Path, told: list[tuple[int, int | None]], said: str) -> None:
    ran = portions(tmp_path, told)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, said, "")


@pytest.mark.parametrize("code", [2, 127])
def test_a_failure_ends_them_with_its_own_code_and_words(tmp_path: Path, code: int) -> None:
    ran = portions(tmp_path, [(1, 10), (code, 0), (0, 0)])
    assert ran.returncode == code
    assert "| migrate_this |" in ran.stdout and ran.stdout.endswith("migrate_this: 10 rows\n2 portions, 10 rows\n")


def test_a_tool_that_breaks_off_is_not_taken_for_one_that_has_more_to_do(tmp_path: Path) -> None:
    ran = portions(tmp_path, [(1, 10), (1, None), (0, 0)])
    assert ran.returncode == 1 and ran.stdout.endswith("2 portions, 10 rows\n")
    assert ran.stderr.endswith("nova-manage broke off with exit code 1: it printed no table of migrations\n")
    assert "ConfigFilesNotFoundError: nova.conf" in ran.stderr


def test_portions_that_move_nothing_end(tmp_path: Path) -> None:
    ran = portions(tmp_path, [(1, 0), (1, 3), (1, 0), (1, 0), (0, 0)])
    assert ran.returncode == 1 and ran.stdout.endswith("4 portions, 3 rows\n")
    assert ran.stderr.endswith("two portions moved nothing, and there is more to move: see the log of nova-manage\n")


def test_a_service_that_stays_slow_ends_them(tmp_path: Path) -> None:
    with FakeApi() as api:
        ran = portions(tmp_path, [(1, 1), (0, 0)], api.url, limit="-1", patience="1")
    assert ran.returncode == 1
    assert ran.stderr == f"{api.url} took longer than -1 s for 1 s: nothing is moved while it is so slow\n"
    assert ran.stdout.startswith("paused 1 times, ") and ran.stdout.endswith(" s\n0 portions, 0 rows\n")


def test_a_service_that_recovers_is_waited_for_and_the_pause_told(tmp_path: Path) -> None:
    def recover() -> None:
        while not api.seen:
            time.sleep(0.05)
        api.set("ok")

    with FakeApi(delay=30.0) as api:
        api.set("slow")
        again = threading.Thread(target=recover, daemon=True)
        again.start()
        ran = portions(tmp_path, [(1, 4), (0, 0)], api.url, limit="20")
        again.join(60)
    assert ran.returncode == 0
    assert re.fullmatch(
        r"migrate_this: 4 rows\n"
        r"paused 1 times, \d+ s in all: the slowest answer took \d+\.\d\d s\n"
        r"2 portions, 4 rows\n",
        ran.stdout,
    )


def test_a_service_that_is_gone_is_a_pause_too(tmp_path: Path) -> None:
    with FakeApi() as api:
        api.set("refused")
        ran = portions(tmp_path, [(1, 4), (0, 0)], api.url, patience="0")
    assert ran.returncode == 1 and "no answer from " in ran.stdout
    assert "paused 1 times, 0 s in all: there was no answer\n" in ran.stdout
