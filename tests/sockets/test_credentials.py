"""Every way to prove who we are, over real sockets and real programs."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import sys
import tempfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.controlplane import write_certificate
from support.fake_apiserver import kubeconfig
from support.processes import until

from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.credentials import (
    CredentialsError,
    InClusterCredentials,
    KubeconfigCredentials,
    load_kubeconfig,
)

SERVER = "https://127.0.0.1:1"
V1 = "client.authentication.k8s.io/v1"
LONG = 10_000.0


class Rig:
    """Kubeconfigs in a folder, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = time.time()

    def credentials(self, *, seconds: float = 30, server: str = SERVER, **user: Any) -> KubeconfigCredentials:
        path = self.folder / "kubeconfig"
        user = {name.replace("_", "-"): value for name, value in user.items()}
        path.write_text(kubeconfig(server, user=user))
        return KubeconfigCredentials(load_kubeconfig(path), "it", exec_seconds=seconds, clock=lambda: self.now)

    def plugin(self, script: str, **section: Any) -> dict[str, Any]:
        """An exec section whose command runs this Python; it counts its runs in ``runs``."""
        path = self.folder / "plugin"
        count = f"open({str(self.folder / 'runs')!r}, 'a').write('x')\n"
        path.write_text(f"#!{sys.executable}\nimport json, os, sys, time, subprocess\n{count}{script}")
        path.chmod(stat.S_IRWXU)
        return {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **section}

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text())


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def printing(**status: Any) -> str:
    return f"print(json.dumps({{'apiVersion': {V1!r}, 'kind': 'ExecCredential', 'status': {status!r}}}))\n"


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def token_of(credentials: KubeconfigCredentials) -> str | None:
    return (await credentials.access()).authorization


async def test_token_and_name_with_password(rig: Rig) -> None:
    assert await token_of(rig.credentials(token="t\n")) == "Bearer t"
    basic = b64encode(b"me:secret").decode()
    assert await token_of(rig.credentials(username="me", password="secret")) == f"Basic {basic}"
    assert await token_of(rig.credentials()) is None


async def test_tokens_file_is_read_each_time(rig: Rig) -> None:
    file = rig.folder / "token"
    file.write_text("one\n")
    credentials = rig.credentials(tokenFile="token")
    assert await token_of(credentials) == "Bearer one"
    file.write_text("two")
    assert await token_of(credentials) == "Bearer two"
    file.unlink()
    with pytest.raises(CredentialsError, match="token: No such file"):
        await credentials.access()


async def test_tokens_file_wins_over_a_token_once_it_can_be_read(rig: Rig) -> None:
    file = rig.folder / "token"
    credentials = rig.credentials(token="inline", tokenFile="token")
    assert await token_of(credentials) == "Bearer inline"
    file.write_text("one\n")
    assert await token_of(credentials) == "Bearer one"
    file.write_text("two\n")
    assert await token_of(credentials) == "Bearer two"
    for content in ("", "a\nb", "\xff"):
        file.write_bytes(content.encode("latin-1"))
        with pytest.raises(CredentialsError, match="token"):
            await credentials.access()
    fresh = rig.credentials(token="inline", tokenFile="token")
    assert await token_of(fresh) == "Bearer inline"


async def test_plugin_is_asked_only_if_there_is_no_other_proof(rig: Rig) -> None:
    section = rig.plugin(printing(token="p"))
    (rig.folder / "token").write_text("f")
    assert await token_of(rig.credentials(exec=section, token="t")) == "Bearer t"
    assert await token_of(rig.credentials(exec=section, tokenFile="token")) == "Bearer f"
    basic = await token_of(rig.credentials(exec=section, username="me", password="secret"))
    assert basic == f"Basic {b64encode(b'me:secret').decode()}"
    write_certificate(rig.folder, "ca", "client")
    pair = {"client_certificate": "client.crt", "client_key": "client.key"}
    assert await token_of(rig.credentials(exec=section, **pair)) is None
    assert not (rig.folder / "runs").exists()
    assert await token_of(rig.credentials(exec=section)) == "Bearer p"
    assert await token_of(rig.credentials(auth_provider=oidc("http://127.0.0.1:1"), token="t")) == "Bearer t"


@pytest.mark.parametrize("never", [None, ""])
async def test_a_plugins_token_without_a_time_is_good_until_it_is_rejected(rig: Rig, never: str | None) -> None:
    credentials = rig.credentials(exec=rig.plugin(printing(token="t", expirationTimestamp=never)))
    assert await token_of(credentials) == "Bearer t"
    rig.now += 1e9
    assert await token_of(credentials) == "Bearer t"
    assert rig.runs == 1


async def test_plugin_is_asked_again_when_its_token_is_about_to_expire_or_was_rejected(rig: Rig) -> None:
    section = rig.plugin(printing(token="t", expirationTimestamp=stamp(rig.now + 1000)))
    credentials = rig.credentials(exec=section)
    assert await token_of(credentials) == "Bearer t"
    assert await token_of(credentials) == "Bearer t"
    assert rig.runs == 1
    rig.now += 900
    await credentials.access()
    assert rig.runs == 2
    rig.now -= 900
    await credentials.access()
    assert rig.runs == 2
    credentials.rejected()
    await credentials.access()
    assert rig.runs == 3


async def test_plugin_gets_what_it_is_promised_and_no_terminal(rig: Rig) -> None:
    script = (
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "assert info['spec']['interactive'] is False and info['spec']['cluster']['server'] == 'https://127.0.0.1:1'\n"
        "assert sys.stdin.read() == '' and sys.argv[1:] == ['--x'] and os.environ['COLOUR'] == 'blue'\n"
    )
    section = rig.plugin(
        script + printing(token="t"), args=["--x"], env=[{"name": "COLOUR", "value": "blue"}], provideClusterInfo=True
    )
    assert await token_of(rig.credentials(exec=section)) == "Bearer t"


async def test_plugin_gets_the_whole_cluster(rig: Rig) -> None:
    write_certificate(rig.folder, "ca", "server")
    script = (
        f"open({str(rig.folder / 'info')!r}, 'w').write(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "assert not sys.stdin.isatty()\n"
    )
    section = rig.plugin(script + printing(token="t"), args=None, env=None, installHint=None, provideClusterInfo=True)

    async def told(**cluster: Any) -> dict[str, Any]:
        path = rig.folder / "kubeconfig"
        path.write_text(kubeconfig("https://127.0.0.1:1/prefix/", user={"exec": section}, **cluster))
        await KubeconfigCredentials(load_kubeconfig(path), "it").access()
        info: dict[str, Any] = json.loads((rig.folder / "info").read_text())
        assert (info["kind"], info["apiVersion"], info["spec"]["interactive"]) == ("ExecCredential", V1, False)
        return info["spec"]["cluster"]

    its = {"shoot": {"namespace": "garden-dev", "name": "one"}}
    assert await told(
        tls_server_name="api.example.test",
        certificate_authority="ca.crt",
        proxy_url="http://me:secret@proxy.test:3128",
        disable_compression=True,
        extensions=[{"name": "client.authentication.k8s.io/exec", "extension": its}, {"name": "other", "extension": 1}],
    ) == {
        "server": "https://127.0.0.1:1/prefix",
        "tls-server-name": "api.example.test",
        "certificate-authority-data": b64encode((rig.folder / "ca.crt").read_bytes()).decode(),
        "proxy-url": "http://me:secret@proxy.test:3128",
        "disable-compression": True,
        "config": its,
    }
    insecure = await told(insecure_skip_tls_verify=True)
    assert insecure == {"server": "https://127.0.0.1:1/prefix", "insecure-skip-tls-verify": True, "config": None}


async def test_plugin_that_hangs_is_killed_with_what_it_started_and_holds_up_nobody(rig: Rig) -> None:
    script = (
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(rig.folder / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "print('x' * 200_000, file=sys.stderr, flush=True)\n"
        "time.sleep(1000)\n"
    )
    hanging = rig.credentials(exec=rig.plugin(script), seconds=2)
    other = rig.credentials(token="t")
    began = time.monotonic()
    waiting = asyncio.create_task(hanging.access())
    pids = rig.folder / "pids"
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the plugin hangs")
    assert await token_of(other) == "Bearer t"
    assert time.monotonic() - began < 2
    with pytest.raises(CredentialsError, match="plugin gave no credential within 2 s and was killed"):
        await waiting
    await until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), "both are gone")


async def test_plugin_is_killed_when_nobody_waits_for_it_any_more(rig: Rig) -> None:
    pids = rig.folder / "pids"
    script = f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(1000)\n"
    waiting = asyncio.create_task(rig.credentials(exec=rig.plugin(script)).access())
    await until(lambda: pids.exists() and pids.read_text().endswith(" "), "the plugin hangs")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not alive(int(pids.read_text()))


def alive(pid: int) -> bool:
    """It runs: is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_a_plugin_leaves_running_elsewhere_does_not_hold_us_up(rig: Rig) -> None:
    script = "subprocess.Popen(['sleep', '3'], start_new_session=True)\n" + printing(token="t")
    began = time.monotonic()
    assert await token_of(rig.credentials(exec=rig.plugin(script))) == "Bearer t"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("script", "section", "said"),
    [
        ("sys.exit('no login')\n", {}, "plugin ended with 1; run it"),
        ("print('hello')\n", {}, "printed no ExecCredential"),
        (printing(token="t").replace("/v1", "/v1beta1"), {}, "not ExecCredential"),
        (printing(clientCertificateData=None), {}, "neither a token nor a certificate with its key"),
        (printing(clientCertificateData="x"), {}, "a certificate without its key"),
        (printing(token="t", clientKeyData="x"), {}, "a certificate without its key"),
        (printing(token="t", expirationTimestamp="soon"), {}, "no RFC 3339 time"),
        ("print('x' * 2_000_000)\n", {}, "printed more than"),
        (printing(token="a\nb"), {}, "the token has a line end"),
        (
            printing(token="t"),
            {"command": "./gone", "installHint": "get it"},
            "./gone: No such file or directory; get it",
        ),
    ],
)
async def test_plugin_that_gives_nothing_is_said(rig: Rig, script: str, section: dict[str, Any], said: str) -> None:
    with pytest.raises(CredentialsError) as failed:
        await rig.credentials(exec=rig.plugin(script, **section)).access()
    assert said in str(failed.value)


def jwt(expires: float, **claims: Any) -> str:
    """Unsigned, but for its form: a payload whose base64 has the characters of the URL-safe alphabet."""
    payload = json.dumps({"exp": expires, "name": "ÿþ?>ÿþ?>", **claims}, ensure_ascii=False).encode()
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", payload, b"x"))


class Provider:
    """An OpenID Connect provider that gives each refresh token out once."""

    def __init__(self, expires: float) -> None:
        self.forms: list[dict[str, str]] = []
        self.expires = expires
        self.refresh = "refresh-0"
        self.stalls = False
        self.url = ""

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self.url
        finally:
            await runner.cleanup()

    async def _discover(self, _request: web.Request) -> web.Response:
        return web.json_response({"token_endpoint": f"{self.url}/token"})

    async def _token(self, request: web.Request) -> web.Response:
        if self.stalls:
            await asyncio.Event().wait()
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form["refresh_token"] != self.refresh:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.refresh = f"refresh-{len(self.forms)}"
        return web.json_response({"id_token": jwt(self.expires, n=len(self.forms)), "refresh_token": self.refresh})


def oidc(url: str, **settings: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    return {"name": "oidc", "config": {"idp-issuer-url": url, "client-id": "me", "client-secret": "s", **named}}


async def test_oidc_token_is_renewed_in_time_and_the_refresh_token_followed(rig: Rig, tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "idp")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "idp.crt", tmp_path / "idp.key")
    provider = Provider(expires=rig.now + 1000)
    async with provider.serving(tls) as url:
        first = jwt(rig.now + LONG)
        settings = {"id_token": first, "refresh_token": "refresh-0", "idp_certificate_authority": "ca.crt"}
        credentials = rig.credentials(auth_provider=oidc(url, **settings))
        assert await token_of(credentials) == f"Bearer {first}"
        assert provider.forms == []
        credentials.rejected()
        assert await token_of(credentials) == f"Bearer {jwt(rig.now + 1000, n=1)}"
        assert provider.forms[0] == {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-0",
            "client_id": "me",
            "client_secret": "s",
        }
        await credentials.access()
        assert len(provider.forms) == 1
        expires = rig.now + 1000
        rig.now += 900
        assert await token_of(credentials) == f"Bearer {jwt(expires, n=2)}"
        assert provider.forms[1]["refresh_token"] == "refresh-1"


async def test_oidc_provider_whose_certificate_nobody_vouches_for_gets_no_refresh_token(
    rig: Rig, tmp_path: Path
) -> None:
    write_certificate(tmp_path, "ca", "idp")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "idp.crt", tmp_path / "idp.key")
    provider = Provider(expires=0)
    async with provider.serving(tls) as url:
        with pytest.raises(CredentialsError, match="CERTIFICATE_VERIFY_FAILED"):
            await rig.credentials(auth_provider=oidc(url, refresh_token="refresh-0")).access()
    assert provider.forms == []


async def test_oidc_provider_that_refuses_or_stalls_is_said(rig: Rig) -> None:
    provider = Provider(expires=0)
    async with provider.serving() as url:
        with pytest.raises(CredentialsError, match=r"400 Bad Request"):
            await rig.credentials(auth_provider=oidc(url, refresh_token="stolen")).access()
        with pytest.raises(CredentialsError, match="without refresh-token there is no other"):
            await rig.credentials(auth_provider=oidc(url, id_token=jwt(0))).access()
        with pytest.raises(CredentialsError, match="not a JWT"):
            await rig.credentials(auth_provider=oidc(url, id_token="x")).access()
        provider.stalls = True
        with pytest.raises(CredentialsError, match=r"no token within 0\.2 s"):
            await rig.credentials(auth_provider=oidc(url, refresh_token="refresh-0"), seconds=0.2).access()


@asynccontextmanager
async def api_that_wants_a_certificate(folder: Path) -> AsyncIterator[str]:
    """Answers with the common name of the client's certificate."""
    write_certificate(folder, "ca", "server")
    write_certificate(folder, "clients", "client")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "clients.crt")
    tls.load_cert_chain(folder / "server.crt", folder / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED

    async def name(request: web.Request) -> web.Response:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        return web.Response(text=certificate["subject"][0][0][1])

    app = web.Application()
    app.router.add_get("/name", name)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("from_plugin", [False, True], ids=["kubeconfig", "plugin"])
async def test_client_certificate_is_shown(rig: Rig, tmp_path: Path, from_plugin: bool) -> None:
    async with api_that_wants_a_certificate(tmp_path) as server:
        path = tmp_path / "kubeconfig"
        user: dict[str, Any] = {"client-certificate": "client.crt", "client-key": "client.key"}
        if from_plugin:
            pair = {
                name: (tmp_path / f"client.{end}").read_text() for name, end in (("Certificate", "crt"), ("Key", "key"))
            }
            user = {"exec": rig.plugin(printing(**{f"client{name}Data": text for name, text in pair.items()}))}
        path.write_text(kubeconfig(server, user=user, certificate_authority="ca.crt"))
        client = await KubernetesClient.from_kubeconfig(path)
        try:
            answer = await client.request("GET", "/name")
            assert answer.body == b"client"
        finally:
            await client.close()
        path.write_text(kubeconfig(server, user={"token": "x"}, certificate_authority="ca.crt"))
        client = await KubernetesClient.from_kubeconfig(path)
        try:
            with pytest.raises(TransportError):
                await client.request("GET", "/name")
        finally:
            await client.close()


async def test_no_key_stays_on_the_disk(rig: Rig, tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "client")
    before = set(Path(tempfile.gettempdir()).iterdir())
    await rig.credentials(client_certificate="client.crt", client_key="client.key").access()
    mine = [path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if path.is_file()]
    assert not [path for path in mine if b"PRIVATE KEY" in path.read_bytes()]


async def test_in_cluster_credentials_follow_the_service_account(tmp_path: Path) -> None:
    write_certificate(tmp_path, "ca", "server")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    credentials = InClusterCredentials(tmp_path, environment)
    with pytest.raises(CredentialsError, match=r"token: No such file .*run in a Pod"):
        await credentials.access()
    (tmp_path / "token").write_text("one\n")
    first = await credentials.access()
    assert (first.server, first.authorization) == ("https://[fd00::1]:443", "Bearer one")
    (tmp_path / "token").write_text("two")
    second = await credentials.access()
    assert second.authorization == "Bearer two"
    assert second.tls is first.tls, "connections live on while only the token changes"
    write_certificate(tmp_path, "ca", "server")
    assert (await credentials.access()).tls is not first.tls
    with pytest.raises(CredentialsError, match="run in a Pod"):
        await InClusterCredentials(tmp_path, {}).access()
