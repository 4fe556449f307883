"""The lookup API: ``Lookup`` one service, ``Watch`` several. Written against ``registry.rpc.seam``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from registry.model.names import ServiceKey
from registry.model.services import ChangeSet, MergedService
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream
from registry.views.lookup import encode_lookup, encode_update
from registry.views.names import Names

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Registry"].full_name
MAX_WATCHED = 10_000
"""Services one Watch may name."""

Request = TypeVar("Request", bound=Message)


class LookupServer:
    """Answers from the merged services that ``get`` finds, and tells watchers what ``publish`` is told.

    Until ``open`` is called, Lookup is UNAVAILABLE and watchers wait: what is not read yet is not absent.
    """

    def __init__(self, get: Callable[[ServiceKey], MergedService | None], names: Names) -> None:
        self._get = get
        self._names = names
        self._watchers: dict[ServiceKey, set[_Watch]] = {}
        self._open = False
        self._updates: dict[ServiceKey, bytes] = {}
        """The present update of watched services: encoded once for all who watch."""

    def service(self) -> Service:
        """What the gRPC server is to carry."""
        return Service(SERVICE_NAME, unary={"Lookup": self._lookup}, streams={"Watch": self._watch})

    def open(self) -> None:
        """Every cluster is accounted for: answer."""
        self._open = True
        for watch in {watch for watches in self._watchers.values() for watch in watches}:
            watch.stream.wake()

    def publish(self, changes: ChangeSet) -> None:
        """Tell those who watch what changed; a watcher that is slow gets the newest state when it can take it."""
        touched: set[_Watch] = set()
        for change in changes:
            self._updates.pop(change.key, None)
            for watch in self._watchers.get(change.key, ()):
                watch.dirty[change.key] = None
                touched.add(watch)
        for watch in touched:
            watch.stream.wake()

    def update(self, key: ServiceKey) -> bytes | None:
        """The WatchResponse that tells the present state of the service; None as long as that is not known."""
        if not self._open:
            return None
        found = self._updates.get(key)
        if found is None:
            found = self._updates[key] = encode_update(key, self._get(key), self._names)
        return found

    def add(self, watch: _Watch) -> None:
        for key in watch.keys:
            self._watchers.setdefault(key, set()).add(watch)

    def remove(self, watch: _Watch) -> None:
        for key in watch.keys:
            watchers = self._watchers[key]
            watchers.discard(watch)
            if not watchers:
                del self._watchers[key]
                self._updates.pop(key, None)

    async def _lookup(self, message: bytes, _call: CallInfo) -> bytes:
        key = _key(_parse(pb.LookupRequest, message).service, "service")
        if not self._open:
            raise RpcError(Code.UNAVAILABLE, "the registry has not read all its clusters yet; try again")
        service = self._get(key)
        if service is None:
            raise RpcError(Code.NOT_FOUND, f"no service {key} in any cluster")
        return encode_lookup(service, self._names)

    def _watch(self, stream: Stream, _call: CallInfo) -> _Watch:
        return _Watch(self, stream)


class _Watch:
    """One open Watch: which services it names, and which of them its client does not yet know the present state of."""

    def __init__(self, server: LookupServer, stream: Stream) -> None:
        self.stream = stream
        self.keys: frozenset[ServiceKey] = frozenset()
        self.dirty: dict[ServiceKey, None] = {}
        self._server = server

    def received(self, message: bytes) -> None:
        if self.keys:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request; open another to watch more")
        services = _parse(pb.WatchRequest, message).services
        if not 1 <= len(services) <= MAX_WATCHED:
            raise RpcError(
                Code.INVALID_ARGUMENT, f"services: name 1 to {MAX_WATCHED} services to watch, not {len(services)}"
            )
        self.dirty = {_key(name, f"services[{position}]"): None for position, name in enumerate(services)}
        self.keys = frozenset(self.dirty)
        self._server.add(self)

    def half_closed(self) -> None:
        if not self.keys:
            raise RpcError(Code.INVALID_ARGUMENT, "services: name at least one service to watch")

    def next_message(self) -> bytes | None:
        for key in self.dirty:
            message = self._server.update(key)
            if message is not None:
                del self.dirty[key]
            return message
        return None

    def closed(self) -> None:
        self._server.remove(self)


def _parse(kind: type[Request], message: bytes) -> Request:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.full_name}: {error}") from error


def _key(name: pb.ServiceName, field: str) -> ServiceKey:
    if not name.namespace or not name.name:
        raise RpcError(Code.INVALID_ARGUMENT, f"{field}: a service has a namespace and a name")
    return ServiceKey(name.namespace, name.name)
