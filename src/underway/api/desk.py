"""What a host may ask for, whatever the question came by: its own letters, its plan, nothing of any other host.

Orders are kept as one thread sees them come, so that 10,000 hosts that wait for theirs cost no look at the store.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from contextlib import suppress

from underway.errors import Refused, StoreUnavailable
from underway.executors.changes import digest_in
from underway.executors.mail import AGENTS, ORDERS, REPORTS, Letter, Mail, get_blob
from underway_agent.letters import LARGEST, LetterWrong, Orders, read_orders

WATCH = 2.0
"""Seconds for which the store is asked to hold its answer."""

LETTERS = 100.0
"""Letters of hosts that are taken in a second; where more hosts are at work each writes less often."""

SPELL = 10.0
"""Seconds over which it is counted how many hosts write."""

DOWN = 1.0
"""Seconds before a store that could not be reached is asked again."""


class Desk:
    """Serves one cluster's mail within one event loop. ``start`` it in the loop, and ``stop`` it."""

    def __init__(self, mail: Mail) -> None:
        self._mail = mail
        self._letters: dict[str, Letter] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._stopped = threading.Event()
        self._ready = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writers: tuple[set[str], set[str]] = (set(), set())  # of the spell before, and of this one
        self._spell = float("-inf")

    def start(self) -> None:
        """Look at the mail from now on."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, args=(self._loop,), name="desk", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Answer those who wait, now and from now on: the end is near, and must not wait for them."""
        self._stopped.set()
        for host in list(self._waiting):
            self._wake(host)

    async def stop(self) -> None:
        """Look at the mail no more."""
        self.release()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, WATCH + 1.0)

    @property
    def ready(self) -> bool:
        """Whether the store could be read the last time."""
        return self._ready

    async def orders(self, host: str, mark: str, wait: float) -> Letter | None:
        """The letter to a host, if it is another than that of ``mark``; None after ``wait`` seconds without one.

        Raises StoreUnavailable: an old letter is no permission.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            if not self._ready:
                raise StoreUnavailable("the store cannot be read")
            letter = self._letters.get(host)
            if letter is not None and str(letter.mark) != mark:
                return letter
            left = deadline - loop.time()
            if left <= 0 or self._stopped.is_set():
                return None
            future: asyncio.Future[None] = loop.create_future()
            self._waiting[host].add(future)
            try:
                await asyncio.wait([future], timeout=left)
            finally:
                self._waiting[host].discard(future)
                if not self._waiting[host]:
                    del self._waiting[host]

    async def report(self, host: str, envelope: bytes) -> None:
        """Leave a host's letter for its coordinator. Raises Refused for one that no store holds, StoreError."""
        await self._leave(REPORTS + host, envelope)
        now = asyncio.get_running_loop().time()
        if now - self._spell > SPELL:
            self._writers, self._spell = (self._writers[1] if now - self._spell < 2 * SPELL else set(), set()), now
        self._writers[1].add(host)

    def pace(self, least: float) -> float:
        """Seconds that a host should wait between two letters."""
        return max(least, max(map(len, self._writers)) / LETTERS)

    async def hello(self, host: str, envelope: bytes) -> None:
        """Leave what an agent said of itself. Raises as ``report``."""
        await self._leave(AGENTS + host, envelope)

    async def blob(self, host: str, digest: str) -> bytes | None:
        """A plan, a file or changes of keys that the host's letter names; None for any other. Raises StoreError."""
        letter = self._letters.get(host)
        try:
            said = read_orders(letter.data) if letter is not None else Orders()
        except LetterWrong:
            said = Orders()
        named = {order.plan for order in said.orders} | {digest_in(said.keys)}
        named |= {part.digest for order in said.orders for part in order.files.values()}
        if not digest or digest not in named:
            return None
        return await asyncio.to_thread(get_blob, self._mail, digest)

    async def _leave(self, key: str, envelope: bytes) -> None:
        if len(envelope) > LARGEST:
            raise Refused(f"a letter of {len(envelope)} bytes: expected at most {LARGEST}")
        await asyncio.to_thread(self._mail.put, key, envelope)

    # --- the thread --------------------------------------------------------------------------------------------

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        mark = 0
        while not self._stopped.is_set():
            try:
                letters, mark = self._mail.list(ORDERS, mark)
                loop.call_soon_threadsafe(self._take, list(letters))
                self._mail.wait(ORDERS, mark, WATCH)
            except Exception:  # noqa: BLE001  the boundary of the thread: without it old letters would pass for new ones
                mark = 0  # it may come back as it was some time ago
                with suppress(RuntimeError):  # the loop is closed: we are ending
                    loop.call_soon_threadsafe(self._lost)
                self._stopped.wait(DOWN)

    def _take(self, letters: list[Letter]) -> None:
        self._ready = True
        for letter in letters:
            host = letter.key.removeprefix(ORDERS)
            self._letters[host] = letter
            self._wake(host)

    def _lost(self) -> None:
        self._ready = False
        for host in list(self._waiting):
            self._wake(host)

    def _wake(self, host: str) -> None:
        for future in self._waiting.get(host, ()):
            if not future.done():
                future.set_result(None)
