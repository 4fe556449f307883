"""``mesh-registry bootstrap``: the file a client starts from."""

from __future__ import annotations

from ipaddress import ip_address

import click

from registry.cli.options import AddressOption, Command, grpc_server_address
from registry.cli.output import JSON, YAML, print_document
from registry.config import Address
from registry.views.bootstrap import DEFAULT_NODE_ID, Node, envoy_bootstrap, grpc_bootstrap


def _addresses(_context: click.Context, _option: click.Parameter, value: str) -> str:
    found = [each.strip() for each in value.split(",")] if value else []
    for each in found:
        try:
            ip_address(each)
        except ValueError as error:
            raise click.BadParameter(f"{error}; expected one or more, with commas between") from None
    return ",".join(found)


def _node_options(command: Command) -> Command:
    options = (
        click.option("--node-id", metavar="ID", default=DEFAULT_NODE_ID, show_default=True, help="The client's id."),
        click.option("--cluster", metavar="NAME", default="", help="The member cluster the client runs in."),
        click.option("--region", metavar="R", default="", help="The client's region."),
        click.option("--zone", metavar="Z", default="", help="The client's zone."),
        click.option("--network", metavar="NAME", default="", help="The network the client is on."),
        click.option("--node-name", metavar="NODE", default="", help="The Kubernetes node the client runs on."),
        click.option(
            "--addresses",
            metavar="IP[,IP]",
            default="",
            callback=_addresses,
            help="The client's own addresses; an endpoint of both families is reached by that of the first one first.",
        ),
        grpc_server_address,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def bootstrap() -> None:
    """Print the file from which an Envoy or a gRPC client gets its endpoints from the registry."""


@bootstrap.command()
@_node_options
@click.option(
    "--admin",
    type=AddressOption(),
    metavar="HOST:PORT",
    default="127.0.0.1:15000",
    show_default=True,
    help="Envoy's admin interface.",
)
def envoy(server: Address, admin: Address, **node: str) -> None:
    """Bootstrap of an Envoy sidecar (YAML): start it with `envoy -c FILE`."""
    print_document(envoy_bootstrap(Node(**node), server, admin), YAML)


@bootstrap.command()
@_node_options
def grpc(server: Address, **node: str) -> None:
    """Bootstrap of a gRPC xDS client (JSON): name the file in GRPC_XDS_BOOTSTRAP and dial xds:///HOST:PORT."""
    print_document(grpc_bootstrap(Node(**node), server), JSON)
