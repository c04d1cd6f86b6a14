"""The HTTP client of everything that plain exchanges cannot do: TLS, tokens, several requests an answer.

One ``Web`` serves all checks of a prober. Each request has a connection of its own; redirects, proxies of the
environment, cookies and compression are off, and at most 64 KB of a body are read.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from underway.checks.target import Resolver
from underway.checks.wire import BODY_LIMIT
from underway.errors import InputError

AGENT = "underway-probe"

NETWORK = (aiohttp.ClientError, OSError, ValueError)
"""What a request may raise; :func:`underway.checks.errors.classify` has words for it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, the body (cut at 64 KB) and the headers, names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Web:
    """Requests with one connection each; what they raise is in ``NETWORK``."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    def trust(self, ca: str, probe: str) -> ssl.SSLContext:
        """The TLS settings that trust the authorities in file ``ca`` (empty: the system's). Raises InputError."""
        found = self._contexts.get(ca)
        if found is None:
            try:
                if ca and not Path(ca).is_file():
                    raise FileNotFoundError("no such file")
                found = ssl.create_default_context(cafile=ca or None)
            except (OSError, ssl.SSLError) as error:
                raise InputError(
                    f"probe {probe}: ca: expected a file of PEM certificates, found {ca}: {error}"
                ) from error
            # Python 3.13 began to refuse authorities without a key usage extension, as many private ones are. Curl and
            # the services' own clients do not; an outage must not depend on the prober's Python. All else is checked.
            found.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._contexts[ca] = found
        return found

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        context: ssl.SSLContext | None = None,
    ) -> Reply:
        """One exchange on one new connection."""
        session = self._session
        if session is None:
            # Made here and not earlier: a session belongs to the loop that runs.
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0, resolver=self._resolver, use_dns_cache=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the caller bounds the whole, cleaning up included
                auto_decompress=False,
                trust_env=False,
                headers={"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
            )
        async with session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body or None,
            ssl=context if context is not None else True,
            allow_redirects=False,
        ) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) >= BODY_LIMIT:
                    break
            lower = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, bytes(content[:BODY_LIMIT]), lower)

    async def close(self) -> None:
        """Close the session; a later request would open another."""
        if self._session is not None:
            await self._session.close()
            self._session = None
