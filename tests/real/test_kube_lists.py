"""How a real API server is listed: by stream and in pages, names alone, and kinds that come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.controlplane import ControlPlane
from support.kube_api import CORE, CRDS, DISCOVERY, ApiError, install_crds, service
from support.missing import tool
from support.recording_sink import RecordingSink
from support.scene import Planes

from registry.model.conditions import ConditionType
from registry.model.events import Init, InitDone
from registry.model.facts import Fact
from registry.model.names import BASE_KINDS, ClusterId, Kind, ObjectRef
from registry.model.status import SourceState
from registry.sources.kubernetes.api import Answer, Stream
from registry.sources.kubernetes.bounds import ANSWER_BYTES
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import KubernetesSource, SourceOptions

A = ClusterId("a")
EXPORTS_CRD = "serviceexports.multicluster.x-k8s.io"
EXPORT, SLICE = Kind.SERVICE_EXPORT, Kind.ENDPOINT_SLICE
MANY = 620


@dataclass
class Recorder:
    """A client that writes down what it is asked for."""

    client: KubernetesClient
    asked: list[str]

    @property
    def server(self) -> str:
        return self.client.server

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        most: int = ANSWER_BYTES,
        began: Callable[[], None] | None = None,
    ) -> Answer:
        self.asked.append("names" if "PartialObjectMetadataList" in accept else "list")
        return await self.client.request(method, path, query=query, accept=accept, most=most, began=began)

    def stream(self, path: str, query: Mapping[str, str], *, silence: float) -> AbstractAsyncContextManager[Stream]:
        self.asked.append("stream" if "sendInitialEvents" in query else "watch")
        return self.client.stream(path, query, silence=silence)

    async def close(self) -> None:
        await self.client.close()


@dataclass
class Following:
    """A source on a real API server; its long waits are short."""

    sink: RecordingSink
    asked: list[str]
    source: KubernetesSource = field(init=False)
    hidden: set[ObjectRef] = field(default_factory=set)
    """What is held of these is kept from the audit."""

    def held(self, kind: Kind) -> Mapping[ObjectRef, Fact]:
        facts = self.sink.listener.held.items()
        return {ref: fact for ref, fact in facts if ref.kind is kind and ref not in self.hidden}

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        await self.sink.until(condition, what, timeout=30)


@asynccontextmanager
async def following(
    kubeconfig: Path,
    kinds: Collection[Kind] = BASE_KINDS,
    *,
    options: SourceOptions | None = None,
    admit: Callable[[str], str | None] | None = None,
) -> AsyncIterator[Following]:
    """From when everything is listed."""
    asked: list[str] = []

    async def connect() -> Recorder:
        return Recorder(await KubernetesClient.from_kubeconfig(kubeconfig), asked)

    sink = RecordingSink(A)
    made = Following(sink, asked)
    made.source = KubernetesSource(
        A,
        "it",
        connect,
        random=random.random,
        sleep=lambda seconds: asyncio.sleep(min(seconds, 0.2)),
        kinds=kinds,
        admit=admit,
        held=made.held,
        options=options,
    )
    task = asyncio.create_task(made.source.run(sink))
    try:
        await made.until(lambda: sink.last.state is SourceState.SYNCED, "every kind is listed")
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lists_are_streamed_and_say_the_same_as_pages(planes: Planes) -> None:
    slices = f"{DISCOVERY}/namespaces/{planes.namespace}/endpointslices"
    document = {"addressType": "IPv4", "endpoints": [{"addresses": ["198.18.0.1"]}], "ports": []}
    for first in range(0, MANY, 20):
        names = [f"s{number}" for number in range(first, first + 20)]
        await asyncio.gather(*(planes.a.api.create(slices, {**document, "metadata": {"name": n}}) for n in names))
    kubeconfig, kinds = planes.a.kubeconfig(), [SLICE]
    async with following(kubeconfig, kinds) as streamed:
        pass
    async with following(kubeconfig, kinds, options=SourceOptions(stream_lists=False)) as paged:
        pass
    assert len(streamed.held(SLICE)) >= MANY
    assert streamed.held(SLICE) == paged.held(SLICE)
    versions = [{ref: fact.resource_version for ref, fact in each.held(SLICE).items()} for each in (streamed, paged)]
    assert versions[0] == versions[1]
    assert streamed.asked[0] == "stream"
    assert "list" not in streamed.asked
    assert paged.asked[:2] == ["list", "list"]


async def test_stream_goes_on_as_the_watch_and_a_relist_is_another_stream(planes: Planes) -> None:
    services = f"{CORE}/namespaces/{planes.namespace}/services"
    ref = ObjectRef(Kind.SERVICE, planes.namespace, "echo")
    async with following(planes.a.kubeconfig(), [Kind.SERVICE]) as it:
        await planes.a.api.create(services, service("echo", {"app": "echo"}, [{"name": "http", "port": 80}]))
        await it.until(lambda: ref in it.held(Kind.SERVICE), "the Service is told of")
        assert "watch" not in it.asked
        it.source.relist([Kind.SERVICE])
        await it.until(lambda: it.sink.events.count(InitDone(Kind.SERVICE)) == 2, "it is listed anew")
        assert it.asked.count("stream") == 2
        await planes.a.api.delete(f"{services}/echo")
        await it.until(lambda: ref not in it.held(Kind.SERVICE), "the deletion is told of")


async def test_audit_of_a_real_list_of_names_finds_what_is_missing_and_only_that(planes: Planes) -> None:
    options = SourceOptions(audit_seconds=0.5)
    async with following(planes.a.kubeconfig(), options=options) as it:
        await it.until(lambda: consistent(it) is True, "all is as it should be")
        await asyncio.wait_for(audited(it, len(BASE_KINDS) * 3), 30)
        assert it.source.drifted == 0
        it.hidden.add(ObjectRef(Kind.NAMESPACE, "", planes.namespace))
        await it.until(lambda: it.sink.events.count(Init(Kind.NAMESPACE)) > 1, "it is listed anew")
        it.hidden.clear()
        assert it.source.drifted >= 1
        drifts = [each for each in it.sink.told if each.reason == "Drift"]
        assert f"Namespace {planes.namespace} (held: nothing, there:" in drifts[0].message
        await it.until(lambda: consistent(it) is True, "it is mended")


async def audited(it: Following, times: int) -> None:
    while it.asked.count("names") < times:
        await asyncio.sleep(0.05)


def consistent(it: Following) -> bool | None:
    found = {each.condition.type: each.condition.status for each in it.sink.conditions.of(A)}
    return found.get(ConditionType.CONSISTENT)


async def test_identity_is_the_uid_of_kube_system(planes: Planes) -> None:
    system = await planes.a.api.get(f"{CORE}/namespaces/kube-system")
    asked: list[str] = []

    def admit(uid: str) -> None:
        asked.append(uid)

    async with following(planes.a.kubeconfig(), admit=admit):
        assert asked == [system["metadata"]["uid"]]


@pytest.fixture
async def without_exports(planes: Planes) -> AsyncIterator[ControlPlane]:
    yield planes.a
    with suppress(ApiError):
        await planes.a.api.delete(f"{CRDS}/{EXPORTS_CRD}")


async def test_service_exports_are_followed_from_when_their_crd_comes_until_it_goes(
    planes: Planes, without_exports: ControlPlane
) -> None:
    api, crds = without_exports.api, tool("mcs-crds")
    async with following(without_exports.kubeconfig(), [Kind.SERVICE, EXPORT]) as it:
        assert it.sink.last.listed == {Kind.SERVICE, EXPORT}
        await install_crds(api, crds, (EXPORTS_CRD,))
        version = await served_version(api)
        export: dict[str, Any] = {
            "apiVersion": f"multicluster.x-k8s.io/{version}",
            "kind": "ServiceExport",
            "metadata": {"name": "echo"},
        }
        path = f"/apis/multicluster.x-k8s.io/{version}/namespaces/{planes.namespace}/serviceexports"
        await api.create(path, export)
        ref = ObjectRef(EXPORT, planes.namespace, "echo")
        await it.until(lambda: ref in it.held(EXPORT), "the export is told of")
        fact = it.sink.listener.held[ref]
        assert getattr(fact, "created", "").endswith("Z")
        await api.delete(f"{CRDS}/{EXPORTS_CRD}")
        await it.until(lambda: not it.held(EXPORT), "there are none")
        await it.until(lambda: it.sink.last.state is SourceState.SYNCED, "and that is no fault")


async def served_version(api: Any) -> str:
    document = await api.get(f"{CRDS}/{EXPORTS_CRD}")
    return str(next(each["name"] for each in document["spec"]["versions"] if each["served"]))
