"""Values that usually come in ones and twos and may come in thousands: a tuple, or counts once there are many. Pure.

There are very many bags, and a tuple takes a fourth of what a dict does. But each change copies a tuple, so of many
values that would be work that grows with their square.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

FEW = 16
"""So many are a tuple."""

Value = TypeVar("Value", bound=Hashable)
Bag = tuple[Value, ...] | dict[Value, int]
"""To be gone through for its values, in no order."""


def put(bag: Bag[Value], value: Value) -> Bag[Value]:
    """The bag with the value once more; not to be used itself any more."""
    if isinstance(bag, tuple):
        if len(bag) < FEW:
            return (*bag, value)
        counts: dict[Value, int] = {}
        for each in bag:
            counts[each] = counts.get(each, 0) + 1
        bag = counts
    bag[value] = bag.get(value, 0) + 1
    return bag


def take(bag: Bag[Value], value: Value) -> Bag[Value]:
    """The bag with the value, which is in it, once less; empty where that was all.

    Raises:
        ValueError, KeyError: it is not in the bag.
    """
    if isinstance(bag, tuple):
        at = bag.index(value)
        return bag[:at] + bag[at + 1 :]
    bag[value] -= 1
    if not bag[value]:
        del bag[value]
    return bag
