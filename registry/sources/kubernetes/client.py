"""HTTP to one API server: authentication and TLS as its credentials say, bodies as bytes."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from registry.sources.kubernetes.bounds import ANSWER_BYTES
from registry.sources.kubernetes.conditions import Reason, named
from registry.sources.kubernetes.credentials import (
    Access,
    Credentials,
    CredentialsError,
    InClusterCredentials,
    KubeconfigCredentials,
    load_kubeconfig,
)
from registry.sources.kubernetes.dialing import connector as connector_through
from registry.sources.kubernetes.dialing import kept_alive_socket, through
from registry.sources.kubernetes.heads import HeadError
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError
from registry.sources.kubernetes.plugin import EXEC_SECONDS
from registry.tls import may_have_another_chain

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""How long the head of an answer may take, and the whole of one that is no stream."""

STALLED_SECONDS = 10.0
"""How long nothing may come of a body that has begun and is no stream: an API server writes it in one go."""

CREDENTIALS_SECONDS = 60.0
"""How long credentials are used before they are looked at again."""

REJECTED_CREDENTIALS_SECONDS = 5.0
"""The same, when the API server rejects them."""

SLICE_BYTES = 1 << 18
"""After so many bytes of a body, however small they were on the wire, the loop has its turn."""

ENCODINGS = "gzip"
"""Named, so that it does not depend on the libraries that are installed; an API server has no other."""

READ_BUFFER_BYTES = 1 << 17
"""Half of what waits to be read at most. Larger pieces come no faster, and leave holes in memory."""


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
        content = self._response.content
        while True:
            with _answers_fault():
                chunk = await content.readany()
            if not chunk:
                return
            yield chunk

    async def read(self) -> bytes:
        """The rest of the body, of an answer that turned out to be no stream."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _body(self._response, ANSWER_BYTES)


class KubernetesClient:
    """Requests to one API server. Made by ``connect`` or ``from_kubeconfig``; ``close`` when done.

    Credentials are looked at again from time to time, and when the API server rejects them. While that fails, those
    that are held are used on.
    """

    def __init__(self, credentials: Credentials, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        """``access`` is what ``credentials`` gave just now."""
        self._credentials = credentials
        self._access = access
        self._clock = clock
        self._loaded_at = self._clock()
        self._rejected = False
        self._trouble = ""
        """Why the credentials could not be renewed, empty when they could."""
        self._renewal = asyncio.Lock()
        self._tls: ssl.SSLContext | None = None
        """The one of the access that found a chain of certificates last."""
        self._session = aiohttp.ClientSession(
            connector=connector_through(access.proxy, limit=0, socket_factory=kept_alive_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": ENCODINGS},
            read_bufsize=READ_BUFFER_BYTES,
        )

    @classmethod
    async def connect(cls, credentials: Credentials) -> KubernetesClient:
        """A client with these credentials, which other clients may have too.

        Raises:
            TransportError: they cannot be had.
        """
        try:
            return cls(credentials, await credentials.access())
        except CredentialsError as error:
            raise TransportError(Reason.KUBECONFIG_INVALID, str(error)) from error

    @classmethod
    async def from_kubeconfig(
        cls, path: Path, context: str | None = None, exec_seconds: float = EXEC_SECONDS
    ) -> KubernetesClient:
        """A client for ``context`` of the kubeconfig at ``path`` as it is now, by default its current context.

        Raises:
            TransportError: the file, what it refers to, or the credentials it names cannot be had.
        """
        try:
            kubeconfig = await asyncio.to_thread(load_kubeconfig, path, context)
        except KubeconfigError as error:
            raise TransportError(Reason.KUBECONFIG_INVALID, str(error)) from error
        credentials = KubeconfigCredentials(kubeconfig, f"kubeconfig {path}", exec_seconds=exec_seconds)
        return await cls.connect(credentials)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._access.server

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float = ANSWER_SECONDS,
        most: int = ANSWER_BYTES,
        began: Callable[[], None] | None = None,
    ) -> ApiResponse:
        """One request and its whole answer within ``timeout`` seconds; ``began`` is called when it begins to come.

        Raises:
            TransportError: no answer came, or not all of it, or more than ``most`` bytes (``LIMIT_EXCEEDED``).
        """
        limits = aiohttp.ClientTimeout(total=timeout, connect=CONNECT_SECONDS)
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        async with self._exchange(method, path, query, limits, headers, body) as response:
            if began is not None:
                began()
            return ApiResponse(response.status, response.headers, await _body(response, most))

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AsyncIterator[ApiStream]:
        """GET whose body is read as it comes; it fails after ``silence`` seconds without a byte.

        Raises:
            TransportError: the connection could not be made or broke, inside the context too.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=silence)
        async with self._exchange("GET", path, query, limits, {"Accept": "application/json"}, None) as response:
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
        headers: dict[str, str],
        body: bytes | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        access = await self._current_access()
        headers = headers | {"User-Agent": "mesh-registry"}
        if access.authorization:
            headers["Authorization"] = access.authorization
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                with _answers_fault():
                    response = await self._trying_each_context(
                        access,
                        method,
                        f"{access.server}{path}",
                        params=query,
                        data=body,
                        headers=[*headers.items(), *access.headers],
                        timeout=timeout,
                        allow_redirects=False,
                        server_hostname=access.server_name,
                        **through(access.proxy),
                    )
            async with response:
                if response.status == HTTPStatus.UNAUTHORIZED:
                    self._reject(access)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _transport_error(access, error) from error

    async def _trying_each_context(self, access: Access, *request: str, **options: Any) -> aiohttp.ClientResponse:
        """The answer, with the first TLS context that finds a chain of certificates."""
        contexts = [each for each in access.tls if each is self._tls] or access.tls
        for last, context in zip((*(False for _ in contexts[1:]), True), contexts, strict=True):
            try:
                response = await self._session.request(*request, ssl=context, **options)
            except aiohttp.ClientConnectorCertificateError as error:
                if last or not may_have_another_chain(error.certificate_error):
                    self._tls = None
                    raise
            else:
                self._tls = context
                return response
        raise AssertionError("there is a context")

    def _reject(self, access: Access) -> None:
        """The API server answered 401.

        Raises:
            TransportError: and it is known why: the credentials could not be renewed.
        """
        if access is self._access:
            self._rejected = True
            self._credentials.rejected()
        if self._trouble:
            raise TransportError(Reason.KUBECONFIG_INVALID, f"{access.server}: 401 Unauthorized, and {self._trouble}")

    async def _current_access(self) -> Access:
        async with self._renewal:
            age = self._clock() - self._loaded_at
            if age >= (REJECTED_CREDENTIALS_SECONDS if self._rejected else CREDENTIALS_SECONDS):
                try:
                    self._access = await self._credentials.access()
                    self._trouble = ""
                except CredentialsError as error:
                    if str(error) != self._trouble:
                        log.warning("%s: credentials cannot be renewed, using the old ones: %s", self.server, error)
                    self._trouble = str(error)
                self._loaded_at = self._clock()
                self._rejected = False
            return self._access


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    pieces: list[bytes] = []
    size = turn = 0
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(STALLED_SECONDS) as limit:
        while True:
            with _answers_fault():
                piece = await response.content.readany()
            if not piece:
                return b"".join(pieces)
            limit.reschedule(loop.time() + STALLED_SECONDS)
            size += len(piece)
            turn += len(piece)
            if size > most:
                text = f"{response.url.path}: an answer of more than {most} bytes"
                raise TransportError(Reason.LIMIT_EXCEEDED, text)
            pieces.append(piece)
            if turn >= SLICE_BYTES:
                turn = 0
                await asyncio.sleep(0)


_UNFORESEEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
)


@contextmanager
def _answers_fault() -> Iterator[None]:
    """Whatever aiohttp raises while it reads is the answer's fault: it never meant to, but no answer is expected."""
    try:
        yield
    except (aiohttp.ClientError, OSError):  # some of them are a ValueError too
        raise
    except _UNFORESEEN as error:
        raise aiohttp.ClientPayloadError(type(error).__name__) from error


def connector(
    kubeconfig: Kubeconfig | None, origin: str, exec_seconds: float = EXEC_SECONDS
) -> Callable[[], Awaitable[KubernetesClient]]:
    """What makes clients for the kubeconfig, or for the cluster this program runs in. They share their credentials."""
    credentials: Credentials
    if kubeconfig is None:
        credentials = InClusterCredentials()
    else:
        credentials = KubeconfigCredentials(kubeconfig, origin, exec_seconds=exec_seconds)
    return partial(KubernetesClient.connect, credentials)


def _transport_error(access: Access, error: Exception) -> TransportError:
    cause = _tls_error(error)
    server = f"{access.server} through {access.proxy.url}" if access.proxy else access.server
    if cause is not None and _about_certificates(cause):
        text = getattr(cause, "verify_message", "") or cause.reason or str(cause)
        mend = "check the certificates of the kubeconfig against the server's"
        return TransportError(Reason.CERTIFICATE_REFUSED, f"{server}: {text}; {mend}")
    if isinstance(error, TimeoutError):
        return TransportError(Reason.TIMEOUT, f"{server}: no answer in time")
    if cause is not None:
        return TransportError(Reason.UNREACHABLE, f"{server}: no TLS: {cause.reason or cause}")
    return TransportError(*_without_tls(error, server))


def _without_tls(error: Exception, server: str) -> tuple[Reason, str]:
    """What a failure is that TLS has nothing to do with. aiohttp's own texts may have bytes of the answer."""
    reason = Reason.UNREACHABLE
    if isinstance(error, aiohttp.ClientHttpProxyError):
        text = f"the proxy answered {named(error.status)}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error.os_error)
        whose = "the proxy's address" if isinstance(error, aiohttp.ClientProxyConnectionError) else "the address"
        text = f"{text}; is {whose} right?"
    elif isinstance(error, HeadError):
        reason, text = Reason.BAD_RESPONSE, f"{error}; is this the API server?"
    elif isinstance(error, aiohttp.ClientPayloadError):
        text = "a body that ends early, or is not encoded as its headers say"
    elif isinstance(error, aiohttp.ClientResponseError):
        reason, text = Reason.BAD_RESPONSE, "no HTTP answer; is this the API server?"
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        text = "Server disconnected"
    elif isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
    else:
        text = type(error).__name__
    return reason, f"{server}: {text}"


def _tls_error(error: Exception) -> ssl.SSLError | None:
    """The TLS error that ``error`` wraps or is; the wrapped one says more."""
    wrapped = (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__)
    for each in (*wrapped, error):
        if isinstance(each, ssl.SSLError):
            return each
    return None


def _about_certificates(error: ssl.SSLError) -> bool:
    """Ours did not accept the server's, or the server said so in an alert (RFC 8446 section 6.2)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return any(word in (error.reason or "") for word in ("CERTIFICATE", "UNKNOWN_CA"))
