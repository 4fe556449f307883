"""``mesh-registry watch``: one service as it changes."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime

import click
import grpc
from google.protobuf.json_format import MessageToDict

from registry.cli.options import ServiceArgument, grpc_server_address, place_options
from registry.cli.output import JSON, print_json_line, say
from registry.cli.probe import HTTP2, mismatch
from registry.cli.proxies import proxy_to, with_credentials
from registry.cli.server import Server
from registry.errors import ServerUnavailableError
from registry.model.names import ServiceKey
from registry.protos import registry_pb2 as pb

METHOD = "/registry.v1.Registry/Watch"
TEXT = "text"
NOT_UNDERSTOOD = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
MEND = "is that the gRPC address of a registry (--server)?"
TRUST = "name the file of the authority that signed its certificate in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"

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
def watch(service: ServiceKey, output: str, reasons: bool, server: Server, **place: str) -> None:
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


def _responses(service: ServiceKey, request: pb.WatchRequest, server: Server) -> Iterator[pb.WatchResponse]:
    with _channel(server) as channel:
        call = channel.unary_stream(
            METHOD,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        try:
            stream = call(request)
            threading.Thread(target=_cancel_when_unread, args=(stream,), daemon=True).start()
            yield from stream
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED:
                return
            other = mismatch(server, HTTP2) if error.code() in NOT_UNDERSTOOD else ""
            mend = TRUST if "CERTIFICATE_VERIFY_FAILED" in (error.details() or "") else MEND
            raise ServerUnavailableError(
                other or f"watching {service} at {server} ended: {error.details()} ({error.code().name}); {mend}"
            ) from error
    raise ServerUnavailableError(f"the registry at {server} ended the watch of {service}")


def _cancel_when_unread(stream: grpc.Call) -> None:
    """End the watch when nobody reads the pipe it is printed into, though nothing is to be printed just now."""
    try:
        output = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            poll = select.poll()
            poll.register(output, 0)  # an error is told without being asked for
            poll.poll()
            stream.cancel()
    except (AttributeError, OSError, ValueError):
        return  # standard output is closed, or is no file


def _channel(server: Server) -> grpc.Channel:
    """To the registry, through a proxy as every command; gRPC alone would send loopback through one too."""
    proxy = proxy_to(server, grpc=True)
    options = [("grpc.http_proxy", with_credentials(proxy))] if proxy else [("grpc.enable_http_proxy", 0)]
    if server.tls:
        return grpc.secure_channel(str(server.address), grpc.ssl_channel_credentials(), options)
    return grpc.insecure_channel(str(server.address), options)


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
