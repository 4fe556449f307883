"""The subscription rules, case by case as the protocol's text has them."""

from __future__ import annotations

from registry.xds.subscription import Subscription
from registry.xds.types import CDS, EDS, RDS


def test_sotw_example_of_the_protocol() -> None:
    subscription = Subscription(CDS)
    assert subscription.replace([]).wildcard_asked
    change = subscription.replace(["*", "A"])
    assert (subscription.wildcard, change.added, change.wildcard_asked) == (True, ("A",), False)
    change = subscription.replace(["A"])
    assert (subscription.wildcard, change.added, change.wildcard_stopped) == (False, (), True)
    change = subscription.replace([])
    assert (subscription.wildcard, change.dropped) == (False, ("A",))


def test_delta_example_of_the_protocol() -> None:
    subscription = Subscription(CDS)
    assert subscription.adjust([], []).wildcard_asked
    change = subscription.adjust(["A"], [])
    assert (subscription.wildcard, change.asked, change.wildcard_asked) == (True, ("A",), False)
    change = subscription.adjust([], ["*"])
    assert (subscription.wildcard, change.wildcard_stopped, list(subscription.names)) == (False, True, ["A"])
    change = subscription.adjust([], ["A"])
    assert (subscription.wildcard, change.dropped, list(subscription.names)) == (False, ("A",), [])
    change = subscription.adjust([], [])
    assert (subscription.wildcard, change.wildcard_asked) == (False, False)


def test_types_other_than_listeners_and_clusters_have_no_wildcard() -> None:
    for kind in (EDS, RDS):
        subscription = Subscription(kind)
        subscription.replace([])
        assert not subscription.wildcard
        assert subscription.replace(["*"]).added == ("*",)
        assert not subscription.wildcard
        subscription = Subscription(kind)
        subscription.adjust([], [])
        assert not subscription.wildcard
        assert subscription.adjust(["*"], []).asked == ("*",)
        assert not subscription.wildcard


def test_a_name_twice_in_a_request_counts_once() -> None:
    assert Subscription(EDS).replace(["a", "a"]).asked == ("a",)
    assert Subscription(EDS).adjust(["a", "a"], []).asked == ("a",)


def test_delta_resubscription_is_asked_but_not_added() -> None:
    subscription = Subscription(EDS)
    subscription.adjust(["a"], [])
    change = subscription.adjust(["a"], [])
    assert (change.asked, change.added) == (("a",), ())


def test_a_name_in_both_lists_ends_up_subscribed() -> None:
    subscription = Subscription(EDS)
    change = subscription.adjust(["a"], ["a"])
    assert (change.added, change.dropped, list(subscription.names)) == (("a",), (), ["a"])


def test_a_first_request_that_only_unsubscribes_is_no_wildcard() -> None:
    subscription = Subscription(CDS)
    assert not subscription.adjust([], ["a"]).wildcard_asked
    assert not subscription.adjust([], []).wildcard_asked
