"""Executors that talk to the host's runner over a pipe: one protocol, whatever carries it.

An order becomes one call of the runner's ``run`` verb: the request goes in, the answer, the journal's lines and the
status come out. The call is only a view: when it breaks, another is made, and the runner says what happened. One
thread serves all calls with a selector, so 200 hosts cost 200 pipes and no more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from underway.core.model.cluster import Host
from underway.core.model.event import VOLATILE, HostLine
from underway.errors import ExecutorError, NotTrusted, Refused, Unreachable
from underway.executors.base import Order, Report, ReportKind
from underway.executors.lines import line_of, said_by_runner

FIRST_WAIT = 0.5
"""Seconds before a broken call is made again; doubled each time up to LONGEST_WAIT."""

LONGEST_WAIT = 15.0

BEGINNING_AT_ONCE = 16
"""Calls that may be on their way to an answer at once: connecting costs CPU on both sides."""

Key = tuple[str, str, int, int]


Links = Callable[[], Sequence[bytes]]


@dataclass(slots=True)
class Call:
    """An order that is followed. ``process`` is None while it waits for ``due`` (monotonic seconds)."""

    order: Order
    since: int
    known: int
    process: subprocess.Popen[bytes] | None = None
    verb: str = ""
    due: float = 0.0
    wait: float = FIRST_WAIT
    deaths: int = 0
    answered: bool = False
    accepted: bool = False
    cancel: bool = False
    cancelled: bool = False
    pending: memoryview = field(default_factory=lambda: memoryview(b""))
    out: bytes = b""
    err: bytes = b""
    status: Mapping[str, Any] | None = None

    @property
    def key(self) -> Key:
        """What makes the order one: another coordinator's order of the same claim is the same."""
        return (self.order.run, self.order.action, self.order.leg, self.order.token)


class StreamExecutor(ABC):
    """The contract of ``executors/base.py`` over :meth:`command`, which says how a verb is called on a host.

    ``vault_password`` opens vault values on the hosts; it goes through the pipe and nowhere else. ``links`` are the
    signed changes of the keys, oldest first, which each host is told of with its work.
    """

    def __init__(self, vault_password: str | None = None, links: Links = tuple) -> None:
        self._vault_password = vault_password
        self._links = links
        self._calls: dict[Key, Call] = {}
        self._inbox: deque[tuple[str, Order | tuple[str, str]]] = deque()
        self._outbox: deque[Report] = deque()
        self._arrived = threading.Condition()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._broken = ""
        self._closing = False
        self._closed = False
        self._thread: threading.Thread | None = None

    @abstractmethod
    def command(self, host: Host, verb: str, arguments: Sequence[str]) -> list[str]:
        """The program and arguments that call a verb of the host's runner. Raises Refused for an unusable host."""

    def drive(self, order: Order, arguments: Sequence[str], request: bytes) -> tuple[list[str], bytes]:
        """The program, and its input, that do a leg of a host whose Ansible works from here. Raises Refused.

        ``arguments`` are those of ``follow``; ``request`` is the line for ``run``.
        """
        del arguments, request
        raise Refused(f"{order.host.name}: 'ansible: coordinator' works over SSH only, not {order.host.connection}")

    def explained(self, host: Host, words: str) -> str:
        """The last words of a connection, with what to do where that can be told."""
        del host
        return words

    def submit(self, order: Order) -> None:
        """Hand an order over (again). Never blocks; an order that is followed already is left alone."""
        self._tell("submit", order)

    def cancel(self, order: Order) -> None:
        """Stop the leg on its host; the report of how it stands then comes as usual."""
        self._tell("cancel", order)

    def withdraw(self, run: str, action: str) -> None:
        """Follow an order that was not accepted no more. Never blocks."""
        self._inbox.append(("withdraw", (run, action)))
        self._wake()

    def reports(self, timeout: float) -> list[Report]:
        """What came in since the last call; waits up to ``timeout`` seconds for the first.

        Raises ExecutorError if the executor itself has broken; what hosts do is not touched by that.
        """
        with self._arrived:
            if self._broken:
                raise ExecutorError(f"the executor has broken: {self._broken} (run again to resume)")
            if not self._outbox and timeout > 0:
                self._arrived.wait_for(lambda: bool(self._outbox or self._broken), timeout)
            found = list(self._outbox)
            self._outbox.clear()
        return found

    def close(self) -> None:
        """Let go of connections; work on hosts goes on."""
        if self._closed:
            return
        self._closed = True
        self._closing = True
        if self._thread is not None:
            self._wake()
            self._thread.join()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def enrol(self, host: Host, cluster: str, keys: Sequence[Mapping[str, Any]], base: int = 0, known: int = 0) -> None:
        """Make the host take tickets of this cluster signed by these public keys. The same again changes nothing.

        ``base``: of a machine in the place of one that was replaced, the number of its journal's first line; ``known``:
        the last durable line that was seen of the host.
        Raises NotTrusted if the host was enrolled otherwise, Refused if it has no runner, Unreachable.
        """
        wanted = {"cluster": cluster, "host": host.name, "keys": list(keys), "base": base, "known": known}
        said = self.ask(host, "enrol", {**wanted, **self._changes()})
        if said.get("kind") != "enrolled":
            raise NotTrusted(f"{host.name}: {said.get('text', 'does not say why it refuses')}")

    def learn(self, host: Host, cluster: str) -> int:
        """Tell an enrolled host of the changes of the keys; the number of the last one that it knows now.

        Raises NotTrusted where it does not take them, Refused if it has no runner, Unreachable.
        """
        said = self.ask(host, "enrol", {"cluster": cluster, "host": host.name, **self._changes()})
        if said.get("kind") != "enrolled":
            raise NotTrusted(f"{host.name}: {said.get('text', 'does not say why it refuses')}")
        return int(said.get("trust", 0))

    def _changes(self) -> dict[str, list[str]]:
        links = [base64.b64encode(link).decode() for link in self._links()]
        return {"links": links} if links else {}  # an older runner need not know the field

    def ping(self, host: Host) -> Mapping[str, Any]:
        """``{"kind": "pong", "version", "enrolled"}`` of the host's runner. Raises Refused, Unreachable."""
        return self.ask(host, "ping")

    def ask(self, host: Host, verb: str, request: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Call a verb and wait for its answer (up to 30 s). Raises Refused (no runner there), Unreachable."""
        data = json.dumps(request).encode() + b"\n" if request is not None else b""
        try:
            done = subprocess.run(
                self.command(host, verb, ()), input=data, capture_output=True, timeout=30, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"{host.name}: no answer within 30 s") from None
        except OSError as error:
            raise Refused(f"{host.name}: {self._missing(host, error.strerror or str(error))}") from None
        for line in done.stdout.splitlines():
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer
        words = last_words(done.stderr)
        if is_missing(done.returncode, words):
            raise Refused(f"{host.name}: {self._missing(host, words)}")
        raise Unreachable(f"{host.name}: {self.explained(host, words) or f'ended with status {done.returncode}'}")

    # --- the thread --------------------------------------------------------------------------------------------

    def _tell(self, what: str, order: Order) -> None:
        self._inbox.append((what, order))
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
            self._thread.start()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _serve(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001  the boundary of the thread: whoever asks for reports is told
            with self._arrived:
                self._broken = f"{type(error).__name__}: {error}"
                self._arrived.notify_all()
        for call in self._calls.values():
            self._end_process(call)

    def _loop(self) -> None:
        while not self._closing:
            self._take_orders()
            self._begin_calls()
            for key, events in self._selector.select(self._next_look()):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_reader, 4096)
                    continue
                call, name = key.data
                if call.process is None:
                    continue  # it ended by what another of its pipes said a moment ago
                if name == "in":
                    self._write(call)
                elif name == "out" and events:
                    self._read(call)
                else:
                    self._read_errors(call)

    def _take_orders(self) -> None:
        while self._inbox:
            what, order = self._inbox.popleft()
            if isinstance(order, tuple):
                self._withdraw(order)
                continue
            fresh = Call(order, order.since, order.known)
            call = self._calls.setdefault(fresh.key, fresh)
            if what == "cancel" and not call.cancel:
                call.cancel = True
                self._end_process(call)
                call.due = 0.0

    def _withdraw(self, gone: tuple[str, str]) -> None:
        for call in [one for one in self._calls.values() if one.key[:2] == gone]:
            if not call.accepted and not call.cancel:
                self._forget(call)

    def _begin_calls(self) -> None:
        beginning = sum(1 for call in self._calls.values() if call.process and not call.answered)
        now = time.monotonic()
        for call in list(self._calls.values()):
            if beginning >= BEGINNING_AT_ONCE:
                return
            if call.process is None and call.due <= now:
                beginning += 1
                self._begin(call)

    def _next_look(self) -> float | None:
        waiting = [call.due for call in self._calls.values() if call.process is None]
        return max(0.0, min(waiting) - time.monotonic()) + 0.005 if waiting else None

    def _begin(self, call: Call) -> None:
        order = call.order
        call.answered, call.out, call.err, call.status = False, b"", b"", None
        where = ["--run", order.run, "--action", order.action, "--leg", str(order.leg), "--token", str(order.token)]
        since = ["--since", str(call.since)]
        if call.cancel and not call.cancelled:
            call.verb, arguments, data = "cancel", where, b""
        elif call.cancel:
            call.verb, arguments, data = "follow", [*where, *since], b""
        else:
            call.verb, arguments, data = "run", since, self.request(order, call.known)
        try:
            command = self.command(order.host, call.verb, arguments)
            if call.verb == "run" and order.host.ansible == "coordinator":
                command, data = self.drive(order, [*where, *since], data)
            call.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the terminal is the coordinator's to understand
            )
        except Refused as error:
            self._report(call, "refused", str(error))
            self._forget(call)
            return
        except OSError as error:
            self._no_runner(call, error.strerror or str(error))
            return
        call.pending = memoryview(data)
        assert call.process.stdin and call.process.stdout and call.process.stderr
        for name, pipe in (("in", call.process.stdin), ("out", call.process.stdout), ("err", call.process.stderr)):
            os.set_blocking(pipe.fileno(), False)
            if name != "in" or data:
                wanted = selectors.EVENT_WRITE if name == "in" else selectors.EVENT_READ
                self._selector.register(pipe, wanted, (call, name))

    def request(self, order: Order, known: int) -> bytes:
        """The request of ``run`` and ``attend``, one line; ``known`` is the last durable line that was seen."""
        request = {
            "known": known,
            "plan": base64.b64encode(order.plan).decode(),
            "ticket": base64.b64encode(order.ticket).decode(),
            "files": {name: base64.b64encode(data).decode() for name, data in order.files},
            "vault_password": self._vault_password,
            **self._changes(),
        }
        return json.dumps(request).encode() + b"\n"

    def _write(self, call: Call) -> None:
        assert call.process and call.process.stdin
        try:
            written = os.write(call.process.stdin.fileno(), call.pending[: 1 << 16])
        except BlockingIOError:
            return
        except OSError:
            written = len(call.pending)  # it ended: what it said and its status tell why
        call.pending = call.pending[written:]
        if not call.pending:
            # Left open: the runner takes the end of its input for our end.
            self._selector.unregister(call.process.stdin)

    def _read(self, call: Call) -> None:
        assert call.process and call.process.stdout
        data = read_some(call.process.stdout)
        if data is None:
            return
        if not data:
            self._ended(call)
            return
        call.out += data
        *whole, call.out = call.out.split(b"\n")
        lines: list[HostLine] = []
        for raw in whole:
            try:
                said = said_by_runner(raw)
                if "seq" in said:
                    lines.append(line_of(said))
                    continue
            except ValueError as error:
                call.err += f"\nnot a line of a runner: {error}".encode()
                self._ended(call)
                return
            self._progress(call, lines)
            lines = []
            self._answer(call, said)
        self._progress(call, lines)

    def _read_errors(self, call: Call) -> None:
        assert call.process and call.process.stderr
        data = read_some(call.process.stderr)
        if data == b"":
            self._selector.unregister(call.process.stderr)
        elif data:
            call.err = (call.err + data)[-4096:]

    def _progress(self, call: Call, lines: list[HostLine]) -> None:
        if lines:
            call.since = max(call.since, lines[-1].seq)
            call.known = max([call.known, *(line.seq for line in lines if line.kind not in VOLATILE)])
            call.wait = FIRST_WAIT
            self._report(call, "progress", lines=lines)

    def _answer(self, call: Call, said: Mapping[str, Any]) -> None:
        kind = said.get("kind")
        call.answered = True
        self._wake()
        if kind == "accepted":
            call.wait = FIRST_WAIT
            if not call.accepted:
                call.accepted = True
                self._report(call, "accepted", str(said.get("text", "")))
        elif kind == "cancelled":
            call.cancelled = True
        else:
            call.status = said

    def _ended(self, call: Call) -> None:
        """A call is over: by its last word we know how the leg stands, without one nothing."""
        assert call.process
        status = self._end_process(call)
        said = call.status or {}
        kind, state, text = said.get("kind"), said.get("state"), str(said.get("text", ""))
        if kind == "status" and state in ("finished", "failed", "unknown"):
            self._report(call, state, text, step=str(said.get("step", "")), duration=float(said.get("duration", 0.0)))
            self._forget(call)
        elif kind == "refused":
            self._report(call, "refused", text)
            self._forget(call)
        elif kind == "unknown":
            self._report(call, "unknown", text)
            self._forget(call)
        elif kind == "busy":
            self._report(call, "busy", text)
            self._again(call)
        elif kind == "status" or (call.verb == "cancel" and call.cancelled):
            if (
                state == "none"
            ):  # the pass was killed: the same ticket again resumes it, ever more slowly if that recurs
                call.due = time.monotonic() + min(0.1 * 2**call.deaths, LONGEST_WAIT)
                call.deaths = min(call.deaths + 1, 16)
        else:
            words = last_words(call.err)
            if is_missing(status, words) and not call.accepted:
                self._no_runner(call, words)
                return
            self._report(
                call, "unreachable", self.explained(call.order.host, words) or f"the connection ended (status {status})"
            )
            self._again(call)

    def _no_runner(self, call: Call, words: str) -> None:
        self._report(call, "refused", self._missing(call.order.host, words))
        self._forget(call)

    def _missing(self, host: Host, words: str) -> str:
        python = host.python or "the default place"
        return (
            f"there is no runner at {python} ({words}); put it there with 'underway enrol --install {host.name}'"
            " (or 'python3 -m venv' and 'pip install underway-runner' on the host)"
        )

    def _again(self, call: Call) -> None:
        call.due = time.monotonic() + call.wait
        call.wait = min(call.wait * 2, LONGEST_WAIT)

    def _forget(self, call: Call) -> None:
        self._end_process(call)
        self._calls.pop(call.key, None)

    def _end_process(self, call: Call) -> int:
        process, call.process = call.process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(pipe)
        assert process.stdout and process.stdin and process.stderr
        process.stdin.close()
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        while rest := read_some(process.stderr):  # a shared connection may hold the pipe open: no wait for its end
            call.err = (call.err + rest)[-4096:]
        process.stdout.close()
        process.stderr.close()
        return process.returncode

    def _report(
        self,
        call: Call,
        kind: ReportKind,
        text: str = "",
        *,
        lines: Sequence[HostLine] = (),
        step: str = "",
        duration: float = 0.0,
    ) -> None:
        order = call.order
        report = Report(
            run=order.run,
            action=order.action,
            leg=order.leg,
            token=order.token,
            host=order.host.name,
            kind=kind,
            lines=tuple(lines),
            text=text,
            step=step,
            duration=duration,
        )
        with self._arrived:
            self._outbox.append(report)
            self._arrived.notify_all()


def read_some(pipe: IO[bytes]) -> bytes | None:
    """What there is to read now: bytes, ``b""`` at the end, None if there is nothing yet."""
    try:
        return os.read(pipe.fileno(), 1 << 16)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def last_words(errors: bytes) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in errors.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def is_missing(status: int, words: str) -> bool:
    """Whether a call ended because the host has no runner (rather than: the host was not reached)."""
    return status in (126, 127) or "No module named" in words
