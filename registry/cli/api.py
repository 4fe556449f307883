"""The commands' side of the registry's HTTP API."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from registry.cli.probe import HTTP1, mismatch
from registry.cli.proxies import proxy_to, with_credentials
from registry.cli.server import Server
from registry.errors import RegistryError, ServerUnavailableError
from registry.model.names import ServiceKey

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
SHOWN_CHARACTERS = 200
MEND = "start one with `mesh-registry serve`, or name it with --server"
TRUST = "name the file of the authority that signed it in SSL_CERT_FILE"


def fetch(server: Server, path: str) -> dict[str, Any]:
    """The JSON object at ``path`` of the registry's HTTP port.

    Raises:
        ServerUnavailableError: nothing answers there, or what answers is no registry.
        RegistryError: the registry answered with an error; its text is passed on.
    """
    return asyncio.run(_exchange(server, "GET", path))


def post(server: Server, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that the registry answers to ``body``.

    Raises:
        ServerUnavailableError, RegistryError: as of ``fetch``.
    """
    return asyncio.run(_exchange(server, "POST", path, body))


def service_path(collection: str, service: ServiceKey) -> str:
    """The path of one service; what its names have that is no part of a path is escaped."""
    return f"/api/v1/{collection}/{quote(service.namespace, safe='')}/{quote(service.name, safe='')}"


@contextmanager
def understanding(server: Server) -> Iterator[None]:
    """While an answer is read: one that has other parts than a registry's of this version is an error of the server."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ServerUnavailableError(
            f"{server} answers with JSON that this command does not understand ({type(error).__name__}: {error}): "
            "is it a registry, and of this version? Check --server"
        ) from error


async def _exchange(server: Server, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    proxy = proxy_to(server)
    where = server.url(path) + (f" through the proxy {proxy.url}" if proxy else "")
    way = with_credentials(proxy) if proxy else None
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(method, server.url(path), json=body, proxy=way, allow_redirects=False) as response,
        ):
            return _document(where, response, await response.read())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # A server that was not understood is asked what it speaks; not through a proxy, which has answered itself.
        other = "" if proxy or isinstance(error, _NO_CONNECTION) else mismatch(server, HTTP1)
        mend = TRUST if isinstance(error, aiohttp.ClientConnectorCertificateError) else MEND
        raise ServerUnavailableError(other or f"{where}: {_reason(error)}: {mend}") from error


_NO_CONNECTION = (aiohttp.ClientConnectorDNSError, aiohttp.ConnectionTimeoutError)


def _document(where: str, response: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
    """The answer, where it is one of a registry."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if response.status == HTTPStatus.OK and isinstance(document, dict):
        return document
    if response.status != HTTPStatus.OK and isinstance(document, dict) and isinstance(document.get("error"), str):
        raise RegistryError(document["error"])
    said = f"{response.status} {response.reason or ''}".strip()
    if location := response.headers.get("Location"):
        said += f", go to {location}"
    elif text := " ".join(body[: 2 * SHOWN_CHARACTERS].decode(errors="replace").split()):
        said += f", {response.content_type}: {text[:SHOWN_CHARACTERS]}"
    raise ServerUnavailableError(f"{where} answered, but not as a registry does ({said}): check --server")


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    match error:
        case aiohttp.ClientConnectorDNSError():
            text = f"the name {error.host} does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            text = f"its certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientConnectorSSLError():
            text = f"no TLS connection ({error.os_error})"
        case aiohttp.ClientConnectorError():
            known = error.errno is not None and error.errno > 0
            text = os.strerror(error.errno or 0) if known else error.os_error.strerror or text
        case aiohttp.ClientHttpProxyError():
            text = f"the proxy answered {error.status} {error.message}"
        case aiohttp.ConnectionTimeoutError():
            text = f"no connection within {TIMEOUT.sock_connect:.0f} s"
        case TimeoutError():
            text = f"no answer, or no more of it, within {TIMEOUT.sock_read:.0f} s"
        case aiohttp.ClientPayloadError():
            text = "the answer was cut off"
        case aiohttp.ServerDisconnectedError():
            text = "the connection was closed without an answer"
        case aiohttp.ClientResponseError():
            text = "the answer is not HTTP"
    return text
