"""Certificates of any shape, and servers that show them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOCAL = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    name: str
    der: bytes
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return ssl.DER_cert_to_PEM_cert(self.der).encode()

    @property
    def key_pem(self) -> bytes:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self.key.private_bytes(*form)

    def write(self, folder: Path, name: str, chain: bytes = b"") -> tuple[Path, Path]:
        """``name.crt``, with ``chain`` behind it, and ``name.key``."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        paths[0].write_bytes(self.pem + chain)
        paths[1].write_bytes(self.key_pem)
        return paths


def authority(
    name: str = "kubernetes",
    by: Pair | None = None,
    *,
    identified: bool | bytes = False,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Pair:
    """A CA, its own or one that ``by`` signed. Without identifiers it is as old clusters have them."""
    return issue(name, by, names=(), ca=True, identified=identified, key=key)


def issue(
    name: str,
    by: Pair | None,
    names: Sequence[str] = LOCAL,
    *,
    ca: bool | None = None,
    identified: bool | bytes = False,
    key: ec.EllipticCurvePrivateKey | None = None,
    days: tuple[float, float] = (-1, 1),
    serial: int = 1,
) -> Pair:
    """A certificate for ``names`` (DNS names and addresses), self-signed without ``by``. ``serial`` is one byte.

    ``ca`` is what its basic constraints say; None: it has none. ``identified`` may be its key identifier. Without
    ``key`` it has a new one.
    """
    key, now = key or ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    signer = by.key if by else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(by.name if by else name))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if names:
        general = [x509.IPAddress(ip_address(each)) if each[-1].isdigit() else x509.DNSName(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if identified:
        of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(of_issuer, critical=False)
        digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
        own = x509.SubjectKeyIdentifier(identified if isinstance(identified, bytes) else digest)
        builder = builder.add_extension(own, critical=False)
    signed = builder.sign(signer, hashes.SHA256())
    der = signed.public_bytes(serialization.Encoding.DER)
    return Pair(name, der if serial == 1 else _with_serial(signed, signer, serial), key)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _with_serial(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, serial: int) -> bytes:
    """The certificate in DER, with a serial that the library refuses to write: zero, or one below."""
    body = certificate.tbs_certificate_bytes.replace(b"\x02\x01\x01", bytes((2, 1, serial & 0xFF)), 1)
    signature = key.sign(body, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    return _der(0x30, body + algorithm + _der(3, b"\0" + signature))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes((size,)) if size < 128 else bytes((0x82, size >> 8, size & 0xFF))
    return bytes((tag,)) + length + content


@dataclass(slots=True)
class Shown:
    """What came to a server."""

    url: str
    names: list[str | None]
    """The server name of each TLS handshake (SNI)."""

    requests: list[list[tuple[str, str]]]
    """The headers of each request."""


@asynccontextmanager
async def showing(folder: Path, pair: Pair, chain: bytes = b"", client_ca: bytes = b"") -> AsyncIterator[Shown]:
    """A server on 127.0.0.1 that answers every request with ``ok``."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pair.write(folder, "shown", chain))
    if client_ca:
        tls.load_verify_locations(cadata=client_ca.decode())
        tls.verify_mode = ssl.CERT_REQUIRED
    shown = Shown("", [], [])
    tls.sni_callback = lambda _socket, name, _context: shown.names.append(name)

    async def answer(request: web.Request) -> web.Response:
        shown.requests.append(list(request.headers.items()))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    shown.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield shown
    finally:
        await runner.cleanup()
