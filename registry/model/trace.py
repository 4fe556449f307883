"""What the rules did to each endpoint, told by the functions that decide while they do.

Those functions take a recorder, by default none. ``registry.index`` tells a ``Trace``, the views a ``Notes``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from registry.model.facts import EndpointSlice, SliceEndpoint
from registry.model.names import ClusterId
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Health


class Step(NamedTuple):
    """One rule that applied; ``detail`` says to what, for people."""

    reason: Reason
    detail: str = ""


class Recorder(Protocol):
    """Is told what is decided of endpoints, which it knows by identity, not by value: two may be equal."""

    def note(self, endpoint: Endpoint, reason: Reason, detail: str = "") -> None: ...


class Notes:
    """A recorder that remembers the steps of each endpoint. The endpoints must outlive it."""

    def __init__(self) -> None:
        self._steps: dict[int, list[Step]] = {}

    def note(self, endpoint: Endpoint, reason: Reason, detail: str = "") -> None:
        self._steps.setdefault(id(endpoint), []).append(Step(reason, detail))

    def of(self, endpoint: Endpoint) -> tuple[Step, ...]:
        return tuple(self._steps.get(id(endpoint), ()))


@dataclass(slots=True)
class Row:
    """One endpoint as a slice has it, and what became of it: ``endpoint``, or None when it was left out.

    ``address`` is its canonical one, empty where it has none or was left out before that was looked at.
    """

    cluster: ClusterId
    fact: EndpointSlice
    position: int
    raw: SliceEndpoint
    steps: list[Step] = field(default_factory=list)
    endpoint: Endpoint | None = None
    address: str = ""


class Trace:
    """Follows every endpoint of every slice of one service, through each copy that is made of it.

    ``enter`` says whose slices are told next. Each endpoint of a slice is told once, in the slice's order: by ``made``
    or by ``left_out``.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._cluster = ClusterId("")
        self._at: dict[int, list[Row]] = {}
        self._alive: list[Endpoint] = []
        """All there were, so that no two have the same ``id``."""
        self._about: dict[int, list[Step]] = {}
        self._told: dict[int, int] = {}

    def enter(self, cluster: ClusterId) -> None:
        self._cluster = cluster
        self._about.clear()
        self._told.clear()

    def about(self, fact: EndpointSlice, reason: Reason, detail: str = "") -> None:
        """A rule that applies to all endpoints of the slice; to be said before they are told."""
        self._about.setdefault(id(fact), []).append(Step(reason, detail))

    def made(self, fact: EndpointSlice, raw: SliceEndpoint, endpoint: Endpoint) -> None:
        """The slice's ``raw`` is ``endpoint``."""
        row = self._row(fact, raw)
        row.address = endpoint.address
        row.endpoint = endpoint
        row.steps.insert(0, Step(Reason.READY if endpoint.health is Health.HEALTHY else Reason.DRAINING))
        self._alive.append(endpoint)
        self._at.setdefault(id(endpoint), []).append(row)

    def left_out(
        self, fact: EndpointSlice, reason: Reason, detail: str = "", raws: Iterable[SliceEndpoint] | None = None
    ) -> None:
        """These of the slice, by default all, are no endpoints."""
        for raw in fact.endpoints if raws is None else raws:
            self._row(fact, raw).steps.append(Step(reason, detail))

    def became(self, old: Endpoint, new: Endpoint) -> None:
        """``new`` is what ``old`` is from now on."""
        if new is old:
            return
        rows = self._at.pop(id(old), [])
        for row in rows:
            row.endpoint = new
        self._alive.append(new)
        self._at.setdefault(id(new), []).extend(rows)

    def note(self, endpoint: Endpoint, reason: Reason, detail: str = "") -> None:
        for row in self._at.get(id(endpoint), ()):
            row.steps.append(Step(reason, detail))

    def dropped(self, endpoint: Endpoint, reason: Reason, detail: str = "", address: str = "") -> None:
        """It is out; with an ``address``, only those whose own that is."""
        rows = self._at.get(id(endpoint), [])
        gone = [row for row in rows if not address or row.address == address]
        for row in gone:
            row.steps.append(Step(reason, detail))
            row.endpoint = None
        self._at[id(endpoint)] = [row for row in rows if row.endpoint is not None]

    def _row(self, fact: EndpointSlice, raw: SliceEndpoint) -> Row:
        position = self._told.get(id(fact), 0)
        self._told[id(fact)] = position + 1
        row = Row(self._cluster, fact, position, raw, list(self._about.get(id(fact), ())))
        self.rows.append(row)
        return row
