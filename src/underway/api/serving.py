"""The server around the routes: TLS, limits of connections, and an end within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from underway.api.certificates import Certificates
from underway.api.web import Office, application
from underway.errors import InputError
from underway_agent.link.http import is_loopback

HEADER_TIME = 10.0
"""Seconds that the head of a request may take to come, from its first byte or the connection's beginning on."""

HEADER = 16 * 1024
"""Bytes of a request's head."""

GRACE = 3
"""Seconds that questions which are held get when the server ends: without an end they would keep it alive."""


TLS_BUFFER = 32 * 1024
"""Bytes that each connection keeps for what comes in: asyncio's own 256 KiB would be 2.6 GB for 10,000 hosts."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. ``certificates`` None: plain HTTP, for this very machine only."""

    host: str
    port: int
    certificates: Certificates | None


def read_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (an IPv6 address in brackets). Raises InputError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise InputError(f"--listen {text}: expected HOST:PORT, like 127.0.0.1:8440")
    return host, int(port)


def serve(office: Office, listen: Listen, began: Callable[[int], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. ``began`` gets the port once it is open. Raises InputError, OSError."""
    if listen.certificates is None and not is_loopback(listen.host):
        raise InputError(
            f"--plain: {listen.host} is reached from elsewhere, and plain HTTP shows credentials to all who listen"
            " (leave --plain out, or listen on 127.0.0.1)"
        )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what went wrong is told by us, in one line
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    certificates = listen.certificates
    config = uvicorn.Config(
        application(office, lifespan=_lifespan(office)),
        host=listen.host,
        port=listen.port,
        http=Patient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=75,
        ssl_certfile=None if certificates is None else str(certificates.certificate),
        ssl_keyfile=None if certificates is None else str(certificates.key),
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    server = Server(config, office, began)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # uvicorn leaves by the latter where it cannot listen
        asyncio.run(server.serve())
    if not server.began:
        raise OSError(None, "cannot listen there (is the port taken?)", f"{listen.host}:{listen.port}")


class Server(uvicorn.Server):
    """Says when it is there, and lets no question be held over its end."""

    def __init__(self, config: uvicorn.Config, office: Office, tell: Callable[[int], None]) -> None:
        super().__init__(config)
        self._office = office
        self._tell = tell
        self.began = False

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn's, then ``began``."""
        await super().startup(sockets)
        if self.started:
            self.began = True
            self._tell(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn's, once all questions that are held have been answered."""
        self._office.desk.release()
        await super().shutdown(sockets)


class Patient(H11Protocol):
    """Patient with those who say nothing more, not with those who begin a request and do not go on: uvicorn alone
    would wait for the rest of a head for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEADER_TIME, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        incomplete = self.conn.their_state is h11.IDLE
        if incomplete and self._late is None:
            self._late = self.loop.call_later(HEADER_TIME, self.transport.close)
        elif not incomplete and self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)


def _lifespan(office: Office) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001  FastAPI's signature
        office.desk.start()
        yield
        await office.desk.stop()

    return lifespan
