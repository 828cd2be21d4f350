"""Certificates for a trial: an authority, an exchange's certificate, and one for each node.

They are ordinary X.509 certificates, and an exchange takes those of any other authority just as well.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedbits.errors import ConfigError
from fedbits.files import write_atomic
from nodes.exchange.identity import check_name

AUTHORITY, SERVER = "ca", "server"
_SKEW = timedelta(hours=1)  # by which the clocks of two hosts may differ
_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True)
class Issuer:
    """An authority: its own certificate, and the key that it signs with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_certificates(
    folder: Path,
    names: Sequence[str],
    hosts: Sequence[str] = (),
    days: float = 365.0,
    now: datetime | None = None,
) -> list[Path]:
    """Write ``NAME.crt`` and ``NAME.key`` for each node, and what they need: the files that were written.

    An authority (``ca``) that is in the folder already signs the new ones, too, so that nodes can be added.
    The exchange's certificate (``server``) is made with the authority, for ``localhost`` and ``hosts``.

    Raises:
        ConfigError: a name that no node can have, or that has a certificate already; a folder that cannot be
            written to, or whose authority cannot be read.
    """
    for name in names:
        if check_name(name) in (AUTHORITY, SERVER):
            raise ConfigError(f"no node can be called {name!r}: its files would be those of the {name}")
        if (folder / f"{name}.crt").exists():
            raise ConfigError(f"{folder / name}.crt is there already: delete it to make {name} another one")
    span = (now or datetime.now(UTC)) - _SKEW, (now or datetime.now(UTC)) + timedelta(days=days)
    if (folder / f"{AUTHORITY}.key").exists():
        if hosts:
            raise ConfigError(f"{folder} has a server's certificate already: --hosts is for a new folder")
        issuer, written = _read_issuer(folder), []
    else:
        issuer = _make_issuer(span)
        written = _write(folder, AUTHORITY, issuer.certificate, issuer.key)
        written += _issue(folder, SERVER, issuer, span, ["localhost", "127.0.0.1", "::1", *hosts])
    for name in names:
        written += _issue(folder, name, issuer, span)
    return written


Span = tuple[datetime, datetime]


def _make_issuer(span: Span) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("fedbits trial authority")
    builder = _builder(name, name, key.public_key(), span)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Issuer(builder.sign(key, hashes.SHA256()), key)


def _read_issuer(folder: Path) -> Issuer:
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{AUTHORITY}.key").read_bytes(), None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the authority in {folder} cannot be read: take another folder") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"the authority in {folder} was not made by fedbits: take another folder")
    return Issuer(certificate, key)


def _issue(folder: Path, name: str, issuer: Issuer, span: Span, hosts: Sequence[str] = ()) -> list[Path]:
    """A certificate for a server on ``hosts``, or without them for a node."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_named(name), issuer.certificate.subject, key.public_key(), span)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    alternatives = [_alternative(host) for host in hosts] or [x509.DNSName(name)]
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([purpose]), False),
        (x509.SubjectAlternativeName(alternatives), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical)
    return _write(folder, name, builder.sign(issuer.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, span: Span
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(span[0]).not_valid_after(max(span[1], span[0] + _SHORTEST))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> list[Path]:
    paths = [folder / f"{name}.key", folder / f"{name}.crt"]
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(paths[0], secret)
    write_atomic(paths[1], certificate.public_bytes(serialization.Encoding.PEM))
    return paths


def write_secret(path: Path, data: bytes) -> None:
    """Write a key, for its owner alone from the first byte on; errors are those of :func:`write_atomic`."""
    before = os.umask(0o077)
    try:
        write_atomic(path, data)
    finally:
        os.umask(before)
