"""HTTP checks that read: plain ones without a task, the others (TLS, a token) through aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from underway.checks.base import Answer
from underway.checks.errors import classify
from underway.checks.keystone import Token, TokenError, Tokens
from underway.checks.target import Resolver, check_url
from underway.checks.web import AGENT, NETWORK, Reply, Web
from underway.checks.wire import Done, Exchange, Request, Wire, judge
from underway.core.model.cluster import Probe
from underway.errors import InputError

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def check_request(probe: Probe) -> None:
    """Refuse what would make another request than it says. Raises InputError."""
    if not probe.method or not set(probe.method) <= _TOKEN:
        raise InputError(f"probe {probe.name}: method: expected a word such as GET, found {probe.method!r}")
    for name, value in probe.headers.items():
        if not name or not set(name) <= _TOKEN or any(letter in value for letter in "\r\n\0"):
            raise InputError(f"probe {probe.name}: headers: {name!r} is not a header of one line")
    if not probe.status:
        raise InputError(f"probe {probe.name}: status: expected at least one, found none")


class PlainCheck:
    """A request over plain HTTP; ``begin`` costs no task. The hot path of a prober."""

    def __init__(self, probe: Probe, wire: Wire, resolver: Resolver) -> None:
        check_request(probe)
        parts = check_url(probe.url, probe.name)
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._wire = wire
        self._resolver = resolver
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, "User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        given = {name.lower() for name in probe.headers}
        lines = {name: value for name, value in lines.items() if name.lower() not in given}
        lines.update({name: value for name, value in probe.headers.items() if name.lower() != "connection"})
        body = probe.body.encode()
        if body or probe.method in ("POST", "PUT", "PATCH"):
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._request = Request(
            payload=f"{probe.method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body,
            statuses=frozenset(probe.status),
            contains=probe.contains.encode(),
            bodyless=probe.method == "HEAD",
        )

    def begin(self, now: float, done: Done) -> Exchange | None:
        """Start at once where the address is known (None where it is not: then ``ask``). ``now``: loop time."""
        addresses = self._resolver.known(self._host, self._port, now)
        if addresses is None:
            return None
        return self._wire.begin(addresses, self._request, done)

    async def ask(self) -> Answer:
        """The same as a coroutine, with the lookup of the name first."""
        try:
            addresses = await self._resolver.lookup(self._host, self._port)
        except OSError as error:
            return Answer(ok=False, error=classify(error))
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        exchange = self._wire.begin(addresses, self._request, answer.set_result)
        try:
            return await answer
        finally:
            exchange.abort()

    async def close(self) -> None:
        """The wire is shared, and closed by who made it."""


class HttpCheck:
    """A request over aiohttp: HTTPS, or with a Keystone token."""

    def __init__(self, probe: Probe, web: Web, tokens: Tokens | None) -> None:
        check_request(probe)
        parts = check_url(probe.url, probe.name)
        self._probe = probe
        self._web = web
        self._tokens = tokens
        self._context = web.trust(probe.ca, probe.name) if parts.scheme == "https" else None
        self._statuses = frozenset(probe.status)
        self._contains = probe.contains.encode()

    async def _send(self, method: str, url: str, body: str, token: Token | None) -> Reply:
        headers: Mapping[str, str] = self._probe.headers
        if token is not None:
            headers = {**headers, "X-Auth-Token": token.value}
        return await self._web.request(method, url, headers=headers, body=body.encode(), context=self._context)

    async def exchange(self, method: str, url: str, body: str = "") -> Reply:
        """One request with a token where the probe has one; a token that is refused is renewed once.

        Raises TokenError where no token could be had, and what the HTTP client raises.
        """
        if self._tokens is None:
            return await self._send(method, url, body, None)
        token = await self._tokens.get()
        reply = await self._send(method, url, body, token)
        if reply.status == 401 and 401 not in self._statuses:
            token = await self._tokens.get(refused=token)
            reply = await self._send(method, url, body, token)
        return reply

    async def ask(self) -> Answer:
        """One request (two where the token had to be renewed)."""
        try:
            reply = await self.exchange(self._probe.method, self._probe.url, self._probe.body)
        except TokenError as error:
            return Answer(ok=False, error=f"auth: {error.word}")
        except NETWORK as error:
            return Answer(ok=False, error=classify(error))
        return judge(reply.status, reply.body, self._statuses, self._contains)

    async def close(self) -> None:
        """The client is shared, and closed by who made it."""
