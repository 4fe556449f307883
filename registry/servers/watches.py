"""Open Watches of the lookup API. Each takes its request in, answers, and leaves in short steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from registry.model.names import ServiceKey
from registry.protos import registry_pb2 as pb
from registry.rpc.seam import Code, RpcError, Stream
from registry.servers.requests import parse_watch, service_key
from registry.views.lookup import PLAIN, View

TAKEN_IN = 500
"""So many names are looked at in one step."""

NAME_BYTES = 200
"""What a name that is watched takes beside its characters."""


class Watched(Protocol):
    """What a Watch asks of its server."""

    @property
    def is_open(self) -> bool: ...

    def view(self, request: pb.WatchRequest) -> View: ...

    def enter(self, watch: Watch) -> None:
        """It has a view from now on."""

    def watch(self, name: ServiceKey, watch: Watch) -> ServiceKey:
        """Tell ``watch`` of the service; gives the name as others have it already, so that it is kept once."""

    def update(self, key: ServiceKey, view: View, first: bool) -> bytes | None: ...

    def leave(self, watch: Watch) -> None: ...


class Watch:
    """One open Watch: which services it names, and which of them its client does not yet know the present state of."""

    def __init__(self, server: Watched, stream: Stream) -> None:
        self.keys: dict[ServiceKey, bool] = {}
        """What it names, and whether anything was said of that yet."""
        self.asked: pb.WatchRequest | None = None
        """Without the services."""
        self.view = PLAIN
        self.dirty: dict[ServiceKey, None] = {}
        self.over = False
        self._server = server
        self._stream = stream
        self._coming: Iterator[tuple[int, pb.ServiceName]] | None = None
        """Names that are not taken in yet."""
        self._kept = 0
        """Bytes."""
        self._sending: list[ServiceKey] = []
        """What was ``dirty`` a while ago, the next one last: the first of a dict is slow to find once many are gone."""

    def received(self, message: bytes) -> None:
        if self.asked is not None:
            raise RpcError(Code.INVALID_ARGUMENT, "a Watch takes one request; open another to watch more")
        request = parse_watch(message)
        self.asked = pb.WatchRequest(reasons=request.reasons)
        if request.HasField("client"):
            self.asked.client.CopyFrom(request.client)
        self.view = self._server.view(self.asked)
        self._server.enter(self)
        self._coming = iter(enumerate(request.services))
        self._take_in()

    def half_closed(self) -> None:
        if self.asked is None:
            raise RpcError(Code.INVALID_ARGUMENT, "services: name at least one service to watch")

    def next_message(self) -> bytes | None:
        if self._coming is not None:
            self._take_in()
        if not self._server.is_open:
            return None
        for _ in range(TAKEN_IN):
            key = self._next()
            if key is None:
                return None
            message = self._server.update(key, self.view, not self.keys[key])
            if message is not None:
                self.keys[key] = True
                return message
        self._stream.wake()
        return None

    def closed(self) -> None:
        self.over = True
        self._coming = None
        self._server.leave(self)

    def mark(self, key: ServiceKey) -> None:
        """The service is other than the client knows it."""
        if not self.over:
            if not self.dirty:
                self._stream.wake()
            self.dirty[key] = None

    def mark_all(self) -> None:
        """What it watches is all to be told anew."""
        if not self.over:
            self.dirty.update(dict.fromkeys(self.keys))
            self._stream.wake()

    def mark_untold(self) -> None:
        """Of what nothing was said something is to be said now."""
        untold = [key for key, told in self.keys.items() if not told]
        if untold and not self.over:
            self.dirty.update(dict.fromkeys(untold))
            self._stream.wake()

    def wake(self) -> None:
        """The registry answers."""
        if not self.over:
            self._stream.wake()

    def _next(self) -> ServiceKey | None:
        """The next that is dirty, and is no longer."""
        while self.dirty:
            if not self._sending:
                self._sending = [*self.dirty]
                self._sending.reverse()
            key = self._sending.pop()
            if key in self.dirty:
                del self.dirty[key]
                return key
        self.dirty.clear()  # an emptied dict keeps its size
        self._sending.clear()
        return None

    def _take_in(self) -> None:
        """The next names of the request."""
        assert self._coming is not None
        for _ in range(TAKEN_IN):
            try:
                position, name = next(self._coming)
            except StopIteration:
                self._coming = None
                break
            key = self._server.watch(service_key(name, f"services[{position}]"), self)
            self.keys[key] = False
            self.dirty[key] = None
            self._kept += NAME_BYTES + len(key.namespace) + len(key.name)
        self._stream.charge(self._kept)
        self._stream.wake()
