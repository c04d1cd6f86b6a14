"""What is shipped beside the agent: the unit, and the one program that its sudoers entry names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from underway_agent.identity import DEFAULT_RUNNER
from underway_agent.install import FILES, PREFIX, SHIPPED, USER


def call(tmp_path: Path, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program with this environment's Python in the place of the installed one."""
    text = (SHIPPED / "underway-runner").read_text()
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
    entry = (SHIPPED / "underway-agent.sudoers").read_text()
    rules = [line for line in entry.splitlines() if line and not line.startswith(("#", "Defaults"))]
    assert rules == [f"{USER} ALL=(root) NOPASSWD: {DEFAULT_RUNNER[-1]}"]
    assert {file.name: file.place for file in FILES}["underway-runner"] == DEFAULT_RUNNER[-1]
    assert f"{DEFAULT_RUNNER[-1]}," in (SHIPPED / "underway-runner").read_text()
    assert "KillMode=process" in unit(), "a pass would be ended with the agent"


def unit() -> str:
    return (SHIPPED / "underway-agent.service").read_text()


def analysed(tmp_path: Path, *words: str) -> str:
    """What systemd says of the unit, with a program and a user that are here."""
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("NOT RUN: systemd-analyze is not installed here (Debian: systemd)")
    place = tmp_path / "underway-agent.service"
    text = unit().replace(f"{PREFIX}/bin/underway-agent", "/bin/true")
    place.write_text(text.replace("User=underway-agent", "User=daemon").replace("Group=underway-agent", "Group=daemon"))
    done = subprocess.run(["systemd-analyze", *words, str(place)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    told = [line for line in analysed(tmp_path, "verify").splitlines() if "underway-agent.service" in line]
    assert not told, told


def test_the_agent_is_nobody_and_its_hardening_leaves_the_runner_root(tmp_path: Path) -> None:
    """What can be had without taking from what sudo starts is had; the rest of systemd's list is the runner's need."""
    said = analysed(tmp_path, "security", "--offline=true", "--no-pager")
    if "Overall exposure" not in said:
        pytest.skip(f"NOT RUN: this systemd-analyze cannot look at a unit's file ({said.strip()[:100]})")
    good = {line.split()[1].replace("=", "") for line in said.splitlines() if line.startswith("✓")}
    assert {
        "User/DynamicUser",
        "AmbientCapabilities",
        "SupplementaryGroups",
        "UMask",
        "Delegate",
        "NotifyAccess",
    } <= good
    kept = (
        "NoNewPrivileges",
        "CapabilityBoundingSet",
        "SystemCallFilter",
        "ProtectSystem",
        "PrivateTmp",
        "RestrictSUIDSGID",
    )
    settings = [line.partition("=")[0] for line in unit().splitlines() if not line.startswith("#")]
    assert not [name for name in kept if name in settings], "the pass of the runner would inherit it"
    assert all(name in unit() for name in ("NoNewPrivileges", "SystemCallFilter", "ProtectSystem")), "it says why not"
