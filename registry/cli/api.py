"""The commands' side of the registry's HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from registry.config import Address
from registry.errors import RegistryError, ServerUnavailableError

TIMEOUT_SECONDS = 30


def fetch(server: Address, path: str) -> dict[str, Any]:
    """The JSON object at ``path`` of the registry whose HTTP address is ``server``.

    Raises:
        ServerUnavailableError: nothing answers there, or what answers is no registry.
        RegistryError: the registry answered with an error; its text is passed on.
    """
    return asyncio.run(_exchange("GET", f"http://{server}{path}"))


def post(server: Address, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that the registry answers to ``body``.

    Raises:
        ServerUnavailableError, RegistryError: as of ``fetch``.
    """
    return asyncio.run(_exchange("POST", f"http://{server}{path}", body))


async def _exchange(method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, json=body) as response,
        ):
            document = await response.json()
            if response.status == HTTPStatus.OK and isinstance(document, dict):
                return document
            if isinstance(document, dict) and "error" in document:
                raise RegistryError(document["error"])
            raise ServerUnavailableError(f"{url} answered {response.status}, not as a registry does: check --server")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ServerUnavailableError(
            f"no registry answers at {url} ({reason}): start one with `mesh-registry serve`, or name it with --server"
        ) from error
