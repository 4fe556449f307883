"""Which proxy a command goes through: that of the environment, as of any Go program; never to loopback."""

from __future__ import annotations

import os
from urllib.parse import quote

from registry.cli.server import Server
from registry.errors import RegistryError
from registry.sources.kubernetes.urls import Address, UrlError, environment_proxy


def proxy_to(server: Server, *, grpc: bool = False) -> Address | None:
    """The proxy on the way to ``server``; as gRPC does everywhere, ``HTTPS_PROXY`` counts for all of its connections.

    Raises:
        RegistryError: the environment names one that cannot be used.
    """
    scheme = "https" if server.tls or grpc else "http"
    try:
        proxy = environment_proxy(f"{scheme}://{server.address}", os.environ)
    except UrlError as error:
        raise RegistryError(str(error)) from error
    usable = ("http",) if grpc else ("http", "https")
    if proxy is not None and proxy.scheme not in usable:
        raise RegistryError(
            f"{server} is to be reached through the proxy {proxy.url}, and this command can use one over "
            f"{' or '.join(usable)} alone; NO_PROXY names hosts to reach without"
        )
    return proxy


def with_credentials(proxy: Address) -> str:
    """The proxy's URL with its user and password."""
    if not proxy.username:
        return proxy.url
    scheme, _, host = proxy.url.partition("://")
    return f"{scheme}://{quote(proxy.username, safe='')}:{quote(proxy.password, safe='')}@{host}"
