"""Letters in a key-value server: whoever hands them out for all hosts reads what changed, whatever happens to the list
of changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence

import pytest

from underway.api.desk import Desk
from underway.errors import StoreUnavailable
from underway.executors.mail import ORDERS, REPORTS
from underway.records.kvmail import KvMail
from underway.store.served import ServedStore
from underway_agent.kv.base import KvView
from underway_agent.kv.memory import MemoryKv, MemoryServer

ROOT = "underway/demo"
HEAD = f"{ROOT}/mail/log/head"


class Counted(MemoryKv):
    """Counts requests, and the keys and values that they carry."""

    requests = 0
    values = 0

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        found = await super().view(keys, prefixes)
        self.requests += 1
        self.values += len(found.items)
        return found

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        self.requests += 1
        self.values += len(writes)
        return await super().txn(expect, writes)

    def spent(self) -> tuple[int, int]:
        """(requests, values) since the last call."""
        found, self.requests, self.values = (self.requests, self.values), 0, 0
        return found


class Post:
    """A server, and ways to the letters on it."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.stores: list[ServedStore] = []

    def mail(self, kept: int = 1000) -> tuple[KvMail, Counted]:
        kv = Counted(self.server)
        store = ServedStore(kv, ROOT)
        self.stores.append(store)
        return KvMail(store, kept), kv

    def truth(self) -> dict[str, bytes]:
        """The letters to hosts that are there."""
        start, end = f"{ROOT}/mail/", "/letter"
        return {
            key[len(start) : -len(end)]: item.value
            for key, item in self.server.items.items()
            if key.startswith(start + ORDERS)
        }


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    for store in made.stores:
        store.close()


@pytest.mark.parametrize("hosts", [20, 3000])
def test_a_look_costs_what_changed_however_many_hosts_there_are(post: Post, hosts: int) -> None:
    writer, wrote = post.mail()
    reader, read = post.mail()
    writer.put(f"{ORDERS}h0", b"first")
    for number in range(1, hosts):
        post.server.write({}, {f"{ROOT}/mail/{ORDERS}h{number}/letter": b"first"})
    letters, mark = reader.list(ORDERS)
    assert len(letters) == hosts and read.spent() == (1, hosts + 1)
    assert reader.list(ORDERS, mark) == ([], mark) and read.spent() == (1, 1)
    wrote.spent()
    for name in ("h3", "h7", "h3", "new"):
        writer.put(ORDERS + name, b"second")
    assert wrote.spent() == (4, 4 * 3), "a letter, its entry and the head, in one request"
    found, after = reader.list(ORDERS, mark)
    assert sorted(letter.key for letter in found) == [f"{ORDERS}h3", f"{ORDERS}h7", f"{ORDERS}new"]
    assert after == max(letter.mark for letter in found) and read.spent() == (3, 1 + 5 + 3)
    assert reader.list(ORDERS, 0)[1] == after and read.spent() == (1, len(post.truth()) + 1), (
        "who asks for all gets all"
    )


def test_a_server_of_agents_reads_what_changed(post: Post) -> None:
    """``underway serve`` with 2,000 hosts that wait, over a server: one new letter is one look at a handful of keys."""
    writer, _ = post.mail()
    mail, read = post.mail()
    for number in range(2000):
        writer.put(f"{ORDERS}h{number}", b"first")

    async def story() -> None:
        desk = Desk(mail)
        desk.start()
        while not desk.ready:
            await asyncio.sleep(0.01)
        first = {number: await desk.orders(f"h{number}", "", 0.0) for number in (1, 2)}
        assert all(first.values())
        read.spent()
        for number in (1, 2, 1):
            found = first[number]
            assert found is not None
            waiting = asyncio.ensure_future(desk.orders(f"h{number}", str(found.mark), 60.0))
            await asyncio.to_thread(writer.put, f"{ORDERS}h{number}", b"next")
            first[number] = await waiting
        requests, values = read.spent()
        assert requests <= 60 and values <= 60, f"{requests} requests for {values} values: expected a few for 3 letters"
        await desk.stop()

    asyncio.run(asyncio.wait_for(story(), 120))


@pytest.mark.parametrize("seed", range(30))
def test_a_follower_knows_what_is_there_whatever_happens(post: Post, seed: int) -> None:
    """Several writers, lost answers, garbage in the list of changes, an older copy that is put back: after a look the
    follower has every letter as it is."""
    chance = random.Random(seed)
    writers = [post.mail(kept=8)[0] for _ in range(3)]
    reader, _ = post.mail(kept=8)
    known: dict[str, bytes] = {}
    mark = 0
    copies = [(dict(post.server.items), post.server.index)]
    for step in range(150):
        what = chance.choices(("put", "lost", "look", "garbage", "copy", "back"), (10, 2, 6, 1, 1, 0.5))[0]
        name = f"{ORDERS}h{chance.randrange(12)}"
        if what == "put":
            chance.choice(writers).put(name, str(step).encode())
        elif what == "lost":
            post.server.script.append(chance.choice(["lost", "unknown"]))
            with pytest.raises(StoreUnavailable):
                chance.choice(writers).put(name, str(step).encode())
        elif what == "garbage":
            key = chance.choice([HEAD, f"{ROOT}/mail/log/{chance.randrange(40):012d}"])
            post.server.write({}, {key: chance.choice([b"", b"\xff", b"-1", b"9" * 5000, b"orders/../h1", None])})
            mark = 0  # whoever writes over the list of changes can hide a change; who begins anew sees it
        elif what == "copy":
            copies.append((dict(post.server.items), post.server.index))
        elif what == "back":
            items, _ = chance.choice(copies)
            post.server.restore(items, post.server.index + 3)
        else:
            letters, mark = reader.list(ORDERS, mark)
            known.update((letter.key, letter.data) for letter in letters)
            assert known | post.truth() == known, f"seed {seed}, step {step}"


def test_a_copy_that_was_put_back_in_between_is_noticed_by_the_list_itself(post: Post) -> None:
    writer, _ = post.mail()
    reader, _ = post.mail()
    for number in range(5):
        writer.put(f"{ORDERS}h{number}", b"before")
    kept = dict(post.server.items)
    for number in range(3):
        writer.put(f"{ORDERS}h{number}", b"later")
    letters, mark = reader.list(ORDERS)
    known = {letter.key: letter.data for letter in letters}
    post.server.restore(kept, post.server.index)
    other, _ = post.mail()
    for _ in range(5):
        other.put(f"{ORDERS}h4", b"after")
    found, _ = reader.list(ORDERS, mark)
    known.update((letter.key, letter.data) for letter in found)
    assert known == post.truth()


def test_of_two_that_replace_the_same_letter_one_does(post: Post) -> None:
    one, _ = post.mail()
    two, _ = post.mail()
    mark = one.put(f"{ORDERS}h1", b"a", 0)
    assert mark and two.put(f"{ORDERS}h1", b"b", 0) is None
    two.put(f"{ORDERS}h2", b"x")
    assert one.put(f"{ORDERS}h1", b"c", mark), "another host's letter was in the way"
    assert two.put(f"{ORDERS}h1", b"d", mark) is None
    assert post.truth() == {f"{ORDERS}h1": b"c", f"{ORDERS}h2": b"x"}


def test_what_hosts_write_is_in_no_list(post: Post) -> None:
    mail, _ = post.mail()
    mail.put(f"{REPORTS}h1", b"word")
    assert HEAD not in post.server.items
