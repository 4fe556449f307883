"""The Kubernetes source over real sockets, against an API server that misbehaves when told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from support.controlplane import write_certificate
from support.fake_apiserver import FakeApiServer, a_list, a_status, a_watch, event
from support.recording_sink import RecordingSink

from registry.model.events import Delete, Init
from registry.model.names import ClusterId, Kind
from registry.model.status import SourceState
from registry.sources.kubernetes.client import KubernetesClient, TransportError
from registry.sources.kubernetes.reflector import KubernetesSource, retry_after

A = ClusterId("a")
META = {"namespace": "shop", "resourceVersion": "5"}
SERVICE = {"metadata": {**META, "name": "echo"}, "spec": {"ports": [{"name": "http", "port": 80}]}}


def a_slice(*addresses: str, version: str = "5") -> dict[str, object]:
    return {
        "metadata": {
            **META,
            "resourceVersion": version,
            "name": "echo-1",
            "labels": {"kubernetes.io/service-name": "echo"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    """It has one service with one endpoint, 10.0.0.1."""
    fake = FakeApiServer()
    fake.lists["services"] = [a_list(SERVICE)]
    fake.lists["endpointslices"] = [a_list(a_slice("10.0.0.1"))]
    await fake.start()
    yield fake
    await fake.stop()


@asynccontextmanager
async def following(connect: Callable[[], Awaitable[KubernetesClient]]) -> AsyncIterator[RecordingSink]:
    """A source that follows what ``connect`` leads to, without waiting where it would wait."""

    async def no_wait(_seconds: float) -> None:
        await asyncio.sleep(0.01)

    sink = RecordingSink(A)
    source = KubernetesSource(A, "test", connect, random=lambda: 0.0, sleep=no_wait)
    task = asyncio.create_task(source.run(sink))
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def connect(server: FakeApiServer, tmp_path: Path) -> Callable[[], Awaitable[KubernetesClient]]:
    path = server.kubeconfig(tmp_path / "kubeconfig")
    return lambda: KubernetesClient.from_kubeconfig(path)


def synced(sink: RecordingSink) -> bool:
    return sink.last.state is SourceState.SYNCED


def failing(sink: RecordingSink, reason: str) -> bool:
    return sink.last.state is SourceState.FAILING and sink.last.reason == reason


Connect = Callable[[], Awaitable[KubernetesClient]]


async def test_every_kind_is_listed_and_watched(server: FakeApiServer, connect: Connect) -> None:
    server.watches["endpointslices"] = [a_watch(event("MODIFIED", a_slice("10.0.0.1", "10.0.0.2")))]
    async with following(connect) as sink:
        await sink.until(lambda: sink.addresses() == {"10.0.0.1", "10.0.0.2"}, "both endpoints")
        assert synced(sink)
        assert sink.last.listed == frozenset(Kind)


async def test_long_lists_come_in_pages(server: FakeApiServer, connect: Connect) -> None:
    server.lists["pods"] = [a_list(token="more"), a_list(version="9")]
    async with following(connect) as sink:
        await sink.until(lambda: synced(sink), "synced")
    assert [query.get("continue") for query in server.asked("pods", watch=False)] == [None, "more"]


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_watch_that_ends_or_breaks_off_goes_on_from_the_last_version(
    server: FakeApiServer, connect: Connect, end: str
) -> None:
    server.watches["endpointslices"] = [
        a_watch(event("BOOKMARK", {"metadata": {"resourceVersion": "77"}}), end=end),
        a_watch(event("MODIFIED", a_slice("10.0.0.3", version="78"))),
    ]
    async with following(connect) as sink:
        await sink.until(lambda: sink.addresses() == {"10.0.0.3"}, "the change of the second watch")
        assert all(status.state is not SourceState.FAILING for status in sink.statuses)
    versions = [query["resourceVersion"] for query in server.asked("endpointslices", watch=True)]
    assert versions[:2] == ["1", "77"]
    assert len(server.asked("endpointslices", watch=False)) == 1


async def test_line_cut_off_in_the_middle_is_not_taken_for_an_event(server: FakeApiServer, connect: Connect) -> None:
    whole = event("MODIFIED", a_slice("10.0.0.3"))
    server.watches["endpointslices"] = [a_watch(whole[:50], end="abort"), a_watch(whole[:20], whole[20:])]
    async with following(connect) as sink:
        await sink.until(lambda: sink.addresses() == {"10.0.0.3"}, "the event, whole")


@pytest.mark.parametrize("where", ["status", "event"])
async def test_410_leads_to_a_fresh_list_and_removes_nothing_alive(
    server: FakeApiServer, connect: Connect, where: str
) -> None:
    expired = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
    server.watches["endpointslices"] = [a_status(410) if where == "status" else a_watch(expired), a_watch()]
    server.lists["endpointslices"] = [a_list(a_slice("10.0.0.1")), a_list(a_slice("10.0.0.1"), version="50")]
    async with following(connect) as sink:
        await sink.until(lambda: sink.events.count(Init(Kind.ENDPOINT_SLICE)) == 2 and synced(sink), "a second list")
        assert sink.addresses() == {"10.0.0.1"}
        assert not [each for each in sink.events if isinstance(each, Delete)]
    assert server.asked("endpointslices", watch=False)[1] == {"limit": "500"}


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (500, "ServerError")])
async def test_refusal_of_one_kind_is_named_with_verb_and_resource_and_the_rest_goes_on(
    server: FakeApiServer, connect: Connect, code: int, reason: str
) -> None:
    server.lists["pods"] = [a_status(code, "pods is closed")]
    async with following(connect) as sink:
        await sink.until(lambda: failing(sink, reason) and len(sink.last.listed) == 4, "the other kinds are listed")
        assert f"list pods: {code} pods is closed" in sink.last.message
        server.lists["pods"] = [a_list()]
        await sink.until(lambda: synced(sink), "synced once it is allowed")
        assert sink.addresses() == {"10.0.0.1"}


async def test_garbage_in_a_watch_is_said_and_survived(server: FakeApiServer, connect: Connect) -> None:
    server.watches["endpointslices"] = [
        a_watch(b'{"type":"MODIFIED","object":"\xff\xfe"}\n'),
        a_watch(b"<html>502</html>\n"),
        a_watch(event("MODIFIED", a_slice("10.0.0.3"))),
    ]
    async with following(connect) as sink:
        await sink.until(lambda: sink.addresses() == {"10.0.0.3"}, "the good watch")
        assert "BadResponse" in {status.reason for status in sink.statuses}
        await sink.until(lambda: synced(sink), "synced again")


async def test_server_that_is_not_there_is_unreachable_and_what_was_listed_stays(
    server: FakeApiServer, connect: Connect
) -> None:
    async with following(connect) as sink:
        await sink.until(lambda: synced(sink), "synced")
        await server.stop()
        await sink.until(lambda: failing(sink, "Unreachable"), "unreachable")
        assert sink.addresses() == {"10.0.0.1"}
        assert not [each for each in sink.events if isinstance(each, Delete)]
        assert sink.last.listed == frozenset(Kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "mend the file"),
        ("apiVersion: v1\n", "mend the file"),
        (": [", "mend the file"),
        ("current-context: nowhere\ncontexts: []\nclusters: []\n", "nowhere"),
    ],
)
async def test_bad_kubeconfig_is_a_condition_until_it_is_mended(
    server: FakeApiServer, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "bad"
    if text is not None:
        path.write_text(text)
    async with following(lambda: KubernetesClient.from_kubeconfig(path)) as sink:
        await sink.until(lambda: failing(sink, "KubeconfigInvalid"), "the kubeconfig is refused")
        assert str(path) in sink.last.message
        assert message in sink.last.message
        server.kubeconfig(path)
        await sink.until(lambda: synced(sink), "synced once it is mended")


async def test_context_that_does_not_exist_is_named(server: FakeApiServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path / "kubeconfig")
    with pytest.raises(TransportError, match="elsewhere"):
        await KubernetesClient.from_kubeconfig(path, "elsewhere")


async def test_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    server = FakeApiServer()
    for name in ("theirs", "others"):
        (tmp_path / name).mkdir()
        write_certificate(tmp_path / name, "ca", "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "theirs" / "server.crt", tmp_path / "theirs" / "server.key")
    await server.start(context)
    try:
        wrong = server.kubeconfig(tmp_path / "w", **{"certificate-authority": str(tmp_path / "others" / "ca.crt")})
        async with following(lambda: KubernetesClient.from_kubeconfig(wrong)) as sink:
            await sink.until(lambda: failing(sink, "CertificateRefused"), "the certificate is refused")
            assert "check the certificates" in sink.last.message
        right = server.kubeconfig(tmp_path / "r", **{"certificate-authority": str(tmp_path / "theirs" / "ca.crt")})
        async with following(lambda: KubernetesClient.from_kubeconfig(right)) as sink:
            await sink.until(lambda: synced(sink), "synced with the right authority")
    finally:
        await server.stop()


def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock() -> None:
    date = "Tue, 24 Nov 2026 10:00:00 GMT"
    assert retry_after({"Retry-After": "7"}) == 7.0
    assert retry_after({"Retry-After": "Tue, 24 Nov 2026 10:00:30 GMT", "Date": date}) == 30.0
    assert retry_after({"Retry-After": "Tue, 24 Nov 2026 09:00:00 GMT", "Date": date}) == 0.0
    assert retry_after({"Retry-After": "soon", "Date": date}) is None
    assert retry_after({}) is None
