"""SotW sessions, as stories."""

from __future__ import annotations

import pytest
from support.xds_client import XdsClient, resource
from support.xds_session import Dialogue

from registry.xds.resources import Resource
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS, LDS, RDS


@pytest.fixture
def store() -> ResourceStore:
    store = ResourceStore()
    for name in ("a", "b"):
        store.set(CDS.url, name, resource(CDS, name))
        store.set(EDS.url, name, resource(EDS, name))
    return store


def test_legacy_wildcard_gets_every_cluster_and_later_changes(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(CDS)
    assert client.take().resources == {"a": "1", "b": "1"}
    assert client.pull() is None

    store.set(CDS.url, "c", resource(CDS, "c"))
    assert client.take().resources == {"a": "1", "b": "1", "c": "1"}

    store.remove(CDS.url, "a")
    assert client.take().resources == {"b": "1", "c": "1"}
    assert client.pull() is None


def test_wildcard_of_an_empty_store_is_answered_with_nothing() -> None:
    client = Dialogue(ResourceStore(), delta=False)
    client.subscribe(LDS)
    assert client.take().resources == {}
    assert client.pull() is None


def test_the_legacy_wildcard_ends_with_the_first_name_and_does_not_come_back(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(CDS)
    client.take()
    client.subscribe(CDS, "*", "a")
    assert client.take().resources == {"a": "1", "b": "1"}
    client.unsubscribe(CDS, "*")
    assert client.status(CDS).wildcard is False
    store.set(CDS.url, "b", resource(CDS, "b", "2"))
    assert client.pull() is None
    client.unsubscribe(CDS, "a")
    store.set(CDS.url, "a", resource(CDS, "a", "2"))
    assert client.pull() is None
    assert (client.status(CDS).wildcard, client.status(CDS).names) == (False, 0)


def test_endpoints_come_one_by_one_and_only_those_subscribed_to(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a", "b")
    assert client.take().resources == {"a": "1", "b": "1"}
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    store.set(EDS.url, "other", resource(EDS, "other"))
    assert client.take().resources == {"a": "2"}
    assert client.pull() is None


def test_a_name_left_out_is_unsubscribed_and_named_again_is_sent_again(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a", "b")
    client.take()
    client.unsubscribe(EDS, "a")
    assert client.pull() is None
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    assert client.pull() is None
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "2"}
    client.unsubscribe(EDS, "a")
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "2"}


def test_an_empty_list_of_endpoints_means_none(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS)
    assert client.pull() is None


def test_a_named_resource_that_appears_later_is_sent_then(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "late")
    assert client.pull() is None
    store.set(EDS.url, "late", resource(EDS, "late"))
    assert client.wakes == 1
    assert client.take().resources == {"late": "1"}


def test_a_named_listener_that_does_not_exist_is_answered_with_its_absence() -> None:
    client = Dialogue(ResourceStore(), delta=False)
    client.subscribe(LDS, "nobody:80")
    assert client.take().resources == {}


def test_an_on_demand_resource_is_sent_to_who_names_it_and_not_encoded_for_others() -> None:
    store = ResourceStore()
    encoded: list[str] = []

    def encode() -> bytes:
        encoded.append("short")
        return resource(LDS, "short").body

    everybody = Dialogue(store, delta=False)
    everybody.subscribe(LDS)
    everybody.take()
    lazy = Resource(encode, on_demand=True)
    store.set(LDS.url, "short", lazy)
    assert everybody.pull() is None
    assert everybody.wakes == 0
    assert not encoded
    named = Dialogue(store, delta=False)
    named.subscribe(LDS, "short")
    assert named.take().resources == {"short": "1"}
    assert encoded == ["short"]


def test_equal_bytes_are_no_news(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a")
    client.take()
    store.set(EDS.url, "a", resource(EDS, "a"))
    assert client.wakes == 0
    assert client.pull() is None


def test_a_change_and_its_reversal_before_the_client_reads_are_no_news(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a")
    client.take()
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    store.set(EDS.url, "a", resource(EDS, "a", "1"))
    assert client.pull() is None


def test_one_response_waits_for_its_answer_and_what_follows_is_one_more(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a", "b")
    first = client.expect()
    for content in ("2", "3", "4"):
        store.set(EDS.url, "a", resource(EDS, "a", content))
        store.set(EDS.url, "b", resource(EDS, "b", content))
        assert client.pull() is None
    client.ack(first)
    assert client.take().resources == {"a": "4", "b": "4"}
    assert client.pull() is None


def test_a_stale_nonce_changes_nothing(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a")
    client.take()
    store.set(EDS.url, "a", resource(EDS, "a", "2"))
    second = client.expect()
    client.subscribe(EDS, "b")  # written before the client saw the second response
    assert client.pull() is None
    assert client.status(EDS).names == 1
    assert client.status(EDS).waiting
    client.ack(second)
    assert client.take().resources == {"b": "1"}


def test_a_nonce_that_was_never_given_is_ignored(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a")
    reply = client.expect()
    client.client.belief(EDS).nonce = "made up"
    client.subscribe(EDS, "b")
    assert client.pull() is None
    assert client.status(EDS).acked_version == ""
    client.ack(reply)
    assert client.status(EDS).acked_version == reply.version


def test_a_nonce_of_an_earlier_stream_does_not_keep_the_first_request_from_counting(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.client.belief(EDS).nonce = "17"
    client.subscribe(EDS, "a")
    assert client.take().resources == {"a": "1"}


def test_a_repeated_ack_is_not_answered(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(CDS)
    reply = client.take()
    client.ack(reply)
    assert client.pull() is None


def test_versions_are_the_same_for_the_same_content_in_any_order_of_events() -> None:
    versions = set()
    for order in (("a", "b", "c"), ("c", "a", "b")):
        store = ResourceStore()
        client = Dialogue(store, delta=False)
        client.subscribe(EDS, "a", "b", "c")
        version = ""
        for name in order:
            store.set(EDS.url, name, resource(EDS, name))
            version = client.take().version
        versions.add(version)
        late = Dialogue(store, delta=False)
        late.subscribe(EDS, *order)
        versions.add(late.take().version)
    assert len(versions) == 1


def test_the_version_differs_with_the_content_and_comes_back_with_it(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(CDS)
    before = client.take().version
    store.set(CDS.url, "a", resource(CDS, "a", "2"))
    between = client.take().version
    store.set(CDS.url, "a", resource(CDS, "a", "1"))
    after = client.take().version
    assert before == after != between


def test_a_removed_endpoint_resource_is_not_announced_but_sent_when_it_comes_back(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(EDS, "a")
    client.take()
    store.remove(EDS.url, "a")
    assert client.pull() is None
    store.set(EDS.url, "a", resource(EDS, "a"))
    assert client.take().resources == {"a": "1"}


def test_ack_and_nack_are_on_record_with_version_and_text(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.subscribe(CDS)
    good = client.take()
    store.set(CDS.url, "a", resource(CDS, "a", "bad"))
    bad = client.nack(client.expect(), "no such field")
    status = client.status(CDS)
    assert (status.acked_version, status.sent_version, status.sent_nonce) == (good.version, bad.version, bad.nonce)
    assert (status.nacked_version, status.nack_error) == (bad.version, "no such field")
    assert client.pull() is None, "the same version again"
    store.set(CDS.url, "a", resource(CDS, "a", "good"))
    assert client.take().resources == {"a": "good", "b": "1"}
    assert client.status(CDS).nack_error == "no such field"


def test_one_bad_resource_keeps_no_good_one_back(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    names = tuple("abcdefgh")
    client.subscribe(EDS, *names)
    for name in names:
        store.set(EDS.url, name, resource(EDS, name, "bad" if name == "f" else "2"))
    responses = 0
    while (reply := client.pull()) is not None:
        responses += 1
        if "bad" in reply.resources.values():
            client.nack(reply)
        else:
            client.ack(reply)
    assert client.held(EDS) == {name: "2" for name in names if name != "f"}
    assert responses < 2 * len(names)


def test_a_client_without_a_node_is_served(store: ResourceStore) -> None:
    client = Dialogue(store, delta=False)
    client.client = XdsClient(delta=False, node=None)
    client.subscribe(RDS, "r")
    client.subscribe(CDS)
    assert client.take().resources == {"a": "1", "b": "1"}
    assert client.session.status().node.id == ""
