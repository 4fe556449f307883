"""The endpoints of one service port in bundles: those that no view tells apart, encoded once for all views.

A view orders bundles, of which there are a few per zone, and never looks at endpoints again.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2

from registry.model.names import Locality
from registry.model.services import Endpoint, Health
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.rendered import serialized

HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}
DIGEST_BYTES = 16


class Traits(NamedTuple):
    """All that a view can tell endpoints by. ``node`` is empty unless the policy goes by nodes.

    ``shadows`` are other networks that come first and have the same address and port: a client that reaches those must
    not be shown it twice, since gRPC refuses an assignment that repeats one.
    """

    locality: Locality
    network: str
    demoted: bool
    node: str
    tier: int
    shadows: tuple[str, ...] = ()


class Bundle:
    """Endpoints alike in ``traits``. ``body`` has them as fields of a LocalityLbEndpoints, ``digest`` is its hash.

    ``ready`` is how many of them are healthy, ``weight`` the sum of all their weights, ``ready_weight`` that of the
    healthy ones.
    """

    __slots__ = ("body", "digest", "endpoints", "ready", "ready_weight", "traits", "weight")

    def __init__(self, traits: Traits, endpoints: Sequence[Endpoint], bodies: Sequence[bytes]) -> None:
        ready = [each.weight for each in endpoints if each.health is Health.HEALTHY]
        self.traits = traits
        self.endpoints = tuple(endpoints)
        self.body = b"".join(bodies)
        self.digest = blake2b(self.body, digest_size=DIGEST_BYTES).digest()
        self.ready = len(ready)
        self.ready_weight = sum(ready)
        self.weight = sum([each.weight for each in endpoints])


class PortBundles:
    """The bundles of one port, time and again: what stays the same is neither looked at nor encoded again.

    An endpoint that is the same object as before is the same endpoint. So the cost of an update is that of the
    endpoints that came and went, and of their bundles; the others are only counted.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._policy = NO_POLICY
        self._endpoints: dict[int, Endpoint] = {}
        """Those of the last time, by ``id``, which stays theirs as long as they are kept here."""
        self._encoded: dict[int, bytes] = {}
        self._groups: dict[Traits, list[Endpoint]] = {}
        """Each in its order."""
        self._bundles: dict[Traits, Bundle] = {}

    def update(self, endpoints: Iterable[Endpoint], policy: TrafficPolicy) -> tuple[Bundle, ...]:
        """The bundles of those endpoints that offer the port, ordered by traits; what the policy leaves out is in none.

        No two endpoints of one network have the same address and port.
        """
        if policy != self._policy:
            self._policy = policy
            for table in (self._endpoints, self._encoded, self._groups, self._bundles):
                table.clear()
        before, self._endpoints = self._endpoints, {id(each): each for each in endpoints}
        touched = {self._leave(before[each], each) for each in before.keys() - self._endpoints.keys()}
        touched |= {self._come(self._endpoints[each], each) for each in self._endpoints.keys() - before.keys()}
        if len({traits.network for traits in self._groups}) > 1:
            groups = self._shadowed(self._groups)
            self._bundles = {traits: self._bundle(traits, groups[traits]) for traits in sorted(groups)}
        else:
            self._renew(touched)
        return tuple(self._bundles.values())

    def _leave(self, endpoint: Endpoint, name: int) -> Traits | None:
        traits = self._traits(endpoint) if self._encoded.pop(name) else None
        if traits is not None:
            group = self._groups[traits]
            del group[next(position for position, each in enumerate(group) if each is endpoint)]
            if not group:
                del self._groups[traits]
        return traits

    def _come(self, endpoint: Endpoint, name: int) -> Traits | None:
        body = self._encoded[name] = _encode(endpoint, self._port)
        traits = self._traits(endpoint) if body else None
        if traits is not None:
            insort(self._groups.setdefault(traits, []), endpoint)
        return traits

    def _traits(self, endpoint: Endpoint) -> Traits | None:
        """What the views tell it by; None where the policy leaves it out."""
        tier = self._policy.tier(endpoint) if self._policy.failover else 0
        if tier is None:
            return None
        node = endpoint.node if self._policy.distribution is Distribution.PREFER_SAME_NODE else ""
        return Traits(endpoint.locality, endpoint.network, endpoint.demoted, node, tier)

    def _renew(self, touched: Iterable[Traits | None]) -> None:
        """Make the bundles of these groups anew."""
        known = self._bundles.keys() == self._groups.keys()
        for traits in touched:
            if traits is not None and traits in self._groups:
                self._bundles[traits] = self._bundle(traits, self._groups[traits])
        if not known:
            self._bundles = {traits: self._bundles[traits] for traits in sorted(self._groups)}

    def _shadowed(self, groups: Mapping[Traits, Sequence[Endpoint]]) -> dict[Traits, list[Endpoint]]:
        """The groups divided by which networks, before their own, use the same address and port."""
        users: dict[tuple[str, int | None], set[str]] = {}
        for endpoints in groups.values():
            for each in endpoints:
                for address in (each.address, *each.additional_addresses):
                    users.setdefault((address, each.target(self._port)), set()).add(each.network)
        divided: dict[Traits, list[Endpoint]] = {}
        for traits, endpoints in groups.items():
            for each in endpoints:
                addresses = (each.address, *each.additional_addresses)
                others = set().union(*(users[address, each.target(self._port)] for address in addresses))
                shadows = tuple(sorted(other for other in others if other < each.network))
                divided.setdefault(traits._replace(shadows=shadows), []).append(each)
        return divided

    def _bundle(self, traits: Traits, endpoints: list[Endpoint]) -> Bundle:
        before = self._bundles.get(traits)
        if before is not None and before.endpoints == tuple(endpoints):
            return before
        return Bundle(traits, endpoints, [self._encoded[id(each)] for each in endpoints])


def _encode(endpoint: Endpoint, port: int) -> bytes:
    """An LbEndpoint, as a field of its LocalityLbEndpoints; empty where the endpoint does not offer the port."""
    target = endpoint.target(port)
    if target is None:
        return b""
    return encode_endpoint(endpoint.address, target, endpoint.weight, endpoint.health, endpoint.additional_addresses)


def encode_endpoint(
    address: str, port: int, weight: int, health: Health = Health.HEALTHY, additional: Sequence[str] = ()
) -> bytes:
    """An LbEndpoint as a field of its LocalityLbEndpoints.

    ``additional`` addresses are tried when the first does not answer (RFC 8305, "Happy Eyeballs"; gRFC A61). Clients
    that know nothing of them use the first.
    """
    group = endpoint_components_pb2.LocalityLbEndpoints()
    message = group.lb_endpoints.add(health_status=HEALTH[health])
    message.endpoint.address.socket_address.address = address
    message.endpoint.address.socket_address.port_value = port
    for each in additional:
        further = message.endpoint.additional_addresses.add().address.socket_address
        further.address, further.port_value = each, port
    message.load_balancing_weight.value = weight
    return serialized(group)
