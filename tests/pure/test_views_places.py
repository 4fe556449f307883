"""What clients of each place are shown of one service, as it is sent: every policy, with one network and with two."""

from __future__ import annotations

import json

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from support import golden
from support.placed import GOLDEN, PLACES, shown

from registry.views.cds import encode_cluster
from registry.views.eds import encode_assignment
from registry.views.names import Names

NAMES = Names()


def assignments(case: str) -> dict[str, bytes]:
    """Place -> what clients there are sent."""
    network, policy, *_ = case.split(".")
    service, traffic, gateways = shown(network, policy)
    return {name: encode_assignment(service, 80, NAMES, place, traffic, gateways) for name, place in PLACES.items()}


def cluster(case: str) -> bytes:
    network, policy, *_ = case.split(".")
    service, traffic, _ = shown(network, policy)
    return encode_cluster(service.key, service.ports[0], NAMES, traffic)


def plain(message: Message) -> dict[str, object]:
    document: dict[str, object] = json.loads(MessageToJson(message, preserving_proto_field_name=True, sort_keys=True))
    return document


@pytest.mark.parametrize("case", GOLDEN)
def test_each_place_is_sent_its_order(case: str) -> None:
    places: dict[bytes, list[str]] = {}
    for name, body in assignments(case).items():
        places.setdefault(body, []).append(name)
    documents = [{"Cluster": plain(cluster_pb2.Cluster.FromString(cluster(case)))}]
    documents += [
        {"places": names, **plain(endpoint_pb2.ClusterLoadAssignment.FromString(body))}
        for body, names in places.items()
    ]
    golden.check(case, "---\n".join(yaml.safe_dump(each, sort_keys=False) for each in documents))


@pytest.mark.parametrize("case", GOLDEN)
def test_an_independent_decoder_reads_it_and_writes_the_same_bytes(case: str) -> None:
    for body in assignments(case).values():
        again = bytes(ClusterLoadAssignment.parse(body))
        ours = endpoint_pb2.ClusterLoadAssignment
        assert ours.FromString(again) == ours.FromString(body)
        assert len(again) == len(body)
    again = bytes(Cluster.parse(cluster(case)))
    assert cluster_pb2.Cluster.FromString(again) == cluster_pb2.Cluster.FromString(cluster(case))


@pytest.mark.parametrize("case", GOLDEN)
def test_no_address_is_there_twice_and_priorities_have_no_gaps(case: str) -> None:
    for body in assignments(case).values():
        message = endpoint_pb2.ClusterLoadAssignment.FromString(body)
        sockets = [end.endpoint.address.socket_address for group in message.endpoints for end in group.lb_endpoints]
        addresses = [(each.address, each.port_value) for each in sockets]
        assert len(set(addresses)) == len(addresses)
        priorities = {group.priority for group in message.endpoints}
        assert priorities == set(range(len(priorities)))
