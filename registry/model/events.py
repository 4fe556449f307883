"""How a source speaks: one list per kind, then its changes.

Per kind a source says ``Init``, any number of ``InitApply`` or ``InitKeep``, ``InitDone``; after that ``Apply`` and
``Delete``. A new ``Init`` starts a relist. A listener keeps showing the old state until ``InitDone``, then swaps: what
the list lacked is gone. A source in trouble says nothing here (that goes to ``registry.model.status``): silence never
removes anything. An ``Init`` followed by another ``Init`` is a list that was abandoned; nothing of it counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef


@dataclass(frozen=True, slots=True)
class Init:
    """A list of ``kind`` begins."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class InitApply:
    """One object of the list in progress."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class InitKeep:
    """The list in progress has this object, but it could not be read: what is held of it, if anything, still counts."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class InitDone:
    """The list of ``kind`` is complete: swap.

    ``rewound``: its resourceVersion is older than one told before, so it is of an earlier time (an etcd restored from
    a backup). ``retold``: it was listed some time ago, and somebody else heard it then, with the changes since.
    """

    kind: Kind
    rewound: bool = False
    retold: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """An object was added or changed after the list."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Delete:
    """An object was deleted, and somebody said so. Deleting what is not held is no error."""

    ref: ObjectRef


SourceEvent = Init | InitApply | InitKeep | InitDone | Apply | Delete
