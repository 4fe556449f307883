"""Streaming lists (KEP-3157): the list and the watch on one stream, and pages where there are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kube_wire import a_bookmark, a_page, a_service, an_error, an_event, the_end_of_a_list
from support.listener import Listener
from support.machine import feed, is_first_page, is_watch_from, zero

from registry.model.facts import Service
from registry.model.names import Kind
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.steps import GetPage, GetVersion, OpenWatch, Wait

DOWN = Fault(Reason.UNREACHABLE, "connection refused")


def streaming(*names: str) -> ListWatch:
    """A machine whose streaming list has told of ``names`` so far."""
    made = ListWatch(Kind.SERVICE, zero)
    made.opened()
    for name in names:
        feed(made.line(an_event("ADDED", a_service(name))))
    return made


def listed(*names: str) -> ListWatch:
    made = streaming(*names)
    feed(made.line(the_end_of_a_list("10")))
    return made


def test_streaming_list_asks_for_all_there_is_now() -> None:
    assert ListWatch(Kind.SERVICE, zero).step == OpenWatch(
        "/api/v1/services",
        {
            "watch": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
        },
        lists=True,
    )


def test_bookmark_ends_the_list_and_the_stream_goes_on_as_the_watch() -> None:
    made = ListWatch(Kind.SERVICE, zero)
    step = made.step
    made.opened()
    assert feed(made.line(an_event("ADDED", a_service("one", version="3")))) == ["Init", "InitApply one"]
    assert feed(made.line(an_event("ADDED", a_service("two", version="9")))) == ["InitApply two"]
    assert not made.listed
    assert feed(made.line(the_end_of_a_list("12"))) == ["InitDone"]
    assert made.listed
    assert made.step is step
    assert feed(made.line(an_event("MODIFIED", a_service("two", version="13")))) == ["Apply two"]
    assert feed(made.line(an_event("DELETED", a_service("one", version="14")))) == ["Delete one"]
    made.ended(50)
    assert is_watch_from(made.step, "14")


def test_list_of_none_is_a_list() -> None:
    made = streaming()
    assert feed(made.line(the_end_of_a_list("12"))) == ["Init", "InitDone"]
    made.ended(50)
    assert is_watch_from(made.step, "12"), "no version of an object is taken for the list's"


def test_changes_during_the_list_count_for_it() -> None:
    made = streaming("one", "two")
    assert feed(made.line(an_event("MODIFIED", a_service("two", version="11")))) == ["InitApply two"]
    assert feed(made.line(an_event("DELETED", a_service("one", version="12")))) == ["Delete one"]
    assert feed(made.line(the_end_of_a_list("12"))) == ["InitDone"]


def test_object_that_cannot_be_read_is_kept_until_it_can() -> None:
    made = streaming("one")
    assert feed(made.line(an_event("ADDED", a_service("bad", port="x")))) == ["InitKeep bad"]
    assert made.warning is not None
    assert feed(made.line(an_event("MODIFIED", a_service("bad", version="12")))) == ["InitApply bad"]
    assert made.warning is None


@pytest.mark.parametrize("status", [400, 403, 405, 406, 415, 422, 501])
def test_server_that_refuses_streaming_lists_is_asked_for_pages_at_once_and_from_then_on(status: int) -> None:
    made = ListWatch(Kind.SERVICE, zero)
    made.refused(status)
    assert is_first_page(made.step)
    assert made.fault is None
    feed(made.page(a_page()))
    made.opened()
    made.relist()
    assert is_first_page(made.step)
    made.restart()
    assert isinstance(made.step, OpenWatch), "another server may have them"


@pytest.mark.parametrize(
    ("status", "reason"), [(401, Reason.UNAUTHORIZED), (429, Reason.TOO_MANY_REQUESTS), (503, Reason.SERVER_ERROR)]
)
def test_refusal_that_is_not_about_streaming_is_a_fault_of_the_list(status: int, reason: Reason) -> None:
    made = ListWatch(Kind.SERVICE, zero)
    made.refused(status, 7.0)
    assert made.fault is not None
    assert made.fault.reason is reason
    assert made.fault.message.startswith(f"list services: {status} ")
    assert isinstance(made.step, Wait)
    assert made.step.seconds == 7.0
    made.waited()
    assert isinstance(made.step, OpenWatch)
    assert made.step.lists


@pytest.mark.parametrize("how", ["an ordinary bookmark", "quiet"])
def test_server_that_does_not_know_of_streaming_lists_never_ends_one(how: str) -> None:
    made = streaming("one")
    if how == "quiet":
        made.quiet()
    else:
        assert feed(made.line(a_bookmark("11"))) == []
    assert not made.listed
    assert is_first_page(made.step)
    assert feed(made.page(a_page([a_service("one")]))) == ["Init", "InitApply one", "InitDone"]
    made.ended(50)
    made.relist()
    assert is_first_page(made.step)


@pytest.mark.parametrize("how", ["ended", "lost", "error event", "garbage", "410", "410 event"])
def test_stream_that_breaks_before_its_end_leaves_no_trace_and_that_list_comes_in_pages(how: str) -> None:
    made = streaming("stale")
    match how:
        case "ended":
            made.ended(30.0)
        case "lost":
            made.lost(DOWN, 30.0)
        case "error event":
            feed(made.line(an_error(500, "InternalError", "the required storage feature is disabled")))
        case "garbage":
            feed(made.line(b"{"))
        case "410":
            made.refused(410)
        case _:
            feed(made.line(an_error(410, "Expired")))
    assert not made.listed
    made.waited()
    assert is_first_page(made.step)
    assert feed(made.page(a_page([a_service("one")]))) == ["Init", "InitApply one", "InitDone"]
    made.relist()
    assert isinstance(made.step, OpenWatch)
    assert made.step.lists, "the next list is streamed again"


def test_server_that_cannot_be_reached_is_asked_for_the_same_again() -> None:
    made = ListWatch(Kind.SERVICE, zero)
    asked = made.step
    made.failed(DOWN)
    assert made.fault == DOWN
    made.waited()
    assert made.step == asked


def test_watch_after_a_streaming_list_breaks_off_like_any_other() -> None:
    made = listed("one")
    made.lost(DOWN, 30.0)
    made.waited()
    assert made.step == GetVersion("/api/v1/services", {"limit": "1"})


def test_expired_watch_after_a_streaming_list_is_listed_by_a_stream() -> None:
    made = listed("one")
    feed(made.line(an_error(410, "Expired")))
    assert isinstance(made.step, OpenWatch)
    assert made.step.lists


class Server:
    """What an API server holds, told by stream or in pages."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, int] = {}
        self.log: list[tuple[int, bytes]] = []

    def change(self, name: str, port: int | None) -> None:
        if port is None and name not in self.objects:
            return
        self.version += 1
        known = name in self.objects
        if port is None:
            line = an_event("DELETED", a_service(name, self.objects.pop(name), str(self.version)))
        else:
            self.objects[name] = port
            line = an_event("MODIFIED" if known else "ADDED", a_service(name, port, str(self.version)))
        self.log.append((self.version, line))

    def stream(self) -> list[bytes]:
        added = [an_event("ADDED", a_service(name, port)) for name, port in self.objects.items()]
        return [*added, the_end_of_a_list(str(self.version))]

    def page(self) -> bytes:
        return a_page([a_service(name, port) for name, port in self.objects.items()], version=str(self.version))


class Play:
    """A machine between a server and a listener."""

    def __init__(self) -> None:
        self.server, self.listener, self.made = Server(), Listener(), ListWatch(Kind.SERVICE, zero)
        self.opened: OpenWatch | None = None
        self.listed: list[bytes] = []
        self.since = self.read = 0

    def proceed(self, upto: int | None) -> None:
        """Do what the machine asks for, and read ``upto`` lines of the stream it comes to, or is reading."""
        while not isinstance(self.made.step, OpenWatch):
            match self.made.step:
                case Wait():
                    self.made.waited()
                case GetVersion():
                    self.made.version(self.server.page())
                case GetPage():
                    for event in self.made.page(self.server.page()):
                        self.listener.hear(event)
        if self.made.step is not self.opened:
            self._open(self.made.step)
        self._take(upto)

    def _open(self, step: OpenWatch) -> None:
        self.opened, self.read = step, 0
        self.listed = self.server.stream() if step.lists else []
        self.since = self.server.version if step.lists else int(step.query["resourceVersion"])
        self.made.opened()

    def _take(self, upto: int | None) -> None:
        """The next lines of the stream that is open: what it lists, then what changed since."""
        changed = [line for version, line in self.server.log if version > self.since]
        for line in [*self.listed, *changed][self.read :][:upto]:
            self.read += 1
            for event in self.made.line(line):
                self.listener.hear(event)
            if self.made.step is not self.opened:
                return

    def held(self) -> dict[str, int]:
        facts = self.listener.held.values()
        return {fact.name: fact.ports[0].port for fact in facts if isinstance(fact, Service)}


changes = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(1, 3)), max_size=4)
ends = st.sampled_from(["ended", "lost", "410 event", "garbage", "quiet", "relist"])


@given(st.lists(st.tuples(changes, st.integers(0, 5), ends), max_size=6))
def test_wherever_streams_break_the_listener_ends_up_with_what_there_is(
    rounds: list[tuple[list[tuple[str, int | None]], int, str]],
) -> None:
    play = Play()
    for edits, upto, end in rounds:
        play.proceed(upto)
        for name, port in edits:
            play.server.change(name, port)
        _end(play.made, end)
    play.proceed(None)
    assert play.held() == play.server.objects


def _end(made: ListWatch, how: str) -> None:
    if not isinstance(made.step, OpenWatch):
        return
    match how:
        case "ended":
            made.ended(1.0)
        case "lost":
            made.lost(DOWN, 1.0)
        case "410 event":
            assert feed(made.line(an_error(410, "Expired"))) == []
        case "garbage":
            assert feed(made.line(b"{")) == []
        case "quiet":
            made.quiet()
        case _:
            made.relist()
