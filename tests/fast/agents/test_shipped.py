"""What is shipped beside the agent: the unit, and the one program that its sudoers entry names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from underway_agent.identity import DEFAULT_RUNNER

AGENT = Path(__file__).parents[3] / "agent"


def call(tmp_path: Path, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program with this environment's Python in the place of the installed one."""
    text = (AGENT / "underway-runner-as-root").read_text()
    assert text.count("/opt/underway/bin/python") == 1
    program = tmp_path / "runner"
    program.write_text(text.replace("/opt/underway/bin/python", sys.executable))
    program.chmod(0o755)
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "PATH": os.environ["PATH"], **environment}
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, env=home, input="", cwd=cwd)


@pytest.mark.parametrize(
    "words",
    [
        (), ("attend",), ("drive",), ("start",), ("-c", "print(1)"), ("--version",), ("run", "--dir", "/tmp/x"),
        ("ping", "--dir=/tmp/x"), ("ping", "--di", "/tmp/x"), ("ping", "--d=/tmp/x"), ("--dir", "ping"), ("ping ",),
    ],
)  # fmt: skip
def test_nothing_but_the_runner_in_its_own_place_can_be_called(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(tmp_path, *words)
    assert done.returncode == 126 and done.stderr.startswith("underway-runner: ") and not done.stdout


def test_neither_directory_nor_environment_says_what_is_imported(tmp_path: Path) -> None:
    evil = tmp_path / "underway_runner"
    evil.mkdir()
    (evil / "__init__.py").write_text("")
    (evil / "__main__.py").write_text("print('evil')")
    done = call(tmp_path, "follow", "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONSTARTUP=str(evil))
    assert done.returncode == 0 and "usage: underway-runner follow" in done.stdout and "evil" not in done.stdout


def test_the_agent_starts_what_the_sudoers_entry_names() -> None:
    unit = (AGENT / "underway-agent.service").read_text()
    assert f"NOPASSWD: {DEFAULT_RUNNER[-1]}\n" in unit
    assert f"{DEFAULT_RUNNER[-1]}," in (AGENT / "underway-runner-as-root").read_text()
    assert "KillMode=process" in unit, "a pass would be ended with the agent"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("NOT RUN: systemd-analyze is not installed here (Debian: systemd)")
    unit = tmp_path / "underway-agent.service"
    text = (AGENT / "underway-agent.service").read_text()
    unit.write_text(
        text.replace("/opt/underway/bin/underway-agent", "/bin/true")
        .replace("User=underway-agent", "User=daemon")
        .replace("Group=underway-agent", "Group=daemon")
    )
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if "underway-agent.service" in line]
    assert not told, told
