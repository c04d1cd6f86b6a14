"""Signatures: who may say what hosts do.

Two Ed25519 keys with two uses: the *plan* key says what may be done at all, the *ticket* key lets one host begin
one leg now. Both sign DSSE envelopes (``securesystemslib``), whose payload type is part of what is signed, so a
ticket never passes for a plan. Signed bytes are the exact bytes stored; nothing is encoded a second time.

A key id is a name that its sender chose. Distinct signers are told apart by their public bytes (TRUST.md §4, 69).
"""

from __future__ import annotations

import binascii
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner as Signer  # type: ignore[attr-defined]  # public, but not in an __all__
from securesystemslib.signer import Signature  # type: ignore[attr-defined]
from securesystemslib.signer import SSlibKey as PublicKey  # type: ignore[attr-defined]

from underway.errors import InputError, NotTrusted

Use = Literal["plan", "ticket"]
USES: tuple[Use, ...] = get_args(Use)

MAX_ENVELOPE = 256 * 1024 * 1024
"""An envelope above this size (bytes) is refused unread; a plan of 100,000 hosts is far below."""

_PUBLIC_HEX = 64


def create_keys(directory: Path) -> None:
    """Make ``plan.key``, ``plan.pub``, ``ticket.key`` and ``ticket.pub`` in ``directory`` (made if needed, 0700).

    Private keys are PEM (PKCS #8) with mode 0600. Raises ``InputError`` if any of the four exists: a key that was lost
    is replaced by hand, because every host must be told.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [directory / f"{use}.{ending}" for use in USES for ending in ("key", "pub")]
    for path in paths:
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: exists already; keys are never overwritten (move it away to make new ones)")
    for use in USES:
        create_key(directory, use, use)


def create_key(directory: Path, use: Use, stem: str, name: str = "") -> Path:
    """Make ``<stem>.key`` and ``<stem>.pub`` in ``directory`` (made if needed, 0700); the path of the public half.

    ``name`` is for people, and stands in the public half. Raises ``InputError`` where there is one of the two.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    private, public = directory / f"{stem}.key", directory / f"{stem}.pub"
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: exists already; keys are never overwritten (give another --name)")
    signer = Signer.generate_ed25519()
    document = {**_public(signer, use), **({"name": name} if name else {})}
    _create(private, signer.private_bytes, 0o600)
    _create(public, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode(), 0o644)
    return public


def load_signer(path: Path) -> Signer:
    """The signer of a private key file.

    Raises ``NotTrusted`` if the file is not a plain file of ours that nobody else can read or write, or holds no
    Ed25519 key; ``InputError`` if there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"{path}: no such key ('underway init' makes keys)") from None
    except OSError as error:
        raise NotTrusted(f"{path}: cannot be read as a private key: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode):
            raise NotTrusted(f"{path}: a private key must be a plain file")
        if mode & 0o077:
            raise NotTrusted(f"{path}: others can read or write this private key (mode {mode:04o}; chmod 600 it)")
        if found.st_uid not in (os.geteuid(), 0):
            raise NotTrusted(f"{path}: this private key belongs to user {found.st_uid}, not to you")
        pem = os.read(descriptor, 16 * 1024)
    finally:
        os.close(descriptor)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotTrusted(f"{path}: expected a private key as unencrypted PEM, found something else") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise NotTrusted(f"{path}: expected an Ed25519 key, found another kind")
    return Signer(key)


def sign(signer: Signer, payload_type: str, payload: bytes) -> bytes:
    """A DSSE envelope (JSON) over the exact bytes of ``payload``. The same input gives the same bytes."""
    return cosign(signer, _encode(Envelope(payload, payload_type, {})))


def cosign(signer: Signer, envelope: bytes) -> bytes:
    """The envelope with this signer's signature added (for thresholds above one). Verifies nothing."""
    parsed = _parse(envelope)
    parsed.sign(signer)
    return _encode(parsed)


def verify(envelope: bytes, payload_type: str, keys: Sequence[PublicKey], threshold: int = 1) -> bytes:
    """The payload, if at least ``threshold`` distinct ``keys`` signed it as ``payload_type``.

    Raises ``NotTrusted`` with a sentence that says what is wrong: garbled, no signature, another type, a signature
    by an unknown key, a signature that does not match, too few distinct keys. A copied signature never counts twice.
    """
    if threshold < 1:
        raise ValueError(f"a threshold is at least 1, found {threshold}")
    parsed = _parse(envelope)
    if not parsed.signatures:
        raise NotTrusted("the envelope has no signature")
    if parsed.payload_type != payload_type:
        raise NotTrusted(f"the envelope holds {parsed.payload_type!r}, expected {payload_type!r}")
    good, broken = _good(parsed, keys)
    if len(good) >= threshold:
        return bytes(parsed.payload)
    if broken:
        raise NotTrusted(f"the signature by key {_short(broken[0])} does not match: the content or it was changed")
    if good:
        raise NotTrusted(f"{len(good)} distinct trusted key(s) signed, at least {threshold} must")
    names = ", ".join(_short(keyid) for keyid in parsed.signatures)
    raise NotTrusted(f"signed by {names}, which is no key that is trusted here")


def signed_by(envelope: bytes, keys: Sequence[PublicKey]) -> frozenset[str]:
    """The public halves (hexadecimal) of those of ``keys`` that signed an envelope, whatever it holds.

    Raises ``NotTrusted`` where it is garbled.
    """
    return frozenset(_good(_parse(envelope), keys)[0])


def payload_of(envelope: bytes) -> tuple[str, bytes]:
    """Type and payload of an envelope, *whoever signed it*: for people to look at. Raises ``NotTrusted``."""
    parsed = _parse(envelope)
    return parsed.payload_type, bytes(parsed.payload)


def public_keys(directory: Path) -> list[dict[str, Any]]:
    """The first public keys of ``directory`` as JSON, in the form that ``enrol`` takes: plan first, then ticket."""
    return [read_public(directory / f"{use}.pub", use) for use in USES]


def read_public(path: Path, use: Use | None = None) -> dict[str, Any]:
    """The document of a public key's file, with the use that is wanted. Raises ``InputError``, ``NotTrusted``."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such key ('underway init' makes keys)") from None
    except ValueError:
        raise NotTrusted(f"{path}: expected a public key as JSON, found something else") from None
    if not isinstance(document, dict) or (use is not None and document.get("use") != use):
        raise NotTrusted(f"{path}: expected a public key with the use {use or 'plan or ticket'!r}")
    _key(document)
    return document


def trusted_keys(documents: Sequence[Mapping[str, Any]], use: Use) -> list[PublicKey]:
    """The keys among ``documents`` that may sign for ``use``.

    Raises ``NotTrusted`` for a document that is no Ed25519 public key. Equal keys come once, whatever their ids say.
    """
    found: dict[str, PublicKey] = {}
    for document in documents:
        key = _key(document)
        if document.get("use") == use:
            found.setdefault(key.keyval["public"].lower(), key)
    return list(found.values())


def host_key(public: str) -> PublicKey:
    """A host's own key, from its 64 hexadecimal digits: what the host says is signed with it, nothing else is.

    Raises ``NotTrusted`` for anything else.
    """
    if len(public) != _PUBLIC_HEX or not _is_hex(public):
        raise NotTrusted(f"expected a public key of {_PUBLIC_HEX} hex digits, found {public[:80]!r}")
    name = hashlib.sha256(bytes.fromhex(public)).hexdigest()
    return PublicKey(name, "ed25519", "ed25519", {"public": public.lower()})


def _public(signer: Signer, use: Use) -> dict[str, Any]:
    return {"keyid": signer.public_key.keyid, "use": use, **signer.public_key.to_dict()}


def _key(document: Mapping[str, Any]) -> PublicKey:
    keyval = document.get("keyval")
    public = keyval.get("public") if isinstance(keyval, dict) else None
    if document.get("keytype") != "ed25519" or document.get("scheme") != "ed25519":
        raise NotTrusted(f"expected an Ed25519 public key, found {document.get('keytype')!r}")
    if document.get("use") not in USES:
        raise NotTrusted(f"expected a key with the use 'plan' or 'ticket', found {document.get('use')!r}")
    keyid = document.get("keyid")
    if not isinstance(keyid, str) or not keyid:
        raise NotTrusted("a public key has no key id")
    if not isinstance(public, str) or len(public) != _PUBLIC_HEX or not _is_hex(public):
        raise NotTrusted(f"public key {_short(keyid)}: expected {_PUBLIC_HEX} hex digits")
    return PublicKey(keyid, "ed25519", "ed25519", {"public": public.lower()})


def _good(parsed: Envelope, keys: Sequence[PublicKey]) -> tuple[set[str], list[str]]:
    """The public halves of the keys that signed, and the ids of known keys whose signature does not match."""
    pae = parsed.pae()
    good: set[str] = set()
    broken: list[str] = []
    for signature in parsed.signatures.values():
        known = [key for key in keys if key.keyid == signature.keyid]
        matching = {key.keyval["public"].lower() for key in known if _matches(key, signature, pae)}
        good |= matching
        if known and not matching:
            broken.append(signature.keyid)
    return good, broken


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def _matches(key: PublicKey, signature: Signature, pae: bytes) -> bool:
    try:
        key.verify_signature(signature, pae)
    except UnverifiedSignatureError:  # VerificationError, which it also raises, is its subclass
        return False
    return True


def _parse(envelope: bytes) -> Envelope:
    if len(envelope) > MAX_ENVELOPE:
        raise NotTrusted(f"the envelope has {len(envelope)} bytes, at most {MAX_ENVELOPE} are read")
    try:
        document = json.loads(envelope, object_pairs_hook=_no_doubles)
        if not isinstance(document, dict) or set(document) != {"payload", "payloadType", "signatures"}:
            raise NotTrusted("the envelope is garbled: expected payload, payloadType and signatures")
        if not all(isinstance(document[field], str) for field in ("payload", "payloadType")):
            raise NotTrusted("the envelope is garbled: payload and payloadType must be text")
        seen: list[str] = []
        for signature in document["signatures"]:
            if set(signature) != {"keyid", "sig"}:
                raise NotTrusted("the envelope is garbled: a signature has a keyid and a sig")
            seen.append(signature["keyid"])
        if len(set(seen)) < len(seen):
            raise NotTrusted("the envelope has the signature of one key twice; each key counts once")
        return Envelope.from_dict(document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise NotTrusted(f"the envelope is garbled: {type(error).__name__}") from None


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field twice")
    return found


def _encode(envelope: Envelope) -> bytes:
    return json.dumps(envelope.to_dict(), sort_keys=True, separators=(",", ":")).encode()


def _create(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask says
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _short(keyid: str) -> str:
    return keyid[:12] if keyid.isprintable() else repr(keyid[:12])


__all__ = [
    "USES", "PublicKey", "Signer", "Use", "cosign", "create_key", "create_keys", "host_key", "load_signer",
    "payload_of", "public_keys", "read_public", "sign", "signed_by", "trusted_keys", "verify",
]  # fmt: skip
