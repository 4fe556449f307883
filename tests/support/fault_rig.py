"""Two clusters, a proxy in front of each, the registry over both, and a client that counts what is taken away from it.

What most tests of faults begin with. The clusters have no controllers: a service's slices and Pods are written by hand,
so that nothing moves but what the test moves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from support.controlplane import ControlPlane
from support.fault_proxy import FaultProxy
from support.fault_table import Row
from support.kube_api import CORE, DISCOVERY, pod, pod_status, service
from support.lying_proxy import LyingProxy
from support.processes import until
from support.registry import RunningRegistry
from support.removal_counter import RemovalCounter

NAME = "echo"
LABELS = {"app": NAME}
PORTS = [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"}]
SLICES, SLICE_SIZE = 2, 5
USER = "registry"
TIMES = {
    "guard": {"confirmSeconds": 1, "holdSeconds": 60},
    "follow": {"quietSeconds": 3},
    "liveness": {"staleSeconds": 5, "graceSeconds": 0},
}
"""Shorter than by default, so that a test need not wait for minutes."""


class Side:
    """The Service ``echo`` in one cluster: ten endpoints in two slices, each with its Pod."""

    def __init__(self, plane: ControlPlane, namespace: str, subnet: int) -> None:
        """``subnet`` is the third number of the endpoints' addresses ``198.18.<subnet>.<n>``."""
        self.plane = plane
        self._namespace = namespace
        self._addresses = (f"198.18.{subnet}.{number}" for number in range(1, 255))
        self._slices: dict[str, set[str]] = {f"{NAME}-{number}": set() for number in range(1, SLICES + 1)}

    @property
    def slices(self) -> Mapping[str, set[str]]:
        """What each slice has, by its name."""
        return self._slices

    @property
    def addresses(self) -> set[str]:
        return set().union(*self._slices.values())

    async def create(self) -> None:
        await self.plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": self._namespace}})
        await self.plane.api.create(self._path(CORE, "services"), service(NAME, LABELS, PORTS))
        for name, addresses in self._slices.items():
            addresses.update(next(self._addresses) for _ in range(SLICE_SIZE))
            await asyncio.gather(*map(self._start, addresses))
            await self.plane.api.create(self._path(DISCOVERY, "endpointslices"), self._slice(name))

    async def remove(self) -> None:
        """The namespace stays: nobody is there who could end it."""
        for group, kind in ((DISCOVERY, "endpointslices"), (CORE, "services"), (CORE, "pods")):
            await self.plane.api.delete(self._path(group, kind), grace_seconds=0)

    async def add(self) -> str:
        """One more endpoint, in the first slice; its address."""
        address = next(self._addresses)
        await self._start(address)
        await self._change({f"{NAME}-1": self._slices[f"{NAME}-1"] | {address}})
        return address

    def forget(self, address: str) -> None:
        """The cluster has lost the endpoint without anybody having deleted it."""
        for held in self._slices.values():
            held.discard(address)

    async def delete(self, *addresses: str) -> None:
        """These endpoints end: out of their slices at first, then their Pods are gone."""
        await self._change({name: held - set(addresses) for name, held in self._slices.items()})
        for address in addresses:
            await self.plane.api.delete(self._path(CORE, "pods", _pod_name(address)), grace_seconds=0)

    async def _change(self, slices: Mapping[str, set[str]]) -> None:
        for name, addresses in slices.items():
            if addresses != self._slices[name]:
                self._slices[name] = set(addresses)
                await self.plane.api.replace(self._path(DISCOVERY, "endpointslices", name), self._slice(name))

    async def _start(self, address: str) -> None:
        name = _pod_name(address)
        await self.plane.api.create(self._path(CORE, "pods"), pod(name, LABELS, f"{self.plane.name}-1"))
        await self.plane.api.patch(self._path(CORE, "pods", name) + "/status", pod_status(address, ready=True))

    def _slice(self, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [self._endpoint(address) for address in sorted(self._slices[name])],
        }

    def _endpoint(self, address: str) -> dict[str, Any]:
        target = {"kind": "Pod", "name": _pod_name(address), "namespace": self._namespace}
        return {"addresses": [address], "conditions": {"ready": True}, "targetRef": target}

    def _path(self, group: str, kind: str, name: str = "") -> str:
        return f"{group}/namespaces/{self._namespace}/{kind}" + (f"/{name}" if name else "")


@dataclass(slots=True)
class FaultRig:
    """Everything is running, and the client has every endpoint, when a test gets it."""

    a: Side
    b: Side
    proxy: FaultProxy
    """In front of ``a``."""
    registry: RunningRegistry
    client: RemovalCounter
    folder: Path
    rows: list[Row]
    began: float = field(default_factory=time.monotonic)

    @property
    def addresses(self) -> set[str]:
        """What is really there."""
        return self.a.addresses | self.b.addresses

    @asynccontextmanager
    async def fault(self, name: str, how: str, *, within: float) -> AsyncIterator[None]:
        """The fault is made and ended inside the context.

        Nothing may be taken from the client that was not deleted; after the end, one endpoint more and one less in each
        cluster must have reached it ``within`` seconds, with nothing left in doubt, and the cluster be well again.
        """
        yield
        ended = time.monotonic()
        await self.change(self.a, within=within)
        await self.change(self.b, within=within)
        await self.client.until(self.is_right, f"the list is right again after: {name}", within)
        seconds = time.monotonic() - ended
        self.rows.append(Row(name, how, len(self.client.wrong), seconds, within))
        assert self.client.wrong == []
        assert seconds <= within
        await self.is_well()

    def is_right(self) -> bool:
        """The client has exactly what is there, and none of it second choice or draining."""
        shown = self.client.endpoints()
        return set(shown) == self.addresses and all(each.healthy and not each.priority for each in shown.values())

    async def change(self, side: Side, *, within: float) -> None:
        """One endpoint is added and another deleted; both reach the client."""
        added = await side.add()
        await self.client.until(lambda: added in self.client.addresses(), f"{added} is added", within)
        await self.delete(side, next(iter(side.addresses - {added})), within=within)

    async def delete(self, side: Side, *addresses: str, within: float) -> None:
        """These endpoints end, and the client hears of it."""
        self.client.ask(*addresses)
        await side.delete(*addresses)
        await self.client.until(lambda: not self.client.addresses() & set(addresses), "the deleted are gone", within)

    async def told(self, reason: str, timeout: float = 30.0) -> None:
        """The registry says of cluster ``a`` that it fails, with this reason (one of these, with ``|`` between)."""

        async def says() -> bool:
            cluster = await self.registry.cluster("a")
            return cluster["state"] == "Failing" and cluster["reason"] in reason.split("|")

        await until(says, f"cluster a: {reason}", timeout)

    async def doubted(self, timeout: float = 60.0) -> None:
        """The registry has noticed that it does not hear of cluster ``a`` any more, whatever it calls that."""

        async def says() -> bool:
            cluster = await self.registry.cluster("a")
            fresh = next((each for each in cluster.get("conditions", ()) if each["type"] == "ApiFresh"), None)
            return cluster["state"] == "Failing" or (fresh is not None and fresh["status"] is False)

        await until(says, "cluster a is not heard of", timeout)

    async def stands(self, standing: str, timeout: float = 30.0) -> None:
        """So much is believed of cluster ``a``."""

        async def says() -> bool:
            return bool((await self.registry.cluster("a"))["standing"] == standing)

        await until(says, f"cluster a is {standing}", timeout)

    async def doubts(self, addresses: set[str], timeout: float = 30.0) -> None:
        """The client still has these endpoints, and as second choice only."""
        doubted = frozenset(addresses)

        def shown() -> bool:
            endpoints = self.client.endpoints()
            return all(address in endpoints and endpoints[address].priority == 1 for address in doubted)

        await self.client.until(shown, f"{len(doubted)} endpoints are in doubt", timeout)

    async def reconnected(self, action: Callable[[], Awaitable[None] | None], timeout: float = 30.0) -> None:
        """``action`` ends the connections of cluster ``a``; wait until there are new ones."""
        before = self.proxy.accepted
        done = action()
        if done is not None:
            await done
        await until(lambda: self.proxy.accepted > before, "the registry connects again", timeout)

    async def is_well(self, timeout: float = 30.0) -> None:
        """The registry has nothing to say of either cluster."""

        async def says() -> bool:
            states = [await self.registry.cluster(name) for name in ("a", "b")]
            return all((each["state"], each["reason"]) == ("Synced", "") for each in states)

        await until(says, "both clusters are well", timeout)


@asynccontextmanager
async def fault_rig(
    planes: Iterable[ControlPlane],
    namespace: str,
    folder: Path,
    rows: list[Row],
    *,
    lies: LyingProxy | None = None,
    **settings: Any,
) -> AsyncIterator[FaultRig]:
    """With ``lies``, which is in front of cluster ``a``, the registry is led there and not to the TCP proxy.

    ``settings`` are sections of the registry's configuration.
    """
    async with AsyncExitStack() as stack:
        sides = [Side(plane, namespace, subnet) for subnet, plane in enumerate(planes)]
        for side in sides:
            stack.push_async_callback(side.remove)
        creation = asyncio.gather(*(side.create() for side in sides))
        stack.push_async_callback(asyncio.wait, [creation])
        a, b = sides
        proxy = await stack.enter_async_context(FaultProxy(a.plane.port))
        config = folder / "registry.yaml"
        way = (proxy.url, None) if lies is None else (lies.url, lies.ca)
        kubeconfigs = {"a": a.plane.kubeconfig(USER, *way), "b": b.plane.kubeconfig(USER)}
        clusters = [{"name": name, "kubeconfig": str(path)} for name, path in kubeconfigs.items()]
        config.write_text(yaml.safe_dump({"clusters": clusters, **TIMES, **settings}))
        registry = await stack.enter_async_context(RunningRegistry(folder, f"--config={config}"))
        counter = RemovalCounter(registry.grpc, f"outbound|80||{NAME}.{namespace}.svc.clusterset.local")
        client = await stack.enter_async_context(counter)
        await creation
        rig = FaultRig(a, b, proxy, registry, client, folder, rows)
        await client.until(rig.is_right, "the client has every endpoint")
        yield rig


def _pod_name(address: str) -> str:
    return f"{NAME}-{address.replace('.', '-')}"
