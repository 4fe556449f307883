"""The list-watch state machine: every row of its table, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kube_wire import a_bookmark, a_page, a_service, an_error, an_event
from support.listener import Listener
from support.machine import feed

from registry.model.events import SourceEvent
from registry.model.facts import Service
from registry.model.names import Kind
from registry.sources.kubernetes.backoff import BACKOFF_SECONDS, MAX_RETRY_AFTER_SECONDS
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.resources import RESOURCES
from registry.sources.kubernetes.steps import GetPage, GetVersion, OpenWatch, Wait
from registry.sources.kubernetes.watches import FRUITLESS_WATCHES, STEADY_SECONDS

DOWN = Fault(Reason.UNREACHABLE, "connection refused")
FIRST_WAIT, LONGEST_WAIT = BACKOFF_SECONDS
REFUSALS = [
    (400, Reason.BAD_RESPONSE),
    (401, Reason.UNAUTHORIZED),
    (403, Reason.FORBIDDEN),
    (404, Reason.NOT_FOUND),
    (429, Reason.TOO_MANY_REQUESTS),
    (500, Reason.SERVER_ERROR),
    (503, Reason.SERVER_ERROR),
    (302, Reason.BAD_RESPONSE),
]


def machine(random: Callable[[], float] = lambda: 0.0) -> ListWatch:
    """One that lists in pages; streaming lists have a file of their own."""
    return ListWatch(Kind.SERVICE, random, streams=False)


def watching(*names: str, random: Callable[[], float] = lambda: 0.0) -> ListWatch:
    """A machine that has listed ``names`` at version 10 and whose watch is open."""
    made = machine(random)
    feed(made.page(a_page([a_service(name) for name in names])))
    made.opened()
    return made


def in_second_page() -> ListWatch:
    made = machine()
    feed(made.page(a_page([a_service("one")], token="more")))
    return made


def query(made: ListWatch) -> dict[str, str]:
    assert isinstance(made.step, GetPage | OpenWatch)
    return dict(made.step.query)


def is_fresh_list(step: object) -> bool:
    return isinstance(step, GetPage) and dict(step.query) == {"limit": "500"}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_begins_with_a_consistent_list_in_chunks(kind: Kind) -> None:
    step = ListWatch(kind, lambda: 0.0, streams=False).step
    assert step == GetPage(RESOURCES[kind].paths[0], {"limit": "500"})


def test_pages_are_one_list() -> None:
    made = machine()
    assert feed(made.page(a_page([a_service("one")], token="more"))) == ["Init", "InitApply one"]
    assert query(made) == {"limit": "500", "continue": "more"}
    assert not made.listed
    assert feed(made.page(a_page([a_service("two")], version="11"))) == ["InitApply two", "InitDone"]
    assert made.listed
    assert query(made)["resourceVersion"] == "11"


def test_watch_asks_for_bookmarks_and_lasts_a_random_time() -> None:
    shortest, longest = watching(), watching(random=lambda: 0.999)
    assert query(shortest) == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "10",
        "timeoutSeconds": "300",
    }
    assert query(longest)["timeoutSeconds"] == "599"


def test_events_become_facts() -> None:
    made = watching("one")
    assert feed(made.line(an_event("ADDED", a_service("two", version="11")))) == ["Apply two"]
    assert feed(made.line(an_event("MODIFIED", a_service("one", version="12")))) == ["Apply one"]
    assert feed(made.line(an_event("DELETED", a_service("two", version="13")))) == ["Delete two"]
    assert feed(made.line(a_bookmark("20"))) == []
    assert isinstance(made.step, OpenWatch)
    assert made.fault is None


@pytest.mark.parametrize("how", ["ended", "ended soon", "lost", "refused", "failed", "error event"])
def test_watch_resumes_from_the_last_version_seen(how: str) -> None:
    made = watching("one")
    feed(made.line(an_event("MODIFIED", a_service("one", version="12"))))
    feed(made.line(a_bookmark("20")))
    match how:
        case "ended":
            made.ended(50)
        case "ended soon":
            made.ended(0)
        case "lost":
            made.lost(DOWN, 50)
        case "refused":
            made.refused(503)
        case "failed":
            made.failed(DOWN)
        case "error event":
            feed(made.line(an_error(500, "InternalError", "etcd")))
    assert isinstance(made.step, OpenWatch) == (how == "ended")
    assert (made.fault is None) == (how in {"ended", "ended soon", "lost"})
    made.waited()
    if how not in {"ended", "ended soon"}:
        assert made.step == GetVersion("/api/v1/services", {"limit": "1"}), "is it still the same history?"
        made.version(a_page(version="20"))
    assert isinstance(made.step, OpenWatch)
    assert query(made)["resourceVersion"] == "20"


def test_end_of_a_steady_watch_is_followed_by_the_next_at_once_even_when_it_was_silent() -> None:
    made = watching()
    for _ in range(10):
        made.ended(STEADY_SECONDS)
        assert isinstance(made.step, OpenWatch)
        made.opened()
    assert made.fault is None


def test_watches_that_end_as_soon_as_they_open_do_not_spin() -> None:
    made = watching()
    waits = []
    for _ in range(12):
        made.ended(0.01)
        assert isinstance(made.step, Wait)
        waits.append(made.step.seconds)
        made.waited()
        made.opened()
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_WAIT


def test_watch_that_brings_one_event_and_ends_has_a_floor_too() -> None:
    made = watching()
    for version in range(20, 25):
        feed(made.line(a_bookmark(str(version))))
        made.ended(0.01)
        assert isinstance(made.step, Wait)
        assert made.step.seconds == FIRST_WAIT
        made.waited()
        made.opened()


def test_lost_watches_are_a_fault_until_one_works() -> None:
    made = watching()
    for _ in range(FRUITLESS_WATCHES):
        assert made.fault is None
        made.lost(DOWN, 0.1)
        made.waited()
        made.opened()
    assert made.fault == DOWN, "that a watch is accepted proves nothing"
    feed(made.line(a_bookmark("11")))
    assert made.fault is None


def test_proxy_that_cuts_silent_watches_is_no_fault() -> None:
    made = watching()
    for _ in range(10):
        made.lost(DOWN, 60)
        assert made.fault is None
        assert isinstance(made.step, Wait)
        assert made.step.seconds <= FIRST_WAIT
        made.waited()
        made.opened()


@pytest.mark.parametrize("say", ["status", "event", "event by reason"])
def test_410_of_a_watch_lists_anew_and_never_names_that_version_again(say: str) -> None:
    made = watching("one")
    if say == "status":
        made.refused(410)
    else:
        error = an_error(410, "Gone") if say == "event" else an_error(0, "Expired")
        assert feed(made.line(error)) == []
    assert is_fresh_list(made.step)
    assert made.listed
    assert made.fault is None
    assert feed(made.page(a_page([a_service("one")], version="99"))) == ["Init", "InitApply one", "InitDone"]
    assert query(made)["resourceVersion"] == "99"


def test_api_server_that_always_says_410_is_not_listed_without_end() -> None:
    made = watching()
    waits = []
    for _ in range(10):
        made.refused(410)
        waits.append(made.step.seconds if isinstance(made.step, Wait) else 0.0)
        made.waited()
        assert is_fresh_list(made.step)
        feed(made.page(a_page()))
    assert waits[:4] == [0.0, 0.5, 1.0, 2.0]
    assert waits[-1] == LONGEST_WAIT
    made.opened()
    feed(made.line(a_bookmark("50")))
    made.refused(410)
    assert is_fresh_list(made.step), "a watch that worked makes it an ordinary 410 again"


@pytest.mark.parametrize("status", [410, 400])
def test_continue_token_that_is_not_taken_begins_the_list_anew(status: int) -> None:
    made = in_second_page()
    made.refused(status)
    assert is_fresh_list(made.step)
    assert feed(made.page(a_page([a_service("two")]))) == ["Init", "InitApply two", "InitDone"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_page_that_is_refused_is_asked_for_again(status: int) -> None:
    made = in_second_page()
    asked = made.step
    made.refused(status)
    assert made.step == Wait(FIRST_WAIT, asked)
    made.waited()
    assert feed(made.page(a_page([a_service("two")]))) == ["InitApply two", "InitDone"]
    assert made.fault is None


@pytest.mark.parametrize(("status", "reason"), REFUSALS)
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_refusal_is_named_with_verb_and_resource(verb: str, status: int, reason: Reason) -> None:
    made = machine() if verb == "list" else watching()
    assert made.verb == verb
    made.refused(status)
    assert made.fault is not None
    assert made.fault.reason is reason
    assert made.fault.message.startswith(f"{verb} services: {status} ")
    assert isinstance(made.step, Wait)


def test_resource_outside_the_core_group_is_named_with_its_group() -> None:
    made = ListWatch(Kind.ENDPOINT_SLICE, lambda: 0.0, streams=False)
    made.refused(403)
    assert made.fault is not None
    assert "list endpointslices.discovery.k8s.io: 403 Forbidden; grant" in made.fault.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", a_page(kind=Kind.POD), a_page([a_service("x")])[:-9]])
def test_answer_that_is_no_list_is_a_fault_and_says_nothing(body: bytes) -> None:
    made = machine()
    assert feed(made.page(body)) == []
    assert made.fault is not None
    assert made.fault.reason is Reason.BAD_RESPONSE
    assert isinstance(made.step, Wait)
    assert is_fresh_list(made.step.then)


def test_backoff_doubles_up_to_a_limit_and_starts_again_after_a_success() -> None:
    made = machine()
    waits = []
    for _ in range(9):
        made.failed(DOWN)
        assert isinstance(made.step, Wait)
        waits.append(made.step.seconds)
        made.waited()
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    feed(made.page(a_page(token="more")))
    assert made.fault is None
    made.failed(DOWN)
    assert isinstance(made.step, Wait)
    assert made.step.seconds == FIRST_WAIT


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 40))
def test_backoff_is_between_half_and_the_whole_of_its_step(random: float, failures: int) -> None:
    made = machine(lambda: random)
    for _ in range(failures + 1):
        made.failed(DOWN)
        assert isinstance(made.step, Wait)
        waited = made.step.seconds
        made.waited()
    whole = min(LONGEST_WAIT, FIRST_WAIT * 2**failures)
    assert whole / 2 <= waited <= whole


@pytest.mark.parametrize(
    ("retry_after", "waits"), [(None, 0.5), (0.0, 0.5), (7.0, 7.0), (10_000.0, MAX_RETRY_AFTER_SECONDS)]
)
def test_retry_after_is_honoured_within_reason(retry_after: float | None, waits: float) -> None:
    made = machine()
    made.refused(429, retry_after)
    assert isinstance(made.step, Wait)
    assert made.step.seconds == waits


def test_object_that_cannot_be_read_is_kept_and_told_of() -> None:
    made = machine()
    said = feed(made.page(a_page([a_service("one"), a_service("bad", port=0), a_service("two")])))
    assert said == ["Init", "InitApply one", "InitKeep bad", "InitApply two", "InitDone"]
    assert made.fault is None
    assert made.warning is not None
    assert made.warning.reason is Reason.BAD_OBJECT
    assert "services: Service shop/bad cannot be read" in made.warning.message
    assert "$.spec.ports[0].port" in made.warning.message


def test_change_that_cannot_be_read_says_nothing_and_the_warning_goes_with_its_mend() -> None:
    made = watching("one", "two")
    assert feed(made.line(an_event("MODIFIED", a_service("one", port="x", version="11")))) == []
    assert feed(made.line(an_event("MODIFIED", a_service("two", port="x", version="12")))) == []
    assert made.warning is not None
    assert "shop/one" in made.warning.message
    assert "(and 1 more)" in made.warning.message
    assert feed(made.line(an_event("MODIFIED", a_service("one", version="13")))) == ["Apply one"]
    assert made.warning is not None
    assert "shop/two" in made.warning.message
    assert feed(made.line(an_event("DELETED", a_service("two", port="x", version="14")))) == ["Delete two"]
    assert made.warning is None
    made.ended(50)
    assert query(made)["resourceVersion"] == "14"


def test_event_of_an_unknown_type_is_passed_over_and_told_of() -> None:
    made = watching("one")
    assert feed(made.line(an_event("RENAMED", a_service("one", version="11")))) == []
    assert made.warning is not None
    assert "an event of an unknown type" in made.warning.message
    assert isinstance(made.step, OpenWatch)


@pytest.mark.parametrize("line", [b"{", b"null", b"\xff\xfe", b'{"type":"ADDED","object":5}'])
def test_line_nobody_can_read_puts_all_in_doubt_so_the_kind_is_listed_anew(line: bytes) -> None:
    made = watching("one")
    assert feed(made.line(line)) == []
    assert made.fault is not None
    assert made.fault.reason is Reason.BAD_RESPONSE
    assert is_fresh_list(made.step)
    feed(made.page(a_page()))
    feed(made.line(line))
    assert isinstance(made.step, Wait)
    assert is_fresh_list(made.step.then)


def test_another_api_server_is_listed_from_the_beginning() -> None:
    for made in (watching("one"), in_second_page()):
        made.restart()
        assert is_fresh_list(made.step)
        assert feed(made.page(a_page())) == ["Init", "InitDone"]


class Server:
    """An oracle: what an API server holds, told to a machine through faults of every sort."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, int] = {}

    def change(self, name: str, port: int | None) -> bytes | None:
        """The event it makes, None where it makes none."""
        existed = name in self.objects
        if port is None and not existed:
            return None
        self.version += 1
        version = str(self.version)
        if port is None:
            return an_event("DELETED", a_service(name, self.objects.pop(name), version))
        self.objects[name] = port
        return an_event("MODIFIED" if existed else "ADDED", a_service(name, port, version))

    def page(self) -> bytes:
        return a_page([a_service(name, port) for name, port in self.objects.items()], version=str(self.version))


changes = st.tuples(st.sampled_from("abc"), st.none() | st.integers(1, 3))
faults = st.sampled_from(["ended", "lost", "refused", "410", "error", "410 event", "garbage", "failed"])


@given(st.lists(changes | faults))
def test_whatever_happens_the_listener_ends_up_with_what_there_is(script: list[tuple[str, int | None] | str]) -> None:
    server, listener, made = Server(), Listener(), machine()
    log: list[tuple[int, bytes]] = []

    def settle() -> None:
        """Do what the machine asks for until its watch has caught up."""
        while not isinstance(made.step, OpenWatch):
            for event in perform(made, server):
                listener.hear(event)
        made.opened()
        since = int(made.step.query["resourceVersion"])
        for version, line in log:
            if version > since:
                for event in made.line(line):
                    listener.hear(event)

    settle()
    for item in script:
        if isinstance(item, tuple):
            line = server.change(*item)
            if line is not None:
                log.append((server.version, line))
                for event in made.line(line):
                    listener.hear(event)
            continue
        fault(made, item)
        settle()
    held = {fact.name: fact.ports[0].port for fact in listener.held.values() if isinstance(fact, Service)}
    assert held == server.objects


def perform(made: ListWatch, server: Server) -> Iterator[SourceEvent]:
    """One step that is not the watch."""
    match made.step:
        case Wait():
            made.waited()
        case GetVersion():
            made.version(a_page(version=str(server.version)))
        case _:
            yield from made.page(server.page())


def fault(made: ListWatch, name: str) -> None:
    match name:
        case "ended":
            made.ended(1.0)
        case "lost":
            made.lost(DOWN, 1.0)
        case "refused":
            made.refused(503)
        case "410":
            made.refused(410)
        case "error":
            assert feed(made.line(an_error(500, "InternalError"))) == []
        case "410 event":
            assert feed(made.line(an_error(410, "Expired"))) == []
        case "garbage":
            assert feed(made.line(b"{")) == []
        case "failed":
            made.failed(DOWN)
