"""A TCP connection that is accepted is a good answer; with ``contains``, one that says so first (SSH's banner)."""

from __future__ import annotations

import asyncio
import errno
import socket

from underway.checks.base import Answer
from underway.checks.errors import classify, of_number
from underway.checks.target import Resolver, check_address
from underway.core.model.cluster import Probe

HEARD = 1024
"""Bytes of a greeting that are looked at."""


class TcpCheck:
    """Connects and closes. Raises InputError when made for an address that is none."""

    def __init__(self, probe: Probe, resolver: Resolver) -> None:
        self._host, self._port = check_address(probe.address, probe.name)
        self._contains = probe.contains.encode()
        self._resolver = resolver

    async def ask(self) -> Answer:
        """One connection, to the first address that accepts."""
        loop = asyncio.get_running_loop()
        try:
            addresses = await self._resolver.lookup(self._host, self._port)
        except OSError as error:
            return Answer(ok=False, error=classify(error))
        answer = Answer(ok=False, error="dns")
        for family, address in addresses:
            try:
                with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                    await loop.sock_connect(sock, address)
                    # A loopback connection may meet itself: source and target port alike, with nobody listening.
                    if sock.getsockname() == sock.getpeername():
                        answer = Answer(ok=False, error=of_number(errno.ECONNREFUSED))
                        continue
                    return await self._hear(sock) if self._contains else Answer(ok=True)
            except OSError as error:
                answer = Answer(ok=False, error=classify(error))
        return answer

    async def _hear(self, sock: socket.socket) -> Answer:
        """Whether the wanted text is in the first kilobyte that the other side says unasked."""
        heard = b""
        while self._contains not in heard:
            if len(heard) >= HEARD:
                return Answer(ok=False, error="body")
            more = await asyncio.get_running_loop().sock_recv(sock, HEARD)
            if not more:
                return Answer(ok=False, error="body" if heard else "closed")
            heard += more
        return Answer(ok=True)

    async def close(self) -> None:
        """Nothing is held."""
