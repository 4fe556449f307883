"""TLS contexts for every client and server of this program: they accept the chains that Go's crypto/x509 accepts.

A cluster's certificates are made for Go programs, so Go is the measure. ``ssl.create_default_context`` differs from it,
and from one Python to the next: since 3.13 it refuses certificates without key identifiers (``VERIFY_X509_STRICT``).
So all that matters is set here:

- Every certificate of the bundle is a trust anchor: a root, an intermediate or the server's own certificate.
- A block of the bundle that is no certificate is skipped, as ``x509.CertPool.AppendCertsFromPEM`` does.
- A server is known by its subject alternative names, never by its common name.
"""

from __future__ import annotations

import binascii
import re
import ssl
import tempfile
from base64 import b64decode
from pathlib import Path

_BLOCK = re.compile(
    rb"^-----BEGIN CERTIFICATE-----[ \t\r]*\n([A-Za-z0-9+/=\s]*)^-----END CERTIFICATE-----[ \t\r]*$", re.MULTILINE
)
"""Text between blocks, blocks of other types (``TRUSTED CERTIFICATE``, keys) and blocks with headers do not match."""


_FLAGS = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN

_KEY_IDENTIFIER, _NO_IDENTIFIER = bytes.fromhex("0603551d0e04"), bytes.fromhex("0603551d7f04")
"""How the extension subjectKeyIdentifier (2.5.29.14, not critical) begins in DER, and one that means nothing."""

_CERT_SIGNATURE_FAILURE = 7
"""``X509_V_ERR_CERT_SIGNATURE_FAILURE`` of OpenSSL."""

MAX_BUNDLE, MAX_ANCHORS = 1 << 20, 500
"""Bytes and certificates of one bundle. A system's own has some 150 in 250 KB; 500 take a second to load."""

MAX_NAMESAKES = 8
"""Authorities of one name that are tried in turn."""


class TlsError(ValueError):
    """The certificates or the key cannot be used; of ``anchors`` and what asks it, the text lacks its subject."""


def anchors(bundle: bytes) -> list[bytes]:
    """The certificates of a PEM bundle in DER, each once, without what cannot be read.

    Raises:
        TlsError: there is none, or too many.
    """
    if len(bundle) > MAX_BUNDLE:
        raise TlsError(f"has {len(bundle)} bytes, more than {MAX_BUNDLE}; keep the authorities that are needed")
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found: dict[bytes, None] = {}
    for block in _BLOCK.finditer(bundle):
        try:
            certificate = b64decode(b"".join(block[1].split()), validate=True)
            scratch.load_verify_locations(cadata=certificate)
        except (binascii.Error, ssl.SSLError, ValueError):
            continue
        found[certificate] = None
        if len(found) > MAX_ANCHORS:
            raise TlsError(f"has more than {MAX_ANCHORS} certificates; keep the authorities that are needed")
    if not found:
        raise TlsError("has no certificate in PEM")
    return list(found)


def readable(bundle: bytes) -> bytes:
    """The bundle in PEM with nothing but certificates, for libraries that stop at anything else (gRPC).

    Raises:
        TlsError: there is none.
    """
    return "".join(map(ssl.DER_cert_to_PEM_cert, anchors(bundle))).encode()


def client_contexts(
    authority: bytes = b"", certificate: bytes = b"", key: bytes = b"", *, verify: bool = True
) -> tuple[ssl.SSLContext, ...]:
    """Contexts of a client that trusts ``authority`` (PEM; empty: the system's) and may show a certificate itself.

    It takes some 0.1 s for 50 authorities: call it in a thread.
    There is one, unless authorities have one name, as after a rotation: where certificates have no key identifiers,
    OpenSSL takes the first of them for the issuer and looks no further. Go tries each, so a client tries each context.

    Raises:
        TlsError: what is given is not in PEM, or the key is not that of the certificate.
    """
    trusted: list[list[bytes]] = [[]]
    if verify and authority:
        try:
            trusted = [_trusted(each) for each in _arrangements(anchors(authority))]
        except TlsError as error:
            raise TlsError(f"certificate-authority {error}") from error
    contexts = tuple(_client_context(each, verify) for each in trusted)
    if certificate:
        # OpenSSL takes them from a file only: one that is ours alone and gone before anything else happens.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            for context in contexts:
                _identify(context, Path(file.name), None, "client-certificate and client-key")
    return contexts


def may_have_another_chain(error: Exception) -> bool:
    """The handshake failed because the authority that was taken for the issuer is not: try the next context."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _CERT_SIGNATURE_FAILURE


def client_context(authority: bytes = b"") -> ssl.SSLContext:
    """The first of ``client_contexts``."""
    return client_contexts(authority)[0]


def _client_context(trusted: list[bytes], verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags = _FLAGS
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trusted:
        _trust(context, trusted)
    else:
        context.load_default_certs()
    return context


def _trust(context: ssl.SSLContext, certificates: list[bytes]) -> None:
    """One at a time: Python has no other thread run meanwhile."""
    for each in certificates:
        context.load_verify_locations(cadata=each)


def _trusted(certificates: list[bytes]) -> list[bytes]:
    """What OpenSSL is given to trust ``certificates``: each as it is, and each without its key identifier.

    OpenSSL passes over an issuer whose identifier is not the one that the issued certificate names, as after an
    authority was made anew with its old key. Go goes by name and key. A trusted certificate's signature is not checked.
    """
    nameless = {each.replace(_KEY_IDENTIFIER, _NO_IDENTIFIER, 1): None for each in certificates}
    return list(dict.fromkeys([*certificates, *nameless]))


def _arrangements(certificates: list[bytes]) -> list[list[bytes]]:
    """All of them; and where some have one name, lists in which each name is there once."""
    if len(certificates) == 1:
        return [certificates]
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(scratch, certificates)
    named: dict[object, list[bytes]] = {}
    for about, certificate in zip(scratch.get_ca_certs(), scratch.get_ca_certs(binary_form=True), strict=True):
        named.setdefault(about["subject"], []).append(certificate)
    most = min(max(map(len, named.values()), default=1), MAX_NAMESAKES)
    if most == 1:
        return [certificates]
    turns = ([same[turn % len(same)] for same in named.values()] for turn in range(most))
    return [certificates, *turns]


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """The context of a server with the certificate, which may have its chain behind it.

    Raises:
        TlsError: it is not in PEM, or the key is not that of the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _identify(context, certificate, key, f"{certificate} and {key}")
    return context


def require_certificate(context: ssl.SSLContext, authority: bytes) -> None:
    """Let only clients in that show a certificate of ``authority`` (PEM).

    Raises:
        TlsError: that is no authority.
    """
    _trust(context, _trusted(anchors(authority)))
    context.verify_flags = _FLAGS
    context.verify_mode = ssl.CERT_REQUIRED


def _identify(context: ssl.SSLContext, certificate: Path, key: Path | None, name: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"{name} are no certificate and its key in PEM: {error}") from error


def _no_passphrase() -> str:
    """OpenSSL would ask at the terminal for the passphrase of an encrypted key, and hold up everything."""
    raise ValueError("the key is encrypted: give one without a passphrase")
