"""What is shipped beside the agent: its units, and the socket through which it calls the runner, which is root's."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from underway_agent import identity
from underway_agent.install import PREFIX, SHIPPED, UNITS, USER


def unit(name: str = "underway-agent.service") -> str:
    return (SHIPPED / name).read_text()


def setting(name: str, of: str) -> str:
    (value,) = [line.partition("=")[2] for line in unit(of).splitlines() if line.startswith(f"{name}=")]
    return value


class Socket:
    """What systemd does for a socket with ``Accept=yes``: the unit's program for each connection, with it as input."""

    def __init__(self, tmp_path: Path, cwd: Path, **environment: str) -> None:
        self.path = tmp_path / "runner.sock"
        program, *words = shlex.split(setting("ExecStart", "underway-runner@.service"))
        assert program == f"{PREFIX}/bin/python"
        self._words, self._cwd = [sys.executable, *words], cwd
        self._env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "PATH": os.environ["PATH"]}
        self._env.update(environment)
        self.doors: list[subprocess.Popen[bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self._listener.accept()[0] as line:
                    self.doors.append(
                        subprocess.Popen(
                            self._words, stdin=line.fileno(), stdout=line.fileno(), stderr=subprocess.DEVNULL,
                            cwd=self._cwd, env=self._env,
                        )
                    )  # fmt: skip

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.doors:
            one.kill()
            one.wait()

    def words(self, *words: str) -> list[str]:
        """As the agent calls the runner."""
        _, *through, place = identity.DEFAULT_RUNNER
        assert place == setting("ListenStream", "underway-runner.socket")
        return [sys.executable, *through, str(self.path), *words]

    def call(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), input=text, capture_output=True, text=True, check=False, timeout=60)

    def open(self, *words: str) -> subprocess.Popen[bytes]:
        """A call whose input stays open, once the runner is there."""
        seen = len(self.doors)
        caller = subprocess.Popen(
            self.words(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until(lambda: len(self.doors) > seen and bool(children(self.doors[-1].pid)))
        return caller


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Socket]:
    made = Socket(tmp_path, Path("/"))
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited for 60 s"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def test_the_agent_calls_the_runner_through_the_socket(runner: Socket) -> None:
    done = runner.call("ping")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["kind"] == "pong"
    done = runner.call("enrol", text='{"cluster": 1}\n')
    assert done.returncode == 0 and json.loads(done.stdout)["kind"] == "refused"
    done = runner.call("follow")  # a mistake: its words and its status are the call's own
    assert done.returncode == 2 and "required" in done.stderr and not done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("attend",), ("drive",), ("start",), ("door",), ("-c", "print(1)"), ("--version",), ("run", "--dir", "/tmp/x"),
        ("ping", "--dir=/tmp/x"), ("ping", "--di", "/tmp/x"), ("ping", "--d=/tmp/x"), ("--dir", "ping"), ("ping ",),
        ("ping", "a\0b"),
    ],
)  # fmt: skip
def test_nothing_but_the_runner_in_its_own_place_can_be_called(runner: Socket, words: tuple[str, ...]) -> None:
    assert asked(runner, json.dumps({"arguments": words}).encode() + b"\n")["door"] == 126


@pytest.mark.parametrize(
    "raw",
    [b"\n", b"[]\n", b"{}\n", b'{"arguments": "ping"}\n', b'{"arguments": [1]}\n', b"[" * 60000 + b"\n", b"x" * 65536],
    ids=["empty", "list", "nothing", "text", "number", "deep", "endless"],
)
def test_what_is_no_call_is_refused(runner: Socket, raw: bytes) -> None:
    assert asked(runner, raw)["door"] == 126


def asked(runner: Socket, raw: bytes) -> dict[str, object]:
    """The answer to these bytes, from whoever took over the agent."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(str(runner.path))
        line.sendall(raw)
        line.shutdown(socket.SHUT_WR)
        with line.makefile("rb") as lines:
            (said,) = [json.loads(one) for one in lines if b'"door"' in one]
            return dict(said)


def test_neither_directory_nor_environment_says_what_is_imported(tmp_path: Path) -> None:
    evil = tmp_path / "underway_runner"
    evil.mkdir()
    (evil / "__init__.py").write_text("")
    (evil / "__main__.py").write_text("print('evil')")
    here = Socket(tmp_path, tmp_path, PYTHONPATH=str(tmp_path), PYTHONSTARTUP=str(evil))
    try:
        done = here.call("follow", "--help")
    finally:
        here.close()
    assert done.returncode == 0 and "usage: underway-runner follow" in done.stdout and "evil" not in done.stdout


def test_a_call_ends_with_its_caller(runner: Socket) -> None:
    caller = runner.open("enrol")  # it waits for its request
    caller.kill()
    caller.communicate()
    runner.doors[-1].wait(60)


def test_a_call_that_is_cut_off_is_no_answer(runner: Socket) -> None:
    caller = runner.open("enrol")
    for pid in [*children(runner.doors[-1].pid), runner.doors[-1].pid]:
        os.kill(pid, signal.SIGKILL)
    _, said = caller.communicate(timeout=60)
    assert caller.returncode != 0 and said.strip(), "whoever asked would take silence for an answer"


def test_nobody_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    words = [sys.executable, *identity.DEFAULT_RUNNER[1:-1], str(tmp_path / "none"), "ping"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, input="")
    assert done.returncode == 127 and "systemctl enable --now underway-runner.socket" in done.stderr


def test_units_are_of_one_mind() -> None:
    socket_unit, service = "underway-runner.socket", "underway-runner@.service"
    assert set(UNITS) == {path.name for path in SHIPPED.iterdir()}
    assert (setting("SocketUser", socket_unit), setting("SocketMode", socket_unit)) == (USER, "0600")
    assert setting("Accept", socket_unit) == "yes" and setting("Requires", UNITS[-1]) == socket_unit
    assert setting("KillMode", service) == "process", "a pass would be ended with the call that began it"
    assert setting("User", UNITS[-1]) == USER and "\nUser=" not in unit(service)


def analysed(tmp_path: Path, *words: str) -> str:
    """What systemd says of the units, with programs and a user that are here."""
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("NOT RUN: systemd-analyze is not installed here (Debian: systemd)")
    for name in UNITS:
        text = (
            unit(name).replace(f"{PREFIX}/bin/underway-agent", "/bin/true").replace(f"{PREFIX}/bin/python", "/bin/true")
        )
        (tmp_path / name).write_text(text.replace("=underway-agent\n", "=daemon\n"))
    place = str(tmp_path / "underway-agent.service")
    done = subprocess.run(["systemd-analyze", *words, place], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    told = [line for line in analysed(tmp_path, "verify").splitlines() if "underway-" in line]
    assert not told, told


def test_the_agent_is_confined(tmp_path: Path) -> None:
    said = analysed(tmp_path, "security", "--offline=true", "--no-pager")
    if "Overall exposure" not in said:
        pytest.skip(f"NOT RUN: this systemd-analyze cannot look at a unit's file ({said.strip()[:100]})")
    (level,) = [line for line in said.splitlines() if "Overall exposure" in line]
    assert float(level.split(": ")[1].split()[0]) <= 2.0, said
