"""How Consul and etcd are started, asked and given users. ``support.stores`` starts them; tests use that."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from support.certificates import Authority, Pair

BINARIES = Path(__file__).parents[2] / ".servers" / "bin"
"""Where ``scripts/servers`` puts them."""

DISK = "disk"
"""The directory of a member that its data are in; a test may mount something there."""


@dataclass(frozen=True)
class Member:
    """One server: its name, the address it has to itself, its directory, and its certificate if there is TLS."""

    name: str
    address: str
    directory: Path
    pair: Pair | None


@dataclass(frozen=True)
class Access:
    """All that a client needs. Empty: it needs none."""

    endpoints: tuple[str, ...]
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""  # Consul: a token that may do everything
    user: str = ""  # etcd: a user who may do everything
    password: str = ""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class NoAnswer(Exception):
    """Nothing listens, the connection broke, TLS failed, or time ran out."""


def ask(
    endpoint: str,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    access: Access | None = None,
    headers: dict[str, str] | None = None,
    patience: float = 5.0,
) -> Answer:
    """One request on a new connection, with the certificates (not the token or user) of ``access``.

    Raises ``NoAnswer``. Plain on purpose: tests check by it what our own drivers wrote.
    """
    scheme, _, place = endpoint.partition("://")
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context(cafile=str(access.ca) if access and access.ca else None)
        if access and access.certificate:
            context.load_cert_chain(access.certificate, access.key)
        connection = http.client.HTTPSConnection(place, timeout=patience, context=context)
    else:
        connection = http.client.HTTPConnection(place, timeout=patience)
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"{method} {endpoint}{path}: {type(error).__name__}: {error}") from error


class Program(Protocol):
    """What differs between kinds of servers."""

    def endpoint(self, member: Member) -> str:
        """Where clients reach a member."""

    def command(self, member: Member, members: Sequence[Member], *, auth: bool, ca: Path | None) -> list[str]:
        """The command line of one; writes what it reads into the member's directory."""

    def grant(self, access: Access) -> Access:
        """Turn tokens or users on, once, and say who may do everything. Raises ``NoAnswer`` until it can."""

    def request(self, endpoint: str, access: Access, method: str, path: str, body: bytes, patience: float) -> Answer:
        """One request as the one who may do everything. Raises ``NoAnswer``."""

    def put(self, key: str, value: bytes) -> tuple[str, str, bytes]:
        """Method, path and body of a write."""

    def get(self, key: str) -> tuple[str, str, bytes]:
        """Method, path and body of a linearizable read."""

    def got(self, answer: Answer) -> bytes | None:
        """The value that the answer to ``get`` holds. Raises ``NoAnswer`` for any answer but a value or none."""

    def ready(self, endpoint: str, access: Access, patience: float) -> bool:
        """Whether this member answers a linearizable read."""

    def leads(self, endpoint: str, access: Access) -> tuple[int, bool]:
        """The member's term, and whether it holds itself for the leader. Raises ``NoAnswer``."""


class Consul:
    """Raft and gossip as fast as they are meant to be; only the ports that are needed."""

    binary = BINARIES / "consul"

    def endpoint(self, member: Member) -> str:
        return f"https://{member.address}:8501" if member.pair else f"http://{member.address}:8500"

    def command(self, member: Member, members: Sequence[Member], *, auth: bool, ca: Path | None) -> list[str]:
        settings: dict[str, Any] = {
            "server": True,
            "bootstrap_expect": len(members),
            "node_name": member.name,
            "data_dir": str(member.directory / DISK / "data"),
            "bind_addr": member.address,
            "client_addr": member.address,
            "retry_join": [each.address for each in members if each != member],
            "retry_interval": "1s",
            "performance": {"raft_multiplier": 1},
            "ports": {"dns": -1, "grpc": -1, "serf_wan": -1, "http": 8500, "https": -1},
            "disable_update_check": True,
        }
        if auth:
            settings["acl"] = {"enabled": True, "default_policy": "deny"}
        if member.pair and ca:
            settings["ports"] |= {"http": -1, "https": 8501}
            settings |= {
                "ca_file": str(ca),
                "cert_file": str(member.pair.certificate),
                "key_file": str(member.pair.key),
                "verify_incoming": True,
                "verify_outgoing": True,
                "verify_server_hostname": True,
            }
        place = member.directory / "consul.json"
        place.write_text(json.dumps(settings, indent=1))
        return [str(self.binary), "agent", f"-config-file={place}"]

    def grant(self, access: Access) -> Access:
        answer = ask(access.endpoints[0], "PUT", "/v1/acl/bootstrap", access=access, patience=20.0)
        if answer.status != 200:  # there is no leader yet, or it has not changed over to new tokens yet
            raise NoAnswer(f"Consul gives no first token: {answer.status} {answer.body!r}")
        return Access(access.endpoints, access.ca, access.certificate, access.key, token=answer.json()["SecretID"])

    def request(self, endpoint: str, access: Access, method: str, path: str, body: bytes, patience: float) -> Answer:
        headers = {"X-Consul-Token": access.token} if access.token else {}
        return ask(endpoint, method, path, body, access=access, headers=headers, patience=patience)

    def put(self, key: str, value: bytes) -> tuple[str, str, bytes]:
        return "PUT", f"/v1/kv/{quote(key)}", value

    def get(self, key: str) -> tuple[str, str, bytes]:
        return "GET", f"/v1/kv/{quote(key)}?consistent&raw", b""

    def got(self, answer: Answer) -> bytes | None:
        if answer.status not in (200, 404):
            raise NoAnswer(f"{answer.status} {answer.body!r}")
        return answer.body if answer.status == 200 else None

    def ready(self, endpoint: str, access: Access, patience: float) -> bool:
        with contextlib.suppress(NoAnswer):
            status = self.request(endpoint, access, *self.get("none"), patience).status
            return status in (200, 404) or (
                status == 403 and not access.token
            )  # 403: ACLs are on, nobody has a token yet
        return False

    def leads(self, endpoint: str, access: Access) -> tuple[int, bool]:
        answer = self.request(endpoint, access, "GET", "/v1/agent/self", b"", 5.0)
        if answer.status != 200:
            raise NoAnswer(f"{endpoint}: {answer.status} {answer.body!r}")
        raft = answer.json()["Stats"]["raft"]
        return int(raft["term"]), raft["state"] == "Leader"


class Etcd:
    """Elections of a second; users with the cheapest hash, since it is the password of a test."""

    binary = BINARIES / "etcd"

    def endpoint(self, member: Member) -> str:
        return f"{'https' if member.pair else 'http'}://{member.address}:2379"

    def command(self, member: Member, members: Sequence[Member], *, auth: bool, ca: Path | None) -> list[str]:
        scheme = "https" if member.pair else "http"
        words = {
            "name": member.name,
            "data-dir": str(member.directory / DISK / "data"),
            "listen-client-urls": self.endpoint(member),
            "advertise-client-urls": self.endpoint(member),
            "listen-peer-urls": f"{scheme}://{member.address}:2380",
            "initial-advertise-peer-urls": f"{scheme}://{member.address}:2380",
            "initial-cluster": ",".join(f"{each.name}={scheme}://{each.address}:2380" for each in members),
            "initial-cluster-state": "new",
            "heartbeat-interval": "100",
            "election-timeout": "1000",
            "bcrypt-cost": "4",
        }
        flags: list[str] = []
        if member.pair and ca:
            flags = ["--client-cert-auth", "--peer-client-cert-auth"]
            for kind in ("", "peer-"):
                words |= {
                    f"{kind}trusted-ca-file": str(ca),
                    f"{kind}cert-file": str(member.pair.certificate),
                    f"{kind}key-file": str(member.pair.key),
                }
        return [str(self.binary), *(f"--{word}={value}" for word, value in words.items()), *flags]

    def grant(self, access: Access) -> Access:
        granted = Access(
            access.endpoints, access.ca, access.certificate, access.key, user="root", password="of-this-test"
        )
        who = {"name": granted.user, "password": granted.password}
        steps: tuple[tuple[str, dict[str, str]], ...] = (
            ("user/add", who),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("enable", {}),
        )
        for path, content in steps:
            answer = ask(
                access.endpoints[0], "POST", f"/v3/auth/{path}", json.dumps(content).encode(),
                access=access, patience=20.0,
            )  # fmt: skip
            if answer.status != 200 and b"already exists" not in answer.body:
                raise NoAnswer(f"etcd takes no user ({path}): {answer.status} {answer.body!r}")
        return granted

    def request(self, endpoint: str, access: Access, method: str, path: str, body: bytes, patience: float) -> Answer:
        headers = {}
        if access.user:
            content = json.dumps({"name": access.user, "password": access.password}).encode()
            answer = ask(endpoint, "POST", "/v3/auth/authenticate", content, access=access, patience=patience)
            if answer.status != 200:
                raise NoAnswer(f"{endpoint} does not know {access.user}: {answer.status} {answer.body!r}")
            headers["Authorization"] = answer.json()["token"]
        return ask(endpoint, method, path, body, access=access, headers=headers, patience=patience)

    def put(self, key: str, value: bytes) -> tuple[str, str, bytes]:
        return "POST", "/v3/kv/put", json.dumps({"key": _base64(key.encode()), "value": _base64(value)}).encode()

    def get(self, key: str) -> tuple[str, str, bytes]:
        return "POST", "/v3/kv/range", json.dumps({"key": _base64(key.encode())}).encode()

    def got(self, answer: Answer) -> bytes | None:
        if answer.status != 200:
            raise NoAnswer(f"{answer.status} {answer.body!r}")
        found = answer.json().get("kvs", [])
        return base64.b64decode(found[0].get("value", "")) if found else None

    def ready(self, endpoint: str, access: Access, patience: float) -> bool:
        with contextlib.suppress(NoAnswer):
            return self.request(endpoint, access, *self.get("none"), patience).status == 200
        return False

    def leads(self, endpoint: str, access: Access) -> tuple[int, bool]:
        answer = ask(endpoint, "POST", "/v3/maintenance/status", b"{}", access=access)
        if answer.status != 200:
            raise NoAnswer(f"{endpoint}: {answer.status} {answer.body!r}")
        status = answer.json()
        return int(status.get("raftTerm", 0)), status.get("leader") == status["header"]["member_id"]


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


PROGRAMS: dict[str, Consul | Etcd] = {"consul": Consul(), "etcd": Etcd()}


def server_pair(authority: Authority, name: str, address: str) -> Pair:
    """A server's pair.

    Consul wants its servers to have the name of their data centre as well; etcd, the address that its peers'
    connections come from, which on loopback is always this one.
    """
    return authority.issue(name, [address, "127.0.0.1"], ["server.dc1.consul"])


def client_pair(authority: Authority, name: str = "client") -> Pair:
    """A client's pair, without a common name.

    etcd's gateway refuses every request (400, "CommonName of client ...") of a certificate that has one where users are
    on, also the request for a token: it would not be the user that it is for other clients of etcd.
    """
    return authority.issue(name, common_name=False)
