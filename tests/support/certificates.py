"""Certificates for servers of the tests."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def write_certificate(folder: Path, authority: str, server: str) -> None:
    """A new CA, and a server certificate of it for 127.0.0.1 and localhost; ``.crt`` and ``.key`` of each."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{authority} {os.urandom(4).hex()}")])
    ca = _builder(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca = ca.add_extension(
        x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    signed = ca.sign(key, hashes.SHA256())
    (folder / f"{authority}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    write_key(folder / f"{authority}.key", key)
    renew_certificate(folder, authority, server)


def renew_certificate(folder: Path, authority: str, server: str) -> None:
    """A new key and server certificate of the CA that is there."""
    ca = x509.load_pem_x509_certificate((folder / f"{authority}.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / f"{authority}.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = _builder(subject, ca.subject, key.public_key()).add_extension(names, critical=False)
    signed = leaf.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())
    write_key(folder / f"{server}.key", key)
    (folder / f"{server}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """PEM, without a password."""
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
