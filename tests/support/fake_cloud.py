"""A scripted OpenStack on loopback: collections of things with names and ids, behind one Keystone that knows who asks.

Speaks as much of Keystone, Neutron, Nova, Glance and Swift as ``underway.checks.javelin`` asks through openstacksdk.
What owners make is theirs; what the ``world`` is given beforehand was there before us.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

COLLECTIONS = {
    "/v3/domains": ("domain", "domains"),
    "/v3/projects": ("project", "projects"),
    "/v3/users": ("user", "users"),
    "/v3/roles": ("role", "roles"),
    "/network/v2.0/networks": ("network", "networks"),
    "/network/v2.0/subnets": ("subnet", "subnets"),
    "/network/v2.0/routers": ("router", "routers"),
    "/network/v2.0/security-groups": ("security_group", "security_groups"),
    "/network/v2.0/security-group-rules": ("security_group_rule", "security_group_rules"),
    "/compute/v2.1/flavors": ("flavor", "flavors"),
    "/compute/v2.1/servers": ("server", "servers"),
    "/image/v2/images": ("", "images"),
}
SERVICES = {"identity": "/v3", "network": "/network", "compute": "/compute/v2.1", "image": "/image"}


def _version(id_: str, path: str, **more: str) -> dict[str, Any]:
    return {"id": id_, "status": "CURRENT", "links": [{"rel": "self", "href": "{top}" + path}], **more}


VERSIONS = {
    "/v3": {"version": _version("v3.14", "/v3/")},
    "/network": {"versions": [_version("v2.0", "/network/v2.0/")]},
    "/compute/v2.1": {"version": _version("v2.1", "/compute/v2.1/", version="2.96", min_version="2.1")},
    "/image": {"versions": [_version("v2.9", "/image/v2/")]},
}

Thing = dict[str, Any]


@dataclass
class FakeCloud:
    """Start with ``with``. ``things``: by collection, by id. ``refuse``: method and piece of a path that fail."""

    things: dict[str, dict[str, Thing]] = field(default_factory=lambda: {path: {} for path in COLLECTIONS})
    objects: dict[str, dict[str, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refuse: tuple[str, str] | None = None
    boots_to: str = "ACTIVE"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"world": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        for path, name in (("/v3/domains", "Default"), ("/v3/roles", "member"), ("/compute/v2.1/flavors", "tiny")):
            self.put(path, name=name)
        admin = self.put("/v3/projects", name="admin")
        self.put("/v3/users", name="admin", password="right", default_project_id=admin)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, path: str, **facts: Any) -> str:
        """A new thing in a collection; its id."""
        id_ = secrets.token_hex(16)
        self.things[path][id_] = {"enabled": True, "domain_id": "default", "owner": "", **facts, "id": id_}
        return id_

    def names(self, end: str) -> list[str]:
        """The names of all things of the collection whose path ends so."""
        (path,) = (path for path in COLLECTIONS if path.endswith(f"/{end}"))
        return sorted(str(thing["name"]) for thing in self.things[path].values())


class _Handler(BaseHTTPRequestHandler):
    world: FakeCloud
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = parts.path.rstrip("/")
        self.world.asked.append((self.command, path))
        refuse = self.world.refuse
        if refuse is not None and self.command == refuse[0] and refuse[1] in path:
            return self._say(500, {})
        top = self.world.url
        if path in VERSIONS:
            said = json.loads(json.dumps(VERSIONS[path]).replace("{top}", top))
            return self._say(200, said)
        if path == "/v3/auth/tokens":
            return self._token(json.loads(body))
        if path.startswith("/store/"):
            return self._store(path, body)
        if ("/roles/" in path and self.command == "PUT") or path.endswith("_router_interface"):
            return self._say(200 if "router" in path else 204, {"subnet_id": "x"})
        if path.startswith("/image/v2/images/") and path.endswith("/file"):
            return self._file(path, body)
        for where, (one, many) in COLLECTIONS.items():
            match = re.fullmatch(re.escape(where) + r"(?:/([^/]+))?", path)
            if match:
                return self._collection(where, one, many, match[1] or "", parse_qs(parts.query), body)
        return self._say(404, {})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _any

    def _collection(self, where: str, one: str, many: str, id_: str, query: dict[str, list[str]], body: bytes) -> None:
        things = self.world.things[where]
        if self.command == "POST":
            asked = json.loads(body)
            facts = asked[one] if one else asked
            if where.endswith("servers"):
                facts["status"] = self.world.boots_to
            if one == "":
                facts["status"] = "queued"
            made = self.world.put(where, **facts)
            return self._say(201, {one: things[made]} if one else things[made])
        if id_ and id_ not in things and id_ != "detail":
            return self._say(404, {})
        if self.command == "DELETE":
            del things[id_]
            return self._say(204, None)
        if id_ and id_ != "detail":
            return self._say(200, {one: things[id_]} if one else things[id_])
        wanted = query.get("name", [""])[0].strip("^$")
        return self._say(200, {many: [thing for thing in things.values() if wanted in ("", thing.get("name"))]})

    def _file(self, path: str, body: bytes) -> None:
        image = self.world.things["/image/v2/images"][path.split("/")[-2]]
        if self.command == "PUT":
            image.update(status="active", checksum=hashlib.md5(body).hexdigest(), data=body.hex(), size=len(body))
            return self._say(204, None)
        return self._say(200, bytes.fromhex(image["data"]))

    def _store(self, path: str, body: bytes) -> None:
        _, _, container, name = (*path.split("/", 3), "")[:4]
        store = self.world.objects
        if self.command == "PUT":
            held = store.setdefault(container, {})
            if name:
                held[name] = body
            return self._say(201, None)
        if container not in store or (name and name not in store[container]):
            return self._say(404, {})
        if self.command == "DELETE":
            if not name and store[container]:
                return self._say(409, {})
            del (store[container] if name else store)[name or container]
            return self._say(204, None)
        data = store[container].get(name, b"")
        return self._say(200, data, {"ETag": hashlib.md5(data).hexdigest()})

    def _token(self, asked: Thing) -> None:
        given = asked["auth"]["identity"]["password"]["user"]
        user = next(
            (one for one in self.world.things["/v3/users"].values() if one["name"] == given["name"]), {"password": None}
        )
        if user["password"] != given["password"]:
            return self._say(
                401, {"error": {"code": 401, "message": "The request you have made requires authentication."}}
            )
        top = self.world.url
        urls = {**SERVICES, **({"object-store": "/store"} if self.world.objects is not None else {})}
        catalog = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [
                {"interface": face, "region": "one", "region_id": "one", "id": face, "url": f"{top}{path}"}
                for face in ("public", "admin", "internal")
            ]} for kind, path in urls.items()
        ]  # fmt: skip
        project = {"id": user["default_project_id"], "name": "x", "domain": {"id": "default", "name": "Default"}}
        return self._say(201, {"token": {
            "expires_at": "2999-01-01T00:00:00.000000Z", "issued_at": "2020-01-01T00:00:00.000000Z",
            "methods": ["password"], "user": {"id": user["id"], "name": user["name"], "domain": project["domain"]},
            "project": project, "roles": [], "catalog": catalog,
        }}, {"X-Subject-Token": secrets.token_hex(16)})  # fmt: skip

    def _say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if not isinstance(body, bytes):
            self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(data)
