"""Consul's HTTP interface behind the contract of ``base`` (seen on 1.8.7).

Keys travel in the bodies of transactions, where nothing needs escaping; only ``wait`` has one in a URL. The ACL token
goes with every request, transactions included.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional
from urllib.parse import quote

from underway_agent.kv.base import (
    ABSENT,
    KvDenied,
    KvFull,
    KvItem,
    KvRefused,
    KvUnavailable,
    KvView,
    check_parts,
    check_size,
    parts_of,
)
from underway_agent.kv.http import Answer, Servers, one_line

TTL_MIN = 10.0
"""Seconds that a session lives at least (``session_ttl_min``)."""

MAX_REQUEST = 512 * 1024
"""Bytes of a transaction as it is sent, values in base64 (``txn_max_req_len``)."""

_ROUNDS = 20
_MISSING = "doesn't exist"
# What a server says when it could not even pass a write on.
_NOT_DONE = ("No cluster leader", "failed to get conn", "node is not the leader", "rate limit")


class ConsulKv:
    """One client of Consul; ``token`` is an ACL token, "" for none."""

    def __init__(self, servers: Servers, token: str = "") -> None:
        self._servers = servers
        self._headers = {"X-Consul-Token": token} if token else {}

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        names, trees = list(dict.fromkeys(keys)), list(dict.fromkeys(prefixes))
        check_parts(len(names) + len(trees))
        # A transaction with a "get" of an absent key fails as a whole, and says which. The next one asks for what
        # begins with that key, the key itself too if it is there by now: "check-not-exists" needs the right to write.
        there = dict.fromkeys(names, True)
        for _ in range(_ROUNDS):
            ops = [{"KV": {"Verb": "get" if there[name] else "get-tree", "Key": name}} for name in names]
            ops += [{"KV": {"Verb": "get-tree", "Key": tree}} for tree in trees]
            answer, document = await self._txn(ops, safe=True)
            errors = document.get("Errors") or []
            if not errors:
                return self._seen(answer, document, there, trees)
            for error in errors:
                place, what = int(error["OpIndex"]), str(error["What"])
                if place >= len(names) or _MISSING not in what:
                    raise KvRefused(f"consul: {answer.url}: {one_line(what)}")
                there[names[place]] = False
            if len(ops) == 1:
                return KvView((), ABSENT, answer.time)
        raise KvUnavailable(f"consul: {answer.url}: what was looked at kept changing")

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> Optional[int]:
        check_parts(parts_of(expect, writes))
        ops: list[dict[str, Any]] = []
        fallible: set[int] = set()
        # Consul leaves a key's index as it is when nothing of it changes; a new number in its flags is a change.
        mark = secrets.randbits(53)

        def add(verb: str, key: str, can_fail: bool, **more: Any) -> None:
            if can_fail:
                fallible.add(len(ops))
            ops.append({"KV": {"Verb": verb, "Key": key, **more}})

        for key, index in expect.items():
            if writes.get(key) is None:  # compared only, or deleted (see ``parts_of``)
                if index == ABSENT:
                    add("check-not-exists", key, True)
                else:
                    add("check-index", key, True, Index=index)
        for key, value in writes.items():
            if value is None:
                if expect.get(key) != ABSENT:
                    add("delete", key, False)
            elif key in expect:
                add("cas", key, True, Index=expect[key], Value=_text(value), Flags=mark)
            else:
                add("set", key, False, Value=_text(value), Flags=mark)
        answer, document = await self._txn(ops, safe=not writes)
        errors = document.get("Errors") or []
        for error in errors:
            if int(error["OpIndex"]) not in fallible:
                raise KvRefused(f"consul: {answer.url}: {one_line(error['What'])}")
        if errors:
            return None
        written = [one["KV"] for one in document.get("Results") or []]
        return max((one["ModifyIndex"] for one in written if writes.get(one["Key"]) is not None), default=0)

    async def wait(self, prefix: str, index: int, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        after = max(index, 1)
        while True:
            left = max(0.0, deadline - time.monotonic())
            query = f"?keys&index={after}&wait={max(1, math.ceil(left * 1000))}ms"
            try:
                # the server adds up to a sixteenth, so that not all wake at once
                answer = await self._ask(
                    "GET", f"/v1/kv/{_path(prefix)}{query}", safe=True, wait=left * 17 / 16, fine=(200, 404)
                )
                found = max(1, int(answer.headers.get("X-Consul-Index", "")))
            except (KvUnavailable, ValueError):
                return index  # whoever looks next learns whether any server is left
            if answer.status != 404 or index != ABSENT or found <= after or time.monotonic() >= deadline:
                return found
            # Of what is not there Consul gives the index of everything, which is no news: nothing was there before.
            after = found

    async def lease(self, key: str, value: bytes, ttl: float) -> Optional[ConsulLease]:
        ttl = max(ttl, TTL_MIN)
        # No health check of the server's own node: a lease must not end because that server does.
        wish = {"Name": key, "TTL": f"{ttl:g}s", "Behavior": "delete", "LockDelay": "0s", "NodeChecks": []}
        answer = await self._ask("PUT", "/v1/session/create", _json(wish), safe=True)  # one too many ends by itself
        session = str(json.loads(answer.body)["ID"])
        lease = ConsulLease(self, key, session, ttl)
        absent = {"KV": {"Verb": "check-not-exists", "Key": key}}
        lock = {"KV": {"Verb": "lock", "Key": key, "Value": _text(value), "Session": session}}
        answer, document = await self._txn([absent, lock], safe=False)
        if document.get("Errors"):
            await lease.end()
            return None
        lease.index = max(one["KV"]["ModifyIndex"] for one in document["Results"])
        return lease

    async def warnings(self) -> Sequence[str]:
        return ()

    async def close(self) -> None:
        await self._servers.close()

    async def session(self, verb: str, session: str) -> bool:
        """Renew or destroy a session; False where it is not there any more."""
        answer = await self._ask("PUT", f"/v1/session/{verb}/{session}", safe=True, fine=(200, 404))
        return answer.status == 200

    def _seen(
        self, answer: Answer, document: Mapping[str, Any], there: Mapping[str, bool], trees: Sequence[str]
    ) -> KvView:
        found: dict[str, KvItem] = {}
        for one in document.get("Results") or []:
            entry = one["KV"]
            key = entry["Key"]
            if key in there or any(key.startswith(tree) for tree in trees):
                found[key] = KvItem(key, base64.b64decode(entry["Value"] or ""), int(entry["ModifyIndex"]))
        hidden = [name for name in there if there[name] and name not in found]
        if hidden:  # Consul leaves out what the token may not read
            raise KvDenied(f"consul: {answer.url}: {hidden[0]}: the token may not read this key")
        items = tuple(found[key] for key in sorted(found))
        return KvView(items, max((item.index for item in items), default=ABSENT), answer.time)

    async def _txn(self, ops: Sequence[Mapping[str, Any]], safe: bool) -> tuple[Answer, dict[str, Any]]:
        path = "/v1/txn?consistent" if safe else "/v1/txn"
        answer = await self._ask("PUT", path, check_size(_json(ops), MAX_REQUEST), safe=safe, fine=(200, 409))
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise KvUnavailable(f"consul: {answer.url}: an answer that is not Consul's: {answer.text()}")
        for error in document.get("Errors") or []:
            if "ermission denied" in error["What"]:
                op = ops[int(error["OpIndex"])]["KV"]
                raise KvDenied(f"consul: {answer.url}: {op['Key']}: the token does not allow {op['Verb']}")
        return answer, document

    async def _ask(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        *,
        safe: bool,
        fine: tuple[int, ...] = (200,),
        wait: float = 0.0,
    ) -> Answer:
        def busy(answer: Answer) -> bool:
            if answer.status < 500 and answer.status != 429:
                return False
            return safe or any(words in answer.text() for words in _NOT_DONE)

        answer = await self._servers.call(method, path, body, headers=self._headers, safe=safe, busy=busy, wait=wait)
        if answer.status in fine:
            return answer
        told = f"consul: {answer.url}: {answer.text()}"
        if answer.status in (401, 403):
            raise KvDenied(told + ("" if self._headers else " (no token was given)"))
        if answer.status >= 500 or answer.status == 429:
            if "no space left" in told:
                raise KvFull(told)
            raise KvUnavailable(f"{told}; a write may or may not have happened")
        raise KvRefused(told)


class ConsulLease:
    """A key bound to a session of ours."""

    def __init__(self, kv: ConsulKv, key: str, session: str, ttl: float) -> None:
        self.key, self.ttl, self.index = key, ttl, ABSENT
        self._kv, self._session = kv, session

    async def renew(self) -> bool:
        return await self._kv.session("renew", self._session)

    async def end(self) -> None:
        await self._kv.session("destroy", self._session)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _path(prefix: str) -> str:
    """A prefix in a URL. Servers rewrite paths with empty and dotted segments, so it ends before the first of these:
    whoever waits is then woken by more, never by less."""
    parts = prefix.split("/")
    for place, part in enumerate(parts[:-1]):
        if part in ("", ".", ".."):
            return quote("/".join([*parts[:place], ""]), safe="/") if place else ""
    if parts[-1] in (".", ".."):
        parts[-1] = ""
    return quote("/".join(parts), safe="/")
