"""Long work is done in slices, in the order in which it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from registry.servers.turns import SLICE_SECONDS, Turns


class Loop:
    def __init__(self) -> None:
        self.now = 0.0
        self.later: list[Callable[[], None]] = []
        self.done: list[str] = []
        self.turns = Turns(self.later.append, lambda: self.now)

    def work(self, name: str, steps: int, seconds: float) -> Iterator[None]:
        for number in range(steps):
            self.now += seconds
            self.done.append(f"{name}{number}")
            yield None

    def turn(self) -> int:
        """One turn of the loop; how many steps were done."""
        before = len(self.done)
        now, self.later[:] = list(self.later), []
        for each in now:
            each()
        return len(self.done) - before


def test_a_slice_is_as_long_as_it_may_be() -> None:
    loop = Loop()
    loop.turns(loop.work("a", 10, SLICE_SECONDS / 4))
    assert len(loop.done) == 4
    assert [loop.turn() for _ in range(3)] == [4, 2, 0]
    assert loop.later == []


def test_what_is_short_is_done_at_once() -> None:
    loop = Loop()
    loop.turns(loop.work("a", 10, 0))
    assert len(loop.done) == 10
    assert loop.later == []


def test_further_work_waits_its_turn_and_is_begun_once() -> None:
    loop = Loop()
    loop.turns(loop.work("a", 2, SLICE_SECONDS))
    loop.turns(loop.work("b", 1, SLICE_SECONDS))
    assert loop.done == ["a0"]
    while loop.turn():
        pass
    assert loop.done == ["a0", "a1", "b0"]


def test_a_bug_in_one_work_ends_that_alone() -> None:
    def broken() -> Iterator[None]:
        yield None
        raise ValueError

    loop = Loop()
    loop.turns(broken())
    loop.turns(loop.work("a", 1, 0))
    while loop.turn():
        pass
    assert loop.done == ["a0"]
