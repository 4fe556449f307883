"""Each peer has its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.fairness import FairQueue


def test_one_item_of_a_peer_waits_for_one_of_each_other_peer_however_many_they_have() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.put("many", f"many{number}")
    queue.put("one", "one")
    assert [queue.take() for _ in range(3)] == ["many0", "one", "many1"]
    assert len(queue) == 998


def test_a_peer_that_is_passed_over_keeps_its_place() -> None:
    queue: FairQueue[int] = FairQueue()
    for peer, item in (("a", 1), ("b", 2), ("b", 3)):
        queue.put(peer, item)
    assert queue.take(lambda peer: peer == "a") == 2
    assert queue.take() == 1
    assert queue.take(lambda peer: peer == "b") is None
    assert (queue.take(), queue.take(), len(queue)) == (3, None, 0)


@given(st.lists(st.sampled_from("abc")))
def test_nothing_is_lost_and_each_peer_keeps_its_order(peers: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, peer in enumerate(peers):
        queue.put(peer, (peer, number))
    taken = [each for _ in peers if (each := queue.take()) is not None]
    assert sorted(number for _, number in taken) == list(range(len(peers)))
    for peer in "abc":
        assert [each for each in taken if each[0] == peer] == sorted(each for each in taken if each[0] == peer)
