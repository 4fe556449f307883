"""Tokens of an OpenID Connect provider, as the kubeconfig's auth-provider ``oidc`` describes it.

Sources: OpenID Connect Core 1.0 section 12 (refresh tokens), OpenID Connect Discovery 1.0 section 4, RFC 7519
(``exp``), RFC 6749 section 2.3.1.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from registry.sources.kubernetes.conditions import named
from registry.sources.kubernetes.dialing import Way, connector, through
from registry.sources.kubernetes.fields import decode_base64
from registry.sources.kubernetes.urls import environment_proxy, shown
from registry.sources.regular import read_regular
from registry.tls import TlsError, client_context

ANSWER_BYTES = 1 << 20


class OidcError(Exception):
    """There is no token to be had. The text says why."""


class OidcTokens:
    """The ID token, renewed when it has less than ``margin`` seconds left.

    A provider that gives a new refresh token with each answer is followed, in memory: the kubeconfig stays as it is.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        clock: Callable[[], float],
        margin: float,
        environment: Mapping[str, str],
    ) -> None:
        """``environment`` names the proxy, if there is one."""
        self._environment = environment
        self._settings = {key: value for key, value in settings.items() if isinstance(value, str)}
        self._clock = clock
        self._margin = margin
        self._token = self._settings.get("id-token", "")
        self._refresh = self._settings.get("refresh-token", "")
        self._rejected = False

    async def token(self) -> str:
        """One that is good for a while.

        Raises:
            OidcError: the provider gave none.
        """
        if self._rejected or not self._token or self._expires() - self._clock() < self._margin:
            await self._renew()
        return self._token

    def rejected(self) -> None:
        """The API server did not take the last one."""
        self._rejected = True

    def _expires(self) -> float:
        """When the token does, in seconds of the epoch; never, if it does not say."""
        try:
            _, payload, _ = self._token.split(".")
            claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return float(claims.get("exp", float("inf")))
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
            raise OidcError("oidc: id-token: not a JWT") from error

    async def _renew(self) -> None:
        missing = [key for key in ("idp-issuer-url", "client-id") if not self._settings.get(key)]
        if not self._refresh:
            missing.append("refresh-token")
        if missing:
            raise OidcError(f"oidc: the id-token is no good any more, and without {missing[0]} there is no other")
        issuer = self._settings["idp-issuer-url"].rstrip("/")
        try:
            tls = await asyncio.to_thread(self._tls)
            proxy = environment_proxy(issuer, self._environment)
            async with aiohttp.ClientSession(
                connector=connector(proxy, ssl=tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
            ) as session:
                asking = partial(_ask, session, through(proxy))
                found = await asking("GET", f"{issuer}/.well-known/openid-configuration")
                answer = await asking("POST", str(found.get("token_endpoint", "")), self._form())
        except (OidcError, aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            raise OidcError(f"oidc: {shown(issuer)}: {_said(error)}") from error
        token = answer.get("id_token")
        if not isinstance(token, str) or not token:
            raise OidcError(f"oidc: {shown(issuer)}: the answer has no id_token; ask for the scope openid")
        self._token = token
        self._rejected = False
        again = answer.get("refresh_token")
        if isinstance(again, str) and again:
            self._refresh = again

    def _form(self) -> dict[str, str]:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._refresh,
            "client_id": self._settings["client-id"],
        }
        if secret := self._settings.get("client-secret"):
            form["client_secret"] = secret
        return form

    def _tls(self) -> ssl.SSLContext:
        data = self._settings.get("idp-certificate-authority-data")
        file = self._settings.get("idp-certificate-authority")
        if data:
            return client_context(decode_base64(data))
        return client_context(read_regular(Path(file)) if file else b"")


async def _ask(
    session: aiohttp.ClientSession, way: Way, method: str, url: str, form: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object of the answer.

    Raises:
        OidcError, ValueError: the answer is an error, or no JSON object.
    """
    async with session.request(method, url, data=form, allow_redirects=False, **way) as response:
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > ANSWER_BYTES:
                raise OidcError(f"an answer of more than {ANSWER_BYTES} bytes")
            await asyncio.sleep(0)
        if response.status != HTTPStatus.OK:
            raise OidcError(f"{method}: {named(response.status)}")
        return msgspec.json.decode(body, type=dict[str, Any])


def _said(error: Exception) -> str:
    """What went wrong, without what the provider answered or where it sent us: both may contain secrets."""
    if isinstance(error, OidcError | TlsError):
        return str(error)
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = error.certificate_error
        return f"CERTIFICATE_VERIFY_FAILED: {getattr(why, 'verify_message', '') or type(why).__name__}"
    if isinstance(error, msgspec.MsgspecError):
        return "the answer is no JSON object"
    return type(error).__name__
