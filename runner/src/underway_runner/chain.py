"""How a host learns of other keys: changes of trust, each signed by the keys that counted before it.

The first keys come with the enrolment. Every later change is numbered, says the whole of what counts from then on,
and is signed by as many of the plan keys *before* it as had to sign a plan then, and by as many of those *after* it as
must sign one from then on. So who holds store, network or ticket keys changes nothing here, no change is left out or
taken twice, and none can ask for signatures that nobody was able to make.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from underway_runner import disk
from underway_runner.errors import Refused
from underway_runner.signatures import Document, opened, public_key

TRUST_TYPE = "application/vnd.underway.trust+json"

NAME = "change of the keys"


def learn(directory: Path, links: object) -> Dict[str, Any]:
    """Take the changes that this host does not know yet, in order; ``host.json`` after that.

    ``links``: changes as signed envelopes (DSSE) in base64, oldest first; those that are known are passed over. Raises
    Refused for one that does not count, with those before it taken.
    """
    changes = _given(links)
    _host(directory)
    lock = os.open(directory / "trust-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that learn at once must not write the older one last
        found = _host(directory)
        for number, data in changes:
            known = number_of(found)
            if number <= known:
                continue
            if number > known + 1:
                raise Refused(
                    f"{NAME} {number}: this host knows {known}, and was not given what lies between ('underway enrol')"
                )
            found = {**found, **_taken(data, found)}
            disk.write_atomic(directory / "host.json", disk.dump_json(found))
        return found
    finally:
        os.close(lock)


def first(links: object, cluster: str) -> Dict[str, Any]:
    """``keys`` and ``trust`` for the host.json of a host that was never enrolled: as the last change says.

    Raises Refused if that one is not signed by its own keys.
    """
    changes = _given(links)
    if not changes:
        return {}
    number, data = changes[-1]
    return _read(data, cluster, number)


def number_of(host: Mapping[str, Any]) -> int:
    """The number of the last change that a host.json knows; 0 for the keys of its enrolment."""
    return int(host.get("trust", {}).get("number", 0))


def _taken(data: bytes, host: Mapping[str, Any]) -> Dict[str, Any]:
    before = host.get("trust", {})
    threshold = max(int(before.get("threshold", 1)), int(host.get("policy", {}).get("threshold", 1)))
    revoked = before.get("revoked", [])
    keys = [key for key in host["keys"] if key.get("use") == "plan"]
    number = number_of(host) + 1
    opened(data, f"{NAME} {number}", TRUST_TYPE, keys, threshold, revoked)
    after = _read(data, str(host["cluster"]), number)
    publics = {public_key(key).keyval["public"] for key in after["trust"]["revoked"]}
    for key in revoked:
        if public_key(key).keyval["public"] not in publics:
            raise Refused(f"{NAME} {number}: a key that was revoked is not called so any more")
    return after


def _read(data: bytes, cluster: str, number: int) -> Dict[str, Any]:
    """What a change says, in the form of host.json, once its own keys have signed it."""
    name = f"{NAME} {number}"
    said = _payload(data)
    try:
        keys = [_document(key) for key in said["keys"]]
        revoked = [
            {**_document(key), **{field: key[field] for field in ("at", "by", "reason")}}
            for key in said.get("revoked", [])
        ]
        threshold, found = said["threshold"], (said["cluster"], said["number"])
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{name}: is garbled: {error!r}") from None
    if found != (cluster, number):
        raise Refused(f"{name}: is {NAME} {found[1]} of cluster {found[0]!r}, this host belongs to {cluster!r}")
    publics = [public_key(key).keyval["public"] for key in (*keys, *revoked)]
    if len(set(publics)) < len(publics):
        raise Refused(f"{name}: a key is there twice")
    plan = [key for key in keys if key["use"] == "plan"]
    if type(threshold) is not int or not 1 <= threshold <= len(plan):
        raise Refused(f"{name}: threshold: expected 1 to {len(plan)}, found {threshold!r}")
    if len(plan) == len(keys):
        raise Refused(f"{name}: none of its keys has the use 'ticket'")
    opened(data, name, TRUST_TYPE, plan, threshold)
    return {"keys": keys, "trust": {"number": number, "threshold": threshold, "revoked": revoked}}


def _document(key: Mapping[str, Any]) -> Document:
    if key["use"] not in ("plan", "ticket"):
        raise Refused(f"{NAME}: use: expected 'plan' or 'ticket', found {key['use']!r}")
    made = {"keyid": key["keyid"], "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key["public"]}}
    return {**made, "use": key["use"], **({"name": key["name"]} if key.get("name") else {})}


def _given(links: object) -> List[Tuple[int, bytes]]:
    """Changes with the numbers that they give themselves, not yet believed."""
    if not isinstance(links, Sequence) or isinstance(links, str):
        raise Refused(f"links: expected a list, found {type(links).__name__}")
    found = []
    for link in links:
        try:
            data = base64.b64decode(link, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Refused(f"{NAME}: not base64") from None
        number = _payload(data).get("number")
        if type(number) is not int:
            raise Refused(f"{NAME}: number: expected a number, found {number!r}")
        found.append((number, data))
    return found


def _payload(data: bytes) -> Dict[str, Any]:
    """What an envelope holds, whoever signed it. Raises Refused."""
    try:
        said = json.loads(base64.b64decode(json.loads(data)["payload"], validate=True))
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error) as error:
        raise Refused(f"{NAME}: not a signed envelope: {error!r}") from None
    if not isinstance(said, dict):
        raise Refused(f"{NAME}: expected an object, found {type(said).__name__}")
    return said


def _host(directory: Path) -> Dict[str, Any]:
    try:
        found = disk.read_json(directory / "host.json")
    except ValueError as error:
        raise Refused(f"{directory}/host.json: {error}") from None
    if found is None:
        raise Refused(f"{directory}: this host is not enrolled (run 'underway enrol' for it)")
    return found
