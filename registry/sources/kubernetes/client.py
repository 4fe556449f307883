"""HTTP to one API server: authentication and TLS as the kubeconfig says, bodies as bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

from registry.sources.kubernetes.conditions import Reason

CONNECT_SECONDS = 10.0
CREDENTIALS_SECONDS = 60.0
"""How long credentials are used before they are looked at again; a token that expires sooner is renewed then."""

READ_BUFFER_BYTES = 1 << 20


class TransportError(Exception):
    """No HTTP status came back. ``reason`` says what kind of failure it was, ``str()`` the rest."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiStream:
    """An answer whose body is still coming."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, in pieces of any size."""
        async for chunk in self._response.content.iter_any():
            yield chunk

    async def read(self) -> bytes:
        """The rest of the body."""
        return await self._response.read()


class KubernetesClient:
    """Requests to one API server. Made by ``from_kubeconfig`` or ``in_cluster``; ``close`` when done."""

    def __init__(self, configuration: Configuration, reload: Callable[[], object] | None = None) -> None:
        """``reload`` renews the credentials in ``configuration``; it may be a coroutine function."""
        self.server: str = configuration.host or ""
        self._configuration = configuration
        self._reload = reload
        self._loaded_at = asyncio.get_running_loop().time()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=_ssl_context(configuration)), read_bufsize=READ_BUFFER_BYTES
        )

    @classmethod
    async def from_kubeconfig(cls, path: Path, context: str | None = None) -> KubernetesClient:
        """A client for ``context`` of the kubeconfig at ``path``, by default its current context.

        Raises:
            TransportError: the file, what it refers to, or the credentials it names cannot be had.
        """
        configuration = Configuration()
        try:
            _require_file(path)
            loader = await load_kube_config(
                str(path), context, client_configuration=configuration, persist_config=False
            )
            return cls(configuration, lambda: loader.load_and_set(configuration))
        except Exception as error:
            text = str(error) or type(error).__name__
            raise TransportError(Reason.KUBECONFIG_INVALID, f"kubeconfig {path}: {text}; mend the file") from error

    @classmethod
    async def in_cluster(cls) -> KubernetesClient:
        """A client for the cluster this program runs in, with its ServiceAccount's token, which is read anew in time.

        Raises:
            TransportError: this program does not run in a Pod with a ServiceAccount token.
        """
        configuration = Configuration()
        try:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            return cls(configuration)
        except (ConfigException, OSError, ssl.SSLError) as error:
            text = f"in-cluster credentials: {error}; run in a Pod with a ServiceAccount, or name a kubeconfig"
            raise TransportError(Reason.KUBECONFIG_INVALID, text) from error

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout: float = 60,
    ) -> ApiResponse:
        """One request and its whole answer within ``timeout`` seconds.

        Raises:
            TransportError: no answer came, or not all of it.
        """
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS)
        async with self._exchange(method, path, query, limits, body, content_type) as response:
            return ApiResponse(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AsyncIterator[ApiStream]:
        """GET whose body is read as it comes; it fails after ``silence`` seconds without a byte.

        Raises:
            TransportError: the connection could not be made or broke, inside the context too.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._exchange("GET", path, query, limits, None, "") as response:
            yield ApiStream(response)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        body: bytes | None,
        content_type: str,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": "application/json", "User-Agent": "mesh-registry"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            authorization = await self._authorization()
            if authorization:
                headers["Authorization"] = authorization
            async with self._session.request(
                method,
                f"{self.server}{path}",
                params=query,
                data=body,
                headers=headers,
                timeout=timeout,
                proxy=self._configuration.proxy,
                server_hostname=self._configuration.tls_server_name,
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _transport_error(self.server, error) from error

    async def _authorization(self) -> str | None:
        """The header's value; the credentials behind it are looked at again when they are old."""
        now = asyncio.get_running_loop().time()
        if self._reload is not None and now - self._loaded_at >= CREDENTIALS_SECONDS:
            try:
                reloaded = self._reload()
                if asyncio.iscoroutine(reloaded):
                    await reloaded
            except Exception as error:
                raise TransportError(Reason.KUBECONFIG_INVALID, f"credentials for {self.server}: {error}") from error
            self._loaded_at = now
        value: str | None = await self._configuration.get_api_key_with_prefix("BearerToken")
        return value


def _require_file(path: Path) -> None:
    """The loader takes a missing file for an empty one, and its error would not say so."""
    if not path.is_file():
        raise ConfigException("no such file")


def _ssl_context(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _transport_error(server: str, error: Exception) -> TransportError:
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return TransportError(
            Reason.CERTIFICATE_REFUSED,
            f"{server}: {text}; check the certificates in the kubeconfig against the server's",
        )
    if isinstance(error, TimeoutError):
        return TransportError(Reason.TIMEOUT, f"{server}: no answer in time ({text})")
    return TransportError(Reason.UNREACHABLE, f"{server}: {text}")
