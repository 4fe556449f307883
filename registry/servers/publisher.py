"""From a change set to the resources it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from registry.model.names import ServiceKey
from registry.model.services import Change, ChangeSet, MergedService
from registry.views.eds import AssignmentEncoder
from registry.views.names import OUTBOUND_HTTP, Names
from registry.views.rds import assemble_routes, encode_virtual_hosts, http_ports
from registry.views.rendered import Rendered
from registry.views.resources import LISTENER, ROUTE, assignments, clusters, on_demand, outbound_listener
from registry.xds.resources import Resource, ResourceChange
from registry.xds.store import Finder


class Store(Protocol):
    """The part of a resource store that is written to."""

    def apply(self, changes: Iterable[ResourceChange]) -> None: ...

    def on_demand(self, type_url: str, find: Finder) -> None: ...

    def watched(self, type_url: str, name: str) -> bool: ...


class Publisher:
    """Keeps ``store`` the picture of the merged services, one batch per change set.

    A change of endpoints renders that service's assignments and nothing else. A change of ports also renders the
    service's part of ``outbound_http`` and joins the parts of all services, as they were encoded before. Nothing is
    encoded before somebody wants it, and what gRPC clients ask for, five names a service, is not even stored.
    """

    def __init__(self, store: Store, names: Names, listener: tuple[str, int]) -> None:
        self._store = store
        self._names = names
        self._services: dict[ServiceKey, MergedService] = {}
        self._virtual_hosts: dict[ServiceKey, bytes] = {}
        """Services' parts of ``outbound_http``, as far as they were encoded."""
        self._encoders: dict[ServiceKey, AssignmentEncoder] = {}
        for type_url in (LISTENER, ROUTE):
            store.on_demand(type_url, self._find)
        store.apply([_put(outbound_listener(*listener)), self._route()])

    def publish(self, changes: ChangeSet) -> None:
        """Render what changed and make it visible at once."""
        batch: list[ResourceChange] = []
        routes_changed = False
        for change in changes:
            self._keep(change)
            if change.old is not None and change.new is not None and change.old.ports == change.new.ports:
                batch += map(_put, self._assignments(change.new))
            else:
                batch += self._reshaped(change)
                routes_changed |= self._virtual_hosts_changed(change)
        if routes_changed:
            batch.append(self._route())
        self._store.apply(batch)

    def _keep(self, change: Change) -> None:
        if change.new is not None:
            self._services[change.key] = change.new
        else:
            self._services.pop(change.key, None)
            self._encoders.pop(change.key, None)
            self._virtual_hosts.pop(change.key, None)

    def _reshaped(self, change: Change) -> Iterator[ResourceChange]:
        """Everything of a service that appeared, went, or has other ports than before."""
        gone = {(each.type_url, each.name) for each in self._listed(change.old)}
        for each in self._listed(change.new):
            gone.discard((each.type_url, each.name))
            yield _put(each)
        asked = self._asked(change.old)
        gone |= asked.keys()
        for named, each in self._asked(change.new).items():
            gone.discard(named)
            yield _put(each)
        for type_url, name in sorted(gone):
            yield ResourceChange(type_url, name, None)

    def _listed(self, service: MergedService | None) -> Iterator[Rendered]:
        if service is not None:
            yield from self._assignments(service)
            yield from clusters(service, self._names)

    def _asked(self, service: MergedService | None) -> Mapping[tuple[str, str], Rendered]:
        """What somebody subscribes to of that which is not stored."""
        found = on_demand(service, self._names) if service is not None else ()
        return {(each.type_url, each.name): each for each in found if self._store.watched(each.type_url, each.name)}

    def _find(self, type_url: str, name: str) -> Resource | None:
        key = self._names.parse(name)
        service = self._services.get(key) if key is not None else None
        if service is not None:
            for each in on_demand(service, self._names):
                if (each.type_url, each.name) == (type_url, name):
                    return Resource(each.encode, each.on_demand)
        return None

    def _assignments(self, service: MergedService) -> Iterator[Rendered]:
        return assignments(service, self._names, self._encode_assignment)

    def _encode_assignment(self, service: MergedService, port: int) -> bytes:
        encoder = self._encoders.get(service.key)
        if encoder is None:
            encoder = self._encoders[service.key] = AssignmentEncoder(service.key, self._names)
        return encoder.encode(service, port)

    def _virtual_hosts_changed(self, change: Change) -> bool:
        """Whether the service's part of ``outbound_http`` is another than before; then that is forgotten."""
        old = http_ports(change.old.ports) if change.old is not None else []
        new = http_ports(change.new.ports) if change.new is not None else []
        if old == new:
            return False
        self._virtual_hosts.pop(change.key, None)
        return True

    def _route(self) -> ResourceChange:
        return ResourceChange(ROUTE, OUTBOUND_HTTP, Resource(self._encode_route))

    def _encode_route(self) -> bytes:
        return assemble_routes(self._encoded_virtual_hosts(key) for key in sorted(self._services))

    def _encoded_virtual_hosts(self, key: ServiceKey) -> bytes:
        found = self._virtual_hosts.get(key)
        if found is None:
            ports = self._services[key].ports
            found = self._virtual_hosts[key] = encode_virtual_hosts(key, ports, self._names)
        return found


def _put(rendered: Rendered) -> ResourceChange:
    return ResourceChange(rendered.type_url, rendered.name, Resource(rendered.encode, rendered.on_demand))
