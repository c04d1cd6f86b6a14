"""A store in a key-value server that several machines share: Consul or etcd, by the drivers of ``underway_agent.kv``.

Under one root there are

- ``d/<key>``: the values, raw; the revision of a key is the server's own index of it;
- ``head``: format, epoch, and number ``n`` and random name of the latest commit. Every commit compares and writes it,
  so commits of one store are serial, and its index is the revision of the store;
- ``log/<n>``: the name of commit ``n`` and its keys, a line each, of the last ``KEPT`` commits. So "what changed since"
  costs what changed. By its name a commit whose answer was lost is known again, and a history that is not the one that
  was seen (an older copy of the store that was put back);
- ``beats/<name>``: until when somebody says to be alive, by the server's clock, which is one for all machines.

A commit that lost the race for the head only, and not for a key that it compares, is tried again here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import random
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from underway.core.words import clean
from underway.errors import Conflict, StoreError, StoreFull, StoreUnavailable
from underway.store.base import ABSENT, Item, Listing
from underway.store.limits import check_commit, check_key, check_prefix
from underway_agent.kv.base import MAX_OPS, Kv, KvError, KvFull, KvItem, KvUnavailable, KvView

FORMAT = 1
"""Number of the layout above; a newer one is refused."""

KEPT = 1000
"""Commits whose keys are remembered; who looks for the first time after more of them reads everything."""

ATTEMPTS = 100
"""Times that a commit is tried while only other commits came between."""

SLICE = 20.0
"""Seconds after which a watcher looks for itself, whatever the server told it (TRUST.md, fault 19)."""

FORGOTTEN = 3600.0
"""Seconds of silence after which a beat is cleared away."""

_SEEN = 4096
_DIGITS = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The latest commit: number, index and name, and the random name of the store. All 0 and "" before the first."""

    n: int = 0
    index: int = ABSENT
    name: str = ""
    epoch: str = ""


class ServedStore:
    """The promises of ``store/base.py`` on top of a ``Kv``, for callers that are not async.

    ``root`` is the server's key under which all lies, without slashes at its ends. ``kept`` is for tests. Thread-safe.
    Closes ``kv`` when it is closed.
    """

    def __init__(self, kv: Kv, root: str, kept: int = KEPT) -> None:
        self._kv, self.root, self._kept = kv, root, kept
        self._data, self._beats = f"{root}/d/", f"{root}/beats/"
        self._head_key = f"{root}/head"
        self._head = Head()
        self._fresh = secrets.token_hex(16)  # the epoch, if ours is the first commit
        self._seen: OrderedDict[int, tuple[int, str]] = OrderedDict()  # index of a commit -> its number and name
        self._closed = False
        self._closing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._committing = asyncio.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"store {root}", daemon=True)
        self._thread.start()

    # --- the contract ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Item | None:
        check_key(key)
        found = self._run(self._kv.view([self._data + key])).get(self._data + key)
        return None if found is None else self._item(found)

    def list(self, prefix: str, since: int = 0) -> Listing:
        check_prefix(prefix)
        return self._run(self._everything(prefix, 0) if since <= 0 else self._changed(prefix, since))

    def commit(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int:
        check_commit(expect, writes)
        return self._run(self._commit(dict(expect), dict(writes)))

    def watch(self, prefix: str, since: int, timeout: float) -> int:
        check_prefix(prefix)
        return self._run(self._watch(since, timeout))

    def beat(self, name: str, ttl: float) -> None:
        check_key(name)
        self._run(self._beat(name, ttl))

    def alive(self) -> dict[str, float]:
        view = self._run(self._kv.view(prefixes=[self._beats]))
        return {item.key[len(self._beats) :]: _until(item) - view.time for item in view.items}

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- beyond the contract --------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """The random name that the store got with its first commit; "" before."""
        return self._run(self._look()).epoch

    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of the server, a sentence each."""
        return tuple(self._run(self._kv.warnings()))

    def ask(self, work: Callable[[Kv], Coroutine[Any, Any, T]]) -> T:
        """The result of what is done with the server itself, for those who keep something beside the store.

        Raises what the store raises.
        """
        return self._run(work(self._kv))

    # --- reading --------------------------------------------------------------------------------------------------

    async def _look(self) -> Head:
        return self._read_head(await self._kv.view([self._head_key]))

    async def _everything(self, prefix: str, since: int) -> Listing:
        view = await self._kv.view([self._head_key], [self._data + prefix])
        head = self._read_head(view)
        return Listing(tuple(self._item(item, head) for item in self._values(view) if item.index > since), head.index)

    async def _changed(self, prefix: str, since: int) -> Listing:
        """Reads head, then the log from ``since`` on, then the keys that it names; what is committed meanwhile is read
        once more, until a moment is found at which nothing was."""
        head = await self._look()
        if head.index <= since:
            return Listing((), head.index)
        base = self._seen.get(since) or await self._commit_at(since)
        if base is None or head.n - base[0] >= self._kept:
            return await self._everything(prefix, since)
        found: dict[str, KvItem | None] = {}
        done, due = base[0] - 1, dict[str, None]()
        while done < head.n or due:
            if done < head.n:
                numbers = range(done + 1, min(head.n, done + MAX_OPS - 1) + 1)
                view = await self._kv.view([self._head_key, *map(self._log, numbers)])
                head = self._read_head(view)
                entries = {item.key: item for item in view.items}
                if len(entries) <= len(numbers):
                    return await self._everything(prefix, since)  # some were cleared away meanwhile
                for number in numbers:
                    name, *keys = entries[self._log(number)].value.decode("utf-8", "replace").split("\n")
                    if number > base[0]:
                        due.update((key, None) for key in keys if key.startswith(prefix))
                    elif name != base[1]:
                        raise self._other_history(since)
                done = numbers[-1]
                continue
            part = list(due)[: MAX_OPS - 1]
            view = await self._kv.view([self._head_key, *(self._data + key for key in part)])
            head = self._read_head(view)
            for key in part:
                found[key] = view.get(self._data + key)
                del due[key]
        kept = [item for _, item in sorted(found.items()) if item is not None and item.index > since]
        return Listing(tuple(self._item(item, head) for item in kept), head.index)

    async def _commit_at(self, since: int) -> tuple[int, str] | None:
        """Number and name of the last commit up to a revision that another handle saw; None where it is too old."""
        view = await self._kv.view([self._head_key], [f"{self.root}/log/"])
        self._read_head(view)
        found: tuple[int, str] | None = None
        for item in view.items:
            number = item.key[-_DIGITS:]
            if item.index <= since and item.key.startswith(f"{self.root}/log/") and number.isdecimal():
                found = (int(number), item.value.decode("utf-8", "replace").partition("\n")[0])
        return found

    def _read_head(self, view: KvView) -> Head:
        item = view.get(self._head_key)
        if item is None:
            if self._head.n:
                raise StoreError(f"{self.root}: the store is gone from the server (restore it, then start again)")
            return self._head
        form, number, name, epoch = self._head_of(item)
        if form > FORMAT:
            raise StoreError(
                f"{self._head_key}: has layout {form}, this program knows up to {FORMAT} (a newer Underway wrote it: "
                "use that one; nothing was changed)"
            )
        if self._head.epoch and epoch != self._head.epoch:
            raise StoreError(f"{self.root}: is another store than before (look at it, then start again)")
        self._remember(Head(number, item.index, name, epoch))
        return self._head

    def _head_of(self, item: KvItem) -> tuple[int, int, str, str]:
        """Format, number, name and epoch. Raises StoreError for what we never write."""
        try:
            document = json.loads(item.value)
            form, number, name, epoch = (document[one] for one in ("format", "n", "name", "epoch"))
            numbers = type(form) is type(number) is int and form > 0 and 0 < number < 10**_DIGITS
            if numbers and type(name) is type(epoch) is str and (name + epoch).isalnum():
                return form, number, name, epoch
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise StoreError(
            f"{self._head_key}: is not what Underway writes there (if somebody wrote over it, put the server's last "
            "backup back; if it is another program's, choose another prefix)"
        )

    def _remember(self, head: Head) -> None:
        commit = (head.n, head.name)
        if self._seen.setdefault(head.index, commit) != commit:
            raise self._other_history(head.index)
        self._seen.move_to_end(head.index)
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        self._head = head

    def _other_history(self, revision: int) -> StoreError:
        return StoreError(
            f"{self.root}: what is there at revision {revision} is not what was seen there (was an older copy of the "
            "store put back? look at it, then start again)"
        )

    # --- writing --------------------------------------------------------------------------------------------------

    async def _commit(self, expect: dict[str, int], writes: dict[str, bytes | None]) -> int:
        if not writes:
            return (await self._compare(expect)).index
        async with self._committing:  # of one process, one at a time: they would only be in each other's way
            head = self._head if self._head.n else await self._look()
            for attempt in range(ATTEMPTS):
                name = secrets.token_hex(8)
                try:
                    done = await self._kv.txn(*self._transaction(name, head, expect, writes))
                except (KvUnavailable, KvFull) as error:
                    done = await self._settle(name, head, error)
                if done is not None:
                    self._remember(Head(head.n + 1, done, name, head.epoch or self._fresh))
                    return done
                head = await self._compare(expect)
                if attempt:
                    await asyncio.sleep(random.uniform(0.0, min(0.2, 0.002 * 2**attempt)))  # noqa: S311 (no secret)
        raise StoreUnavailable(
            f"{self.root}: others wrote each time that a commit was tried ({ATTEMPTS} times); nothing was written"
        )

    async def _compare(self, expect: Mapping[str, int]) -> Head:
        """The head at a moment at which all of ``expect`` holds; else Conflict with the first that does not."""
        view = await self._kv.view([self._head_key, *(self._data + key for key in expect)])
        there = {item.key: item.index for item in view.items}
        for key, revision in expect.items():
            found = there.get(self._data + key, ABSENT)
            if found != revision:
                raise Conflict(key, revision, found)
        return self._read_head(view)

    async def _settle(self, name: str, head: Head, error: KvError) -> int | None:
        """What became of a commit whose answer was lost: its index, or None where it never can be written any more.

        Raises ``error`` where it may yet be, or was refused for good.
        """
        try:
            view = await self._kv.view([self._head_key, self._log(head.n + 1)])
        except KvError:
            raise error from None
        entry = view.get(self._log(head.n + 1))
        if entry is None or self._read_head(view).epoch not in (head.epoch or self._fresh, ""):
            raise error
        # The head that it compares is gone: it was this one, or another that was quicker.
        return entry.index if entry.value.startswith(name.encode("ascii")) else None

    def _transaction(
        self, name: str, head: Head, expect: Mapping[str, int], writes: Mapping[str, bytes | None]
    ) -> tuple[dict[str, int], dict[str, bytes | None]]:
        document = {"format": FORMAT, "n": head.n + 1, "name": name, "epoch": head.epoch or self._fresh}
        out: dict[str, bytes | None] = {self._data + key: value for key, value in writes.items()}
        out[self._head_key] = json.dumps(document).encode("ascii")
        out[self._log(head.n + 1)] = "\n".join([name, *writes]).encode("ascii")
        if head.n + 1 > self._kept:
            out[self._log(head.n + 1 - self._kept)] = None
        return {self._head_key: head.index, **{self._data + key: index for key, index in expect.items()}}, out

    # --- waiting and living ---------------------------------------------------------------------------------------

    async def _watch(self, since: int, timeout: float) -> int:
        end = time.monotonic() + timeout
        index = 0
        while True:
            view = await self._kv.view([self._head_key])
            head = self._read_head(view)
            left = end - time.monotonic()
            if head.index > since or left <= 0:
                return max(head.index, since)
            index = await self._kv.wait(self._head_key, index or view.index, min(left, SLICE))

    async def _beat(self, name: str, ttl: float) -> None:
        view = await self._kv.view(prefixes=[self._beats])
        writes: dict[str, bytes | None] = {
            item.key: None for item in view.items[: MAX_OPS // 2 - 1] if _until(item) + FORGOTTEN < view.time
        }
        writes[self._beats + name] = repr(view.time + ttl).encode("ascii")
        await self._kv.txn({}, writes)

    # --- small parts ----------------------------------------------------------------------------------------------

    def _log(self, number: int) -> str:
        return f"{self.root}/log/{number:0{_DIGITS}d}"

    def _values(self, view: KvView) -> Iterator[KvItem]:
        return (item for item in view.items if item.key.startswith(self._data))

    def _item(self, item: KvItem, head: Head | None = None) -> Item:
        """``head``: of the same moment, where it is known. Raises StoreError for a value that no commit wrote."""
        if head is not None and item.index > head.index:
            raise StoreError(
                f"{clean(item.key, 200)}: was written after the last commit, and not by one (somebody wrote it by "
                "hand: put the server's last backup back as a whole, or delete a key that is none of Underway's)"
            )
        return Item(item.key[len(self._data) :], item.value, item.index)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, done by our own thread; a caller that is interrupted takes its work back."""
        with self._closing:
            if self._closed:
                work.close()
                raise StoreUnavailable(f"{self.root}: the store was closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        with _errors():
            try:
                return future.result()
            except concurrent.futures.CancelledError:
                raise StoreUnavailable(f"{self.root}: the store was closed") from None
            except BaseException:
                future.cancel()
                raise

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._kv.close()


def _until(item: KvItem) -> float:
    try:
        return float(item.value)
    except ValueError:
        return 0.0


@contextmanager
def _errors() -> Iterator[None]:
    """What a server makes go wrong, as what a store makes go wrong."""
    try:
        yield
    except KvUnavailable as error:
        raise StoreUnavailable(str(error)) from None
    except KvFull as error:
        raise StoreFull(f"{error}; nothing was lost and reads go on (make room, then resume)") from None
    except KvError as error:
        raise StoreError(str(error)) from None
