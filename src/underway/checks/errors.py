"""The few words for what went wrong, from exceptions and error numbers.

The words are stable: reports group by them and :mod:`underway.checks.vantage` reads three of their families.

=================== ==============================================================================
word                what happened
=================== ==============================================================================
``refused``         nobody listens (the other side answered so: it was reached)
``reset``           the connection was broken off by the other side
``closed``          the other side closed before its answer was whole
``timeout``         no whole answer within the probe's time-out
``dns``             the name has no address
``network: …``      the other side was not reached: ``unreachable``, ``down``, ``no route``
``local: …``        this machine could not ask: no descriptors, ports or memory left
``tls: …``          ``expired``, ``not yet valid``, ``self-signed``, ``unknown issuer``, ``wrong name``, …
``status N``        an answer with a status that was not expected
``body``            the expected text is not in the body
``bad response``    what came is not HTTP
``exit N``          a command failed
``auth: …``         no token could be had: says nothing of the service that was to be asked
``cleanup: …``      what a write probe made could not be deleted again
=================== ==============================================================================
"""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp

_NUMBERS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ETIMEDOUT: "timeout",
    errno.ENETUNREACH: "network: unreachable",
    errno.ENETDOWN: "network: down",
    errno.EHOSTUNREACH: "network: no route",
    errno.EHOSTDOWN: "network: no route",
    errno.EADDRNOTAVAIL: "local: no free port",
    errno.EMFILE: "local: too many open files",
    errno.ENFILE: "local: too many open files",
    errno.ENOBUFS: "local: no memory",
    errno.ENOMEM: "local: no memory",
    errno.EACCES: "local: not permitted",
    errno.EPERM: "local: not permitted",
}

# Numbers of X509_verify_cert (openssl-verification-options(1)).
_CERTIFICATE = {
    9: "tls: not yet valid",
    10: "tls: expired",
    18: "tls: self-signed",
    19: "tls: self-signed",
    20: "tls: unknown issuer",
    21: "tls: unknown issuer",
    62: "tls: wrong name",
    64: "tls: wrong name",
}

UNTOUCHED = ("timeout", "dns", "network", "local")
"""Families of errors that do not prove that the other side was reached."""


def of_number(number: int | None) -> str:
    """The word for an error number of the system."""
    if number is None:
        return "network: error"
    return _NUMBERS.get(number, f"network: {errno.errorcode.get(number, number)}")


def classify(error: BaseException) -> str:
    """The word for an exception that a connection or an HTTP exchange raised."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return classify(error.certificate_error)
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError):
        # Its TLS kind is an ssl.SSLError as well, but without what one says: look at the one inside.
        return classify(error.os_error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, f"tls: {error.verify_message or 'certificate'}")
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "handshake").lower().replace("_", " ")
        return "tls: not tls" if reason in ("wrong version number", "record layer failure") else f"tls: {reason}"
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        return "closed"
    if isinstance(error, OSError):
        return of_number(error.errno)
    return "bad response"


def proves_contact(ok: bool, error: str) -> bool:
    """Whether an answer proves that the other side was reached over the network."""
    return ok or not error.startswith(UNTOUCHED)
