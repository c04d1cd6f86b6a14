"""One run of Ansible under the supervisor: its events become journal lines, its output a file."""

from __future__ import annotations

import codecs
import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Protocol

from underway_runner import disk, journal, playbook, procs
from underway_runner.errors import PlanMismatch
from underway_runner.notices import Notices
from underway_runner.output import pieces

if TYPE_CHECKING:
    from underway_runner.supervisor import Supervisor

HERE = Path(__file__).resolve().parent
LAUNCH = "from underway_runner.child import main; import os, sys; s = main(); sys.stdout.flush(); os._exit(s)"


class Answered(Protocol):
    """Where an event's answer goes."""

    def send(self, answer: bytes, /) -> Any:
        """Send it."""


class Cancelled(Exception):
    """The leg was cancelled; everything that it ran is gone."""


@dataclass
class Ended:
    """How a run of Ansible ended. ``said_end``: it came to its own end; ``reason``: why the runner ended it.

    ``lost``: Ansible itself lost the host (only where it works from elsewhere). ``rebooting``: the step that told the
    machine to reboot, which is not ended by that.
    """

    status: int = 0
    said_end: bool = False
    failed: bool = False
    failed_step: str = ""
    reason: str = ""
    last_words: str = ""
    tasks: int = 0
    lost: str = ""
    rebooting: str = ""

    @property
    def signalled(self) -> bool:
        """Whether somebody killed it."""
        return self.status < 0


class AnsibleRun:
    """A run over the bundle. ``limit`` is a monotonic time; ``journaled`` is off for the check of a step."""

    def __init__(self, pass_: "Supervisor", arguments: List[str], limit: float, journaled: bool = True) -> None:
        self._pass = pass_
        self._arguments = arguments
        self._limit = limit
        self._journaled = journaled
        self._ended = Ended()
        self._step = ""
        self._changed = False  # whether a task of the open step changed anything
        self._notices = Notices()
        self._deadline = limit
        self._timeout = 0.0
        self._cut = disk.uptime()
        self._events = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        self._text = ""

    def go(self) -> Ended:
        """Run to the end, whatever that is. Raises Cancelled; everything that Ansible ran is gone then."""
        ours, theirs = socket.socketpair()
        process = self._launch(theirs)
        theirs.close()
        ours.setblocking(False)
        try:
            self._watch(process, ours)
        except BaseException:
            self._end_everything()
            process.wait()
            raise
        finally:
            ours.close()
            if process.stdout is not None:
                process.stdout.close()
        return self._ended

    def _launch(self, theirs: socket.socket) -> "subprocess.Popen[bytes]":
        bundle = self._pass.place / "bundle"
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", LAUNCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=bundle,
            env=environment(self._pass.directory, self._pass.work.ticket["token"]),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        procs.KEPT.add(process.pid)
        # Noted before it is told what to do: whoever comes after a kill can find it.
        self._pass.leader = procs.identify(process.pid)
        self._pass.note()
        disk.failpoint("ansible-started")
        order = {
            "arguments": self._arguments,
            "events": theirs.fileno(),
            "files": [str(bundle / name) for name in self._pass.work.files],
            "parent": os.getpid(),
            "sessions": str(self._pass.sessions),
            "vault": self._pass.work.vault_password,
        }
        assert process.stdin is not None
        try:
            with process.stdin:
                process.stdin.write(json.dumps(order).encode("ascii"))
        except BrokenPipeError:
            pass  # it ended already: its status says how
        return process

    def _watch(self, process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
        assert process.stdout is not None
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        os.set_blocking(wake_reader, False)
        old_wakeup = signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        old_child = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        selector = selectors.DefaultSelector()
        selector.register(ours, selectors.EVENT_READ, "events")
        selector.register(process.stdout, selectors.EVENT_READ, "output")
        selector.register(wake_reader, selectors.EVENT_READ, "wake")
        try:
            while process.poll() is None:
                if self._pass.cancelled:
                    raise Cancelled
                left = min(self._deadline, self._limit) - time.monotonic()
                if left <= 0:
                    self._time_out(process)
                    return
                for key, _ in selector.select(min(left, 3600.0)):
                    if key.data == "wake":
                        os.read(wake_reader, 4096)
                        procs.reap()
                    elif key.data == "events":
                        self._read_events(ours, selector)
                    else:
                        self._read_output(process.stdout, selector)
            self._ended.status = process.returncode
            self._read_events(ours, selector)
            self._drain(process.stdout)
            if not self._ended.said_end:
                self._end_everything()
        finally:
            procs.KEPT.discard(process.pid)
            signal.set_wakeup_fd(old_wakeup)
            signal.signal(signal.SIGCHLD, old_child)
            selector.close()
            os.close(wake_reader)
            os.close(wake_writer)
            self._flush_text()

    def _end_everything(self) -> None:
        procs.end_all(
            self._pass.directory,
            self._cut,
            self._pass.leader,
            read_sessions(self._pass.sessions),
            parents=[os.getpid()],
        )

    def _time_out(self, process: "subprocess.Popen[bytes]") -> None:
        self._end_everything()
        process.wait()
        self._say_too_late(process.returncode)

    def _say_too_late(self, status: int) -> None:
        step = self._step
        seconds = self._timeout if step and self._deadline <= self._limit else time.monotonic() - self._pass.began
        self._ended.status = status
        self._ended.failed_step = step
        self._ended.reason = f"timed out after {seconds:.0f} s" + ("" if step else " (the leg as a whole)")
        if step:
            self._notify_again(step)

    def _notify_again(self, step: str) -> None:
        names = self._pass.handlers_after(step)
        for name in names:
            self._pass.journal.append("notify", sync=False, step=step, task=name)

    def _read_events(self, ours: socket.socket, selector: selectors.BaseSelector) -> None:
        while True:
            try:
                data = ours.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if ours.fileno() in selector.get_map():
                    selector.unregister(ours)
                break
            self._events += data
            *whole, self._events = self._events.split(b"\n")
            for raw in whole:
                self._event(json.loads(raw), ours)

    def _event(self, event: Dict[str, Any], ours: Answered) -> None:
        if "secrets" in event:
            self._pass.scrub.add(event["secrets"])
        elif "begin" in event:
            self._answer(ours, self._move(event["end"], event["begin"]))
        elif "stats" in event:
            self._answer(ours, self._last(bool(event["failed"])))
        elif "result" in event:
            self._result(event)
        elif "task" in event:
            self._ended.tasks += 1
            handler = bool(event.get("handler"))
            self._write("task", sync=False, step=self._step, task=self._name(event["task"]))
            if handler:
                self._answer(ours, True)
        elif "fatal" in event:
            self._ended.last_words = self._pass.scrub(event["fatal"])

    def _name(self, name: str) -> str:
        return journal.clean(self._pass.scrub(name), 300)

    def _write(self, kind: str, **fields: Any) -> None:
        """A journal line, unless this is a check. Lines that nothing relies on may be lost to a full disk."""
        if not self._journaled:
            return
        try:
            self._pass.journal.append(kind, **fields)
        except OSError as error:
            if kind not in ("task", "task-end", "output", "notice") or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def _answer(self, ours: Answered, go_on: bool) -> None:
        try:
            ours.send(b"ok\n" if go_on else b"stop\n")
        except OSError:
            return  # it has been killed: its exit says so

    def _move(self, end: str, begin: str) -> bool:
        """A step ended and another begins; both are durable when this returns. False: do not begin."""
        log = self._pass
        if not self._journaled:
            return True
        if self._reboots():
            self._ended.said_end = True
            return False
        if end:
            log.journal.append("end", sync=not begin, step=self._id(end))
        self._step = ""
        self._deadline = self._limit
        if begin:
            step = self._id(begin)
            self._cut = disk.uptime()
            try:
                log.journal.append("begin", step=step)
            except OSError as error:
                self._ended.reason = f"step {step} was not begun, its journal line cannot be written: {error.strerror}"
                return False
            self._step, self._changed = step, False
            self._notices = Notices()
            self._timeout = float(log.specs[step].get("timeout", 3600.0))
            self._deadline = time.monotonic() + self._timeout
            log.output.next_step(step)
        return True

    def _reboots(self) -> bool:
        """Whether the open step told the machine to reboot: then nothing follows in this boot."""
        if self._step and self._changed and self._pass.specs[self._step].get("reboot"):
            self._ended.rebooting = self._step
        return bool(self._ended.rebooting)

    def _id(self, slug: str) -> str:
        for step in self._pass.steps:
            if playbook.step_slug(step) == slug:
                return step
        raise PlanMismatch(f"the playbook has a step {slug!r} that is not in the ticket")

    def _last(self, failed: bool) -> bool:
        self._ended.said_end = True
        self._ended.failed = failed
        if failed:
            self._ended.failed_step = self._step
        elif self._step and self._journaled and not self._reboots():
            self._pass.journal.append("end", step=self._step)
        return True

    def _result(self, event: Dict[str, Any]) -> None:
        name, text = self._name(event["task"]), self._pass.scrub(event["text"])
        failed = event["result"] == "failed"
        self._changed |= bool(event["changed"])
        rc = 1 if event["result"] in ("failed", "ignored") else 0
        if failed:
            self._ended.last_words = journal.clean(f"{name}: {text}", 1000)
        if text:
            self._pass.output.write(f"-- {name}: {event['result']}\n{journal.clean(text, 8 << 20)}\n")
        if failed and text:
            for piece in pieces(text):
                self._write("output", sync=False, step=self._step, task=name, text=piece)
        if self._step:  # a handler belongs to no step
            for notice in self._notices.take(event.get("notices", ()), self._pass.scrub):
                self._write("notice", sync=False, step=self._step, task=name, text=notice)
        names = self._pass.handlers_named(event.get("notify", ()))
        for handler in names:
            self._write("notify", sync=False, step=self._step, task=handler)
        fields = {"step": self._step, "task": name, "rc": rc, "changed": event["changed"]}
        self._write("task-end", sync=False, duration=event["duration"], **{k: v for k, v in fields.items() if v})
        if event["handler"]:
            self._write("handler", task=name, **({"rc": rc} if rc else {}))
            self._cut = disk.uptime()

    def _read_output(self, stream: Any, selector: selectors.BaseSelector) -> None:
        data = os.read(stream.fileno(), 65536)
        if not data:
            selector.unregister(stream)
        self._take(data)

    def _drain(self, stream: Any) -> None:
        os.set_blocking(stream.fileno(), False)
        while True:
            try:
                data = os.read(stream.fileno(), 65536)
            except BlockingIOError:
                return
            if not data:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Output by whole lines; of a line without end all but a rest in which a secret may have begun."""
        self._text += self._decoder.decode(data)
        cut = self._text.rfind("\n") + 1
        if not cut and len(self._text) > 65536:
            cut = len(self._text) - self._pass.scrub.longest
        if cut:
            self._keep(self._text[:cut])
            self._text = self._text[cut:]

    def _flush_text(self) -> None:
        self._keep(self._text)
        self._text = ""

    def _keep(self, text: str) -> None:
        if text:
            text = journal.clean(self._pass.scrub(text), 1 << 20)
            self._pass.output.write(text)
            if text.strip() and not self._ended.failed and not self._ended.tasks:
                self._ended.last_words = journal.clean(f"{self._ended.last_words}\n{text}".strip()[-1000:], 1000)


def read_sessions(path: Path) -> List[int]:
    """The sessions of Ansible's workers of this pass."""
    try:
        return [int(line) for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def environment(directory: Path, token: int) -> Dict[str, str]:
    """The environment of Ansible: fixed, nothing of the caller's but where programs and the home are."""
    keep = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", disk.FAILPOINT)
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    work = directory / "work" / "tmp"
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **kept,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "plugins"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCAL_TEMP": str(work),
        "ANSIBLE_REMOTE_TMP": str(work),
        procs.MARK: f"{directory}:{token}",
    }
