"""An agent's link to mail in the same process: what ``underway serve`` does, without the network between."""

from __future__ import annotations

from underway.api.desk import Desk
from underway.errors import StoreError
from underway_agent.link.base import Found, LinkDown


class NearLink:
    """``down``: nobody can be asked. ``asked`` counts questions for orders."""

    def __init__(self, desk: Desk, host: str) -> None:
        self._desk = desk
        self._host = host
        self.pace = 0.02
        self.down = False
        self.asked = 0

    async def hello(self, envelope: bytes) -> None:
        self._check()
        await self._desk.hello(self._host, envelope)

    async def orders(self, mark: str, wait: float) -> Found | None:
        self.asked += 1
        self._check()
        try:
            letter = await self._desk.orders(self._host, mark, min(wait, 0.5))
        except StoreError as error:
            raise LinkDown(str(error)) from None
        self._check()
        return None if letter is None else Found(letter.data, str(letter.mark))

    async def blob(self, digest: str) -> bytes:
        self._check()
        data = await self._desk.blob(self._host, digest)
        if data is None:
            raise LinkDown("no such plan")
        return data

    async def report(self, envelope: bytes) -> None:
        self._check()
        await self._desk.report(self._host, envelope)

    async def close(self) -> None:
        return

    def _check(self) -> None:
        if self.down:
            raise LinkDown("the link is cut")
