"""The link that needs no server of ours: letters are read and written in Consul or etcd, where the site chooses so.

Every answer to *may I start?* is linearizable. The rights of an agent there are for its own letters only; that orders
are signed, and what a host says too, does not rest on them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Coroutine, List, Optional

from underway_agent.kv.base import Kv, KvDenied, KvError, KvRefused
from underway_agent.link.base import Found, LinkDown, LinkRefused
from underway_agent.places import place

PACE = 1.0
"""Seconds between two letters of a host."""

LONGEST_WAIT = 50.0

PIECES = 8
"""Pieces of a plan that are read at once."""

MOST_PIECES = 2048

LARGEST_BLOB = 64 * 1024 * 1024
"""Bytes of a plan or a file; a plan of 10,000 hosts has far fewer."""


class KvLink:
    """``root``: of the mail in the server. Closes ``kv``."""

    def __init__(self, kv: Kv, root: str, host: str) -> None:
        self.pace = PACE
        self._kv = kv
        self._root = root
        self._host = host

    async def hello(self, envelope: bytes) -> None:
        """See Link."""
        await self._put("agents", envelope)

    async def orders(self, mark: str, wait: float) -> Optional[Found]:
        """See Link."""
        key = place(self._root, f"orders/{self._host}")
        deadline = asyncio.get_running_loop().time() + min(wait, LONGEST_WAIT)
        while True:
            view = await _told(lambda: self._kv.view([key]))
            item = view.get(key)
            if item is not None and str(item.index) != mark:
                return Found(item.value, str(item.index))
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await _told(lambda view=view, left=left: self._kv.wait(key, view.index, left))  # type: ignore[misc]

    async def blob(self, digest: str) -> bytes:
        """See Link."""
        head = place(self._root, f"blobs/{digest}/head")
        found = (await _told(lambda: self._kv.view([head]))).get(head)
        if found is None or not found.value.isdigit() or len(found.value) > 4 or int(found.value) > MOST_PIECES:
            raise LinkDown("the plan of an order is not there")
        keys = [place(self._root, f"blobs/{digest}/{number:04d}") for number in range(int(found.value))]
        parts: List[bytes] = []
        for start in range(0, len(keys), PIECES):
            some = keys[start : start + PIECES]
            view = await _told(lambda some=some: self._kv.view(some))  # type: ignore[misc]
            for key in some:
                item = view.get(key)
                if item is None:
                    raise LinkDown("the plan of an order is not there whole")
                parts.append(item.value)
            if sum(map(len, parts)) > LARGEST_BLOB:
                raise LinkDown("what lies in the place of a plan is too large to be one")
        return b"".join(parts)

    async def report(self, envelope: bytes) -> None:
        """See Link."""
        await self._put("reports", envelope)

    async def close(self) -> None:
        """See Link."""
        await self._kv.close()

    async def _put(self, what: str, envelope: bytes) -> None:
        key = place(self._root, f"{what}/{self._host}")
        await _told(lambda: self._kv.txn({}, {key: envelope}))


async def _told(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What a server makes go wrong, as what a link makes go wrong."""
    try:
        return await work()
    except (KvDenied, KvRefused) as error:
        raise LinkRefused(str(error)) from None
    except KvError as error:
        raise LinkDown(str(error)) from None
