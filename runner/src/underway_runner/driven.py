"""One run of Ansible on the coordinator's machine: its events go to the host, the host's answers to its callback."""

from __future__ import annotations

import codecs
import json
import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

from underway_runner import child, disk, procs
from underway_runner.ansible_run import LAUNCH, read_sessions
from underway_runner.channel import Channel
from underway_runner.scrub import Scrubber

LONGEST = 64 * 1024
"""Characters of output that are kept back at most until a line ends."""


class Driven:
    """Started when made. Secrets stay here: what is sent to the host has been cleared of them."""

    def __init__(
        self,
        home: Path,
        files: Mapping[str, bytes],
        arguments: List[str],
        env: Dict[str, str],
        vault: str,
        channel: Channel,
    ) -> None:
        self._home = home
        self._channel = channel
        self._scrub = Scrubber()
        self._scrub.add([vault] if vault else [])
        self._cut = disk.uptime()
        self._events = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        self._text = ""
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        bundle = home / "bundle"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", LAUNCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=bundle,
            env=env,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        procs.KEPT.add(self._process.pid)
        self._leader = procs.identify(self._process.pid)
        order = child.order_of(
            arguments=arguments,
            events=theirs.fileno(),
            files=[str(bundle / name) for name in files],
            parent=os.getpid(),
            sessions=str(home / "sessions"),
            vault=vault,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            with self._process.stdin:
                self._process.stdin.write(json.dumps(order).encode("ascii"))
        except BrokenPipeError:
            pass  # it ended already: its status says how
        theirs.close()
        os.set_blocking(self._process.stdout.fileno(), False)

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have its events and its output looked for."""
        selector.register(self._ours, selectors.EVENT_READ, "events")
        assert self._process.stdout is not None
        selector.register(self._process.stdout, selectors.EVENT_READ, "output")
        self._selector = selector

    def pump(self, what: str) -> None:
        """Send on what there is of ``events`` or ``output``. Raises LineBroken."""
        if what == "events":
            self._pump_events()
        else:
            self._pump_output()

    def answer(self, word: str) -> None:
        """The host's answer to a question of the callback."""
        try:
            self._ours.send(word.encode("ascii") + b"\n")
        except OSError:
            return  # it has been ended: its exit says so

    def has_ended(self) -> bool:
        """Whether Ansible's process is gone."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End it with all that it has started here, and wait until that is gone."""
        procs.end_all(self._home, self._cut, self._leader, read_sessions(self._home / "sessions"))
        self._process.wait()

    def finish(self, selector: selectors.BaseSelector) -> None:
        """Send its last words and how it ended. Raises LineBroken."""
        if self._process.returncode < 0:
            self.end()
        self._pump_events()
        self._pump_output()
        self._send_text(self._text)
        for one in (self._ours, self._process.stdout):
            if one is not None and one.fileno() in selector.get_map():
                selector.unregister(one)
            if one is not None:
                one.close()
        procs.KEPT.discard(self._process.pid)
        self._channel.send({"exited": self._process.returncode})

    def _pump_events(self) -> None:
        while True:
            try:
                data = self._ours.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if self._ours.fileno() in self._selector.get_map():
                    self._selector.unregister(self._ours)
                break
            *whole, self._events = (self._events + data).split(b"\n")
            for raw in whole:
                self._event(json.loads(raw))

    def _event(self, event: Dict[str, Any]) -> None:
        if "secrets" in event:
            self._scrub.add(event["secrets"])
            return
        for key in ("task", "text", "fatal"):
            if key in event:
                event[key] = self._scrub(event[key])
        if "notices" in event:
            event["notices"] = [self._scrub(text) for text in event["notices"]]
        self._channel.send({"event": event})

    def _pump_output(self) -> None:
        assert self._process.stdout is not None
        while True:
            try:
                data = os.read(self._process.stdout.fileno(), 65536)
            except BlockingIOError:
                return
            if not data:
                if self._process.stdout.fileno() in self._selector.get_map():
                    self._selector.unregister(self._process.stdout)
                return
            self._text += self._decoder.decode(data)
            cut = self._text.rfind("\n") + 1
            if not cut and len(self._text) > LONGEST:
                cut = len(self._text) - self._scrub.longest
            if cut:
                self._send_text(self._text[:cut])
                self._text = self._text[cut:]

    def _send_text(self, text: str) -> None:
        if text:
            self._channel.send({"output": self._scrub(text)})
