"""The list-watch state machine, step by step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Pod
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.conditions import Condition, Reason
from registry.sources.kubernetes.listwatch import GetPage, ListWatch, OpenWatch, Wait

LOST = Condition(Reason.UNREACHABLE, "connection reset")


def machine() -> ListWatch:
    """Its random numbers are always 0, so waits are the full backoff and watches last their shortest."""
    return ListWatch(Kind.POD, lambda: 0.0)


def pod(name: str, version: str = "5", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": version, **metadata}}


def page(*pods: dict[str, Any], version: str = "10", token: str = "") -> bytes:
    return json.dumps({"metadata": {"resourceVersion": version, "continue": token}, "items": pods}).encode()


def line(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode()


def gone_event() -> bytes:
    return line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


def fact(name: str) -> Pod:
    return Pod("ns", name)


def watching(version: str = "10") -> ListWatch:
    """A machine that has listed and whose watch is open."""
    it = machine()
    list(it.page(page(version=version)))
    it.opened()
    return it


def version_of(it: ListWatch) -> str:
    step = it.step.then if isinstance(it.step, Wait) else it.step
    assert isinstance(step, OpenWatch)
    return step.query["resourceVersion"]


def is_fresh_list(step: object) -> bool:
    return isinstance(step, GetPage) and set(step.query) == {"limit"}


def test_begins_with_a_list_in_pages() -> None:
    assert machine().step == GetPage("/api/v1/pods", {"limit": "500"})


def test_pages_are_one_list() -> None:
    it = machine()
    told: list[SourceEvent] = list(it.page(page(pod("p1"), token="more")))
    assert it.step == GetPage("/api/v1/pods", {"limit": "500", "continue": "more"})
    assert not it.listed
    told += it.page(page(pod("p2")))
    assert told == [Init(Kind.POD), InitApply(fact("p1")), InitApply(fact("p2")), InitDone(Kind.POD)]
    assert it.listed


def test_watch_begins_where_the_list_ended_and_asks_for_bookmarks() -> None:
    it = machine()
    list(it.page(page(version="42")))
    assert it.step == OpenWatch(
        "/api/v1/pods",
        {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "42", "timeoutSeconds": "300"},
        300,
    )


def test_events_of_the_watch_are_told() -> None:
    it = watching()
    told = [
        *it.line(line("ADDED", pod("p1"))),
        *it.line(line("MODIFIED", pod("p1"))),
        *it.line(line("DELETED", pod("p1"))),
    ]
    assert told == [Apply(fact("p1")), Apply(fact("p1")), Delete(ObjectRef(Kind.POD, "ns", "p1"))]


@pytest.mark.parametrize("kind", ["ADDED", "DELETED", "BOOKMARK"])
def test_watch_goes_on_from_the_last_version_it_heard(kind: str) -> None:
    it = watching("10")
    list(it.line(line(kind, pod("p1", version="77"))))
    it.ended()
    assert isinstance(it.step, OpenWatch)
    assert version_of(it) == "77"


def test_bookmark_is_no_event() -> None:
    assert list(watching().line(line("BOOKMARK", {"metadata": {"resourceVersion": "77"}}))) == []


def test_event_of_a_type_not_known_yet_is_passed_over() -> None:
    it = watching()
    assert list(it.line(line("SURPRISE", pod("p1", version="78")))) == []
    assert it.condition is None


def test_watch_that_ends_without_a_word_is_not_reopened_in_a_hurry() -> None:
    it = watching()
    it.ended()
    assert isinstance(it.step, Wait)
    assert version_of(it) == "10"
    it.waited()
    assert isinstance(it.step, OpenWatch)


@pytest.mark.parametrize("how", ["status", "event"])
def test_410_is_a_fresh_list_and_never_that_version_again(how: str) -> None:
    it = watching("10")
    if how == "status":
        it.refused(410, b"{}")
    else:
        assert list(it.line(gone_event())) == []
    assert is_fresh_list(it.step)
    assert it.condition is None
    first, *_ = it.page(page(pod("p1"), version="90"))
    assert first == Init(Kind.POD)
    assert version_of(it) == "90"


def test_410_again_and_again_is_listed_with_pauses() -> None:
    it = watching()
    list(it.line(gone_event()))
    waits = []
    for _ in range(3):
        list(it.page(page()))
        it.opened()
        list(it.line(gone_event()))
        assert isinstance(it.step, Wait)
        waits.append(it.step.seconds)
        it.waited()
        assert is_fresh_list(it.step)
    assert waits[0] >= 0.5


def test_410_of_a_page_begins_the_list_anew_and_the_old_one_counts_for_nothing() -> None:
    it = machine()
    list(it.page(page(pod("p1"), token="more")))
    it.refused(410, b"{}")
    assert is_fresh_list(it.step)
    assert list(it.page(page(pod("p2"))))[:2] == [Init(Kind.POD), InitApply(fact("p2"))]


def test_a_page_that_fails_is_asked_for_again() -> None:
    it = machine()
    list(it.page(page(token="more")))
    it.failed(LOST)
    assert isinstance(it.step, Wait)
    it.waited()
    assert it.step == GetPage("/api/v1/pods", {"limit": "500", "continue": "more"})


def test_waits_double_up_to_the_longest_and_begin_anew_after_success() -> None:
    it = machine()
    waits = []
    for _ in range(9):
        it.failed(LOST)
        assert isinstance(it.step, Wait)
        waits.append(it.step.seconds)
        it.waited()
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    list(it.page(page()))
    it.failed(LOST)
    assert isinstance(it.step, Wait)
    assert it.step.seconds == 0.5


def test_waits_are_shortened_by_a_random_part_of_up_to_half() -> None:
    it = ListWatch(Kind.POD, lambda: 0.999)
    it.failed(LOST)
    assert isinstance(it.step, Wait)
    assert it.step.seconds == pytest.approx(0.25, abs=0.01)


def test_retry_after_is_waited_for() -> None:
    it = machine()
    it.refused(429, b"{}", retry_after=7.0)
    assert isinstance(it.step, Wait)
    assert it.step.seconds == 7.0
    it.waited()
    it.refused(503, b"{}", retry_after=100_000.0)
    assert isinstance(it.step, Wait)
    assert it.step.seconds == 300.0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.UNAUTHORIZED),
        (403, Reason.FORBIDDEN),
        (404, Reason.NOT_FOUND),
        (429, Reason.TOO_MANY_REQUESTS),
        (500, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
        (418, Reason.BAD_RESPONSE),
        (599, Reason.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_refusal_is_a_condition_that_names_verb_and_resource(status: int, reason: Reason, verb: str) -> None:
    it = machine() if verb == "list" else watching()
    it.refused(status, b'{"message":"no, thank you"}')
    assert it.condition is not None
    assert it.condition.reason is reason
    assert it.condition.message.startswith(f"{verb} pods: {status} no, thank you")
    assert isinstance(it.step, Wait)


def test_condition_is_cleared_by_the_next_success() -> None:
    it = machine()
    it.failed(LOST)
    it.waited()
    list(it.page(page()))
    assert it.condition is None
    it.refused(500, b"")
    it.waited()
    it.opened()
    assert it.condition is None


def test_error_event_other_than_410_goes_on_from_where_it_was() -> None:
    it = watching("10")
    list(it.line(line("ERROR", {"code": 500, "message": "etcd has no leader"})))
    assert isinstance(it.step, Wait)
    assert version_of(it) == "10"
    assert it.condition is not None
    assert "etcd has no leader" in it.condition.message


def test_watch_that_breaks_off_is_a_fault_only_when_it_happens_again_and_again() -> None:
    it = watching()
    for broken in range(1, 4):
        it.lost(LOST)
        assert (it.condition is not None) == (broken > 2)
        it.waited()
        it.opened()
    list(it.line(line("BOOKMARK", pod("p"))))
    it.lost(LOST)
    assert it.condition is None


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"metadata":'])
def test_page_that_is_no_list_is_asked_for_again_and_nothing_is_told(body: bytes) -> None:
    it = machine()
    assert list(it.page(body)) == []
    assert it.condition is not None
    assert it.condition.reason is Reason.BAD_RESPONSE
    it.waited()
    assert is_fresh_list(it.step)


def test_line_that_is_no_event_reopens_the_watch_from_the_last_version() -> None:
    it = watching("10")
    assert list(it.line(b'{"type":"ADDED","obj')) == []
    assert it.condition is not None
    it.waited()
    assert version_of(it) == "10"


def test_object_of_a_list_that_cannot_be_read_is_kept_and_said() -> None:
    it = machine()
    told = list(it.page(page(pod("p1"), pod("p2", labels={"a": 1}))))
    assert told[1:3] == [InitApply(fact("p1")), InitKeep(ObjectRef(Kind.POD, "ns", "p2"))]
    assert it.condition is not None
    assert it.condition.reason is Reason.BAD_OBJECT
    assert "ns/p2" in it.condition.message
    it.opened()
    assert it.condition is not None


def test_object_of_an_event_that_cannot_be_read_changes_nothing_and_is_said() -> None:
    it = watching()
    assert list(it.line(line("MODIFIED", pod("p2", version="80", labels={"a": 1})))) == []
    assert it.condition is not None
    assert it.condition.reason is Reason.BAD_OBJECT
    it.ended()
    assert version_of(it) == "80"
