"""The agent: asks for the orders of its host, has the runner do them, and reports.

It decides nothing and keeps nothing: the coordinator grants, the runner checks what is signed and keeps the journal, so
the agent, or the host, may end at any moment. Whoever cannot be asked says no: what is at work is finished, nothing is
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List

from underway_agent import identity, notify
from underway_agent.calls import NoRunner, Runner
from underway_agent.dsse import NotSigned, sign, verify
from underway_agent.facts import facts
from underway_agent.identity import AgentError, Identity
from underway_agent.letters import (
    CANCEL_TYPE,
    HELLO_TYPE,
    REPORT_TYPE,
    Key,
    LetterWrong,
    OpenOrder,
    Orders,
    Reported,
    lines_at_once,
    read_orders,
    write_report,
)
from underway_agent.lines import Lines
from underway_agent.link.base import Found, Link, LinkDown, LinkRefused
from underway_agent.saying import Sparing
from underway_agent.work import Work, request

HOLD = 50.0
"""Seconds for which the other side may hold our question before it answers that there is nothing new."""

HEARTBEAT = 10.0
"""Seconds between letters while a host is at work: silence for three of them is told to operators."""

IDLE = 60.0
"""Seconds between letters when all that lies there has ended: the coordinator is away, and will ask."""

FACTS = 30.0
"""Seconds between two looks at what the agent says of its host; a look reads a few small files."""

FRESH = 5.0
"""Seconds for which an answer to *may I start?* is good."""

BREATH = 0.2
"""Seconds between two letters that are read: whoever writes them faster costs the host no more."""

FIRST_DOUBT, LONGEST_DOUBT = 0.25, 5.0
"""Seconds before an order is begun after others were refused one after another; doubled with each, drawn anew."""

MOST_CALLS = 4
"""Calls of the runner at once: one works, the others are told that it does."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Bounds of the waits, in seconds, after the link was down; each is drawn anew (full jitter)."""

CACHED = 8
"""Plans and large files that are kept, so that the legs of a run fetch them once."""


class Daemon:
    """One host's agent over a link. ``say`` gets a line where people should know."""

    def __init__(self, own: Identity, link: Link, say: Callable[[str], None]) -> None:
        settings = own.settings
        self._own = own
        self._link = link
        self._say = say
        self._doubt = Sparing(say)  # for what letters make us say: anybody may have written them
        self._refused = 0  # orders in a row
        self._runner = Runner(settings.runner, settings.runner_directory, MOST_CALLS)
        self._cache = own.directory / "cache"
        self._works: Dict[Key, Work] = {}
        self._lines = Lines()
        self._mark = ""
        self._asked = float("-inf")
        self._trouble = self._word = ""
        self._facts: Dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._state = ""
        self._keys = ""

    async def run(self) -> None:
        """Work until cancelled; passes that are at work go on then."""
        self._cache.mkdir(mode=0o700, exist_ok=True)
        parts = (self._ask(), self._report_for_ever(), self._watch_facts(), notify.watchdog())
        tasks = [asyncio.ensure_future(part) for part in parts]
        notify.notify("READY=1")
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await self._leave(list(self._works))
            await self._link.close()

    # --- the link ----------------------------------------------------------------------------------------------

    async def _introduce(self) -> None:
        """Say who we are until somebody has heard it."""
        try:
            runner = await self._runner.ask("ping")
        except NoRunner as error:
            self._say(str(error))
            runner = {}
        self._facts = facts(Path(self._own.settings.sources_directory))
        said = sign(self._own.key, HELLO_TYPE, identity.hello(self._own.settings, runner))
        waits = Waits()
        while True:
            try:
                await self._link.hello(said)
            except (LinkDown, LinkRefused) as error:
                await self._down(error, waits)
                continue
            self._tell(f"connected to {self._own.settings.where}")
            return

    async def _watch_facts(self) -> None:
        """Say who we are anew when that has changed, whoever changed it."""
        while True:
            await asyncio.sleep(FACTS * random.uniform(0.8, 1.0))
            if self._facts and self._facts != facts(Path(self._own.settings.sources_directory)):
                await self._introduce()

    async def _ask(self) -> None:
        await self._introduce()
        waits, learning = Waits(), Waits()
        while True:
            try:
                found = await self._link.orders(self._mark, HOLD)
            except (LinkDown, LinkRefused) as error:
                await self._down(error, waits)
                continue
            waits.over()
            self._asked = time.monotonic()
            self._tell(f"connected to {self._own.settings.where}, {len(self._works)} orders")
            if found is not None:
                try:
                    await self._take(found)
                except (LinkDown, LinkRefused) as error:  # nothing of it was begun yet
                    self._mark = ""
                    await self._down(error, learning)
                else:
                    learning.over()

    async def _down(self, error: Exception, waits: "Waits") -> None:
        wait = waits.next(refused=isinstance(error, LinkRefused))
        self._tell(f"{error}; nothing is started meanwhile, what is at work goes on")
        await asyncio.sleep(wait)

    async def _may_start(self, order: OpenOrder) -> bool:
        """Whether the order stands there now: it may have been taken away while the host was busy."""
        if self._refused:
            bound = min(FIRST_DOUBT * 2.0 ** min(self._refused, 16), LONGEST_DOUBT)
            await asyncio.sleep(random.uniform(0.0, bound))
        if time.monotonic() - self._asked < FRESH:
            return True
        found = await self._link.orders("", 0.0)
        self._asked = time.monotonic()
        return found is not None and any(one.key == order.key for one in _read(found).orders)

    # --- orders ------------------------------------------------------------------------------------------------

    async def _take(self, found: Found) -> None:
        """Do as a letter says: begin what is new, leave what is gone, drop lines that have arrived."""
        self._mark = found.mark
        trouble = ""
        try:
            letter = read_orders(found.data)
        except LetterWrong as error:
            trouble, letter = str(error), Orders(since=self._lines.after)
        if trouble != self._trouble:
            self._trouble = trouble
            self._doubt(trouble or "the coordinator's letters are understood again")
            self._changed.set()
        if letter.word != self._word:
            self._word = letter.word
            if letter.word:
                self._doubt(f"this host gets no orders any more: {letter.word}")
        if letter.keys != self._keys:
            await self._learn(letter.keys)
        if not self._lines.acknowledge(letter.since):
            await self._leave(list(self._works))  # they are followed anew, from the line that is asked for
        wanted = {order.key: order for order in letter.orders}
        await self._leave([key for key in self._works if key not in wanted])
        for key, order in wanted.items():
            work = self._works.get(key)
            if work is not None and work.standing.kind == "refused" and not work.order.same(order):
                await self._leave([key])  # what was refused was perhaps not what the coordinator wrote
                work = None
            if work is None:
                work = self._works[key] = self._begin(order)
            if order.cancel and self._is_cancelled(order):
                work.cancel()
        if self._lines.lines or wanted:
            self._changed.set()
        await asyncio.sleep(BREATH)

    def _begin(self, order: OpenOrder) -> Work:
        def moved() -> None:
            self._moved(work)

        work = Work(order, self._runner, self._may_start, self._request, lambda: self._lines.last, self._hear, moved)
        work.begin()
        return work

    def _moved(self, work: Work) -> None:
        """An order stands otherwise than before."""
        self._changed.set()
        if work.standing.kind == "refused":
            self._refused += 1
            run, action, _, token = work.order.key
            self._doubt(f"refused {action[:100]} of run {run[:40]}, token {token}: {work.standing.text}")
        elif work.standing.kind != "waits":
            self._refused = 0

    async def _leave(self, keys: List[Key]) -> None:
        for key in keys:
            await self._works.pop(key).leave()

    def _hear(self, line: Dict[str, Any]) -> None:
        if self._lines.add(line):
            self._changed.set()

    def _is_cancelled(self, order: OpenOrder) -> bool:
        """Whether the coordinator's own key says so, of this very order: a letter alone stops nobody."""
        settings = self._own.settings
        try:
            said = dict(json.loads(verify(order.cancel, CANCEL_TYPE, settings.ticket_keys)))
        except (NotSigned, ValueError, TypeError) as error:
            self._doubt(f"a cancellation of {order.action[:100]} was left that does not count: {error}")
            return False
        named = (said.get("cluster"), said.get("host"))
        of = (said.get("run"), said.get("action"), said.get("leg"), said.get("token"))
        if named != (settings.cluster, settings.host) or of != order.key:
            self._doubt(f"a cancellation of {order.action[:100]} was left that is one of another order")
            return False
        return True

    async def _learn(self, keys: str) -> None:
        """Have the runner take the changes of the keys that a letter names, before anything is begun by it.

        Raises LinkDown where they cannot be had now, LinkRefused. What the runner does not take is told, and left.
        """
        settings = self._own.settings
        said: Dict[str, Any] = {}
        try:
            links = json.loads(await self._blob(keys.partition(":")[2])) if keys else []
            if links:
                wanted = {"cluster": settings.cluster, "host": settings.host, "links": links}
                said = await self._runner.ask("enrol", wanted)
        except NoRunner as error:
            raise LinkDown(str(error)) from None
        except ValueError as error:
            said = {"text": str(error)}
        self._keys = keys
        if said.get("kind") == "enrolled":
            tickets = tuple(str(one) for one in said.get("tickets", settings.ticket_keys))
            if tickets != settings.ticket_keys:
                self._own = replace(self._own, settings=replace(settings, ticket_keys=tickets))
                identity.save(self._own.directory, self._own.settings)
            self._say(f"knows change {said.get('trust', 0)} of the keys of cluster {settings.cluster}")
            await self._introduce()
        elif said:
            self._doubt(f"changes of the keys were not taken: {said.get('text', 'the runner does not say why')}")

    async def _request(self, order: OpenOrder) -> bytes:
        plan = await self._blob(order.plan)
        files = {
            name: await self._blob(part.digest) if part.digest else part.data for name, part in order.files.items()
        }
        try:
            return request(order, plan, files, self._own.vault_password())
        except (AgentError, OSError) as error:
            raise ValueError(f"the vault password of this host cannot be read: {error}") from None

    async def _blob(self, digest: str) -> bytes:
        """A plan or a file, from the cache where it is there. What has another SHA-256 is not taken."""
        if len(digest) != 64 or not all(character in "0123456789abcdef" for character in digest):
            raise ValueError("the order names a plan or a file by no SHA-256")
        path = self._cache / digest
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                return data
        data = await self._link.blob(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise LinkDown("a plan or a file came with other bytes than it was asked for by")
        _keep(path, data)
        return data

    # --- reports -----------------------------------------------------------------------------------------------

    async def _report_for_ever(self) -> None:
        waits = Waits()
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._rhythm())
            self._changed.clear()
            if not self._works and not self._trouble:
                continue
            try:
                await self._link.report(sign(self._own.key, REPORT_TYPE, write_report(self._report())))
            except (LinkDown, LinkRefused) as error:
                self._changed.set()
                await self._down(error, waits)
                continue
            waits.over()
            await asyncio.sleep(self._link.pace)

    def _rhythm(self) -> float:
        at_work = any(not work.ended for work in self._works.values())
        return (HEARTBEAT if at_work else IDLE) * random.uniform(0.8, 1.0)

    def _report(self) -> Reported:
        lines = self._lines.lines
        fit = lines_at_once(lines)
        settings = self._own.settings
        return Reported(
            cluster=settings.cluster,
            host=settings.host,
            boot=identity.boot_id(),
            uptime=identity.uptime(),
            after=self._lines.after,
            lines=lines[:fit],
            more=fit < len(lines),
            standings=tuple(work.standing for work in self._works.values()),
            trouble=self._trouble,
        )

    def _tell(self, state: str) -> None:
        """The state, for systemd and, where it is another one, for people."""
        if state != self._state:
            notify.notify(f"STATUS={state}")
            if state.split(",")[0] != self._state.split(",")[0]:
                self._say(state)
            self._state = state


class Waits:
    """Seconds to wait after a failure: drawn between nothing and a bound that doubles, so that 10,000 agents whose
    coordinator was away do not all come back in one moment."""

    def __init__(self) -> None:
        self._bound = FIRST_WAIT

    def next(self, refused: bool = False) -> float:
        """The next wait; one that was refused needs somebody's hand, and does not hurry."""
        bound, self._bound = self._bound, min(self._bound * 2, LONGEST_WAIT)
        return random.uniform(LONGEST_WAIT / 4, LONGEST_WAIT / 2) if refused else random.uniform(0.0, bound)

    def over(self) -> None:
        """It works again."""
        self._bound = FIRST_WAIT


def _read(found: Found) -> Orders:
    try:
        return read_orders(found.data)
    except LetterWrong:
        return Orders()


def _keep(path: Path, data: bytes) -> None:
    """Put into the cache, and drop what was not used for longest. A cache that cannot be written is none."""
    with contextlib.suppress(OSError):
        new = path.with_name(path.name + ".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        new.replace(path)
        for old in sorted(path.parent.iterdir(), key=lambda one: one.stat().st_mtime)[:-CACHED]:
            old.unlink()


def until_cancelled(make: Callable[[], Daemon]) -> None:
    """Run the daemon that ``make`` makes, until SIGTERM or Ctrl-C."""

    async def serve() -> None:
        task = asyncio.ensure_future(make().run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(serve())
