"""Write probes over HTTP: create something, delete it again, leave nothing behind."""

from __future__ import annotations

from typing import Any

import msgspec

from underway.checks.base import Answer
from underway.checks.creation import create, noted, refused
from underway.checks.http import HttpCheck
from underway.checks.leftovers import Leftovers, Made, Sweeper
from underway.checks.target import check_url
from underway.checks.wire import judge
from underway.core.model.cluster import Probe
from underway.errors import InputError

GONE = frozenset({200, 202, 204, 404, 410})
"""Statuses of a deletion after which the thing is, or will be, gone."""


class WriteCheck:
    """Creates something and deletes it again; both must succeed.

    ``{unique}`` in ``url``, ``body`` and ``cleanup`` is a name that is never used twice. ``cleanup`` has ``url`` of the
    deletion (``{id}`` is what ``id``, a dotted path into the JSON answer of the creation, found there), ``method``
    (DELETE), and for services that choose the id themselves ``list``: a URL that lists what has the unique name, and
    ``items``: the dotted path to the list in its answer. With ``list`` even a creation whose answer was lost is found
    again. What could not be deleted is tried again until it is gone, by the next prober if need be.
    """

    def __init__(self, probe: Probe, inner: HttpCheck, leftovers: Leftovers) -> None:
        cleanup = probe.cleanup
        unknown = set(cleanup) - {"method", "url", "id", "list", "items"}
        if unknown:
            raise InputError(
                f"probe {probe.name}: cleanup: unknown field {min(unknown)!r} (expected method, url, id, list, items)"
            )
        url = cleanup.get("url", "")
        check_url(url.replace("{id}", "x").replace("{unique}", "x"), probe.name)
        if "{id}" not in url and "{unique}" not in url:
            raise InputError(f"probe {probe.name}: cleanup: url: expected {{id}} or {{unique}} in {url!r}")
        if "{unique}" not in probe.url + probe.body:
            raise InputError(f"probe {probe.name}: body: expected {{unique}} in it or in url, to know what to delete")
        if cleanup.get("list"):
            check_url(cleanup["list"].replace("{unique}", "x"), probe.name)
        self._probe = probe
        self._inner = inner
        self._leftovers = leftovers
        self._statuses = frozenset(probe.status)
        self._contains = probe.contains.encode()
        self._sweeper = Sweeper(probe.name, leftovers, self._delete)

    async def ask(self) -> Answer:
        """One creation and one deletion."""
        return await noted(self._sweeper, self._write)

    async def _write(self, unique: str) -> Answer:
        probe = self._probe
        url, body = probe.url.replace("{unique}", unique), probe.body.replace("{unique}", unique)
        reply = await create(self._inner, self._leftovers, unique, probe.method, url, body)
        answer = judge(reply.status, reply.body, self._statuses, self._contains)
        if refused(reply):
            return answer
        found = dig(reply.body, self._probe.cleanup.get("id", ""))
        made = Made(probe.name, unique, str(found) if isinstance(found, str | int) else "")
        self._leftovers.made(made)
        word = await self._delete(made, reply.status < 300)
        if answer.ok and word:
            return Answer(ok=False, error=f"cleanup: {word}", status=answer.status)
        return answer

    async def _delete(self, made: Made, confirmed: bool) -> str:
        """Delete one thing, as ``Delete`` says. Raises as ``exchange``."""
        cleanup = self._probe.cleanup
        ids = [made.id]
        if not made.id and "{id}" in cleanup["url"]:
            if not cleanup.get("list"):
                return "no id"
            reply = await self._inner.exchange("GET", cleanup["list"].replace("{unique}", made.unique))
            if reply.status != 200:
                return f"status {reply.status}"
            rows = dig(reply.body, cleanup.get("items", ""))
            if not isinstance(rows, list):
                return "body"
            ids = [str(row.get("id", "")) for row in rows if isinstance(row, dict) and made.unique in row.values()]
        sure = confirmed
        for identity in ids:
            url = cleanup["url"].replace("{unique}", made.unique).replace("{id}", identity)
            reply = await self._inner.exchange(cleanup.get("method", "DELETE"), url)
            if reply.status not in GONE:
                return f"status {reply.status}"
            sure = sure or reply.status < 300
        if not sure:
            return "not found"
        self._leftovers.gone(made.unique)
        return ""

    async def close(self) -> None:
        """A last try to delete what is left."""
        await self._sweeper.close()
        await self._inner.close()


def dig(body: bytes, path: str) -> Any:
    """What a dotted path finds in a JSON document; None where it finds nothing."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    for name in filter(None, path.split(".")):
        found = found.get(name) if isinstance(found, dict) else None
    return found
