"""A server's whole life at Nova: created, ACTIVE in time, deleted, gone. Nova's API by plain HTTP.

``POST /servers`` (202), ``GET /servers/{id}`` until ``ACTIVE``, ``DELETE`` (204), ``GET`` until 404: Compute API
reference, "Servers". Microversion 2.37 (Newton) is asked for, the first in which ``networks`` may be a word. By hand
and not by openstacksdk, because that is synchronous (a thread for each question, which no time-out ends), takes
half a second of CPU to import, and hides which of the requests failed.
"""

from __future__ import annotations

import asyncio

import msgspec

from underway.checks.base import Answer
from underway.checks.creation import create, noted, refused
from underway.checks.errors import classify
from underway.checks.http import HttpCheck
from underway.checks.leftovers import Leftovers, Made, Sweeper
from underway.checks.target import check_url
from underway.checks.web import NETWORK
from underway.checks.write import dig
from underway.core.model.cluster import Probe
from underway.errors import InputError

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "OpenStack-API-Version": "compute 2.37",
}

POLL = 0.5
"""Seconds between two looks at a server: the resolution of ``built``."""


class ServerCheck:
    """One server a question; ``inner`` speaks to Nova with a token and renews one that is refused (C19).

    The question is bad at its first bad answer; then the server is deleted all the same. What cannot be deleted
    within the question is tried again later, by the next prober if need be: ``Leftovers``.
    """

    def __init__(self, probe: Probe, inner: HttpCheck, leftovers: Leftovers) -> None:
        if probe.server is None:
            raise InputError(f"probe {probe.name}: server: expected what to create (flavor, image), found nothing")
        check_url(probe.url, probe.name)
        self._ask = probe.server
        self._probe = probe.name
        self._url = f"{probe.url.rstrip('/')}/servers"
        self._inner = inner
        self._leftovers = leftovers
        self._sweeper = Sweeper(probe.name, leftovers, self._delete)

    async def ask(self) -> Answer:
        """One server, from the request until it is gone again."""
        return await noted(self._sweeper, self._life)

    async def _life(self, unique: str) -> Answer:
        begun = asyncio.get_running_loop().time()
        reply = await create(self._inner, self._leftovers, unique, "POST", self._url, self._body(unique))
        if refused(reply):
            return Answer(ok=False, error=f"status {reply.status}", status=reply.status)
        identity = dig(reply.body, "server.id")
        if reply.status != 202 or not isinstance(identity, str):
            word = "body" if reply.status == 202 else f"status {reply.status}"
            await self._delete(Made(self._probe, unique), False)
            return Answer(ok=False, error=word, status=reply.status)
        made = Made(self._probe, unique, identity)
        self._leftovers.made(made)
        built, word = 0.0, "timeout"
        try:
            built, word = await self._active(identity, begun)
        except NETWORK as error:
            word = classify(error)
        undone = await self._delete(made, True)
        if not word and undone:
            word = f"cleanup: {undone}"
        return Answer(ok=not word, error=word, status=reply.status, built=built)

    def _body(self, unique: str) -> str:
        ask = self._ask
        networks = ask.network if ask.network in ("none", "auto") else [{"uuid": ask.network}]
        server = {"name": unique, "flavorRef": ask.flavor, "imageRef": ask.image, "networks": networks}
        return msgspec.json.encode({"server": server}).decode()

    async def _active(self, identity: str, begun: float) -> tuple[float, str]:
        """Seconds until it was ACTIVE, or 0 and the word for why it was not."""
        loop = asyncio.get_running_loop()
        while True:
            reply = await self._inner.exchange("GET", f"{self._url}/{identity}")
            if reply.status != 200:
                return 0.0, f"status {reply.status}"
            state = dig(reply.body, "server.status")
            took = loop.time() - begun
            if state == "ERROR":
                return 0.0, "server: ERROR"
            if took > self._ask.boot:
                return 0.0, f"server: not ACTIVE in {self._ask.boot:g} s"
            if state == "ACTIVE":
                return took, ""
            await asyncio.sleep(POLL)

    async def _delete(self, made: Made, confirmed: bool) -> str:
        """Delete a server and wait until it is gone, as ``Delete`` says. Raises as ``exchange``."""
        ids = [made.id] if made.id else []
        if not ids:
            reply = await self._inner.exchange("GET", f"{self._url}?name={made.unique}")
            rows = dig(reply.body, "servers") if reply.status == 200 else None
            if not isinstance(rows, list):
                return f"status {reply.status}" if reply.status != 200 else "body"
            ids = [str(row.get("id", "")) for row in rows if isinstance(row, dict) and row.get("name") == made.unique]
        for identity in ids:
            word = await self._remove(identity)
            if word:
                return word
        if not ids and not confirmed:
            return "not found"
        self._leftovers.gone(made.unique)
        return ""

    async def _remove(self, identity: str) -> str:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._ask.gone
        reply = await self._inner.exchange("DELETE", f"{self._url}/{identity}")
        if reply.status not in (204, 404):
            return f"status {reply.status}"
        while True:
            reply = await self._inner.exchange("GET", f"{self._url}/{identity}")
            if reply.status == 404:
                return ""
            if reply.status != 200:
                return f"status {reply.status}"
            if loop.time() > until:
                return f"not gone in {self._ask.gone:g} s"
            await asyncio.sleep(POLL)

    async def close(self) -> None:
        """A last try to delete what is left."""
        await self._sweeper.close(self._ask.gone)
        await self._inner.close()
