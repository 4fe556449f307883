"""Who is still there, and who misbehaves, on a clock that the test moves."""

from __future__ import annotations

from registry.rpc.limits import Allowance, Limits
from registry.rpc.vigil import Rounds, Verdict, Vigil

LIMITS = Limits(
    handshake_seconds=10,
    idle_seconds=300,
    ping_seconds=60,
    ping_timeout_seconds=20,
    stalled_seconds=120,
    client_ping_seconds=5,
)


def busy(now: float = 0.0) -> Vigil:
    vigil = Vigil(LIMITS, now)
    vigil.greeted()
    vigil.streams(1, now)
    return vigil


def test_client_that_says_nothing_at_first_is_closed() -> None:
    vigil = Vigil(LIMITS, 0)
    assert vigil.next_check() == 10
    assert vigil.check(9.9) is None
    assert vigil.check(10) is Verdict.NO_HANDSHAKE


def test_quiet_client_is_pinged_and_closed_when_it_does_not_answer() -> None:
    vigil = busy()
    assert vigil.next_check() == 60
    assert vigil.check(60) is Verdict.PING
    assert vigil.check(61) is None
    assert vigil.next_check() == 80
    assert vigil.check(80) is Verdict.NO_ANSWER


def test_any_byte_is_a_sign_of_life() -> None:
    vigil = busy()
    vigil.check(60)
    vigil.heard(79)
    assert vigil.check(80) is None
    assert vigil.check(139) is Verdict.PING


def test_client_that_takes_nothing_is_closed_and_is_not_pinged_meanwhile() -> None:
    vigil = busy()
    vigil.paused(50)
    assert vigil.check(100) is None
    assert vigil.check(170) is Verdict.STALLED
    vigil.resumed()
    assert vigil.check(170) is Verdict.PING


def test_connection_without_streams_is_closed_after_a_while() -> None:
    vigil = busy()
    vigil.heard(40)
    vigil.streams(0, 50)
    vigil.heard(349)
    assert vigil.check(349) is None
    assert vigil.check(350) is Verdict.IDLE
    vigil.streams(1, 350)
    assert vigil.check(351) is None


def test_pings_that_come_too_often_are_too_many_unless_something_was_sent() -> None:
    vigil = busy()
    assert [vigil.client_pinged(each) for each in (0, 5, 10)] == [True] * 3
    assert [vigil.client_pinged(each) for each in (11, 12, 13)] == [True, True, False]
    vigil.sent()
    assert [vigil.client_pinged(each) for each in (14, 15, 16)] == [True] * 3


def test_allowance_is_saved_up_to_its_limit_and_no_further() -> None:
    allowance = Allowance(2, 4, 0)
    assert [allowance.spend(0) for _ in range(5)] == [True] * 4 + [False]
    assert [allowance.spend(1) for _ in range(3)] == [True, True, False]
    assert [allowance.spend(1000) for _ in range(5)] == [True] * 4 + [False]
    allowance.earn(1)
    assert [allowance.spend(1000) for _ in range(2)] == [True, False]


def test_rounds_come_in_order_and_never_early() -> None:
    rounds: Rounds[str] = Rounds()
    for who, at in (("c", 3.0), ("a", 1.01), ("b", 1.02), ("d", 2.0)):
        rounds.put(who, at)
    assert rounds.due(1.0) == []
    assert rounds.next() == 1.05
    assert rounds.due(1.05) == ["a", "b"]
    rounds.put("a", 4.0)
    assert rounds.due(10) == ["d", "c", "a"]
    assert rounds.next() is None


def test_rounds_keep_one_time_for_each_the_earliest_and_nothing_of_those_that_are_dropped() -> None:
    rounds: Rounds[str] = Rounds()
    for at in (3.0, 2.0, 5.0):
        rounds.put("a", at)
    rounds.put("b", 1.0)
    rounds.drop("b")
    rounds.drop("nobody")
    assert rounds.next() == 2.0
    assert rounds.due(10) == ["a"]
    assert rounds.next() is None


def test_half_a_frame_has_a_deadline_and_a_whole_one_has_none() -> None:
    vigil = busy()
    vigil.begun(10)
    for now in range(20, 70, 10):
        vigil.heard(now)
    assert vigil.check(69) is None
    assert vigil.next_check() == 70
    vigil.begun(69)
    assert vigil.check(70) is None
    assert vigil.check(129) is Verdict.UNFINISHED
    vigil.whole()
    vigil.heard(129)
    assert vigil.check(130) is None
