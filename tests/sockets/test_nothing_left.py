"""What followed a member is gone when something else does, or nothing does: no garbage collector has to look for it."""

from __future__ import annotations

import base64
import gc
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from support.certificates import write_certificate
from support.fake_apiserver import FakeApiServer, kubeconfig
from support.fleet import LISTEN, Fleet, fleet, replace_file
from support.processes import until

from registry.config import Config
from registry.membership.following import Following
from registry.model.names import Kind
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.credentials import KubeconfigCredentials
from registry.sources.kubernetes.follower import Follower
from registry.sources.kubernetes.reflector import KubernetesSource

TIMES = 12
COUNTED = (
    Following,
    KubernetesSource,
    KubernetesClient,
    KubeconfigCredentials,
    Follower,
    aiohttp.ClientSession,
    aiohttp.TCPConnector,
    ssl.SSLContext,
    ssl.SSLObject,
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    write_certificate(folder, "ca", "server")
    return folder


@pytest_asyncio.fixture
async def server(certificates: Path) -> AsyncIterator[FakeApiServer]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with FakeApiServer(tls) as api:
        yield api


def a_kubeconfig(server: FakeApiServer, certificates: Path, token: str, *, newer: int = 0) -> str:
    """``newer`` makes the bundle of authorities another one, and so the TLS context."""
    authority = (certificates / "ca.crt").read_bytes() + b"# %d\n" % newer
    encoded = base64.b64encode(authority).decode()
    return kubeconfig(server.url, user={"token": token}, certificate_authority_data=encoded)


def live() -> Counter[str]:
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, COUNTED))


async def watched(server: FakeApiServer, token: str) -> None:
    """Until every kind is watched with the token."""

    def seen() -> bool:
        kinds = {each.kind for each in server.seen if each.authorization == f"Bearer {token}" and each.verb == "watch"}
        return kinds >= set(Kind) - {Kind.SERVICE_EXPORT}

    await until(seen, "watches with the new token")
    server.seen.clear()


async def settled(before: Counter[str]) -> None:
    """Until nothing is left; what closes over the network takes a moment."""
    try:
        await until(lambda: not live() - before, "nothing left")
    except AssertionError:
        raise AssertionError(f"left over: {live() - before}") from None


@pytest.mark.usefixtures("no_collector")
async def test_changed_tokens_and_authorities_leave_nothing(
    tmp_path: Path, server: FakeApiServer, certificates: Path
) -> None:
    file = tmp_path / "kubeconfigs" / "one"
    file.parent.mkdir()
    replace_file(file, a_kubeconfig(server, certificates, "0"))
    async with fleet(Config(kubeconfig_folder=str(file.parent), listen=LISTEN)):
        await watched(server, "0")
        before = live()
        for turn in range(1, TIMES + 1):
            replace_file(file, a_kubeconfig(server, certificates, str(turn), newer=turn))
            await watched(server, str(turn))
        await settled(before)


@pytest.mark.usefixtures("no_collector")
async def test_members_that_come_and_go_leave_nothing(
    tmp_path: Path, server: FakeApiServer, certificates: Path
) -> None:
    file = tmp_path / "kubeconfigs" / "one"
    file.parent.mkdir()
    async with fleet(Config(kubeconfig_folder=str(file.parent), listen=LISTEN)) as on:
        before = live()
        for turn in range(TIMES // 3):
            replace_file(file, a_kubeconfig(server, certificates, str(turn)))
            await watched(server, str(turn))
            file.unlink()
            await gone(on)
        await settled(before)


@pytest.mark.usefixtures("no_collector")
async def test_member_that_refuses_leaves_nothing(tmp_path: Path, server: FakeApiServer, certificates: Path) -> None:
    server.accepts = "Bearer nobody"
    file = tmp_path / "kubeconfigs" / "one"
    file.parent.mkdir()
    async with fleet(Config(kubeconfig_folder=str(file.parent), listen=LISTEN)) as on:
        before = live()
        for turn in range(TIMES // 3):
            replace_file(file, a_kubeconfig(server, certificates, str(turn)))
            await server.requests("identity", Kind.NAMESPACE, 1)
            server.seen.clear()
            file.unlink()
            await gone(on)
        await settled(before)


async def gone(on: Fleet) -> None:
    await until(lambda: not on.registry.reports.clusters(), "no member any more")
