"""Clients that leave responses unanswered: no type waits for another, nor for an answer that nobody owes, for ever.

What grpc-java does is of its ControlPlaneClient: it ignores a response of a type that it has left. When it comes back
it sends no nonce (before 1.69), or the one of the response that it ignored. What counts as a new subscription is
istiod's ``ShouldRespond``.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from support.xds_client import Reply, drop, put
from support.xds_session import Dialogue

from registry.xds.errors import TooManyNamesError
from registry.xds.session import PATIENCE_SECONDS, SessionOptions
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS, MAKE_ORDER, RDS, ResourceType

BOTH = pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])
SERVICE = tuple((kind, f"{kind.short}-of-echo") for kind in MAKE_ORDER)


@pytest.fixture
def store() -> ResourceStore:
    store = ResourceStore()
    store.apply(put(kind, name) for kind, name in SERVICE)
    return store


def request(
    kind: ResourceType, *names: str, nonce: str = "", version: str = "", error: str | None = None
) -> discovery_pb2.DiscoveryRequest:
    message = discovery_pb2.DiscoveryRequest(
        type_url=kind.url, resource_names=names, response_nonce=nonce, version_info=version
    )
    if error is not None:
        message.error_detail.message = error
    return message


class Sotw(Dialogue):
    """A SotW client whose requests the test writes itself."""

    def __init__(self, store: ResourceStore, types: tuple[ResourceType, ...] = MAKE_ORDER) -> None:
        super().__init__(store, delta=False, types=types)

    def send(self, message: discovery_pb2.DiscoveryRequest) -> None:
        self.session.receive(message.SerializeToString())

    def answer(self, reply: Reply, *names: str) -> None:
        self.send(request(reply.kind, *names, nonce=reply.nonce, version=reply.version))


class GrpcJava(Sotw):
    """What grpc-java does for one target, whatever its listener, route and cluster say: each leads to the next.

    ``remembers``: it keeps the nonces of types that it has left, and of responses that it ignores (since 1.69).
    """

    ORDER: ClassVar = (LDS, RDS, CDS, EDS)
    NAMES: ClassVar = dict(SERVICE)

    def __init__(self, store: ResourceStore, remembers: bool) -> None:
        super().__init__(store)
        self.remembers = remembers
        self.watched: list[ResourceType] = []
        self.nonces: dict[ResourceType, str] = {}
        self.has: dict[ResourceType, str] = {}
        self._watch(LDS)

    def react(self, reply: Reply) -> None:
        if reply.kind not in self.watched:
            if self.remembers:
                self.nonces[reply.kind] = reply.nonce
            return
        self.nonces[reply.kind] = reply.nonce
        self.has.update((reply.kind, content) for content in reply.resources.values())
        if reply.kind.whole and not reply.resources:
            self.has.pop(reply.kind, None)
        self.answer(reply, self.NAMES[reply.kind])
        place = self.ORDER.index(reply.kind)
        if reply.kind not in self.has:
            for kind in self.ORDER[place + 1 :]:
                self._leave(kind)
        elif place + 1 < len(self.ORDER) and self.ORDER[place + 1] not in self.watched:
            self._watch(self.ORDER[place + 1])

    def run(self) -> None:
        while (reply := self.pull()) is not None:
            self.react(reply)

    def _watch(self, kind: ResourceType) -> None:
        self.watched.append(kind)
        self.send(request(kind, self.NAMES[kind], nonce=self.nonces.get(kind, "")))

    def _leave(self, kind: ResourceType) -> None:
        if kind in self.watched:
            self.watched.remove(kind)
            self.has.pop(kind, None)
            self.send(request(kind, nonce=self.nonces.get(kind, "")))
            if not self.remembers:
                self.nonces.pop(kind, None)


@pytest.mark.parametrize("remembers", [False, True], ids=["before 1.69", "since 1.69"])
@pytest.mark.parametrize("gone", [False, True], ids=["served", "removed"])
def test_grpc_java_comes_back_after_a_service_was_deleted_and_made_anew(
    store: ResourceStore, remembers: bool, gone: bool
) -> None:
    """The response with the listener's removal crosses one of CDS, which the client has left when it arrives."""
    client = GrpcJava(store, remembers)
    client.run()
    assert set(client.has) == set(MAKE_ORDER)

    store.apply([drop(LDS, client.NAMES[LDS]), drop(RDS, client.NAMES[RDS])])
    listeners = client.expect()
    store.apply([drop(CDS, client.NAMES[CDS]) if gone else put(CDS, client.NAMES[CDS], "2")])
    crossing = client.pull()
    client.react(listeners)
    if crossing is None:
        crossing = client.pull()
    if crossing is not None:
        client.react(crossing)
    client.run()
    assert client.has == {}

    store.apply(put(kind, name, "3") for kind, name in SERVICE)
    client.run()
    assert client.has == dict.fromkeys(MAKE_ORDER, "3")


def test_a_client_that_left_a_type_owes_no_answer(store: ResourceStore) -> None:
    store.apply([put(EDS, "a")])
    client = Sotw(store)
    client.subscribe(EDS, "a")
    first = client.take()
    store.apply([put(EDS, "a", "2")])
    client.expect()  # is never answered
    client.send(request(EDS, nonce=first.nonce))
    assert (client.status(EDS).waiting, client.status(EDS).names) == (False, 0)
    client.send(request(EDS, "a", nonce=first.nonce))
    assert client.take().resources == {"a": "2"}


def test_a_late_answer_of_a_client_that_came_back_does_no_harm(store: ResourceStore) -> None:
    store.apply([put(EDS, "a")])
    client = Sotw(store)
    client.subscribe(EDS, "a")
    first = client.take()
    store.apply([put(EDS, "a", "2")])
    second = client.expect()
    client.send(request(EDS, nonce=first.nonce))
    client.send(request(EDS, "a", nonce=first.nonce))
    third = client.expect()
    client.answer(second, "a")
    assert client.pull() is None
    client.answer(third, "a")
    store.apply([put(EDS, "a", "3")])
    assert client.take().resources == {"a": "3"}
    assert client.pull() is None


@pytest.mark.parametrize("kind", MAKE_ORDER, ids=lambda kind: kind.short)
@pytest.mark.parametrize("answered", [False, True], ids=["unanswered", "ACKed"])
def test_a_request_without_a_nonce_is_a_new_subscription(
    store: ResourceStore, kind: ResourceType, answered: bool
) -> None:
    store.apply([put(kind, "a"), put(kind, "b")])
    client = Sotw(store)
    client.send(request(kind, "a", "b"))
    reply = client.expect()
    if answered:
        client.answer(reply, "a", "b")
        assert client.pull() is None
    client.send(request(kind, "a"))
    again = client.expect()
    assert again.resources == {"a": "1"}
    assert again.nonce != reply.nonce
    client.answer(again, "a")
    assert client.pull() is None


@pytest.mark.parametrize("kind", [CDS, LDS], ids=["CDS", "LDS"])
def test_a_wildcard_is_subscribed_to_anew(store: ResourceStore, kind: ResourceType) -> None:
    client = Sotw(store)
    client.send(request(kind))
    before = client.take()
    client.send(request(kind))
    assert client.take().resources == before.resources
    assert client.pull() is None


@pytest.mark.parametrize("kind", [CDS, LDS], ids=["CDS", "LDS"])
def test_naming_nothing_after_a_name_is_no_wildcard_without_a_nonce_either(
    store: ResourceStore, kind: ResourceType
) -> None:
    client = Sotw(store)
    client.send(request(kind, "a"))
    client.take()
    client.send(request(kind))
    assert client.pull() is None
    assert (client.status(kind).wildcard, client.status(kind).names) == (False, 0)
    store.apply([put(kind, "a")])
    assert client.pull() is None


def test_clusters_that_are_subscribed_to_anew_are_followed_by_their_endpoints(store: ResourceStore) -> None:
    store.apply([put(CDS, "a"), put(EDS, "a")])
    client = Sotw(store)
    client.send(request(CDS, "a"))
    client.answer(client.expect(), "a")
    client.send(request(EDS, "a"))
    client.answer(client.expect(), "a")
    client.send(request(CDS, "a"))
    assert client.take().kind is CDS
    assert client.take().resources == {"a": "1"}


def test_an_ack_or_nack_that_lost_its_nonce_is_no_new_subscription(store: ResourceStore) -> None:
    """Such a client would be sent everything without end."""
    client = Sotw(store)
    client.send(request(CDS))
    reply = client.expect()
    client.send(request(CDS, version=reply.version))
    assert client.pull() is None
    assert client.status(CDS).acked_version == reply.version
    store.apply([put(CDS, "bad")])
    client.expect()
    client.send(request(CDS, version=reply.version, error="no"))
    assert client.pull() is None
    assert client.status(CDS).nack_error == "no"


def test_a_stale_list_of_names_counts_when_no_answer_comes(store: ResourceStore) -> None:
    store.apply([put(EDS, "a"), put(EDS, "b")])
    client = Sotw(store)
    client.subscribe(EDS, "a")
    first = client.take()
    store.apply([put(EDS, "a", "2")])
    client.expect()  # is never answered
    client.send(request(EDS, "a", "b", nonce=first.nonce))
    assert client.pull() is None
    assert client.session.held
    assert client.session.hold(10.0) == PATIENCE_SECONDS
    assert client.pull() is None
    assert client.session.hold(10.0 + PATIENCE_SECONDS) == 0
    assert client.take().resources == {"a": "2", "b": "1"}, "what it ignored as well"
    assert client.pull() is None
    assert not client.session.held


def test_a_stale_list_of_names_does_not_count_when_the_answer_comes(store: ResourceStore) -> None:
    store.apply([put(EDS, "a"), put(EDS, "b")])
    client = Sotw(store)
    client.subscribe(EDS, "a")
    first = client.take()
    store.apply([put(EDS, "a", "2")])
    second = client.expect()
    client.send(request(EDS, "b", nonce=first.nonce))
    assert client.session.hold(10.0) > 0
    client.answer(second, "a")
    assert client.pull() is None
    assert client.session.held is False
    assert client.status(EDS).names == 1


def test_stale_names_are_bounded_too(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False, options=SessionOptions(max_names=3))
    client.subscribe(EDS, "a", "b")
    client.subscribe(RDS, "r")
    with pytest.raises(TooManyNamesError):
        client.session.receive(request(RDS, "r", "s", nonce="stale").SerializeToString())


@BOTH
def test_a_type_waits_for_another_no_longer_than_the_bound(store: ResourceStore, delta: bool) -> None:
    client = everything(store, delta)
    store.apply([put(CDS, "new"), put(RDS, dict(SERVICE)[RDS], "2")])
    clusters = client.expect()
    assert clusters.kind is CDS
    assert client.pull() is None
    assert client.session.held
    assert client.session.hold(100.0) == PATIENCE_SECONDS
    assert client.session.hold(101.0) == PATIENCE_SECONDS - 1
    assert client.pull() is None
    assert client.session.hold(102.0) == 0
    routes = client.take()
    assert routes.kind is RDS
    assert client.pull() is None
    assert not client.session.held

    client.ack(clusters)  # late
    store.apply([put(CDS, "new", "2")])
    client.settle()
    assert client.held(CDS)["new"] == "2"


@BOTH
def test_removals_wait_no_longer_either(store: ResourceStore, delta: bool) -> None:
    client = everything(store, delta)
    store.apply([put(RDS, dict(SERVICE)[RDS], "2"), drop(CDS, dict(SERVICE)[CDS])])
    assert client.expect().kind is RDS  # is never answered
    assert client.pull() is None
    client.session.hold(0.0)
    assert client.session.hold(PATIENCE_SECONDS) == 0
    assert client.take().kind is CDS
    assert client.held(CDS) == {}


@BOTH
def test_a_type_that_always_has_more_to_say_holds_up_no_other(store: ResourceStore, delta: bool) -> None:
    """Endpoints that change faster than the client answers."""
    client = everything(store, delta)
    store.apply([put(EDS, dict(SERVICE)[EDS], "first"), put(RDS, dict(SERVICE)[RDS], "2")])
    now, came = 0.0, False
    while now < PATIENCE_SECONDS + 1 and not came:
        reply = client.expect()
        store.apply([put(EDS, dict(SERVICE)[EDS], str(now))])
        assert client.pull() is None
        came = client.session.hold(now) == 0 and client.take().kind is RDS
        now += 0.1
        client.ack(reply)
    assert came
    assert now == pytest.approx(PATIENCE_SECONDS, abs=0.2)


@BOTH
def test_the_bound_begins_anew_with_each_wait(store: ResourceStore, delta: bool) -> None:
    client = everything(store, delta)
    for start in (0.0, 100.0):
        store.apply([put(CDS, f"new-{start}"), put(RDS, dict(SERVICE)[RDS], str(start))])
        clusters = client.expect()
        assert client.pull() is None
        assert client.session.hold(start) == PATIENCE_SECONDS
        client.ack(clusters)
        assert client.take().kind is RDS
        assert client.pull() is None
        assert not client.session.held


def test_a_delta_client_that_left_a_type_owes_no_answer(store: ResourceStore) -> None:
    store.apply([put(EDS, "a")])
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    client.take()
    store.apply([put(EDS, "a", "2")])
    client.expect()  # is never answered
    client.unsubscribe(EDS, "a")
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "2"}


def test_what_a_delta_client_has_counts_in_its_first_request_alone(store: ResourceStore) -> None:
    store.apply([put(EDS, "a"), put(EDS, "b")])
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    version = client.take().versions["a"]
    client.subscribe(EDS, "a", "b", known={"a": version, "b": version})
    assert client.take().resources == {"a": "1", "b": "1"}


@BOTH
def test_a_resource_deleted_and_made_anew_while_nobody_wanted_it_is_sent(store: ResourceStore, delta: bool) -> None:
    store.apply([put(EDS, "a"), put(EDS, "other")])
    client = Dialogue(store, delta)
    client.subscribe(EDS, "a", "other")
    client.take()
    client.unsubscribe(EDS, "a")
    store.apply([drop(EDS, "a")])
    store.apply([put(EDS, "a")])
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "1"}
    assert client.pull() is None


def everything(store: ResourceStore, delta: bool) -> Dialogue:
    """A client that has all that there is."""
    client = Dialogue(store, delta)
    for kind, name in SERVICE:
        client.subscribe(kind, *(() if kind.whole else (name,)))
        client.take()
    assert client.pull() is None
    return client
