"""API servers behind proxies: those of kubeconfigs and those of the environment. No password is shown."""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.authorities import Shown, authority, issue, showing
from support.fake_apiserver import kubeconfig
from support.proxies import http_proxy, socks_proxy

from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.credentials import InClusterCredentials, KubeconfigCredentials
from registry.sources.kubernetes.kubeconfig import read_kubeconfig

CA = authority(identified=True)
NAME = "api.example.test"
"""Resolved by proxies alone."""


@asynccontextmanager
async def behind(folder: Path, host: str = NAME) -> AsyncIterator[tuple[str, Shown]]:
    """A server whose URL only a proxy can follow."""
    async with showing(folder, issue("server", CA, names=(NAME, "10.1.2.3"))) as shown:
        yield shown.url.replace("127.0.0.1", host), shown


async def client_of(server: str, environment: dict[str, str] | None = None, **cluster: Any) -> KubernetesClient:
    cluster.setdefault("certificate_authority_data", b64encode(CA.pem).decode())
    found = read_kubeconfig(kubeconfig(server, **cluster).encode(), None, None)
    return await KubernetesClient.connect(KubeconfigCredentials(found, "it", environment=environment or {}))


async def ask(server: str, environment: dict[str, str] | None = None, **cluster: Any) -> bytes:
    client = await client_of(server, environment, **cluster)
    try:
        for _ in range(2):
            answer = await client.request("GET", "/readyz")
        async with client.stream("/watch", {}, silence=5) as stream:
            assert await stream.read() == b"ok"
        return answer.body
    finally:
        await client.close()


async def test_http_proxy_of_a_kubeconfig(tmp_path: Path) -> None:
    async with behind(tmp_path) as (server, shown), http_proxy() as proxy:
        assert await ask(server, proxy_url=f"http://me:p%40ss@127.0.0.1:{proxy.port}") == b"ok"
        port = server.rpartition(":")[2]
        assert set(proxy.targets) == {f"CONNECT {NAME}:{port} HTTP/1.1"}
        assert set(proxy.credentials) == {f"Basic {b64encode(b'me:p@ss').decode()}"}
        assert set(shown.names) == {NAME}
        assert "Proxy-Authorization" not in {name for request in shown.requests for name, _ in request}


async def test_https_proxy_of_a_kubeconfig_is_checked_against_the_same_authority(tmp_path: Path) -> None:
    """As client-go does it."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*issue("proxy", CA).write(folder, "proxy"))
    async with behind(tmp_path) as (server, _), http_proxy(tls) as proxy:
        assert await ask(server, proxy_url=f"https://127.0.0.1:{proxy.port}") == b"ok"
        assert proxy.targets
        other = b64encode(authority().pem).decode()
        with pytest.raises(TransportError, match=rf"through https://127\.0\.0\.1:{proxy.port}"):
            await ask(server, proxy_url=f"https://127.0.0.1:{proxy.port}", certificate_authority_data=other)


@pytest.mark.parametrize("name", ["tls_server_name", None])
async def test_socks_proxy_of_a_kubeconfig(tmp_path: Path, name: str | None) -> None:
    host = "10.1.2.3" if name else NAME
    options = {name: NAME} if name else {}
    async with behind(tmp_path, host) as (server, shown), socks_proxy("p@ss") as proxy:
        url = f"socks5://me:p%40ss@127.0.0.1:{proxy.port}"
        assert await ask(server, proxy_url=url, **options) == b"ok"
        assert set(proxy.targets) == {server.removeprefix("https://")}
        assert set(proxy.credentials) == {"me:p@ss"}
        assert set(shown.names) == {NAME}
        with pytest.raises(TransportError, match="mismatch"):
            await ask(server, proxy_url=url, tls_server_name="other.test")


async def test_socks_proxy_without_credentials(tmp_path: Path) -> None:
    async with behind(tmp_path) as (server, _), socks_proxy() as proxy:
        assert await ask(server, proxy_url=f"socks5://127.0.0.1:{proxy.port}") == b"ok"


async def test_proxy_of_plain_http_gets_its_credentials_too() -> None:
    async with http_proxy() as proxy:
        proxy.refuse = "502 Bad Gateway"
        url = f"http://me:p%40ss@127.0.0.1:{proxy.port}"
        client = await client_of(f"http://{NAME}:8080", certificate_authority_data="", proxy_url=url)
        try:
            assert (await client.request("GET", "/readyz")).status == 502
        finally:
            await client.close()
        assert proxy.targets == [f"GET http://{NAME}:8080/readyz HTTP/1.1"]
        assert proxy.credentials == [f"Basic {b64encode(b'me:p@ss').decode()}"]


async def test_proxy_of_the_environment(tmp_path: Path) -> None:
    async with behind(tmp_path) as (server, _), http_proxy() as proxy, http_proxy() as other:
        environment = {"HTTPS_PROXY": f"127.0.0.1:{proxy.port}", "NO_PROXY": "example.org"}
        assert await ask(server, environment) == b"ok"
        assert len(proxy.targets) == 1, "a connection is kept"
        assert await ask(server, environment, proxy_url=f"http://127.0.0.1:{other.port}") == b"ok"
        assert (len(proxy.targets), len(other.targets)) == (1, 1)
    found = read_kubeconfig(kubeconfig(server).encode(), None, None)
    excepted = KubeconfigCredentials(found, "it", environment={**environment, "NO_PROXY": "example.test"})
    assert (await excepted.access()).proxy is None


async def test_nearby_server_needs_no_proxy_of_the_environment(tmp_path: Path) -> None:
    async with showing(tmp_path, issue("server", CA)) as shown, http_proxy() as proxy:
        assert await ask(shown.url, {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}) == b"ok"
        assert not proxy.targets
        assert await ask(shown.url, proxy_url=f"http://127.0.0.1:{proxy.port}") == b"ok"
        assert proxy.targets, "that of the kubeconfig counts for any server"


async def test_pod_takes_the_proxy_of_its_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_bytes(CA.pem)
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "HTTPS_PROXY": "p:1"}
    found = (await InClusterCredentials(tmp_path, environment).access()).proxy
    assert found is not None
    assert found.url == "http://p:1"
    environment["NO_PROXY"] = "10.96.0.0/12"
    assert (await InClusterCredentials(tmp_path, environment).access()).proxy is None


async def test_proxy_that_refuses_or_is_away_is_named_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with behind(tmp_path) as (server, _), http_proxy() as proxy, socks_proxy("right") as socks:
        proxy.refuse = "407 Proxy Authentication Required"
        ways = {
            f"http://me:hidden@127.0.0.1:{proxy.port}": "the proxy answered 407 Proxy Authentication Required",
            "http://me:hidden@127.0.0.1:1": "Connection refused; is the proxy's address right?",
            f"socks5://me:hidden@127.0.0.1:{socks.port}": "the proxy answered",
            "socks5://me:hidden@127.0.0.1:1": "is the proxy's address right?",
        }
        for url, text in ways.items():
            with pytest.raises(TransportError) as failed:
                await ask(server, proxy_url=url)
            told.append(str(failed.value))
            assert text in told[-1]
            assert f"{server} through {url.replace('me:hidden@', '')}" in told[-1]
    with pytest.raises(TransportError) as unusable:
        await ask(server, {"HTTPS_PROXY": "ftp://me:hidden@p"})
    told.append(str(unusable.value))
    assert "HTTPS_PROXY: expected a URL" in told[-1]
    assert told[-1].endswith("mend the environment")
    assert "hidden" not in "".join([*told, caplog.text])


async def test_password_in_the_servers_url_is_used_and_not_shown(tmp_path: Path) -> None:
    async with showing(tmp_path, issue("server", CA)) as shown:
        server = shown.url.replace("https://", "https://me:hidden@")
        data = b64encode(CA.pem).decode()
        found = read_kubeconfig(kubeconfig(server, user={}, certificate_authority_data=data).encode(), None, None)
        client = await KubernetesClient.connect(KubeconfigCredentials(found, "it", environment={}))
        try:
            await client.request("GET", "/readyz")
        finally:
            await client.close()
        assert ("Authorization", f"Basic {b64encode(b'me:hidden').decode()}") in shown.requests[0]
        assert (client.server, "hidden" in repr(found)) == (shown.url, False)
