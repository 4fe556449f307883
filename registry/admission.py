"""Who may connect: how many connections there may be, how many of them from one peer, and which makes room for others.

No IO; the time is passed in. Both ports use it: ``registry.accepting`` asks it before anything is made of a connection.

A peer is an IP address, of IPv6 a /64 network, which is what one host is given. Four rules:

1. One peer may have at most a share of what the other peers leave. So no peer can take everything, and each further one
   finds something left.
2. Where there is no room for a connection, one that is idle makes room: it has no request under way. A busy one never
   has to. A peer that has used up its share makes room for itself.
3. One peer may bring only so many new connections a second. They wait in one queue of the kernel with those of others,
   and one that is refused passes ten times as fast as one that is admitted.
4. A connection that is idle for less than ``GRACE_SECONDS`` stays: it may be about to say what it came for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from registry.rpc.limits import Allowance

GRACE_SECONDS = 1.0
LOOKED_AT = 32
"""How many connections are looked at, at most, to find one that is idle. The next search begins behind them, so that an
idle one is found in the end, however many are busy."""
FIRST_SECONDS, LOG_SECONDS = 1.0, 10.0
BURST = 200
"""So many new connections of one peer are admitted at once, whatever its rate."""
REMEMBERED = 4096
IPV6_PREFIX = 64
LOCAL = "local"
"""The peer of all connections of a unix socket."""


class Refusal(StrEnum):
    """Why a connection was refused, or closed before its client wanted to."""

    FULL = "Full"
    PEER_SHARE = "PeerShare"
    PEER_RATE = "PeerRate"
    EVICTED = "Evicted"
    MEMORY = "Memory"
    HANDSHAKE = "HandshakeTimeout"
    HEADERS = "HeadersTimeout"
    WRITE = "WriteTimeout"
    BODY = "BodyTimeout"
    IDLE = "Idle"
    OPEN_FILES = "OpenFiles"


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections there may be, the share of them, of what other peers leave, that one peer may have, and how
    many it may bring in a second (None: any number)."""

    connections: int
    peer_share: float = 0.5
    peer_rate: float | None = None


def rooms(files: int, grpc: int, http: int, peer_share: float, peer_rate: float | None = None) -> tuple[Room, Room]:
    """The room of both ports where the process may have so many open files.

    A quarter of them is for all else: connections to members, the snapshot, configuration files, child processes.
    """
    for_http = min(http, files // 8)
    for_grpc = min(grpc, files - files // 4 - for_http)
    return Room(for_grpc, peer_share, peer_rate), Room(for_http, peer_share, peer_rate)


class Guest(Protocol):
    """What has a seat."""

    @property
    def idle_since(self) -> float | None:
        """Since when it has no request under way; None: it has."""

    def evict(self) -> None:
        """Close the connection at once. ``Seat.free`` follows, now or soon."""


class Seat:
    """One accepted connection. It counts until ``free`` is called."""

    __slots__ = ("_admission", "guest", "peer")

    def __init__(self, admission: Admission, peer: str) -> None:
        self._admission: Admission | None = admission
        self.peer = peer
        self.guest: Guest | None = None

    def free(self) -> None:
        """The connection is over. Again: nothing."""
        admission, self._admission, self.guest = self._admission, None, None
        if admission is not None:
            admission.left(self)


class Admission:
    """Admits connections to one port. ``refused`` is called with each refusal, for the metric and the log."""

    def __init__(self, room: Room, refused: Callable[[Refusal, str], None]) -> None:
        self._room = room
        self.refused = refused
        self._seats: dict[Seat, None] = {}
        self._peers: dict[str, dict[Seat, None]] = {}
        self._rates: dict[str, Allowance] = {}

    @property
    def taken(self) -> int:
        """How many seats are."""
        return len(self._seats)

    def admit(self, peer: str, now: float) -> Seat | None:
        """A seat for a new connection of ``peer``, or None: close it."""
        if self._room.peer_rate is not None and not self._rate(peer, self._room.peer_rate, now).spend(now):
            self.refused(Refusal.PEER_RATE, peer)
            return None
        own = self._peers.get(peer, {})
        left = self._room.connections - len(self._seats)
        if len(own) + 1 > max(1.0, self._room.peer_share * (left + len(own))):
            found, why = self._idle(own, now), Refusal.PEER_SHARE
        elif left <= 0:
            found, why = self._idle(self._seats, now), Refusal.FULL
        else:
            return self._seat(peer)
        if found is None:
            self.refused(why, peer)
            return None
        self.refused(Refusal.EVICTED, found.peer)
        guest = found.guest
        found.free()
        if guest is not None:
            guest.evict()
        return self._seat(peer)

    def left(self, seat: Seat) -> None:
        """The seat is free."""
        del self._seats[seat]
        own = self._peers[seat.peer]
        del own[seat]
        if not own:
            del self._peers[seat.peer]

    def _rate(self, peer: str, rate: float, now: float) -> Allowance:
        """What the peer has left; only so many peers are remembered, those that came last."""
        found = self._rates.pop(peer, None) or Allowance(rate, BURST, now)
        self._rates[peer] = found
        if len(self._rates) > REMEMBERED:
            del self._rates[next(iter(self._rates))]
        return found

    def _seat(self, peer: str) -> Seat:
        seat = Seat(self, peer)
        self._seats[seat] = None
        self._peers.setdefault(peer, {})[seat] = None
        return seat

    def _idle(self, seats: dict[Seat, None], now: float) -> Seat | None:
        """An idle one of these, of the peer that has most."""
        best: Seat | None = None
        for _ in range(min(LOOKED_AT, len(seats))):
            seat = next(iter(seats))
            del seats[seat]
            seats[seat] = None
            since = seat.guest.idle_since if seat.guest is not None else None
            if since is None or now - since < GRACE_SECONDS:
                continue
            if seats is not self._seats:
                return seat
            if best is None or len(self._peers[seat.peer]) > len(self._peers[best.peer]):
                best = seat
        return best


def peer_of(host: str) -> str:
    """The peer of a connection from this IP address; ``LOCAL`` for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return LOCAL
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, IPV6_PREFIX), strict=False))


class RefusalLog:
    """Tells of refusals in one line for each ten seconds, however many there are: a stranger must not fill the log.

    ``later`` calls a function after so many seconds.
    """

    def __init__(
        self, port: str, write: Callable[[str], None], later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self._port = port
        self._write = write
        self._later = later
        self._counts: dict[str, int] = {}
        self._peer = ""
        self._waiting = False

    def add(self, refusal: Refusal, peer: str) -> None:
        """One more."""
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        self._peer = peer
        if not self._waiting:
            self._waiting = True
            self._later(FIRST_SECONDS, self._tell)

    def _tell(self) -> None:
        self._waiting = bool(self._counts)
        if not self._waiting:
            return
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self._counts.items()))
        self._counts = {}
        self._write(
            f"{self._port}: connections refused or closed: {counts}; the last from {self._peer} (docs/limits.md)"
        )
        self._later(LOG_SECONDS, self._tell)
