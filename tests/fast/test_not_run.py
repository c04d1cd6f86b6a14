"""What was not run closes the output, and a tier of which nothing was run is said to count as not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]

WITHOUT_ROOT = """
import pytest

@pytest.fixture
def small():
    pytest.skip("NOT RUN: needs root")

def test_one(small): ...
def test_two(small): ...
"""
SOME = """
import pytest

def test_it(): ...
def test_browser(): pytest.skip("NOT RUN: no browser")
def test_other(): pytest.skip("on Thursdays only")
"""


def test_what_was_not_run_is_told_last(tmp_path: Path) -> None:
    for name, text in (("lab/test_lab.py", WITHOUT_ROOT), ("service/test_web.py", SOME)):
        (tmp_path / "tests" / name).parent.mkdir(parents=True)
        (tmp_path / "tests" / name).write_text(text)
    shutil.copyfile(HERE / "tests/conftest.py", tmp_path / "tests/conftest.py")
    told = tmp_path / "told"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path, env={**os.environ, "UNDERWAY_NOT_RUN": str(told)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    lines = [
        "tests/lab: all of its tests (2): this tier counts as not run: needs root",
        "tests/service: 1 of its tests: no browser",
    ]
    assert told.read_text().splitlines() == lines
    assert done.stdout.splitlines()[-3:-1] == lines and " NOT RUN " in done.stdout.splitlines()[-4]
    assert "Thursdays" not in told.read_text()


def test_what_every_submission_must_pass_closes_with_it(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(HERE / ".ci/run", tmp_path / ".ci/run")
    says = '#!/bin/sh\n[ "$1" != lab ] || echo "tests/lab: all of its tests (8): needs root" >> "$UNDERWAY_NOT_RUN"\n'
    for name, text in (("check", "#!/bin/sh\n"), ("test", f'{says}echo "$@ is good"\n')):
        (tmp_path / "scripts" / name).write_text(text)
        (tmp_path / "scripts" / name).chmod(0o755)
    done = subprocess.run([tmp_path / ".ci/run"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "ci: NOT RUN: tests/lab: all of its tests (8): needs root",
        "ci: what is good above says nothing of these",
    ]
