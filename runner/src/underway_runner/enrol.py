"""``enrol``: whose signatures count on this host, and the journal's one and only creation."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Dict, Mapping

from underway_runner import chain, disk
from underway_runner.errors import Busy, Refused
from underway_runner.journal import Journal
from underway_runner.signatures import public_key


def enrol(directory: Path, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Make this host one that takes tickets; with the same keys again it changes nothing.

    ``links``: the changes of these keys since the first ones (see chain). A host that is enrolled takes those that it
    does not know; one that is not begins with the last. Without ``keys`` nothing else is done.
    ``base`` above 0: it stands in the place of a machine that was replaced, and its lines are numbered from there.
    ``known``: the last line that was seen of this host; one that lacks it takes no ticket before it is said to be
    another machine.
    Raises Refused when the host is enrolled otherwise already: only its root may change that, by hand.
    """
    links = request.get("links", [])
    if "keys" not in request and links:
        return _enrolled(chain.learn(directory, links))
    wanted = {**_wanted(request), **chain.first(links, str(request.get("cluster")))}
    base, known = request.get("base", 0), request.get("known", 0)
    for field, number in (("base", base), ("known", known)):
        if not isinstance(number, int) or number < 0:
            raise Refused(f"enrol: {field}: expected the number of a line, found {number!r}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    try:
        found = disk.read_json(directory / "host.json")
    except ValueError as error:
        raise Refused(f"{directory}/host.json: {error}") from None
    if found is not None:
        for field in ("cluster", "host"):
            if found.get(field) != wanted[field]:
                raise _otherwise(f"with another {field}", directory)
        found = chain.learn(directory, links)
        if _named(found["keys"]) != _named(wanted["keys"]):
            known_here, given = chain.number_of(found), chain.number_of(wanted)
            ahead = f"; it knows change {known_here} of them, this machine {given}" if known_here > given else ""
            raise _otherwise(f"with other keys{ahead}", directory)
        if not (directory / "journal").exists():
            raise Refused(f"{directory}: the journal is gone (what this host did is not known; ask its administrator)")
        _stand_in(directory, base)
        return _enrolled(found)
    # The journal first: host.json is what says that it must exist.
    fd = os.open(directory / "journal", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    (directory / "work").mkdir(mode=0o700, exist_ok=True)
    disk.write_atomic(directory / "tokens.json", disk.dump_json({"seq": known} if known else {}))
    disk.write_atomic(directory / "host.json", disk.dump_json(wanted))
    disk.fsync_dir(directory.parent)
    _stand_in(directory, base)
    return _enrolled(wanted)


def _otherwise(how: str, directory: Path) -> Refused:
    return Refused(f"this host is enrolled already, {how} (to give it up, remove {directory} on the host)")


def _enrolled(host: Mapping[str, Any]) -> Dict[str, Any]:
    """The answer; where the keys were ever changed it says which change is known, and whose tickets count."""
    if not host.get("trust"):
        return {"kind": "enrolled"}
    tickets = [public_key(key).keyval["public"] for key in host["keys"] if key["use"] == "ticket"]
    return {"kind": "enrolled", "trust": chain.number_of(host), "tickets": tickets}


def _named(keys: Any) -> Any:
    """Keys as what they are: their public bytes and use, whatever they are called."""
    return {(public_key(key).keyval["public"], key.get("use")) for key in keys}


def _stand_in(directory: Path, base: int) -> None:
    """Have the journal begin above ``base``: then tickets of a machine that was there before are refused.

    Raises Refused if this machine was at work as another one, Busy.
    """
    if not base:
        return
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another call holds the lock of this host") from None
        journal = Journal(directory)
        try:
            journal.stand_in(base)
        finally:
            journal.close()
    finally:
        os.close(lock)


def _wanted(request: Mapping[str, Any]) -> Dict[str, Any]:
    keys = request.get("keys")
    for field in ("cluster", "host"):
        if not isinstance(request.get(field), str) or not request[field]:
            raise Refused(f"enrol: {field}: expected a name, found {request.get(field)!r}")
    if not isinstance(keys, list) or not keys:
        raise Refused("enrol: keys: expected a list of public keys")
    seen = set()
    for key in keys:
        public = public_key(key).keyval["public"]
        if key.get("use") not in ("plan", "ticket"):
            raise Refused(f"enrol: key {key['keyid']}: use: expected 'plan' or 'ticket', found {key.get('use')!r}")
        if (public, key["use"]) in seen:
            raise Refused(f"enrol: key {key['keyid']} is there twice")
        seen.add((public, key["use"]))
    for use in ("plan", "ticket"):
        if use not in {key["use"] for key in keys}:
            raise Refused(f"enrol: keys: none has the use {use!r}")
    return {"cluster": request["cluster"], "host": request["host"], "keys": keys, "policy": request.get("policy", {})}
