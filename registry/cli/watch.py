"""``mesh-registry watch``: one service as it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import click
import grpc
from google.protobuf.json_format import MessageToDict

from registry.cli.options import ServiceArgument, grpc_server_address, place_options
from registry.cli.output import JSON, print_json_line, say
from registry.config import Address
from registry.errors import ServerUnavailableError
from registry.model.names import ServiceKey
from registry.protos import registry_pb2 as pb

METHOD = "/registry.v1.Registry/Watch"
TEXT = "text"

Endpoints = Mapping[tuple[str, str], str]
"""Address and cluster, or to a client address and port -> the rest of the line."""


@click.command()
@click.argument("service", type=ServiceArgument())
@click.option(
    "-o", "--output", type=click.Choice([TEXT, JSON]), default=TEXT, show_default=True, help="JSON: one object a line."
)
@place_options
@click.option("--reasons", is_flag=True, help="As a client; with -o json also why of each endpoint.")
@grpc_server_address
def watch(service: ServiceKey, output: str, reasons: bool, server: Address, **place: str) -> None:
    """Show the endpoints of a service, then every change of them, until Ctrl-C.

    Endpoints that came are marked +, those that went -, those that changed ~. With the place of a client (--zone and
    the like) what it is to use is shown, of each port: priority, the weight of the locality, and that of the endpoint.
    """
    request = pb.WatchRequest(services=[pb.ServiceName(namespace=service.namespace, name=service.name)])
    placed = reasons or any(place.values())
    if placed:
        request.client.CopyFrom(_client(**place))
        request.reasons = reasons
    held: Endpoints = {}
    try:
        for response in _responses(service, request, server):
            if output == JSON:
                print_json_line(MessageToDict(response, preserving_proto_field_name=True))
                continue
            endpoints = _targets(response) if placed else _endpoints(response)
            state = "absent" if response.HasField("absent") else f"{len(endpoints)} endpoints"
            say(f"{datetime.now().astimezone():%H:%M:%S.%f}  {service}  {state}")
            say(*(f"  {line}" for line in difference(held, endpoints)))
            held = endpoints
    except KeyboardInterrupt:
        return


def difference(before: Endpoints, after: Endpoints) -> Iterator[str]:
    """What came, changed and went, in the order of addresses."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) == after.get(key):
            continue
        mark = "+" if key not in before else "~" if key in after else "-"
        text = after[key] if key in after else before[key]
        yield f"{mark} {key[0]}  {text}"


def _client(*, cluster: str, region: str, zone: str, network: str, node_name: str, addresses: str) -> pb.Client:
    own = addresses.split(",") if addresses else []
    return pb.Client(cluster=cluster, region=region, zone=zone, network=network, node=node_name, addresses=own)


def _responses(service: ServiceKey, request: pb.WatchRequest, server: Address) -> Iterator[pb.WatchResponse]:
    with grpc.insecure_channel(str(server)) as channel:
        call = channel.unary_stream(
            METHOD,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        try:
            yield from call(request)
        except grpc.RpcError as error:
            raise ServerUnavailableError(
                f"watching {service} at {server} ended: {error.details()} ({error.code().name}); "
                "is that the gRPC address of a registry (--server)?"
            ) from error
    raise ServerUnavailableError(f"the registry at {server} ended the watch of {service}")


def _endpoints(response: pb.WatchResponse) -> Endpoints:
    return {
        (endpoint.address, endpoint.cluster): "  ".join(
            (
                ",".join(f"{port}:{target}" for port, target in sorted(endpoint.ports.items())),
                pb.Health.Name(endpoint.health).removeprefix("HEALTH_"),
                f"{endpoint.locality.region}/{endpoint.locality.zone}/{endpoint.cluster}",
                endpoint.pod or "-",
            )
        )
        for endpoint in response.service.endpoints
    }


def _targets(response: pb.WatchResponse) -> Endpoints:
    """By address and port, and the service's own port."""
    return {
        (_socket(target), f"{port.number}"): "  ".join(
            (
                f"port {port.number}",
                f"priority {group.priority}",
                f"{group.locality.region}/{group.locality.zone}/{group.locality.sub_zone} of weight {group.weight}",
                f"weight {target.weight}",
                "gateway" if target.gateway else pb.Health.Name(target.health).removeprefix("HEALTH_"),
                target.pod or "-",
            )
        )
        for port in response.service.ports
        for group in port.assignment.groups
        for target in group.targets
    }


def _socket(target: pb.Target) -> str:
    return f"[{target.address}]:{target.port}" if ":" in target.address else f"{target.address}:{target.port}"
