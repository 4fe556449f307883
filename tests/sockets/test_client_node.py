"""A service for each node's own clients (``internalTrafficPolicy: Local``), and a client that says its Pod, no node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest_asyncio
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.google.protobuf import Struct, Value
from support.registry import RunningRegistry
from support.xds_stream import DEADLINE, Stream

from registry.protos import registry_pb2 as pb
from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, EDS

ECHO = "shop/echo"
NAME = "outbound|80||echo.shop.svc.clusterset.local"


def a_pod(name: str, node: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": node},
        }
    )


def service(policy: str = "Local") -> str:
    """With an endpoint on each of two nodes."""
    there: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "echo", "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80}], "internalTrafficPolicy": policy},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "echo-1",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "echo"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {
                    "addresses": [f"10.0.0.{each}"],
                    "nodeName": f"n{each}",
                    "targetRef": {"kind": "Pod", "namespace": "shop", "name": f"echo-{each}"},
                }
                for each in (1, 2)
            ],
        },
    ]
    return "\n---\n".join(map(json.dumps, there))


def client_of(pod: str) -> Node:
    metadata = Struct(fields={"CLUSTER_ID": Value(string_value="a")})
    return Node(id=f"sidecar~10.0.9.1~{pod}.shop~shop.svc.cluster.local", metadata=metadata)


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningRegistry]:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "echo.yaml").write_text(service())
    (folder / "pod.yaml").write_text(a_pod("known", "n1"))
    async with RunningRegistry(tmp_path, f"--manifests=a={folder}") as it:
        yield it


async def shown(stream: Stream) -> set[str]:
    """The addresses in the next response, ACKed."""
    async with asyncio.timeout(DEADLINE):
        data = await stream.call.read()
    await stream.send(stream.client.ack(stream.client.read(data)))
    (resource,) = discovery_pb2.DeltaDiscoveryResponse.FromString(data).resources
    message = endpoint_pb2.ClusterLoadAssignment.FromString(resource.resource.value)
    return {end.endpoint.address.socket_address.address for group in message.endpoints for end in group.lb_endpoints}


def explained(registry: RunningRegistry, node: Node) -> Any:
    done = registry.command("explain", ECHO, "--client", node.id, "-o", "json", "--server", registry.http)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_client_is_shown_what_is_on_the_node_of_its_pod(running: RunningRegistry) -> None:
    node = client_of("known")
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stream = Stream(channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}", delta=True, node=node)
        await stream.send(stream.client.subscribe(EDS, NAME))
        assert await shown(stream) == {"10.0.0.1"}
        told = explained(running, node)
        assert (told["client"]["place"]["node"], told["client"]["nodeFrom"]) == ("n1", "Pod shop/known of cluster a")
        text = running.command("explain", ECHO, "--client", node.id, "--server", running.http).stdout
        assert "at n1 (node from Pod shop/known of cluster a)" in text


async def test_a_client_that_says_its_address_alone_is_on_the_node_of_the_pod_there(running: RunningRegistry) -> None:
    fields = {"CLUSTER_ID": Value(string_value="a"), "INSTANCE_IPS": Value(string_value="10.0.0.2")}
    node = Node(id="plain", metadata=Struct(fields=fields))
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stream = Stream(channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}", delta=True, node=node)
        await stream.send(stream.client.subscribe(EDS, NAME))
        assert await shown(stream) == {"10.0.0.2"}
        assert explained(running, node)["client"]["nodeFrom"] == "the Pod at 10.0.0.2 of cluster a"


async def test_a_pod_that_becomes_known_later_is_taken_in_then(running: RunningRegistry, tmp_path: Path) -> None:
    node = client_of("later")
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stream = Stream(channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}", delta=True, node=node)
        await stream.send(stream.client.subscribe(EDS, NAME))
        assert await shown(stream) == {"10.0.0.1", "10.0.0.2"}
        assert explained(running, node)["client"]["nodeFrom"] == ""
        (tmp_path / "a" / "later.yaml").write_text(a_pod("later", "n2"))
        assert await shown(stream) == {"10.0.0.2"}
        assert explained(running, node)["client"]["place"]["node"] == "n2"


async def test_a_service_that_comes_to_go_by_nodes_does_so_for_who_is_connected(
    running: RunningRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "a" / "echo.yaml"
    path.write_text(service("Cluster"))
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stream = Stream(channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}", delta=True, node=client_of("known"))
        await stream.send(stream.client.subscribe(EDS, NAME))
        while await shown(stream) != {"10.0.0.1", "10.0.0.2"}:
            pass  # the file may not have been read yet
        path.write_text(service("Local"))
        assert await shown(stream) == {"10.0.0.1"}
        path.write_text(service("Cluster"))
        assert await shown(stream) == {"10.0.0.1", "10.0.0.2"}


async def test_over_the_lookup_api_it_is_the_same(running: RunningRegistry, tmp_path: Path) -> None:
    name = pb.ServiceName(namespace="shop", name="echo")
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        watch = channel.unary_stream(
            "/registry.v1.Registry/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )

        def of(pod: str) -> Any:
            return watch(pb.WatchRequest(services=[name], client=pb.Client(cluster="a", namespace="shop", pod=pod)))

        assert targets(await of("known").read()) == ["10.0.0.1"]
        later = of("later")
        assert targets(await later.read()) == ["10.0.0.1", "10.0.0.2"]
        (tmp_path / "a" / "later.yaml").write_text(a_pod("later", "n2"))
        assert targets(await later.read()) == ["10.0.0.2"]


def targets(update: pb.WatchResponse) -> list[str]:
    (port,) = update.service.ports
    return [target.address for group in port.assignment.groups for target in group.targets]
