"""What one member may tell: objects and bytes of all kinds, pages that end, and what happens beyond."""

from __future__ import annotations

import pytest
from support.kube_wire import a_page, a_service

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, SourceEvent
from registry.model.facts import EndpointSlice, Fact, Pod, Service, SliceEndpoint
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.api import retry_after
from registry.sources.kubernetes.bounds import EMPTY_PAGES, Account, MemberBounds, TooMuchError, Total, weight
from registry.sources.kubernetes.conditions import Fault, Reason, refused
from registry.sources.kubernetes.listwatch import TOO_MUCH_SECONDS, ListWatch
from registry.sources.kubernetes.steps import GetPage, Wait
from registry.sources.kubernetes.urls import shown

TOO_LARGE = Fault(Reason.LIMIT_EXCEEDED, "too large")


def a_fact(name: str, **fields: str) -> Service:
    return Service("shop", name, **fields)


def told(account: Account, *events: SourceEvent) -> None:
    for event in events:
        account.count(event)


def test_objects_of_all_kinds_count_together_from_the_first_page_on() -> None:
    account = Account(MemberBounds(objects=3), None)
    told(account, Init(Kind.SERVICE), InitApply(a_fact("a")), InitApply(a_fact("b")), InitDone(Kind.SERVICE))
    told(account, Init(Kind.POD), InitApply(Pod("shop", "c")))
    with pytest.raises(TooMuchError, match=r"4 objects so far, 2 of them of kind Pod, more than 3 \(follow"):
        account.count(InitApply(Pod("shop", "d")))


def test_list_anew_takes_the_place_of_the_one_before() -> None:
    account = Account(MemberBounds(objects=2), None)
    for _ in range(3):
        told(account, Init(Kind.SERVICE), InitApply(a_fact("a")), InitApply(a_fact("b")), InitDone(Kind.SERVICE))


def test_changes_count_by_what_they_add_to_what_is_held() -> None:
    held: dict[ObjectRef, Fact] = {}
    account = Account(MemberBounds(bytes=20_000), lambda _: held)
    for number in range(1000):
        fact = a_fact("a", created=str(number))
        account.count(Apply(fact))
        held[fact.ref] = fact
    account.count(Apply(a_fact("b")))
    with pytest.raises(TooMuchError, match=r"follow.maxBytes"):
        account.count(Apply(a_fact("c", created="x" * 20_000)))
    account = Account(MemberBounds(objects=1), lambda _: held)
    for _ in range(3):
        held.clear()
        account.count(Apply(a_fact("a")))
        held[a_fact("a").ref] = a_fact("a")
        account.count(Delete(a_fact("a").ref))


def test_largest_new_member_gives_way_to_others_and_synced_ones_never_do() -> None:
    total, broken = Total(45_000), list[str]()

    def account(name: str) -> Account:
        def give_way(fault: Fault) -> bool:
            assert "follow.maxTotalBytes" in fault.message
            broken.append(name)
            told(made[name], Init(Kind.SERVICE))
            return True

        return Account(MemberBounds(), None, total, give_way)

    made = {name: account(name) for name in ("synced", "large", "small")}
    large = InitApply(a_fact("a", created="x" * 20_000))
    told(made["synced"], Init(Kind.SERVICE), large, InitDone(Kind.SERVICE))
    made["synced"].complete()
    told(made["large"], Init(Kind.SERVICE), InitApply(a_fact("a", created="x" * 15_000)))
    told(made["small"], Init(Kind.SERVICE), InitApply(a_fact("a")))
    assert (broken, made["large"].size) == (["large"], 0)
    told(made["synced"], Init(Kind.POD), large, large)
    with pytest.raises(TooMuchError, match="this one is the largest of those that are new"):
        made["small"].count(InitApply(a_fact("b")))
    made["synced"].close()
    told(made["small"], InitApply(a_fact("c")))
    assert broken == ["large"]


def test_weight_grows_with_texts_and_endpoints() -> None:
    endpoints = tuple(SliceEndpoint(f"10.0.0.{number}") for number in range(100))
    small, large = EndpointSlice("shop", "a", "a"), EndpointSlice("shop", "a", "a", endpoints=endpoints)
    assert weight(large) - weight(small) > 100 * 512
    assert weight(a_fact("a", created="x" * 1000)) - weight(a_fact("a")) >= 1000


def paging() -> ListWatch:
    return ListWatch(Kind.SERVICE, lambda: 0.5, streams=False)


def test_page_that_is_too_large_is_read_in_pieces_and_too_much_only_then() -> None:
    made, pieces = paging(), []
    while isinstance(made.step, GetPage):
        pieces.append(made.step.in_pieces)
        assert made.fault is None
        made.too_large(TOO_LARGE)
    assert pieces == [False, True]
    assert made.fault is not None
    assert made.fault.reason is Reason.LIMIT_EXCEEDED


def test_what_was_told_of_a_list_that_is_too_much_is_forgotten_and_the_fault_stays_until_a_list_is_complete() -> None:
    made = paging()
    list(made.page(a_page([a_service("one")], token="1")))
    assert made.too_much(TOO_LARGE) == (Init(Kind.SERVICE),)
    assert isinstance(made.step, Wait)
    assert made.step.seconds >= TOO_MUCH_SECONDS
    made.waited()
    list(made.page(a_page([a_service("one")], token="1")))
    assert made.fault == Fault(Reason.LIMIT_EXCEEDED, "list services: too large")
    assert list(made.page(a_page([a_service("two")])))[-1] == InitDone(Kind.SERVICE)
    assert made.fault is None


@pytest.mark.parametrize("tokens", [["a", "a"], [str(number) for number in range(EMPTY_PAGES)]], ids=["same", "empty"])
def test_pages_that_lead_nowhere_are_a_fault(tokens: list[str]) -> None:
    made = paging()
    for token in tokens:
        assert isinstance(made.step, GetPage)
        list(made.page(a_page([a_service("one")] if token == "a" else [], token=token)))
    assert made.fault is not None
    assert made.fault.reason is Reason.BAD_RESPONSE
    assert isinstance(made.step, Wait)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("9" * 500, float("inf")),
        ("nan", None),
        ("-1", None),
        ("1e9", None),
        ("\u0665", None),
        ("Mon, 01 Jan 2024 00:00:00 +9999999999", None),
        ("Mon, 01 Jan 2024 00:00:00 -0000", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 99:99:99 GMT", None),
        (",", None),
        ("", None),
    ],
)
def test_wild_retry_after_is_none(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value, "Date": "Mon, 01 Jan 2024 00:00:00 GMT"}) == seconds


@pytest.mark.parametrize("status", [100, 302, 403, 418, 599, 999])
def test_refusal_says_the_status_in_our_own_words(status: int) -> None:
    assert refused("list", "pods", status).message.startswith(f"list pods: {status}")


@pytest.mark.parametrize(
    "text",
    [
        "https://me:HIDDEN@host:6443",
        "https://me:HID/DEN@host",
        "https://me:HIDDEN",
        "https://host:HIDDEN/",
        "me:HIDDEN@host",
        "https://host/?token=HIDDEN",
        "https://host/#HIDDEN",
        "https://me:HIDDEN@[::1]:80",
    ],
)
def test_url_that_is_shown_has_no_password(text: str) -> None:
    assert "HID" not in shown(text)
    assert "DEN" not in shown(text)


@pytest.mark.parametrize("text", ["https://host:6443/path", "http://[::1]:3128", "ftp://host", "host:80"])
def test_url_without_a_password_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text
