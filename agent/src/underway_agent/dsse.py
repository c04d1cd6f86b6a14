"""Signed envelopes (DSSE, Ed25519) and a host's own key: the same format as plans and tickets have.

Small on purpose: one signature made, one of several keys checked. The bytes that are verified are the bytes that are
read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


class NotSigned(Exception):
    """An envelope is garbled, of another type, or not signed by a key that counts; the text says which."""


def create_key(path: Path) -> Ed25519PrivateKey:
    """A new private key in a file of mode 0600, durable. Raises FileExistsError."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a file. Raises NotSigned if it is none, or if others can read it; OSError."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise NotSigned(f"{path}: others can read or write this private key (mode {mode:04o}; chmod 600 it)")
        data = file.read(16384)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise NotSigned(f"{path}: expected a private key as unencrypted PEM, found something else") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise NotSigned(f"{path}: expected an Ed25519 key, found another kind")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public half, as 64 hexadecimal digits."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def key_id(public: str) -> str:
    """The name of a public key in envelopes: the SHA-256 of its bytes."""
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()


def fingerprint(public: str) -> str:
    """What people compare: as ssh shows keys."""
    digest = hashlib.sha256(bytes.fromhex(public)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def sign(key: Ed25519PrivateKey, kind: str, payload: bytes) -> bytes:
    """An envelope over the exact bytes of ``payload``; ``kind`` is part of what is signed."""
    signature = {"keyid": key_id(public_hex(key)), "sig": _text(key.sign(_pae(kind, payload)))}
    return json.dumps({"payload": _text(payload), "payloadType": kind, "signatures": [signature]}).encode()


def verify(envelope: bytes, kind: str, publics: Sequence[str]) -> bytes:
    """The payload, if one of the keys (hexadecimal) signed it as ``kind``. Raises NotSigned."""
    try:
        document: Dict[str, Any] = json.loads(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        found = document["payloadType"]
        signatures = [base64.b64decode(one["sig"], validate=True) for one in document["signatures"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NotSigned("the envelope is garbled") from None
    if found != kind:
        raise NotSigned(f"the envelope holds {str(found)[:80]!r}, expected {kind!r}")
    data = _pae(kind, payload)
    for public in publics:
        for signature in signatures:
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)
            except (InvalidSignature, ValueError):
                continue
            return payload
    raise NotSigned("not signed by a key that is trusted here")


def _pae(kind: str, payload: bytes) -> bytes:
    """What is signed: type and payload, each with its length."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
