"""gRPC health checking (grpc/grpc doc/health-checking.md): whether the registry answers."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2 as pb

from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Health"].full_name
WHOLE = ""
"""The name that asks for the server as a whole."""

REQUEST_BYTES = 1_024
"""A name is not longer."""


UNKNOWN, SERVING, NOT_SERVING = (
    pb.HealthCheckResponse(status=status).SerializeToString()
    for status in (
        pb.HealthCheckResponse.SERVICE_UNKNOWN,
        pb.HealthCheckResponse.SERVING,
        pb.HealthCheckResponse.NOT_SERVING,
    )
)


class HealthServer:
    """NOT_SERVING until ``open`` is called, SERVING from then on: the server as a whole, and each of ``services``."""

    def __init__(self, services: Iterable[Service]) -> None:
        names = (WHOLE, SERVICE_NAME, *(service.name for service in services))
        self._known = {name: name for name in names}
        self._serving = False
        self._watches: set[_Watch] = set()

    def service(self) -> Service:
        """What the gRPC server is to carry."""
        return Service(SERVICE_NAME, unary={"Check": self._check}, streams={"Watch": self._watch})

    def open(self) -> None:
        """The registry answers."""
        self._serving = True
        for watch in self._watches:
            watch.stream.wake()

    def known(self, name: str) -> str | None:
        """The name, if it is that of a service: nothing is kept of what others make up."""
        return self._known.get(name)

    def status(self, name: str | None) -> bytes:
        """How the service of that name is doing, as an encoded response; None: it is unknown."""
        if name is None:
            return UNKNOWN
        return SERVING if self._serving else NOT_SERVING

    def add(self, watch: _Watch) -> None:
        self._watches.add(watch)

    def remove(self, watch: _Watch) -> None:
        self._watches.discard(watch)

    async def _check(self, message: bytes, _call: CallInfo) -> bytes:
        name = requested(message)
        if name not in self._known:
            raise RpcError(Code.NOT_FOUND, f"no service {name!r} here")
        return self.status(name)

    def _watch(self, stream: Stream, _call: CallInfo) -> StreamHandler:
        return _Watch(self, stream)


class _Watch:
    """One open Watch: told the status at once, and whenever it changes."""

    def __init__(self, server: HealthServer, stream: Stream) -> None:
        self.stream = stream
        self._server = server
        self._asked = False
        self._name: str | None = None
        """None: it is no service's."""
        self._told: bytes | None = None

    def received(self, message: bytes) -> None:
        if self._asked:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request")
        self._name = self._server.known(requested(message))
        self._asked = True
        if self._name is not None:
            self._server.add(self)

    def half_closed(self) -> None:
        if not self._asked:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request")

    def next_message(self) -> bytes | None:
        if not self._asked:
            return None
        message = self._server.status(self._name)
        if message == self._told:
            return None
        self._told = message
        return message

    def closed(self) -> None:
        self._server.remove(self)


def requested(message: bytes) -> str:
    """The service a request names."""
    if len(message) > REQUEST_BYTES:
        text = f"a request of {len(message)} bytes; at most {REQUEST_BYTES} are read"
        raise RpcError(Code.INVALID_ARGUMENT, text)
    try:
        return str(pb.HealthCheckRequest.FromString(message).service)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a HealthCheckRequest: {error}") from error
