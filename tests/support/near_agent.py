"""A real agent with the real runner, linked to mail in the same process; a coordinator's executor is beside it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fast.runner.kit import Kit
from support.near_link import NearLink
from support.pulling import enrolments
from underway import trust
from underway.api.desk import Desk
from underway.core.model.cluster import Host
from underway.executors.base import Order, Report
from underway.executors.mail import Mail
from underway.executors.pull import PullExecutor
from underway.records.kvmail import KvMail, Served
from underway.records.mailbox import StoreMail
from underway.store.base import Store
from underway.store.memory import MemoryStore
from underway_agent import dsse
from underway_agent.daemon import Daemon
from underway_agent.identity import Identity, Settings
from underway_agent.letters import OpenOrder, Part
from underway_agent.link.base import Link

FINAL = ("finished", "failed", "unknown", "refused")
PATIENCE = 120.0


class Near:
    """Host ``h1`` of the kit's cluster ``demo``: enrolled, its runner too. ``begin`` starts its agent."""

    def __init__(
        self, root: Path, kit: Kit, store: Store | None = None, link: Callable[[], Link] | None = None
    ) -> None:
        """``link``: makes another link than to the mail of this process."""
        self.kit = kit
        self.store = store or MemoryStore()
        self.mail: Mail = KvMail(self.store) if isinstance(self.store, Served) else StoreMail(self.store, "demo")
        self._other = link
        self.signer = kit.signers["ticket"]
        self.said: list[str] = []
        directory = root / "agent"
        directory.mkdir()
        key = dsse.create_key(directory / "host.key")
        found = enrolments(self.store, self.signer)
        self.enrolments = found
        found.enrol("h1", found.invite("h1", "ada", 0.0), dsse.public_hex(key), "00" * 32, 0.0)
        ticket_keys = (self.signer.public_key.keyval["public"],)
        settings = Settings(
            "demo", "h1", "near", ticket_keys, (sys.executable, "-m", "underway_runner"), str(kit.directory)
        )
        self.identity = Identity(directory, settings, key, "")
        kit.enrol()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.desk: Desk = self.do(self._open())
        self.link = self.do(self._link())
        self._daemon: asyncio.Future[None] | None = None

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the agent's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def begin(self, **settings: Any) -> None:
        """Start the agent (again)."""
        own = Identity(self.identity.directory, Settings(**{**vars(self.identity.settings), **settings}),
                       self.identity.key, "")  # fmt: skip

        async def start() -> asyncio.Future[None]:
            return asyncio.ensure_future(Daemon(own, self.link, self.said.append).run())

        self._daemon = self.do(start())

    def end(self) -> None:
        """End the agent; a pass that is at work goes on."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return

        async def stop() -> None:
            daemon.cancel()
            await asyncio.wait([daemon])

        self.do(stop())

    def close(self) -> None:
        self.end()
        self.do(self.desk.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def executor(self) -> PullExecutor:
        """A coordinator's executor."""
        return PullExecutor(
            self.mail, "demo", self.enrolments.verify, lambda kind, data: trust.sign(self.signer, kind, data)
        )

    def order(self, token: int = 1, **changes: Any) -> Order:
        """An order that the runner takes."""
        request = self.kit.request(token, **changes)
        return Order(
            run=self.kit.run_id,
            action="control/web/h1",
            leg=0,
            token=token,
            host=Host(name="h1", role="web", connection="agent"),
            target="h1",
            ticket=base64.b64decode(request["ticket"]),
            plan=base64.b64decode(request["plan"]),
            files=tuple((name, base64.b64decode(data)) for name, data in request["files"].items()),
        )

    async def _open(self) -> Desk:
        desk = Desk(self.mail)
        desk.start()
        return desk

    async def _link(self) -> Any:
        return NearLink(self.desk, "h1") if self._other is None else self._other()


def open_order(order: Order, **changes: Any) -> OpenOrder:
    """The order as it stands in a letter, with ``changes`` of whoever wrote over it."""
    fields: dict[str, Any] = {
        "run": "r1", "action": "control/web/h1", "leg": 0, "token": 1,
        "ticket": order.ticket, "plan": sha(order.plan),
        "files": {name: Part(data) for name, data in order.files},
    }  # fmt: skip
    return OpenOrder(**{**fields, **changes})


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def until_ended(executor: PullExecutor) -> list[Report]:
    """All reports up to one that ends the order."""
    found: list[Report] = []
    deadline = time.monotonic() + PATIENCE
    while not any(report.kind in FINAL for report in found):
        assert time.monotonic() < deadline, f"no end: {[(one.kind, one.text) for one in found]}"
        found += executor.reports(1.0)
    return found


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited for {PATIENCE:.0f} s"
        time.sleep(0.02)
