"""Which endpoints of a cluster are asked whether its data plane is up. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

from registry.model.facts import EndpointSlice, Protocol

API_SERVER = ("default", "kubernetes")
"""The service whose endpoints are the API servers: the other signal."""


class Target(NamedTuple):
    """Where a probe connects to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def sample(slices: Collection[EndpointSlice], count: int, turn: int) -> tuple[Target, ...]:
    """At most ``count`` ready endpoints with a TCP port, spread evenly over ``slices``; none of another cluster's.

    The same slices, in the same order, give the same targets for the same ``turn``; the next turn gives others. Each
    is of another slice, so that no one service speaks for the cluster. Costs one step through ``slices``, and looks
    into ``2 * count`` of them.
    """
    found: dict[Target, None] = {}
    for each in _spread(slices, 2 * count, turn):
        target = _target(each, turn)
        if target is not None and len(found) < count:
            found[target] = None
    return tuple(found)


def _spread(slices: Collection[EndpointSlice], count: int, turn: int) -> Iterator[EndpointSlice]:
    """``count`` of them at equal distances, or all; each turn begins one further on.

    Every other one comes first, so that whoever stops half-way has seen them from one end to the other.
    """
    size = len(slices)
    if size <= count:
        start = turn % size if size else 0
        yield from islice(slices, start, None)
        yield from islice(slices, start)
        return
    stride = size // count
    chosen = tuple(islice(slices, turn % stride, stride * count, stride))
    yield from chosen[::2]
    yield from chosen[1::2]


def _target(slice_: EndpointSlice, turn: int) -> Target | None:
    port = next((each.port for each in slice_.ports if each.port and each.protocol is Protocol.TCP), None)
    ready = [each for each in slice_.endpoints if each.ready]
    if port is None or not ready or slice_.copy_mark or (slice_.namespace, slice_.service) == API_SERVER:
        return None
    return Target(ready[turn % len(ready)].address, port)
