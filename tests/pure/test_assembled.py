"""An assignment put together from its endpoints' bytes is byte for byte the message built field by field."""

from __future__ import annotations

from itertools import groupby

from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given
from hypothesis import strategies as st

from registry.index.merge import distinct_endpoints
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Endpoint, Health, MergedService, TargetPort
from registry.model.standing import Standing
from registry.views.bundles import HEALTH
from registry.views.eds import OVERPROVISIONING_PERCENT, ServiceAssignments
from registry.views.names import Names
from registry.views.place import NOWHERE
from registry.views.policy import NO_POLICY

KEY = ServiceKey("shop", "echo")
NAMES = Names()
PORTS = (80, 8080)

endpoints = st.builds(
    Endpoint,
    locality=st.builds(Locality, st.sampled_from(["", "r"]), st.sampled_from(["", "z", "zone" * 40]), st.just("a")),
    address=st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
    ports=st.lists(st.builds(TargetPort, st.sampled_from(PORTS), st.integers(1, 65535)), max_size=2).map(tuple),
    cluster=st.just(ClusterId("a")),
    health=st.sampled_from(Health),
    network=st.sampled_from(["", "n"]),
    weight=st.integers(1, 2**20),
    demoted=st.booleans(),
    additional_addresses=st.sampled_from([(), (), ("2001:db8::2",)]),
    standing=st.just(Standing.CURRENT),
)
services = st.lists(endpoints, max_size=40).map(
    lambda members: MergedService(
        KEY, tuple(ServicePort(port, "http") for port in PORTS), distinct_endpoints(members), (ClusterId("a"),)
    )
)


def repeats(service: MergedService, endpoint: Endpoint, port: int) -> bool:
    """Whether a network of a smaller name has the same address and port."""
    own, target = {endpoint.address, *endpoint.additional_addresses}, endpoint.target(port)
    before = (each for each in service.endpoints if each.network < endpoint.network and each.target(port) == target)
    return any(own & {each.address, *each.additional_addresses} for each in before)


def built(service: MergedService, port: int) -> bytes:
    """The message, one field after another."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=NAMES.cluster(KEY, port))
    ranked = sorted(service.endpoints, key=lambda endpoint: (endpoint.demoted, endpoint.locality, endpoint.network))
    used: dict[bool, int] = {}
    all_drain = not any(
        each.health is Health.HEALTHY
        for each in service.endpoints
        if each.target(port) is not None and not repeats(service, each, port)
    )
    for (demoted, locality), members in groupby(ranked, key=lambda endpoint: (endpoint.demoted, endpoint.locality)):
        offering = [each for each in members if each.target(port) is not None and not repeats(service, each, port)]
        if offering:
            group = assignment.endpoints.add()
            group.priority = used.setdefault(demoted, len(used))
            group.locality.SetInParent()
            group.locality.region, group.locality.zone = locality.region, locality.zone
            group.locality.sub_zone = locality.sub_zone
            taking = [each for each in offering if each.health is Health.HEALTHY] or offering
            group.load_balancing_weight.value = sum(each.weight for each in taking)
            for each in offering:
                member = group.lb_endpoints.add(health_status=HEALTH[Health.HEALTHY if all_drain else each.health])
                member.endpoint.address.socket_address.address = each.address
                member.endpoint.address.socket_address.port_value = each.target(port)
                member.load_balancing_weight.value = each.weight
                member.endpoint.hostname = ",".join(each.additional_addresses)  # so that Envoy sees them change
                for address in each.additional_addresses:
                    further = member.endpoint.additional_addresses.add().address.socket_address
                    further.address, further.port_value = address, each.target(port)
    if len(used) > 1:
        assignment.policy.overprovisioning_factor.value = OVERPROVISIONING_PERCENT
    return assignment.SerializeToString(deterministic=True)


@given(st.lists(services, min_size=1, max_size=4))
def test_whatever_the_encoder_saw_before_the_bytes_are_those_of_the_message(history: list[MergedService]) -> None:
    assignments = ServiceAssignments(KEY, NAMES)
    for service in history:
        assignments.update(service, NO_POLICY)
        for port in PORTS:
            assert assignments.show(port, NOWHERE).encode() == built(service, port)
