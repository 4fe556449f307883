"""A registry in this process over fake API servers: members that come and go without a process for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from support.fake_apiserver import FakeApiServer, kubeconfig
from support.processes import until
from support.removal_counter import RemovalCounter

from registry.app import Registry
from registry.config import ClusterConfig, Config, ListenConfig
from registry.model.conditions import ConditionType, Dated
from registry.model.names import ClusterId, Kind, ServiceKey
from registry.servers.reports import ClusterReport

ECHO = ServiceKey("shop", "echo")
EDS_NAME = "outbound|80||echo.shop.svc.clusterset.local"
LISTEN = ListenConfig("127.0.0.1:0", "127.0.0.1:0")


def a_slice_of(*addresses: str) -> dict[str, Any]:
    """The EndpointSlice of ``shop/echo``."""
    return {
        "metadata": {"name": "echo-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
    }


@asynccontextmanager
async def a_cluster(
    uid: str, *addresses: str, more: Callable[[web.Application], None] = lambda _: None
) -> AsyncIterator[FakeApiServer]:
    """A fake API server with the service ``shop/echo`` and these endpoints; ``more`` adds what else it answers."""
    server = FakeApiServer()
    server.more = more
    async with server:
        server.uid = uid
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        await server.put(Kind.SERVICE, {"metadata": {"name": "echo", "namespace": "shop"}, "spec": {"ports": ports}})
        await server.put(Kind.ENDPOINT_SLICE, a_slice_of(*addresses))
        yield server


@dataclass
class Fleet:
    """The running registry, and a client that watches ``shop/echo``."""

    registry: Registry
    client: RemovalCounter

    def report(self, name: str) -> ClusterReport:
        """How a member is doing; fails when it is none."""
        return next(each for each in self.registry.reports.clusters() if each.cluster == name)

    def states(self) -> dict[str, str]:
        """Member -> its state and reason."""
        return {
            str(each.cluster): " ".join(filter(None, (each.status.state, each.status.reason)))
            for each in self.registry.reports.clusters()
        }

    def condition(self, name: str, kind: ConditionType) -> Dated | None:
        return next((each for each in self.report(name).conditions if each.condition.type is kind), None)

    def clusters_of(self) -> dict[str, ClusterId]:
        """Address -> the member that has it, in the merged list."""
        service = self.registry.reports.service(ECHO)
        return {endpoint.address: endpoint.cluster for endpoint in service.endpoints} if service else {}

    async def has(self, *addresses: str) -> None:
        """The client has exactly these endpoints."""
        await self.client.until(lambda: self.client.addresses() == set(addresses), f"exactly {addresses}")

    async def members_are(self, **states: str) -> None:
        await until(lambda: self.states() == states, f"the members are {states}", timeout=15)

    async def current(self, name: str, *, is_: bool, reason: str = "InUse") -> str:
        """The member's credentials are the newest that were given, or not, for that reason; the message."""

        def told() -> bool:
            found = self.condition(name, ConditionType.CREDENTIALS_CURRENT)
            return found is not None and (found.condition.status, found.condition.reason) == (is_, reason)

        await until(told, f"whether the credentials of {name} are current is {is_}: {reason}")
        found = self.condition(name, ConditionType.CREDENTIALS_CURRENT)
        assert found is not None
        return found.condition.message


@asynccontextmanager
async def fleet(
    config: Config, flags: tuple[ClusterConfig, ...] = (), file: tuple[Path, Config] | None = None
) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        registry = Registry(config, flags, file)
        await registry.start()
        stack.push_async_callback(registry.stop)
        client = await stack.enter_async_context(RemovalCounter(registry.grpc_address, EDS_NAME))
        yield Fleet(registry, client)


def replace_file(path: Path, content: str) -> None:
    """As a careful program writes: another file in its place, at once."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(content)
    fresh.replace(path)


def config_of(server: FakeApiServer, token: str = "secret") -> str:
    return kubeconfig(server.url, user={"token": token})
