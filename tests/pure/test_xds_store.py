"""The store: batches, groups, and who is told."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Hashable

from support.xds_client import Node, resource
from support.xds_session import Dialogue

from registry.xds.resources import Entry, Resource, ResourceChange
from registry.xds.session import SessionOptions
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, EDS


class Recorder:
    """A watcher that notes what it is told, and what the store holds at that moment."""

    def __init__(self, store: ResourceStore) -> None:
        self.store = store
        self.calls: list[str] = []

    def changed(self, name: str, _entry: Entry | None) -> None:
        self.calls.append(name)

    def wake(self) -> None:
        held = sorted(entry.name for entry in self.store.partition(CDS.url).listing())
        self.calls.append(f"wake with {held}")


def test_a_batch_wakes_each_watcher_once_with_all_of_it_done() -> None:
    store = ResourceStore()
    recorder = Recorder(store)
    store.partition(CDS.url).watch_everything(recorder)
    store.partition(CDS.url).watch("a", recorder)
    store.apply([ResourceChange(CDS.url, name, resource(CDS, name)) for name in ("a", "b")])
    assert recorder.calls == ["a", "b", "wake with ['a', 'b']"]


def test_only_those_who_subscribe_to_a_name_are_told_of_it() -> None:
    store = ResourceStore()
    concerned, other = Recorder(store), Recorder(store)
    partition = store.partition(EDS.url)
    partition.watch("a", concerned)
    partition.watch("b", other)
    store.set(EDS.url, "a", resource(EDS, "a"))
    assert concerned.calls
    assert not other.calls
    partition.unwatch("a", concerned)
    concerned.calls.clear()
    store.remove(EDS.url, "a")
    assert not concerned.calls


def test_what_nobody_subscribes_to_is_not_encoded() -> None:
    store = ResourceStore()
    encoded: list[str] = []

    def encode() -> bytes:
        encoded.append("a")
        return b"body"

    for _ in range(3):
        store.set(EDS.url, "a", Resource(encode))
    assert not encoded


def test_removing_what_is_not_there_tells_nobody() -> None:
    store = ResourceStore()
    recorder = Recorder(store)
    store.partition(CDS.url).watch("a", recorder)
    store.remove(CDS.url, "a")
    assert not recorder.calls


def test_the_last_of_two_changes_to_one_name_counts() -> None:
    store = ResourceStore()
    client = Dialogue(store, delta=True)
    client.subscribe(EDS, "a")
    client.take()
    changes = [ResourceChange(EDS.url, "a", resource(EDS, "a", content)) for content in ("1", "2")]
    store.apply([*changes, ResourceChange(EDS.url, "b", None)])
    assert client.take().resources == {"a": "2"}
    assert client.pull() is None


def test_groups_share_nothing() -> None:
    store = ResourceStore()
    options = SessionOptions(group=lambda node, _kind: node.locality[1])
    client = Dialogue(store, delta=False, options=options)
    store.set(CDS.url, "here", resource(CDS, "here"), group="z1")
    store.set(CDS.url, "there", resource(CDS, "there"), group="z2")
    client.subscribe(CDS)
    assert client.take().resources == {"here": "1"}
    store.remove(CDS.url, "there", group="z2")
    assert client.wakes == 0


def test_a_closed_session_leaves_nothing_behind() -> None:
    store = ResourceStore()
    for delta in (False, True):
        client = Dialogue(store, delta)
        client.subscribe(CDS)
        client.subscribe(EDS, "a")
        client.session.close()
        store.set(CDS.url, "c", resource(CDS, "c", str(delta)))
        store.set(EDS.url, "a", resource(EDS, "a", str(delta)))
        assert client.wakes == 0
        assert client.session.next_response() is None


def test_the_store_reads_back_what_it_holds() -> None:
    store = ResourceStore()
    held = resource(CDS, "a")
    store.set(CDS.url, "a", held)
    assert store.get(CDS.url, "a") is held
    assert store.get(CDS.url, "a", group="other") is None


def test_what_is_not_stored_is_found_when_asked_for_and_kept_while_it_is_watched() -> None:
    store = ResourceStore()
    asked: list[str] = []

    def find(type_url: str, group: Hashable, name: str) -> Resource | None:
        assert (type_url, group) == (EDS.url, "")
        asked.append(name)
        return resource(EDS, name, on_demand=True) if name == "a" else None

    forgotten: list[str] = []
    store.on_demand(EDS.url, find, lambda _, name: forgotten.append(name))
    partition, watcher = store.partition(EDS.url), Recorder(store)
    assert store.get(EDS.url, "b") is None
    assert store.get(EDS.url, "a") is not store.get(EDS.url, "a")
    partition.watch("a", watcher)
    assert store.viewers(EDS.url, "a") == {""}
    assert store.get(EDS.url, "a") is store.get(EDS.url, "a")
    assert asked == ["b", "a", "a", "a"]
    assert not partition.listing()
    partition.unwatch("a", watcher)
    assert not store.viewers(EDS.url, "a")
    assert forgotten == ["a"]
    store.get(EDS.url, "a")
    assert asked == ["b", "a", "a", "a", "a"]


def test_what_was_found_changes_and_goes_as_what_is_stored_does() -> None:
    store = ResourceStore()
    present = {"a": resource(EDS, "a", on_demand=True)}
    store.on_demand(EDS.url, lambda _, __, name: present.get(name))
    partition, watcher = store.partition(EDS.url), Recorder(store)
    partition.watch("a", watcher)
    assert store.get(EDS.url, "a") is present["a"]
    store.set(EDS.url, "a", resource(EDS, "a", on_demand=True))
    assert watcher.calls == [], "the same content is no news"
    present["a"] = resource(EDS, "a", "2", on_demand=True)
    store.set(EDS.url, "a", present["a"])
    assert watcher.calls == ["a", "wake with []"]
    assert store.get(EDS.url, "a") is present["a"]
    store.remove(EDS.url, "a")
    assert watcher.calls[2:] == ["a", "wake with []"]


def test_what_came_while_it_was_watched_is_not_kept_when_nobody_watches_any_more() -> None:
    store = ResourceStore()
    present: dict[str, Resource] = {}
    store.on_demand(EDS.url, lambda _, __, name: present.get(name))
    partition, watcher = store.partition(EDS.url), Recorder(store)
    partition.watch("a", watcher)
    present["a"] = resource(EDS, "a", on_demand=True)
    store.set(EDS.url, "a", present["a"])
    partition.unwatch("a", watcher)
    present["a"] = resource(EDS, "a", "2", on_demand=True)
    assert store.get(EDS.url, "a") is present["a"]


def test_each_group_is_found_its_own_and_told_only_of_its_own() -> None:
    store = ResourceStore()
    store.on_demand(EDS.url, lambda _, group, name: resource(EDS, name, f"of {group}", on_demand=True))
    options = SessionOptions(group=lambda node, kind: node.id if kind is EDS else "")
    clients = {name: Dialogue(store, delta=True, options=options, node=Node(id=name)) for name in ("x", "y")}
    for name, client in clients.items():
        client.subscribe(EDS, "a")
        assert client.take().resources == {"a": f"of {name}"}
    assert store.viewers(EDS.url, "a") == {"x", "y"}
    store.set(EDS.url, "a", resource(EDS, "a", "2", on_demand=True), group="x")
    assert clients["x"].take().resources == {"a": "2"}
    assert clients["y"].pull() is None
    clients["x"].session.close()
    assert store.viewers(EDS.url, "a") == {"y"}


def test_a_view_that_nobody_uses_any_more_is_dropped() -> None:
    store = ResourceStore()
    store.on_demand(EDS.url, lambda _, group, name: resource(EDS, name, f"of {group}", on_demand=True))
    options = SessionOptions(group=lambda node, kind: node.id if kind is EDS else "")
    clients = [Dialogue(store, delta=True, options=options, node=Node(id="x")) for _ in range(2)]
    for client in clients:
        client.subscribe(EDS, "a")
        client.take()
    view = store.partition(EDS.url, "x")
    clients.pop().session.close()
    assert store.partition(EDS.url, "x") is view
    clients.pop().session.close()
    assert store.partition(EDS.url, "x") is not view
    assert not store.viewers(EDS.url, "a")


def test_resource_that_is_replaced_or_gone_takes_no_collector_to_go() -> None:
    """A member that changes its services all the time would leave one behind for each port and change."""
    made: list[weakref.ref[Made]] = []

    class Made:
        """Something of one resource alone."""

        def __call__(self) -> bytes:
            return b"x"

    def one(*, on_demand: bool = False) -> Resource:
        encode = Made()
        made.append(weakref.ref(encode))
        return Resource(encode, on_demand)

    store = ResourceStore()
    store.on_demand(EDS.url, lambda _type, _group, _name: one(on_demand=True))
    gc.disable()
    try:
        for _ in range(3):
            store.apply([ResourceChange(CDS.url, "x", one())])
        for type_url in (CDS, EDS):
            partition, watcher = store.partition(type_url.url), Recorder(store)
            partition.watch("x", watcher)
            partition.get("x")
            partition.get("unwatched")
            for _ in range(2):
                store.apply([ResourceChange(type_url.url, "x", one(on_demand=type_url is EDS))])
            partition.unwatch("x", watcher)
        store.apply([ResourceChange(CDS.url, "x", None)])
        assert [each() for each in made] == [None] * len(made)
    finally:
        gc.enable()
