"""HTTP checks: plain ones without a task, the others through aiohttp; and write probes that clean up."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from underway.checks.base import Answer
from underway.checks.errors import classify, proves_contact
from underway.checks.keystone import Token, TokenError, Tokens
from underway.checks.leftovers import Leftovers, Made
from underway.checks.target import Resolver, check_url
from underway.checks.web import AGENT, Reply, Web
from underway.checks.wire import Done, Exchange, Request, Wire, judge
from underway.core.model.cluster import Probe
from underway.errors import InputError

_NETWORK = (aiohttp.ClientError, OSError, ValueError)
LATE = 30.0
"""Seconds after which a creation that was never answered is no longer expected to happen."""

_GONE = frozenset({200, 202, 204, 404, 410})
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
        except _NETWORK as error:
            return Answer(ok=False, error=classify(error))
        return judge(reply.status, reply.body, self._statuses, self._contains)

    async def close(self) -> None:
        """The client is shared, and closed by who made it."""


class WriteCheck:
    """Creates something and deletes it again; both must succeed.

    ``{unique}`` in ``url``, ``body`` and ``cleanup`` is a name that is never used twice. ``cleanup`` has ``url`` of the
    deletion (``{id}`` is what ``id``, a dotted path into the JSON answer of the creation, found there), ``method``
    (DELETE), and for services that choose the id themselves ``list``: a URL that lists what has the unique name, and
    ``items``: the dotted path to the list in its answer. With ``list`` even a creation whose answer was lost is found
    again. What could not be deleted is tried again until it is gone, by the next prober if need be.
    """

    def __init__(self, probe: Probe, inner: HttpCheck, leftovers: Leftovers) -> None:
        cleanup = probe.cleanup
        unknown = set(cleanup) - {"method", "url", "id", "list", "items"}
        if unknown:
            raise InputError(
                f"probe {probe.name}: cleanup: unknown field {min(unknown)!r} (expected method, url, id, list, items)"
            )
        url = cleanup.get("url", "")
        check_url(url.replace("{id}", "x").replace("{unique}", "x"), probe.name)
        if "{id}" not in url and "{unique}" not in url:
            raise InputError(f"probe {probe.name}: cleanup: url: expected {{id}} or {{unique}} in {url!r}")
        if "{unique}" not in probe.url + probe.body:
            raise InputError(f"probe {probe.name}: body: expected {{unique}} in it or in url, to know what to delete")
        if cleanup.get("list"):
            check_url(cleanup["list"].replace("{unique}", "x"), probe.name)
        self._probe = probe
        self._inner = inner
        self._leftovers = leftovers
        self._statuses = frozenset(probe.status)
        self._contains = probe.contains.encode()
        self._busy: set[str] = set()
        self._since: dict[str, float] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def ask(self) -> Answer:
        """One creation and one deletion."""
        waiting = len(self._leftovers.open(self._probe.name)) > len(self._busy)
        if waiting and (self._sweeper is None or self._sweeper.done()):
            self._sweeper = asyncio.create_task(self._sweep())
        unique = f"underway-probe-{secrets.token_hex(8)}"
        self._leftovers.made(Made(self._probe.name, unique))
        self._busy.add(unique)
        try:
            return await self._write(unique)
        except TokenError as error:
            return Answer(ok=False, error=f"auth: {error.word}")
        except _NETWORK as error:
            return Answer(ok=False, error=classify(error))
        finally:
            self._busy.discard(unique)
            self._since[unique] = asyncio.get_running_loop().time()

    async def _write(self, unique: str) -> Answer:
        probe = self._probe
        url, body = probe.url.replace("{unique}", unique), probe.body.replace("{unique}", unique)
        try:
            reply = await self._inner.exchange(probe.method, url, body)
        except TokenError:
            self._leftovers.gone(unique)  # nothing was sent
            raise
        except _NETWORK as error:
            word = classify(error)
            if word == "refused" or (word != "timeout" and not proves_contact(False, word)):
                self._leftovers.gone(unique)  # nobody took the request
            raise
        answer = judge(reply.status, reply.body, self._statuses, self._contains)
        if 400 <= reply.status < 500:
            self._leftovers.gone(unique)  # refused as a whole: nothing was made
            return answer
        found = _dig(reply.body, self._probe.cleanup.get("id", ""))
        made = Made(probe.name, unique, str(found) if isinstance(found, str | int) else "")
        self._leftovers.made(made)
        word = await self._delete(made, confirmed=reply.status < 300)
        if answer.ok and word:
            return Answer(ok=False, error=f"cleanup: {word}", status=answer.status)
        return answer

    async def _delete(self, made: Made, *, confirmed: bool) -> str:
        """Delete one thing; empty when it is gone, else the word for why not. Raises as ``exchange``.

        ``confirmed``: that it is not found means that it is gone. Where the creation was never answered, it
        may also mean that it will still be made.
        """
        cleanup = self._probe.cleanup
        ids = [made.id]
        if not made.id and "{id}" in cleanup["url"]:
            if not cleanup.get("list"):
                return "no id"
            reply = await self._inner.exchange("GET", cleanup["list"].replace("{unique}", made.unique))
            if reply.status != 200:
                return f"status {reply.status}"
            rows = _dig(reply.body, cleanup.get("items", ""))
            if not isinstance(rows, list):
                return "body"
            ids = [str(row.get("id", "")) for row in rows if isinstance(row, dict) and made.unique in row.values()]
        sure = confirmed
        for identity in ids:
            url = cleanup["url"].replace("{unique}", made.unique).replace("{id}", identity)
            reply = await self._inner.exchange(cleanup.get("method", "DELETE"), url)
            if reply.status not in _GONE:
                return f"status {reply.status}"
            sure = sure or reply.status < 300
        if not sure:
            return "not found"
        self._leftovers.gone(made.unique)
        return ""

    async def _sweep(self, patience: float = 10.0) -> None:
        """Try once to delete everything that was left over."""
        now = asyncio.get_running_loop().time()
        for made in self._leftovers.open(self._probe.name):
            if made.unique not in self._busy:
                # One of an earlier prober is old: its connections were closed when it ended.
                late = now - self._since.get(made.unique, now - LATE) >= LATE
                with contextlib.suppress(TokenError, TimeoutError, *_NETWORK):
                    async with asyncio.timeout(patience):
                        await self._delete(made, confirmed=late)
        still = {made.unique for made in self._leftovers.open(self._probe.name)}
        self._since = {unique: at for unique, at in self._since.items() if unique in still}

    async def close(self) -> None:
        """A last try to delete what is left, up to five seconds each."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._sweep(patience=5.0)
        await self._inner.close()


def _dig(body: bytes, path: str) -> Any:
    """What a dotted path finds in a JSON document; None where it finds nothing."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    for name in filter(None, path.split(".")):
        found = found.get(name) if isinstance(found, dict) else None
    return found
