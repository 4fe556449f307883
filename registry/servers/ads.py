"""The xDS services, aggregated and per type, and who is connected to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler, StreamMethod
from registry.servers.turns import Work, at_once
from registry.xds.errors import InvalidRequestError, TooManyNamesError
from registry.xds.session import DeltaSession, SessionOptions, SotwSession
from registry.xds.status import Node, SentResource, TypeStatus
from registry.xds.store import ResourceStore
from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, ADS_SOTW_METHOD, EDS, MAKE_ORDER, ResourceType

AnySession = SotwSession | DeltaSession
OPTIONS = SessionOptions(identifier="mesh-registry")

SessionFactory = Callable[[ResourceStore, Sequence[ResourceType], Callable[[], None], SessionOptions], AnySession]


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One open xDS stream.

    ``service`` is ``ADS`` or the short name of the one type it carries, ``protocol`` ``SotW`` or ``Delta``.
    ``connected_at`` is in the time of the server's clock. ``group`` is that of its assignments, None while it asks for
    none. ``types`` are those asked for so far, in the order CDS, EDS,
    LDS, RDS; ``unknown_types`` were asked for and are not served.
    """

    peer: str
    service: str
    protocol: str
    connected_at: float
    node: Node
    types: tuple[TypeStatus, ...]
    unknown_types: tuple[str, ...] = ()
    group: Hashable = None

    @property
    def cluster_id(self) -> str:
        """The member cluster the client runs in, as Istio's proxies say it."""
        return self.node.metadata.get("CLUSTER_ID", "")

    @property
    def namespace(self) -> str:
        return self.node.metadata.get("NAMESPACE", "")

    @property
    def network(self) -> str:
        return self.node.metadata.get("NETWORK", "")


def _anybody(_group: Hashable) -> bool:
    return True


class XdsServer:
    """Serves ``store`` over xDS. ``clock`` says when a client connected.

    Until ``open`` is called clients may connect and subscribe, but nothing is sent: what is not read yet must not look
    deleted to a client that still has it.
    """

    def __init__(
        self,
        store: ResourceStore,
        clock: Callable[[], float],
        options: SessionOptions = OPTIONS,
        work: Work = at_once,
    ) -> None:
        """What concerns many clients, and the end of one, is done by ``work``."""
        self._work = work
        self._store = store
        self._clock = clock
        self._options = options
        self._streams: dict[_XdsStream, None] = {}
        self._numbered: dict[int, _XdsStream] = {}
        self._opened = 0
        self.is_open = False

    def services(self) -> tuple[Service, ...]:
        """ADS, then the service of each type; every one in both protocol variants."""
        aggregated = Service(
            ADS_SERVICE,
            streams={
                ADS_SOTW_METHOD: self._method("ADS", MAKE_ORDER, SotwSession),
                ADS_DELTA_METHOD: self._method("ADS", MAKE_ORDER, DeltaSession),
            },
        )
        single = (
            Service(
                kind.service,
                streams={
                    kind.sotw_method: self._method(kind.short, (kind,), SotwSession),
                    kind.delta_method: self._method(kind.short, (kind,), DeltaSession),
                },
            )
            for kind in MAKE_ORDER
        )
        return (aggregated, *single)

    def open(self) -> None:
        """The store has what can be had: answer."""
        self.is_open = True
        self._work(self._opening())

    def regroup(self, concerned: Callable[[Hashable], bool] = _anybody) -> None:
        """More is known of clients than when they asked: show each what its groups see now.

        Of those who ask for assignments, these alone whose group is ``concerned``.
        """
        self._work(self._regrouping(concerned))

    def _opening(self) -> Iterator[None]:
        yield from self._regrouping(_anybody)
        for stream in tuple(self._streams):
            if stream in self._streams:
                stream.session.reconsider()
                stream.stream.wake()
            yield None

    def _regrouping(self, concerned: Callable[[Hashable], bool]) -> Iterator[None]:
        for stream in tuple(self._streams):
            group = stream.session.group(EDS.url) if stream in self._streams else None
            if group is not None and concerned(group):
                stream.session.regroup()
            yield None

    def clients(self) -> tuple[ClientStatus, ...]:
        """The open streams, oldest first."""
        return tuple(stream.status() for stream in self._streams)

    def numbers(self) -> tuple[int, ...]:
        """The open streams by number, oldest first; a number is given once."""
        return tuple(self._numbered)

    def client(self, number: int) -> ClientStatus | None:
        """The stream of that number; None: it has ended."""
        stream = self._numbered.get(number)
        return stream.status() if stream is not None else None

    def find(self, node_id: str) -> tuple[ClientStatus, Callable[[str, str], SentResource]] | None:
        """The newest stream of that node that asked for endpoints, or else its newest; None: it has none.

        With it what tells, of type URL and name, how far the client is with a resource.
        """
        streams = [(stream, stream.status()) for stream in self._streams]
        own = [each for each in streams if each[1].node.id == node_id]
        own.sort(key=lambda each: any(kind.type_url == EDS.url for kind in each[1].types))
        return (own[-1][1], own[-1][0].session.sent) if own else None

    def _method(self, service: str, types: Sequence[ResourceType], session: SessionFactory) -> StreamMethod:
        def opened(stream: Stream, call: CallInfo) -> StreamHandler:
            self._opened += 1
            handler = _XdsStream(
                stream=stream,
                session=session(self._store, types, stream.wake, self._options),
                service=service,
                peer=call.peer,
                connected_at=self._clock(),
                server=self,
                number=self._opened,
            )
            self._streams[handler] = None
            self._numbered[handler.number] = handler
            return handler

        return opened

    def remove(self, stream: _XdsStream) -> None:
        """The stream is closed."""
        del self._streams[stream]
        del self._numbered[stream.number]
        self._work(stream.session.closing())


def _refusal(error: InvalidRequestError | TooManyNamesError) -> RpcError:
    code = Code.INVALID_ARGUMENT if isinstance(error, InvalidRequestError) else Code.RESOURCE_EXHAUSTED
    return RpcError(code, str(error))


@dataclass(slots=True, eq=False)
class _XdsStream:
    """Carries one session on one gRPC stream, and has the timer for what the session holds back."""

    stream: Stream
    session: AnySession
    service: str
    peer: str
    connected_at: float
    server: XdsServer
    number: int
    _timer: asyncio.TimerHandle | None = None
    _charged: int = 0

    def received(self, message: bytes) -> None:
        try:
            if self.session.receive(message):
                self._charge()
        except (InvalidRequestError, TooManyNamesError) as error:
            raise _refusal(error) from error

    def half_closed(self) -> None:
        self.stream.finish()

    def next_message(self) -> bytes | None:
        if not self.server.is_open:
            return None
        try:
            working = self.session.busy
            message = self.session.next_response()
            if working:
                self._charge()
            while message is None and self.session.held and not self.session.busy:
                loop = asyncio.get_running_loop()
                left = self.session.hold(loop.time())
                if left:
                    self._wake_in(loop, left)
                    break
                message = self.session.next_response()
        except (InvalidRequestError, TooManyNamesError) as error:
            raise _refusal(error) from error
        return message

    def _charge(self) -> None:
        kept = self.session.kept
        if kept != self._charged:
            self._charged = kept
            self.stream.charge(kept)

    def _wake_in(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Have the session asked again; negative: not needed. A timer that runs is early enough, since it asks anew."""
        if self._timer is None and seconds > 0:
            self._timer = loop.call_later(seconds, self._elapsed)

    def _elapsed(self) -> None:
        self._timer = None
        self.stream.wake()

    def closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.server.remove(self)

    def status(self) -> ClientStatus:
        status = self.session.status()
        return ClientStatus(
            peer=self.peer,
            service=self.service,
            protocol=status.protocol,
            connected_at=self.connected_at,
            node=status.node,
            types=status.types,
            unknown_types=status.unknown_types,
            group=self.session.group(EDS.url),
        )
