"""What the HTTP port answers, as documents.

A long list is made item by item (``Items``). It has what there is when the request comes: each item is as it is when it
is its turn, and left out if it is gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web

from registry.index.addresses import canonical_address
from registry.model.names import ClusterId, ServiceKey
from registry.model.services import MergedService
from registry.servers.documents import (
    client_document,
    cluster_document,
    doubtful_member_document,
    held_document,
    held_objects_document,
    membership_document,
    network_document,
    start_document,
)
from registry.servers.explanation import explanation_document, unknown_address
from registry.servers.paging import PageError, page_of
from registry.servers.rendering import BREATH, Items
from registry.servers.reports import HeldObjectsReport, HeldReport, Reports
from registry.views.names import Names
from registry.views.summary import endpoint_document, refused_document, service_head

SHORT = 50
"""The endpoints of a service are made in one piece up to so many."""

Document = Mapping[str, object]
Key = TypeVar("Key")


class _Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str | None = None
    service: str | None = None
    all: bool = False


class Api:
    """Makes the documents from ``reports``. Every method raises aiohttp's HTTP errors."""

    def __init__(self, reports: Reports, names: Names) -> None:
        self._reports = reports
        self._names = names

    def readyz(self) -> tuple[Document, int]:
        """The document and the status: ready means that clients are answered, and that further ones can connect."""
        start, short = self._reports.start(), self._reports.short_of_files()
        document = {**start_document(start), "clusters": Items(self._states())}
        if short:
            document = {
                **document,
                "ready": False,
                "message": "no file can be opened for a further connection: raise the limit of open files (ulimit -n)",
            }
        ready = start.ready and not short
        return document, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE

    def services(self, request: web.Request) -> Document:
        keys, rest = self._page(request, self._selected(request), _service_position)
        namespace = request.query.get("namespace")
        services = Items(self._document(each) for each in self._present(keys))
        return {"services": services, **self._refused(request, namespace), **rest}

    def service(self, request: web.Request) -> Document:
        return self._document(self._named(request))

    def service_entries(self, request: web.Request) -> Document:
        keys, rest = self._page(request, self._selected(request), _service_position)
        cluster = self._for_cluster(request)
        entries = (self._reports.service_entries(service, cluster) for service in self._present(keys))
        documents = (document for each in entries for document in (each.documents or (BREATH,)))
        return {**_LIST, "items": Items(documents), **rest}

    def service_entry(self, request: web.Request) -> Document:
        """The one entry, or a list of several, as ``kubectl get -o json`` has it."""
        found = self._reports.service_entries(self._named(request), self._for_cluster(request))
        if not found.documents:
            why = "; ".join(each.message for each in found.omissions) or "it has no port that Istio knows"
            raise web.HTTPNotFound(text=f"the service has no ServiceEntry: {why}")
        return found.documents[0] if len(found.documents) == 1 else {**_LIST, "items": Items(found.documents)}

    def clusters(self, request: web.Request) -> Document:
        keys, rest = self._page(request, self._reports.cluster_names(), lambda name: (name,))
        found = (self._reports.cluster(name) for name in keys)
        clusters = Items(cluster_document(report) for report in found if report is not None)
        networks = [network_document(report) for report in self._reports.networks()]
        membership = membership_document(self._reports.membership())
        start = start_document(self._reports.start())
        return {"clusters": clusters, **membership, "networks": networks, "start": start, **rest}

    def guard(self, request: web.Request) -> Document:
        held = {
            (cluster, *key): make
            for cluster in self._reports.doubted()
            for key, make in self._reports.held_of(cluster).items()
        }
        keys, rest = self._page(request, list(held), lambda key: key)
        return {
            "held": Items(held_document(held[key]()) for key in keys),
            "objects": Items(held_objects_document(each) for each in self._reports.held_objects()),
            "members": Items(self._doubtful_members()),
            **rest,
        }

    def release(self, text: bytes) -> Document:
        """``{"cluster": NAME, "service": "NS/NAME"}``, either or both; ``{"all": true}`` for everything that is held.

        A member goes by its own name only.
        """
        cluster, service = _release_request(text)
        released = self._reports.release(cluster, service)
        gone = cluster is not None and service is None and self._reports.release_member(cluster)
        return {
            "released": Items(held_document(each) for each in released if isinstance(each, HeldReport)),
            "objects": Items(held_objects_document(each) for each in released if isinstance(each, HeldObjectsReport)),
            "members": [cluster] if gone else [],
        }

    def explain(self, request: web.Request) -> Document:
        key = ServiceKey(request.match_info["namespace"], request.match_info["name"])
        address, client = request.query.get("address"), request.query.get("client")
        try:
            explanation = self._reports.explain(key, client)
        except LookupError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        known = explanation.service
        if address is None and not known.endpoints and not any(each.service for each in known.clusters):
            raise web.HTTPNotFound(text=f"no cluster has a Service {key}, or slices of one")
        wanted = canonical_address(address) or address if address is not None else None
        chosen = [each for each in known.endpoints if wanted in (None, each.address)]
        if wanted is not None and not chosen:
            raise web.HTTPNotFound(text=unknown_address(explanation, wanted))
        numbers, rest = self._page(request, range(len(chosen)), lambda number: number)
        return {**explanation_document(explanation, self._names, [chosen[each] for each in numbers], Items), **rest}

    def clients(self, request: web.Request) -> Document:
        numbers, rest = self._page(request, self._reports.client_numbers(), lambda number: number)
        found = (self._reports.client(number) for number in numbers)
        return {"clients": Items(client_document(each) for each in found if each is not None), **rest}

    def _page(
        self, request: web.Request, keys: Sequence[Key], position: Callable[[Key], tuple[str, ...] | int]
    ) -> tuple[Sequence[Key], Document]:
        """The keys that are asked for, and what the document has besides."""
        try:
            found, metadata = page_of(request.query).of(keys, position)
        except PageError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return found, {} if metadata is None else {"metadata": metadata}

    def _document(self, service: MergedService) -> Document:
        made = map(endpoint_document, service.endpoints)
        endpoints = list(made) if len(service.endpoints) <= SHORT else Items(made)
        return service_head(service, self._names, self._reports.policy(service)) | {"endpoints": endpoints}

    def _for_cluster(self, request: web.Request) -> ClusterId | None:
        """The cluster as written into which entries are asked for; None: one of which nothing is known."""
        cluster = request.query.get("cluster")
        if cluster is not None and self._reports.cluster_status(ClusterId(cluster)) is None:
            raise web.HTTPNotFound(text=f"no member cluster {cluster}: `get clusters` lists those there are")
        return None if cluster is None else ClusterId(cluster)

    def _selected(self, request: web.Request) -> Sequence[ServiceKey]:
        namespace = request.query.get("namespace")
        keys = self._reports.service_keys()
        return keys if namespace is None else [each for each in keys if each.namespace == namespace]

    def _present(self, keys: Iterable[ServiceKey]) -> Iterator[MergedService]:
        return (service for service in map(self._reports.service, keys) if service is not None)

    def _named(self, request: web.Request) -> MergedService:
        key = ServiceKey(request.match_info["namespace"], request.match_info["name"])
        service = self._reports.service(key)
        if service is None:
            why = "; ".join(f"{each.cluster}: {each.message}" for each in self._reports.refusals(key))
            text = f"no service {key}: " + (why or "`mesh-registry get services` lists those there are")
            raise web.HTTPNotFound(text=text)
        return service

    def _refused(self, request: web.Request, namespace: str | None) -> Document:
        """What is refused, on the first page."""
        return {"refused": Items(() if "continue" in request.query else self._refused_documents(namespace))}

    def _refused_documents(self, namespace: str | None) -> Iterator[object]:
        found = []
        for cluster in self._reports.cluster_names():
            found += [each for each in self._reports.refused_of(cluster) if namespace in (None, each.key.namespace)]
            yield BREATH
        yield from map(refused_document, sorted(found))

    def _states(self) -> Iterator[object]:
        for cluster in self._reports.cluster_names():
            status = self._reports.cluster_status(cluster)
            if status is not None:
                yield {"name": cluster, "state": status.state, "reason": status.reason, "message": status.message}

    def _doubtful_members(self) -> Iterator[object]:
        for name in self._reports.cluster_names():
            report = self._reports.cluster(name)
            yield (doubtful_member_document(report) if report is not None else None) or BREATH


_LIST: Document = {"apiVersion": "v1", "kind": "List"}


def _service_position(key: ServiceKey) -> tuple[str, ...]:
    return key


def _release_request(text: bytes) -> tuple[ClusterId | None, ServiceKey | None]:
    """What is to be let go; a request that names nothing is no request for everything."""
    try:
        asked = msgspec.json.decode(text, type=_Release)
        service = None if asked.service is None else ServiceKey.parse(asked.service)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"{error}; expected cluster, service (NS/NAME) or all") from error
    if asked.all == (asked.cluster is not None or service is not None):
        raise web.HTTPBadRequest(text='name a cluster, a service, or both; or {"all": true}')
    return None if asked.cluster is None else ClusterId(asked.cluster), service
