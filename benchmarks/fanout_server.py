"""Serves endpoints over xDS as the registry does, one of which changes again and again: see ``fanout.py``.

From a merged service on it is the registry's own path: publisher, resource store, sessions, gRPC server. It prints its
address, and then obeys ``go`` (begin to change), ``stop`` and the end of its input, as ``peers/linear`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
import time
from dataclasses import replace

from registry import runtime
from registry.model.facts import ServicePort
from registry.model.names import ClusterId, Locality, ServiceKey
from registry.model.services import Change, Endpoint, MergedService, TargetPort
from registry.rpc.limits import Limits
from registry.rpc.server import RpcServer
from registry.servers.ads import XdsServer
from registry.servers.publisher import Publisher
from registry.views.names import Names
from registry.xds.session import SessionOptions
from registry.xds.store import ResourceStore

CLUSTER = ClusterId("a")
LIMITS = Limits(connections=20_000)


def a_service(number: int, endpoints: int) -> MergedService:
    locality = Locality("region", "zone", CLUSTER)
    members = tuple(
        Endpoint(locality, f"198.18.{each // 250}.{each % 250}", (TargetPort(80, 8080),), CLUSTER)
        for each in range(endpoints)
    )
    return MergedService(ServiceKey("bench", f"service-{number}"), (ServicePort(80, "http"),), members, (CLUSTER,))


def changed(service: MergedService) -> MergedService:
    """The weight of the first endpoint is the time in microseconds."""
    weight = time.time_ns() // 1000 % (1 << 30) + 1
    return replace(service, endpoints=(service.endpoints[0]._replace(weight=weight), *service.endpoints[1:]))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--services", type=int, default=1)
    parser.add_argument("--interval", type=float, default=0.02)
    parser.add_argument("--certificate")
    options = parser.parse_args()

    store = ResourceStore()
    publisher = Publisher(store, Names("clusterset.local"), ("127.0.0.1", 15001))
    services = [a_service(number, options.endpoints) for number in range(options.services)]
    publisher.publish(tuple(Change(service.key, None, service) for service in services))
    xds = XdsServer(store, time.time, SessionOptions(identifier="mesh-registry", clock=time.time))
    xds.open()
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        context.set_alpn_protocols(["h2"])
    server = RpcServer(xds.services(), "127.0.0.1:0", limits=LIMITS, tls=(lambda: context) if context else None)
    print(await server.start(), flush=True)
    runtime.loaded()

    changing = asyncio.create_task(asyncio.sleep(0))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    async def change() -> None:
        service = services[0]
        due = time.monotonic()
        while True:
            new = changed(service)
            publisher.publish((Change(service.key, service, new),))
            service = new
            due = max(due + options.interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    while line := (await lines.readline()).decode().strip():
        changing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await changing
        if line == "go":
            changing = asyncio.create_task(change())
        else:
            changing = asyncio.create_task(asyncio.sleep(0))
            print("stopped", flush=True)
    await server.stop(0.1)


if __name__ == "__main__":
    runtime.run(main())
