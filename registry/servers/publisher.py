"""From a change set to the resources it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from registry.model.names import ServiceKey
from registry.model.services import Change, ChangeSet, MergedService
from registry.views.eds import AssignmentEncoder
from registry.views.names import OUTBOUND_HTTP, Names
from registry.views.rds import assemble_routes, encode_virtual_hosts
from registry.views.rendered import Rendered
from registry.views.resources import ROUTE, assignments, outbound_listener, shape
from registry.xds.resources import Resource, ResourceChange


class Store(Protocol):
    """The part of a resource store that is written to."""

    def apply(self, changes: Iterable[ResourceChange]) -> None: ...


class Publisher:
    """Keeps ``store`` the picture of the merged services, one batch per change set.

    A change of endpoints renders that service's assignments and nothing else. A change of ports also renders the
    service's part of ``outbound_http`` and joins the parts of all services, as they were encoded before.
    """

    def __init__(self, store: Store, names: Names, listener: tuple[str, int]) -> None:
        self._store = store
        self._names = names
        self._virtual_hosts: dict[ServiceKey, bytes] = {}
        self._encoders: dict[ServiceKey, AssignmentEncoder] = {}
        store.apply([_put(outbound_listener(*listener)), self._route()])

    def publish(self, changes: ChangeSet) -> None:
        """Render what changed and make it visible at once."""
        batch: list[ResourceChange] = []
        routes_changed = False
        for change in changes:
            if change.old is not None and change.new is not None and change.old.ports == change.new.ports:
                batch += map(_put, self._assignments(change.new))
            else:
                batch += self._reshaped(change)
                routes_changed |= self._render_virtual_hosts(change)
        if routes_changed:
            batch.append(self._route())
        self._store.apply(batch)

    def _reshaped(self, change: Change) -> Iterator[ResourceChange]:
        """Everything of a service that appeared, went, or has other ports than before."""
        gone = {(each.type_url, each.name) for each in self._all_resources(change.old)}
        for each in self._all_resources(change.new):
            gone.discard((each.type_url, each.name))
            yield _put(each)
        for type_url, name in sorted(gone):
            yield ResourceChange(type_url, name, None)
        if change.new is None:
            self._encoders.pop(change.key, None)

    def _assignments(self, service: MergedService) -> Iterator[Rendered]:
        encoder = self._encoders.get(service.key)
        if encoder is None:
            encoder = self._encoders[service.key] = AssignmentEncoder(service.key, self._names)
        return assignments(service, self._names, encoder)

    def _all_resources(self, service: MergedService | None) -> Iterator[Rendered]:
        if service is not None:
            yield from self._assignments(service)
            yield from shape(service, self._names)

    def _render_virtual_hosts(self, change: Change) -> bool:
        """Render the service's part of ``outbound_http``; whether that is another than before."""
        before = self._virtual_hosts.pop(change.key, b"")
        after = b"" if change.new is None else encode_virtual_hosts(change.key, change.new.ports, self._names)
        if after:
            self._virtual_hosts[change.key] = after
        return before != after

    def _route(self) -> ResourceChange:
        body = assemble_routes(self._virtual_hosts[key] for key in sorted(self._virtual_hosts))
        return ResourceChange(ROUTE, OUTBOUND_HTTP, Resource(lambda: body))


def _put(rendered: Rendered) -> ResourceChange:
    return ResourceChange(rendered.type_url, rendered.name, Resource(rendered.encode, rendered.on_demand))
