"""Changes of the keys that count. Pure.

Invariants, of every change that these functions make and of every one that ``check_next`` lets through:

1. As many plan keys are left as must sign a plan, and at least one ticket key: nobody is ever locked out.
2. A key that was revoked never counts again.
3. A key stands there once, with one use.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from underway.core.model.base import replace
from underway.core.model.keyring import Key, RevokedKey, Trust
from underway.core.nearest import nearest
from underway.core.words import clean, moment, plural
from underway.errors import InputError, NotTrusted, Refused

SHORTEST = 8
"""Letters of a fingerprint, after ``SHA256:``, that may stand for all of it."""


def fingerprint(public: str) -> str:
    """A key as people compare it: as ssh shows keys."""
    digest = hashlib.sha256(bytes.fromhex(public)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def called(key: Key) -> str:
    """A key in a sentence; ``underway key list`` shows all of its fingerprint."""
    return fingerprint(key.public)[:19] + (f" ({clean(key.name, 40)})" if key.name else "")


def key_of(document: Mapping[str, Any], name: str = "") -> Key:
    """The key of a public key's document, which was checked (``trust.key_document``)."""
    return Key(
        keyid=document["keyid"],
        use=document["use"],
        public=document["keyval"]["public"].lower(),
        name=name or str(document.get("name", "")),
    )


def document_of(key: Key) -> dict[str, Any]:
    """The form in which hosts keep a key."""
    form = {"keyid": key.keyid, "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key.public}}
    return {**form, "use": key.use, **({"name": key.name} if key.name else {})}


def first(cluster: str, documents: Sequence[Mapping[str, Any]]) -> Trust:
    """What counts before any change: the keys that were made with the state directory, each alone."""
    keys = tuple(key_of(document) for document in documents)
    return Trust(cluster=cluster, number=0, threshold=1, keys=keys, at=0.0, by="", change="")


def with_key(trust: Trust, key: Key, by: str, now: float) -> Trust:
    """A further key counts. Raises Refused for one that does already, or was revoked."""
    for known in trust.keys:
        if known.public == key.public:
            raise Refused(f"{called(known)}: is trusted already, as a {known.use} key; nothing was changed")
    for gone in trust.revoked:
        if gone.public == key.public:
            raise Refused(f"{called(gone)}: was revoked on {moment(gone.at)} ({gone.reason}); make a new key")
    for known in trust.keys:
        if key.name and known.name == key.name and known.use == key.use:
            raise Refused(f"there is another {key.use} key of the name {key.name!r}: {fingerprint(known.public)}")
    return _next(trust, by, now, f"{key.use} key {called(key)} is trusted", keys=(*trust.keys, key))


def without(trust: Trust, key: Key, reason: str, by: str, now: float) -> Trust:
    """A key counts no more, ever. Raises Refused where too few would be left."""
    left = tuple(known for known in trust.keys if known.public != key.public)
    plan = sum(known.use == "plan" for known in left)
    if key.use == "plan" and plan < trust.threshold:
        lower = f", or lower the threshold first ('underway key threshold {plan}')" if plan else ""
        raise Refused(
            f"{called(key)}: without it there {'is' if plan == 1 else 'are'} {plan} of the {trust.threshold} plan keys"
            f" that must sign a plan: trust another one first ('underway key trust FILE'){lower}; nothing was changed"
        )
    if key.use == "ticket" and plan == len(left):
        raise Refused(
            f"{called(key)}: is the only ticket key: make and trust another one first"
            " ('underway key new --use ticket', 'underway key trust FILE'); nothing was changed"
        )
    gone = RevokedKey(
        keyid=key.keyid, use=key.use, public=key.public, name=key.name, at=now, by=by, reason=reason
    )  # fmt: skip
    text = f"{key.use} key {called(key)} is revoked: {reason}"
    return _next(trust, by, now, text, keys=left, revoked=(*trust.revoked, gone))


def with_threshold(trust: Trust, threshold: int, by: str, now: float) -> Trust:
    """So many plan keys must sign a plan. Raises Refused where there are not as many."""
    most = len(trust.of("plan"))
    if threshold == trust.threshold:
        raise Refused(f"{plural(threshold, 'plan key')} must sign a plan already; nothing was changed")
    if not 1 <= threshold <= most:
        raise Refused(
            f"threshold {threshold}: expected 1 to {most}, as there {'is' if most == 1 else 'are'}"
            f" {plural(most, 'plan key')} (trust more first: 'underway key trust FILE'); nothing was changed"
        )
    text = f"{threshold} of {plural(most, 'plan key')} must sign a plan (before: {trust.threshold})"
    return _next(trust, by, now, text, threshold=threshold)


def find(trust: Trust, text: str) -> Key:
    """The key that counts and is meant by a fingerprint, its beginning, or a name. Raises InputError."""
    bare = text.removeprefix("SHA256:")
    found = [key for key in trust.keys if key.name == text or fingerprint(key.public) == f"SHA256:{bare}"]
    if not found and len(bare) >= SHORTEST:
        found = [key for key in trust.keys if fingerprint(key.public).startswith(f"SHA256:{bare}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{text!r}: {', '.join(map(called, found))}: give more of the fingerprint ('underway key list')"
        )
    for gone in trust.revoked:
        if gone.name == text or (len(bare) >= SHORTEST and fingerprint(gone.public).startswith(f"SHA256:{bare}")):
            raise InputError(f"{called(gone)}: was revoked on {moment(gone.at)} already ({gone.reason})")
    names = [*(key.name for key in trust.keys if key.name), *(fingerprint(key.public) for key in trust.keys)]
    raise InputError(f"there is no trusted key {text!r}{nearest(text, names)} ('underway key list' shows them)")


def check_next(before: Trust, after: Trust) -> None:
    """Raise NotTrusted unless ``after`` may follow ``before`` at all, whoever signed it."""
    what = f"change {after.number} of the keys"
    if (after.cluster, after.number) != (before.cluster, before.number + 1):
        raise NotTrusted(
            f"{what} of cluster {after.cluster}: expected change {before.number + 1} of cluster {before.cluster}"
        )
    publics = [key.public for key in (*after.keys, *after.revoked)]
    if len(set(publics)) < len(publics) or any(len(one) != 64 or not _is_hex(one) for one in publics):
        raise NotTrusted(f"{what}: a key stands there twice, or is none")
    if not {key.public for key in before.revoked} <= {key.public for key in after.revoked}:
        raise NotTrusted(f"{what}: a key that was revoked is not called so any more")
    if not after.of("ticket") or not 1 <= after.threshold <= len(after.of("plan")):
        raise NotTrusted(f"{what}: expected a ticket key, and as many plan keys as must sign a plan")


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def _next(trust: Trust, by: str, now: float, change: str, **fields: Any) -> Trust:
    made = replace(trust, number=trust.number + 1, at=now, by=by, change=change, **fields)
    check_next(trust, made)
    return made
