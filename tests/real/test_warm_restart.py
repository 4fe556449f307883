"""``kill -9`` of the registry over two real clusters, one of which says nothing when it comes back."""

from __future__ import annotations

from pathlib import Path

from support.outages import stopped
from support.processes import free_port, until
from support.registry import RunningRegistry
from support.removal_counter import RemovalCounter
from support.scene import Planes, scene

from registry.model.names import Kind
from registry.snapshot.format import decode


def remembered(path: Path, namespace: str) -> set[str]:
    """The endpoints of the namespace in the snapshot."""
    if not path.exists():
        return set()
    slices = [
        each.facts.get(Kind.ENDPOINT_SLICE, ()) for each in decode(path.read_bytes(), "clusterset.local").clusters
    ]
    return {end.address for facts in slices for fact in facts if fact.namespace == namespace for end in fact.endpoints}


async def verified(registry: RunningRegistry, name: str) -> bool:
    said = {each["type"]: each["status"] for each in (await registry.cluster(name))["conditions"]}
    return said.get("Verified", True)


async def test_clients_are_told_nothing_they_knew_and_a_silent_cluster_holds_up_nobody(
    planes: Planes, tmp_path: Path
) -> None:
    path, address = tmp_path / "snapshot", f"127.0.0.1:{free_port()}"
    async with scene(planes, tmp_path, "--snapshot", str(path), "--grpc", address) as it:
        before = await it.settled(4)
        async with RemovalCounter(address, it.cluster) as client:
            await client.until(lambda: client.addresses() == before, "the pods of both clusters")
            await until(lambda: remembered(path, planes.namespace) == before, "the snapshot has them", 15)
            told, connects, process = len(client.responses), client.connects, it.registry.process
            process.kill()
            with stopped(planes.b.apiserver):
                process.start()
                await until(it.registry.ready, "the registry is ready though b says nothing", 15)
                await client.until(lambda: client.connects > connects, "the client is back")
                await until(lambda: verified(it.registry, "a"), "a has listed", 30)
                assert await it.registry.addresses(it.service) == before
                assert len(client.responses) == told, "it had all of it"
                await it.a.scale(3)
                await client.until(lambda: len(client.addresses()) == 5, "news of a")
                assert not await verified(it.registry, "b")
            await until(lambda: verified(it.registry, "b"), "b has listed", 60)
            await it.settled(5)
            assert client.wrong == []
            assert client.without_cause == []
