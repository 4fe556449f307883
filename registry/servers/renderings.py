"""What watchers of services are sent, rendered once for all who look from one place, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from registry.model.names import ServiceKey
from registry.model.services import MergedService
from registry.views.lookup import ServiceViews, View, encode_absence, encode_update

RENDERED_BYTES = 32 << 20
"""So much of what was sent is kept for others who look from the same place. Further renderings are made anew."""

PREPARED_ENDPOINTS = 5_000
"""Services with so many endpoints together are kept ready for further views; the last one is, however large it is."""


class _Prepared(NamedTuple):
    service: MergedService
    generation: int
    views: ServiceViews


class _Rendered(NamedTuple):
    service: MergedService
    generation: int
    message: bytes


class Renderings:
    """Renderings of services by view. One counts as long as the service is the same object and nothing is ``outdated``.

    ``prepare`` makes what all views of a service have in common.
    """

    def __init__(self, prepare: Callable[[MergedService], ServiceViews]) -> None:
        self._prepare = prepare
        self._generation = 0
        self._prepared: dict[ServiceKey, _Prepared] = {}
        self._endpoints = 0
        """Of the services in ``_prepared``."""
        self._rendered: dict[View, dict[ServiceKey, _Rendered]] = {}
        self._bytes = 0

    def outdated(self) -> None:
        """The policies of services, or the gateways between networks, are other ones."""
        self._generation += 1

    def update(self, key: ServiceKey, service: MergedService | None, view: View) -> bytes:
        """The WatchResponse that says how the service is now; None: there is no such service."""
        if service is None:
            return encode_absence(key)
        rendered = self._rendered.setdefault(view, {})
        found = rendered.get(key)
        if found is not None and found.service is service and found.generation == self._generation:
            return found.message
        message = encode_update(self._views(service).message(view))
        self._bytes += len(message) - (len(found.message) if found is not None else 0)
        rendered[service.key] = _Rendered(service, self._generation, message)
        while self._bytes > RENDERED_BYTES:
            self._drop_one()
        return message

    def forget(self, view: View) -> None:
        """Nobody looks from there any more."""
        self._bytes -= sum(len(each.message) for each in self._rendered.pop(view, {}).values())

    def clear(self) -> None:
        """Nobody looks at all."""
        self._prepared.clear()
        self._rendered.clear()
        self._endpoints = self._bytes = 0

    def _views(self, service: MergedService) -> ServiceViews:
        found = self._prepared.pop(service.key, None)
        if found is not None:
            self._endpoints -= len(found.service.endpoints)
        if found is None or found.service is not service or found.generation != self._generation:
            found = _Prepared(service, self._generation, self._prepare(service))
        self._prepared[service.key] = found
        self._endpoints += len(service.endpoints)
        while self._endpoints > PREPARED_ENDPOINTS and len(self._prepared) > 1:
            oldest = self._prepared.pop(next(iter(self._prepared)))
            self._endpoints -= len(oldest.service.endpoints)
        return found.views

    def _drop_one(self) -> None:
        """The oldest rendering of the view that has had some for longest."""
        view, rendered = next(iter(self._rendered.items()))
        if rendered:
            self._bytes -= len(rendered.pop(next(iter(rendered))).message)
        if not rendered:
            del self._rendered[view]
