"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

import click

from registry.cli.server import GRPC_PORT, HTTP_PORT, Server, parse_server
from registry.config import Address, parse_address
from registry.model.names import ServiceKey

LOOPBACK = "127.0.0.1"

Command = TypeVar("Command", bound=Callable[..., object])


class ServiceArgument(click.ParamType[ServiceKey]):
    """``NS/NAME`` on the command line."""

    name = "NS/NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ServiceKey:
        if isinstance(value, ServiceKey):
            return value
        try:
            return ServiceKey.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class AddressOption(click.ParamType[Address]):
    """``HOST:PORT`` on the command line."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _addresses(_context: click.Context, _option: click.Parameter, value: str) -> str:
    found = [each.strip() for each in value.split(",")] if value else []
    for each in found:
        try:
            ip_address(each)
        except ValueError as error:
            raise click.BadParameter(f"{error}; expected one or more, with commas between") from None
    return ",".join(found)


def place_options(command: Command) -> Command:
    """Where a client is. Its ``addresses`` come as one text, with commas."""
    options = (
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
    )
    for option in reversed(options):
        command = option(command)
    return command


class ServerOption(click.ParamType[Server]):
    """A port of the registry on the command line; see ``parse_server``."""

    name = "HOST:PORT"

    def __init__(self, default_port: int | None) -> None:
        self._default_port = default_port

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Server:
        if isinstance(value, Server):
            return value
        try:
            return parse_server(str(value), self._default_port)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _server(port: int, variable: str, what: str, *, complete: bool = False) -> Callable[[Command], Command]:
    return click.option(
        "--server",
        type=ServerOption(None if complete else port),
        metavar="HOST:PORT",
        default=f"{LOOPBACK}:{port}",
        show_default=True,
        envvar=variable,
        show_envvar=True,
        help=f"The registry's {what} address; also http://HOST:PORT, or https:// where it is served over TLS.",
    )


http_server_address = _server(HTTP_PORT, "MESH_REGISTRY_HTTP", "HTTP")
grpc_server_address = _server(GRPC_PORT, "MESH_REGISTRY_GRPC", "gRPC")
grpc_server_for_clients = _server(GRPC_PORT, "MESH_REGISTRY_GRPC", "gRPC", complete=True)
"""The same, to be written down for others: with its port."""
