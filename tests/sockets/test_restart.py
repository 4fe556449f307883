"""A registry that is killed and started again: its clients are told nothing they knew, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from support.fake_apiserver import VERBS, Answer, FakeApiServer, kubeconfig, silence
from support.kube_wire import a_page, a_service
from support.processes import free_port, until
from support.registry import RunningRegistry
from support.removal_counter import RemovalCounter

from registry.model.names import Kind
from registry.snapshot.format import decode

NAME = "outbound|80||echo.shop.svc.clusterset.local"
OTHER = "outbound|80||other.shop.svc.clusterset.local"


def a_slice(cluster: int, count: int, name: str = "echo-1", service: str = "echo") -> dict[str, Any]:
    """An EndpointSlice with the endpoints 1 to ``count`` of the cluster."""
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [f"198.18.{cluster}.{each}"]} for each in range(1, count + 1)],
    }


def addresses(cluster: int, count: int) -> set[str]:
    return {f"198.18.{cluster}.{each}" for each in range(1, count + 1)}


class World:
    """Clusters behind fake API servers, and a registry with a snapshot that may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, FakeApiServer] = {}
        self.snapshot = folder / "state" / "snapshot"
        self.address = f"127.0.0.1:{free_port()}"
        self.registry: RunningRegistry | None = None
        self.more: dict[str, Any] = {}
        """Further sections of the configuration."""
        self.kubeconfigs: Path | None = None
        """A folder that names the members, instead of the configuration file."""

    async def start(self) -> RunningRegistry:
        """Start the registry, on the same port each time; wait until it is ready."""
        self.configure()
        arguments = ("--config", str(self.folder / "registry.yaml"), "--grpc", self.address)
        self.registry = RunningRegistry(self.folder, *arguments)
        await self.registry.__aenter__()
        return self.registry

    def configure(self) -> None:
        """Write the configuration, and the kubeconfigs, of the clusters there are."""
        config: dict[str, Any] = {"snapshot": {"file": "state/snapshot", "minSeconds": 0.05}, **self.more}
        if self.kubeconfigs is not None:
            config["kubeconfigFolder"] = str(self.kubeconfigs)
        else:
            config["clusters"] = [{"name": name, "kubeconfig": f"{name}.kubeconfig"} for name in sorted(self.servers)]
        for name, server in self.servers.items():
            (self.folder / f"{name}.kubeconfig").write_text(kubeconfig(server.url))
        (self.folder / "registry.yaml").write_text(yaml.safe_dump(config))

    async def kill(self) -> None:
        """``kill -9``, and no more."""
        registry, self.registry = self.registry, None
        assert registry is not None
        await registry.kill()

    async def verified(self, name: str) -> bool:
        """What is shown of the cluster is not from the snapshot (any more)."""
        assert self.registry is not None
        said = {each["type"]: each["status"] for each in (await self.registry.cluster(name))["conditions"]}
        return said.get("Verified", True)

    async def remembered(self, cluster: str, *wanted: str) -> None:
        """Wait until just these endpoints of the cluster are in the snapshot."""

        def found() -> bool:
            if not self.snapshot.exists():
                return False
            snapshot = decode(self.snapshot.read_bytes(), "clusterset.local")
            slices = [each.facts[Kind.ENDPOINT_SLICE] for each in snapshot.clusters if each.cluster == cluster]
            ends = {end.address for facts in slices for fact in facts for end in fact.endpoints}
            return ends == set(wanted)

        await until(found, f"the snapshot has {wanted} of {cluster}", 10)


@asynccontextmanager
async def world(folder: Path, *clusters: str) -> AsyncIterator[World]:
    """The cluster of number n has the endpoints ``198.18.n.1`` to ``198.18.n.5``."""
    async with AsyncExitStack() as stack:
        it = World(folder)
        it.snapshot.parent.mkdir()
        for number, name in enumerate(clusters, 1):
            server = it.servers[name] = await stack.enter_async_context(FakeApiServer())
            server.uid = f"uid-{name}"
            await server.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": server.uid}})
            await server.put(Kind.SERVICE, a_service("echo"))
            await server.put(Kind.ENDPOINT_SLICE, a_slice(number, 5))
        try:
            yield it
        finally:
            if it.registry is not None:
                await it.registry.__aexit__(None)


def silenced(server: FakeApiServer) -> None:
    """It takes requests and never answers one."""
    for kind in Kind:
        for verb in VERBS:
            server.script(verb, kind, *(silence() for _ in range(100)))


ALL = addresses(1, 5) | addresses(2, 5)


async def test_client_that_comes_back_after_kill_9_is_told_nothing_it_knew(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.start()
        async with RemovalCounter(it.address, NAME) as client:
            await client.until(lambda: client.addresses() == ALL, "all endpoints")
            await it.remembered("a", *addresses(1, 5))
            await it.remembered("b", *addresses(2, 5))
            told = len(client.responses)
            for _ in range(3):
                connects = client.connects
                await it.kill()
                registry = await it.start()
                await client.until(lambda connects=connects: client.connects > connects, "the client is back")
                for name in ("a", "b"):
                    await until(lambda name=name: it.verified(name), f"{name} has listed", 10)
                assert await registry.addresses("shop/echo") == ALL
            await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(1, 6))
            await client.until(lambda: client.addresses() == ALL | addresses(1, 6), "the first news")
            assert len(client.responses) == told + 1
            assert client.wrong == []


async def test_cluster_that_is_silent_after_a_restart_is_served_and_holds_up_nobody(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.start()
        async with RemovalCounter(it.address, NAME) as client:
            await client.until(lambda: client.addresses() == ALL, "all endpoints")
            await it.remembered("a", *addresses(1, 5))
            await it.remembered("b", *addresses(2, 5))
            told = len(client.responses)
            await it.kill()
            silenced(it.servers["b"])
            await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(1, 6))
            await it.start()
            await client.until(lambda: client.addresses() == ALL | addresses(1, 6), "what came meanwhile")
            await until(lambda: it.verified("a"), "every kind of a is listed")
            assert not await it.verified("b")
            assert len(client.responses) == told + 1
            assert client.wrong == []


async def test_silent_cluster_that_nobody_remembers_holds_up_nobody_and_what_clients_have_of_it_is_not_removed(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "a", "b") as it:
        it.more = {"startup": {"maxWaitSeconds": 0}}
        b = it.servers["b"]
        await b.put(Kind.SERVICE, a_service("other"))
        await b.put(Kind.ENDPOINT_SLICE, a_slice(3, 5, "other-1", "other"))
        await it.start()
        async with RemovalCounter(it.address, NAME, OTHER) as client:
            await client.until(
                lambda: client.addresses(NAME) == ALL and client.addresses(OTHER) == addresses(3, 5), "all endpoints"
            )
            await it.remembered("a", *addresses(1, 5))
            await it.kill()
            it.snapshot.unlink()
            gate = asyncio.Event()
            b.script("identity", Kind.NAMESPACE, knows_itself_behind(gate, b))
            began = asyncio.get_running_loop().time()
            registry = await it.start()
            assert asyncio.get_running_loop().time() - began < 15
            assert (await registry.cluster("b"))["reason"] == "Timeout"
            await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(1, 6))
            async with RemovalCounter(it.address, NAME, OTHER) as newcomer:
                await newcomer.until(lambda: newcomer.addresses(NAME) == addresses(1, 6), "what is known")
                assert client.addresses(NAME) == ALL, "it had endpoints of b, which are kept for it"
            gate.set()
            everything = ALL | addresses(1, 6)
            await client.until(lambda: client.addresses(NAME) == everything, "all endpoints, and what is new in a")
            assert client.addresses(OTHER) == addresses(3, 5)
            assert client.wrong == []
            await it.kill()
            it.snapshot.unlink()
            await b.delete(Kind.SERVICE, "other")
            client.ask(*addresses(3, 5))
            await it.start()
            await client.until(lambda: not client.addresses(OTHER), "once all are listed what is gone is gone")


def knows_itself_behind(gate: asyncio.Event, server: FakeApiServer) -> Answer:
    """Who it is, once the gate is open."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        itself = {"metadata": {"name": "kube-system", "uid": server.uid}}
        return web.Response(body=a_page([itself], kind=Kind.NAMESPACE))

    return answer


async def test_what_was_deleted_meanwhile_goes_with_the_first_list_and_what_came_comes_before(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        await it.start()
        async with RemovalCounter(it.address, NAME) as client:
            await client.until(lambda: client.addresses() == addresses(1, 5), "all endpoints")
            await it.remembered("a", *addresses(1, 5))
            await it.kill()
            server, gate = it.servers["a"], asyncio.Event()
            changed = a_slice(1, 4)
            changed["endpoints"].append({"addresses": ["198.18.1.9"]})
            await server.put(Kind.ENDPOINT_SLICE, changed)
            server.script("list", Kind.NODE, behind(gate, server, Kind.NODE))
            await it.start()
            await client.until(lambda: "198.18.1.9" in client.addresses(), "what came")
            assert "198.18.1.5" in client.addresses(), "the list of Nodes is not complete"
            client.ask("198.18.1.5")
            gate.set()
            await client.until(lambda: "198.18.1.5" not in client.addresses(), "what was deleted goes")
            assert client.wrong == []


def behind(gate: asyncio.Event, server: FakeApiServer, kind: Kind) -> Answer:
    """An empty list, once the gate is open."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response(body=a_page(version=str(server.version), kind=kind))

    return answer


@pytest.mark.parametrize("damage", ["cut", "foreign"])
async def test_snapshot_that_is_no_good_is_set_aside_and_the_registry_starts(tmp_path: Path, damage: str) -> None:
    async with world(tmp_path, "a") as it:
        await it.start()
        await it.remembered("a", *addresses(1, 5))
        await it.kill()
        good = it.snapshot.read_bytes()
        it.snapshot.write_bytes(good[:-1] if damage == "cut" else b"something else")
        registry = await it.start()
        assert await registry.addresses("shop/echo") == addresses(1, 5)
        kind = "corrupt" if damage == "cut" else "foreign"
        assert it.snapshot.with_name(f"snapshot.{kind}.1").exists()
        assert f"is {kind}" in registry.process.log.read_text()
        await it.remembered("a", *addresses(1, 5))


async def test_other_cluster_under_a_remembered_name_does_not_take_its_place(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        await it.start()
        await it.remembered("a", *addresses(1, 5))
        await it.kill()
        server = it.servers["a"]
        server.uid = "uid-other"
        await server.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": "uid-other"}})
        await server.put(Kind.ENDPOINT_SLICE, a_slice(3, 5))
        registry = await it.start()

        async def refused() -> bool:
            return "another cluster" in (await registry.cluster("a"))["message"]

        await until(refused, "it is refused", 10)
        assert await registry.addresses("shop/echo") == addresses(1, 5)


async def test_members_are_remembered_while_the_place_that_names_them_is_away(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        folder, away = tmp_path / "kubeconfigs", tmp_path / "away"
        folder.mkdir()
        for name, server in it.servers.items():
            (folder / name).write_text(kubeconfig(server.url))
        it.kubeconfigs = folder
        await it.start()
        async with RemovalCounter(it.address, NAME) as client:
            await client.until(lambda: client.addresses() == ALL, "all endpoints")
            await it.remembered("a", *addresses(1, 5))
            await it.remembered("b", *addresses(2, 5))
            told = len(client.responses)
            await it.kill()
            folder.rename(away)
            registry = await it.start()
            assert await registry.addresses("shop/echo") == ALL
            assert (await registry.cluster("a"))["reason"] == "NotNamedYet"
            assert len(client.responses) == told
            (away / "b").unlink()
            client.ask(*addresses(2, 5))
            away.rename(folder)
            await until(lambda: it.verified("a"), "a is named and has listed", 10)
            await client.until(lambda: client.addresses() == addresses(1, 5), "b is named by nobody any more", 20)
            assert client.wrong == []


async def test_removed_member_is_not_remembered(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.start()
        await it.remembered("b", *addresses(2, 5))
        await it.kill()
        del it.servers["b"]
        registry = await it.start()
        assert await registry.addresses("shop/echo") == addresses(1, 5)
        await it.remembered("b")


async def test_member_that_nobody_named_after_the_restart_comes_back_as_a_new_one(tmp_path: Path) -> None:
    async with world(tmp_path, "a", "b") as it:
        await it.start()
        await it.remembered("b", *addresses(2, 5))
        await it.kill()
        b = it.servers.pop("b")
        registry = await it.start()
        b.uid = "uid-made-anew"
        await b.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": b.uid}})
        await b.put(Kind.ENDPOINT_SLICE, a_slice(3, 2))
        it.servers["b"] = b
        it.configure()

        async def there() -> bool:
            return await registry.addresses("shop/echo") == addresses(1, 5) | addresses(3, 2)

        await until(there, "it is listed", 10)
        assert (await registry.get("/api/v1/guard"))["held"] == [], "what was remembered of it is forgotten"


async def test_orderly_stop_writes_what_is_new(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        registry = await it.start()
        await it.remembered("a", *addresses(1, 5))
        await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(1, 9))
        await until(lambda: _has(registry, addresses(1, 9)), "the news", 10)
        it.registry = None
        await registry.__aexit__(None)
        await it.remembered("a", *addresses(1, 9))


async def test_snapshot_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, "a") as it:
        it.snapshot.parent.rmdir()
        registry = await it.start()

        async def problems() -> list[Any]:
            return (await registry.get("/api/v1/clusters"))["problems"]

        (said,) = await until(problems, "it is said", 10)
        assert said["reason"] == "SnapshotNotWritten"
        assert "No such file or directory" in said["message"]
        assert await registry.addresses("shop/echo") == addresses(1, 5)
        assert 'mesh_registry_snapshot_writes_total{outcome="failed"}' in await registry.text("/metrics")


async def _has(registry: RunningRegistry, wanted: set[str]) -> bool:
    return await registry.addresses("shop/echo") == wanted
