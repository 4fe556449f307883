"""Texts and labels that come again and again, each one object."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from registry.model.facts import Labels

MAX_LABELS = 256
"""Of one object. Kubernetes has no bound; an endpoint of a ServiceEntry has this one."""

shared = sys.intern
"""Names of Nodes, zones, Pods, namespaces, labels: with 100,000 endpoints that is 20 MB."""

_Value = TypeVar("_Value")


def shared_labels(labels: Mapping[str, str | None] | None) -> Labels:
    """Sorted by name, the first ``MAX_LABELS`` of them; null is the empty string."""
    if not labels:
        return ()
    pairs = sorted([(name, value or "") for name, value in labels.items()])
    return _LABELS.of(tuple(pairs[:MAX_LABELS]), _of_shared_pairs)


class _Same(Generic[_Value]):
    """The same object for equal ones, of the last few thousand: nothing else is kept, as a cache of calls would."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[_Value, _Value] = {}

    def of(self, value: _Value, made: Callable[[_Value], _Value]) -> _Value:
        """The object that is kept for ``value``; ``made`` of it when there is none yet."""
        found = self._known.get(value)
        if found is None:
            if len(self._known) >= self._most:
                self._known.clear()
            found = made(value)
            self._known[found] = found
        return found


_LABELS: _Same[Labels] = _Same(4096)
"""The Pods of a workload have their labels in common, and are listed together."""
_LABEL: _Same[tuple[str, str]] = _Same(1 << 14)
"""The labels of two workloads, or of two zones of one, differ by little."""


def _of_shared_pairs(labels: Labels) -> Labels:
    return tuple([_LABEL.of(pair, _of_shared_names) for pair in labels])


def _of_shared_names(pair: tuple[str, str]) -> tuple[str, str]:
    return shared(pair[0]), shared(pair[1])
