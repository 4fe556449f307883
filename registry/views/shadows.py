"""Networks that use the same addresses: what a client that reaches several of them must not be shown twice. Pure."""

from __future__ import annotations

from typing import NamedTuple

from registry.model.services import Endpoint

Use = tuple[str, int]
"""An address and the port there."""


class Shadow(NamedTuple):
    """Another network where the same address and port is used, and which comes first.

    ``cluster`` and ``node`` are empty unless the policy shows clients what is on their nodes only.
    """

    network: str
    cluster: str = ""
    node: str = ""


class Shadows:
    """The endpoints of one port by the addresses they use; they may come and go.

    Of one network no two have the same address and port. An endpoint is in the shadow of those on networks that come
    before its own, by name, and have one of its addresses and its port.
    """

    def __init__(self, port: int, *, by_node: bool) -> None:
        """``by_node``: shadows say their cluster and node."""
        self._port = port
        self._by_node = by_node
        self._users: dict[Use, list[Endpoint]] = {}

    def add(self, endpoint: Endpoint) -> None:
        for use in self._uses(endpoint):
            self._users.setdefault(use, []).append(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        for use in self._uses(endpoint):
            left = [each for each in self._users[use] if each is not endpoint]
            if left:
                self._users[use] = left
            else:
                del self._users[use]

    def of(self, endpoint: Endpoint) -> tuple[Shadow, ...]:
        """Those the endpoint is in, in order."""
        found = {self._shadow(each) for each in self._others(endpoint) if each.network < endpoint.network}
        return tuple(sorted(found))

    def behind(self, endpoint: Endpoint) -> list[Endpoint]:
        """Which others are in another shadow when the endpoint comes or goes; each once."""
        found = {id(each): each for each in self._others(endpoint) if each.network > endpoint.network}
        return list(found.values())

    def _shadow(self, endpoint: Endpoint) -> Shadow:
        return Shadow(endpoint.network, *((endpoint.locality.sub_zone, endpoint.node) if self._by_node else ()))

    def _others(self, endpoint: Endpoint) -> list[Endpoint]:
        return [each for use in self._uses(endpoint) for each in self._users.get(use, ())]

    def _uses(self, endpoint: Endpoint) -> list[Use]:
        target = endpoint.target(self._port) or 0
        return [(address, target) for address in (endpoint.address, *endpoint.additional_addresses)]
