"""Who may connect: shares, room for others, and which connection makes room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from registry.admission import GRACE_SECONDS, LOCAL, Admission, Refusal, RefusalLog, Room, Seat, peer_of, rooms


@dataclass(eq=False)
class Connection:
    """``since``: idle since then; None: busy."""

    since: float | None = None
    evicted: bool = False

    @property
    def idle_since(self) -> float | None:
        return self.since

    def evict(self) -> None:
        self.evicted = True


class Port:
    """An admission, and what it refused."""

    def __init__(self, connections: int, share: float = 0.5) -> None:
        self.refused: list[tuple[Refusal, str]] = []
        self.admission = Admission(Room(connections, share), lambda why, peer: self.refused.append((why, peer)))

    def come(self, peer: str, count: int = 1, since: float | None = None, now: float = 100.0) -> list[Seat]:
        """The seats that so many connections of a peer got."""
        found = []
        for _ in range(count):
            seat = self.admission.admit(peer, now)
            if seat is not None:
                seat.guest = Connection(since)
                found.append(seat)
        return found


def test_one_peer_has_at_most_its_share_and_each_further_one_a_share_of_the_rest() -> None:
    port = Port(1000)
    assert [len(port.come(peer, 1000)) for peer in "abcd"] == [500, 250, 125, 62]
    assert {why for why, _ in port.refused} == {Refusal.PEER_SHARE}


def test_many_peers_can_fill_a_port_and_none_of_them_takes_more_than_is_fair() -> None:
    port = Port(100)
    seats = [seat for number in range(200) for seat in port.come(f"10.0.0.{number}")]
    assert len(seats) == port.admission.taken == 100
    assert {why for why, _ in port.refused} == {Refusal.FULL}


def test_a_peer_brings_so_many_a_second_after_a_burst_and_others_as_many() -> None:
    refused: list[Refusal] = []
    admission = Admission(Room(100_000, peer_rate=50), lambda why, _peer: refused.append(why))

    def come(peer: str, now: float) -> int:
        return sum(admission.admit(peer, now) is not None for _ in range(1000))

    assert [come("a", 0.0), come("b", 0.0), come("a", 1.0), come("a", 1.0), come("a", 3.0)] == [200, 200, 50, 0, 100]
    assert set(refused) == {Refusal.PEER_RATE}
    for number in range(10_000):
        admission.admit(f"peer{number}", 4.0)
    assert come("newcomer", 5.0) > 0


def test_a_whole_share_is_all_there_is() -> None:
    assert len(Port(100, share=1.0).come("a", 200)) == 100


def test_a_peer_always_has_one_where_there_is_room() -> None:
    assert len(Port(1).come("a")) == 1


def test_a_seat_that_is_free_is_free_once() -> None:
    port = Port(10)
    (seat,) = port.come("a")
    seat.free()
    seat.free()
    assert port.admission.taken == 0
    assert len(port.come("a", 10)) == 5


def test_an_idle_connection_of_the_same_peer_makes_room_the_oldest_first() -> None:
    port = Port(10)
    seats = port.come("a", 5, since=0.0)
    guests = [seat.guest for seat in seats]
    assert len(port.come("a", 2)) == 2
    assert [guest.evicted for guest in guests if isinstance(guest, Connection)] == [True, True, False, False, False]
    assert port.refused == [(Refusal.EVICTED, "a")] * 2
    assert port.admission.taken == 5


@pytest.mark.parametrize("since", [None, 100.0 - GRACE_SECONDS / 2])
def test_what_is_busy_or_has_just_come_never_makes_room(since: float | None) -> None:
    port = Port(10)
    port.come("a", 5, since=since)
    assert port.come("a") == []
    assert port.refused == [(Refusal.PEER_SHARE, "a")]


def test_an_idle_connection_is_found_behind_any_number_of_busy_ones() -> None:
    port = Port(2000)
    port.come("a", 999)
    (idle,) = port.come("a", since=0.0)
    guest = idle.guest
    assert sum(len(port.come("a")) for _ in range(40)) == 1
    assert isinstance(guest, Connection)
    assert guest.evicted


def test_in_a_full_port_the_peer_that_has_most_makes_room() -> None:
    port = Port(12)
    many = port.come("a", 6, since=0.0)
    for number in range(6):
        port.come(f"b{number}", since=0.0)
    guests = [each.guest for each in many]
    assert port.come("newcomer")
    assert sum(guest.evicted for guest in guests if isinstance(guest, Connection)) == 1


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", LOCAL),
    ],
)
def test_peers_are_addresses_of_ipv6_networks(host: str, peer: str) -> None:
    assert peer_of(host) == peer


@pytest.mark.parametrize(
    ("files", "grpc", "http"), [(1 << 20, 10_000, 512), (1024, 640, 128), (256, 160, 32), (16, 10, 2)]
)
def test_a_quarter_of_the_files_is_for_all_else(files: int, grpc: int, http: int) -> None:
    for_grpc, for_http = rooms(files, 10_000, 512, 0.5)
    assert (for_grpc.connections, for_http.connections) == (grpc, http)
    assert for_grpc.connections + for_http.connections <= files * 3 // 4


def test_any_number_of_refusals_is_a_line_for_each_ten_seconds() -> None:
    lines: list[str] = []
    timers: list[Callable[[], None]] = []
    log = RefusalLog("grpc", lines.append, lambda _seconds, call: timers.append(call))
    for _ in range(1000):
        log.add(Refusal.PEER_SHARE, "10.0.0.1")
    log.add(Refusal.FULL, "10.0.0.2")
    timers.pop(0)()
    assert lines == [
        "grpc: connections refused or closed: 1 Full, 1000 PeerShare; the last from 10.0.0.2 (docs/limits.md)"
    ]
    timers.pop(0)()
    assert (len(lines), timers) == (1, [])
    log.add(Refusal.EVICTED, "10.0.0.3")
    assert len(timers) == 1
