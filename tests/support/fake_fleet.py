"""A scripted Nova on loopback, as much of its services, servers and migrations as the catalogue's questions meet."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass
class FakeFleet:
    """Start with ``with``. ``refuse``: HTTP codes that the next requests are answered with, as by a balancer."""

    services: list[dict[str, Any]] = field(default_factory=list)
    servers: list[dict[str, Any]] = field(default_factory=list)
    migrations: list[dict[str, Any]] = field(default_factory=list)
    refuse: list[int] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    """Each change of a service: its host, and what it became."""
    then: list[Callable[[], None]] = field(default_factory=list)
    """What happens elsewhere right after each change, one after another."""

    def __enter__(self) -> Self:
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(*fleet.read(self.path))

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._reply(*fleet.change(self.path, body))

            def _reply(self, code: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Tests read what is asked, not a log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def service(self, binary: str, host: str, **more: str) -> None:
        """Add a service: up and enabled, unless told otherwise."""
        one = {"binary": binary, "host": host, "state": "up", "status": "enabled", "disabled_reason": None}
        self.services.append({"id": str(len(self.services)), "updated_at": "2026-01-01T00:00:00", **one, **more})

    def read(self, path: str) -> tuple[int, Any]:
        """What is answered to a question."""
        if self.refuse:
            return self.refuse.pop(0), {}
        parts = urlsplit(path)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == "/os-services":
            return 200, {"services": [one for one in self.services if asked.items() <= one.items()]}
        if parts.path == "/os-migrations":
            return 200, {"migrations": self.migrations}
        assert parts.path == "/servers/detail", path
        status, host = asked.get("status"), asked.get("host")
        found = [one for one in self.servers if status in (None, one["status"])]
        return 200, {"servers": [one for one in found if host in (None, one["OS-EXT-SRV-ATTR:host"])]}

    def change(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        """Enable or disable a service."""
        if self.refuse:
            return self.refuse.pop(0), {}
        [one] = [one for one in self.services if path == f"/os-services/{one['id']}"]
        one["status"], one["disabled_reason"] = body["status"], body.get("disabled_reason")
        self.told.append((one["host"], body["status"]))
        if self.then:
            self.then.pop(0)()
        return 200, {"service": one}
