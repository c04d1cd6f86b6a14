"""Plain HTTP/1.1, one request on one connection, with as little work as can be.

Measured (``bench/probes.py``): a new connection costs aiohttp about four times the CPU of this, and fifty
endpoints at twenty requests a second are a thousand new connections a second. Keeping connections alive
would be cheap too, but hides that an address moved to another machine: what clients meet is a new connection.

The whole exchange is callbacks over one epoll set that hangs in asyncio's: no task, future, stream or buffer a
request. It knows what a probe needs and no more: no TLS, redirects, compression or pipelining; those
go through aiohttp (:mod:`underway.checks.http`).
"""

from __future__ import annotations

import asyncio
import errno
import re
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from underway.checks.base import Answer
from underway.checks.errors import of_number

BODY_LIMIT = 64 * 1024
"""Bytes of a body that are read; what follows is not waited for."""

HEAD_LIMIT = 32 * 1024

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Family and socket address."""

Done = Callable[[Answer], None]

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_GOING = (0, errno.EINPROGRESS)
_OK: dict[int, Answer] = {}


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes to send, and what the answer must be. ``bodyless``: the method has no body in its answer (HEAD)."""

    payload: bytes
    statuses: frozenset[int]
    contains: bytes = b""
    bodyless: bool = False


def judge(status: int, body: bytes | bytearray, statuses: frozenset[int], contains: bytes) -> Answer:
    """The answer to an HTTP exchange that came to its end."""
    if status not in statuses:
        return Answer(ok=False, error=f"status {status}", status=status)
    if contains and contains not in body:
        return Answer(ok=False, error="body", status=status)
    found = _OK.get(status)
    if found is None:
        found = _OK[status] = Answer(ok=True, status=status)
    return found


def dechunk(data: bytes | bytearray) -> tuple[bytes, bool]:
    """What a chunked body holds so far, and whether its last chunk is there. Raises ValueError for nonsense."""
    parts: list[bytes] = []
    at = 0
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            if len(data) - at > 1024:
                raise ValueError("no chunk size")
            return b"".join(parts), False
        text = bytes(data[at:line]).split(b";", 1)[0].strip()
        if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise ValueError("no chunk size")
        size = int(text, 16)
        if size == 0:
            return b"".join(parts), True
        begin = line + 2
        parts.append(bytes(data[begin : begin + size]))
        at = begin + size + 2
        if at > len(data):
            return b"".join(parts), False


class Wire:
    """Exchanges in flight. Belongs to one running loop; ``close`` drops what is in flight unanswered."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.epoll = select.epoll()
        self.table: dict[int, Exchange] = {}
        loop.add_reader(self.epoll.fileno(), self._pump)

    def begin(self, addresses: Sequence[Address], request: Request, done: Done) -> Exchange:
        """Start an exchange; ``done`` is called once, unless it is aborted, and may be called before this returns.

        ``addresses`` are tried in order until one accepts a connection, as clients do.
        """
        exchange = Exchange(self, addresses, request, done)
        exchange.connect()
        return exchange

    def _pump(self) -> None:
        table = self.table
        for fd, _ in self.epoll.poll(0, 512):
            exchange = table.get(fd)
            if exchange is not None:
                exchange.ready()

    def close(self) -> None:
        """Abort everything and let go of the loop."""
        for exchange in list(self.table.values()):
            exchange.abort()
        if not self.epoll.closed:
            self._loop.remove_reader(self.epoll.fileno())
            self.epoll.close()


class Exchange:
    """One request and its answer."""

    __slots__ = ("_addresses", "_buffer", "_done", "_fd", "_index", "_left", "_request", "_sock", "_wire")

    def __init__(self, wire: Wire, addresses: Sequence[Address], request: Request, done: Done) -> None:
        self._wire = wire
        self._addresses = addresses
        self._index = 0
        self._request = request
        self._done: Done | None = done
        self._sock: socket.socket | None = None
        self._fd = -1
        self._left = request.payload
        self._buffer: bytes | bytearray = b""

    def connect(self) -> None:
        """Open a connection to the address whose turn it is, and send at once where that is possible."""
        family, address = self._addresses[self._index]
        try:
            sock = socket.socket(family, _STREAM)
        except OSError as error:
            self._finish(Answer(ok=False, error=of_number(error.errno)))
            return
        self._sock = sock
        code = sock.connect_ex(address)
        if code not in _GOING:
            self._refused(code)
            return
        # Over loopback the handshake is over by now, and waiting to be told so would cost a wake-up and a system
        # call. Elsewhere the system says "not yet", and epoll tells when.
        sent = self._send()
        if sent is None:
            return
        fd = self._fd = sock.fileno()
        self._wire.table[fd] = self
        try:
            self._wire.epoll.register(fd, select.EPOLLIN if sent else select.EPOLLIN | select.EPOLLOUT)
        except OSError as error:
            self._finish(Answer(ok=False, error=of_number(error.errno)))

    def _send(self) -> bool | None:
        """True when all was sent, False when some is left, None when the exchange is over."""
        assert self._sock is not None
        try:
            count = self._sock.send(self._left)
        except BlockingIOError:
            return False
        except OSError as error:
            self._refused(error.errno)
            return None
        if count == len(self._left):
            self._left = b""
            return True
        self._left = self._left[count:]
        return False

    def ready(self) -> None:
        """The connection can be read or written."""
        sock = self._sock
        if sock is None:
            return
        if self._left:
            sent = self._send()
            if sent:
                self._wire.epoll.modify(self._fd, select.EPOLLIN)
            # Not an else: a server may answer before it has read all.
            if sent is None:
                return
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if self._left and not self._buffer:
                self._refused(error.errno)
            else:
                self._finish(Answer(ok=False, error=of_number(error.errno)))
            return
        self._buffer = self._buffer + data if self._buffer else data
        answer = self._parse(not data)
        if answer is not None:
            self._finish(answer)

    def _parse(self, ended: bool) -> Answer | None:
        """The answer once it is whole (or can no longer become so), else None."""
        data = self._buffer
        begin = 0
        while True:  # informational answers (1xx) come before the real one
            head = data.find(b"\r\n\r\n", begin)
            if head < 0:
                if ended:
                    return Answer(ok=False, error="closed")
                return Answer(ok=False, error="bad response") if len(data) - begin > HEAD_LIMIT else None
            found = _STATUS.match(data, begin)
            if found is None:
                return Answer(ok=False, error="bad response")
            status = int(found[1])
            if status >= 200 or status == 101:
                break
            begin = head + 4
        request = self._request
        body = head + 4
        if request.bodyless or status in (204, 304, 101):
            return judge(status, b"", request.statuses, request.contains)
        length = _LENGTH.search(data, begin, body)
        if _CHUNKED.search(data, begin, body):
            try:
                content, whole = dechunk(data[body:])
            except ValueError:
                return Answer(ok=False, error="bad response")
            if whole or len(content) >= BODY_LIMIT:
                return judge(status, content[:BODY_LIMIT], request.statuses, request.contains)
        elif length is not None:
            wanted = min(int(length[1]), BODY_LIMIT)
            if len(data) - body >= wanted:
                content = bytes(data[body : body + wanted]) if request.contains else b""
                return judge(status, content, request.statuses, request.contains)
        elif ended or len(data) - body >= BODY_LIMIT:
            return judge(status, data[body : body + BODY_LIMIT], request.statuses, request.contains)
        return Answer(ok=False, error="closed", status=status) if ended else None

    def _refused(self, code: int | None) -> None:
        """No connection: the next address, if there is one."""
        if self._index + 1 < len(self._addresses):
            self._drop()
            self._index += 1
            self._left = self._request.payload
            self.connect()
        else:
            self._finish(Answer(ok=False, error=of_number(code)))

    def _drop(self) -> None:
        if self._sock is not None:
            self._wire.table.pop(self._fd, None)
            self._sock.close()  # takes it out of the epoll set as well
            self._sock = None
            self._fd = -1

    def _finish(self, answer: Answer) -> None:
        self._drop()
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def abort(self) -> None:
        """Drop the connection; ``done`` is not called any more."""
        self._done = None
        self._drop()
