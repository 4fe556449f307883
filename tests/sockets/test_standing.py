"""A cluster that cannot be reached, as clients see it: kept, one priority later, out, back; also over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.processes import free_port, until
from support.registry import RunningRegistry
from support.removal_counter import Held, RemovalCounter

from registry.model.standing import Standing
from registry.snapshot.format import decode

SHARED = "outbound|80||shared.shop.svc.clusterset.local"
LONELY = "outbound|80||lonely.shop.svc.clusterset.local"
NOW, LATER = Held(0, True), Held(1, True)
A, B = "198.18.1.1", "198.18.2.1"


def manifests(service: str, address: str) -> str:
    """A Service with one endpoint."""
    metadata = {"name": service, "namespace": "shop"}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    }
    return yaml.safe_dump_all(
        [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}, slice_]
    )


class Gateway:
    """The gateway of cluster b, that may be closed and opened."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


class World:
    """``shared`` has an endpoint in a and one in b, ``lonely`` only one in b. b is a folder that may be away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.gateway = Gateway()
        for name, services in {"a": {"shared": A}, "b": {"shared": B, "lonely": B}}.items():
            (folder / name).mkdir()
            for service, address in services.items():
                (folder / name / f"{service}.yaml").write_text(manifests(service, address))

    def registry(self, **liveness: float) -> RunningRegistry:
        probe = {"tcp": f"127.0.0.1:{self.gateway.port}", "intervalSeconds": 0.1, "timeoutSeconds": 1}
        config: dict[str, Any] = {
            "clusters": [{"name": "a", "manifests": "a"}, {"name": "b", "manifests": "b", "probe": probe}],
            "liveness": {"staleSeconds": 2.5, "evictSeconds": 3600, **liveness},
            "snapshot": {"file": "snapshot", "minSeconds": 0.05},
        }
        path = self.folder / "registry.yaml"
        path.write_text(yaml.safe_dump(config))
        return RunningRegistry(self.folder, "--config", str(path), "--grpc", self.address)

    def lose(self) -> None:
        (self.folder / "b").rename(self.folder / "away")

    def find(self) -> None:
        (self.folder / "away").rename(self.folder / "b")


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    it = World(folder)
    await it.gateway.open()
    try:
        yield it
    finally:
        await it.gateway.close()


def penalty(path: Path) -> float:
    """What its coming and going cost cluster b, as the snapshot has it."""
    snapshot = decode(path.read_bytes(), "clusterset.local")
    return next(each.penalty for each in snapshot.clusters if each.cluster == "b")


def remembered(path: Path) -> Standing:
    """The standing of b in the snapshot."""
    clusters = decode(path.read_bytes(), "clusterset.local").clusters
    return next(each.standing for each in clusters if each.cluster == "b")


async def condition(registry: RunningRegistry, kind: str) -> dict[str, Any]:
    return {each["type"]: each for each in (await registry.cluster("b"))["conditions"]}.get(kind, {})


async def reason(registry: RunningRegistry, kind: str, wanted: str) -> None:
    async def there() -> bool:
        return (await condition(registry, kind)).get("reason") == wanted

    await until(there, f"{kind} says {wanted}", 15)


async def test_endpoints_stay_while_the_data_plane_answers_come_later_when_not_and_leave_but_for_the_last(
    tmp_path: Path,
) -> None:
    async with (
        world(tmp_path) as it,
        it.registry(evictSeconds=2) as registry,
        RemovalCounter(it.address, SHARED, LONELY) as client,
    ):
        await client.until(lambda: client.endpoints(SHARED) == {A: NOW, B: NOW}, "both")
        await reason(registry, "DataPlaneUp", "Answered")
        told = len(client.responses)
        it.lose()
        await reason(registry, "ApiFresh", "Quiet")
        assert (await registry.cluster("b"))["standing"] == "Kept"
        assert len(client.responses) == told
        await it.gateway.close()
        await client.until(lambda: client.endpoints(SHARED) == {A: NOW, B: LATER}, "one priority later")
        client.ask(B)
        await client.until(lambda: client.endpoints(SHARED) == {A: NOW}, "out")
        assert (await condition(registry, "DataPlaneUp"))["reason"] == "Refused"
        assert set(client.endpoints(LONELY)) == {B}, "never a service's last ones"
        await it.gateway.open()
        await client.until(lambda: client.endpoints(SHARED) == {A: NOW, B: NOW}, "its data plane is back")
        it.find()
        await reason(registry, "ApiFresh", "Heard")
        assert (await registry.cluster("b"))["standing"] == "Current"
        assert [removal for removal in client.wrong if removal.name == LONELY] == []


@pytest.mark.timeout(180)
async def test_standing_is_the_same_after_a_restart_and_clients_are_told_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as it, RemovalCounter(it.address, SHARED) as client:
        first = it.registry()
        await first.__aenter__()
        await reason(first, "DataPlaneUp", "Answered")
        await it.gateway.close()
        it.lose()
        await client.until(lambda: client.endpoints(SHARED) == {A: NOW, B: LATER}, "one priority later")
        await until(lambda: remembered(tmp_path / "snapshot") is Standing.DEMOTED, "that is remembered", 10)
        assert 0.9 < penalty(tmp_path / "snapshot") <= 1
        await first.kill()
        told, connects = len(client.responses), client.connects
        async with it.registry() as second:
            await client.until(lambda: client.connects > connects, "the client is back")
            await reason(second, "DataPlaneUp", "Refused")
            assert (await second.cluster("b"))["standing"] == "Demoted"
            assert len(client.responses) == told
            it.find()
            await client.until(lambda: client.endpoints(SHARED) == {A: NOW, B: NOW}, "it is heard of")
            assert client.wrong == []
            await until(lambda: remembered(tmp_path / "snapshot") is Standing.CURRENT, "that is remembered too", 10)
            assert 0.8 < penalty(tmp_path / "snapshot") < 1, "it came and went once, and that is not forgotten"
