"""Which slices of work are stalls, how long they were and who caused them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from registry.stalls import Stalls


@dataclass
class Machine:
    """A thread's two clocks, and what was counted."""

    now: float = 100.0
    cpu: float = 5.0
    counted: list[tuple[str, float, float]] = field(default_factory=list)

    def stalls(self) -> Stalls:
        def count(work: str, wall: float, cpu: float) -> None:
            self.counted.append((work, round(wall, 6), round(cpu, 6)))

        return Stalls(count, lambda: self.now, lambda: self.cpu)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += seconds

    def wait(self, seconds: float) -> None:
        """Something else has the CPU."""
        self.now += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_slice_of_fifty_milliseconds_is_none(machine: Machine) -> None:
    stalls = machine.stalls()
    began = stalls.begin()
    machine.work(0.0499)
    stalls.end(began, "commit", "it")
    assert machine.counted == []


def test_slice_counts_with_both_clocks(machine: Machine) -> None:
    stalls = machine.stalls()
    machine.work(7)
    began = stalls.begin()
    machine.work(0.06)
    machine.wait(0.2)
    stalls.end(began, "commit", "it")
    assert machine.counted == [("commit", 0.26, 0.06)]


def test_cpu_before_a_slice_is_not_its_own(machine: Machine) -> None:
    """The CPU clock may have been read 5 ms before; what was done in these is taken off."""
    stalls = machine.stalls()
    stalls.begin()
    machine.work(0.004)
    began = stalls.begin()
    machine.work(0.06)
    stalls.end(began, "commit", "it")
    assert machine.counted == [("commit", 0.06, 0.06)]


def test_a_machine_that_is_busy_is_not_blamed_on_the_slice(machine: Machine) -> None:
    stalls = machine.stalls()
    began = stalls.begin()
    machine.wait(1)
    stalls.end(began, "connection", "it")
    assert machine.counted == [("connection", 1, 0)]


def test_slice_inside_another_counts_once(machine: Machine) -> None:
    stalls = machine.stalls()
    outer = stalls.begin()
    inner = stalls.begin()
    machine.work(0.1)
    stalls.end(inner, "commit", "inner")
    machine.work(0.01)
    stalls.end(outer, "task", "outer")
    assert machine.counted == [("commit", 0.1, 0.1)]


def test_what_an_outer_slice_does_afterwards_is_its_own(machine: Machine) -> None:
    stalls = machine.stalls()
    outer = stalls.begin()
    inner = stalls.begin()
    machine.work(0.1)
    stalls.end(inner, "commit", "inner")
    machine.work(0.3)
    stalls.end(outer, "task", "outer")
    assert machine.counted == [("commit", 0.1, 0.1), ("task", 0.3, 0.3)]


def test_end_of_one_is_the_begin_of_the_next(machine: Machine) -> None:
    stalls = machine.stalls()
    began = stalls.begin()
    machine.work(0.04)
    began = stalls.end(began, "connection", "a")
    machine.work(0.04)
    began = stalls.end(began, "connection", "b")
    machine.work(0.06)
    stalls.end(began, "connection", "c")
    assert machine.counted == [("connection", 0.06, 0.06)]


def test_what_a_slice_used_is_less_than_its_time_where_it_waited(machine: Machine) -> None:
    stalls = machine.stalls()
    used: list[float] = []
    for worked, waited in ((0.002, 0.002), (0.01, 0), (0.006, 0.02), (0, 0.02), (0.03, 1)):
        machine.work(1)
        began = stalls.begin()
        machine.work(worked)
        machine.wait(waited)
        stalls.end(began, "connection", "it")
        used.append(round(stalls.used, 6))
    assert used == [0.004, 0.01, 0.006, 0.005, 0.03]


def test_log_names_who_and_how_many_it_left_out(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    stalls = machine.stalls()
    with caplog.at_level(logging.WARNING, "registry.stalls"):
        for number in range(20):
            began = stalls.begin()
            machine.work(0.11)
            stalls.end(began, "connection", f"peer {number}")
    assert caplog.messages == [
        "stall: everybody waited 110 ms (110 ms of CPU) for connection: peer 0",
        "stall: everybody waited 110 ms (110 ms of CPU) for connection: peer 10; 9 more were not logged",
    ]
