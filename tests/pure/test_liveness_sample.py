"""What rounds of probes come to, and whom a sample asks."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.facts import a_slice, slices

from registry.liveness.sample import Target, sample
from registry.liveness.table import DataPlane
from registry.liveness.tally import Tally, Thresholds
from registry.model.facts import EndpointSlice, Protocol, SliceEndpoint, SlicePort

UP, UNKNOWN, DOWN = DataPlane.UP, DataPlane.UNKNOWN, DataPlane.DOWN


def after(thresholds: Thresholds, rounds: str) -> list[DataPlane]:
    """What is believed after each round: ``+`` was answered, ``-`` was not, ``0`` had nobody to ask."""
    tally, told = Tally(), []
    for each in rounds:
        tally = tally.without_targets() if each == "0" else tally.counted(thresholds, each == "+")
        told.append(tally.data_plane)
    return told


@pytest.mark.parametrize(
    ("thresholds", "rounds", "expected"),
    [
        (Thresholds(), "+", [UP]),
        (Thresholds(), "---", [UNKNOWN, UNKNOWN, DOWN]),
        (Thresholds(), "+--+--", [UP] * 6),
        (Thresholds(), "+---+", [UP, UP, UP, DOWN, UP]),
        (Thresholds(up=2), "+---+-++", [UNKNOWN, UNKNOWN, UNKNOWN, DOWN, DOWN, DOWN, DOWN, UP]),
        (Thresholds(proof=True), "-----", [UNKNOWN] * 5),
        (Thresholds(proof=True), "-----+---", [UNKNOWN] * 5 + [UP] * 3 + [DOWN]),
        (Thresholds(), "+---0---", [UP, UP, UP, DOWN, UNKNOWN, UNKNOWN, UNKNOWN, DOWN]),
        (Thresholds(proof=True), "+0---", [UP, UNKNOWN, UNKNOWN, UNKNOWN, DOWN]),
    ],
)
def test_rounds_in_a_row_are_believed(thresholds: Thresholds, rounds: str, expected: list[DataPlane]) -> None:
    assert after(thresholds, rounds) == expected


def world(count: int) -> list[EndpointSlice]:
    return [
        a_slice(f"10.{number // 250}.{number % 250}.1", f"10.{number // 250}.{number % 250}.2", name=f"s{number}")
        for number in range(count)
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 20, 997])
def test_sample_is_bounded_repeatable_and_of_different_slices(size: int) -> None:
    slices = world(size)
    for turn in range(50):
        found = sample(slices, 3, turn)
        assert len(found) == min(3, size)
        assert found == sample(slices, 3, turn)
        assert len({target.host.rpartition(".")[0] for target in found}) == len(found)


def test_turns_come_to_every_slice_that_is_in_reach() -> None:
    slices = world(60)
    seen = {target.host.rpartition(".")[0] for turn in range(60) for target in sample(slices, 3, turn)}
    assert len(seen) == 60 / 2
    numbers = sorted(int(prefix.split(".")[2]) for prefix in seen)
    assert numbers[0] < 10, "from one end"
    assert numbers[-1] >= 40, "to the other"


def test_api_server_is_not_asked_how_the_data_plane_is() -> None:
    api = EndpointSlice("default", "kubernetes", "kubernetes", ports=(SlicePort("https", 6443),))
    api = dataclasses.replace(api, endpoints=(SliceEndpoint("10.0.0.1"),))
    assert sample([api], 3, 0) == ()
    assert sample([api, a_slice("10.0.0.2")], 3, 0) == (Target("10.0.0.2", 8080),)


def test_only_ready_endpoints_with_a_tcp_port_are_asked() -> None:
    unready = a_slice(SliceEndpoint("10.0.0.1", ready=False), name="unready")
    udp = a_slice("10.0.0.2", name="udp", ports=(SlicePort("dns", 53, Protocol.UDP),))
    every = a_slice("10.0.0.3", name="every", ports=(SlicePort("any", None),))
    empty = a_slice(name="empty")
    good = a_slice(SliceEndpoint("10.0.0.4", ready=False), "fd00::5", name="good")
    assert sample([unready, udp, every, empty, good], 3, 0) == (Target("fd00::5", 8080),)
    assert str(Target("fd00::5", 8080)) == "[fd00::5]:8080"
    assert sample([unready, empty], 3, 0) == ()
    assert sample([], 3, 7) == ()


@given(st.lists(slices, max_size=30), st.integers(1, 5), st.integers(0, 1000))
def test_sample_asks_nobody_who_is_not_in_the_slices(world: list[EndpointSlice], count: int, turn: int) -> None:
    there = {
        (endpoint.address, port.port)
        for each in world
        for endpoint in each.endpoints
        for port in each.ports
        if endpoint.ready
    }
    found = sample(world, count, turn)
    assert len(found) <= count
    assert there.issuperset(found)
