"""A replica that starts takes over from another one what it cannot learn itself; two real processes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from support.fake_apiserver import FakeApiServer, kubeconfig
from support.kube_wire import a_service
from support.moving_client import moving_clients
from support.processes import free_port, until
from support.registry import RunningRegistry

from registry.model.names import Kind

NAME = "outbound|80||echo.shop.svc.clusterset.local"
A, B = {f"198.18.1.{each}" for each in (1, 2)}, {f"198.18.2.{each}" for each in (1, 2)}


def a_slice(*addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "echo-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [each]} for each in addresses],
    }


class Replicas:
    """The member clusters ``a`` and ``b`` behind fake API servers, and replicas that follow them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, FakeApiServer] = {}
        self.running: dict[str, RunningRegistry] = {}
        self.away: set[str] = set()

    def prepare(self, name: str, *peers: str, listen_at: str = "", **more: Any) -> RunningRegistry:
        """A replica that is not started yet, with a configuration of its own."""
        members = [{"name": each, "kubeconfig": f"{each}.kubeconfig"} for each in self.servers]
        config = {"clusters": members, "peers": list(peers), **more}
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        self.running[name] = RunningRegistry(
            self.folder,
            "--config",
            str(self.folder / f"{name}.yaml"),
            "--grpc",
            listen_at or f"127.0.0.1:{free_port()}",
            name=name,
        )
        return self.running[name]

    async def start(self, name: str, *peers: str, **more: Any) -> RunningRegistry:
        """A replica that is ready."""
        replica = self.prepare(name, *peers, **more)
        await replica.__aenter__()
        return replica

    async def down(self, name: str) -> None:
        """The member's API server is gone."""
        await self.servers[name].__aexit__(None)
        self.away.add(name)

    async def stop(self, name: str) -> None:
        await self.running.pop(name).__aexit__(None)

    def log(self, name: str) -> str:
        return self.running[name].process.log.read_text()


@asynccontextmanager
async def replicas(folder: Path) -> AsyncIterator[Replicas]:
    it = Replicas(folder)
    try:
        for name, addresses in (("a", A), ("b", B)):
            server = it.servers[name] = await FakeApiServer().__aenter__()
            server.uid = f"uid-{name}"
            await server.put(Kind.NAMESPACE, {"metadata": {"name": "kube-system", "uid": server.uid}})
            await server.put(Kind.SERVICE, a_service("echo"))
            await server.put(Kind.ENDPOINT_SLICE, a_slice(*sorted(addresses)))
            (folder / f"{name}.kubeconfig").write_text(kubeconfig(server.url))
        yield it
    finally:
        for replica in it.running.values():
            await replica.kill()
        for name in it.servers.keys() - it.away:
            await it.down(name)


async def waiting_for(replica: RunningRegistry) -> list[str]:
    """Whom readiness waits for."""
    document = await replica.get("/readyz")
    return [each["name"] for each in document.get("waitingFor", ())]


async def test_rollout_while_a_member_is_down_loses_nothing(tmp_path: Path) -> None:
    async with replicas(tmp_path) as it:
        one = await it.start("one")
        later = it.prepare("two", one.grpc)
        async with moving_clients(NAME, one.grpc, later.grpc) as clients:
            await until(lambda: all(each.addresses == A | B for each in clients), "all endpoints", 10)
            await it.down("b")
            two = it.running["two"]
            await two.__aenter__()
            assert await two.addresses("shop/echo") == A | B
            assert {each["type"]: each["reason"] for each in (await two.cluster("b"))["conditions"]}[
                "Verified"
            ] == "FromPeer"
            await it.stop("one")
            await until(lambda: all(each.joined[-1][1] == two.grpc for each in clients), "they moved", 10)
            await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(*sorted(A), "198.18.1.9"))
            await until(lambda: all("198.18.1.9" in each.addresses for each in clients), "the news of a", 10)
            for client in clients:
                assert client.lost == set()
                assert client.addresses == A | B | {"198.18.1.9"}


async def test_without_a_peer_readiness_waits_for_the_member_up_to_the_bound_and_says_so(tmp_path: Path) -> None:
    async with replicas(tmp_path) as it:
        one = await it.start("one")
        two = it.prepare("two", startup={"maxWaitSeconds": 5}, guard={"confirmSeconds": 1, "holdSeconds": 8})
        async with moving_clients(NAME, one.grpc, two.grpc) as clients:
            await until(lambda: all(each.addresses == A | B for each in clients), "all endpoints", 10)
            await it.down("b")
            two.begin()
            await until(lambda: _is(waiting_for(two), ["b"]), "it waits for b", 10)
            shown = two.command("get", "clusters", "--server", two.http)
            assert "not ready: waiting for b, " in shown.stdout
            began = time.monotonic()
            await until(two.ready, "it is ready after the bound", 15)
            assert time.monotonic() - began < 10
            assert "without knowing b (Unreachable" in it.log("two")
            conditions = {each["type"]: each["reason"] for each in (await two.cluster("b"))["conditions"]}
            assert conditions["Known"] == "ServedWithout"
            assert 'mesh_registry_member_unknown{name="b"' in await two.text("/metrics")
            await it.stop("one")
            await until(lambda: all(each.joined[-1][1] == two.grpc for each in clients), "they moved", 10)
            await it.servers["a"].put(Kind.ENDPOINT_SLICE, a_slice(*sorted(A), "198.18.1.9"))
            await until(lambda: _is(two.addresses("shop/echo"), A | {"198.18.1.9"}), "it knows the news of a", 10)
            async with moving_clients(NAME, two.grpc) as newcomers:
                known = A | {"198.18.1.9"}
                await until(lambda: all(each.addresses == known for each in newcomers), "newcomers", 10)
            assert all(each.addresses == A | B for each in clients), "they keep what they had"
            await until(lambda: all(each.addresses == known for each in clients), "after guard.holdSeconds", 20)


async def _is(value: Any, wanted: Any) -> bool:
    return bool(await value == wanted)


async def test_two_replicas_that_are_blind_about_a_member_do_not_take_each_other_as_knowing_it(tmp_path: Path) -> None:
    async with replicas(tmp_path) as it:
        await it.down("b")
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("one", "two")}
        for name, address in addresses.items():
            it.prepare(name, *addresses.values(), startup={"maxWaitSeconds": 6}, listen_at=address).begin()
        one, two = it.running["one"], it.running["two"]
        for each in (one, two):
            await until(lambda each=each: _is(waiting_for(each), ["b"]), "it waits for b", 10)
        for each in (one, two):
            await until(each.ready, "it is ready after the bound", 20)
            assert await each.addresses("shop/echo") == A
            assert "without knowing b (" in each.process.log.read_text()
            assert "cluster b: Verified" not in each.process.log.read_text(), "of a the one may know before the other"


async def test_peer_that_comes_to_know_a_member_while_this_one_waits_is_taken_then(tmp_path: Path) -> None:
    async with replicas(tmp_path) as it:
        port = free_port()
        two = it.prepare("two", f"127.0.0.1:{port}")
        await it.start("first", snapshot={"file": "state", "minSeconds": 0})
        await until((tmp_path / "state").exists, "its snapshot", 10)
        await it.stop("first")
        await it.down("b")
        two.begin()
        await until(lambda: _is(waiting_for(two), ["b"]), "it waits for b", 10)
        await it.start("one", snapshot={"file": "state", "minSeconds": 0}, listen_at=f"127.0.0.1:{port}")
        await until(two.ready, "it has taken over", 15)
        assert await two.addresses("shop/echo") == A | B
        assert "took over" in it.log("two")
