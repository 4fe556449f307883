"""How sources and writers are doing, and the seam between sources and the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from registry.model.conditions import Condition
from registry.model.events import SourceEvent
from registry.model.names import ClusterId, Kind, ServiceKey


class SourceState(StrEnum):
    """The three things worth knowing about a source."""

    CONNECTING = "Connecting"
    """It has not listed everything yet and knows no reason why it should not."""
    SYNCED = "Synced"
    """Every kind is listed and being followed."""
    FAILING = "Failing"
    """Something is wrong; ``reason`` and ``message`` say what. What was listed before still counts."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source's state.

    ``reason`` is one CamelCase word from a small fixed set (``Unauthorized``, ``Forbidden``, ``Unreachable``, ...), fit
    for a metric label; ``message`` is for people and names the place (verb, resource, file, line) and the mend. Both
    are empty when all is well; while SYNCED they are a warning, no fault. ``listed`` are the kinds whose first list is
    complete.
    """

    state: SourceState
    reason: str = ""
    message: str = ""
    listed: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """One service's object that could not be written. ``reason`` is one word, ``message`` the API server's, shortened.

    ``refused``: the API server does not take this object; otherwise it is tried again soon.
    """

    service: ServiceKey
    reason: str
    message: str
    refused: bool


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """``entries`` of ours are in the cluster; ``written`` and ``deleted`` count since the start.

    ``mended`` counts the writes that put back what others had changed. ``conflicts`` are objects of others that stand
    where ours would, as ``namespace/name``: they are left alone. ``contested`` are objects of ours that others change
    again and again. ``failures`` are what could not be written, ordered by service. ``awaits`` are the members that are
    not known yet: what is held of them stays. ``reason`` (one word) and ``message`` say why something is not written;
    both are empty when all is. ``unwatched`` says why changes by others are not noticed at once.
    """

    entries: int = 0
    written: int = 0
    deleted: int = 0
    mended: int = 0
    conflicts: tuple[str, ...] = ()
    contested: tuple[str, ...] = ()
    failures: tuple[WriteFailure, ...] = ()
    awaits: tuple[ClusterId, ...] = ()
    reason: str = ""
    message: str = ""
    unwatched: str = ""


class Sink(Protocol):
    """Where a source puts what it learns. Calls never block and never raise."""

    def event(self, cluster: ClusterId, event: SourceEvent) -> None:
        """One fact. A burst of calls without an ``await`` in between is seen by listeners as one change."""

    def status(self, cluster: ClusterId, status: SourceStatus) -> None:
        """The source's state changed. Equal consecutive statuses may be reported; the listener ignores them."""

    def condition(self, cluster: ClusterId, condition: Condition) -> None:
        """One thing that is true or not of the cluster. Equal consecutive conditions are ignored likewise."""


class Source(Protocol):
    """A place facts come from: one member cluster."""

    @property
    def cluster(self) -> ClusterId: ...

    @property
    def origin(self) -> str:
        """Where it reads, for people: ``kubernetes https://10.0.0.1:6443`` or ``manifests /path``. No secrets."""

    @property
    def heard_at(self) -> float | None:
        """When, on the monotonic clock, all kinds had last been proven current: by a list, an event, or a bookmark.

        The oldest of the kinds counts. None: not all were listed yet.
        """

    @property
    def drifted(self) -> int:
        """How many objects, since it began, were found to differ from what the place has, and were mended."""

    def relist(self, kinds: Iterable[Kind]) -> None:
        """List these kinds anew soon: somebody doubts what the last list said. Returns at once."""

    async def run(self, sink: Sink) -> None:
        """Follow the cluster until cancelled. Faults are reported as status and retried, never raised."""
