"""gRPC health checking (grpc/grpc doc/health-checking.md): whether the registry answers."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2 as pb

from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Health"].full_name
WHOLE = ""
"""The name that asks for the server as a whole."""


class HealthServer:
    """NOT_SERVING until ``open`` is called, SERVING from then on: the server as a whole, and each of ``services``."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._known = {WHOLE, SERVICE_NAME, *(service.name for service in services)}
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

    def status(self, name: str) -> pb.HealthCheckResponse:
        """How the service of that name is doing."""
        if name not in self._known:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        if self._serving:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)
        return pb.HealthCheckResponse(status=pb.HealthCheckResponse.NOT_SERVING)

    def add(self, watch: _Watch) -> None:
        self._watches.add(watch)

    def remove(self, watch: _Watch) -> None:
        self._watches.discard(watch)

    async def _check(self, message: bytes, _call: CallInfo) -> bytes:
        name = requested(message)
        if name not in self._known:
            raise RpcError(Code.NOT_FOUND, f"no service {name!r} here")
        return self.status(name).SerializeToString()

    def _watch(self, stream: Stream, _call: CallInfo) -> StreamHandler:
        return _Watch(self, stream)


class _Watch:
    """One open Watch: told the status at once, and whenever it changes."""

    def __init__(self, server: HealthServer, stream: Stream) -> None:
        self.stream = stream
        self._server = server
        self._name: str | None = None
        self._told: bytes | None = None

    def received(self, message: bytes) -> None:
        if self._name is not None:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request")
        self._name = requested(message)
        self._server.add(self)

    def half_closed(self) -> None:
        if self._name is None:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request")

    def next_message(self) -> bytes | None:
        if self._name is None:
            return None
        message = self._server.status(self._name).SerializeToString()
        if message == self._told:
            return None
        self._told = message
        return message

    def closed(self) -> None:
        self._server.remove(self)


def requested(message: bytes) -> str:
    """The service a request names."""
    try:
        return str(pb.HealthCheckRequest.FromString(message).service)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a HealthCheckRequest: {error}") from error
