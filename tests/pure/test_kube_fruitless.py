"""The list-watch machine over watches that are accepted and bring nothing, however they end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.kube_wire import a_bookmark, a_page, a_service, an_error, an_event
from support.machine import feed, is_first_page, is_watch_from, watching

from registry.sources.kubernetes.backoff import BACKOFF_SECONDS
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.steps import GetPage, GetVersion, OpenWatch, Wait
from registry.sources.kubernetes.watches import DOUBT_SECONDS, FRUITLESS_WATCHES, STEADY_SECONDS

LONGEST_WAIT = BACKOFF_SECONDS[1]
CUT = Fault(Reason.UNREACHABLE, "connection reset")


def old_bookmarks(made: ListWatch) -> None:
    feed(made.line(a_bookmark("10")))
    feed(made.line(a_bookmark("9")))
    made.ended(0.1)


def old_events(made: ListWatch) -> None:
    assert feed(made.line(an_event("MODIFIED", a_service("one", 81, "9")))) == [], "it is not told again"
    assert feed(made.line(an_event("DELETED", a_service("one", 81, "8")))) == [], "the deletion was of an earlier one"
    made.ended(0.1)


def an_unreadable_line(made: ListWatch) -> None:
    feed(made.line(an_event("MODIFIED", a_service("one", 80, "10"))))
    feed(made.line(b"<html>"))


ENDS: dict[str, tuple[Callable[[ListWatch], object], Reason]] = {
    "at once, in order": (lambda made: made.ended(0.0), Reason.WATCH_CLOSED),
    "almost steady": (lambda made: made.ended(STEADY_SECONDS - 0.1), Reason.WATCH_CLOSED),
    "cut": (lambda made: made.lost(CUT, 0.0), Reason.UNREACHABLE),
    "bookmarks of what is held": (old_bookmarks, Reason.WATCH_CLOSED),
    "events that are old": (old_events, Reason.WATCH_CLOSED),
    "410 as an event": (lambda made: feed(made.line(an_error(410, "Expired"))), Reason.BAD_RESPONSE),
    "a line nobody can read": (an_unreadable_line, Reason.BAD_RESPONSE),
}
REFUSALS: dict[str, tuple[Callable[[ListWatch], object], Reason]] = {
    "410": (lambda made: made.refused(410), Reason.BAD_RESPONSE),
    "403": (lambda made: made.refused(403), Reason.FORBIDDEN),
    "503": (lambda made: made.refused(503), Reason.SERVER_ERROR),
    "no connection": (lambda made: made.failed(CUT), Reason.UNREACHABLE),
}


def next_watch(made: ListWatch) -> float:
    """Do what the machine asks for up to its next watch, over a server where nothing changes; how long it waited."""
    waited = 0.0
    while not isinstance(made.step, OpenWatch):
        if isinstance(made.step, Wait):
            waited += made.step.seconds
            made.waited()
        elif isinstance(made.step, GetVersion):
            made.version(a_page(version="10"))
        else:
            feed(made.page(a_page([a_service("one")], version="10")))
    return waited


@pytest.mark.parametrize("how", [*ENDS, *REFUSALS])
def test_second_fruitless_watch_leads_to_a_list_and_is_a_fault(how: str) -> None:
    end, reason = (ENDS | REFUSALS)[how]
    made = watching("one")
    for _ in range(FRUITLESS_WATCHES - 1):
        end(made)
        next_watch(made)
        made.opened()
        assert made.fault is None
    end(made)
    made.waited()
    assert is_first_page(made.step)
    next_watch(made)
    assert made.fault is not None, "a list is no watch that works"
    assert made.fault.reason is reason
    made.opened()
    assert (made.fault is None) == (how in REFUSALS), "an accepted watch proves nothing, but that it is not refused"
    feed(made.line(an_event("MODIFIED", a_service("one", 80, "11"))))
    assert made.fault is None


@pytest.mark.parametrize("how", [*ENDS, *REFUSALS])
def test_lists_in_the_place_of_watches_come_at_growing_distances(how: str) -> None:
    end, _ = (ENDS | REFUSALS)[how]
    made = watching("one")
    waits = []
    for _ in range(60):
        end(made)
        waits.append(next_watch(made))
        if how not in REFUSALS:
            made.opened()
    assert waits[-1] == LONGEST_WAIT
    assert sum(waits[:4]) <= 8, "at first it may be over soon"
    assert sum(waits) > 50 * LONGEST_WAIT, "no storm"


def test_watch_that_lasts_is_the_end_of_the_fault() -> None:
    made = watching("one")
    for _ in range(FRUITLESS_WATCHES + 3):
        made.ended(0.0)
        next_watch(made)
        made.opened()
    assert made.fault is not None
    feed(made.line(a_bookmark("10"), STEADY_SECONDS))
    assert made.fault is None
    made.ended(60.0)
    assert is_watch_from(made.step, "10")
    made.ended(0.0)
    assert made.step == Wait(0.5, made.step.then if isinstance(made.step, Wait) else made.step)  # type: ignore[arg-type]
    assert made.fault is None


@pytest.mark.parametrize("seconds", [10.0, 30.0, 60.0])
@pytest.mark.parametrize("end", ["ended", "lost"])
def test_proxy_that_ends_watches_soon_is_asked_for_the_version_before_it_is_listed(seconds: float, end: str) -> None:
    made = watching("one")
    lasted = listed = versions = 0.0
    while lasted < 3600:
        lasted += seconds
        made.ended(seconds) if end == "ended" else made.lost(CUT, seconds)
        made.waited()
        versions += isinstance(made.step, GetVersion)
        listed += isinstance(made.step, GetPage)
        next_watch(made)
        made.opened()
        assert made.fault is None
    assert listed <= 3600 / DOUBT_SECONDS + 1
    assert versions >= listed


@pytest.mark.parametrize("seconds", [STEADY_SECONDS, 6.0, 12.0, 20.0, 60.0])
def test_watches_that_end_without_a_line_are_doubted_within_two_minutes(seconds: float) -> None:
    made = watching("one")
    for doubted_after in (60.0, 120.0, 180.0, 180.0):
        lasted = 0.0
        while not isinstance(made.step, GetPage) and lasted < 300:
            next_watch(made)
            made.opened()
            lasted += seconds
            made.ended(seconds)
            made.waited()
        assert doubted_after <= lasted <= doubted_after + seconds
        feed(made.page(a_page([a_service("one")], version="10")))


def test_events_that_are_old_are_no_proof_and_those_of_the_present_are() -> None:
    made = watching("one", version="100")
    before = made.proofs
    feed(made.line(an_event("MODIFIED", a_service("one", 80, "99"))))
    feed(made.line(a_bookmark("50")))
    made.opened()
    assert made.proofs == before
    feed(made.line(a_bookmark("100")))
    feed(made.line(an_event("MODIFIED", a_service("one", 80, "101"))))
    assert made.proofs == before + 2


def test_list_of_a_version_that_was_too_old_is_no_proof() -> None:
    """A cache in front of the API server: 410 for the version of a list that comes again and again."""
    made = watching("one")
    before = made.proofs
    for _ in range(3):
        feed(made.line(an_error(410, "Expired")))
        next_watch(made)
        made.opened()
    assert made.proofs == before
    assert made.fault is not None
    assert "cache" in made.fault.message
    feed(made.line(an_error(410, "Expired")))
    made.waited()
    feed(made.page(a_page([a_service("one")], version="11")))
    assert made.proofs == before + 1


def test_relist_does_not_wait_for_the_next_list_that_is_due() -> None:
    made = watching("one")
    for _ in range(10):
        made.ended(0.0)
        next_watch(made)
        made.opened()
    made.ended(0.0)
    assert isinstance(made.step, Wait)
    assert made.relist()
    assert is_first_page(made.step)
