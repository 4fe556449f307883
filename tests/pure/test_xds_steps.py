"""What one call of a session does is bounded, however much its client asks for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from support.xds_client import resource

from registry.xds import wire
from registry.xds.channel import RESPONSE_NAMES, WORK_AT_ONCE
from registry.xds.errors import InvalidRequestError, TooManyNamesError
from registry.xds.resources import Resource
from registry.xds.session import (
    FIELDS_PER_STEP,
    NODE_BYTES,
    REQUEST_BYTES,
    WAITING_BYTES,
    WHOLE_NAMES,
    DeltaSession,
    SessionOptions,
    SotwSession,
)
from registry.xds.store import FOUND, ResourceStore
from registry.xds.subscription import NAMES_AT_ONCE
from registry.xds.types import CDS, EDS, MAKE_ORDER

both_variants = pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])
MANY = 4_000
FOUND_AT_ONCE = WORK_AT_ONCE // FOUND + 1


def names(count: int, what: str = "there") -> list[str]:
    return [f"{what}-{number:06}" for number in range(count)]


class World:
    """A store that finds every assignment whose name begins with ``there``, and counts how many it found.

    The client is protobuf itself: that of other tests takes seconds for so many names.
    """

    def __init__(self, delta: bool, max_names: int = 200_000) -> None:
        self.found = 0
        self.group: Hashable = "here"
        self.left: list[Hashable] = []
        self.store = ResourceStore(left=self.left.append)
        self.store.on_demand(EDS.url, self._find)
        options = SessionOptions(max_names=max_names, group=lambda _, kind: self.group if kind is EDS else "")
        self.delta = delta
        self.session = (DeltaSession if delta else SotwSession)(self.store, MAKE_ORDER, lambda: None, options)
        self.nonce = ""
        self.wanted: dict[str, None] = {}
        self.held: dict[str, set[str]] = {EDS.url: set(), CDS.url: set()}

    def request(self, subscribe: Sequence[str] = (), unsubscribe: Sequence[str] = (), url: str = EDS.url) -> bytes:
        if self.delta:
            return discovery_pb2.DeltaDiscoveryRequest(
                type_url=url, resource_names_subscribe=subscribe, resource_names_unsubscribe=unsubscribe
            ).SerializeToString()
        if url == EDS.url:
            self.wanted.update(dict.fromkeys(subscribe))
            self.wanted = {name: None for name in self.wanted if name not in set(unsubscribe)}
            subscribe = list(self.wanted)
        nonce = self.nonce if url == EDS.url else ""
        return discovery_pb2.DiscoveryRequest(
            type_url=url, resource_names=subscribe, response_nonce=nonce
        ).SerializeToString()

    def ask(self, subscribe: Sequence[str] = (), unsubscribe: Sequence[str] = (), url: str = EDS.url) -> None:
        self.session.receive(self.request(subscribe, unsubscribe, url))

    def take(self, data: bytes) -> int:
        """The client takes a response, and ACKs it; how many resources it had."""
        if self.delta:
            delta = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            self.held[delta.type_url].update(each.name for each in delta.resources)
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=delta.type_url, response_nonce=delta.nonce)
            self.session.receive(ack.SerializeToString())
            return len(delta.resources) + len(delta.removed_resources)
        whole = discovery_pb2.DiscoveryResponse.FromString(data)
        if whole.type_url == EDS.url:
            self.nonce = whole.nonce
            found = [endpoint_pb2.ClusterLoadAssignment.FromString(each.value) for each in whole.resources]
            self.held[EDS.url].update(each.cluster_name for each in found)
            self.ask()
        else:
            clusters = [cluster_pb2.Cluster.FromString(each.value) for each in whole.resources]
            self.held[CDS.url].update(each.name for each in clusters)
        return len(whole.resources)

    def settle(self) -> int:
        """Take everything; in how many calls."""
        calls = 0
        while (response := self.session.next_response()) is not None or self.session.busy:
            calls += 1
            if response is not None:
                self.take(response)
        return calls

    def names(self) -> int:
        (status,) = (each for each in self.session.status().types if each.type_url == EDS.url)
        return status.names

    def _find(self, _type_url: str, group: Hashable, name: str) -> Resource | None:
        if not name.startswith("there"):
            return None
        self.found += 1
        body = endpoint_pb2.ClusterLoadAssignment(cluster_name=name).SerializeToString()
        return Resource(lambda: body, on_demand=True, version=str(group))

    def most_found(self, call: Callable[[], object]) -> int:
        """Call until the session is not busy; the most that was found in one call."""
        most, again = 0, True
        while again:
            before = self.found
            call()
            most = max(most, self.found - before)
            again = self.session.busy
        return most


@both_variants
def test_resources_are_found_and_encoded_a_few_at_a_time(delta: bool) -> None:
    world = World(delta)
    world.ask(names(MANY))
    while len(world.held[EDS.url]) < MANY:
        responses: list[bytes | None] = []
        assert world.most_found(lambda to=responses: to.append(world.session.next_response())) <= FOUND_AT_ONCE  # type: ignore[misc]
        assert responses[-1] is not None
        assert world.take(responses[-1]) <= RESPONSE_NAMES
    assert world.found == MANY, "each is found once"


@both_variants
def test_names_that_do_not_exist_are_looked_at_a_part_at_a_time(delta: bool) -> None:
    world = World(delta)
    world.ask(names(MANY, "missing"))
    assert world.settle() >= MANY / NAMES_AT_ONCE
    assert world.held[EDS.url] == set()


@both_variants
def test_a_request_that_comes_while_many_names_are_taken_in_counts_after_them(delta: bool) -> None:
    world = World(delta)
    world.ask(names(MANY))
    world.ask(url=CDS.url)
    world.store.set(CDS.url, "there-000001", resource(CDS, "there-000001"))
    world.ask(unsubscribe=names(MANY)[1:])
    world.settle()
    assert world.held[CDS.url] == {"there-000001"}
    assert world.names() == 1


@both_variants
def test_requests_that_come_faster_than_they_are_taken_in_end_the_stream(delta: bool) -> None:
    world = World(delta)
    world.ask(names(MANY))
    request = world.request(names(MANY))
    for _ in range(WAITING_BYTES // (len(request) + REQUEST_BYTES)):
        world.session.receive(request)
    with pytest.raises(TooManyNamesError):
        world.session.receive(request)


@both_variants
def test_a_client_that_moves_is_moved_a_part_at_a_time(delta: bool) -> None:
    world = World(delta)
    world.ask(names(MANY))
    world.settle()
    world.group = "there"
    before = world.found
    world.session.regroup()
    assert world.found - before <= FOUND_AT_ONCE
    assert world.most_found(world.session.next_response) <= FOUND_AT_ONCE
    assert world.found == 2 * MANY
    assert world.left == ["here"]


@both_variants
@pytest.mark.parametrize("steps", [0, 1, 3, 1_000])
def test_a_client_that_goes_while_it_moves_leaves_nothing(delta: bool, steps: int) -> None:
    world = World(delta)
    world.ask(names(MANY))
    world.settle()
    world.group = "there"
    world.session.regroup()
    for _ in range(steps):
        world.session.next_response()
    closing = list(world.session.closing())
    assert len(closing) >= MANY / NAMES_AT_ONCE - 1, "that is done in steps"
    assert world.store.groups(EDS.url) == []
    assert not world.store.viewed(EDS.url)


def test_a_list_of_names_that_says_the_same_again_costs_no_look_at_the_store() -> None:
    world = World(delta=False)
    world.ask(names(100))
    world.settle()
    before = world.found
    for number in range(100):
        world.nonce = f"{number}"
        world.ask()
        assert world.session.next_response() is None
    assert world.found == before


def test_clusters_are_named_in_small_numbers_where_each_response_looks_at_all_of_them() -> None:
    few, many = (
        discovery_pb2.DiscoveryRequest(type_url=CDS.url, resource_names=[f"{each}" for each in range(count)])
        for count in (WHOLE_NAMES, WHOLE_NAMES + 1)
    )
    taken = World(False)
    taken.session.receive(few.SerializeToString())
    taken.settle()
    refused = World(False)
    refused.session.receive(many.SerializeToString())
    with pytest.raises(TooManyNamesError, match="20000 resources"):
        refused.settle()


@both_variants
@pytest.mark.parametrize("count", [11, 1_000_000])
def test_names_are_counted_before_there_is_an_object_of_each(delta: bool, count: int) -> None:
    world = World(delta, max_names=10)
    with pytest.raises(TooManyNamesError, match="10 resources"):
        world.session.receive(wire.text(2 if delta else 4, EDS.url) + b"\x1a\x00" * count)


@both_variants
@pytest.mark.parametrize(
    ("field", "text"),
    [
        (wire.field(3, b"n" * 20_000), "a name of 20000 bytes"),
        (wire.field(15, bytes(NODE_BYTES + 1)), "field 15"),
    ],
)
def test_a_name_that_is_none_is_refused(delta: bool, field: bytes, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=text):
        World(delta).session.receive(wire.text(2 if delta else 4, EDS.url) + field)


@both_variants
def test_what_is_kept_for_a_client_is_said_and_goes_with_its_names(delta: bool) -> None:
    world = World(delta)
    world.ask(names(1_000))
    kept = world.session.kept
    assert kept > 1_000 * 100
    world.settle()
    world.ask(unsubscribe=names(1_000)[1:])
    assert world.session.kept < kept / 100


@both_variants
@pytest.mark.parametrize(
    "pair", [b"\x12\0\x1a\0", b"\x08\1\x10\1", b"\x92\0\0\x9a\0\0"], ids=["texts", "numbers", "long"]
)
def test_fields_of_a_request_are_counted_in_pieces(delta: bool, pair: bytes) -> None:
    """Two kinds of them in turn, which is what counting takes longest for; 600,000 took 0.7 s in one piece."""
    world = World(delta)
    world.session.receive(pair * 200_000)
    steps = 0

    def go_on() -> None:
        nonlocal steps
        while True:
            world.session.next_response()
            steps += 1

    with pytest.raises((TooManyNamesError, InvalidRequestError)):
        go_on()
    assert steps >= 200_000 // FIELDS_PER_STEP - 2
