"""One stream of a client: requests in, responses out, no IO.

``receive`` takes the bytes of a request, ``next_response`` gives the bytes of a response or None. In between the
session calls ``wake`` when a change of the store may have given it something to say. Whoever carries the bytes calls
``next_response`` until it gives None, after each request and each wake, as fast as the client reads. When it gave
None and the session is ``held``, ``hold`` says when to ask again though nothing happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Generic, TypeVar

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from registry.xds import wire
from registry.xds.channel import NEVER, NOTHING, RESPONSE_NAMES, Channel
from registry.xds.delta import DeltaChannel
from registry.xds.errors import InvalidRequestError, TooManyNamesError
from registry.xds.order import next_turn, ready
from registry.xds.response import Response, Stream
from registry.xds.sotw import PartsChannel, SotwChannel, WholeChannel
from registry.xds.status import METADATA_ENTRIES, NODE_CHARACTERS, Node, SentResource, SessionStatus, decode_node
from registry.xds.store import Partition, ResourceStore
from registry.xds.types import CDS, EDS, MAKE_ORDER, ResourceType

UNKNOWN_TYPES_KEPT = 16
UNKNOWN_TYPE_CHARACTERS = 200

NAME_BYTES = 1_024
"""Names of resources are not longer: ours have 400 bytes at most."""

NODE_BYTES = 1 << 20
"""A node may be as large, and a NACK's error. What is kept of a node is much less: see ``registry.xds.status``."""

SMALL_BYTES = 8 << 10
"""A request of this size takes little memory, whatever is in it."""

FIELDS_PER_STEP: Final = 2_000
"""So many fields of a request are counted before others have their turn: 5 ms at most."""

WHOLE_NAMES: Final = 20_000
"""So many clusters or listeners a SotW stream may name: each response looks at all of them. Clients ask for all there
are, by the wildcard, or for the few that they use."""

OTHER_FIELDS = 64
"""Fields of a request that are no names."""

SUBSCRIBED_BYTES: Final = 100
"""What a name takes beside its characters: it is subscribed to, watched, and has the version that was sent."""

REQUEST_BYTES: Final = 100
"""What any request takes that waits."""

WAITING_BYTES = 16 << 20
"""So much of requests may wait while one with many names is taken in."""

NAMES_PER_CALL: Final = RESPONSE_NAMES
"""So many names are looked at for one response; where none of them exists, the next ones have their turn later."""


PATIENCE_SECONDS = 2.0
"""Envoy ACKs within milliseconds, or when new clusters are warm, for which it has their endpoints at once."""


def _no_clock() -> float:
    return 0.0


def _one_group(_node: Node, _kind: ResourceType) -> Hashable:
    return ""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What all sessions of a server share.

    ``identifier`` names the server in every response. ``max_names`` bounds the names one stream subscribes to over all
    types. ``group`` says which group of the store a node sees, of each type. ``clock`` gives the times in the status.
    ``patience``: so many seconds a type waits for what the client owes of others. Then make-before-break is given up.
    """

    identifier: str = "xds"
    max_names: int = 200_000
    group: Callable[[Node, ResourceType], Hashable] = field(default=_one_group)
    clock: Callable[[], float] = field(default=_no_clock)
    patience: float = PATIENCE_SECONDS


Request = TypeVar("Request", discovery_pb2.DiscoveryRequest, discovery_pb2.DeltaDiscoveryRequest)
AnyChannel = TypeVar("AnyChannel", bound=Channel)


class Session(ABC, Generic[Request, AnyChannel]):
    """A stream of one protocol variant, for all types (aggregated) or for one.

    On an aggregated stream a type that is not served is noted in the status and not answered, and the other types go
    on. On a stream of one type, requests may leave the type out.
    """

    protocol: str
    _name_fields: ClassVar[tuple[int, ...]]
    """The numbers of the fields of a request that are names, and of its node and its type."""
    _node_field: ClassVar[int]
    _text_fields: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        store: ResourceStore,
        types: Sequence[ResourceType],
        wake: Callable[[], None],
        options: SessionOptions = SessionOptions(),
    ) -> None:
        self._store = store
        self._types = types
        self._options = options
        self._stream = Stream(wire.control_plane(options.identifier), wake, options.clock)
        self._node: Node | None = None
        self._node_characters = 0
        self._channels: tuple[AnyChannel, ...] = ()
        """In the order of what is made first."""
        self._unknown: dict[str, None] = {}
        self._steps: list[Iterator[None]] = []
        """Requests of many names, and moves, that are under way; the first one is being worked on."""
        self._working = False
        """There are such, or requests that came meanwhile."""
        self._requests: deque[bytes] | None = None
        """What came meanwhile: hardly ever anything, and a deque takes more than all else here."""
        self._request_bytes = 0
        self._measured_bytes = 0
        """Of the request whose fields are being counted."""
        self.held = False
        """Something is to be sent later though no request and no change comes: call ``hold``."""
        self.busy = False
        """The last ``next_response`` left work for the next one."""

    def receive(self, data: bytes) -> bool:
        """A request of the client. What is long of it is done later, in ``next_response``.

        Returns:
            Whether it may have changed what is ``kept``; a plain ACK, which most requests are, does not.

        Raises:
            InvalidRequestError: not a discovery request, or of a type that has no business on this stream.
            TooManyNamesError: more names than ``max_names``, or more requests than can be taken in.
        """
        if self._working:
            self._request_bytes += len(data) + REQUEST_BYTES
            if self._request_bytes > WAITING_BYTES:
                raise TooManyNamesError("requests with many names come faster than they can be taken in")
            if self._requests is None:
                self._requests = deque()
            self._requests.append(data)
            return True
        for channel in self._channels:
            if data and channel.ack == data:
                channel.acked()
                return False
        self._take_in(data)
        return True

    def next_response(self) -> bytes | None:
        """The next response, or None: nothing more until the next request or wake.

        Each call does a bounded piece of work. Where that is not enough it wakes the stream, to be called again.
        """
        if self._working and not self._advance():
            return self._go_on_later()
        self.busy = False
        looked_at = 0
        while ready(self._channels):
            turn = next_turn(self._channels)
            if turn is None:
                self.held = True
                return None
            channel, scope = turn
            if looked_at >= NAMES_PER_CALL:
                return self._go_on_later()
            response = channel.respond(scope)
            if response is not None:
                if channel.kind is CDS:
                    self._warm(response)
                return response.data
            if channel.unprepared:
                channel.unprepared = False
                return self._go_on_later()
            looked_at += channel.looked_at
        if self.held:
            self._release()
        return None

    def _go_on_later(self) -> bytes | None:
        self.busy = True
        self._stream.wake()
        return None

    def _take_in(self, data: bytes) -> None:
        """One request, or its first steps. What would be large in memory is refused before it is there."""
        if len(data) > SMALL_BYTES:
            found: dict[int, tuple[int, int]] = {}
            at = wire.count_fields(data, 0, FIELDS_PER_STEP, found)
            self._check_size(found)
            if at < len(data):
                self._begin(self._measuring(data, at, found))
                return
        self._read(data)

    def _measuring(self, data: bytes, at: int, found: dict[int, tuple[int, int]]) -> Iterator[None]:
        """Count the fields of a request with many, from ``at`` on, and read it."""
        self._measured_bytes = len(data)
        while at < len(data):
            yield
            at = wire.count_fields(data, at, FIELDS_PER_STEP, found)
            self._check_size(found)
        self._measured_bytes = 0
        self._read(data)

    def _check_size(self, found: dict[int, tuple[int, int]]) -> None:
        """Refuse a request for the number or the length of the fields that were found."""
        most = self._options.max_names
        if sum(count for count, _ in found.values()) > len(self._name_fields) * most + OTHER_FIELDS:
            raise self._too_many()
        for number, (count, longest) in found.items():
            named = number in self._name_fields
            if named and count > most:
                raise self._too_many()
            if longest > (NAME_BYTES if named else NODE_BYTES) and number not in self._text_fields:
                what = "name" if named else "node" if number == self._node_field else f"field {number}"
                limit = NAME_BYTES if named else NODE_BYTES
                raise InvalidRequestError(f"a {what} of {longest} bytes; at most {limit} are read")

    def _read(self, data: bytes) -> None:
        try:
            request = self._decode(data)
        except DecodeError as error:
            raise InvalidRequestError(f"the message is not a discovery request: {error}") from error
        if self._node is None:
            self._meet(request.node)
        kind = self._kind(request.type_url)
        if kind is None:
            if len(self._unknown) < UNKNOWN_TYPES_KEPT:
                self._unknown[request.type_url[:UNKNOWN_TYPE_CHARACTERS]] = None
            return
        # Before they are looked at one by one: a request has room for many more names than may be asked for.
        most = self._most_names(kind)
        if self._names(request) > most:
            raise self._too_many(most)
        self._begin(self._hand_over(request, self._channel(kind.url) or self._open(kind)))

    def _begin(self, steps: Iterator[None]) -> None:
        """Do the first of these steps, and the others when responses are asked for."""
        if steps is NOTHING:
            self._check_names()
            return
        self._steps.append(steps)
        self._working = True
        if len(self._steps) > 1 or not self._advance():
            self._stream.wake()

    def _advance(self) -> bool:
        """Do the next step, or take in the next request that waits; whether nothing is left."""
        if self._steps:
            try:
                next(self._steps[0])
            except StopIteration:
                self._steps.pop(0)
                if not self._steps:
                    self._check_names()
        elif self._requests:
            data = self._requests.popleft()
            self._request_bytes -= len(data) + REQUEST_BYTES
            later, self._requests = self._requests, None
            self._working = False
            self.receive(data)
            self._requests = later or None
        self._working = bool(self._steps or self._requests)
        return not self._working

    @property
    def kept(self) -> int:
        """About how many bytes are kept for the client, beyond what every stream takes."""
        names = 0
        for channel in self._channels:
            subscription = channel.subscription
            names += SUBSCRIBED_BYTES * (len(subscription.names) + len(channel.deferred)) + subscription.characters
        return names + self._request_bytes + self._measured_bytes + self._node_characters

    def _check_names(self) -> None:
        names = [max(len(each.subscription.names), len(each.deferred)) for each in self._channels]
        if sum(names) > self._options.max_names:
            raise self._too_many()

    def hold(self, now: float) -> float:
        """In how many seconds ``next_response`` may give more though nothing happens; 0: now, negative: it will not.

        ``now`` is in seconds of a clock that only goes forward. Call it only while the session is ``held``.
        """
        left = [each for channel in self._channels if (each := channel.held(now, self._options.patience)) >= 0]
        self.held = bool(left)
        for channel in self._channels:
            if channel.late is not None:
                late, channel.late = channel.late, None
                self._begin(late)
        return min(left, default=NEVER)

    def _release(self) -> None:
        """No type waits for another; what waits for an answer of its own may be left."""
        self.held = any(channel.deferred for channel in self._channels)
        for channel in self._channels:
            if not channel.deferred:
                channel.release()

    def regroup(self) -> None:
        """The node is perhaps of other groups than when it asked: show it what these see."""
        for channel in self._channels:
            if self._group(channel.kind) != channel.partition.group:
                self._begin(self._moving(channel))

    def _moving(self, channel: AnyChannel) -> Iterator[None]:
        before = channel.partition
        after = self._partition(channel.kind)
        if after is not before:
            yield from channel.moving(after)
        self._store.leave(channel.kind.url, before)

    def reconsider(self) -> None:
        """The store has changed much since the client came: look again at what is kept back from it."""
        for channel in self._channels:
            self._begin(channel.reconsidering())

    def group(self, type_url: str) -> Hashable | None:
        """What the client sees of the type; None as long as it does not ask for any."""
        channel = self._channel(type_url)
        return channel.partition.group if channel is not None else None

    def close(self) -> None:
        """The stream is over."""
        for _ in self.closing():
            pass

    def closing(self) -> Iterator[None]:
        """The same in steps: from the first on nothing is said to the stream."""
        self._steps.clear()
        self._requests = None
        channels, self._channels = self._channels, ()
        for channel in channels:
            yield from channel.closing()
            for partition in channel.partitions:
                self._store.leave(channel.kind.url, partition)

    def status(self) -> SessionStatus:
        return SessionStatus(
            node=self._node or Node(),
            protocol=self.protocol,
            types=tuple(channel.status() for channel in self._channels),
            unknown_types=tuple(self._unknown),
        )

    def sent(self, type_url: str, name: str) -> SentResource:
        """How far the client is with one resource."""
        channel = self._channel(type_url)
        return channel.sent(name) if channel is not None else SentResource()

    @abstractmethod
    def _decode(self, data: bytes) -> Request: ...

    @abstractmethod
    def _names(self, request: Request) -> int:
        """The longest list of names in the request."""

    @abstractmethod
    def _make_channel(self, kind: ResourceType) -> AnyChannel: ...

    @abstractmethod
    def _hand_over(self, request: Request, channel: AnyChannel) -> Iterator[None]:
        """What the channel does with it, in steps."""

    @abstractmethod
    def _most_names(self, kind: ResourceType) -> int:
        """So many names of this type one request may have."""

    def _too_many(self, most: int = 0) -> TooManyNamesError:
        return TooManyNamesError(
            f"a stream may name {most or self._options.max_names} resources, and this one names more"
        )

    def _meet(self, node: base_pb2.Node) -> None:
        if node.ByteSize() > NODE_BYTES:
            raise InvalidRequestError(f"a node of {node.ByteSize()} bytes; at most {NODE_BYTES} are read")
        if len(node.metadata.fields) > METADATA_ENTRIES:
            count = len(node.metadata.fields)
            raise InvalidRequestError(f"a node with {count} entries of metadata; at most {METADATA_ENTRIES} are read")
        met = decode_node(node)
        if met.characters > NODE_CHARACTERS:
            raise InvalidRequestError(f"a node of {met.characters} characters; at most {NODE_CHARACTERS} are kept")
        self._node = met
        self._node_characters = met.characters

    def _kind(self, type_url: str) -> ResourceType | None:
        for kind in self._types:
            if kind.url == type_url:
                return kind
        if len(self._types) == 1:
            only = self._types[0]
            if type_url:
                raise InvalidRequestError(f"this stream is for {only.url}, the request is for {type_url}")
            return only
        if not type_url:
            raise InvalidRequestError("a request on an aggregated stream needs a type_url")
        return None

    def _channel(self, type_url: str) -> AnyChannel | None:
        for channel in self._channels:
            if channel.kind.url == type_url:
                return channel
        return None

    def _open(self, kind: ResourceType) -> AnyChannel:
        channel = self._make_channel(kind)
        self._channels = tuple(sorted((*self._channels, channel), key=lambda each: MAKE_ORDER.index(each.kind)))
        return channel

    def _partition(self, kind: ResourceType) -> Partition:
        """What the client sees of the type."""
        return self._store.enter(kind.url, self._group(kind))

    def _group(self, kind: ResourceType) -> Hashable:
        return self._options.group(self._node or Node(), kind)

    def _warm(self, clusters: Response) -> None:
        """Send the endpoints of the clusters in a CDS response again.

        Envoy warms a cluster that is new or changed, and that ends only with an EDS response after it, though no
        endpoint changed ("Resource warming"). Where Envoy still holds a subscription to the same name it does not
        ask again (Delta), or asks in a way that looks like an ACK (SotW). A cluster's EDS resource has its name, or
        one that cannot be known here; then all that are subscribed to are sent.
        """
        endpoints = self._channel(EDS.url)
        if endpoints is None:
            return
        names = endpoints.subscription.names
        if all(name in names for name in clusters.updated):
            endpoints.renew(name for name in (*clusters.added, *clusters.updated) if name in names)
        else:
            endpoints.renew(names)


class SotwSession(Session[discovery_pb2.DiscoveryRequest, SotwChannel]):
    """A State of the World stream."""

    protocol = "SotW"
    _name_fields: ClassVar[tuple[int, ...]] = (3,)
    _node_field: ClassVar[int] = 2
    _text_fields: ClassVar[tuple[int, ...]] = (4,)

    def _decode(self, data: bytes) -> discovery_pb2.DiscoveryRequest:
        return discovery_pb2.DiscoveryRequest.FromString(data)

    def _names(self, request: discovery_pb2.DiscoveryRequest) -> int:
        return len(request.resource_names)

    def _most_names(self, kind: ResourceType) -> int:
        return min(self._options.max_names, WHOLE_NAMES) if kind.whole else self._options.max_names

    def _make_channel(self, kind: ResourceType) -> SotwChannel:
        channel = WholeChannel if kind.whole else PartsChannel
        return channel(kind, self._partition(kind), self._stream)

    def _hand_over(self, request: discovery_pb2.DiscoveryRequest, channel: SotwChannel) -> Iterator[None]:
        steps = channel.receiving(request)
        self.held |= bool(channel.deferred)
        return steps


class DeltaSession(Session[discovery_pb2.DeltaDiscoveryRequest, DeltaChannel]):
    """An incremental stream."""

    protocol = "Delta"
    _name_fields: ClassVar[tuple[int, ...]] = (3, 4, 5)
    _node_field: ClassVar[int] = 1
    _text_fields: ClassVar[tuple[int, ...]] = (2,)

    def _decode(self, data: bytes) -> discovery_pb2.DeltaDiscoveryRequest:
        return discovery_pb2.DeltaDiscoveryRequest.FromString(data)

    def _most_names(self, kind: ResourceType) -> int:  # noqa: ARG002
        return self._options.max_names

    def _names(self, request: discovery_pb2.DeltaDiscoveryRequest) -> int:
        return max(
            len(request.resource_names_subscribe),
            len(request.resource_names_unsubscribe),
            len(request.initial_resource_versions),
        )

    def _make_channel(self, kind: ResourceType) -> DeltaChannel:
        return DeltaChannel(kind, self._partition(kind), self._stream)

    def _hand_over(self, request: discovery_pb2.DeltaDiscoveryRequest, channel: DeltaChannel) -> Iterator[None]:
        return channel.receiving(request)
