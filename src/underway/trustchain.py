"""Changes of the keys that count, each signed by the keys before it; and what their signatures are worth.

The runner has the same rules for itself (``underway_runner.chain``): what is refused here is refused there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from underway import trust
from underway.core import keyring
from underway.core.keyring import called
from underway.core.model.base import canonical, decode
from underway.core.model.keyring import TRUST_TYPE, Key, Trust
from underway.core.model.ticket import PLAN_TYPE
from underway.core.words import moment
from underway.errors import NotTrusted


@dataclass(frozen=True, slots=True)
class Chain:
    """``first``: what counts from the beginning; ``links``: the signed changes since then; ``standing``: what they lead
    to. Made by ``begin`` and ``extended`` only, so its links were verified."""

    first: Trust
    links: tuple[bytes, ...] = ()
    standing: Trust = field(kw_only=True)

    def extended(self, links: Iterable[bytes]) -> Chain:
        """With further changes, oldest first. Raises NotTrusted for one that does not count."""
        found = self
        for link in links:
            found = Chain(found.first, (*found.links, link), standing=_next(found.standing, link))
        return found

    def keys(self, use: trust.Use) -> list[trust.PublicKey]:
        """The keys that count now."""
        return _public(self.standing.of(use))

    def open_plan(self, envelope: bytes, what: str = "the plan") -> bytes:
        """The payload of a plan that enough keys have signed. Raises NotTrusted, with who has and who may."""
        return opened(envelope, PLAN_TYPE, what, self.standing)

    def read_plan(self, envelope: bytes) -> bytes:
        """The payload of a plan that any key signed which counts, or once did: to look at, never to act on.

        Raises NotTrusted.
        """
        ever: list[Key] = [*self.first.keys, *self.standing.revoked, *self.standing.keys]
        return trust.verify(envelope, PLAN_TYPE, _public(key for key in ever if key.use == "plan"))


def begin(first: Trust) -> Chain:
    """A chain without changes."""
    return Chain(first, standing=first)


def sign_change(change: Trust, signers: Sequence[trust.Signer]) -> bytes:
    """A change as an envelope, by these signers; perhaps not enough of them yet."""
    envelope = trust.sign(signers[0], TRUST_TYPE, canonical(change))
    for signer in signers[1:]:
        envelope = trust.cosign(signer, envelope)
    return envelope


def read_change(envelope: bytes) -> Trust:
    """What a change says, whoever signed it. Raises NotTrusted where it is none."""
    kind, payload = trust.payload_of(envelope)
    if kind != TRUST_TYPE:
        raise NotTrusted(f"expected a change of the keys, found {kind!r}")
    try:
        return decode(payload, Trust)
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotTrusted(f"the change of the keys is garbled: {error}") from None


def lacks(envelope: bytes, before: Trust) -> str:
    """Why a change does not count yet, with whose signature it waits for; empty where it does.

    Raises NotTrusted for one that never will.
    """
    after = read_change(envelope)
    keyring.check_next(before, after)
    for trusted in (before, after):
        signed = trust.signed_by(envelope, _public(trusted.of("plan")))
        if len(signed) < trusted.threshold:
            return _missing(signed, (), trusted)
    return ""


def opened(envelope: bytes, kind: str, what: str, trusted: Trust) -> bytes:
    """The payload, if as many plan keys signed it as must. Raises NotTrusted with who has, and who may."""
    keys = _public(trusted.of("plan"))
    signed = trust.signed_by(envelope, keys)
    if len(signed) >= trusted.threshold:
        return trust.verify(envelope, kind, keys, trusted.threshold)
    gone = trust.signed_by(envelope, _public([key for key in trusted.revoked if key.use == "plan"]))
    if not signed and not gone:
        try:
            trust.verify(envelope, kind, keys, trusted.threshold)  # says what is wrong with it
        except NotTrusted as error:
            raise NotTrusted(f"{what}: {error}") from None
    raise NotTrusted(f"{what}: {_missing(signed, gone, trusted)}")


def signers_of(envelope: bytes, trusted: Trust) -> list[Key]:
    """The plan keys that count and signed an envelope."""
    signed = trust.signed_by(envelope, _public(trusted.of("plan")))
    return [key for key in trusted.of("plan") if key.public in signed]


def _next(before: Trust, link: bytes) -> Trust:
    after = read_change(link)
    what = f"change {after.number} of the keys"
    keyring.check_next(before, after)
    opened(link, TRUST_TYPE, what, before)
    opened(link, TRUST_TYPE, what, after)
    return after


def _missing(signed: frozenset[str], gone: Iterable[str], trusted: Trust) -> str:
    gone = set(gone)
    since = [
        f"{called(key)} was revoked on {moment(key.at)} ({key.reason})" for key in trusted.revoked if key.public in gone
    ]
    have = [called(key) for key in trusted.of("plan") if key.public in signed]
    others = [called(key) for key in trusted.of("plan") if key.public not in signed]
    count = "1 key that counts" if len(have) == 1 else f"{len(have)} keys that count"
    who = f"signed by {count} ({', '.join(have)})" if have else "signed by no key that counts"
    more = trusted.threshold - len(have)
    return (
        f"{who}, and {trusted.threshold} of {len(trusted.of('plan'))} must sign"
        + (f"; {', '.join(since)}" if since else "")
        + f": have {more} of {', '.join(others)} sign it ('underway key sign FILE' where that key is)"
    )


def _public(keys: Iterable[Key]) -> list[trust.PublicKey]:
    documents = [keyring.document_of(key) for key in keys]
    return [key for use in trust.USES for key in trust.trusted_keys(documents, use)]


__all__ = ["Chain", "begin", "lacks", "opened", "read_change", "sign_change", "signers_of"]
