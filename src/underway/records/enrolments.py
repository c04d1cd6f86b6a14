"""Which hosts may fetch work, with which key: one record a host, signed, beside the mail.

A record is signed with the key that signs tickets, so whoever can only write the store can enrol no host, and put no
other key in a host's place. (He can put back what was there before; who was revoked then needs its private key, too.)
Each change is told in the audit by an entry of the same transaction.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from underway import trust
from underway.core.model.base import Value, canonical, decode, replace
from underway.core.model.event import Event
from underway.errors import Conflict, NotTrusted, RecordInvalid
from underway.executors.pull import Unknown
from underway.records.keys import part
from underway.records.mailbox import mail_root
from underway.records.repository import Repository
from underway.store.base import ABSENT, Store
from underway_agent.dsse import fingerprint

ENROLMENT_TYPE = "application/vnd.underway.enrolment+json"

CODE_LIFE = 15 * 60.0
"""Seconds for which a one-time code is good."""


class Enrolment(Value, frozen=True, kw_only=True):
    """What is known of a host's agent. Times are Unix seconds.

    ``public``: the host's key (64 hexadecimal digits), empty before it came, and after it was revoked. ``token``: the
    SHA-256 of what the host shows with each request. ``former``: keys that were this host's once and never will be
    again. ``code``: the SHA-256 of the one-time code that is open, good until ``expires``; ``used``: the key that
    came with it, which may come again with the same code (its answer was lost). ``shown``: the ``token`` of before it
    was revoked, so that the host that had it, and nobody else, can be told so.
    """

    cluster: str
    host: str
    number: int = 0
    public: str = ""
    token: str = ""
    at: float = 0.0
    by: str = ""
    former: tuple[str, ...] = ()
    code: str = ""
    expires: float = 0.0
    used: str = ""
    revoked: str = ""
    shown: str = ""

    @property
    def state(self) -> str:
        """``enrolled``, ``revoked`` or ``invited``."""
        return "enrolled" if self.public else ("revoked" if self.revoked else "invited")

    @property
    def fingerprint(self) -> str:
        """The host's key as people compare it; empty for none."""
        return fingerprint(self.public) if self.public else ""


@dataclass(frozen=True)
class Enrolments:
    """The records of a cluster. ``sign`` uses this machine's ticket key, ``trusted`` are all that count now."""

    store: Store
    cluster: str
    sign: Callable[[str, bytes], bytes]
    trusted: Callable[[], Sequence[trust.PublicKey]]

    def of(self, host: str) -> Enrolment | None:
        """The record of a host; None where it was never invited. Raises NotTrusted for one that we did not sign."""
        return self._read(host)[0]

    def all(self) -> list[Enrolment]:
        """The records of all hosts, by name. Raises NotTrusted."""
        root = self._key("")
        return [self._open(item.key.removeprefix(root), item.value) for item in self.store.list(root).items]

    def invite(self, host: str, by: str, now: float) -> str:
        """A new one-time code for a host, in the place of one that is still open. Its key of before counts on until
        the new one comes."""
        secret = secrets.token_urlsafe(24)

        def change(old: Enrolment | None) -> Enrolment:
            old = old or Enrolment(cluster=self.cluster, host=host)
            return replace(old, code=_hash(secret), expires=now + CODE_LIFE, used="", by=by)

        told = f"{host} may enrol an agent: a one-time code was made"
        self._change(host, change, Event(at=now, kind="note", actor=f"operator:{by}", host=host, text=told))
        return secret

    def enrol(self, host: str, secret: str, public: str, token: str, now: float) -> Enrolment:
        """Take the host's key, if the code is good; ``token`` is the hash of what it will show.

        The same key with the same code again changes nothing. Raises NotTrusted, alike for every bad code.
        """
        trust.host_key(public)
        bad = NotTrusted(f"{host}: the code is not good: it was used, has expired (after 15 minutes), or never was")

        def change(old: Enrolment | None) -> Enrolment:
            if old is None or not old.code or not hmac.compare_digest(old.code, _hash(secret)) or now > old.expires:
                raise bad
            if old.used and (old.used != public or old.token != token):
                raise bad
            if old.used:
                return old
            if public in old.former or public == old.public:
                raise NotTrusted(f"{host}: this key was a host's before and was given up: make a new one")
            former = (*old.former, old.public) if old.public else old.former
            return replace(
                old, public=public, token=token, at=now, former=former, used=public, number=old.number + 1, revoked="",
                shown="",
            )  # fmt: skip

        told = f"the agent of {host} was enrolled, key {fingerprint(public)}"
        return self._change(host, change, Event(at=now, kind="note", actor=f"host:{host}", host=host, text=told))

    def revoke(self, host: str, reason: str, by: str, now: float) -> Enrolment:
        """Believe this host's key no more, ever. Raises Unknown for a host that has none and no code."""

        def change(old: Enrolment | None) -> Enrolment:
            if old is None or not (old.public or old.code):
                raise Unknown(f"{host}: has no enrolled agent")
            former = (*old.former, old.public) if old.public else old.former
            return replace(
                old, public="", token="", former=former, code="", expires=0.0, used="", revoked=reason,
                shown=old.token or old.shown,
            )  # fmt: skip

        told = f"the agent of {host} was revoked: {reason}"
        return self._change(host, change, Event(at=now, kind="note", actor=f"operator:{by}", host=host, text=told))

    def sign_anew(self, by: str, now: float) -> int:
        """Sign every record with the key that ``sign`` uses, before another one counts no more; how many.

        Raises NotTrusted, Conflict.
        """
        root = self._key("")
        found = [(item.key, item.value, item.revision) for item in self.store.list(root).items]
        told = "the enrolment of {host} is signed with another ticket key"
        for key, envelope, revision in found:
            host = key.removeprefix(root)
            signed = self.sign(ENROLMENT_TYPE, canonical(self._open(host, envelope)))
            if signed != envelope:
                event = Event(at=now, kind="note", actor=f"operator:{by}", host=host, text=told.format(host=host))
                Repository(self.store, self.cluster).keep({key: revision}, {key: signed}, event)
        return len(found)

    def token_of(self, host: str) -> str:
        """The hash of what an enrolled host shows; empty for any other."""
        found = self.of(host)
        return found.token if found is not None and found.public else ""

    def revoked(self, host: str, token: str) -> str:
        """Why the host that shows something with this hash was revoked; empty for any other."""
        found = self.of(host)
        if found is None or found.public or not found.shown or not hmac.compare_digest(found.shown, token):
            return ""
        return found.revoked

    def verify(self, host: str, kind: str, envelope: bytes) -> bytes:
        """The payload of what a host signed. Raises Unknown for a host without a key, NotTrusted."""
        found = self.of(host)
        if found is None or not found.public:
            why = (
                f"its agent was revoked ({found.revoked})"
                if found is not None and found.revoked
                else "it has no agent yet"
            )
            raise Unknown(f"{host}: {why}: 'underway host enrol {host}' shows what to do there")
        return trust.verify(envelope, kind, [trust.host_key(found.public)])

    def _change(self, host: str, change: Callable[[Enrolment | None], Enrolment], told: Event) -> Enrolment:
        repository = Repository(self.store, self.cluster)
        while True:
            old, revision = self._read(host)
            new = change(old)
            if new == old:
                return new
            key = self._key(host)
            try:
                repository.keep({key: revision}, {key: self.sign(ENROLMENT_TYPE, canonical(new))}, told)
            except Conflict as conflict:
                if conflict.key != key:
                    raise
                continue
            return new

    def _read(self, host: str) -> tuple[Enrolment | None, int]:
        item = self.store.get(self._key(part(host, "host")))
        return (None, ABSENT) if item is None else (self._open(host, item.value), item.revision)

    def _open(self, host: str, envelope: bytes) -> Enrolment:
        try:
            payload = trust.verify(envelope, ENROLMENT_TYPE, self.trusted())
            found = decode(payload, Enrolment)
        except NotTrusted as error:
            raise NotTrusted(f"{host}: its enrolment in the store was not written by us: {error}") from None
        except ValueError as error:
            raise RecordInvalid(f"{host}: its enrolment is not of this version of underway: {error}") from None
        if (found.cluster, found.host) != (self.cluster, host):
            raise NotTrusted(f"{host}: its enrolment in the store is that of {found.host} of {found.cluster}")
        return found

    def _key(self, host: str) -> str:
        return f"{mail_root(self.cluster)}hosts/{host}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
