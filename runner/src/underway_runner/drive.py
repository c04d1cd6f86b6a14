"""``drive``: the coordinator's side of a host that cannot have ansible-core.

Called where ``run`` would be called on the host, and answers the same: ``accepted``, the journal's lines, the status.
In between it leaves a detached process here, the driver, which holds one connection to the host's ``attend`` and runs
Ansible over SSH when that says so. The driver decides nothing: if the connection breaks it ends its Ansible and goes.

The request is ``{"order": request of attend, "attend": argv, "follow": argv, "ssh": options, "place": directory}``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from underway_runner import disk, playbook, procs
from underway_runner.ansible_run import environment, read_sessions
from underway_runner.channel import ALIVE_EVERY, DRIVER_PATIENCE, Channel, woken_by_signals
from underway_runner.driven import Driven
from underway_runner.errors import LineBroken


def main(line: bytes) -> int:
    """Start or find the driver, say what the host answered, and become the call that follows its journal."""
    request = json.loads(line)
    said = _begin(request)
    if said.get("kind") == "lost":
        sys.stderr.write(f"{said['text']}\n")
        return int(said["status"]) or 1
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    if said.get("kind") == "accepted":
        os.execvp(request["follow"][0], request["follow"])
    return 0


def _begin(request: Mapping[str, Any]) -> Dict[str, Any]:
    """Fork the driver away; what the host has answered it."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    if os.fork() == 0:
        status = 1
        try:
            os.close(reader)
            os.setsid()
            if os.fork() == 0:
                _become(request, writer)
                status = 0
        finally:
            os._exit(status)
    os.close(writer)
    os.wait()
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    if not data:
        return {"kind": "lost", "status": 1, "text": "the driver ended before the host had answered"}
    found: Dict[str, Any] = json.loads(data)
    return found


def _become(request: Mapping[str, Any], writer: int) -> None:
    """The driver: its own session, its log beside its files."""
    os.umask(0o077)
    place = Path(request["place"])
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(place / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir("/")
    driver = Driver(request, place)
    try:
        said = driver.connect()
        disk.write_all(writer, json.dumps(said).encode("ascii"))
        os.close(writer)
        if said.get("kind") == "accepted" and not said.get("text"):
            driver.serve()
    finally:
        driver.close()


class Driver:
    """One pass of one host, driven from here."""

    def __init__(self, request: Mapping[str, Any], place: Path) -> None:
        self._request = request
        self._place = place
        order = dict(request["order"])
        self._vault = str(order.pop("vault_password", None) or "")  # opened here: the host has no use for it
        self._files = {name: base64.b64decode(text) for name, text in order["files"].items()}
        ticket = json.loads(base64.b64decode(json.loads(base64.b64decode(order["ticket"]))["payload"]))
        self._token = int(ticket["token"])
        book = self._files.get(ticket["playbook"], b"")
        self._order = {**order, "structure": playbook.Book(book).plain()}
        self._home: Optional[Path] = None
        self._link: Optional["subprocess.Popen[bytes]"] = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the driver
        self._channel: Optional[Channel] = None
        self._ansible: Optional[Driven] = None

    def connect(self) -> Dict[str, Any]:
        """Call ``attend`` on the host; its answer, or ``lost`` with the last words of the connection."""
        self._link = subprocess.Popen(
            self._request["attend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,  # what follows the first line is the channel's to read
        )
        assert self._link.stdin is not None and self._link.stdout is not None
        procs.KEPT.add(self._link.pid)
        try:
            disk.write_all(self._link.stdin.fileno(), json.dumps(self._order).encode("ascii") + b"\n")
            answer = self._link.stdout.readline()
            found: Dict[str, Any] = json.loads(answer)
        except (OSError, ValueError):
            status = self._end_link()
            self._errors.seek(0)
            words = self._errors.read()[-4096:].decode("utf-8", errors="replace").strip()
            text = words.splitlines()[-1] if words else f"the connection ended (status {status})"
            return {"kind": "lost", "status": status, "text": text}
        self._channel = Channel(self._link.stdout.fileno(), self._link.stdin.fileno())
        return found

    def serve(self) -> None:
        """Do what the host says until it is done or the line breaks; nothing of Ansible is left here then."""
        assert self._channel is not None
        self._make_home()
        try:
            with woken_by_signals() as wake, selectors.DefaultSelector() as selector:
                selector.register(self._channel.reading, selectors.EVENT_READ, "line")
                selector.register(wake, selectors.EVENT_READ, "wake")
                alive = 0.0
                while True:
                    now = time.monotonic()
                    if now - self._channel.heard > DRIVER_PATIENCE:
                        raise LineBroken(f"the host has said nothing for {DRIVER_PATIENCE:.0f} s")
                    if now - alive >= ALIVE_EVERY:
                        self._channel.send({"alive": True})
                        alive = now
                    self._look(selector, wake)
                    if self._done:
                        return
        except LineBroken as error:
            sys.stderr.write(f"{error}\n")
        finally:
            if self._ansible is not None:
                self._ansible.end()

    _done = False

    def _look(self, selector: selectors.BaseSelector, wake: int) -> None:
        assert self._channel is not None
        for key, _ in selector.select(ALIVE_EVERY / 2):
            if key.data == "wake":
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            elif key.data == "line":
                for message in self._channel.read():
                    self._obey(message, selector)
            elif self._ansible is not None:
                self._ansible.pump(key.data)
        if self._ansible is not None and self._ansible.has_ended():
            ended, self._ansible = self._ansible, None
            ended.finish(selector)

    def _obey(self, message: Mapping[str, Any], selector: selectors.BaseSelector) -> None:
        if message.get("do") == "run":
            self._ansible = self._launch(list(message["arguments"]), str(message["interpreter"]))
            self._ansible.register(selector)
        elif message.get("do") == "end" and self._ansible is not None:
            self._ansible.end()
        elif "answer" in message and self._ansible is not None:
            self._ansible.answer(str(message["answer"]))
        elif "kind" in message:
            self._done = True

    def _make_home(self) -> None:
        """A directory for this pass; what a killed driver of this host left is ended and taken away first."""
        for old in sorted(self._place.glob("pass-*")):
            procs.end_all(old, 0.0, None, read_sessions(old / "sessions"))
            shutil.rmtree(old, ignore_errors=True)
        self._home = Path(tempfile.mkdtemp(prefix="pass-", dir=self._place))
        bundle = self._home / "bundle"
        bundle.mkdir()
        (self._home / "work" / "tmp").mkdir(parents=True)
        for name, data in self._files.items():
            (bundle / name).write_bytes(data)
        (self._home / "pid").write_text(f"{os.getpid()}\n", encoding="ascii")
        self._sockets = Path(tempfile.mkdtemp(prefix="underway-"))  # short: a socket's path has 107 bytes at most

    def _launch(self, arguments: List[str], interpreter: str) -> Driven:
        assert self._home is not None and self._channel is not None
        shared = ["ControlMaster=auto", f"ControlPath={self._sockets}/%C", "ControlPersist=60"]
        options = [word for option in (*self._request["ssh"], *shared) for word in ("-o", option)]
        env = environment(self._home, self._token)
        env.pop("ANSIBLE_REMOTE_TMP")
        env.update({name: os.environ[name] for name in ("SSH_AUTH_SOCK",) if name in os.environ})
        env.update(
            ANSIBLE_SSH_ARGS=shlex.join(options),
            ANSIBLE_HOST_KEY_CHECKING="True",
            ANSIBLE_SSH_RETRIES="0",  # a module that may have begun is never sent again
            ANSIBLE_PYTHON_INTERPRETER=interpreter,
            ANSIBLE_PIPELINING="True",
        )
        return Driven(self._home, self._files, arguments, env, self._vault, self._channel)

    def close(self) -> None:
        """Let go of everything."""
        self._end_link()
        self._errors.close()
        if self._home is not None:
            for socket in self._sockets.glob("*"):
                leave = ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "--", "host"]
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(leave, capture_output=True, timeout=5, check=False)
            with contextlib.suppress(TimeoutError):
                procs.end_all(self._home, 0.0, None, read_sessions(self._home / "sessions"))
            shutil.rmtree(self._sockets, ignore_errors=True)
            shutil.rmtree(self._home, ignore_errors=True)

    def _end_link(self) -> int:
        link, self._link = self._link, None
        if link is None:
            return 0
        assert link.stdin is not None and link.stdout is not None
        with contextlib.suppress(OSError):
            link.stdin.close()
        try:
            link.wait(2)
        except subprocess.TimeoutExpired:
            link.kill()
            link.wait()
        link.stdout.close()
        return link.returncode
