"""A scripted Nova on loopback: as much of servers as a probe meets, with the ways in which they go wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support.fake_api import FakeApi, wall


@dataclass
class FakeServer:
    """A server: its name, when it was asked for, and when its deletion was."""

    name: str
    asked: float
    deleted: float = 0.0


@dataclass
class FakeNova(FakeApi):
    """``boot`` and ``gone``: seconds until a server is ACTIVE, and until a deleted one is no longer found.

    ``state`` is what a server becomes. ``lose_create_answers`` and ``refuse_deletes`` are those of ``FakeApi``.
    """

    boot: float = 0.2
    gone: float = 0.2
    state: str = "ACTIVE"
    servers: dict[str, FakeServer] = field(default_factory=dict)

    def left(self) -> list[str]:
        """Names of servers that were not deleted."""
        return [server.name for server in self.servers.values() if not server.deleted]

    def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        parts = urlsplit(path)
        if not parts.path.startswith("/v2.1/"):
            super()._route(writer, method, path, headers, body)
        elif not self._good(headers.get("x-auth-token")):
            self._reply(writer, 401, b"{}")
        elif method == "POST":
            self._create(writer, json.loads(body)["server"])
        elif parts.path == "/v2.1/servers":
            names = parse_qs(parts.query).get("name", [""])
            rows = [{"id": key, "name": one.name} for key, one in self._there().items() if names[0] in one.name]
            self._reply(writer, 200, json.dumps({"servers": rows}).encode())
        else:
            self._one(writer, method, parts.path.rsplit("/", 1)[1])

    def _there(self) -> dict[str, FakeServer]:
        now = wall()
        return {key: one for key, one in self.servers.items() if not one.deleted or now < one.deleted + self.gone}

    def _create(self, writer: asyncio.StreamWriter, server: dict[str, str]) -> None:
        if not {"name", "flavorRef", "imageRef", "networks"} <= set(server):
            self._reply(writer, 400, b"{}")
            return
        self.count += 1
        identity = f"server-{self.count}"
        self.servers[identity] = FakeServer(server["name"], wall())
        if self.lose_create_answers:
            writer.transport.abort()
            return
        self._reply(writer, 202, json.dumps({"server": {"id": identity}}).encode())

    def _one(self, writer: asyncio.StreamWriter, method: str, identity: str) -> None:
        server = self._there().get(identity)
        if server is None:
            self._reply(writer, 404, b"{}")
        elif method == "DELETE":
            if self.refuse_deletes:
                self._reply(writer, 503, b"{}")
                return
            server.deleted = server.deleted or wall()
            self._reply(writer, 204, b"")
        else:
            state = self.state if wall() >= server.asked + self.boot else "BUILD"
            self._reply(writer, 200, json.dumps({"server": {"id": identity, "status": state}}).encode())
