"""Hosts that fetch their work, at one opened place: their mail, their enrolment, and the executor over both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from underway.app.place import Session
from underway.core.model.cluster import Host
from underway.errors import InputError, NotTrusted
from underway.executors.mail import AGENTS
from underway.executors.pull import PullExecutor
from underway.records.enrolments import Enrolments
from underway.records.kvmail import KvMail, Served
from underway.records.mailbox import StoreMail
from underway_agent.code import Code
from underway_agent.letters import HELLO_TYPE, LetterWrong, read_hello

ADDRESS = "serve.json"
"""File of the state directory: where ``underway serve`` answers, and the SHA-256 of its authority's certificate."""


def mail_of(session: Session) -> StoreMail | KvMail:
    """The letters of this cluster: in its store, or beside it where that is on a server."""
    store = session.store
    return KvMail(store) if isinstance(store, Served) else StoreMail(store, session.place.cluster_name())


def mail_root_of(session: Session) -> str:
    """Where agents find the letters without ``underway serve``: in the store's server; empty for none."""
    mail = mail_of(session)
    return mail.root if isinstance(mail, KvMail) else ""


def enrolments_of(session: Session) -> Enrolments:
    """Which hosts may fetch work. Signs with the ticket key of this place."""
    name = session.place.cluster_name()  # first: where nothing was planned, that is what is told
    return Enrolments(session.store, name, session.ring.sign, session.ring.tickets)


def pull_executor(session: Session) -> PullExecutor:
    """The executor for hosts with ``connection: agent``."""
    found = enrolments_of(session)
    return PullExecutor(
        mail_of(session), found.cluster, found.verify, found.sign, links=lambda: session.ring.chain.links
    )


def told_of(session: Session, host: Host) -> tuple[str, bool]:
    """What ``enrol`` says of a host that enrols itself, and whether it has."""
    known = enrolments_of(session).of(host.name)
    if known is None or not known.public:
        return (
            f"fetches its work, and has no agent yet ('underway host enrol {host.name}' shows what to do there)",
            False,
        )
    return f"fetches its work by its agent, key {known.fingerprint}", True


def invite(session: Session, host: Host) -> tuple[Code, str]:
    """A new one-time code for a host, and the address that it goes with. Raises InputError."""
    if host.connection != "agent":
        raise InputError(
            f"{host.name}: is reached over {host.connection}: 'underway enrol {host.name}'"
            " (a host that is to fetch its work has 'connection: agent')"
        )
    where = session.place.state / ADDRESS
    try:
        said: dict[str, Any] = json.loads(where.read_bytes())
        url, authority = str(said["url"]), str(said["authority"])
    except FileNotFoundError:
        raise InputError(
            f"{where}: no such file: start 'underway serve' first, so that hosts can be told where"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{where}: cannot be understood (start 'underway serve' again)") from None
    secret = enrolments_of(session).invite(host.name, session.place.operator, session.clock.now())
    return Code(host.name, secret, authority), url


def revoke(session: Session, host: str, reason: str) -> str:
    """Believe a host's agent no more; the key that it had. Raises Unknown."""
    found = enrolments_of(session)
    before = found.of(host)
    found.revoke(host, reason, session.place.operator, session.clock.now())
    return "" if before is None else before.fingerprint


def agents(session: Session) -> list[dict[str, Any]]:
    """Every host that was ever invited: state, fingerprint, and what its agent said of itself."""
    found = enrolments_of(session)
    mail = mail_of(session)
    told = []
    for one in found.all():
        letter = mail.get(AGENTS + one.host)
        hello: dict[str, Any] = {}
        if letter is not None and one.public:
            try:
                hello = read_hello(found.verify(one.host, HELLO_TYPE, letter.data))
            except (NotTrusted, LetterWrong):
                hello = {}
        told.append(
            {
                "host": one.host, "state": one.state, "key": one.fingerprint, "number": one.number, "at": one.at,
                "by": one.by, "why": one.revoked, "agent": hello.get("agent", ""), "runner": hello.get("runner", ""),
                "protocol": hello.get("protocol", 0), "facts": hello.get("facts", {}),
                "keys": _number(hello.get("keys")),
            }
        )  # fmt: skip
    return told


def _number(said: object) -> int:
    """What a host said that is to be a number; 0 where it is none."""
    return said if type(said) is int else 0


def write_address(state: Path, url: str, authority: str) -> None:
    """Note where we serve, for ``underway host enrol``."""
    new = state / f"{ADDRESS}.new"
    new.write_text(json.dumps({"url": url, "authority": authority}) + "\n")
    new.replace(state / ADDRESS)
