"""Delta sessions, as stories."""

from __future__ import annotations

import pytest
from support.xds_client import resource
from support.xds_session import Dialogue

from registry.xds.errors import TooManyNamesError
from registry.xds.resources import ResourceChange
from registry.xds.session import SessionOptions
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS


@pytest.fixture
def store() -> ResourceStore:
    store = ResourceStore()
    for name in ("a", "b"):
        store.set(CDS.url, name, resource(CDS, name))
        store.set(EDS.url, name, resource(EDS, name))
    return store


def test_legacy_wildcard_gets_everything_then_only_what_changes(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(CDS)
    assert client.take().resources == {"a": "1", "b": "1"}
    assert client.pull() is None
    store.set(CDS.url, "c", resource(CDS, "c"))
    assert client.take().resources == {"c": "1"}
    store.remove(CDS.url, "a")
    assert client.take().removed == ("a",)
    assert client.pull() is None


def test_wildcard_of_an_empty_store_is_answered_with_nothing() -> None:
    client = Dialogue(ResourceStore(), delta=True)
    client.subscribe(CDS)
    reply = client.take()
    assert (reply.resources, reply.removed) == ({}, ())
    assert client.pull() is None


def test_a_name_beside_the_legacy_wildcard_continues_it(store: ResourceStore) -> None:
    store.set(CDS.url, "lazy", resource(CDS, "lazy", on_demand=True))
    client = Dialogue(store, delta=True)
    client.subscribe(CDS)
    client.take()
    client.subscribe(CDS, "lazy")
    assert client.take().resources == {"lazy": "1"}
    store.set(CDS.url, "b", resource(CDS, "b", "2"))
    assert client.take().resources == {"b": "2"}


def test_the_wildcard_is_ended_by_name_and_an_ack_does_not_bring_it_back(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(CDS)
    client.take()
    client.unsubscribe(CDS, "*")
    store.set(CDS.url, "b", resource(CDS, "b", "2"))
    assert client.pull() is None
    client.subscribe(CDS, "a")
    assert client.take().resources == {"a": "1"}
    assert client.status(CDS).wildcard is False


def test_unsubscribing_a_name_under_a_wildcard_says_whether_the_wildcard_has_it(store: ResourceStore) -> None:
    store.set(CDS.url, "lazy", resource(CDS, "lazy", on_demand=True))
    client = Dialogue(store, delta=True)
    client.subscribe(CDS, "*", "a", "lazy")
    assert client.take().resources == {"a": "1", "b": "1", "lazy": "1"}
    client.unsubscribe(CDS, "a", "lazy")
    reply = client.take()
    assert (reply.resources, reply.removed) == ({"a": "1"}, ("lazy",))


def test_a_subscription_repeated_is_answered_again(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    client.take()
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "1"}
    assert client.pull() is None


def test_the_wildcard_repeated_is_answered_again(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(CDS, "*")
    client.take()
    client.subscribe(CDS, "*")
    assert client.take().resources == {"a": "1", "b": "1"}


def test_unsubscribed_names_are_silent_and_unknown_ones_ignored(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a", "b")
    client.take()
    client.unsubscribe(EDS, "a", "never heard of")
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    assert client.pull() is None
    store.set(EDS.url, "b", resource(EDS, "b", "2"))
    assert client.take().resources == {"b": "2"}


def test_a_name_that_does_not_exist_is_said_to_be_removed_and_sent_when_it_appears(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a", "late")
    reply = client.take()
    assert (reply.resources, reply.removed) == ({"a": "1"}, ("late",))
    store.set(EDS.url, "late", resource(EDS, "late"))
    assert client.take().resources == {"late": "1"}
    store.remove(EDS.url, "late")
    assert client.take().removed == ("late",)


def test_initial_versions_save_what_the_client_has(store: ResourceStore) -> None:
    store.set(CDS.url, "d", resource(CDS, "d"))
    first = Dialogue(store, delta=True)
    first.subscribe(CDS)
    known = dict(first.take().versions)

    store.set(CDS.url, "a", resource(CDS, "a", "2"))
    store.remove(CDS.url, "b")
    store.set(CDS.url, "c", resource(CDS, "c"))
    again = Dialogue(store, delta=True)
    again.subscribe(CDS, known=known)
    reply = again.take()
    assert reply.resources == {"a": "2", "c": "1"}
    assert reply.removed == ("b",)
    assert again.pull() is None


def test_initial_versions_of_named_resources_save_them_too(store: ResourceStore) -> None:
    first = Dialogue(store, delta=True)
    first.subscribe(EDS, "a", "b", "gone")
    known = {**first.take().versions, "gone": "0123456789abcdef", "not subscribed": "1"}
    store.set(EDS.url, "b", resource(EDS, "b", "2"))
    again = Dialogue(store, delta=True)
    again.subscribe(EDS, "a", "b", "gone", known=known)
    reply = again.take()
    assert (reply.resources, reply.removed) == ({"b": "2"}, ("gone",))
    assert again.pull() is None


def test_initial_versions_after_the_first_request_count_for_nothing(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    known = dict(client.take().versions)
    client.subscribe(EDS, "a", known=known)
    assert client.take().resources == {"a": "1"}


def test_more_initial_versions_than_allowed_end_the_stream(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True, options=SessionOptions(max_names=2))
    with pytest.raises(TooManyNamesError, match="2 resources"):
        client.subscribe(CDS, known=dict.fromkeys("xyz", "1"))


@pytest.mark.parametrize("delta", [False, True], ids=["SotW", "Delta"])
def test_names_are_counted_before_they_are_looked_at(store: ResourceStore, delta: bool) -> None:
    """A request has room for millions of names; to look at each would hold up everybody."""
    client = Dialogue(store, delta=delta, options=SessionOptions(max_names=2))
    with pytest.raises(TooManyNamesError, match="2 resources"):
        client.subscribe(EDS, *"xyz")
    assert not client.session.status().types


def test_subscriptions_count_whatever_the_nonce(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    reply = client.expect()
    client.subscribe(EDS, "b")  # no nonce: the first response is still unanswered
    assert client.pull() is None
    assert client.status(EDS).names == 2
    client.ack(reply)
    assert client.take().resources == {"b": "1"}


def test_a_wrong_nonce_answers_nothing(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    reply = client.expect()
    client.nack(type(reply)(EDS, reply.version, "made up", {}), "confused")
    assert client.status(EDS).waiting
    assert client.status(EDS).nack_error == ""


def test_a_nack_is_on_record_and_not_repeated(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    bad = client.nack(client.expect(), "no such locality")
    status = client.status(EDS)
    assert (status.nacked_version, status.nack_error, status.acked_version) == (bad.version, "no such locality", "")
    assert client.pull() is None
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    good = client.take()
    assert good.resources == {"a": "2"}
    assert client.status(EDS).acked_version == good.version


def test_one_bad_resource_keeps_no_good_one_back(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    for name in "abcdef":
        store.set(CDS.url, name, resource(CDS, name, "bad" if name == "c" else "2"))
    client.subscribe(CDS)
    responses = 0
    while (reply := client.pull()) is not None:
        responses += 1
        if "bad" in reply.resources.values():
            client.nack(reply)
        else:
            client.ack(reply)
    assert client.held(CDS) == dict.fromkeys("abdef", "2")
    assert responses < 12


def test_a_removal_that_was_rejected_along_with_a_bad_resource_is_told_again(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(CDS)
    client.take()
    store.apply([ResourceChange(CDS.url, "a", resource(CDS, "a", "bad")), ResourceChange(CDS.url, "b", None)])
    both = client.nack(client.expect())
    assert (both.resources, both.removed) == ({"a": "bad"}, ("b",))
    client.nack(client.expect())
    assert client.take().removed == ("b",)
    assert client.held(CDS) == {"a": "1"}


def test_a_resource_that_came_and_went_unread_is_never_mentioned(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(CDS)
    reply = client.expect()
    store.set(CDS.url, "brief", resource(CDS, "brief"))
    store.remove(CDS.url, "brief")
    client.ack(reply)
    assert client.pull() is None


def test_a_resource_that_becomes_on_demand_leaves_the_wildcard(store: ResourceStore) -> None:
    client = Dialogue(store, delta=True)
    client.subscribe(LDS)
    client.take()
    store.set(LDS.url, "l", resource(LDS, "l"))
    assert client.take().resources == {"l": "1"}
    store.set(LDS.url, "l", resource(LDS, "l", on_demand=True))
    assert client.take().removed == ("l",)


def test_a_large_answer_of_endpoints_comes_in_parts() -> None:
    store = ResourceStore()
    names = [f"service-{number}" for number in range(5)]
    for name in names:
        store.set(EDS.url, name, resource(EDS, name, "x" * 900_000))
    for delta in (False, True):
        client = Dialogue(store, delta=delta)
        client.subscribe(EDS, *names)
        parts = [sorted(client.take().resources) for _ in range(2)]
        assert parts == [names[:3], names[3:]]
        assert client.pull() is None


def test_what_a_client_had_is_not_told_again_where_it_is_so_again_before_the_answer() -> None:
    """A restarted server is answered by its clusters one after the other, before it answers its clients."""
    store = ResourceStore()
    store.set(CDS.url, "a", resource(CDS, "a", "1"))
    first = Dialogue(store, delta=True)
    first.subscribe(CDS)
    known = dict(first.take().versions)
    store.set(CDS.url, "a", resource(CDS, "a", "less"))
    again = Dialogue(store, delta=True)
    again.subscribe(CDS, known=known)
    store.set(CDS.url, "a", resource(CDS, "a", "1"))
    assert again.settle() == ["CDS {} -[]"]


def _came_back(store: ResourceStore) -> Dialogue:
    """A client that had ``a`` and ``b`` of both types before the server restarted."""
    before = ResourceStore()
    for kind in (CDS, EDS):
        for name in ("a", "b"):
            before.set(kind.url, name, resource(kind, name))
    first, again = Dialogue(before, delta=True), Dialogue(store, delta=True)
    first.subscribe(CDS)
    clusters = dict(first.take().versions)
    first.subscribe(EDS, "a", "b")
    endpoints = dict(first.take().versions)
    again.subscribe(CDS, known=clusters)
    again.subscribe(EDS, "a", "b", known=endpoints)
    return again


def test_what_a_store_does_not_know_yet_is_not_gone_for_a_client_that_has_it() -> None:
    store = ResourceStore(complete=False)
    store.set(CDS.url, "a", resource(CDS, "a"))
    store.set(EDS.url, "a", resource(EDS, "a"))
    client = _came_back(store)
    assert client.settle() == ["CDS {} -[]"], "nothing is removed"
    store.set(CDS.url, "b", resource(CDS, "b"))
    assert client.pull() is None, "it has b already"
    store.completed()
    assert client.settle() == ["EDS {} -['b']"], "whose endpoints are gone now"


def test_what_a_client_brought_along_is_removed_as_soon_as_it_is_known_to_be_gone() -> None:
    store = ResourceStore(complete=False)
    client = _came_back(store)
    assert client.settle() == ["CDS {} -[]"]
    store.set(CDS.url, "a", resource(CDS, "a"))
    store.remove(CDS.url, "a")
    assert client.settle() == ["CDS {} -['a']"], "it came and went: that is a deletion, whatever else is not known"
    store.completed()
    assert client.settle() == ["EDS {} -['a', 'b']", "CDS {} -['b']"]
    assert store.complete
    assert _came_back(store).settle() == ["CDS {} -['a', 'b']", "EDS {} -['a', 'b']"]


def test_a_client_that_is_gone_or_wants_it_no_more_is_told_nothing_when_the_store_is_complete() -> None:
    store = ResourceStore(complete=False)
    client, other = _came_back(store), _came_back(store)
    assert client.settle() == other.settle() == ["CDS {} -[]"]
    other.session.close()
    client.unsubscribe(CDS, "*")
    client.unsubscribe(EDS, "a")
    client.subscribe(EDS, "a")
    assert client.settle() == ["EDS {} -['a']"], "asked for anew, a name is answered as any other"
    store.completed()
    assert client.settle() == ["EDS {} -['b']"]
    assert other.pull() is None
