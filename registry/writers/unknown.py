"""The members of which nothing is known yet, whose endpoints in our entries therefore stay. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from registry.model.names import ClusterId
from registry.views.attribution import member_label

NAMED = 5
"""How many members a message names."""


class Unknown:
    """The members that were not listed since the start and that no snapshot has, and the places not heard yet."""

    def __init__(
        self,
        members: Iterable[tuple[ClusterId, str]] = (),
        places: Iterable[str] = (),
        known: Iterable[ClusterId] = (),
        duplicates: Iterable[ClusterId] = (),
        unverified: Iterable[ClusterId] = (),
    ) -> None:
        """Each of ``members`` has a text that says why it is not known.

        ``places`` have not said yet who their members are: until they do, any cluster that is not ``known`` may be one.
        ``duplicates`` are other names of members. ``unverified`` members are known by a snapshot or a peer alone, which
        may be older than our entries: what it lacks is not gone.
        """
        self._members = tuple(members)
        self._places = tuple(places)
        self._stay = frozenset(member_label(each) for each in (*self.clusters, *duplicates))
        self._known = frozenset(map(member_label, known))
        self._unverified = frozenset(map(member_label, unverified))

    def __bool__(self) -> bool:
        return bool(self._members or self._places)

    @property
    def clusters(self) -> tuple[ClusterId, ...]:
        """The members."""
        return tuple(cluster for cluster, _ in self._members)

    @property
    def names(self) -> tuple[str, ...]:
        """Members and places, without why: who is waited for."""
        return (*self.clusters, *(f"the members of {place}" for place in self._places))

    @property
    def keeps(self) -> bool:
        """Whether any endpoint of our entries may stay that the merged list lacks."""
        return bool(self or self._unverified)

    def same_as(self, other: Unknown) -> bool:
        """Whether the same stays. Why members are not known may differ."""
        return self.names == other.names and self._unverified == other._unverified

    def stays(self, label: str) -> bool:
        """Whether an endpoint of our entry stays that is labelled so, though the merged list lacks it.

        Without a label (``""``) it may be anybody's: an earlier version wrote none.
        """
        if label in self._unverified:
            return True
        if not self:
            return False
        return not label or label in self._stay or (bool(self._places) and label not in self._known)

    def __str__(self) -> str:
        named = [f"cluster {cluster} ({why})" for cluster, why in self._members[:NAMED]]
        if len(self._members) > NAMED:
            named.append(f"{len(self._members) - NAMED} more clusters")
        return ", ".join([*named, *(f"the members of {place}" for place in self._places)])


NOBODY = Unknown()
