"""ClusterLoadAssignment: the endpoints of one service port, in the order of a client's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import lru_cache, partial
from hashlib import blake2b

from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from registry.model.facts import AddressType
from registry.model.gateways import Gateways
from registry.model.names import Locality, ServiceKey
from registry.model.services import Endpoint, MergedService
from registry.model.standing import Standing
from registry.model.trace import Recorder
from registry.views.bundles import Bundle, PortBundles, encode_endpoint, weight_of
from registry.views.layouts import Layouts
from registry.views.names import Names
from registry.views.order import Arrangement, Slot, arrange
from registry.views.place import NOWHERE, Place
from registry.views.policy import NO_POLICY, Distribution, TrafficPolicy
from registry.views.recorded import tell_family
from registry.views.rendered import delimiter, serialized
from registry.views.shadows import NO_USES, Use

ENDPOINTS = endpoint_pb2.ClusterLoadAssignment.ENDPOINTS_FIELD_NUMBER
VERSION_BYTES = 8
OVERPROVISIONING_PERCENT = 10_000
"""So much that Envoy, like gRPC, leaves a priority only when nobody in it is healthy, and takes locality weights as
they are: what overflows was reckoned before (``registry.views.order``)."""

NO_GATEWAYS: Gateways = {}
NOTHING_SHOWN = (None, None)


class Assignment:
    """What clients of some places are shown of one port. ``version`` is a hash of what ``encode`` gives."""

    __slots__ = ("encode", "version")

    def __init__(self, encode: Callable[[], bytes], version: str) -> None:
        self.encode = encode
        self.version = version


class ServiceAssignments:
    """The assignments of one service for all places, time and again.

    An endpoint is encoded once as long as it stays the same; a view only orders bundles of endpoints. Views that come
    to the same arrangement get the same ``Assignment``. Fields of a protobuf message may be put together from pieces
    (protobuf.dev, "Encoding", "Last One Wins"): an assignment is its endpoints' bytes joined, in the order protobuf
    itself would write them.
    """

    def __init__(self, key: ServiceKey, names: Names, recorder: Callable[[int], Recorder] | None = None) -> None:
        """``recorder`` gives, for a port, the one to be told what is decided of each endpoint."""
        self._key = key
        self._recorder = recorder
        self._names = names
        self._ports: dict[int, PortBundles] = {}
        self._service = MergedService(key, (), (), ())
        self._policy = NO_POLICY
        self._gateways = NO_GATEWAYS
        self._entrances: Set[Use] = NO_USES
        self._expected: dict[Locality, int] = {}
        self._bundles: dict[int, tuple[Bundle, ...]] = {}
        self._layouts: dict[int, Layouts] = {}
        self._seen: dict[tuple[int, str, bool], tuple[Bundle, ...]] = {}
        """The bundles of a port as clients of a family see them, or those to whom nobody else is shown
        (``registry.views.bundles.seen``); the same tuple where that makes no difference."""
        self._shown: dict[tuple[int, int, int], tuple[Arrangement, Assignment]] = {}
        """By port and the ``id`` of an arrangement, which is kept beside, and of the bundles."""

    def update(self, service: MergedService, policy: TrafficPolicy, gateways: Gateways = NO_GATEWAYS) -> None:
        """From now on show ``service`` in this state."""
        if (policy, gateways) != (self._policy, self._gateways):
            self._layouts.clear()
            self._entrances = frozenset([each[:2] for network in gateways.values() for each in network])
        self._service, self._policy, self._gateways = service, policy, gateways
        self._expected = {each.locality: each.endpoints for each in service.expected}
        self._bundles.clear()
        self._seen.clear()
        self._shown.clear()
        for port in self._ports.keys() - {port.port for port in service.ports}:
            del self._ports[port]
            self._layouts.pop(port, None)

    def bundles(self, port: int) -> tuple[Bundle, ...]:
        """The endpoints that offer ``port``, as the views order them."""
        found = self._bundles.get(port)
        if found is None:
            encoder = self._ports.get(port)
            if encoder is None:
                encoder = self._ports[port] = PortBundles(port, self._recorder(port) if self._recorder else None)
            service = self._service
            endpoints = (*service.endpoints, *service.evicted) if service.evicted else service.endpoints
            found = self._bundles[port] = encoder.update(endpoints, self._policy, self._entrances)
            self._layouts.setdefault(port, Layouts()).update(found)
        return found

    def forget(self, port: int, place: Place) -> list[Assignment]:
        """Nobody at ``place`` looks at ``port`` any more. Gives what nobody else is shown either, and is forgotten."""
        arrangement = self._layouts[port].forget(place) if port in self._layouts else None
        if arrangement is None:
            return []
        variants = [(port, family, last) for family in ("", *AddressType) for last in (False, True)]
        seen = [self._bundles.get(port), *map(self._seen.get, variants)]
        keys = {(port, id(arrangement), id(bundles)) for bundles in seen}
        return [self._shown.pop(key)[1] for key in keys & self._shown.keys()]

    def arrangement(self, port: int, place: Place) -> Arrangement:
        """The order of the port's bundles for clients at ``place``."""
        bundles = self.bundles(port)
        expected = self._should_have(port)
        if self._recorder is not None:
            tell_family(self._recorder(port), bundles, place.family)
            return arrange(bundles, place, self._policy, expected, self._gateways, self._recorder(port))
        return self._layouts[port].of(
            place, lambda place: arrange(bundles, place, self._policy, expected, self._gateways)
        )

    def _should_have(self, port: int) -> dict[Locality, int]:
        """How many endpoints of the port each locality should have: none where its cluster does not expose it."""
        without = {cluster for number, cluster in self._service.unexposed if number == port}
        if not without:
            return self._expected
        return {locality: count for locality, count in self._expected.items() if locality.sub_zone not in without}

    def show(self, port: int, place: Place) -> Assignment:
        """What clients at ``place`` are shown of ``port``: empty of endpoints, but there, when nobody offers it."""
        arrangement = self.arrangement(port, place)
        bundles = self._as_seen(port, place.family, last=arrangement.last)
        key = (port, id(arrangement), id(bundles))
        _, shown = self._shown.get(key, NOTHING_SHOWN)
        if shown is None:
            shown = self._assignment(port, arrangement, bundles)
            self._shown[key] = (arrangement, shown)
        return shown

    def _as_seen(self, port: int, family: str, *, last: bool) -> tuple[Bundle, ...]:
        """The port's bundles with the addresses of ``family`` first; ``last``: nobody else is shown."""
        bundles = self.bundles(port)
        if not (family or last):
            return bundles
        found = self._seen.get((port, family, last))
        if found is None:
            seen = tuple([bundle.seen(family, port, last=last) for bundle in bundles])
            found = self._seen[port, family, last] = bundles if seen == bundles else seen
        return found

    def _assignment(self, port: int, arrangement: Arrangement, bundles: tuple[Bundle, ...]) -> Assignment:
        parts = [_head(self._names.cluster(self._key, port))]
        digests = [parts[0]]
        for slot in arrangement.slots:
            pieces, digest = _pieces(slot, bundles)
            parts += pieces
            digests.append(digest)
        parts.append(_policy(arrangement, self._policy))
        digests.append(parts[-1])
        version = blake2b(b"".join(digests), digest_size=VERSION_BYTES).hexdigest()
        return Assignment(partial(b"".join, parts), version)


def encode_assignment(
    service: MergedService,
    port: int,
    names: Names,
    place: Place = NOWHERE,
    policy: TrafficPolicy = NO_POLICY,
    gateways: Gateways = NO_GATEWAYS,
) -> bytes:
    """The bytes of one assignment, for once."""
    assignments = ServiceAssignments(service.key, names)
    assignments.update(service, policy, gateways)
    return assignments.show(port, place).encode()


def ranks(endpoints: Sequence[Endpoint]) -> tuple[Sequence[Endpoint], ...]:
    """The endpoints by priority where no place is known: those in doubt after the others."""
    doubted = [endpoint for endpoint in endpoints if endpoint.demoted]
    return ([each for each in endpoints if not each.demoted], doubted) if doubted else (endpoints,)


def seen_from(service: MergedService, cluster: str) -> Sequence[Endpoint]:
    """The endpoints as clients in ``cluster`` see them; ``service.endpoints`` itself unless the cluster is in doubt."""
    own = [each for each in service.evicted if each.cluster == cluster]
    if not own and not any(each.standing is Standing.DEMOTED and each.cluster == cluster for each in service.endpoints):
        return service.endpoints
    others = (
        each._replace(demoted=False) if each.standing is Standing.DEMOTED and each.cluster == cluster else each
        for each in service.endpoints
    )
    return sorted([*others, *own])


Pieces = tuple[tuple[bytes, ...], bytes]
"""The bytes of a LocalityLbEndpoints in pieces, and what stands for them in the version."""


def _pieces(slot: Slot, bundles: Sequence[Bundle]) -> Pieces:
    """A slot's bytes. That of a single bundle with its own weight is the same for all views that give it a priority."""
    if len(slot.bundles) > 1 or slot.gateways:
        return _make_pieces(slot, [bundles[each] for each in slot.bundles])
    bundle = bundles[slot.bundles[0]]
    if slot.weight != weight_of([bundle]):
        return _make_pieces(slot, [bundle])
    found = bundle.pieces.get(slot.priority)
    if found is None:
        found = bundle.pieces[slot.priority] = _make_pieces(slot, [bundle])
    return found


def _make_pieces(slot: Slot, bundles: Sequence[Bundle]) -> Pieces:
    before, after = _around(slot.locality, slot.weight, slot.priority)
    gateways = _gateways(slot)
    size = len(before) + sum([len(bundle.body) for bundle in bundles]) + len(gateways) + len(after)
    pieces = (delimiter(ENDPOINTS, size), before, *[bundle.body for bundle in bundles], gateways, after)
    return pieces, b"".join((before, *[bundle.digest for bundle in bundles], gateways, after))


@lru_cache(maxsize=1 << 12)
def _head(name: str) -> bytes:
    return serialized(endpoint_pb2.ClusterLoadAssignment(cluster_name=name))


@lru_cache(maxsize=1 << 12)
def _around(locality: Locality, weight: int, priority: int) -> tuple[bytes, bytes]:
    """What stands before and after the endpoints of a LocalityLbEndpoints: locality, weight and priority (1, 3, 5).

    gRPC ignores a locality without a weight (gRFC A27).
    """
    before = endpoint_components_pb2.LocalityLbEndpoints()
    before.locality.region = locality.region
    before.locality.zone = locality.zone
    before.locality.sub_zone = locality.sub_zone
    after = endpoint_components_pb2.LocalityLbEndpoints()
    after.load_balancing_weight.value = weight
    after.priority = priority
    return serialized(before), serialized(after)


def _gateways(slot: Slot) -> bytes:
    if not slot.gateways:
        return b""
    return b"".join(encode_endpoint(gateway.address, gateway.port, weight) for gateway, weight in slot.gateways)


def _policy(arrangement: Arrangement, policy: TrafficPolicy) -> bytes:
    """The field ``policy``, where there is anything that Envoy would else overflow by its own reckoning."""
    shared = policy.distribution is Distribution.WEIGHTED and len(arrangement.slots) > 1
    if not shared and len({slot.priority for slot in arrangement.slots}) < 2:
        return b""
    return _OVERPROVISIONING


def _overprovisioning() -> bytes:
    message = endpoint_pb2.ClusterLoadAssignment()
    message.policy.overprovisioning_factor.value = OVERPROVISIONING_PERCENT
    return serialized(message)


_OVERPROVISIONING = _overprovisioning()
