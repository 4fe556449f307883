"""The arrangements of one port for all places from which it is looked at, kept while only endpoints come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from registry.views.bundles import Bundle, Traits, weight_of
from registry.views.order import Arrangement, Slot, is_last
from registry.views.place import Place


class Layouts:
    """As long as the bundles have the same traits, a place has the same arrangement of them, but for its weights.

    So a change of endpoints arranges nothing: it weighs anew, once for all places that have the same layout. That does
    not hold where weights are shares, or a gateway's: such arrangements are made each time.
    """

    def __init__(self) -> None:
        self._traits: tuple[Traits, ...] = ()
        self._bundles: Sequence[Bundle] = ()
        self._layouts: dict[Place, Arrangement] = {}
        self._shared: dict[Arrangement, Arrangement] = {}
        self._weighed: dict[int, Arrangement] = {}
        """By the ``id`` of a layout, which is kept above."""
        self._passing: dict[Arrangement, Arrangement] = {}
        """Equal arrangements as one object, of those that are made each time."""
        self._made: dict[Place, Arrangement] = {}
        """Which of those each place has."""
        self._uses: dict[int, int] = {}
        """How many places have it, by the ``id`` of what is in ``_layouts`` or ``_made``."""

    def update(self, bundles: Sequence[Bundle]) -> None:
        """The bundles are these now."""
        traits = tuple([bundle.traits for bundle in bundles])
        if traits != self._traits:
            self.clear()
            self._traits = traits
        self._bundles = bundles
        self._weighed.clear()
        self._passing.clear()
        for made in self._made.values():
            self._uses.pop(id(made), None)
        self._made.clear()

    def clear(self) -> None:
        """The policy or the gateways are other ones."""
        for table in (self._layouts, self._shared, self._weighed, self._passing, self._made, self._uses):
            table.clear()

    def forget(self, place: Place) -> Arrangement | None:
        """Nobody looks from there any more. Gives the arrangement that no other place has, and that is forgotten."""
        layout, made = self._layouts.pop(place, None), self._made.pop(place, None)
        if layout is not None and self._left(layout):
            del self._shared[layout]
            return self._weighed.pop(id(layout), None)
        if made is not None and self._left(made):
            return self._passing.pop(made)
        return None

    def of(self, place: Place, arrange: Callable[[Place], Arrangement]) -> Arrangement:
        """The arrangement for ``place``, one object for all places that have the same; ``arrange`` makes one."""
        layout = self._layouts.get(place)
        if layout is None:
            made = self._made.get(place)
            if made is not None:
                return made
            made = arrange(place)
            if not made.is_plain:
                return self._taken(place, self._passing.setdefault(made, made), self._made)
            layout = self._taken(place, self._shared.setdefault(made, made), self._layouts)
        weighed = self._weighed.get(id(layout))
        if weighed is None:
            shown = [position for slot in layout.slots for position in slot.bundles]
            last = is_last(self._bundles, shown)
            weighed = self._weighed[id(layout)] = layout._replace(slots=self._weigh(layout.slots), last=last)
        return weighed

    def _taken(self, place: Place, arrangement: Arrangement, table: dict[Place, Arrangement]) -> Arrangement:
        if place not in table:
            self._uses[id(arrangement)] = self._uses.get(id(arrangement), 0) + 1
            table[place] = arrangement
        return arrangement

    def _left(self, arrangement: Arrangement) -> bool:
        """Whether a place that left it was the last that had it."""
        uses = self._uses[id(arrangement)] - 1
        if uses:
            self._uses[id(arrangement)] = uses
        else:
            del self._uses[id(arrangement)]
        return not uses

    def _weigh(self, slots: Sequence[Slot]) -> tuple[Slot, ...]:
        bundles = self._bundles
        return tuple(
            [
                slot if weight == slot.weight else slot._replace(weight=weight)
                for slot in slots
                for weight in [weight_of([bundles[each] for each in slot.bundles])]
            ]
        )
