"""Certificates of the laboratory's own: one that is good, and one of the same kind that expired yesterday."""

from __future__ import annotations

import datetime
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from labkit.topology import VIP

DAY = datetime.timedelta(days=1)


def make(now: datetime.datetime) -> dict[str, bytes]:
    """``ca.pem``, and ``renewed.pem`` and ``expired.pem``, each certificate with its key, as HAProxy reads them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the laboratory's authority")])
    authority = (
        _begun(name, name, key.public_key(), now - 30 * DAY, now + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return {
        "ca.pem": authority.public_bytes(Encoding.PEM),
        "renewed.pem": _site(name, key, now - DAY, now + 20 * DAY),
        "expired.pem": _site(name, key, now - 20 * DAY, now - DAY),
    }


def _site(
    issuer: x509.Name, authority: ec.EllipticCurvePrivateKey, since: datetime.datetime, until: datetime.datetime
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the laboratory's Keystone")])
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(VIP))])
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    made = (
        _begun(subject, issuer, key.public_key(), since, until)
        .add_extension(names, critical=False)
        .add_extension(issued_by, critical=False)
        .sign(authority, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM) + private


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    since: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
