"""TLS with a server of an address: who signs for it, and our own certificate."""

from __future__ import annotations

import ssl

from underway_agent.kv.address import Access, AddressError


def tls_context(access: Access) -> ssl.SSLContext:
    """TLS 1.2 or newer, the server's name and certificate always checked. Raises ``AddressError`` naming the file."""
    try:
        context = ssl.create_default_context(cafile=access.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise AddressError(
            f"CA file {access.ca}: cannot be used ({_why(error)}); expected certificates in PEM"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.certificate:
        try:
            context.load_cert_chain(access.certificate, access.key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise AddressError(
                f"client certificate {access.certificate} with key {access.key}: cannot be used ({_why(error)}); "
                "expected both in PEM, the key without a password"
            ) from None
    return context


def _no_password() -> str:
    return ""  # never ask on a terminal


def _why(error: OSError) -> str:
    return error.strerror or getattr(error, "reason", "") or type(error).__name__
