"""Addresses and ports that several use: what a client must not be shown twice. Pure.

gRPC refuses an assignment that names an address and port twice, and Envoy counts it double. Of one network no two
endpoints have the same (``registry.index.merge``). Of several, those that a client reaches are gone through in the
order of the networks' names, and one is left out where the client is shown another of its addresses already: so each
address is shown once, and nothing is hidden by what is hidden itself. A gateway that the client is shown stands for an
endpoint at its address: what is behind it is counted there.

What one client reaches beside an endpoint, every client of its kind does that reaches the endpoint. There are few
kinds, so an endpoint's shadows are the same for all views, and are kept as endpoints come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from registry.model.services import Endpoint
from registry.views.place import Place

Use = tuple[str, int]
"""An address and the port there."""

ALL_NETWORKS, OWN_NETWORK = 1, 2
"""Kinds of clients, as bits: such as reach every network, since they say none, and such as reach theirs and those that
are not known. Shifted by ``ON_NODE`` or ``ON_NODE_OF_CLUSTER``: they are shown what is on their node only."""
ON_NODE, ON_NODE_OF_CLUSTER = 2, 4


class Shadow(NamedTuple):
    """An endpoint on ``network`` has the same address and port, and comes first.

    ``audiences`` are the kinds of clients that are shown it, ``entrances`` those of its addresses that are gateways.
    """

    network: str
    audiences: int
    entrances: tuple[Use, ...] = ()


class Sharing(NamedTuple):
    """What of an endpoint's addresses others use too: endpoints that come first, and gateways (``entrances``)."""

    shadows: tuple[Shadow, ...] = ()
    entrances: tuple[Use, ...] = ()


UNSHARED = Sharing()
NO_USES: frozenset[Use] = frozenset()


def audience_of(place: Place, *, by_node: bool) -> int:
    """Of which kind clients at ``place`` are; ``by_node``: a client is shown what is on its node only."""
    kind = OWN_NETWORK if place.network else ALL_NETWORKS
    if not by_node or not place.node:
        return kind
    return kind << (ON_NODE_OF_CLUSTER if place.cluster else ON_NODE)


def in_shadow(shadows: Iterable[Shadow], audience: int, entered: Set[Use]) -> list[Shadow]:
    """Those that count for clients of that kind, who are shown the gateways ``entered``."""
    return [each for each in shadows if each.audiences & audience and entered.isdisjoint(each.entrances)]


class Shadows:
    """The endpoints of one port by the addresses they use; they may come and go, and so may gateways.

    What is told takes effect at the next ``settle``. Of one network no two have the same address and port.
    """

    def __init__(self, port: int, *, by_node: bool) -> None:
        """``by_node``: clients are shown what is on their node only, where they say it."""
        self._port = port
        self._by_node = by_node
        self._users: dict[Use, list[Endpoint]] = {}
        self._entrances: Set[Use] = NO_USES
        self._sharing: dict[int, Sharing] = {}
        """By the ``id`` of an endpoint, as of the last time things were settled; there only when it shares anything."""
        self._unsettled: dict[str, dict[int, Endpoint]] = {}
        """By network, whose sharing is perhaps another."""

    def add(self, endpoint: Endpoint) -> None:
        self._unsettle_behind(endpoint)
        for use in self._uses(endpoint):
            self._users.setdefault(use, []).append(endpoint)
        self._unsettle(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        for use in self._uses(endpoint):
            left = [each for each in self._users[use] if each is not endpoint]
            if left:
                self._users[use] = left
            else:
                del self._users[use]
        self._sharing.pop(id(endpoint), None)
        self._unsettled.get(endpoint.network, {}).pop(id(endpoint), None)
        self._unsettle_behind(endpoint)

    def enter(self, entrances: Set[Use]) -> None:
        """The gateways of all networks are at these from now on."""
        if entrances is not self._entrances:
            for use in entrances ^ self._entrances:
                for endpoint in self._users.get(use, ()):
                    self._unsettle(endpoint)
            self._entrances = entrances

    def of(self, endpoint: Endpoint) -> Sharing:
        """What the endpoint shares, as of the last ``settle``."""
        return self._sharing.get(id(endpoint), UNSHARED)

    def settle(self) -> list[tuple[Endpoint, Sharing]]:
        """Let what was told take effect. Gives the endpoints that share anything else than before, and what it was.

        Costs what depends on what was told: who is behind an endpoint is looked at only when that changed.
        """
        changed = []
        while self._unsettled:
            for endpoint in self._unsettled.pop(min(self._unsettled)).values():
                before, now = self.of(endpoint), self._share(endpoint)
                if now == before:
                    continue
                changed.append((endpoint, before))
                if now is UNSHARED:
                    del self._sharing[id(endpoint)]
                else:
                    self._sharing[id(endpoint)] = now
                self._unsettle_behind(endpoint)
        return changed

    def _unsettle(self, endpoint: Endpoint) -> None:
        self._unsettled.setdefault(endpoint.network, {})[id(endpoint)] = endpoint

    def _unsettle_behind(self, endpoint: Endpoint) -> None:
        for use in self._uses(endpoint):
            for each in self._users.get(use, ()):
                if each.network > endpoint.network:
                    self._unsettle(each)

    def _share(self, endpoint: Endpoint) -> Sharing:
        """As it follows from those on networks that come before its own, which are settled."""
        uses = self._uses(endpoint)
        entrances = tuple([use for use in uses if use in self._entrances])
        shadows = set()
        for use in uses:
            for other in self._users.get(use, ()):
                if other.network < endpoint.network:
                    sharing = self.of(other)
                    shown = self._who_reach_both(other, endpoint) & ~_hidden_from(sharing.shadows)
                    if shown:
                        shadows.add(Shadow(other.network, shown, sharing.entrances))
        return Sharing(tuple(sorted(shadows)), entrances) if shadows or entrances else UNSHARED

    def _who_reach_both(self, one: Endpoint, other: Endpoint) -> int:
        """The kinds of clients that reach ``one`` where they reach the other; it is on a network that comes first.

        Who reaches his own network alone, and those that are not known, reaches two at most.
        """
        kinds = ALL_NETWORKS if one.network else ALL_NETWORKS | OWN_NETWORK
        found = kinds
        if self._by_node and other.node and one.node == other.node:
            found |= kinds << ON_NODE
            if one.locality.sub_zone == other.locality.sub_zone:
                found |= kinds << ON_NODE_OF_CLUSTER
        return found

    def _uses(self, endpoint: Endpoint) -> list[Use]:
        target = endpoint.target(self._port) or 0
        return [(address, target) for address in (endpoint.address, *endpoint.additional_addresses)]


def _hidden_from(shadows: Sequence[Shadow]) -> int:
    """The kinds of clients that are not shown what is in these shadows."""
    found = 0
    for each in shadows:
        found |= each.audiences
    return found
