"""etcd's JSON gateway (``/v3``) behind the contract of ``base`` (seen on 3.4.23).

Every read is linearizable (etcd's default; ``serializable`` is never asked). Users log in by name and password: the
gateway cannot tell users by their client certificates, which are for TLS only. A token that ran out is got anew.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import aiohttp

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

FIXED = {(3, 5): 28, (3, 6): 9}
"""Per minor release the patch from which a rights bypass and lost or doubled watch events are mended."""

MAX_REQUEST = 1_000_000
"""Bytes of a request as it is sent, keys and values in base64 (``max-request-bytes`` is 1.5 MiB, without base64)."""

# gRPC's codes (google.rpc.Code), as the gateway gives them.
_INVALID, _DENIED, _EXHAUSTED, _PRECONDITION, _UNAUTHENTICATED = 3, 7, 8, 9, 16
_STALE_LOGIN = ("invalid auth token", "revision of auth store is old")
_WRONG_LOGIN = ("authentication failed", "user name is empty", "authentication is not enabled", "user name not found")


class EtcdKv:
    """One client of etcd; ``user`` "" where the servers have no users."""

    def __init__(self, servers: Servers, user: str = "", password: str = "") -> None:
        self._servers = servers
        self._user, self._password = user, password
        self._token = ""

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> KvView:
        names, trees = list(dict.fromkeys(keys)), list(dict.fromkeys(prefixes))
        check_parts(len(names) + len(trees))
        ranges = [{"key": _text(name)} for name in names]
        ranges += [{"key": _text(tree) if tree else "AA==", "range_end": _after(tree)} for tree in trees]
        answer, document = await self._ask(
            "/v3/kv/txn", {"success": [{"request_range": one} for one in ranges]}, safe=True
        )
        found: dict[str, KvItem] = {}
        for response in document.get("responses", []):
            for one in response["response_range"].get("kvs", []):
                key = base64.b64decode(one["key"]).decode("utf-8", "replace")
                found[key] = KvItem(key, base64.b64decode(one.get("value", "")), int(one["mod_revision"]))
        return KvView(tuple(found[key] for key in sorted(found)), _revision(document), answer.time)

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, Optional[bytes]]) -> Optional[int]:
        check_parts(parts_of(expect, writes))
        success = [
            {"request_delete_range": {"key": _text(key)}}
            if value is None
            else {"request_put": {"key": _text(key), "value": base64.b64encode(value).decode("ascii")}}
            for key, value in writes.items()
        ]
        request = {"compare": [_compare(key, index) for key, index in expect.items()], "success": success}
        _, document = await self._ask("/v3/kv/txn", request, safe=not writes)
        return _revision(document) if document.get("succeeded") else None

    async def wait(self, prefix: str, index: int, timeout: float) -> int:
        create = {
            "key": _text(prefix) if prefix else "AA==",
            "range_end": _after(prefix),
            "start_revision": str(index + 1),
            "filters": [],
        }
        try:
            await self._login()
            body = _json({"create_request": create})
            async with self._servers.stream("/v3/watch", body, self._headers(), max(timeout, 0.05)) as stream:
                async for line in stream.content:
                    message = json.loads(line)
                    if "error" in message or stream.status != 200:
                        self._token = ""  # whoever looks next is told, or logs in anew
                        self._servers.lost()
                        break
                    result = message["result"]
                    if result.get("canceled"):
                        return max(index, _revision(result), int(result.get("compact_revision", 0)))
                    if result.get("events"):
                        return max(index, _revision(result))
                else:
                    self._servers.lost()
        except asyncio.TimeoutError:
            return index
        except (aiohttp.ClientError, OSError, ValueError, KeyError, KvUnavailable):
            self._servers.lost()
        return index

    async def lease(self, key: str, value: bytes, ttl: float) -> Optional[EtcdLease]:
        seconds = max(1, math.ceil(ttl))
        _, document = await self._ask("/v3/lease/grant", {"TTL": str(seconds)}, safe=True)
        lease = EtcdLease(self, key, str(document["ID"]), float(document["TTL"]))
        put = {"key": _text(key), "value": base64.b64encode(value).decode("ascii"), "lease": lease.id}
        request = {"compare": [_compare(key, ABSENT)], "success": [{"request_put": put}]}
        _, document = await self._ask("/v3/kv/txn", request, safe=False)
        if not document.get("succeeded"):
            await lease.end()
            return None
        lease.index = _revision(document)
        return lease

    async def warnings(self) -> Sequence[str]:
        answer = await self._servers.call("GET", "/version", safe=True, busy=lambda found: found.status != 200)
        try:
            version = str(json.loads(answer.body)["etcdserver"])
        except (ValueError, KeyError, TypeError):
            return (f"{answer.url} does not say which version of etcd it is",)
        wrong = version_warning(version)
        return (f"{answer.url}: {wrong}",) if wrong else ()

    async def close(self) -> None:
        await self._servers.close()

    async def keep(self, lease: str) -> bool:
        """Renew a lease; False where it is not there any more."""
        _, document = await self._ask("/v3/lease/keepalive", {"ID": lease}, safe=True)
        return int(document.get("result", {}).get("TTL", 0)) > 0

    async def revoke(self, lease: str) -> None:
        """End a lease and delete its key."""
        await self._ask("/v3/lease/revoke", {"ID": lease}, safe=True, fine="lease not found")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    async def _login(self) -> None:
        if self._user and not self._token:
            wish = {"name": self._user, "password": self._password}
            answer = await self._servers.call(
                "POST", "/v3/auth/authenticate", _json(wish), safe=True, busy=lambda found: found.status >= 500
            )
            self._token = str(self._checked(answer, safe=True).get("token", ""))

    async def _ask(self, path: str, request: Any, safe: bool, fine: str = "") -> tuple[Answer, dict[str, Any]]:
        def busy(answer: Answer) -> bool:
            if answer.status < 500 and answer.status != 429:
                return False
            return safe or b"too many requests" in answer.body

        body = check_size(_json(request), MAX_REQUEST)
        for attempt in range(2):
            await self._login()
            answer = await self._servers.call("POST", path, body, headers=self._headers(), safe=safe, busy=busy)
            if answer.status != 200 and self._user and any(words in answer.text() for words in _STALE_LOGIN):
                self._token = ""
                if attempt == 0:
                    continue
            break
        if fine and fine in answer.text():
            return answer, {}
        return answer, self._checked(answer, safe)

    def _checked(self, answer: Answer, safe: bool) -> dict[str, Any]:
        """The document of an answer. Raises what the answer means where it is none."""
        try:
            document = json.loads(answer.body.split(b"\n", 1)[0])  # of a stream the first line
        except ValueError:
            document = None
        if answer.status == 200 and isinstance(document, dict) and "error" not in document:
            return document
        if not isinstance(document, dict):
            raise KvUnavailable(f"etcd: {answer.url}: an answer that is not etcd's: {answer.text()}")
        code = document.get("code", 0)
        message = one_line(str(document.get("message") or document.get("error")))
        told = f"etcd: {answer.url}: {message}"
        if code in (_DENIED, _UNAUTHENTICATED) or any(words in message for words in _WRONG_LOGIN):
            raise KvDenied(told + (f" (user {self._user})" if self._user else " (no user was given)"))
        if code == _EXHAUSTED and "space exceeded" in message:
            raise KvFull(f"{told} (compact and defragment it, then disarm its alarm: etcdctl alarm disarm)")
        if code in (_INVALID, _PRECONDITION, _EXHAUSTED) and "too many requests" not in message:
            raise KvRefused(told)
        raise KvUnavailable(told if safe else f"{told}; a write may or may not have happened")


class EtcdLease:
    """A key bound to a lease of ours."""

    def __init__(self, kv: EtcdKv, key: str, identity: str, ttl: float) -> None:
        self.key, self.id, self.ttl, self.index = key, identity, ttl, ABSENT
        self._kv = kv

    async def renew(self) -> bool:
        return await self._kv.keep(self.id)

    async def end(self) -> None:
        await self._kv.revoke(self.id)


def version_warning(version: str) -> str:
    """What is known to be wrong with a version of etcd; "" where nothing is."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if not found:
        return f"etcd {version[:40]!r} is a version that we do not know"
    major, minor, patch = map(int, found.groups())
    if (major, minor) < min(FIXED) or patch < FIXED.get((major, minor), 0):
        return (
            f"etcd {version} can lose or repeat watch events and let users past its access rules; "
            "3.5.28 or 3.6.9 at least is advised"
        )
    return ""


def _compare(key: str, index: int) -> dict[str, str]:
    return {"key": _text(key), "result": "EQUAL", "target": "MOD", "mod_revision": str(index)}


def _revision(document: Mapping[str, Any]) -> int:
    return int(document.get("header", {}).get("revision", 0))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _text(key: str) -> str:
    return base64.b64encode(key.encode("utf-8")).decode("ascii")


def _after(prefix: str) -> str:
    """The first key that does not begin with ``prefix``; a zero byte stands for "to the end" (etcd's rule)."""
    data = prefix.encode("utf-8").rstrip(b"\xff")
    return base64.b64encode(data[:-1] + bytes([data[-1] + 1]) if data else b"\0").decode("ascii")
