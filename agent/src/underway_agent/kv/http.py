"""Several HTTP servers of one cluster, asked in turn: what Consul's and etcd's drivers have in common.

A request that changes something is sent once more only where it is known that nothing was done: no connection was
made, or the server said so itself. All else leaves the outcome unknown, and that is said.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Callable, Optional

import aiohttp

from underway_agent.kv.address import Access
from underway_agent.kv.base import KvDenied, KvUnavailable
from underway_agent.kv.tls import tls_context

CONNECT = 3.0
"""Seconds to make a connection, TLS included."""

HANG = 5.0
"""Seconds after which another server is asked what may be asked twice."""

PAUSE = 0.2
"""Seconds before all servers are tried once more."""

_NOT_SENT: tuple[type[BaseException], ...] = (aiohttp.ClientConnectorError,)
if hasattr(aiohttp, "ConnectionTimeoutError"):
    _NOT_SENT = (*_NOT_SENT, aiohttp.ConnectionTimeoutError)


@dataclass(frozen=True)
class Answer:
    """What a server said. ``url`` is its base URL."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def time(self) -> float:
        """The server's clock, seconds since the epoch: to a second, and always behind; ours where it does not say."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (TypeError, ValueError, IndexError):
            return time.time()  # noqa: TID251 (of a proxy that drops Date, better than none)

    def text(self) -> str:
        """The beginning of the body as one printable line."""
        return one_line(self.body[:300].decode("utf-8", "replace")) or f"HTTP {self.status}"


class Servers:
    """Connections to the servers of an address. The one that answered last is asked first.

    ``timeout``: seconds that one call may take, over all servers together.
    """

    def __init__(self, access: Access, timeout: float) -> None:
        self._what = access.address.kind
        self._urls = access.address.servers
        self._tls: Optional[ssl.SSLContext] = tls_context(access) if access.address.secure else None
        self._timeout = timeout
        self._current = 0
        self._session: Optional[aiohttp.ClientSession] = None
        self._closed = False

    async def call(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        *,
        headers: Optional[Mapping[str, str]] = None,
        safe: bool,
        busy: Callable[[Answer], bool] = lambda _: False,
        wait: float = 0.0,
    ) -> Answer:
        """One answer. ``safe``: asking twice does no harm. ``busy`` tells an answer that means that nothing was done
        and another server, or the same a little later, may do it. ``wait``: seconds that the server itself may take
        longer.

        Raises ``KvUnavailable`` with what each server said, and ``KvDenied`` where TLS fails with all of them.
        """
        end = time.monotonic() + self._timeout + wait
        said: dict[str, str] = {}
        tls: set[str] = set()
        while True:
            for _ in self._urls:
                url = self._urls[self._current]
                left = end - time.monotonic()
                if left <= 0 and said:
                    break
                # A server that hangs must leave time for the others; what may be done once only waits to the end.
                share = left if not safe or wait or len(self._urls) == 1 else min(left / 2, HANG)
                try:
                    answer = await self._once(method, url, path, body, headers, max(share, 0.05))
                except _NOT_SENT as error:
                    said[url] = _why(error)
                    if _is_tls(error):
                        tls.add(url)
                except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                    said[url] = _why(error)
                    self._next()
                    if _is_tls(error):
                        raise KvDenied(
                            f"{self._what}: {url}: {_why(error)} (does it want a client certificate?)"
                        ) from None
                    if not safe:
                        raise KvUnavailable(
                            f"{self._what}: {url}: {said[url]} after a write was sent; it may or may not have happened"
                        ) from None
                    continue
                else:
                    if not busy(answer):
                        if answer.status >= 500:
                            self._next()  # whatever is wrong with it: the next question goes elsewhere
                        return answer
                    said[url] = answer.text()
                self._next()
            left = end - time.monotonic()
            if left <= PAUSE or (tls and tls == set(self._urls)):
                break
            await asyncio.sleep(PAUSE)
        told = "; ".join(f"{url}: {why}" for url, why in sorted(said.items()))
        if tls and tls == set(self._urls):
            raise KvDenied(f"{self._what}: no secure connection: {told}")
        raise KvUnavailable(f"{self._what}: no server answered within {self._timeout:g} s: {told}")

    @asynccontextmanager
    async def stream(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is read while it comes. Whoever loses it calls ``lost``; errors are aiohttp's own."""
        url = self._urls[self._current]
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT)
        session = self._open()
        async with session.post(url + path, data=body, headers=headers, timeout=limits, allow_redirects=False) as found:
            yield found

    def lost(self) -> None:
        """The server that is asked now failed: ask another next."""
        self._next()

    async def close(self) -> None:
        """Drop all connections; nothing can be asked afterwards."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _next(self) -> None:
        self._current = (self._current + 1) % len(self._urls)

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise KvUnavailable(f"{self._what}: the connection was closed by us")
        if self._session is None:
            # Many calls at once are the rule (each wait is one), so no bound of connections but the system's.
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, headers={"Accept-Encoding": "identity"})
            # aiohttp sends a PUT again by itself when a kept connection breaks; Consul's transactions are PUTs, and the
            # second one would be told that the first one's own write is in its way.
            self._session._retry_connection = False
        return self._session

    async def _once(
        self,
        method: str,
        url: str,
        path: str,
        body: Optional[bytes],
        headers: Optional[Mapping[str, str]],
        share: float,
    ) -> Answer:
        limits = aiohttp.ClientTimeout(total=share, sock_connect=CONNECT)
        session = self._open()
        async with session.request(
            method, url + path, data=body, headers=headers, timeout=limits, allow_redirects=False
        ) as found:
            return Answer(url, found.status, found.headers, await found.read())


def one_line(text: str) -> str:
    """A server's words, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text[:300].split()))


def _is_tls(error: BaseException) -> bool:
    inner = getattr(error, "os_error", error)
    return isinstance(error, aiohttp.ClientSSLError) or isinstance(inner, ssl.SSLError) or "[SSL:" in str(error)


def _why(error: BaseException) -> str:
    """What went wrong, in words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        found = error.certificate_error
        return f"its certificate does not verify: {getattr(found, 'verify_message', '') or found}"
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return "no answer in time"
    inner = getattr(error, "os_error", error)
    if isinstance(inner, ssl.SSLError):
        return f"TLS failed: {inner.reason or inner}".replace("_", " ").lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno).lower()
    if "Connect call failed" in str(inner):  # to several addresses of one name
        return "connection refused"
    return f"{type(error).__name__}: {error}".rstrip(": ")
