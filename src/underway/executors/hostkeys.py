"""The host keys of a cluster: the file that SSH connections are checked against, and how a key gets into it.

A key is written only after somebody has vouched for it: by giving the key itself, or its fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from underway.core.model.cluster import Host
from underway.errors import InputError, NotTrusted, Refused, Unreachable

TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
SCAN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key of a host: ``kind`` as ssh names it, ``blob`` in base64."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode()

    def __str__(self) -> str:
        return f"{self.kind} {self.blob}"


def parse(text: str) -> HostKey:
    """A key as it stands in ``/etc/ssh/ssh_host_*_key.pub``. Raises InputError."""
    words = text.split()
    expected = "expected 'ssh-ed25519 AAAA…' as in /etc/ssh/ssh_host_ed25519_key.pub of the host"
    if len(words) < 2 or words[0] not in TYPES:
        raise InputError(f"host key {text[:40]!r}: {expected}")
    try:
        raw = base64.b64decode(words[1], validate=True)
        size = struct.unpack(">I", raw[:4])[0]
    except (binascii.Error, ValueError, struct.error):
        raise InputError(f"host key {text[:40]!r}: is cut off or damaged; {expected}") from None
    if raw[4 : 4 + size] != words[0].encode() or len(raw) < 4 + size + 32:
        raise InputError(f"host key {text[:40]!r}: is cut off or damaged; {expected}")
    return HostKey(words[0], words[1])


def check_fingerprint(text: str) -> str:
    """A fingerprint as given by the operator. Raises InputError."""
    if not _FINGERPRINT.fullmatch(text):
        raise InputError(
            f"fingerprint {text!r}: expected 'SHA256:' and 43 characters (ssh-keygen -lf KEY.pub prints it)"
        )
    return text


def name_of(host: Host) -> str:
    """How ssh looks a host up."""
    address = host.address or host.name
    return address if host.port == 22 else f"[{address}]:{host.port}"


def scan(host: Host) -> list[HostKey]:
    """The keys of whoever answers at the host's address: nobody has vouched for them yet. Raises Unreachable."""
    address = host.address or host.name
    if address.startswith("-"):
        raise Refused(f"{host.name}: address {address!r}: expected a host name or an IP address")
    command = ["ssh-keyscan", "-T", str(SCAN_SECONDS), "-p", str(host.port), "-t", "ed25519,ecdsa,rsa", "--", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SCAN_SECONDS * 4, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{host.name}: ssh-keyscan: {error}") from None
    found = [parse(line.partition(" ")[2]) for line in done.stdout.splitlines() if line and not line.startswith("#")]
    if not found:
        raise Unreachable(f"{host.name}: {address} port {host.port} shows no host key")
    return sorted(set(found), key=lambda key: TYPES.index(key.kind))


def known(path: Path, host: Host) -> list[HostKey]:
    """The keys that are trusted for a host. Lines of other forms (hashed names, patterns) are left to ssh."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split()
        if len(words) >= 3 and name_of(host) in words[0].split(",") and words[1] in TYPES:
            found.append(HostKey(words[1], words[2]))
    return found


def trust(path: Path, host: Host, key: HostKey, instead: bool = False) -> bool:
    """Write a key that somebody has vouched for; False if it was there. Raises NotTrusted if another one is.

    ``instead``: the host is another machine now, by the operator's word; its old keys, of all kinds, are taken away.
    """
    others = [other for other in known(path, host) if other != key]
    if instead and others:
        _forget(path, host)
    for other in () if instead else others:
        if other.kind == key.kind:
            raise NotTrusted(
                f"{host.name}: {path} holds another {key.kind} key for {name_of(host)} ({other.fingerprint}), found"
                f" {key.fingerprint}; nothing was written (if another machine stands in its place, or it was installed"
                f" anew, give --replace-key as well)"
            )
    if key in known(path, host):
        return False
    before = path.read_text() if path.exists() else ""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(("" if not before or before.endswith("\n") else "\n") + f"{name_of(host)} {key}\n")
    return True


def _forget(path: Path, host: Host) -> None:
    """Take the host's name out of the lines that hold its keys; the file is there whole at every moment."""
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        words = line.split(maxsplit=1)
        if len(words) == 2 and name_of(host) in words[0].split(","):
            names = [name for name in words[0].split(",") if name != name_of(host)]
            if names:
                kept.append(f"{','.join(names)} {words[1]}")
            continue
        kept.append(line)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600 from the start
    with os.fdopen(fd, "w") as file:
        file.write("".join(kept))
        file.flush()
        os.fsync(fd)
    Path(temporary).replace(path)
