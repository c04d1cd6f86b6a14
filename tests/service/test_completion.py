"""Completion in real shells: installed with one command into a home of its own, then TAB is pressed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.doc_page import BIN
from support.kill_judge import processes_of

pytestmark = pytest.mark.service


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "PS1": "ready> ",
        "USER": "reader",
        "LOGNAME": "reader",
    }


def needed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"NOT RUN: no {shell} on PATH, so its completion was not tried in a real {shell}")
    return found


def underway(environment: Mapping[str, str], cwd: Path, *arguments: str) -> str:
    done = subprocess.run(
        [BIN / "underway", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def press(command: list[str], environment: Mapping[str, str], cwd: Path, keys: str, wanted: str) -> str:
    """What an interactive shell shows once ``keys`` were typed, until ``wanted`` is seen or 20 s are over."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(command[0], command, dict(environment))
    shown = b""
    try:
        shown += until(terminal, b"ready> ", 20)
        os.write(terminal, keys.encode())
        shown += until(terminal, wanted.encode(), 20)
    finally:
        os.close(terminal)  # the shell gets a hang-up
        os.waitpid(pid, 0)
    return shown.decode(errors="replace")


def until(terminal: int, wanted: bytes, seconds: float) -> bytes:
    found, end = b"", time.monotonic() + seconds
    while wanted not in found and (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                found += os.read(terminal, 65536)
            except OSError:
                break
    return found


def test_bash_completes_commands(shell_environment: dict[str, str], tmp_path: Path) -> None:
    bash = needed("bash")
    said = underway(shell_environment, tmp_path, "completion", "bash")
    home = Path(shell_environment["HOME"])
    assert str(home / ".local/share/bash-completion/completions/underway") in said
    # the next interactive bash reads it, with the package bash-completion or by the line in .bashrc
    bashrc = home / ".bashrc"
    if not bashrc.exists():
        bashrc.write_text(". /usr/share/bash-completion/bash_completion\n")
    with bashrc.open("a") as end:
        end.write("PS1='ready> '\n")  # the system's own start file sets another
    shown = press([bash, "--noprofile", "-i"], shell_environment, tmp_path, "underway final\t", "finalize ")
    assert "underway finalize " in shown.replace("\r", "")


def test_bash_completes_hosts_of_the_run(shell_environment: dict[str, str], tmp_path: Path) -> None:
    bash = needed("bash")
    place = tmp_path / "example"
    place.mkdir()
    underway(shell_environment, place, "init")
    script = underway(shell_environment, place, "completion", "bash", "--print")
    (place / "script").write_text(script)
    # no run yet: nothing is offered, and nothing is shown or made
    typed = "COMP_WORDS=(underway hold we); COMP_CWORD=2"
    asked = f'source ./script; {typed}; _underway_completion underway; echo "[${{COMPREPLY[*]}}]"'
    before = sorted(path.name for path in (place / ".underway").iterdir())
    assert ask(bash, asked, shell_environment, place) == "[]"
    assert (
        sorted(path.name for path in (place / ".underway").iterdir() if not path.name.startswith("state.db")) == before
    )
    (place / "cluster.yaml").write_text(
        (place / "cluster.yaml").read_text().replace("policy:\n", "policy:\n  approvals: [preflight]\n")
    )
    underway(shell_environment, place, "plan", "--to", "2.0", "-o", "plan.json")
    started = subprocess.run(
        [BIN / "underway", "upgrade", "plan.json", "--yes"],
        cwd=place, env=shell_environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert started.returncode == 4, started.stderr  # it waits for the approval; no host was touched
    underway(shell_environment, place, "abort", "--reason", "only its names were wanted")
    probers = [line for line in processes_of(place) if "underway.checks.prober" in line]
    assert probers == [], "no coordinator is left to end the prober of an aborted run"
    assert ask(bash, asked, shell_environment, place) == "[web1 web2 web3]"


def ask(bash: str, script: str, environment: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.strip()


def test_installing_twice_adds_one_line(shell_environment: dict[str, str], tmp_path: Path) -> None:
    home = Path(shell_environment["HOME"])
    (home / ".zshrc").write_text("# mine")
    for _ in range(2):
        for shell in ("bash", "zsh", "fish"):
            underway(shell_environment, tmp_path, "completion", shell)
    zshrc = (home / ".zshrc").read_text().splitlines()
    assert zshrc[0] == "# mine"
    assert sum("site-functions" in line for line in zshrc) == 1
    if (home / ".bashrc").exists():
        assert (home / ".bashrc").read_text().count("completions/underway") == 1


def test_zsh_completes_commands(shell_environment: dict[str, str], tmp_path: Path) -> None:
    zsh = needed("zsh")
    underway(shell_environment, tmp_path, "completion", "zsh")
    shown = press([zsh, "-i"], shell_environment, tmp_path, "underway final\t", "finalize ")
    assert "finalize " in shown.replace("\r", "")


def test_fish_completes_commands(shell_environment: dict[str, str], tmp_path: Path) -> None:
    fish = needed("fish")
    underway(shell_environment, tmp_path, "completion", "fish")
    done = subprocess.run(
        [fish, "-c", "complete --do-complete 'underway final'"],
        cwd=tmp_path, env=shell_environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "finalize" in done.stdout


@pytest.mark.parametrize(
    ("shell", "sign"), [("zsh", "#compdef underway"), ("fish", "complete --no-files --command underway")]
)
def test_the_scripts_are_for_their_shell(
    shell: str, sign: str, shell_environment: dict[str, str], tmp_path: Path
) -> None:
    """All that can be said where the shell is not installed: the words in the script that the shell looks for."""
    assert sign in underway(shell_environment, tmp_path, "completion", shell, "--print")
