"""``mesh-registry bootstrap``: the file a client starts from."""

from __future__ import annotations

import click

from registry.cli.options import AddressOption, Command, grpc_server_for_clients, place_options
from registry.cli.output import JSON, YAML, print_document
from registry.cli.server import Server
from registry.config import Address
from registry.views.bootstrap import DEFAULT_NODE_ID, Node, envoy_bootstrap, grpc_bootstrap


def _node_options(command: Command) -> Command:
    node_id = click.option(
        "--node-id", metavar="ID", default=DEFAULT_NODE_ID, show_default=True, help="The client's id."
    )
    return node_id(place_options(grpc_server_for_clients(command)))


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
def envoy(server: Server, admin: Address, **node: str) -> None:
    """Bootstrap of an Envoy sidecar (YAML): start it with `envoy -c FILE`."""
    print_document(envoy_bootstrap(Node(**node), _plaintext(server), admin), YAML)


@bootstrap.command()
@_node_options
def grpc(server: Server, **node: str) -> None:
    """Bootstrap of a gRPC xDS client (JSON): name the file in GRPC_XDS_BOOTSTRAP and dial xds:///HOST:PORT."""
    print_document(grpc_bootstrap(Node(**node), _plaintext(server)), JSON)


def _plaintext(server: Server) -> Address:
    if server.tls:
        raise click.UsageError("a bootstrap is made for a registry in plaintext; add its TLS to the file by hand")
    return server.address
