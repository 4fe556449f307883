"""How to reach an API server and prove who we are, renewed as tokens expire.

Which API server, and as whom, never changes here: what else is written into a kubeconfig makes other credentials, which
``registry.membership`` tries beside these before they take over.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig
from registry.sources.kubernetes.library import readers
from registry.sources.kubernetes.oidc import OidcTokens
from registry.sources.kubernetes.plugin import EXEC_SECONDS, PluginConfig, PluginCredential, plugin_config, run_plugin

MARGIN_SECONDS = 120.0
"""A token with less left than this is renewed: they are looked at once a minute."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
    """Where access comes from. Several clients may share one."""

    async def access(self) -> Access:
        """The access as it is now.

        Raises:
            CredentialsError: it cannot be had.
        """

    def rejected(self) -> None:
        """The API server did not take the last one: a token that still looks good must not be given out again."""


class KubeconfigCredentials:
    """Those of a kubeconfig, which ``origin`` calls by its name.

    A token's file is read anew each time. An exec plugin and an identity provider are asked again when their token is
    about to expire, or was rejected.
    """

    def __init__(
        self,
        kubeconfig: Kubeconfig,
        origin: str,
        *,
        exec_seconds: float = EXEC_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._origin = origin
        self._seconds = exec_seconds
        self._clock = clock
        self._tls = _Tls()
        self._user = kubeconfig.user_section()
        self._asking = asyncio.Lock()
        self._oidc: OidcTokens | None = None
        self._plugin: PluginConfig | None = None
        self._printed: PluginCredential | None = None

    async def access(self) -> Access:
        kubeconfig = self._kubeconfig
        try:
            async with self._asking:
                authorization, certificate, key = await self._proof()
            return Access(
                server=kubeconfig.server,
                tls=self._tls.context(kubeconfig.ca, certificate, key, kubeconfig.verify),
                authorization=authorization,
                proxy=kubeconfig.proxy,
                server_name=kubeconfig.server_name,
            )
        except Exception as error:
            raise CredentialsError(f"{self._origin}: {self._said(error)}; mend the kubeconfig") from error

    def rejected(self) -> None:
        self._printed = None
        if self._oidc is not None:
            self._oidc.rejected()

    async def _proof(self) -> tuple[str | None, bytes, bytes]:
        """The header ``Authorization``, and a client certificate with its key."""
        held = self._kubeconfig.certificate, self._kubeconfig.key
        if "exec" in self._user:
            printed = await self._ask_plugin()
            if printed.client_certificate_data:
                held = printed.client_certificate_data.encode(), printed.client_key_data.encode()
            return (f"Bearer {printed.token}" if printed.token else None), *held
        provider = self._user.get("auth-provider") or {}
        if provider.get("name") == "oidc":
            if self._oidc is None:
                self._oidc = OidcTokens(provider.get("config") or {}, self._clock, MARGIN_SECONDS)
            async with asyncio.timeout(self._seconds):
                return f"Bearer {await self._oidc.token()}", *held
        async with asyncio.timeout(self._seconds):
            return await self._token_of_the_file(), *held

    async def _token_of_the_file(self) -> str | None:
        """A token, a token's file, a name with a password, or a provider that kubernetes-asyncio knows."""
        document = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": "http://none"}}],
            "users": [{"name": "it", "user": self._user}],
        }
        configuration = readers().Configuration()
        await readers().KubeConfigLoader(document, config_base_path="/").load_and_set(configuration)
        token: str | None = configuration.api_key.get("BearerToken")
        return token.strip() if token else None

    async def _ask_plugin(self) -> PluginCredential:
        if self._plugin is None:
            self._plugin = plugin_config(self._user["exec"])
        printed = self._printed
        if printed is None or self._expires(printed) - self._clock() < MARGIN_SECONDS:
            kubeconfig = self._kubeconfig
            about = {"server": kubeconfig.server, "insecure-skip-tls-verify": not kubeconfig.verify}
            about["certificate-authority-data"] = b64encode(kubeconfig.ca).decode()
            printed = await run_plugin(self._plugin, about, kubeconfig.folder, self._seconds)
            self._printed = printed
        return printed

    @staticmethod
    def _expires(printed: PluginCredential) -> float:
        """When it does, in seconds of the epoch. Without a word of it: never, until it is rejected."""
        text = printed.expiration_timestamp
        return datetime.fromisoformat(text).timestamp() if text else float("inf")

    def _said(self, error: Exception) -> str:
        """The error in one line."""
        if isinstance(error, TimeoutError):
            return f"no token within {self._seconds:g} s"
        if isinstance(error, OSError) and error.strerror:
            return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return " ".join(str(error).split()) or type(error).__name__


class InClusterCredentials:
    """Those of the Pod this program runs in: its ServiceAccount's token, which is renewed, and the cluster's CA."""

    def __init__(self, folder: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = environment
        self._tls = _Tls()

    async def access(self) -> Access:
        configuration = readers().Configuration()
        environment = os.environ if self._environment is None else self._environment
        try:
            readers().InClusterConfigLoader(
                token_filename=str(self._folder / "token"),
                cert_filename=str(self._folder / "ca.crt"),
                environ=dict(environment),
            ).load_and_set(configuration)
            authority = await asyncio.to_thread((self._folder / "ca.crt").read_bytes)
            return Access(
                server=str(configuration.host),
                tls=self._tls.context(authority, b"", b"", verify=True),
                authorization=str(configuration.api_key["BearerToken"]).strip(),
            )
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            text = f"in-cluster credentials: {said}; run in a Pod with a ServiceAccount, or name a kubeconfig"
            raise CredentialsError(text) from error

    def rejected(self) -> None:
        """Nothing is kept that could be given out again."""


class _Tls:
    """Makes an SSL context when what it is made from has changed, not else: connections are kept per context."""

    def __init__(self) -> None:
        self._made_from: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self, authority: bytes, certificate: bytes, key: bytes, verify: bool) -> ssl.SSLContext:
        made_from = (authority, certificate, key, verify)
        if self._context is None or made_from != self._made_from:
            self._context = _ssl_context(authority, certificate, key, verify)
            self._made_from = made_from
        return self._context


def _ssl_context(authority: bytes, certificate: bytes, key: bytes, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority.decode() or None)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"certificate-authority: not a certificate in PEM ({error})") from error
    if certificate:
        # OpenSSL takes them from a file only: one that is ours alone and gone before anything else happens.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as error:
                raise ValueError(f"client-certificate and client-key: not a pair in PEM ({error})") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def surroundings(folder: Path) -> Surroundings:
    """Those of a kubeconfig in ``folder`` whose writer may use this machine."""
    return Surroundings(
        read=lambda name: (folder / name).read_bytes(), absolute=lambda name: str(folder / name), folder=str(folder)
    )


def load_kubeconfig(path: Path, context: str | None = None) -> Kubeconfig:
    """The kubeconfig at ``path`` as it is now, with the files it names. Blocks on the disk.

    Raises:
        KubeconfigError: it cannot be read, or used.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error.strerror}; mend the file") from error
    try:
        return read_kubeconfig(content, context, surroundings(path.parent.absolute()))
    except KubeconfigError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error}; mend the file") from error
