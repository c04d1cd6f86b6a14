"""Who signed an envelope: keys are told apart by their public bytes, never by the names that they come under."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from typing import Any, Dict, List, Mapping, Sequence

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]  # public, but not in an __all__

from underway_runner.errors import Refused

Document = Mapping[str, Any]
"""A key of ``host.json`` or of ``enrol``: ``keyid``, ``keytype``, ``scheme``, ``keyval``, ``use``; ``name`` for people.
A revoked one has ``at`` (Unix seconds), ``by`` and ``reason`` beside."""


def public_key(key: Document) -> SSlibKey:
    """The key of a document. Raises Refused if it is not an Ed25519 public key."""
    try:
        if key["keytype"] != "ed25519" or key["scheme"] != "ed25519":
            raise Refused(f"key {key['keyid']}: expected ed25519, found {key['keytype']}/{key['scheme']}")
        if len(bytes.fromhex(key["keyval"]["public"])) != 32:
            raise Refused(f"key {key['keyid']}: expected 64 hexadecimal digits")
        return SSlibKey(key["keyid"], key["keytype"], key["scheme"], {"public": key["keyval"]["public"].lower()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"keys: not a public key: {error!r} (give keyid, keytype, scheme, keyval)") from None


def opened(data: bytes, name: str, kind: str, keys: Sequence[Document], threshold: int = 1,
           revoked: Sequence[Document] = ()) -> bytes:  # fmt: skip
    """The payload of an envelope of the type ``kind``, if ``threshold`` of ``keys`` signed it.

    ``name``: what it is, for people. ``revoked``: keys that count no more, to say so where they signed.
    Raises Refused with what is missing.
    """
    try:
        envelope = Envelope.from_dict(json.loads(data))
        if envelope.payload_type != kind:
            raise Refused(f"{name}: expected payload type {kind}, found {envelope.payload_type!r}")
        signed = _signers(envelope, keys)
        if len(signed) >= threshold:
            return bytes(envelope.payload)
        given_up = _signers(envelope, revoked)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, FormatError, binascii.Error) as error:
        raise Refused(f"{name}: not a signed envelope: {error!r}") from None
    raise Refused(f"{name}: {_missing(signed, given_up, keys, threshold)}")


def called(key: Document) -> str:
    """A key, as people compare it (``underway key list`` shows all of the fingerprint)."""
    public = bytes.fromhex(key["keyval"]["public"])
    digest = base64.b64encode(hashlib.sha256(public).digest()).decode()
    name = "".join(letter for letter in str(key.get("name", "")) if letter.isprintable())[:40]
    return f"SHA256:{digest[:12]}" + (f" ({name})" if name else "")


def _signers(envelope: Envelope, keys: Sequence[Document]) -> Dict[str, Document]:
    """The keys that signed, by their public bytes: one under two names is one."""
    pae = envelope.pae()
    found: Dict[str, Document] = {}
    for document in keys:
        key = public_key(document)
        signature = envelope.signatures.get(key.keyid)
        if signature is not None and _matches(key, signature, pae):
            found.setdefault(key.keyval["public"], document)
    return found


def _matches(key: SSlibKey, signature: Signature, pae: bytes) -> bool:
    try:
        key.verify_signature(signature, pae)
    except UnverifiedSignatureError:  # VerificationError, which it also raises, is its subclass
        return False
    return True


def _missing(
    signed: Mapping[str, Document], given_up: Mapping[str, Document], keys: Sequence[Document], threshold: int
) -> str:
    since = [
        f"{called(key)} was revoked on {time.strftime('%Y-%m-%d', time.gmtime(float(key.get('at', 0))))}"
        f" ({key.get('reason', '')})"
        for key in given_up.values()
    ]
    if not signed and since:
        return f"signed by no key that counts: {', '.join(since)}; sign it anew with another key"
    if not signed:
        return (
            f"not signed by {threshold} of the {len(keys)} keys that this host trusts"
            " (the host was enrolled with other keys, or the bytes were changed)"
        )
    others: List[str] = [called(key) for key in keys if public_key(key).keyval["public"] not in signed]
    return (
        f"signed by {len(signed)} key{'s' if len(signed) > 1 else ''} ({', '.join(map(called, signed.values()))}), and"
        f" this host asks for {threshold}"
        + (f"; {', '.join(since)}" if since else "")
        + (f": have one of {', '.join(others)} sign it ('underway key sign FILE')" if others else "")
    )
