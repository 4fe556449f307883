"""A real istiod over a control plane, and what it gives a sidecar."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2, struct_pb2
from support.away import whole_answers
from support.controlplane import ControlPlane
from support.missing import tool
from support.processes import Process, free_port, until

TYPES = "type.googleapis.com/envoy.config."
CLUSTER = f"{TYPES}cluster.v3.Cluster"
ENDPOINTS = f"{TYPES}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPES}listener.v3.Listener"
ANSWER_SECONDS = 20
CLIENT = "198.19.255.1"
ENVIRONMENT = {
    "ENABLE_CA_SERVER": "false",
    "ENABLE_LEADER_ELECTION": "false",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "PILOT_CERT_PROVIDER": "none",
    "PILOT_ENABLE_GATEWAY_API": "false",
}
"""Of istiod nothing but what it makes of the API server's objects."""


class Istiod:
    """Reads everything from one control plane."""

    def __init__(self, plane: ControlPlane, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.grpc = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        command = [
            str(tool("pilot-discovery")),
            "discovery",
            f"--kubeconfig={plane.kubeconfig()}",
            f"--grpcAddr={self.grpc}",
            f"--httpAddr={self.http}",
            "--httpsAddr=",
            "--secureGRPCAddr=",
            f"--monitoringAddr=127.0.0.1:{free_port()}",
            "--ctrlz_port=0",
            "--clusterID=a",
            f"--meshConfig={folder / 'mesh'}",
            "--shutdownDuration=0s",
        ]
        (folder / "mesh").write_text("{}")
        env = {**os.environ, **ENVIRONMENT, **(environment or {}), "HOME": str(folder)}
        self.process = Process("istiod", command, folder / "istiod.log", env)

    async def start(self) -> None:
        """Start it, and wait until it has read everything."""
        self.process.start()
        async with aiohttp.ClientSession() as session:

            async def ready() -> bool:
                self.process.check()
                with whole_answers("istiod"):
                    async with session.get(f"http://{self.http}/ready") as response:
                        return response.status == 200

            await until(ready, "istiod is ready", timeout=60)

    def stop(self) -> None:
        self.process.kill()

    async def ask(self, type_url: str, *names: str, namespace: str = "client", zone: str = "") -> list[any_pb2.Any]:
        """What a sidecar of that namespace and zone (``region/zone``) gets."""
        fields = struct_pb2.Struct()
        fields.update({"NAMESPACE": namespace, "CLUSTER_ID": "a", "ISTIO_VERSION": "1.31.0"})
        place = base_pb2.Locality(**dict(zip(("region", "zone"), zone.split("/"), strict=False)))
        name = f"sidecar~{CLIENT}~client.{namespace}~{namespace}.svc.cluster.local"
        node = base_pb2.Node(id=name, metadata=fields, locality=place)
        request = discovery_pb2.DiscoveryRequest(node=node, type_url=type_url, resource_names=names)
        async with grpc.aio.insecure_channel(self.grpc) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
            await call.write(request)
            response = await asyncio.wait_for(call.read(), ANSWER_SECONDS)
            call.cancel()
        return list(response.resources)

    async def clusters(self, host: str, **how: Any) -> set[str]:
        """The names of the host's clusters."""
        found = [cluster_pb2.Cluster.FromString(each.value).name for each in await self.ask(CLUSTER, **how)]
        return {name for name in found if name.endswith(f"|{host}")}

    async def endpoints(self, cluster: str, **how: Any) -> list[Seen]:
        """Those of one cluster, in order."""
        (assignment,) = await self.ask(ENDPOINTS, cluster, **how)
        found = endpoint_pb2.ClusterLoadAssignment.FromString(assignment.value)
        return sorted(_seen(group, each) for group in found.endpoints for each in group.lb_endpoints)

    async def listeners(self, **how: Any) -> dict[str, listener_pb2.Listener]:
        """By name."""
        found = [listener_pb2.Listener.FromString(each.value) for each in await self.ask(LISTENER, **how)]
        return {each.name: each for each in found}

    async def takes_all(self, host: str, **how: Any) -> set[int]:
        """The ports at which a sidecar sends all TCP traffic, to whatever address, to this host."""
        found = set()
        for name, listener in (await self.listeners(**how)).items():
            chains = [each for each in listener.filter_chains if not _tells_apart(each.filter_chain_match)]
            filters = [each for chain in (*chains, listener.default_filter_chain) for each in chain.filters]
            bodies = [each.typed_config.value for each in filters if each.name == "envoy.filters.network.tcp_proxy"]
            clusters = [tcp_proxy_pb2.TcpProxy.FromString(body).cluster for body in bodies]
            if name.startswith("0.0.0.0_") and any(each.endswith(f"|{host}") for each in clusters):
                found.add(listener.address.socket_address.port_value)
        return found


def _tells_apart(match: listener_components_pb2.FilterChainMatch) -> bool:
    return bool(match.server_names or match.application_protocols or match.prefix_ranges)


class Seen(NamedTuple):
    """An endpoint as a sidecar gets it. ``mtls``: it is spoken to with Istio's mTLS."""

    address: str
    port: int
    mtls: bool
    locality: str
    priority: int


def _seen(group: endpoint_components_pb2.LocalityLbEndpoints, endpoint: endpoint_components_pb2.LbEndpoint) -> Seen:
    address = endpoint.endpoint.address.socket_address
    match = endpoint.metadata.filter_metadata.get("envoy.transport_socket_match", struct_pb2.Struct())
    mtls = match.fields["tlsMode"].string_value == "istio" if "tlsMode" in match.fields else False
    locality = "/".join((group.locality.region, group.locality.zone, group.locality.sub_zone))
    return Seen(address.address, address.port_value, mtls, locality, group.priority)
