"""Names and other single words: what is allowed, and a message that says why not.

Every function returns None, or ``Wrong``. Names are lower-case ASCII letters, digits and '-': they become store keys,
file names, Ansible groups and arguments, and two names that look alike must not differ (TRUST.md §4, 46-57).
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from typing import NamedTuple
from urllib.parse import urlsplit

from underway.config.words import nearest, shown

RESERVED = frozenset({"all", "localhost", "ungrouped", "global", "current", "none"})
"""Words that already mean something to Ansible or to the program."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")
_VAR = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")
_ZONE_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
# C0, C1, and the marks that turn the direction of writing
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Wrong(NamedTuple):
    """Why a word is refused."""

    code: str
    message: str
    hint: str = ""


def name(text: str, what: str, *, longest: int = 63, dots: bool = False) -> Wrong | None:
    """A name of ours: labels of ``a-z``, ``0-9`` and '-' (joined by dots where ``dots``), at most ``longest`` long."""
    rule = "a-z, 0-9 and '-'" + (", parts joined by '.'" if dots else "")
    if not text:
        return Wrong("name", f"the {what} is empty", f"use {rule}")
    if len(text) > longest:
        return Wrong("name", f"{what} {shown(text)} has {len(text):,} characters; at most {longest}")
    if not text.isascii():
        return Wrong("name", f"{what} {shown(text)} holds letters beyond ASCII", f"use {rule}")
    if text in RESERVED:
        return Wrong("reserved-name", f"{what} {shown(text)} is a reserved word", "choose another name")
    labels = text.split(".") if dots else [text]
    if all(_LABEL.fullmatch(label) and len(label) <= 63 for label in labels):
        return None
    lower = text.lower()
    if lower != text and name(lower, what, longest=longest, dots=dots) is None:
        return Wrong("name", f"{what} {shown(text)} has upper-case letters", f"write '{lower}'")
    if set("[]*!&,:?") & set(text):
        return Wrong("name", f"{what} {shown(text)} is a pattern; expected a name", f"write every name out: {rule}")
    dashed = text.replace("_", "-")
    hint = f"write '{dashed}'" if "_" in text and name(dashed, what, longest=longest, dots=dots) is None else ""
    return Wrong(
        "name", f"{what} {shown(text)} is not a name", hint or f"use {rule}; begin and end with a letter or digit"
    )


def host_name(text: str) -> Wrong | None:
    """A host name: labels joined by dots, 253 characters at most."""
    return name(text, "host name", longest=253, dots=True)


def version(text: str) -> Wrong | None:
    """The name of a release, or the version of a service: ``[A-Za-z0-9._+-]{1,64}``, not beginning with '-' or '.'."""
    if text == "latest":
        return Wrong("version", "'latest' is not a version: it would mean another one tomorrow", "name the version")
    if _VERSION.fullmatch(text) and text[0] not in "-." and ".." not in text:
        return None
    return Wrong(
        "version",
        f"{shown(text)} is not a version",
        "1 to 64 of A-Z, a-z, 0-9, '.', '_', '+' and '-'; it begins with a letter, a digit, '_' or '+'",
    )


def user(text: str) -> Wrong | None:
    """A login name that can never be read as an option."""
    if _USER.fullmatch(text):
        return None
    return Wrong(
        "user", f"{shown(text)} is not a user name", "letters, digits, '_', '.', '@', '-'; begins with a letter"
    )


def variable(text: str) -> Wrong | None:
    """The name of a variable, as Ansible wants it."""
    if _VAR.fullmatch(text):
        return None
    fixed = re.sub(r"[^A-Za-z0-9_]", "_", text, flags=re.ASCII)
    hint = f"write '{fixed}'" if _VAR.fullmatch(fixed) else "letters, digits and '_'; begins with a letter or '_'"
    return Wrong("variable", f"{shown(text)} is not the name of a variable", hint)


def sentence(text: str, what: str, longest: int = 200) -> Wrong | None:
    """A line for people: not empty, not long, no control characters and no marks that turn the writing."""
    if not text.strip():
        return Wrong("text", f"the {what} is empty")
    if len(text) > longest:
        return Wrong("text", f"the {what} has {len(text):,} characters; at most {longest}")
    bad = _CONTROL.search(text)
    if bad:
        return Wrong("text", f"the {what} holds the control character U+{ord(bad.group()):04X}", "remove it")
    return None


def address(text: str) -> Wrong | None:
    """An IPv4 or IPv6 address (a zone such as ``%eth0`` may follow), or a host name in DNS."""
    wrong = Wrong(
        "address", f"{shown(text)} is neither an IP address nor a host name", "for example 10.0.0.11 or 2001:db8::11"
    )
    if ":" in text:
        bare, percent, zone = text.partition("%")
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            return wrong
        return None if not percent or _ZONE_ID.fullmatch(zone) else wrong
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return wrong
        return None
    labels = text.removesuffix(".").split(".")  # a dot at the end says that the name is whole
    fine = len(text) <= 253 and all(_HOSTNAME.fullmatch(label) and len(label) <= 63 for label in labels)
    return None if fine else wrong


def same_address(text: str) -> str:
    """One spelling for addresses that are equal."""
    bare, percent, zone = text.lower().partition("%")
    try:
        return str(ipaddress.ip_address(bare)) + percent + zone
    except ValueError:
        return text.lower().rstrip(".")


def endpoint(text: str) -> Wrong | None:
    """``host:port`` or ``[IPv6]:port`` of a machine that may be asked."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None:
        return Wrong("address", f"{shown(text)} is not host:port", "for example 10.0.0.10:5000 or [2001:db8::1]:5000")
    host = match[1] or match[2]
    bad_port = _port(int(match[3]))
    return bad_port or address(host) or _metadata(host)


def _port(port: int) -> Wrong | None:
    if 1 <= port <= 65535:
        return None
    return Wrong("port", f"port {port} is out of range", "1 to 65535")


def _metadata(host: str) -> Wrong | None:
    """Addresses at which a cloud tells a machine its secrets; a probe has no business there (TRUST.md §4, 39)."""
    found = _numeric(host)
    denied = host.lower().rstrip(".") in ("metadata.google.internal", "metadata", "instance-data")
    if found is not None:
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        denied = str(found) in ("100.100.100.200", "fd00:ec2::254") or (found.version == 4 and found.is_link_local)
    if not denied:
        return None
    return Wrong("metadata", f"{shown(host)} is a cloud's metadata address; probes may not ask there")


def _numeric(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that resolvers make of ``host``: also of ``2852039166``, ``0xa9fea9fe`` and ``0251.0376.169.254``."""
    bare = host.partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    parts = bare.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    try:
        numbers = [_c_number(part) for part in parts]
        value = sum(number << 8 * (3 - index) for index, number in enumerate(numbers[:-1])) + numbers[-1]
        return ipaddress.IPv4Address(value)
    except ValueError:
        return None


def _c_number(text: str) -> int:
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,12}", text, re.ASCII):
        raise ValueError(text)
    if text[:2].lower() == "0x":
        return int(text, 16)
    return int(text, 8) if len(text) > 1 and text[0] == "0" else int(text)


def url(text: str) -> Wrong | None:
    """A URL that a probe may ask: http or https, no credentials in it, no metadata address."""
    if re.search(r"[\x00-\x20\x7f-\xa0\\]", text) or not text.isascii():
        return Wrong("url", f"{shown(text)} is not a URL: it holds blanks, control characters or letters beyond ASCII")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        return Wrong("port" if "ort" in str(error) else "url", f"{shown(text)} is not a URL: {error}"[:200])
    if parts.scheme not in ("http", "https"):
        return Wrong("url-scheme", f"{shown(text)} begins with {shown(parts.scheme)}", "probes ask http:// or https://")
    if parts.username is not None or parts.password is not None:
        return Wrong("inline-secret", "the URL holds a user name or password", "use 'auth' with 'password_file'")
    if not host:
        return Wrong("url", f"{shown(text)} names no host")
    return (_port(port) if port is not None else None) or _metadata(host) or _url_host(host)


SNAPSHOT = "{snapshot}"
"""What a repository's URL holds where its snapshot is put."""


def repository(text: str) -> Wrong | None:
    """The URL of a package repository: ``http``, ``https`` or ``file``, perhaps with ``{snapshot}`` in it."""
    bare = text.replace(SNAPSHOT, "0")
    if re.fullmatch(r"file:/[A-Za-z0-9._~%/+-]*", bare):
        return None
    return url(bare) or (
        Wrong("url", f"{shown(text)} is not the URL of a repository", f"only {SNAPSHOT} may stand in braces")
        if re.search(r"""[{}<>"'`$]""", bare)
        else None
    )


def _url_host(host: str) -> Wrong | None:
    if _numeric(host) is not None or ":" in host:
        return None
    # DNS does not mind '_', and container networks use it
    return address(host.replace("_", "-"))


def time_zone(text: str) -> Wrong | None:
    """An IANA name; ``UTC`` is known without any data on the machine."""
    if text == "UTC":
        return None
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = nearest(text, zoneinfo.available_timezones()) or "an IANA name such as Europe/Paris, or UTC"
        return Wrong("zone", f"time zone {shown(text)} is not known", hint)
    return None
