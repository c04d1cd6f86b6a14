"""One order that a host does: calls of the runner until it has said how the leg ended.

The same as over SSH: the call is only a view. When it breaks another is made, and the runner says what happened; a
pass that was killed is resumed by the same ticket.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Awaitable, Callable, Dict, List, Optional, Set, Tuple

from underway_agent.calls import Ended, Runner
from underway_agent.letters import FINAL, OpenOrder, Standing
from underway_agent.link.base import LinkDown, LinkRefused

FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
"""Seconds before a call that broke is made again; doubled each time."""

Request = Callable[[OpenOrder], Awaitable[bytes]]
"""The line of an order for the runner's ``run``. Raises LinkDown, LinkRefused; ValueError where it cannot be had."""

MayStart = Callable[[OpenOrder], Awaitable[bool]]
"""Whether the order still stands, asked now. Raises LinkDown, LinkRefused."""


class Work:
    """``hear``: takes journal lines. ``changed``: called when ``standing`` is another one. ``since``: the last journal
    line that is known here, asked anew for each call."""

    def __init__(
        self,
        order: OpenOrder,
        runner: Runner,
        may_start: MayStart,
        request: Request,
        since: Callable[[], int],
        hear: Callable[[Dict[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        self.order = order
        self.standing = self._stands("waits")
        self._runner = runner
        self._may_start = may_start
        self._request = request
        self._since = since
        self._hear = hear
        self._changed = changed
        self._accepted = False
        self._cancel = asyncio.Event()
        self._cancelled = False
        self._status: Optional[Dict[str, Any]] = None
        self._wait = FIRST_WAIT
        self._deaths = 0
        self._task: Optional["asyncio.Task[None]"] = None

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.standing.kind in FINAL

    def begin(self) -> None:
        """Follow the order from now on."""
        self._task = asyncio.ensure_future(self._follow())

    def cancel(self) -> None:
        """Stop the leg: a signed word said so. Harmless again."""
        self._cancel.set()

    async def leave(self) -> None:
        """Follow no more; a pass that is at work goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self) -> None:
        while not self.ended:
            try:
                if not await self._once():
                    return
            except Exception as error:  # noqa: BLE001  the boundary of the task: an order must not be lost by a fault
                self._say("waits" if not self._accepted else "accepted", f"the agent failed: {error!r}")
                await self._pause()

    async def _once(self) -> bool:
        """One call of the runner, and what follows from it; False if the order stands no more: nothing was begun."""
        try:
            verb, arguments, data = await self._next()
        except LinkDown as error:
            if not self._accepted:
                self._say("waits", f"not begun: {error}")
            await self._pause()
            return True
        except (LinkRefused, ValueError) as error:
            self._say("refused", str(error))
            return True
        if not verb:
            return False
        ended = await self._call(verb, arguments, data)
        if ended is not None:
            await self._after(verb, ended)
        return True

    async def _call(self, verb: str, arguments: List[str], data: bytes) -> Optional[Ended]:
        """One call of the runner to its end; None where a cancellation came meanwhile."""
        self._status = None
        call = asyncio.ensure_future(self._runner.call(verb, arguments, data, self._take))
        parts: "Set[asyncio.Future[Any]]" = {call}
        if verb == "run":
            parts.add(asyncio.ensure_future(self._cancel.wait()))
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()  # those that are done take no notice
            await asyncio.wait(parts)
        return None if call.cancelled() else call.result()

    async def _next(self) -> Tuple[str, List[str], bytes]:
        run, action, leg, token = self.order.key
        where = ["--run", run, "--action", action, "--leg", str(leg), "--token", str(token)]
        since = ["--since", str(self._since())]
        if self._cancel.is_set():
            return ("follow", [*where, *since], b"") if self._cancelled else ("cancel", where, b"")
        data = await self._request(self.order)
        if not self._accepted and not await self._may_start(self.order):
            return "", [], b""
        return "run", since, data

    def _take(self, said: Dict[str, Any]) -> None:
        """One line of a call: of the journal, or an answer."""
        if "seq" in said:
            self._wait = FIRST_WAIT
            self._hear(said)
            return
        kind = said.get("kind")
        if kind == "accepted":
            self._wait = FIRST_WAIT
            self._accepted = True
            self._say("accepted", str(said.get("text", "")))
        elif kind == "cancelled":
            self._cancelled = True
        else:
            self._status = said

    async def _after(self, verb: str, ended: Ended) -> None:
        """A call is over: by its last word we know how the leg stands, without one nothing."""
        said = self._status or {}
        kind, state, text = said.get("kind"), said.get("state"), str(said.get("text", ""))
        if kind == "status" and state in ("finished", "failed", "unknown"):
            self._say(str(state), text, str(said.get("step", "")), float(said.get("duration", 0.0)))
        elif kind in ("refused", "unknown"):
            self._say(str(kind), text)
        elif kind == "busy":
            if not self._accepted:
                self._say("busy", text)
            await self._pause()
        elif kind == "status":
            if state == "none":  # the pass was killed: the same ticket resumes it, ever more slowly if that recurs
                await asyncio.sleep(min(0.1 * 2**self._deaths, LONGEST_WAIT))
                self._deaths = min(self._deaths + 1, 16)
        elif verb != "cancel" or not self._cancelled:
            if ended.missing and not self._accepted:
                self._say("refused", f"there is no runner on this host that could be asked: {ended.words}")
                return
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, LONGEST_WAIT)

    def _say(self, kind: str, text: str = "", step: str = "", duration: float = 0.0) -> None:
        new = self._stands(kind, text[:4000], step[:256], duration)
        if new != self.standing:
            self.standing = new
            self._changed()

    def _stands(self, kind: str, text: str = "", step: str = "", duration: float = 0.0) -> Standing:
        run, action, leg, token = self.order.key
        return Standing(run, action, leg, token, kind, text, step, duration)


def request(order: OpenOrder, plan: bytes, files: Dict[str, bytes], vault_password: Optional[str]) -> bytes:
    """The line that the runner's ``run`` reads."""
    said = {
        "known": order.known,
        "plan": base64.b64encode(plan).decode("ascii"),
        "ticket": base64.b64encode(order.ticket).decode("ascii"),
        "files": {name: base64.b64encode(data).decode("ascii") for name, data in files.items()},
        "vault_password": vault_password,
    }
    return json.dumps(said).encode() + b"\n"
