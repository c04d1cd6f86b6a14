"""The link over HTTPS to ``underway serve``: a question that is held until there is an answer, and letters.

The certificate must be signed by the authority that was pinned at enrolment; no other counts, whatever else the machine
trusts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from pathlib import Path
from typing import Any, Dict, Optional, Tuple
from urllib.parse import urlsplit

import aiohttp

from underway_agent.link.base import Found, LinkDown, LinkRefused

ANSWER = 30.0
"""Seconds that an answer may take beyond what we ask for it to be held."""

CONNECT = 10.0

LARGEST = 64 * 1024 * 1024
"""Bytes of an answer; a plan of 10,000 hosts has far fewer."""

PACE = 0.5
"""Seconds between two letters where the other side has no other wish."""

SLOWEST = 300.0


def check_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError unless it is https, or http on this very machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url}: expected an address like https://HOST:8440")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(
            f"{url}: plain HTTP carries credentials in the open: expected https (http is for loopback only)"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine for sure."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusting(authority: Optional[Path]) -> ssl.SSLContext:
    """TLS that trusts one authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is not None:
        context.load_verify_locations(cafile=str(authority))
    return context


class HttpLink:
    """``authority``: the file with the pinned certificate. Make it in a running loop."""

    def __init__(self, url: str, host: str, token: str, authority: Optional[Path]) -> None:
        self.pace = PACE
        self._url = check_url(url)
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {host}:{token}"},
            connector=aiohttp.TCPConnector(ssl=trusting(authority), limit=4),
            trust_env=False,
            auto_decompress=False,
        )

    async def hello(self, envelope: bytes) -> None:
        """See Link."""
        await self._ask("POST", "/v1/agents/hello", data=envelope)

    async def orders(self, mark: str, wait: float) -> Optional[Found]:
        """See Link."""
        query = {"mark": mark, "wait": f"{wait:.0f}"}
        headers, body = await self._ask("GET", "/v1/agents/order", query=query, wait=wait)
        if not body:
            return None
        return Found(body, headers.get("Underway-Mark", ""))

    async def blob(self, digest: str) -> bytes:
        """See Link."""
        try:
            return (await self._ask("GET", f"/v1/plans/{digest}"))[1]
        except LinkRefused as error:  # it may come yet: whoever left the order looks after it
            raise LinkDown(str(error)) from None

    async def report(self, envelope: bytes) -> None:
        """See Link."""
        await self._ask("POST", "/v1/agents/report", data=envelope)

    async def close(self) -> None:
        """See Link."""
        await self._session.close()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Optional[Dict[str, str]] = None,
        data: Optional[bytes] = None,
        wait: float = 0.0,
    ) -> Tuple[Any, bytes]:
        """Headers and body of a good answer."""
        limits = aiohttp.ClientTimeout(total=wait + ANSWER, sock_connect=CONNECT)
        try:
            async with self._session.request(
                method, self._url + path, params=query, data=data, timeout=limits, allow_redirects=False
            ) as answer:
                body = await _body(answer)
                if answer.status in (200, 204):
                    self._set_pace(answer.headers.get("Underway-Pace", ""))
                    return answer.headers, body
                words = f"{self._url}: {said_by(body, answer.status)}"
                if answer.status in (400, 401, 403, 404, 413, 426):
                    raise LinkRefused(words)
                raise LinkDown(words)
        except asyncio.TimeoutError:
            raise LinkDown(f"{self._url}: no answer within {wait + ANSWER:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LinkDown(f"{self._url}: {str(error) or type(error).__name__}") from None

    def _set_pace(self, text: str) -> None:
        """Do as the other side wishes, within reason."""
        try:
            self.pace = min(max(float(text), 0.0), SLOWEST) if text else PACE
        except ValueError:
            self.pace = PACE


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 16):
        size += len(part)
        if size > LARGEST:
            raise ValueError(f"an answer of more than {LARGEST} bytes")
        parts.append(part)
    return b"".join(parts)


def said_by(body: bytes, status: int) -> str:
    """The sentence of an error's answer."""
    try:
        return str(json.loads(body)["text"])[:1000]
    except (ValueError, KeyError, TypeError):
        return f"answered with status {status}"
