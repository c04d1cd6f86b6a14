"""A scripted API server on loopback: it fails as told, and when told, in a thread of its own.

Speaks as much of HTTP/1.1, of Keystone's tokens and of a service with things to create and delete as probes need.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Mode = Literal[
    "ok", "refused", "503", "hang", "slow", "401", "reset", "half", "garbage", "chunked", "huge", "drip", "302"
]


def wall() -> float:
    """Unix time: servers and probers of a test share this machine's clock."""
    return time.clock_gettime(time.CLOCK_REALTIME)


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class FakeApi:
    """Start with ``with``; ``mode`` changes take effect before ``set`` returns. ``delay`` is that of ``slow``."""

    tls: ssl.SSLContext | None = None
    password: str = "right"
    mode: Mode = "ok"
    delay: float = 3.0
    lifetime: float = 3600.0
    token_mode: Mode = "ok"
    lose_create_answers: bool = False
    refuse_deletes: bool = False
    seen: list[Seen] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    port: int = 0
    count: int = 0

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port, ssl=self.tls, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def set(self, mode: Mode) -> float:
        """Change the mode; returns the Unix time at which that had effect."""
        done: list[float] = []
        changed = threading.Event()

        async def change() -> None:
            if mode == "refused" and self._server is not None:
                self._server.close()
                self._server = None
            self.mode = mode
            if mode != "refused" and self._server is None:
                await self._listen()
            done.append(wall())
            changed.set()

        asyncio.run_coroutine_threadsafe(change(), self._loop)
        assert changed.wait(10)
        return done[0]

    def do(self, work: Callable[[], Any]) -> None:
        """Run something in the server's thread and wait for it."""
        done = threading.Event()

        def run() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.seen.append(Seen(method, path, headers, body, wall()))
        mode = self.token_mode if path.startswith("/v3/auth") else self.mode
        if mode == "hang":
            await reader.read()  # until the client gives up; never answered
            return
        if mode == "slow":
            await asyncio.sleep(self.delay)
        if mode == "reset":
            linger = struct.pack("ii", 1, 0)  # closing answers with RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
        if mode == "garbage":
            writer.write(b"220 mail.example ESMTP\r\n\r\n")
        elif mode == "half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        elif mode == "huge":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(2000):
                    writer.write(b"x" * 65536)
                    await writer.drain()
        elif mode == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        elif mode == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(b"4\r\n and\r\n5;x=y\r\n well\r\n0\r\n\r\n")
        elif mode in ("503", "401", "302"):
            self._reply(writer, int(mode), b"{}", {"Location": "/elsewhere"} if mode == "302" else {})
        else:
            self._route(writer, method, path, headers, body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    def _reply(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        length = f"Content-Length: {len(body)}\r\n" if status != 204 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{length}{more}Connection: close\r\n\r\n".encode() + body)

    def _good(self, token: str | None) -> bool:
        return token is not None and self.tokens.get(token, 0.0) > wall()

    def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        parts = urlsplit(path)
        if parts.path == "/v3/auth/tokens":
            self._token(writer, method, headers, body)
        elif parts.path.startswith("/secure") and not self._good(headers.get("x-auth-token")):
            self._reply(writer, 401, b"{}")
        elif parts.path.removeprefix("/secure").startswith("/things"):
            self._thing(writer, method, parts.path, parse_qs(parts.query), body)
        else:
            self._reply(writer, 200, b'{"status": "fine"}')

    def _token(self, writer: asyncio.StreamWriter, method: str, headers: dict[str, str], body: bytes) -> None:
        if method == "POST":
            user = json.loads(body)["auth"]["identity"]["password"]["user"]
            if user["password"] != self.password:
                self._reply(writer, 401, b"{}")
                return
            self.count += 1
            token, ends = f"token-{self.count}-canary", wall() + self.lifetime
            self.tokens[token] = ends
            text = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            self._reply(writer, 201, json.dumps({"token": {"expires_at": text}}).encode(), {"X-Subject-Token": token})
        elif not self._good(headers.get("x-auth-token")):
            self._reply(writer, 401, b"{}")
        else:
            self._reply(writer, 200 if self._good(headers.get("x-subject-token")) else 404, b"{}")

    def _thing(
        self, writer: asyncio.StreamWriter, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> None:
        if method == "POST":
            self.count += 1
            identity, name = f"id{self.count}", json.loads(body)["name"]
            self.things[identity] = name
            if self.lose_create_answers:
                writer.transport.abort()
                return
            self._reply(writer, 201, json.dumps({"thing": {"id": identity, "name": name}}).encode())
        elif method == "GET":
            rows = [{"id": key, "name": name} for key, name in self.things.items() if name in query.get("name", [name])]
            self._reply(writer, 200, json.dumps({"things": rows}).encode())
        elif self.refuse_deletes:
            self._reply(writer, 503, b"{}")
        else:
            known = self.things.pop(path.rsplit("/", 1)[1], None)
            self._reply(writer, 204 if known is not None else 404, b"")
