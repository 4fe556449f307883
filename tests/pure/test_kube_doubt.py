"""What the list-watch machine does where something is in doubt: relist, quiet watches, histories that went back."""

from __future__ import annotations

import pytest
from support.kube_wire import a_bookmark, a_page, a_service, an_event
from support.machine import feed, is_first_page, is_watch_from, watching, zero

from registry.model.names import Kind
from registry.sources.kubernetes.conditions import Fault, Reason
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.steps import GetVersion, OpenWatch, Wait
from registry.sources.kubernetes.versions import older

DOWN = Fault(Reason.UNREACHABLE, "connection refused")


@pytest.mark.parametrize(
    ("version", "than", "is_older"),
    [
        ("9", "10", True),
        ("10", "9", False),
        ("10", "10", False),
        ("18446744073709551616", "18446744073709551617", True),
        ("0", "10", False),
        ("", "10", False),
        ("9", "", False),
        ("09", "10", False),
        ("abc", "abd", False),
        ("9", "1a", False),
        ("\u0663", "10", False),
    ],
)
def test_versions_compare_as_decimals_or_not_at_all(version: str, than: str, is_older: bool) -> None:
    assert older(version, than) is is_older


def test_relist_ends_the_watch_and_lists_anew() -> None:
    made = watching("one")
    assert made.relist()
    assert is_first_page(made.step)
    assert feed(made.page(a_page())) == ["Init", "InitDone"]
    assert feed(made.line(an_event("ADDED", a_service("one", version="11")))) == ["Apply one"]


def test_relist_that_is_asked_for_while_one_goes_on_is_that_one() -> None:
    made = ListWatch(Kind.SERVICE, zero, streams=False)
    feed(made.page(a_page([a_service("one")], token="more")))
    asked = made.step
    assert not made.relist()
    assert made.step == asked
    streamed = ListWatch(Kind.SERVICE, zero)
    asked = streamed.step
    assert not streamed.relist()
    assert streamed.step == asked


def test_relist_waits_out_what_an_api_server_asked_for() -> None:
    made = watching("one")
    made.refused(503, 20.0)
    assert not made.relist()
    assert isinstance(made.step, Wait)
    assert made.step.seconds == 20.0
    made.waited()
    assert is_first_page(made.step)


def test_relist_takes_the_place_of_a_question_for_the_version() -> None:
    made = watching("one")
    made.lost(DOWN, 30)
    made.waited()
    assert isinstance(made.step, GetVersion)
    assert made.relist()
    assert is_first_page(made.step)


def test_quiet_watch_is_opened_again_and_one_that_stays_quiet_is_listed_anew() -> None:
    made = watching("one")
    made.quiet()
    assert isinstance(made.step, GetVersion), "is anybody there, and is it still the same history?"
    made.version(a_page(version="10"))
    assert is_watch_from(made.step, "10")
    assert made.fault is None
    made.opened()
    made.quiet()
    assert is_first_page(made.step)


def test_bookmark_is_proof_enough() -> None:
    made = watching("one")
    for version in range(11, 20):
        made.quiet()
        made.version(a_page(version=str(version)))
        assert isinstance(made.step, OpenWatch)
        made.opened()
        feed(made.line(a_bookmark(str(version))))
    made.quiet()
    made.version(a_page(version="19"))
    assert is_watch_from(made.step, "19")


def test_quiet_watch_of_versions_that_do_not_compare_is_opened_again_at_once() -> None:
    made = watching("one", version="zz")
    made.quiet()
    assert is_watch_from(made.step, "zz")


def test_broken_watch_goes_on_when_the_history_is_the_same() -> None:
    made = watching("one")
    made.lost(DOWN, 30)
    made.waited()
    assert made.step == GetVersion("/api/v1/services", {"limit": "1"})
    made.version(a_page(version="10"))
    assert is_watch_from(made.step, "10")


def test_history_that_went_back_is_listed_and_told_of_as_such_once() -> None:
    made = watching("one", version="100")
    made.failed(DOWN)
    made.waited()
    made.version(a_page(version="40"))
    assert is_first_page(made.step)
    assert feed(made.page(a_page([a_service("one")], version="41"))) == ["Init", "InitApply one", "InitDone rewound"]
    assert is_watch_from(made.step, "41")
    made.relist()
    assert feed(made.page(a_page(version="42"))) == ["Init", "InitDone"]


def test_version_a_bookmark_told_counts_for_what_is_newer() -> None:
    made = watching("one")
    feed(made.line(a_bookmark("90")))
    made.relist()
    assert feed(made.page(a_page(version="50"))) == ["Init", "InitDone rewound"]


def test_versions_that_are_no_decimals_never_went_back() -> None:
    made = watching("one", version="zz")
    made.lost(DOWN, 30)
    made.waited()
    assert is_watch_from(made.step, "zz")
    made.relist()
    assert feed(made.page(a_page(version="aa"))) == ["Init", "InitDone"]


def test_history_that_went_back_is_said_so_though_the_list_comes_when_it_has_gone_past() -> None:
    made = watching("one", version="100")
    made.lost(DOWN, 30)
    made.waited()
    made.version(a_page(version="90"))
    assert feed(made.page(a_page(version="110"))) == ["Init", "InitDone rewound"]
    made.relist()
    assert feed(made.page(a_page(version="111"))) == ["Init", "InitDone"]


@pytest.mark.parametrize("listing", [False, True])
def test_history_that_went_back_for_another_kind_did_for_this_one(listing: bool) -> None:
    made = watching("one", version="100")
    if listing:
        made.relist()
    made.relist(rewound=True)
    assert feed(made.page(a_page(version="110"))) == ["Init", "InitDone rewound"]
    made.relist()
    assert feed(made.page(a_page(version="111"))) == ["Init", "InitDone"]


def test_another_server_has_another_history() -> None:
    made = watching("one", version="100")
    made.restart()
    assert feed(made.page(a_page(version="5"))) == ["Init", "InitDone"]


@pytest.mark.parametrize("body", [b"", b"<html>", a_page(kind=Kind.POD)])
def test_answer_without_a_version_is_a_fault_and_asked_for_again(body: bytes) -> None:
    made = watching("one")
    made.lost(DOWN, 30)
    made.waited()
    asked = made.step
    made.version(body)
    assert made.fault is not None
    assert made.fault.reason is Reason.BAD_RESPONSE
    assert made.step == Wait(made.step.seconds if isinstance(made.step, Wait) else 0, asked)  # type: ignore[arg-type]
