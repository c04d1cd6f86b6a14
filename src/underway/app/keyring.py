"""The keys of a place: those whose private half lies here, and which ones count, as files and store say.

``keys/trust.json`` holds the first public keys and every signed change since then. The store holds the changes, too, so
that all who use it learn of them; what it holds counts only where the keys before signed it.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from underway import trust, trustchain
from underway.core import keyring
from underway.core.keyring import called
from underway.core.model.keyring import Key
from underway.core.words import moment
from underway.errors import InputError, NotTrusted
from underway.trustchain import Chain

FILE = "trust.json"

FRESH = 5.0
"""Seconds for which a process that runs on believes what it saw of the keys."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key whose private half lies on this machine."""

    path: Path
    key: Key

    def signer(self) -> trust.Signer:
        """To sign with it. Raises InputError, NotTrusted."""
        return trust.load_signer(self.path)


def load(directory: Path, cluster: str) -> Chain:
    """What counts, by the files of a ``keys`` directory. Raises InputError, NotTrusted."""
    path = directory / FILE
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        documents, links = list(said["first"]), [base64.b64decode(link, validate=True) for link in said["changes"]]
    except FileNotFoundError:
        return trustchain.begin(keyring.first(cluster, trust.public_keys(directory)))
    except (ValueError, KeyError, TypeError) as error:
        raise NotTrusted(f"{path}: is not what Underway wrote there: {error!r} (put back the file of before)") from None
    for document in documents:
        trust.trusted_keys([document], "plan")  # refuses what is no key
    return trustchain.begin(keyring.first(cluster, documents)).extended(links)


def save(directory: Path, chain: Chain) -> None:
    """Write the file, whole and durable."""
    said = {
        "first": [keyring.document_of(key) for key in chain.first.keys],
        "changes": [base64.b64encode(link).decode() for link in chain.links],
    }
    new = directory / (FILE + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(json.dumps(said, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE)


def own_keys(directory: Path, use: trust.Use) -> list[OwnKey]:
    """The keys with a use whose private halves lie in a directory, the first one first, then by name."""
    found = []
    stems = {path.stem for path in directory.glob(f"{use}-*.key")}
    for stem in [use, *sorted(stems)]:
        path = directory / f"{stem}.key"
        if path.exists():
            found.append(OwnKey(path, keyring.key_of(trust.read_public(directory / f"{stem}.pub", use))))
    return found


def counting(directory: Path, chain: Chain, use: trust.Use) -> OwnKey:
    """The own key to sign with: of those that count, the one that was trusted last.

    Raises NotTrusted where none does, with what became of them and what to do.
    """
    own = {one.key.public: one for one in own_keys(directory, use)}
    for key in reversed(chain.standing.of(use)):
        if key.public in own:
            return own[key.public]
    new = f"make one ('underway key new --use {use}'), and have it trusted ('underway key trust FILE')"
    for gone in chain.standing.revoked:
        if gone.public in own:
            raise NotTrusted(
                f"the {use} key of this machine, {called(gone)}, was revoked on {moment(gone.at)}:"
                f" {gone.reason} ({new})"
            )
    if own:
        names = ", ".join(called(one.key) for one in own.values())
        raise NotTrusted(f"no {use} key of this machine counts: {names} (have it trusted: 'underway key trust FILE')")
    raise InputError(f"{directory}: there is no {use} key ({new})")


class LiveRing:
    """The keys as they are now, for a process that runs on: looked at again after ``FRESH`` seconds.

    ``look``: files and store (``Session.chain``).
    """

    def __init__(self, directory: Path, look: Callable[[], Chain]) -> None:
        self._directory = directory
        self._look = look
        self._chain: Chain | None = None
        self._at = 0.0

    @property
    def chain(self) -> Chain:
        """What counts. Raises StoreError, NotTrusted."""
        if self._chain is None or time.monotonic() - self._at > FRESH:
            self._chain, self._at = self._look(), time.monotonic()
        return self._chain

    def sign(self, kind: str, payload: bytes) -> bytes:
        """An envelope signed with this machine's ticket key. Raises NotTrusted where none of them counts any more.

        Looks again each time: a ticket signed with what counted five seconds ago is refused by a host that knows
        better, and its run would halt.
        """
        self.forget()
        return trust.sign(counting(self._directory, self.chain, "ticket").signer(), kind, payload)

    def tickets(self) -> Sequence[trust.PublicKey]:
        """The ticket keys that count."""
        return self.chain.keys("ticket")

    def forget(self) -> None:
        """Look again at the next question: we have changed something ourselves."""
        self._chain = None

    def seen_links(self) -> tuple[bytes, ...]:
        """The changes as they were seen last: asks nobody, for any thread."""
        return self._chain.links if self._chain is not None else ()


def documents(chain: Chain) -> list[dict[str, Any]]:
    """The keys that count, in the form in which hosts are told of them."""
    return [keyring.document_of(key) for key in chain.standing.keys]


def told_keys(chain: Chain) -> dict[str, Any]:
    """What a host's runner is given when it is enrolled: the keys that count, and the changes that led to them."""
    return {"keys": documents(chain), "links": [base64.b64encode(link).decode() for link in chain.links]}
