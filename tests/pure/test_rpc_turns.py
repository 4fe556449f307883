"""How connections share the loop: whose turn it is, after how much work, and that nobody waits for one who asks for
much."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time

from registry.rpc.turns import COSTLY, MOST_DEBT_SECONDS, MUCH_SECONDS, SLICE_SECONDS, Share, Turns, Worker
from registry.stalls import Stalls


class Loop:
    """Calls what it was given, an iteration at a time."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.turns = Turns(self.soon.append)

    def iterate(self) -> None:
        soon = self.soon[:]
        self.soon.clear()
        for each in soon:
            each()


class Busy(Worker):
    """Has so many steps to do, each of that many seconds of CPU."""

    def __init__(self, loop: Loop, address: str, steps: int, seconds: float) -> None:
        super().__init__()
        self.share = loop.turns.share(address)
        self.steps = steps
        self.seconds = seconds
        self.turns = 0
        self.done_after = 0
        self.failed = 0
        self._slice = loop.turns.slice

    def work(self) -> bool:
        self.turns += 1
        while self.steps:
            self.steps -= 1
            until = thread_time() + self.seconds
            while thread_time() < until:
                pass
            self._slice.left -= COSTLY
            if self._slice.left <= 0 and self._slice.over():
                break
        return self.steps > 0

    def broke(self) -> None:
        self.failed += 1


class Broken(Busy):
    def work(self) -> bool:
        raise ZeroDivisionError


def test_work_is_cut_into_slices_and_all_of_it_is_done() -> None:
    loop = Loop()
    worker = Busy(loop, "a", steps=100, seconds=SLICE_SECONDS / 2)
    loop.turns.ready(worker)
    loop.turns.ready(worker)
    assert len(loop.soon) == 1, "a turn is asked for once"
    while loop.soon:
        loop.iterate()
    assert worker.steps == 0
    assert worker.turns >= 20


def test_address_that_takes_little_is_served_in_the_next_iteration_whatever_others_ask() -> None:
    loop = Loop()
    greedy = [Busy(loop, "greedy", steps=1000, seconds=SLICE_SECONDS) for _ in range(200)]
    for each in greedy:
        loop.turns.ready(each)
    for _ in range(10):
        loop.iterate()
    for _ in range(10):
        modest = Busy(loop, "modest", steps=1, seconds=0)
        loop.turns.ready(modest)
        loop.iterate()
        assert modest.steps == 0


def test_input_of_a_greedy_address_waits_after_a_slice_and_of_others_does_not() -> None:
    loop = Loop()
    greedy = Busy(loop, "greedy", steps=2, seconds=MUCH_SECONDS)
    loop.turns.at_once(greedy, 1.0)
    assert greedy.turns == 1
    first, second = (Busy(loop, "greedy", steps=1, seconds=SLICE_SECONDS) for _ in range(2))
    modest = Busy(loop, "modest", steps=1, seconds=0)
    for each in (first, second, modest):
        loop.turns.at_once(each, 2.0)
    assert (first.turns, second.turns, modest.turns) == (1, 0, 1)


def test_input_of_a_greedy_address_waits_while_anybody_does() -> None:
    loop = Loop()
    loop.turns.at_once(Busy(loop, "greedy", steps=2, seconds=MUCH_SECONDS), 1.0)
    waiting, greedy = Busy(loop, "modest", steps=1, seconds=0), Busy(loop, "greedy", steps=1, seconds=0)
    loop.turns.ready(waiting)
    loop.turns.at_once(greedy, 2.0)
    assert greedy.turns == 0
    loop.iterate()
    assert (waiting.turns, greedy.turns) == (1, 1)


def test_address_is_not_charged_for_what_its_work_waited_for_a_cpu() -> None:
    now = 100.0

    class Waiting(Busy):
        def work(self) -> bool:
            nonlocal now
            now += 1.0
            return super().work()

    loop = Loop()
    loop.turns = Turns(loop.soon.append, Stalls(clock=lambda: now, cpu_clock=lambda: 0.0))
    unlucky = Waiting(loop, "unlucky", steps=1, seconds=0)
    loop.turns.at_once(unlucky, 1.0)
    assert now < unlucky.share.free_at < now + MUCH_SECONDS


def test_one_iteration_reads_for_a_bounded_time_and_the_rest_has_a_turn() -> None:
    loop = Loop()
    many = [Busy(loop, str(each), steps=1, seconds=SLICE_SECONDS) for each in range(50)]
    for each in many:
        loop.turns.at_once(each, 1.0)
    assert sum(each.turns for each in many) < 10
    while loop.soon:
        loop.iterate()
    assert all(each.turns == 1 for each in many)


def test_connections_of_one_address_take_turns() -> None:
    loop = Loop()
    workers = [Busy(loop, "greedy", steps=1000, seconds=SLICE_SECONDS) for _ in range(5)]
    for each in workers:
        loop.turns.ready(each)
    for _ in range(10):
        loop.iterate()
    before = [each.turns for each in workers]
    for _ in range(40):
        loop.iterate()
    counts = [each.turns - turns for each, turns in zip(workers, before, strict=True)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) >= 40


def test_worker_that_fails_is_told_and_the_others_have_their_turns() -> None:
    loop = Loop()
    broken, other = Broken(loop, "a", 1, 0), Busy(loop, "b", steps=1, seconds=0)
    loop.turns.ready(broken)
    loop.turns.ready(other)
    loop.iterate()
    assert broken.failed == 1
    assert other.steps == 0


def test_work_is_forgotten_after_a_while_and_at_the_latest_after_a_second() -> None:
    share = Share()
    share.took(0.5, 10.5)
    assert share.free_at == 10.5 + MOST_DEBT_SECONDS
    share.took(0.01, 20.01)
    assert 20.03 < share.free_at < 20.05


def test_shares_of_addresses_that_left_are_not_kept() -> None:
    loop = Loop()
    for number in range(10_000):
        share = loop.turns.share(f"10.0.{number >> 8}.{number & 255}")
        share.connections -= 1
    assert len(loop.turns._shares) < 200
