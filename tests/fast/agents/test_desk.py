"""The desk between mail and agents: answers from what one thread sees, refuses when that cannot be seen, and paces."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence

import pytest

from underway.api.desk import LETTERS, Desk
from underway.errors import Refused, StoreUnavailable
from underway.executors.mail import ORDERS, Letter
from underway.records.mailbox import StoreMail
from underway.store.memory import MemoryStore
from underway_agent.letters import LARGEST, OpenOrder, Orders, write_orders


class Counted(StoreMail):
    """Mail that counts looks, and can be away."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), "demo")
        self.away = threading.Event()
        self.looks = 0

    def list(self, prefix: str, since: int = 0, names: Collection[str] | None = None) -> tuple[Sequence[Letter], int]:
        self.looks += 1
        if self.away.is_set():
            raise StoreUnavailable("away")
        return super().list(prefix, since, names)

    def wait(self, prefix: str, since: int, timeout: float) -> None:
        super().wait(prefix, since, min(timeout, 0.1))


def run(story: Callable[[Counted, Desk], Awaitable[None]]) -> None:
    async def whole() -> None:
        mail = Counted()
        desk = Desk(mail)
        desk.start()
        try:
            await until(lambda: desk.ready)
            await story(mail, desk)
        finally:
            await desk.stop()

    asyncio.run(asyncio.wait_for(whole(), 120))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def test_a_thousand_hosts_that_wait_cost_no_look_each() -> None:
    async def story(mail: Counted, desk: Desk) -> None:
        questions = [asyncio.ensure_future(desk.orders(f"h{number}", "", 60.0)) for number in range(1000)]
        await asyncio.sleep(0.05)
        before = mail.looks
        mail.put(ORDERS + "h7", b"x")
        letter = await questions[7]
        assert letter is not None and letter.data == b"x"
        assert mail.looks - before < 100
        assert sum(question.done() for question in questions) == 1, "others were woken for nothing"
        desk.release()
        assert [await question for question in questions[8:]] == [None] * 992

    run(story)


def test_a_letter_that_is_known_is_waited_out() -> None:
    async def story(mail: Counted, desk: Desk) -> None:
        mark = mail.put(ORDERS + "h1", b"x")
        await until(lambda: "h1" in desk._letters)
        assert await desk.orders("h1", str(mark), 0.05) is None
        assert (await desk.orders("h1", "", 0.0)) is not None

    run(story)


def test_a_store_that_is_away_is_no_permission() -> None:
    async def story(mail: Counted, desk: Desk) -> None:
        mail.put(ORDERS + "h1", b"x")
        await until(lambda: "h1" in desk._letters)
        waiting = asyncio.ensure_future(desk.orders("h2", "", 60.0))
        mail.away.set()
        mail.put(ORDERS + "h9", b"wake")
        await until(lambda: not desk.ready)
        for question in (waiting, asyncio.ensure_future(desk.orders("h1", "", 0.0))):
            with pytest.raises(StoreUnavailable):
                await question
        mail.away.clear()
        await until(lambda: desk.ready)
        assert (await desk.orders("h1", "", 0.0)) is not None

    run(story)


def test_plans_are_for_hosts_whose_orders_name_them() -> None:
    async def story(mail: Counted, desk: Desk) -> None:
        digest = "ab" * 32
        mail.put(f"blobs/{digest}/0000", b"plan")
        mail.put(f"blobs/{digest}/head", b"1")
        mail.put(ORDERS + "h1", write_orders(Orders((OpenOrder("r", "a/h1", 0, 1, b"t", digest),))))
        mail.put(ORDERS + "h3", b"rubbish")
        await until(lambda: "h3" in desk._letters)
        assert await desk.blob("h1", digest) == b"plan"
        for host, asked in (("h2", digest), ("h3", digest), ("h1", "cd" * 32), ("h1", "")):
            assert await desk.blob(host, asked) is None

    run(story)


def test_letters_are_bounded_and_many_writers_are_slowed_down() -> None:
    async def story(mail: Counted, desk: Desk) -> None:
        with pytest.raises(Refused):
            await desk.report("h1", b"x" * (LARGEST + 1))
        assert desk.pace(0.5) == 0.5
        for number in range(300):
            await desk.report(f"h{number}", b"x")
        assert desk.pace(0.5) == 300 / LETTERS and desk.pace(9.0) == 9.0

    run(story)
