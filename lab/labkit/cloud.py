"""What a fresh cloud needs, asked of its own APIs: users, endpoints, a flavor, an image, one server that must survive.

Everything is looked for first, so that running it again changes nothing. The standard library is enough, and nothing of
OpenStack's is needed on this machine. Called by the roles: ``python -m labkit.cloud catalog|server``.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from labkit import keys
from labkit.errors import LabError
from labkit.places import places
from labkit.topology import REGION, VIP

PORTS = {"identity": 5000, "image": 9292, "placement": 8778, "compute": 8774}
COMPUTE = "2.37"  # the first microversion that takes "networks": "none"
SERVICES = (
    ("glance", "image", f"http://{VIP}:9292"),
    ("placement", "placement", f"http://{VIP}:8778"),
    ("nova", "compute", f"http://{VIP}:8774/v2.1"),
    ("neutron", "network", f"http://{VIP}:9696"),
)
USERS = ("glance", "placement", "nova")
SERVER = "persistent"


class Cloud:
    """The administrator's view of the cloud behind the balancers."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords
        user = {"name": "admin", "domain": {"id": "default"}, "password": passwords["secret_admin"]}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        ask = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        _, headers = self._ask("POST", "identity", "/v3/auth/tokens", ask, {})
        self._token = headers["X-Subject-Token"]

    def call(self, method: str, service: str, path: str, body: object = None) -> Any:
        """The decoded answer. Raises ``LabError`` with what the service said."""
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": f"compute {COMPUTE}"}
        return self._ask(method, service, path, body, headers)[0]

    def _ask(self, method: str, service: str, path: str, body: object, headers: dict[str, str]) -> tuple[Any, Any]:
        raw = isinstance(body, bytes)
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if raw else "application/json"
        url = f"http://{VIP}:{PORTS[service]}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind, **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return (json.loads(text) if text else None), answer.headers
        except urllib.error.HTTPError as refused:
            raise LabError(f"{method} {url}: status {refused.code}: {refused.read()[:300]!r}") from None
        except OSError as failed:
            raise LabError(f"{method} {url}: {failed}") from None

    def ensure(self, what: str, plural: str, query: str, body: dict[str, object]) -> str:
        """The id of the one thing of Keystone that the query finds, made from the body if there is none."""
        found = self.call("GET", "identity", f"/v3/{plural}?{query}")[plural]
        if found:
            return str(found[0]["id"])
        return str(self.call("POST", "identity", f"/v3/{plural}", {what: body})[what]["id"])

    def catalog(self) -> None:
        """Users of the services, their roles, and all endpoints."""
        project = self.ensure(
            "project", "projects", "name=service", {"name": "service", "domain_id": "default"}
        )  # fmt: skip
        roles = {role["name"]: role["id"] for role in self.call("GET", "identity", "/v3/roles")["roles"]}
        for name in USERS:
            password = self._passwords[f"secret_{name}"]
            user = self.ensure("user", "users", f"name={name}", {"name": name, "password": password})
            for role in ("admin", "service"):
                self.call("PUT", "identity", f"/v3/projects/{project}/users/{user}/roles/{roles[role]}")
        for name, kind, url in SERVICES:
            service = self.ensure("service", "services", f"name={name}", {"name": name, "type": kind})
            for interface in ("public", "internal", "admin"):
                query = f"service_id={service}&interface={interface}"
                body = {"service_id": service, "interface": interface, "url": url, "region_id": REGION}
                self.ensure("endpoint", "endpoints", query, dict(body))

    def server(self, patience: float = 180) -> str:
        """The id of the persistent server, ACTIVE; it, its flavor and its image are made if they are not there."""
        flavors = self.call("GET", "compute", "/v2.1/flavors")["flavors"]
        if not any(flavor["name"] == "tiny" for flavor in flavors):
            body = {"flavor": {"name": "tiny", "ram": 64, "vcpus": 1, "disk": 0, "id": "1"}}
            self.call("POST", "compute", "/v2.1/flavors", body)
        image = self.image("tiny")
        servers = self.call("GET", "compute", f"/v2.1/servers?name={SERVER}")["servers"]
        if not servers:
            body = {"server": {"name": SERVER, "flavorRef": "1", "imageRef": image, "networks": "none"}}
            servers = [self.call("POST", "compute", "/v2.1/servers", body)["server"]]
        number = str(servers[0]["id"])
        deadline = time.monotonic() + patience
        while True:
            seen = self.call("GET", "compute", f"/v2.1/servers/{number}")["server"]
            if seen["status"] == "ACTIVE":
                return number
            if seen["status"] == "ERROR" or time.monotonic() > deadline:
                fault = seen.get("fault", {}).get("message", "no fault is given")
                raise LabError(f"server {SERVER} is {seen['status']}, not ACTIVE: {fault}")
            time.sleep(0.5)

    def image(self, name: str) -> str:
        """The id of a public image of a kilobyte, made if it is not there. Raises ``LabError`` where that fails."""
        images = self.call("GET", "image", f"/v2/images?name={name}")["images"]
        if not images:
            body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
            images = [self.call("POST", "image", "/v2/images", body)]
        if images[0]["status"] == "queued":
            self.call("PUT", "image", f"/v2/images/{images[0]['id']}/file", os.urandom(1024))
        return str(images[0]["id"])

    def services_up(self) -> tuple[int, int]:
        """How many of Nova's services are up, and how many there are."""
        listed = self.call("GET", "compute", "/v2.1/os-services")["services"]
        return sum(service["state"] == "up" for service in listed), len(listed)


def main(words: list[str]) -> int:
    """``catalog`` or ``server``; exit code 1 and one line where that fails."""
    try:
        cloud = Cloud(keys.read(places()))
        if words == ["catalog"]:
            cloud.catalog()
        elif words == ["server"]:
            print(cloud.server())
        else:
            raise LabError(f"expected 'catalog' or 'server', found {' '.join(words)!r}")
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
