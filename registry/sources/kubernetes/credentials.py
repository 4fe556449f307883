"""How to reach an API server and prove who we are, renewed as tokens expire.

Which API server, and as whom, never changes here: what else is written into a kubeconfig makes other credentials, which
``registry.membership`` tries beside these before they take over.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from registry.sources.kubernetes.dialing import proxy_headers
from registry.sources.kubernetes.fields import ExecConfig
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig
from registry.sources.kubernetes.oidc import OidcTokens
from registry.sources.kubernetes.plugin import EXEC_SECONDS, PluginCredential, run_plugin
from registry.sources.kubernetes.urls import Address, UrlError, environment_proxy, proxy_address
from registry.sources.regular import YAML_BYTES, read_regular
from registry.tls import client_contexts

log = logging.getLogger(__name__)

MARGIN_SECONDS = 120.0
"""A token with less left than this is renewed: they are looked at once a minute."""

MAX_NAMED = 10
"""Unknown fields of a kubeconfig that are named in the log."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class CredentialsError(Exception):
    """There are none to be had. The text names the file and the mend."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs. ``tls`` is the same object as long as the certificates are the same.

    It has more than one context where the first may not find a chain that is there (``registry.tls``).
    ``headers`` go with every request, besides ``authorization``.
    """

    server: str
    tls: tuple[ssl.SSLContext, ...]
    authorization: str | None = None
    proxy: Address | None = None
    server_name: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


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
    about to expire, or was rejected. As in client-go, a plugin is asked only if the kubeconfig has no other proof.
    """

    def __init__(
        self,
        kubeconfig: Kubeconfig,
        origin: str,
        *,
        exec_seconds: float = EXEC_SECONDS,
        clock: Callable[[], float] = time.time,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._origin = origin
        self._seconds = exec_seconds
        self._clock = clock
        self._environment = os.environ if environment is None else environment
        self._tls = _Tls()
        self._user = kubeconfig.user_section()
        self._asking = asyncio.Lock()
        self._oidc: OidcTokens | None = None
        self._printed: PluginCredential | None = None
        self._file_was_read = False
        if kubeconfig.ignored:
            named = ", ".join(kubeconfig.ignored[:MAX_NAMED])
            log.warning("%s: %d unknown fields are ignored: %s", origin, len(kubeconfig.ignored), named)

    async def access(self) -> Access:
        kubeconfig = self._kubeconfig
        try:
            async with self._asking:
                authorization, certificate, key = await self._proof()
                tls = await self._tls.contexts(kubeconfig.ca, certificate, key, kubeconfig.verify)
            if authorization and not authorization.isprintable():
                raise ValueError("the token has a line end or another control character in it")  # noqa: TRY301
            proxy = self._proxy()
            return Access(
                server=kubeconfig.server,
                tls=tls,
                authorization=authorization,
                proxy=proxy,
                server_name=kubeconfig.server_name and kubeconfig.server_name.rstrip("."),
                headers=self._headers(proxy),
            )
        except Exception as error:
            place = "environment" if isinstance(error, UrlError) else "kubeconfig"
            raise CredentialsError(f"{self._origin}: {self._said(error)}; mend the {place}") from error

    def rejected(self) -> None:
        self._printed = None
        if self._oidc is not None:
            self._oidc.rejected()

    def _headers(self, proxy: Address | None) -> tuple[tuple[str, str], ...]:
        """Those of every request: whom we impersonate, and what a proxy of plain HTTP wants to know."""
        kubeconfig = self._kubeconfig
        headers = kubeconfig.headers
        if not kubeconfig.compress:
            headers += (("Accept-Encoding", "identity"),)
        if proxy is not None and proxy.scheme.startswith("http") and kubeconfig.server.startswith("http://"):
            headers += proxy_headers(proxy)
        return headers

    def _proxy(self) -> Address | None:
        kubeconfig = self._kubeconfig
        if kubeconfig.proxy:
            return proxy_address(kubeconfig.proxy)
        return environment_proxy(kubeconfig.server, self._environment)

    async def _proof(self) -> tuple[str | None, bytes, bytes]:
        """The header ``Authorization``, and a client certificate with its key."""
        user = self._user
        held = self._kubeconfig.certificate, self._kubeconfig.key
        if user.username:
            pair = f"{user.username}:{user.password or ''}"
            return f"Basic {b64encode(pair.encode()).decode()}", *held
        if user.token or user.token_file:
            return f"Bearer {await asyncio.to_thread(self._token)}", *held
        if user.exec is not None and not held[0]:
            printed = await self._ask_plugin(user.exec)
            if printed.client_certificate_data and printed.client_key_data:
                held = printed.client_certificate_data.encode(), printed.client_key_data.encode()
            return (f"Bearer {printed.token.strip()}" if printed.token else None), *held
        if user.auth_provider is not None:
            if self._oidc is None:
                settings = user.auth_provider.config or {}
                self._oidc = OidcTokens(settings, self._clock, MARGIN_SECONDS, self._environment)
            async with asyncio.timeout(self._seconds):
                return f"Bearer {await self._oidc.token()}", *held
        return None, *held

    def _token(self) -> str:
        """The token in the file; before it could ever be read, the one in the kubeconfig will do."""
        inline = (self._user.token or "").strip()
        if not self._user.token_file:
            return inline
        try:
            token = _token_of(Path(self._user.token_file))
        except (OSError, ValueError):
            if inline and not self._file_was_read:
                return inline
            raise
        self._file_was_read = True
        return token

    async def _ask_plugin(self, plugin: ExecConfig) -> PluginCredential:
        printed = self._printed
        if printed is None or self._expires(printed) - self._clock() < MARGIN_SECONDS:
            printed = await run_plugin(plugin, self._about_cluster(), self._kubeconfig.folder, self._seconds)
            self._printed = printed
        return printed

    def _about_cluster(self) -> dict[str, Any]:
        """``spec.cluster`` of client.authentication.k8s.io: what is empty is left out, but for ``config``."""
        kubeconfig = self._kubeconfig
        about = {
            "server": kubeconfig.server,
            "tls-server-name": kubeconfig.server_name,
            "insecure-skip-tls-verify": not kubeconfig.verify,
            "certificate-authority-data": b64encode(kubeconfig.ca).decode(),
            "proxy-url": kubeconfig.proxy,
            "disable-compression": not kubeconfig.compress,
        }
        return {key: value for key, value in about.items() if value} | {"config": json.loads(kubeconfig.plugin_config)}

    @staticmethod
    def _expires(printed: PluginCredential) -> float:
        """When it does, in seconds of the epoch. Without a word of it: never, until it is rejected."""
        text = printed.expiration_timestamp
        return datetime.fromisoformat(text).timestamp() if text else float("inf")

    def _said(self, error: Exception) -> str:
        """The error in one line."""
        if isinstance(error, TimeoutError):
            return f"no token within {self._seconds:g} s"
        return _one_line(error)


class InClusterCredentials:
    """Those of the Pod this program runs in: its ServiceAccount's token, which is renewed, and the cluster's CA."""

    def __init__(self, folder: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = os.environ if environment is None else environment
        self._tls = _Tls()

    async def access(self) -> Access:
        try:
            server = self._server()
            token, authority = await asyncio.to_thread(self._read)
            return Access(
                server=server,
                tls=await self._tls.contexts(authority, b"", b"", verify=True),
                authorization=f"Bearer {token}",
                proxy=environment_proxy(server, self._environment),
            )
        except (OSError, ValueError) as error:
            mend = "run in a Pod with a ServiceAccount, or name a kubeconfig"
            raise CredentialsError(f"in-cluster credentials: {_one_line(error)}; {mend}") from error

    def rejected(self) -> None:
        """Nothing is kept that could be given out again."""

    def _server(self) -> str:
        host, port = (self._environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not host or not port:
            raise ValueError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def _read(self) -> tuple[str, bytes]:
        authority = read_regular(self._folder / "ca.crt")
        if not authority:
            raise ValueError(f"{self._folder / 'ca.crt'}: empty")
        return _token_of(self._folder / "token"), authority


class _Tls:
    """Makes SSL contexts when what they are made from has changed, not else: connections are kept per context."""

    def __init__(self) -> None:
        self._made_from: tuple[object, ...] = ()
        self._contexts: tuple[ssl.SSLContext, ...] = ()

    async def contexts(
        self, authority: bytes, certificate: bytes, key: bytes, verify: bool
    ) -> tuple[ssl.SSLContext, ...]:
        made_from = (authority, certificate, key, verify)
        found = self._contexts
        if not found or made_from != self._made_from:
            found = await asyncio.to_thread(client_contexts, authority, certificate, key, verify=verify)
            self._contexts, self._made_from = found, made_from
        return found


def _token_of(file: Path) -> str:
    """The token in the file.

    Raises:
        ValueError: it has none in one line.
        OSError: it cannot be read.
    """
    token = read_regular(file).decode(errors="replace").strip()
    if not token.isascii() or not token.isprintable():
        raise ValueError(f"{file}: not a token in one line")
    if not token:
        raise ValueError(f"{file}: empty")
    return token


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def surroundings(folder: Path) -> Surroundings:
    """Those of a kubeconfig in ``folder`` whose writer may use this machine."""
    return Surroundings(
        read=lambda name: read_regular(folder / name), absolute=lambda name: str(folder / name), folder=str(folder)
    )


def load_kubeconfig(path: Path, context: str | None = None) -> Kubeconfig:
    """The kubeconfig at ``path`` as it is now, with the files it names. Blocks on the disk.

    Raises:
        KubeconfigError: it cannot be read, or used.
    """
    try:
        content = read_regular(path, YAML_BYTES)
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error.strerror}; mend the file") from error
    try:
        return read_kubeconfig(content, context, surroundings(path.parent.absolute()))
    except KubeconfigError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error}; mend the file") from error
