"""Where a probe may go: addresses are checked before anything is asked, names are looked up anew.

A probe is written by whoever writes ``cluster.yaml`` and runs with the prober's rights, so it must not become a way
to read files or the credentials that clouds serve at link-local addresses: only http and https, and never a
metadata address, by name or by number.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from underway.checks.wire import Address
from underway.errors import InputError

FRESH = 5.0
"""Seconds that a looked-up address is used for; a moved name is met at most so much later."""

_DENIED = frozenset({"169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"})
_NUMERIC = socket.AI_NUMERICHOST


def denied(address: str) -> bool:
    """Whether an IP address serves credentials to whoever asks (metadata services of clouds)."""
    try:
        found = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found) in _DENIED


def check_url(url: str, probe: str) -> SplitResult:
    """The parts of a URL that may be probed. Raises InputError that names the probe and what is wrong."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"probe {probe}: url: {error} in {url!r} (write http://HOST:PORT/PATH)") from error
    if parts.scheme not in ("http", "https"):
        raise InputError(f"probe {probe}: url: expected http or https, found {parts.scheme or 'none'!r} in {url!r}")
    if not parts.hostname or port == 0:
        raise InputError(f"probe {probe}: url: expected a host (and a port from 1) in {url!r}")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"probe {probe}: url: expected no user or password in it (use auth with password_file)")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise InputError(f"probe {probe}: url: expected no blanks or control characters")
    if denied(parts.hostname):
        raise InputError(f"probe {probe}: url: {parts.hostname} is a metadata address and is never probed")
    return parts


def check_address(address: str, probe: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises InputError."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"probe {probe}: address: expected host:port, found {address!r}")
    if denied(host):
        raise InputError(f"probe {probe}: address: {host} is a metadata address and is never probed")
    return host, int(port)


def is_local(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    try:
        return ipaddress.ip_address(host.split("%", 1)[0]).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Resolver(AbstractResolver):
    """Addresses of names, looked up anew when older than ``FRESH``; the same for both HTTP clients.

    A failed lookup raises ``socket.gaierror`` and is not remembered.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    def known(self, host: str, port: int, now: float) -> list[Address] | None:
        """Addresses that are fresh at ``now`` (loop time), without waiting; None where a lookup is needed."""
        found = self._known.get((host, port))
        return found[1] if found is not None and now < found[0] else None

    async def lookup(self, host: str, port: int) -> list[Address]:
        """Addresses of a name, in the order in which to try them."""
        loop = asyncio.get_running_loop()
        found = self.known(host, port, loop.time())
        if found is not None:
            return found
        try:
            # A number needs no thread and never gets old.
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=_NUMERIC)
            until = float("inf")
        except socket.gaierror:
            rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            until = loop.time() + FRESH
        addresses: list[Address] = [
            (int(family), address)  # type: ignore[misc]
            for family, _, _, _, address in rows
            if family in (socket.AF_INET, socket.AF_INET6) and not denied(str(address[0]))
        ]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address that may be probed")
        self._known[(host, port)] = (until, addresses)
        return addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The same for aiohttp."""
        return [
            ResolveResult(hostname=host, host=address[0], port=port, family=found, proto=0, flags=_NUMERIC)
            for found, address in await self.lookup(host, port)
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """Nothing is held."""
