"""One host that fetches its work: keys, mail in a store, and what its agent would write, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from underway import trust
from underway.core.model.cluster import Host
from underway.executors.base import Order
from underway.executors.mail import AGENTS, ORDERS, REPORTS, Mail
from underway.executors.pull import PullExecutor
from underway.records.enrolments import Enrolments
from underway.records.kvmail import KvMail, Served
from underway.records.mailbox import StoreMail
from underway.store.base import Store
from underway_agent import dsse, letters

CLUSTER = "demo"


class Clock:
    """Monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def enrolments(store: Store, signer: trust.Signer, cluster: str = CLUSTER) -> Enrolments:
    """The records of hosts, signed by a ticket key that was just made."""
    return Enrolments(store, cluster, lambda kind, data: trust.sign(signer, kind, data), lambda: (signer.public_key,))


@dataclass
class Site:
    """A store with mail, the coordinator's executor, and the keys of hosts."""

    store: Store
    signer: trust.Signer = field(default_factory=trust.Signer.generate_ed25519)
    clock: Clock = field(default_factory=Clock)
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)
    uptime: float = 100.0

    @property
    def mail(self) -> Mail:
        return KvMail(self.store) if isinstance(self.store, Served) else StoreMail(self.store, CLUSTER)

    @property
    def enrolments(self) -> Enrolments:
        return enrolments(self.store, self.signer)

    def executor(self) -> PullExecutor:
        """A new coordinator's executor."""
        sign = lambda kind, data: trust.sign(self.signer, kind, data)  # noqa: E731
        return PullExecutor(self.mail, CLUSTER, self.enrolments.verify, sign, self.clock)

    def enrol(self, host: str) -> None:
        """As the host's agent does it: a code, a key, a first word."""
        self.keys[host] = Ed25519PrivateKey.generate()
        secret = self.enrolments.invite(host, "ada", 0.0)
        self.enrolments.enrol(host, secret, dsse.public_hex(self.keys[host]), "00" * 32, 0.0)
        self.hello(host)

    def hello(self, host: str, protocol: int = letters.PROTOCOL) -> None:
        data = dsse.sign(self.keys[host], letters.HELLO_TYPE, b'{"protocol":%d}' % protocol)
        self.mail.put(AGENTS + host, data)

    def orders(self, host: str) -> letters.Orders:
        """What lies there for the host."""
        found = self.mail.get(ORDERS + host)
        assert found is not None
        return letters.read_orders(found.data)

    def letter(self, host: str, *standings: letters.Standing, lines: Sequence[Any] = (), **fields: Any) -> bytes:
        """A signed letter of the host, newer than those before."""
        self.uptime += 1.0
        said = {"boot": "b1", "uptime": self.uptime, "host": host, "cluster": CLUSTER, **fields}
        report = letters.Reported(standings=standings, lines=lines, **said)
        return dsse.sign(self.keys[host], letters.REPORT_TYPE, letters.write_report(report))

    def write(self, host: str, *standings: letters.Standing, **fields: Any) -> None:
        """Put a letter of the host where the coordinator finds it."""
        self.mail.put(REPORTS + host, self.letter(host, *standings, **fields))


def order(host: str = "web1", token: int = 1, leg: int = 0, action: str = "", run: str = "r1", **fields: Any) -> Order:
    """An order whose ticket and plan mean nothing: the runner is not asked here."""
    values = {
        "ticket": b"ticket", "plan": b"plan", "files": (("inventory.yml", b"all:"), ("web.yml", b"[]")), **fields,
    }  # fmt: skip
    return Order(
        run=run,
        action=action or f"control/web/{host}",
        leg=leg,
        token=token,
        host=Host(name=host, role="web", connection="agent"),
        target=host,
        **values,
    )


def standing(of: Order, kind: str, **fields: Any) -> letters.Standing:
    return letters.Standing(of.run, of.action, of.leg, of.token, kind, **fields)


def line(seq: int, of: Order, kind: str = "task", **fields: Any) -> dict[str, Any]:
    """A journal line as the runner gives it."""
    where = {"run": of.run, "action": of.action, "leg": of.leg, "token": of.token}
    return {"seq": seq, "at": 1.0, "mono": 1.0, "kind": kind, "crc": 7, **where, **fields}


def scratch(path: Path) -> Path:
    """A directory of mode 0700, as stores and keys want it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
