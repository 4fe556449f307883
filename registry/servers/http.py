"""The HTTP side for operators: health, readiness, metrics and the API under ``/api/v1``.

Answers are made piece by piece (``registry.servers.rendering``), a few milliseconds of work on one turn of the event
loop, and no more than the client takes. So neither a long list nor a slow reader holds up anybody.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus

from aiohttp import web

from registry.accepting import Acceptor
from registry.admission import Admission, Refusal, Room, Seat
from registry.errors import StartError
from registry.http_limits import HttpLimits
from registry.servers.api import Api
from registry.servers.http_connections import HttpConnection, HttpConnections
from registry.servers.peer_turns import PeerTurns
from registry.servers.rendering import encoded, pieces
from registry.servers.reports import Reports
from registry.stall_watch import work_for
from registry.views.names import Names

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Documents = Callable[[web.Request], Mapping[str, object]]
SHUTDOWN_SECONDS = 2.0
LINGER_SECONDS = 1.0
"""How long what a client sends unasked is read and thrown away, before its connection is closed."""
SPARE_FILES = 16
"""So many connections, such as those of probes, can be accepted when there are no files for others."""
REQUESTS_PER_TURN = 8
SLICE_SECONDS, SLICE_BYTES = 0.001, 32 << 10
"""How much of an answer is made on one turn of the loop. It is short: a request on a new connection takes several."""
SMALL_SECONDS = 0.0005
"""The same of those that do not wait for the turn of long answers, before they have to."""
JSON, EXPOSITION = "application/json; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

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
PAGES = "Lists take ?limit=N, and ?continue=TOKEN with metadata.continue of the page before (docs/cli.md)."


class HttpServer:
    """Serves ``reports`` and the ``exposition`` of metrics on ``host``:``port`` (port 0: any free one)."""

    def __init__(
        self,
        reports: Reports,
        names: Names,
        exposition: Callable[[], Iterator[bytes]],
        host: str,
        port: int,
        *,
        limits: HttpLimits | None = None,
        admission: Admission | None = None,
    ) -> None:
        """``admission``: who may connect, by default ``limits.connections`` of anybody."""
        self._api = Api(reports, names)
        self._exposition = exposition
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._limits = limits or HttpLimits()
        self._admission = admission or Admission(Room(self._limits.connections, peer_share=1), _uncounted)
        self._connections = HttpConnections(self._limits, self._admission)
        self._acceptor = Acceptor("HTTP", self._admission, self._take, spare=SPARE_FILES)
        self._small = PeerTurns(REQUESTS_PER_TURN)
        self._long = PeerTurns(1)
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            keepalive_timeout=self._limits.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_line_size=self._limits.line_bytes,
            max_field_size=self._limits.header_bytes,
            max_headers=self._limits.headers,
        )

    async def start(self) -> str:
        """Listen; returns the bound address as HOST:PORT.

        Raises:
            StartError: the address cannot be had.
        """
        await self._runner.setup()
        try:
            return await self._acceptor.start(self._address)
        except OSError as error:
            await self._runner.cleanup()
            raise StartError(
                f"HTTP cannot listen on {self._address} ({error.strerror}): choose another with --http"
            ) from error

    async def stop(self) -> None:
        """Finish what is being answered, then close."""
        self._acceptor.stop()
        await self._runner.cleanup()
        self._connections.stop()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def _take(self, client: socket.socket, seat: Seat) -> None:
        server = self._runner.server
        assert server is not None
        self._connections.take(client, seat, server)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._in_its_turn, _errors_as_json], client_max_size=self._limits.body_bytes)
        api = self._api
        handlers = (
            self._healthz,
            self._readyz,
            self._metrics,
            self._long_answer(api.services),
            self._small_answer(api.service),
            self._long_answer(api.service_entries),
            self._small_answer(api.service_entry),
            self._long_answer(api.clusters),
            self._long_answer(api.guard),
            self._long_answer(api.explain),
            self._long_answer(api.clients),
        )
        app.router.add_get("/", self._index)
        for path, handler in zip(PATHS, handlers, strict=True):
            app.router.add_get(path, handler)
        app.router.add_post("/api/v1/guard/release", self._release)
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        width = max(map(len, PATHS))
        lines = [f"{path.ljust(width)}  {meaning}" for path, meaning in PATHS.items()]
        return web.Response(text="\n".join(["mesh-registry", "", *lines, "", PAGES, ""]))

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        document, status = self._api.readyz()
        return await self._send(request, pieces(document), status=status, seconds=SMALL_SECONDS)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        await self._long.mine(self._connections.of(request).peer)
        return await self._send(request, self._exposition(), content_type=EXPOSITION)

    async def _release(self, request: web.Request) -> web.StreamResponse:
        _refuse_strangers(request)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await request.read()
        except TimeoutError as error:
            self._admission.refused(Refusal.BODY, self._connections.of(request).peer)
            late = web.HTTPRequestTimeout(text=f"the body did not come within {self._limits.body_seconds:g} s")
            late.force_close()
            raise late from error
        return await self._send(request, pieces(self._api.release(body)))

    def _small_answer(self, documents: Documents) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._send(request, pieces(documents(request)), seconds=SMALL_SECONDS)

        return answer

    def _long_answer(self, documents: Documents) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            await self._long.mine(self._connections.of(request).peer)
            return await self._send(request, pieces(documents(request)))

        return answer

    async def _send(
        self,
        request: web.Request,
        chunks: Iterator[bytes],
        *,
        status: int = HTTPStatus.OK,
        content_type: str = JSON,
        seconds: float = SLICE_SECONDS,
    ) -> web.StreamResponse:
        """Answer with ``chunks``, each made when the client has taken the ones before.

        The status is sent when the first are made. If making one fails later, the connection is cut, so that no client
        takes a part for the whole.
        """
        connection = self._connections.of(request)
        text, done = _slice(chunks, seconds)
        headers = {"Content-Type": content_type}
        if done:
            return web.Response(body=text, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await self._rest(connection, response, text, chunks)
        except ConnectionError:
            connection.abort()
        except Exception:
            log.exception("%s %s failed in the middle of its answer", request.method, request.path)
            connection.abort()
        return response

    async def _rest(
        self, connection: HttpConnection, response: web.StreamResponse, text: bytes, chunks: Iterator[bytes]
    ) -> None:
        done = False
        while True:
            if text:
                await response.write(text)
            if done:
                return
            await connection.writable()
            await self._long.mine(connection.peer)
            text, done = _slice(chunks, SLICE_SECONDS)

    @web.middleware
    async def _in_its_turn(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A request waits until the client has taken earlier answers, and until it is its turn."""
        try:
            connection = self._connections.of(request)
            with connection.answering():
                await connection.writable()
                await self._small.mine(connection.peer)
                work_for(f"{request.method} {request.path:.100} of {connection.peer}")
                return await handler(request)
        except ConnectionError:  # nobody is there to be answered
            return web.Response()


def _slice(chunks: Iterator[bytes], seconds: float) -> tuple[bytes, bool]:
    """What can be made in this time, and whether it is all."""
    made: list[bytes] = []
    size = 0
    until = time.perf_counter() + seconds
    for chunk in chunks:
        made.append(chunk)
        size += len(chunk)
        if size >= SLICE_BYTES or time.perf_counter() >= until:
            return b"".join(made), False
    return b"".join(made), True


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An error is a JSON object too; a bug is logged and answered with 500, and the connection lives on."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        text = error.text if error.text and not error.text.startswith(f"{error.status}:") else None
        said = text or f"{error.reason}: {request.method} {request.path}; / lists the paths"
        response = _error(said, error.status)
        if not error.keep_alive and error.keep_alive is not None:
            response.force_close()
        return response
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _error("internal error; the registry's log has the details", HTTPStatus.INTERNAL_SERVER_ERROR)


def _error(text: str, status: int) -> web.Response:
    return web.Response(body=b'{"error": ' + encoded(text) + b"}\n", status=status, headers={"Content-Type": JSON})


def _refuse_strangers(request: web.Request) -> None:
    """A page that an operator's browser shows may send requests here too, but never without saying so (Fetch, "Origin
    header"), nor JSON without having asked (CORS preflight)."""
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        raise web.HTTPForbidden(text="not from a browser: use `mesh-registry guard release`")
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected Content-Type: application/json")


def _uncounted(_refusal: Refusal, _peer: str) -> None:
    return
