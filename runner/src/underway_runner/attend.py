"""``attend``: a pass whose Ansible works elsewhere. Ticket, lock, journal and every decision stay on this host.

The supervisor is the same as of any pass; only its Ansible is run by the coordinator's ``drive``, which relays the
events and waits for the answers. Modules are started by a small script made for this pass: it marks their processes,
so that leftovers are found, and it is taken away when this host lets go, so that a driver that lives on (a stopped
machine, a network that came back) can start nothing more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

from underway_runner import disk, playbook, procs
from underway_runner.ansible_run import AnsibleRun, Cancelled, Ended, read_sessions
from underway_runner.channel import HOST_PATIENCE, Channel, woken_by_signals
from underway_runner.errors import LineBroken, Refused
from underway_runner.start import know_length, start
from underway_runner.supervisor import Supervisor

ENDING = 15.0
"""Seconds in which the driver must have ended its Ansible when it is told to."""

DOOR = "underway-pass-"
"""How the directory of the script that starts modules begins."""

SETTLING = 0.1
"""Seconds in which a module that was begun before the script was taken away has got its mark."""


def attend(directory: Path, request: Mapping[str, Any], channel: Channel) -> Dict[str, Any]:
    """Take a ticket as ``start`` does, then run the pass by the driver at the other end of ``channel``.

    Says ``accepted`` once that is durable; a text in it means that there is nothing to drive (the ticket is at work,
    or has ended). Raises Refused, Busy, JournalDamaged; LineBroken if the line broke: the lock is free then, what the
    open step had started here is gone, and the same ticket resumes.
    """
    book = structure_of(request)

    def go(supervisor: Supervisor, lock: int) -> None:
        _ = lock  # held by this process to its end
        supervisor.know_structure(book)
        forget_scripts(directory)
        with module_script(directory, supervisor.work.ticket["token"]) as script:
            supervisor.runs = lambda pass_, arguments, limit, journaled=True: DrivenRun(
                pass_, arguments, limit, journaled, channel=channel, interpreter=script
            )
            supervisor.note()
            disk.failpoint("detached")
            channel.send({"kind": "accepted"})
            supervisor.run()
            with contextlib.suppress(OSError):  # a full disk: the journal itself has said how the leg ended
                know_length(directory, supervisor.journal.last)

    said = start(directory, request, go)
    return said if said.get("text") else {"kind": "done"}


class DrivenRun(AnsibleRun):
    """A run of Ansible by the driver."""

    def __init__(
        self,
        pass_: Supervisor,
        arguments: List[str],
        limit: float,
        journaled: bool = True,
        *,
        channel: Channel,
        interpreter: str,
    ) -> None:
        super().__init__(pass_, arguments, limit, journaled)
        self._channel = channel
        self._interpreter = interpreter
        self._unreachable = ""

    def go(self) -> Ended:
        """Have it run to the end, whatever that is. Raises Cancelled, LineBroken; what it ran here is gone then."""
        self._channel.send({"do": "run", "arguments": self._arguments, "interpreter": self._interpreter})
        try:
            with woken_by_signals() as wake:
                self._watch_line(wake)
        except Cancelled:
            self._end_driver()
            self._end_everything()
            raise
        except BaseException:
            forget_scripts(self._pass.directory)
            time.sleep(SETTLING)
            self._end_everything()
            raise
        finally:
            self._flush_text()
        return self._ended

    def _watch_line(self, wake: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel.reading, selectors.EVENT_READ, "line")
            selector.register(wake, selectors.EVENT_READ, "wake")
            while True:
                if self._pass.cancelled:
                    raise Cancelled
                now = time.monotonic()
                if now >= min(self._deadline, self._limit):
                    self._too_late()
                    return
                silent = self._channel.heard + HOST_PATIENCE
                if now >= silent:
                    raise LineBroken(f"nothing was heard of the coordinator for {HOST_PATIENCE:.0f} s")
                for key, _ in selector.select(min(self._deadline, self._limit, silent) - now):
                    if key.data == "wake":
                        os.read(wake, 4096)
                        procs.reap()
                    elif self._read_line():
                        return

    def _read_line(self) -> bool:
        """Take what the driver said; whether its Ansible has ended."""
        for message in self._channel.read():
            if "event" in message:
                self._event(message["event"], self)
            elif "output" in message:
                self._text += str(message["output"])
                self._take(b"")
            elif "exited" in message:
                self._conclude(int(message["exited"]))
                return True
            elif "alive" in message:
                self._channel.send({"alive": True})
        return False

    def _conclude(self, status: int) -> None:
        self._ended.status = status
        if self._unreachable:
            # Nobody can tell what the task did: the open step is interrupted, not failed.
            self._ended.said_end = False
            self._ended.lost = self._unreachable
        if not self._ended.said_end:
            self._end_everything()

    def _result(self, event: Dict[str, Any]) -> None:
        if event.get("unreachable"):
            self._unreachable = f"the coordinator's Ansible lost this host: {self._pass.scrub(event['text'])}"
            self._ended.last_words = self._unreachable
            return
        super()._result(event)

    def _last(self, failed: bool) -> bool:
        return True if self._unreachable else super()._last(failed)

    def send(self, answer: bytes) -> None:
        """The answer to an event, for the callback."""
        self._channel.send({"answer": answer.decode("ascii").strip()})

    def _end_driver(self) -> None:
        """Have the driver end its Ansible, and wait until it has. A line that breaks meanwhile ends it as well."""
        deadline = time.monotonic() + ENDING
        with contextlib.suppress(LineBroken), selectors.DefaultSelector() as selector:
            self._channel.send({"do": "end"})
            selector.register(self._channel.reading, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(deadline - time.monotonic()) and any(
                    "exited" in message for message in self._channel.read()
                ):
                    return
        forget_scripts(self._pass.directory)  # it may live on somewhere: it starts nothing more here

    def _too_late(self) -> None:
        self._end_driver()
        self._end_everything()
        self._say_too_late(-9)

    def _end_everything(self) -> None:
        procs.end_all(self._pass.directory, self._cut, None, read_sessions(self._pass.sessions), parents=[os.getpid()])


@contextlib.contextmanager
def module_script(directory: Path, token: int) -> Iterator[str]:
    """The path of a script that becomes this runner's Python, marked as of this pass; gone afterwards.

    It stands where every user of this host can read it: tasks become other users. Raises OSError if programs may be
    started from none of the places for temporary files (mounted ``noexec``).
    """
    mark = shlex.quote(f"{procs.MARK}={directory}:{token}")
    text = f'#!/bin/sh\nexec env {mark} {shlex.quote(sys.executable)} "$@"\n'
    own = ["/run"] if os.geteuid() == 0 else []
    for root in [*own, tempfile.gettempdir(), "/var/tmp", sys.prefix]:
        try:
            place = Path(tempfile.mkdtemp(prefix=DOOR, dir=root))
        except OSError:
            continue
        (directory / "work" / "door").write_text(f"{place}\n", encoding="utf-8")
        script = place / "python"
        script.write_text(text, encoding="utf-8")
        place.chmod(0o755)
        script.chmod(0o755)
        if _starts(script):
            break
        forget_scripts(directory)
    else:
        raise OSError(errno.EACCES, "no directory for temporary files lets programs be started from it")
    try:
        yield str(script)
    finally:
        forget_scripts(directory)


def _starts(script: Path) -> bool:
    try:
        return subprocess.run([str(script), "-c", ""], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def forget_scripts(directory: Path) -> None:
    """Take away the script of this pass, or of one that was killed: whoever drives it can start nothing more."""
    note = directory / "work" / "door"
    try:
        place = Path(note.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return
    if place.name.startswith(DOOR) and place.is_absolute():
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(place.lstat().st_mode):
                shutil.rmtree(place, ignore_errors=True)
    note.unlink()


def structure_of(request: Mapping[str, Any]) -> playbook.Book:
    """The playbook's structure as the driver has read it: this host needs no YAML. Raises Refused."""
    found = request.get("structure")
    if not isinstance(found, dict) or not isinstance(found.get("handlers"), list):
        raise Refused("structure: expected the handlers and notifications of the playbook (by 'underway-runner drive')")
    return playbook.Book.of(found["handlers"], found.get("notified", {}))
