"""stestr for real: results by the stream, each test once, what does not exist, what was cut off."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.fake_api import wall
from underway.checks.suites.base import Around
from underway.checks.suites.run import run_suite
from underway.core.model.check import Suite, SuiteResult, Tempest, Testinfra

pytestmark = [pytest.mark.service, pytest.mark.slow]

STESTR = str(Path(sys.executable).parent / "stestr")

TESTS = """
import os
import time
import unittest


class Good(unittest.TestCase):
    def test_one(self):
        with open(os.environ.get("TOUCHED", os.devnull), "a") as file:
            file.write("one\\n")

    def test_two(self):
        pass

    @unittest.skip("not here")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail("as known")


class Bad(unittest.TestCase):
    def test_fails(self):
        self.assertEqual(1, 2)

    @unittest.expectedFailure
    def test_unexpected(self):
        pass


class Unset(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("no such region")

    def test_a(self):
        pass

    def test_b(self):
        pass


class Left(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        raise RuntimeError("an image is left")

    def test_d(self):
        pass


class Elsewhere(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("no volume service")

    def test_c(self):
        pass


class Long(unittest.TestCase):
    def test_hangs(self):
        time.sleep(120)
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("workspace")
    (found / "some").mkdir()
    (found / "some/__init__.py").touch()
    (found / "some/test_all.py").write_text(textwrap.dedent(TESTS))
    (found / ".stestr.conf").write_text("[DEFAULT]\ntest_path=./some\ntop_dir=./\n")
    subprocess.run([STESTR, "init"], cwd=found, check=True, timeout=60)
    return found


def run(workspace: Path, tmp_path: Path, timeout: float = 120.0, **ask: object) -> SuiteResult:
    asked = Tempest(directory=str(workspace), program=STESTR, workers=1, **ask)  # type: ignore[arg-type]
    return run_suite(
        Suite(name="it", kind="tempest", tempest=asked, timeout=timeout),
        Around("2", tmp_path, tmp_path / "saved", wall),
    )


def outcomes(found: SuiteResult) -> dict[str, str]:
    assert len({case.id for case in found.cases}) == len(found.cases)
    return {case.id.removeprefix("some.test_all."): case.outcome for case in found.cases}


def test_every_test_has_its_outcome(workspace: Path, tmp_path: Path) -> None:
    found = run(workspace, tmp_path, exclude={"*": ("Long",)})
    assert found.problem == ""
    assert outcomes(found) == {
        "Good.test_one": "passed",
        "Good.test_two": "passed",
        "Good.test_skipped": "skipped",
        "Good.test_expected": "passed",
        "Bad.test_fails": "failed",
        "Bad.test_unexpected": "failed",
        "Unset.test_a": "failed",
        "Unset.test_b": "failed",
        "Left.test_d": "passed",
        "tearDownClass (some.test_all.Left)": "failed",
        "Elsewhere.test_c": "skipped",
    }
    texts = {case.id.rpartition(".")[2]: case.text for case in found.cases}
    assert texts["test_fails"] == "AssertionError: 1 != 2"
    assert texts["test_skipped"] == "not here"
    assert "no such region" in texts["test_a"]
    assert texts["test_c"] == "no volume service"


def test_each_once_and_what_does_not_exist(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "touched"
    monkeypatch.setenv("TOUCHED", str(touched))
    names = ("some.test_all.Good.test_one", "some.test_all.Good.test_on", "some.test_all.Good.test_one")
    found = run(workspace, tmp_path, select=("test_one",), tests={"2": names, "3": ("some.test_all.Good.test_two",)})
    assert outcomes(found) == {"Good.test_on": "missing", "Good.test_one": "passed"}
    assert found.cases[0].text == "no such test (did you mean 'some.test_all.Good.test_one'?)"
    assert touched.read_text() == "one\n"


def test_a_test_that_hangs_costs_no_other_its_result(workspace: Path, tmp_path: Path) -> None:
    found = run(workspace, tmp_path, timeout=8.0, select=(r"Good\.test_two", "Long"))
    assert found.problem == "not over after 8 s"
    said = outcomes(found)
    assert said["Long.test_hangs"] == "failed"
    assert said["Good.test_two"] == "passed"
    assert {case.text for case in found.cases if case.outcome == "failed"} <= {
        "it began and never ended",
        "it was chosen and not run",
    }


def test_nothing_to_run(workspace: Path, tmp_path: Path) -> None:
    assert run(workspace, tmp_path, select=("nothing-of-the-kind",)).problem == "no test is selected"


def test_no_stestr(tmp_path: Path) -> None:
    asked = Tempest(directory=str(tmp_path), program="/nowhere/stestr")
    found = run_suite(Suite(name="it", kind="tempest", tempest=asked), Around("2", tmp_path, tmp_path / "saved", wall))
    assert found.problem == "stestr list: /nowhere/stestr: No such file or directory"


def test_no_workspace(tmp_path: Path) -> None:
    found = run(tmp_path, tmp_path)
    assert found.problem.startswith("stestr list: ")


def test_pytest_and_its_results(tmp_path: Path) -> None:
    """Without hosts there is nothing of testinfra in it: what is read is pytest's own file."""
    (tmp_path / "test_hosts.py").write_text(
        "import pytest\n\n"
        "def test_good():\n    pass\n\n"
        "def test_bad():\n    assert 1 == 2, 'too old'\n\n"
        "@pytest.mark.skip(reason='not here')\ndef test_skipped():\n    pass\n\n"
        "@pytest.fixture\ndef broken():\n    raise OSError('no ssh')\n\n"
        "def test_error(broken):\n    pass\n"
    )
    asked = Testinfra(python=sys.executable, files=(str(tmp_path / "test_hosts.py"),))
    found = run_suite(
        Suite(name="it", kind="testinfra", testinfra=asked, timeout=60), Around("2", tmp_path, tmp_path / "saved", wall)
    )
    assert found.problem == ""
    assert [(case.id.rpartition(".")[2], case.outcome) for case in found.cases] == [
        ("test_good", "passed"), ("test_bad", "failed"), ("test_skipped", "skipped"), ("test_error", "failed"),
    ]  # fmt: skip
    assert [case.text for case in found.cases][1:3] == ["AssertionError: too old", "not here"]
    missing = Testinfra(python=sys.executable, files=(str(tmp_path / "nowhere.py"),))
    found = run_suite(
        Suite(name="it", kind="testinfra", testinfra=missing, timeout=60),
        Around("2", tmp_path, tmp_path / "saved", wall),
    )
    assert found.problem.startswith("pytest: exit 4")
