"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from registry.config import Address, parse_address
from registry.model.names import ServiceKey

HTTP_ADDRESS = "127.0.0.1:15014"
GRPC_ADDRESS = "127.0.0.1:15010"

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


def _server(default: str, variable: str, what: str) -> Callable[[Command], Command]:
    return click.option(
        "--server",
        type=AddressOption(),
        metavar="HOST:PORT",
        default=default,
        show_default=True,
        envvar=variable,
        show_envvar=True,
        help=f"The registry's {what} address.",
    )


http_server_address = _server(HTTP_ADDRESS, "MESH_REGISTRY_HTTP", "HTTP")
grpc_server_address = _server(GRPC_ADDRESS, "MESH_REGISTRY_GRPC", "gRPC")
