"""TLS for a server whose certificates are renewed while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from registry.tls import TlsError, require_certificate, server_context

__all__ = ["ServerTls", "TlsError"]

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int], ...]


class ServerTls:
    """The context for the next connection. Connections that exist keep theirs.

    ``certificate`` and ``key`` are PEM files, the certificate with its chain. With ``client_ca`` a client has to show a
    certificate of that authority. When a file changes, all are read anew; while they do not fit together, as in the
    middle of a renewal, those read before are used on.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises:
        TlsError: the files cannot be used.
        """
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._stamp = self._stat()
        self._context = self._load()

    def __call__(self) -> ssl.SSLContext:
        stamp = self._stat()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._load()
                log.info("TLS: %s was read anew", self._certificate)
            except TlsError as error:
                log.warning("TLS: %s; the certificate read before is used on", error)
        return self._context

    def _load(self) -> ssl.SSLContext:
        for path in filter(None, (self._certificate, self._key, self._client_ca)):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise TlsError(f"{path}: {error.strerror}") from error
        context = server_context(self._certificate, self._key)
        if self._client_ca is not None:
            try:
                require_certificate(context, content)
            except TlsError as error:
                raise TlsError(f"{self._client_ca} {error}") from error
        context.set_alpn_protocols(["h2"])
        return context

    def _stat(self) -> Stamp:
        """What changes when a file does, also when it is replaced by a link, as Kubernetes mounts Secrets."""
        found = []
        for path in filter(None, (self._certificate, self._key, self._client_ca)):
            try:
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_ino))
            except OSError:
                found.append((0, 0))
        return tuple(found)
