"""How to reach an API server and prove who we are, read anew as files and tokens change."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import load_incluster_config
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

PLUGIN_SECONDS = 30.0
"""How long an exec plugin or an identity provider may take for a token."""


class CredentialsError(Exception):
    """There are none to be had. The text names the file and the mend."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs. ``tls`` is the same object as long as the certificates are the same."""

    server: str
    tls: ssl.SSLContext
    authorization: str | None = None
    proxy: str | None = None
    server_name: str | None = None


class Credentials(Protocol):
    """Where access comes from. What it is made from is read anew each time."""

    async def access(self) -> Access:
        """The access as it is now.

        Raises:
            CredentialsError: it cannot be had.
        """

    def rejected(self) -> None:
        """The API server did not take the last one: a token that still looks good must not be given out again."""


class KubeconfigCredentials:
    """Those of ``context`` of the kubeconfig at ``path``, by default of its current context.

    The file is read anew each time, and so is what it refers to: certificates, a token's file. An exec plugin is asked
    again when its token is about to expire, or was rejected.
    """

    def __init__(self, path: Path, context: str | None = None) -> None:
        self._path = path
        self._context = context
        self._tls = _Tls()
        self._content = b""
        self._loader: KubeConfigLoader | None = None

    async def access(self) -> Access:
        try:
            content = self._path.read_bytes()
            if self._loader is None or content != self._content:
                self._loader = self._read(content)
                self._content = content
            configuration = Configuration()
            async with asyncio.timeout(PLUGIN_SECONDS):
                await self._loader.load_and_set(configuration)
            return _access(configuration, self._tls)
        except Exception as error:
            raise CredentialsError(f"kubeconfig {self._path}: {_said(error)}; mend the file") from error

    def rejected(self) -> None:
        if self._loader is not None and hasattr(self._loader, "exec_plugin_expiry"):
            del self._loader.exec_plugin_expiry

    def _read(self, content: bytes) -> KubeConfigLoader:
        document: Any = yaml.safe_load(content)
        if not isinstance(document, dict):
            raise TypeError("not a kubeconfig: expected a mapping with clusters, contexts and users")
        loader = KubeConfigLoader(document, self._context, config_base_path=str(self._path.parent))
        user = (loader.current_context or {})["context"].get("user")
        if not any(each["name"] == user for each in document.get("users") or ()):
            raise ValueError(f"the context's user {user!r} is not among the users")
        return loader


class InClusterCredentials:
    """Those of the Pod this program runs in: its ServiceAccount's token, which is renewed, and the cluster's CA."""

    def __init__(self) -> None:
        self._tls = _Tls()

    async def access(self) -> Access:
        configuration = Configuration()
        try:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            return _access(configuration, self._tls)
        except Exception as error:
            text = f"in-cluster credentials: {_said(error)}; run in a Pod with a ServiceAccount, or name a kubeconfig"
            raise CredentialsError(text) from error

    def rejected(self) -> None:
        """Nothing is kept that could be given out again."""


class _Tls:
    """Makes an SSL context when the files it is made from have changed, not else: connections are kept per context."""

    def __init__(self) -> None:
        self._made_from: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self, configuration: Configuration) -> ssl.SSLContext:
        files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        made_from = (configuration.verify_ssl, *(Path(file).read_bytes() if file else b"" for file in files))
        if self._context is None or made_from != self._made_from:
            self._context = _ssl_context(configuration)
            self._made_from = made_from
        return self._context


def _ssl_context(configuration: Configuration) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    except ssl.SSLError as error:
        raise ValueError(f"certificate-authority: not a certificate in PEM ({_said(error)})") from error
    if configuration.cert_file:
        try:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        except ssl.SSLError as error:
            raise ValueError(f"client-certificate and client-key: not a pair in PEM ({_said(error)})") from error
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _access(configuration: Configuration, tls: _Tls) -> Access:
    server = configuration.host or ""
    if not server.startswith(("https://", "http://")):
        raise ValueError(f"server: expected a URL such as https://10.0.0.1:6443, got {server!r}")
    token: str | None = configuration.api_key.get("BearerToken")
    return Access(
        server=server,
        tls=tls.context(configuration),
        authorization=token.strip() if token else None,
        proxy=configuration.proxy,
        server_name=configuration.tls_server_name,
    )


def _said(error: Exception) -> str:
    """The error in one line."""
    if isinstance(error, TimeoutError):
        return f"the exec plugin or identity provider gave no token within {PLUGIN_SECONDS:.0f} s"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
