"""The endpoints of one service port in bundles: those that no view tells apart, encoded once for all views.

A view orders bundles, of which there are a few per zone, and never looks at endpoints again.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Iterable, Sequence, Set
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2

from registry.index.addresses import family_of
from registry.model.names import Locality
from registry.model.reasons import Reason
from registry.model.services import Endpoint, Health
from registry.model.standing import Standing
from registry.model.trace import Recorder
from registry.views.policy import NO_POLICY, TrafficPolicy
from registry.views.rendered import serialized
from registry.views.shadows import NO_USES, UNSHARED, Shadows, Sharing, Use

HEALTH = {Health.HEALTHY: health_check_pb2.HEALTHY, Health.DRAINING: health_check_pb2.DRAINING}
DIGEST_BYTES = 8
NETWORK = attrgetter("network")


class Traits(NamedTuple):
    """All that a view can tell endpoints by. ``node`` is empty unless the policy goes by nodes.

    ``sharing`` says who else uses the same address and port, so that no client is shown it twice. ``standing`` is as
    ``Endpoint`` has it: clients in its own cluster are shown what others are not.
    """

    locality: Locality
    network: str
    demoted: bool
    node: str
    tier: int
    sharing: Sharing = UNSHARED
    standing: Standing = Standing.CURRENT


class Group:
    """Endpoints alike in their traits, in their order, each with its bytes and their hash; they may come and go.

    ``ready`` is how many of them are healthy, ``weight`` the sum of all their weights, ``ready_weight`` that of the
    healthy ones, ``several`` how many have more than one address.
    """

    __slots__ = ("_turned", "bodies", "digests", "endpoints", "ready", "ready_weight", "several", "weight")

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.bodies: list[bytes] = []
        self.digests: list[bytes] = []
        self.ready = self.ready_weight = self.weight = self.several = 0
        self._turned: dict[int, dict[tuple[str, bool], tuple[bytes, bytes]]] = {}
        """By the ``id`` of an endpoint, its bytes and their hash as other clients see it: see ``seen``."""

    def add(self, endpoint: Endpoint, body: bytes) -> None:
        position = bisect(self.endpoints, endpoint)
        self.endpoints.insert(position, endpoint)
        self.bodies.insert(position, body)
        self.digests.insert(position, _digest(body))
        self._count(endpoint, 1)

    def remove(self, endpoint: Endpoint) -> bytes:
        """Take it out; its bytes."""
        position = bisect_left(self.endpoints, endpoint)
        body = self.bodies[position]
        self._turned.pop(id(self.endpoints[position]), None)
        del self.endpoints[position], self.bodies[position], self.digests[position]
        self._count(endpoint, -1)
        return body

    def seen(self, family: str, port: int, *, last: bool) -> Group:
        """The group as clients of that family see it, ``last`` as in ``seen``; itself where nothing is different."""
        bodies, digests = self.bodies.copy(), self.digests.copy()
        for position, endpoint in enumerate(self.endpoints):
            turned = seen(endpoint, family, last=last)
            if turned is not endpoint:
                known = self._turned.setdefault(id(endpoint), {})
                found = known.get((family, last))
                if found is None:
                    body = _encode(turned, port)
                    found = known[family, last] = body, _digest(body)
                bodies[position], digests[position] = found
        if bodies == self.bodies:
            return self
        other = Group()
        other.endpoints, other.bodies, other.digests = self.endpoints, bodies, digests
        other.ready, other.ready_weight, other.weight = self.ready, self.ready_weight, self.weight
        return other

    def _count(self, endpoint: Endpoint, sign: int) -> None:
        self.weight += sign * endpoint.weight
        self.several += sign * bool(endpoint.additional_addresses)
        if endpoint.health is Health.HEALTHY:
            self.ready += sign
            self.ready_weight += sign * endpoint.weight


class Bundle:
    """A group as it is now. ``body`` has its endpoints as fields of a LocalityLbEndpoints, ``digest`` their hashes.

    The hashes stand one after another, so that a version is the same however endpoints are divided into bundles.

    ``pieces`` is for whoever puts assignments together: by priority, what stands around the body.
    """

    __slots__ = (
        *("_group", "_seen", "body", "digest", "endpoints", "pieces"),
        *("ready", "ready_weight", "traits", "weight"),
    )

    def __init__(self, traits: Traits, group: Group) -> None:
        self._group = group if group.several or group.ready < len(group.endpoints) else None
        self._seen: dict[tuple[str, bool], Bundle] = {}
        self.traits = traits
        self.endpoints = tuple(group.endpoints)
        self.body = b"".join(group.bodies)
        self.digest = b"".join(group.digests)
        self.pieces: dict[int, tuple[tuple[bytes, ...], bytes]] = {}
        self.ready, self.ready_weight, self.weight = group.ready, group.ready_weight, group.weight

    def seen(self, family: str, port: int, *, last: bool) -> Bundle:
        """The bundle as clients of that family see it, as long as it is the latest of its group; ``last`` as in
        ``seen``."""
        if self._group is None or not (family or last):
            return self
        found = self._seen.get((family, last))
        if found is None:
            group = self._group.seen(family, port, last=last)
            found = self._seen[family, last] = self if group is self._group else Bundle(self.traits, group)
        return found

    def takers(self, *, last: bool) -> int:
        """How many of its endpoints take new requests: the healthy ones, and all where these are the ``last``."""
        return len(self.endpoints) if last else self.ready

    def taken(self, *, last: bool) -> int:
        """The weight of those."""
        return self.weight if last else self.ready_weight


class PortBundles:
    """The bundles of one port, time and again: what stays the same is neither looked at nor encoded again.

    An endpoint that is the same object as before is the same endpoint. So the cost of an update is that of the
    endpoints that came and went, and of their bundles; the others are only counted.
    """

    def __init__(self, port: int, recorder: Recorder | None = None) -> None:
        self._port = port
        self._recorder = recorder
        self._policy = NO_POLICY
        self._endpoints: dict[int, Endpoint] = {}
        """Those of the last time, by ``id``, which stays theirs as long as they are kept here."""
        self._groups: dict[Traits, Group] = {}
        self._bundles: dict[Traits, Bundle] = {}
        self._shadows: Shadows | None = None
        """Only while there is more than one network."""

    def update(
        self, endpoints: Sequence[Endpoint], policy: TrafficPolicy, entrances: Set[Use] = NO_USES
    ) -> tuple[Bundle, ...]:
        """The bundles of those endpoints that offer the port, ordered by traits; what the policy leaves out is in none.

        No two endpoints are equal, and no two of one network have the same address and port. ``entrances`` are where
        the gateways of all networks are.
        """
        several = len(set(map(NETWORK, endpoints))) > 1
        if policy != self._policy or several is not (self._shadows is not None):
            self._policy = policy
            self._shadows = Shadows(self._port, by_node=policy.local_only) if several else None
            self._endpoints.clear()
            self._groups.clear()
            self._bundles.clear()
        before, self._endpoints = self._endpoints, dict(zip(map(id, endpoints), endpoints, strict=True))
        touched: set[Traits] = set()
        for each in before.keys() - self._endpoints.keys():
            self._leave(before[each], touched)
        came = [endpoint for known, endpoint in self._endpoints.items() if known not in before]
        came = [endpoint for endpoint in came if self._is_offered(endpoint)]
        if self._shadows is not None:
            self._cross(self._shadows, came, entrances, touched)
        for endpoint in came:
            self._put(endpoint, self._traits(endpoint), _encode(endpoint, self._port), touched)
        self._renew(touched)
        return tuple(self._bundles.values())

    def _leave(self, endpoint: Endpoint, touched: set[Traits]) -> None:
        """It is in no group any more; ``touched`` are groups that changed."""
        if self._tier(endpoint) is None:
            return
        self._take_out(endpoint, self._traits(endpoint), touched)
        if self._shadows is not None:
            self._shadows.remove(endpoint)

    def _is_offered(self, endpoint: Endpoint) -> bool:
        """Whether it has a part in the views: it offers the port, and the policy has a place for it."""
        if self._tier(endpoint) is not None:
            return True
        if self._recorder is not None:
            offered = endpoint.target(self._port) is not None
            self._recorder.note(endpoint, Reason.FAILOVER_NONE if offered else Reason.PORT_NOT_OFFERED)
        return False

    def _cross(self, shadows: Shadows, came: Sequence[Endpoint], entrances: Set[Use], touched: set[Traits]) -> None:
        """Those that are there and share other addresses than before, into other groups, with their bytes."""
        shadows.enter(entrances)
        for endpoint in came:
            shadows.add(endpoint)
        new = set(map(id, came))
        moved = [(each, self._traits(each, sharing)) for each, sharing in shadows.settle() if id(each) not in new]
        bodies = [self._take_out(endpoint, traits, touched) for endpoint, traits in moved]
        for (endpoint, _), body in zip(moved, bodies, strict=True):
            self._put(endpoint, self._traits(endpoint), body, touched)

    def _put(self, endpoint: Endpoint, traits: Traits, body: bytes, touched: set[Traits]) -> None:
        self._groups.setdefault(traits, Group()).add(endpoint, body)
        touched.add(traits)

    def _take_out(self, endpoint: Endpoint, traits: Traits, touched: set[Traits]) -> bytes:
        group = self._groups[traits]
        body = group.remove(endpoint)
        if not group.endpoints:
            del self._groups[traits]
        touched.add(traits)
        return body

    def _tier(self, endpoint: Endpoint) -> int | None:
        """None where it does not offer the port, or the policy leaves it out."""
        if endpoint.target(self._port) is None:
            return None
        return self._policy.tier(endpoint) if self._policy.failover else 0

    def _traits(self, endpoint: Endpoint, sharing: Sharing | None = None) -> Traits:
        """What the views tell it by, where it has a part in them; ``sharing`` is by default what it shares now."""
        if sharing is None:
            sharing = self._shadows.of(endpoint) if self._shadows is not None else UNSHARED
        node = endpoint.node if self._policy.by_node else ""
        tier = self._tier(endpoint) or 0
        return Traits(endpoint.locality, endpoint.network, endpoint.demoted, node, tier, sharing, endpoint.standing)

    def _renew(self, touched: Iterable[Traits]) -> None:
        """Make the bundles of these groups anew, and those that are not there."""
        known = self._bundles.keys() == self._groups.keys()
        for traits in {*touched, *(self._groups.keys() - self._bundles.keys())}:
            group = self._groups.get(traits)
            if group is not None:
                self._bundles[traits] = Bundle(traits, group)
        if not known:
            self._bundles = {traits: self._bundles[traits] for traits in sorted(self._groups)}


def weight_of(bundles: Iterable[Bundle]) -> int:
    """What a locality with these takes: the weight of the healthy endpoints. Where there are none it is that of all,
    since a locality without a weight is no valid one; nobody is sent there as long as others are healthy."""
    found = [(bundle.ready_weight, bundle.weight) for bundle in bundles]
    return sum([ready for ready, _ in found]) or sum([weight for _, weight in found])


def seen(endpoint: Endpoint, family: str, *, last: bool) -> Endpoint:
    """The endpoint as clients of that family are shown it.

    ``last``: none of what the client is shown is healthy. Then endpoints that drain take its requests (KEP-1669), and
    are told as healthy: gRPC leaves out all others (gRFC A27), so that every call would fail.
    """
    turned = facing(endpoint, family)
    return turned._replace(health=Health.HEALTHY) if last and turned.health is not Health.HEALTHY else turned


def facing(endpoint: Endpoint, family: str) -> Endpoint:
    """The endpoint with an address of ``family`` first; itself where that is so, or it has none, or none is asked."""
    if not family or not endpoint.additional_addresses or family_of(endpoint.address) == family:
        return endpoint
    first = next((each for each in endpoint.additional_addresses if family_of(each) == family), None)
    if first is None:
        return endpoint
    others = [each for each in (endpoint.address, *endpoint.additional_addresses) if each != first]
    return endpoint._replace(address=first, additional_addresses=tuple(others))


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=DIGEST_BYTES).digest()


def _encode(endpoint: Endpoint, port: int) -> bytes:
    """An LbEndpoint, as a field of its LocalityLbEndpoints, of an endpoint that offers the port."""
    target = endpoint.target(port) or 0
    return encode_endpoint(endpoint.address, target, endpoint.weight, endpoint.health, endpoint.additional_addresses)


def encode_endpoint(
    address: str, port: int, weight: int, health: Health = Health.HEALTHY, additional: Sequence[str] = ()
) -> bytes:
    """An LbEndpoint as a field of its LocalityLbEndpoints.

    ``additional`` addresses are tried when the first does not answer (RFC 8305, "Happy Eyeballs"; gRFC A61). Clients
    that know nothing of them use the first. They are the host name as well: Envoy takes no other addresses for a host
    whose first address it knows already, unless something it is told apart by is another, and the name is. Nothing else
    goes by that name, as long as no route has ``auto_host_rewrite`` (gRFC A81) and no cluster health checks.
    """
    group = endpoint_components_pb2.LocalityLbEndpoints()
    message = group.lb_endpoints.add(health_status=HEALTH[health])
    message.endpoint.address.socket_address.address = address
    message.endpoint.address.socket_address.port_value = port
    message.endpoint.hostname = ",".join(additional)
    for each in additional:
        further = message.endpoint.additional_addresses.add().address.socket_address
        further.address, further.port_value = each, port
    message.load_balancing_weight.value = weight
    return serialized(group)
