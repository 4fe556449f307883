"""The Kubernetes source on a real API server that restarts, forgets, and refuses."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.certificates import write_certificate
from support.controlplane import ControlPlane
from support.kube_api import CORE, DISCOVERY, service
from support.missing import pod_network
from support.outages import compact
from support.recording_sink import RecordingSink

from registry.model.events import Delete, Init
from registry.model.names import ClusterId, Kind
from registry.model.status import SourceState
from registry.sources.kubernetes.client import KubernetesClient
from registry.sources.kubernetes.reflector import KubernetesSource

A = ClusterId("a")
SLICES = f"{DISCOVERY}/namespaces/default/endpointslices"
THREE = {"198.18.0.1", "198.18.0.2", "198.18.0.3"}


def endpoint_slice(*addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "echo-1", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in sorted(addresses)],
    }


@pytest_asyncio.fixture
async def plane(tmp_path: Path, pytestconfig: pytest.Config) -> AsyncIterator[ControlPlane]:
    """A control plane of this test's own, without controllers: a service with three endpoints is written by hand."""
    pod_network(pytestconfig)
    it = ControlPlane("a", tmp_path / "a")
    try:
        it.etcd.start()
        it.apiserver.start()
        await it.ready()
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        await it.api.create(f"{CORE}/namespaces/default/services", service("echo", {"app": "echo"}, ports))
        await it.api.create(SLICES, endpoint_slice(*THREE))
        yield it
    finally:
        await it.stop()


@asynccontextmanager
async def following(kubeconfig: Path) -> AsyncIterator[RecordingSink]:
    sink = RecordingSink(A)
    connect = partial(KubernetesClient.from_kubeconfig, kubeconfig)
    task = asyncio.create_task(KubernetesSource(A, "it", connect, random=random.random).run(sink))
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_api_server_that_is_killed_takes_no_endpoint_with_it(plane: ControlPlane) -> None:
    async with following(plane.kubeconfig()) as sink:
        await sink.until(lambda: sink.addresses() == THREE, "the endpoints are listed")
        plane.apiserver.kill()
        await sink.until(lambda: sink.last.state is SourceState.FAILING, "the fault is told")
        assert (sink.last.reason, sink.addresses()) == ("Unreachable", THREE)
        plane.apiserver.start()
        await plane.ready()
        await plane.api.replace(f"{SLICES}/echo-1", endpoint_slice(*THREE, "198.18.0.4"))
        await sink.until(lambda: "198.18.0.4" in sink.addresses(), "the change is seen", timeout=40)
        await sink.until(lambda: sink.last.state is SourceState.SYNCED, "all is well again", timeout=40)
        assert sink.addresses() == {*THREE, "198.18.0.4"}
        assert not any(isinstance(event, Delete) for event in sink.events)


async def test_history_that_was_compacted_is_listed_anew_without_a_gap(plane: ControlPlane) -> None:
    """While nobody watches, an endpoint goes and the history is thrown away: the watch gets 410, the list says it."""
    async with following(plane.kubeconfig()) as sink:
        await sink.until(lambda: sink.addresses() == THREE, "the endpoints are listed")
        before = sum(event == Init(Kind.ENDPOINT_SLICE) for event in sink.events)
        seen = [sink.addresses()]
        plane.apiserver.signal(signal.SIGSTOP)
        await compact(plane)
        plane.apiserver.kill()
        plane.apiserver.start()
        await plane.ready()
        await plane.api.replace(f"{SLICES}/echo-1", endpoint_slice("198.18.0.1", "198.18.0.2"))

        def settled() -> bool:
            seen.append(sink.addresses())
            return seen[-1] == {"198.18.0.1", "198.18.0.2"}

        await sink.until(settled, "the change is seen", timeout=40)
        assert sum(event == Init(Kind.ENDPOINT_SLICE) for event in sink.events) > before
        assert all(each in (THREE, {"198.18.0.1", "198.18.0.2"}) for each in seen)
        assert not any(isinstance(event, Delete) for event in sink.events)


@pytest.mark.parametrize(
    ("user", "token", "reason", "texts"),
    [
        ("nobody", "nobody", "Forbidden", ("list services: 403", "list endpointslices.discovery.k8s.io: 403", "roles")),
        ("nobody", "not a token", "Unauthorized", ("list pods: 401", "renew the credentials")),
    ],
)
async def test_user_the_api_server_refuses_is_told_with_verb_and_resource(
    plane: ControlPlane, user: str, token: str, reason: str, texts: tuple[str, ...]
) -> None:
    plane.tokens[user] = token
    async with following(plane.kubeconfig(user)) as sink:

        def all_told() -> bool:
            return sink.last.reason == reason and all(text in sink.last.message for text in texts)

        await sink.until(all_told, f"{reason} is told of every kind")
        assert sink.last.listed == frozenset()


async def test_certificate_of_another_authority_is_refused_and_told(plane: ControlPlane, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_certificate(other, "ca", "server")
    kubeconfig = plane.kubeconfig()
    kubeconfig.write_text(kubeconfig.read_text().replace(str(plane.folder / "ca.crt"), str(other / "ca.crt")))
    async with following(kubeconfig) as sink:
        await sink.until(lambda: sink.last.reason == "CertificateRefused", "the refusal is told")
        assert plane.server in sink.last.message
