"""The authority of a cluster and the certificate that ``underway serve`` shows: made at the first start, kept 0600.

Hosts pin the authority when they are enrolled, so it lives long; the server's own certificate is made anew whenever it
nears its end or the names that it is reached by change, and no host needs to be told.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from underway.errors import NotTrusted

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""The longest life that TLS clients take for a server's certificate."""

RENEW_DAYS = 30
"""Days before its end from which a new one is made."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of the server, and the authority's certificate (PEM)."""

    certificate: Path
    key: Path
    authority: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, in hexadecimal: what one-time codes carry."""
        found = x509.load_pem_x509_certificate(self.authority.encode())
        return hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).hexdigest()


def ensure(keys: Path, cluster: str, names: Sequence[str], now: float) -> Certificates:
    """The certificates under ``keys``, made where they are missing, too old or for other names. Raises NotTrusted."""
    authority, authority_key = _authority(keys, cluster, now)
    certificate, key = keys / "serve.crt", keys / "serve.key"
    pem = authority.public_bytes(serialization.Encoding.PEM).decode()
    if not _is_good(certificate, key, authority, names, now):
        _make_server(certificate, key, authority, authority_key, names, now)
    return Certificates(certificate, key, pem)


def given(certificate: Path, key: Path, authority: Path) -> Certificates:
    """Files that the operator has from elsewhere. Raises NotTrusted for a key that others can read."""
    for path in (certificate, key, authority):
        if not path.is_file():
            raise NotTrusted(f"{path}: no such file")
    if key.stat().st_mode & 0o077:
        raise NotTrusted(f"{key}: others can read or write this private key (chmod 600 {key})")
    return Certificates(certificate, key, authority.read_text())


def _authority(keys: Path, cluster: str, now: float) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, key_file = keys / "serve-ca.crt", keys / "serve-ca.key"
    if certificate.exists() and key_file.exists():
        if key_file.stat().st_mode & 0o077:
            raise NotTrusted(f"{key_file}: others can read or write this private key (chmod 600 {key_file})")
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
        except ValueError as error:
            raise NotTrusted(f"{key_file} and {certificate}: cannot be read: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise NotTrusted(f"{key_file}: expected an elliptic curve key")
        return found, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"underway {cluster}")])
    made = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o600)  # first: a certificate without its key would look whole
    _write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return made, key


def _make_server(
    certificate: Path,
    key_file: Path,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: float,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    made = (
        _builder(name, authority.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_san(one) for one in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o600)
    _write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)


def _is_good(certificate: Path, key: Path, authority: x509.Certificate, names: Sequence[str], now: float) -> bool:
    """Whether the server's files are there, belong together, are of this authority, and last for these names."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        told = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001  whatever is wrong with it: another one is made
        return False
    if private.public_key() != found.public_key() or list(told) != [_san(name) for name in names]:
        return False
    return found.not_valid_after_utc.timestamp() - now > RENEW_DAYS * 86400.0


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # from a day before: the clock of a host that is an hour off does no harm
        .not_valid_before(at - datetime.timedelta(days=1))
        .not_valid_after(at + datetime.timedelta(days=days))
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign_certificates, crl_sign=sign_certificates, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all: a start that is killed leaves nothing half."""
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
