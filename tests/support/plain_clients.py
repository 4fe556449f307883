"""Clients that keep what they are told: a Delta xDS client, and a watcher of the lookup API. No sockets between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2

from registry.protos import registry_pb2
from registry.rpc.seam import CallInfo, Code, Service, StreamHandler
from registry.xds.types import ADS_DELTA_METHOD, CDS, EDS, LDS, RDS

CALL = CallInfo("test", "memory")
Shown = dict[str, dict[tuple[str, str], int]]
"""Service -> (cluster, address) -> priority."""


class _Line:
    """The server's side of a stream: pulled on the next turn after it was woken."""

    def __init__(self, pull: Callable[[], None]) -> None:
        self._pull = pull
        self._scheduled = False
        self.closed = False

    def wake(self) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        raise AssertionError(f"the stream was ended: {code.name} {message}")

    def charge(self, size: int) -> None:
        """What the server keeps is no concern of these clients."""

    def _run(self) -> None:
        self._scheduled = False
        if not self.closed:
            self._pull()


class DeltaClient:
    """Subscribed to all clusters and listeners, the assignments of these clusters, and the one route configuration.

    ``saw`` is called when it took something. What it has survives its connections; it says so when it comes back.
    """

    def __init__(self, saw: Callable[[], None]) -> None:
        self.held: dict[str, dict[str, tuple[str, bytes]]] = {kind.url: {} for kind in (CDS, EDS, LDS, RDS)}
        """Type -> name -> version and body."""
        self.removed: list[str] = []
        self.taken: list[str] = []
        """The names that responses removed and brought since somebody emptied these lists."""
        self._saw = saw
        self._subscribed: set[str] = set()
        """The assignments it asked for."""
        self._line: _Line | None = None
        self._handler: StreamHandler | None = None

    def connect(self, service: Service) -> None:
        self.disconnect()
        self._line = _Line(self._pull)
        self._handler = service.streams[ADS_DELTA_METHOD](self._line, CALL)
        self._subscribed = set(self.held[CDS.url])
        wanted = {CDS.url: ["*"], LDS.url: ["*"], RDS.url: ["outbound_http"], EDS.url: sorted(self._subscribed)}
        for url, names in wanted.items():
            known = {name: version for name, (version, _) in self.held[url].items()}
            if names:
                self._say(type_url=url, resource_names_subscribe=names, initial_resource_versions=known)
        self._pull()

    def disconnect(self) -> None:
        if self._line is not None and self._handler is not None:
            self._line.closed = True
            self._handler.closed()
        self._line = self._handler = None

    def resources(self) -> dict[tuple[str, str], bytes]:
        """Everything it has, by type and name."""
        return {(url, name): body for url, held in self.held.items() for name, (_, body) in held.items()}

    def shown(self) -> Shown:
        found: Shown = {}
        for name in self.held[CDS.url]:
            ends = found[name.split("|")[3].split(".")[0]] = {}
            _, body = self.held[EDS.url].get(name, ("", b""))
            for group in endpoint_pb2.ClusterLoadAssignment.FromString(body).endpoints:
                for each in group.lb_endpoints:
                    address = each.endpoint.address.socket_address.address
                    assert each.endpoint.address.socket_address.port_value == 8080
                    ends[group.locality.sub_zone, address] = group.priority
        return found

    def _pull(self) -> None:
        took = False
        while self._handler is not None and (data := self._handler.next_message()) is not None:
            took = True
            self._take(discovery_pb2.DeltaDiscoveryResponse.FromString(data))
        if took:
            self._saw()

    def _take(self, message: discovery_pb2.DeltaDiscoveryResponse) -> None:
        held = self.held[message.type_url]
        for each in message.resources:
            before = held.get(each.name)
            assert before is None or before[0] != each.version, f"{each.name} was known in version {each.version}"
            held[each.name] = each.version, each.resource.value
            self.taken.append(each.name)
        for name in message.removed_resources:
            held.pop(name, None)
            self.removed.append(name)
        self._say(type_url=message.type_url, response_nonce=message.nonce)
        if message.type_url == CDS.url:
            self._want(self.held[CDS.url])

    def _want(self, names: Iterable[str]) -> None:
        """Assignments of these clusters and no others."""
        before, self._subscribed = self._subscribed, set(names)
        new, old = sorted(self._subscribed - before), sorted(before - self._subscribed)
        for name in old:
            self.held[EDS.url].pop(name, None)
        if new or old:
            self._say(type_url=EDS.url, resource_names_subscribe=new, resource_names_unsubscribe=old)

    def _say(
        self,
        *,
        type_url: str,
        response_nonce: str = "",
        resource_names_subscribe: Iterable[str] = (),
        resource_names_unsubscribe: Iterable[str] = (),
        initial_resource_versions: dict[str, str] | None = None,
    ) -> None:
        assert self._handler is not None
        self._handler.received(
            discovery_pb2.DeltaDiscoveryRequest(
                node=base_pb2.Node(id="somebody"),
                type_url=type_url,
                response_nonce=response_nonce,
                resource_names_subscribe=resource_names_subscribe,
                resource_names_unsubscribe=resource_names_unsubscribe,
                initial_resource_versions=initial_resource_versions or {},
            ).SerializeToString()
        )


class LookupClient:
    """Watches these services of the namespace ``shop``. ``saw`` is called when it was told something."""

    def __init__(self, names: Iterable[str], saw: Callable[[], None]) -> None:
        self._names = tuple(names)
        self._saw = saw
        self._services: dict[str, registry_pb2.Service] = {}
        self._line: _Line | None = None
        self._handler: StreamHandler | None = None

    def connect(self, service: Service) -> None:
        self.disconnect()
        self._line = _Line(self._pull)
        self._handler = service.streams["Watch"](self._line, CALL)
        names = [registry_pb2.ServiceName(namespace="shop", name=name) for name in self._names]
        self._handler.received(registry_pb2.WatchRequest(services=names).SerializeToString())
        self._pull()

    def disconnect(self) -> None:
        if self._line is not None and self._handler is not None:
            self._line.closed = True
            self._handler.closed()
        self._line = self._handler = None

    def shown(self) -> Shown:
        return {
            name: {(each.cluster, each.address): each.priority for each in service.endpoints}
            for name, service in self._services.items()
        }

    def _pull(self) -> None:
        took = False
        while self._handler is not None and (data := self._handler.next_message()) is not None:
            took = True
            message = registry_pb2.WatchResponse.FromString(data)
            if message.HasField("absent"):
                self._services.pop(message.absent.name, None)
            else:
                self._services[message.service.name.name] = message.service
        if took:
            self._saw()
