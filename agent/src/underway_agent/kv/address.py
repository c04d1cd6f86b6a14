"""Where a key-value server is and how it is spoken with: an address, and the files with certificates and secrets.

``KIND[+http|+https]://HOST[:PORT][,HOST[:PORT]...][/PREFIX]``, KIND being ``consul`` or ``etcd``. Without ``+http`` it
is HTTPS. Secrets are never in an address, an argument or the environment: files hold them.
"""

from __future__ import annotations

import ipaddress
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

PORTS = {
    ("consul", "https"): 8501,
    ("consul", "http"): 8500,
    ("etcd", "https"): 2379,
    ("etcd", "http"): 2379,
}
"""Kinds and transports, with the port that each has by default."""

FORM = "KIND://HOST[:PORT][,HOST[:PORT]...][/PREFIX], KIND being consul, etcd, consul+http or etcd+http"

_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SECRET_MAX = 4096


class AddressError(ValueError):
    """An address, or a file that belongs to it, is wrong; the text says what was expected and what was found."""


@dataclass(frozen=True)
class Address:
    """A server, or several of one cluster. ``servers`` are base URLs, in the order in which they are tried."""

    kind: str
    servers: tuple[str, ...]
    prefix: str = ""

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.servers[0].startswith("https:")


@dataclass(frozen=True)
class Access:
    """An address with what it takes to be let in. All but ``url``, ``user`` and ``insecure`` are paths of files.

    ``ca``: who signs the servers' certificates (absent: the system's). ``certificate`` and ``key``: ours. ``token``:
    Consul's ACL token. ``user`` and ``password``: etcd's. ``insecure`` allows plain HTTP to other machines.
    """

    url: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    user: str = ""
    password: str = ""
    insecure: bool = False
    address: Address = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        address = parse(self.url)
        object.__setattr__(self, "address", address)
        if bool(self.certificate) != bool(self.key):
            raise AddressError("a client certificate needs its key, and a key its certificate: found only one of them")
        if not address.secure:
            tls = [name for name in ("ca", "certificate", "key") if getattr(self, name)]
            if tls:
                raise AddressError(f"{tls[0]}: is for TLS, {self.url} is plain HTTP (write {address.kind}://)")
            far = [url for url in address.servers if not is_loopback(url)]
            if far and not self.insecure:
                raise AddressError(
                    f"{far[0]}: plain HTTP to another machine, where anyone on the way can read and write "
                    f"(write {address.kind}:// and give the CA; or insecure: true where the network is trusted)"
                )
        if self.token and address.kind != "consul":
            raise AddressError(f"token: is for Consul, {self.url} is {address.kind} (give user and password)")
        if (self.user or self.password) and address.kind != "etcd":
            raise AddressError(f"user: is for etcd, {self.url} is {address.kind} (give a token)")
        if bool(self.user) != bool(self.password):
            raise AddressError("a user needs a password, and a password a user: found only one of them")


def parse(url: str) -> Address:
    """The address that a text means. Raises ``AddressError`` naming what is wrong with it."""

    def wrong(what: str) -> NoReturn:
        raise AddressError(f"address {url[:200]!r}: {what}; expected {FORM}")

    scheme, separator, rest = url.partition("://")
    kind, _, transport = scheme.partition("+")
    transport = transport or "https"
    if not separator or (kind, transport) not in PORTS or not url.isprintable() or len(url) > 2000:
        wrong(f"unknown kind {scheme[:40]!r}" if separator else "no '://'")
    hosts, _, prefix = rest.partition("/")
    if "@" in hosts:
        wrong("a user in it (secrets stand in files)")
    prefix = prefix.rstrip("/")
    if prefix and (not _PREFIX.fullmatch(prefix) or len(prefix) > 100):
        wrong(f"prefix {prefix[:100]!r} (letters, digits and . _ - between single slashes, at most 100)")
    servers = []
    for text in hosts.split(","):
        found = _HOST.match(text)
        port = text[found.end() :] if found else ""
        if not found or (port and not re.fullmatch(r":[1-9][0-9]{0,4}", port)) or int(port[1:] or "1") > 65535:
            wrong(f"host {text[:100]!r}")
        servers.append(f"{transport}://{found[0]}{port or ':' + str(PORTS[kind, transport])}")
    if len(set(servers)) < len(servers):
        wrong("the same server twice")
    return Address(kind, tuple(servers), prefix)


def is_loopback(url: str) -> bool:
    """Whether a base URL leads to this machine only."""
    host = url.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_secret(path: str, what: str) -> str:
    """The one line of a file that others may not read. Raises ``AddressError``; its content is never in the text."""
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
        if mode & 0o007:
            raise AddressError(
                f"{what} file {path}: other users may read or write it (mode {mode:04o}); expected 0600 (chmod 600)"
            )
        with Path(path).open(encoding="ascii") as file:
            text = file.read(_SECRET_MAX + 1)
    except OSError as error:
        raise AddressError(f"{what} file {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise AddressError(f"{what} file {path}: expected printable ASCII") from None
    secret = text[:-1] if text.endswith("\n") else text
    if not secret or len(secret) > _SECRET_MAX or not secret.isprintable() or secret != secret.strip():
        raise AddressError(f"{what} file {path}: expected one line of printable ASCII without blanks at its ends")
    return secret
