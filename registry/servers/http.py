"""The HTTP side for operators: health, readiness, metrics and the API under ``/api/v1``."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

from registry.errors import StartError
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
from registry.servers.reports import HeldObjectsReport, HeldReport, Reports
from registry.views.names import Names
from registry.views.service_entry import ServiceEntries
from registry.views.summary import refused_document, service_document

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHUTDOWN_SECONDS = 2.0

PATHS = {
    "/healthz": "the process runs",
    "/readyz": "clients are answered; whom that waits for, and the state of each cluster",
    "/metrics": "Prometheus metrics",
    "/api/v1/services": "the merged services and their endpoints; ?namespace=NS for one namespace",
    "/api/v1/services/{namespace}/{name}": "one of them",
    "/api/v1/serviceentries": "the services as Istio ServiceEntries; ?namespace=NS, ?cluster=C: as written into C",
    "/api/v1/serviceentries/{namespace}/{name}": "those of one service",
    "/api/v1/clusters": "the member clusters and how each is doing; who was refused as one; the networks",
    "/api/v1/guard": "what lists lack and is kept in doubt; POST /api/v1/guard/release lets it go",
    "/api/v1/explain/{namespace}/{name}": "why its endpoints are there, or are not; ?address=A&client=ID",
    "/api/v1/clients": "the connected xDS clients: what they were sent, ACKed and NACKed",
}


class _Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: str | None = None
    service: str | None = None
    all: bool = False


class HttpServer:
    """Serves ``reports`` and the ``exposition`` of metrics on ``host``:``port`` (port 0: any free one)."""

    def __init__(self, reports: Reports, names: Names, exposition: Callable[[], bytes], host: str, port: int) -> None:
        self._reports = reports
        self._names = names
        self._exposition = exposition
        self._host = host
        self._port = port
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)

    async def start(self) -> str:
        """Listen; returns the bound address as HOST:PORT.

        Raises:
            StartError: the address cannot be had.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise StartError(
                f"HTTP cannot listen on {self._host}:{self._port} ({error.strerror}): choose another with --http"
            ) from error
        host, port, *_ = self._runner.addresses[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Finish what is being answered, then close."""
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[_errors_as_json])
        handlers = (
            self._healthz,
            self._readyz,
            self._metrics,
            self._services,
            self._service,
            self._service_entries,
            self._service_entry,
            self._clusters,
            self._guard,
            self._explain,
            self._clients,
        )
        app.router.add_get("/", self._index)
        for path, handler in zip(PATHS, handlers, strict=True):
            app.router.add_get(path, handler)
        app.router.add_post("/api/v1/guard/release", self._release)
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        width = max(map(len, PATHS))
        lines = [f"{path.ljust(width)}  {meaning}" for path, meaning in PATHS.items()]
        return web.Response(text="\n".join(["mesh-registry", "", *lines, ""]))

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        start = self._reports.start()
        clusters = [
            {
                "name": report.cluster,
                "state": report.status.state,
                "reason": report.status.reason,
                "message": report.status.message,
            }
            for report in self._reports.clusters()
        ]
        status = HTTPStatus.OK if start.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({**start_document(start), "clusters": clusters}, status)

    async def _metrics(self, _request: web.Request) -> web.Response:
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._exposition(), headers={"Content-Type": content_type})

    async def _services(self, request: web.Request) -> web.Response:
        namespace = request.query.get("namespace")
        refused = (each for each in self._reports.refused() if namespace in (None, each.key.namespace))
        services = [self._document(each) for each in self._selected(request)]
        return _json({"services": services, "refused": list(map(refused_document, refused))})

    async def _service(self, request: web.Request) -> web.Response:
        return _json(self._document(self._named(request)))

    async def _service_entries(self, request: web.Request) -> web.Response:
        items = [entry for each in self._selected(request) for entry in self._entries(request, each).documents]
        return _json(_list(items))

    async def _service_entry(self, request: web.Request) -> web.Response:
        """The one entry, or a list of several, as ``kubectl get -o json`` has it."""
        found = self._entries(request, self._named(request))
        if not found.documents:
            why = "; ".join(each.message for each in found.omissions) or "it has no port that Istio knows"
            raise web.HTTPNotFound(text=f"the service has no ServiceEntry: {why}")
        return _json(found.documents[0] if len(found.documents) == 1 else _list(found.documents))

    def _entries(self, request: web.Request, service: MergedService) -> ServiceEntries:
        """As they are written into the cluster that is asked for, or into one of which nothing is known."""
        cluster = request.query.get("cluster")
        try:
            return self._reports.service_entries(service, ClusterId(cluster) if cluster is not None else None)
        except KeyError as error:
            raise web.HTTPNotFound(text=f"no member cluster {cluster}: `get clusters` lists those there are") from error

    async def _clusters(self, _request: web.Request) -> web.Response:
        clusters = [cluster_document(report) for report in self._reports.clusters()]
        networks = [network_document(report) for report in self._reports.networks()]
        membership = membership_document(self._reports.membership())
        start = start_document(self._reports.start())
        return _json({"clusters": clusters, **membership, "networks": networks, "start": start})

    async def _guard(self, _request: web.Request) -> web.Response:
        held = _guard_document("held", [*self._reports.held(), *self._reports.held_objects()])
        doubted = [doubtful_member_document(each) for each in self._reports.clusters()]
        return _json({**held, "members": [each for each in doubted if each is not None]})

    async def _release(self, request: web.Request) -> web.Response:
        """``{"cluster": NAME, "service": "NS/NAME"}``, either or both; ``{"all": true}`` for everything that is held.

        A member goes by its own name only.
        """
        _refuse_strangers(request)
        cluster, service = _release_request(await request.read())
        released = _guard_document("released", self._reports.release(cluster, service))
        gone = cluster is not None and service is None and self._reports.release_member(cluster)
        return _json({**released, "members": [cluster] if gone else []})

    async def _explain(self, request: web.Request) -> web.Response:
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
        if wanted is not None and not any(each.address == wanted for each in known.endpoints):
            raise web.HTTPNotFound(text=unknown_address(explanation, wanted))
        return _json(explanation_document(explanation, self._names, [wanted] if wanted is not None else ()))

    async def _clients(self, _request: web.Request) -> web.Response:
        return _json({"clients": [client_document(client) for client in self._reports.clients()]})

    def _document(self, service: MergedService) -> dict[str, object]:
        return service_document(service, self._names, self._reports.policy(service))

    def _selected(self, request: web.Request) -> list[MergedService]:
        namespace = request.query.get("namespace")
        return [each for each in self._reports.services() if namespace in (None, each.key.namespace)]

    def _named(self, request: web.Request) -> MergedService:
        key = ServiceKey(request.match_info["namespace"], request.match_info["name"])
        service = self._reports.service(key)
        if service is None:
            why = "; ".join(f"{each.cluster}: {each.message}" for each in self._reports.refused() if each.key == key)
            text = f"no service {key}: " + (why or "`mesh-registry get services` lists those there are")
            raise web.HTTPNotFound(text=text)
        return service


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error is a JSON object too; a bug is logged and answered with 500, and the connection lives on."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        text = error.text if error.text and not error.text.startswith(f"{error.status}:") else None
        return _json(
            {"error": text or f"{error.reason}: {request.method} {request.path}; / lists the paths"}, error.status
        )
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _json({"error": "internal error; the registry's log has the details"}, HTTPStatus.INTERNAL_SERVER_ERROR)


def _refuse_strangers(request: web.Request) -> None:
    """A page that an operator's browser shows may send requests here too, but never without saying so (Fetch, "Origin
    header"), nor JSON without having asked (CORS preflight)."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        raise web.HTTPForbidden(text="not from a browser: use `mesh-registry guard release`")
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected Content-Type: application/json")


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


def _guard_document(name: str, held: Sequence[HeldReport | HeldObjectsReport]) -> Mapping[str, object]:
    """The endpoints under ``name``, other objects under ``objects``."""
    return {
        name: [held_document(each) for each in held if isinstance(each, HeldReport)],
        "objects": [held_objects_document(each) for each in held if isinstance(each, HeldObjectsReport)],
    }


def _list(items: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


def _json(document: Mapping[str, object], status: int = HTTPStatus.OK) -> web.Response:
    return web.json_response(document, status=status, dumps=lambda value: json.dumps(value, indent=2) + "\n")
