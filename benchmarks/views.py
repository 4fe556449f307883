"""One endpoint changes in a service that clients of many places watch: CPU from the watch's line to everybody's bytes.

In one process, without sockets: a line of a watch is decoded, applied, committed and published, and one Delta session
for each place takes its response and ACKs it. Places differ in zone and the service prefers the same zone, so every
view has bytes of its own. Memory is what Python allocates (tracemalloc) for one view and for ten.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from rich.console import Console
from rich.table import Table

from registry.index import Index
from registry.model.events import Apply, Init, InitApply, InitDone
from registry.model.facts import Fact, Node, Service, ServicePort
from registry.model.names import BASE_KINDS, ClusterId, Kind, ServiceKey
from registry.servers.publisher import Publisher
from registry.sources.kubernetes.decode import decode_event
from registry.views.names import Names
from registry.views.place import Place, place_of
from registry.xds.session import DeltaSession, SessionOptions
from registry.xds.status import Node as XdsNode
from registry.xds.store import ResourceStore
from registry.xds.types import EDS, MAKE_ORDER, ResourceType

RESULTS = Path(__file__).parent / "results"
CLUSTER = ClusterId("a")
KEY = ServiceKey("shop", "echo")
NAME = Names().cluster(KEY, 80)
SLICE_ENDPOINTS = 100
ZONES = 10
CHANGES = 200
WARM_UP = 20
BAR_MILLISECONDS = 2.0
BAR_GROWTH = 10.0
BAR_MEMORY = 1.5
WORKS = [(endpoints, views) for endpoints in (10, 1_000, 10_000) for views in (1, 10, 100)]


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of CPU for one change, and the bytes that came of it for all views together."""

    endpoints: int
    views: int
    median: float
    p99: float
    bytes: int


def a_slice(number: int, count: int, zones: int, version: int = 1, unready: int = -1) -> dict[str, Any]:
    """The EndpointSlice ``number``, over so many zones; its endpoint ``unready`` is not ready."""
    first = number * SLICE_ENDPOINTS
    return {
        "metadata": {
            "name": f"echo-{number}",
            "namespace": KEY.namespace,
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": KEY.name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{each >> 16}.{each >> 8 & 255}.{each & 255}"],
                "conditions": {"ready": each - first != unready, "serving": True, "terminating": False},
                "nodeName": f"node-{each % zones}",
                "zone": f"zone-{each % zones}",
                "targetRef": {"kind": "Pod", "name": f"echo-5f7c9d8b6-{each}", "namespace": KEY.namespace},
            }
            for each in range(first, first + count)
        ],
    }


def a_line(document: dict[str, Any]) -> bytes:
    return json.dumps({"type": "MODIFIED", "object": document}).encode()


def _group(node: XdsNode, kind: ResourceType) -> Place | str:
    return place_of(node.locality, node.metadata) if kind is EDS else ""


class Rig:
    """A service of so many endpoints, and a client at each of so many places."""

    def __init__(self, endpoints: int, views: int) -> None:
        self.zones = max(ZONES, views)
        self.index = Index()
        self.store = ResourceStore()
        self.publisher = Publisher(self.store, Names(), ("127.0.0.1", 15001))
        self.slices = [min(SLICE_ENDPOINTS, endpoints - first) for first in range(0, endpoints, SLICE_ENDPOINTS)]
        self._list()
        options = SessionOptions(group=_group)
        self.sessions = [DeltaSession(self.store, MAKE_ORDER, lambda: None, options) for _ in range(views)]
        for number, session in enumerate(self.sessions):
            node = base_pb2.Node(id=f"client-{number}")
            node.locality.region, node.locality.zone = "region", f"zone-{number}"
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS.url, resource_names_subscribe=[NAME], node=node)
            session.receive(request.SerializeToString())
        self.take()

    def _list(self) -> None:
        service = Service(KEY.namespace, KEY.name, (ServicePort(80, "http"),), traffic_distribution="PreferSameZone")
        facts: list[Fact] = [service, *(Node(f"node-{each}", "region", f"zone-{each}") for each in range(self.zones))]
        for number, count in enumerate(self.slices):
            fact = decode_event(Kind.ENDPOINT_SLICE, a_line(a_slice(number, count, self.zones))).fact
            assert fact is not None
            facts.append(fact)
        self.index.add_cluster(CLUSTER)
        for kind in sorted(BASE_KINDS):
            self.index.apply(CLUSTER, Init(kind))
            for fact in facts:
                if fact.ref.kind is kind:
                    self.index.apply(CLUSTER, InitApply(fact))
            self.index.apply(CLUSTER, InitDone(kind))
        self.publisher.publish(self.index.commit())

    def take(self) -> int:
        """Take and ACK every response; returns their bytes."""
        taken = 0
        for session in self.sessions:
            while (response := session.next_response()) is not None or session.busy:
                if response is not None:
                    taken += len(response)
                    session.receive(_ack(session))
        return taken

    def change(self, line: bytes) -> int:
        event = decode_event(Kind.ENDPOINT_SLICE, line)
        assert event.fact is not None
        self.index.apply(CLUSTER, Apply(event.fact))
        self.publisher.publish(self.index.commit())
        return self.take()


def _ack(session: DeltaSession) -> bytes:
    (status,) = session.status().types
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=EDS.url, response_nonce=status.sent_nonce)
    return request.SerializeToString()


def measure(endpoints: int, views: int) -> Figures:
    """CPU of ``CHANGES`` changes, each of one endpoint in another slice than the one before."""
    rig = Rig(endpoints, views)
    lines = []
    for change in range(WARM_UP + CHANGES):
        number = change % len(rig.slices)
        unready = change // len(rig.slices) % rig.slices[number]
        lines.append(a_line(a_slice(number, rig.slices[number], rig.zones, change + 2, unready)))
    spent, taken = [], 0
    gc.collect()
    gc.freeze()
    for line in lines:
        began = time.process_time()
        taken = rig.change(line)
        spent.append(1000 * (time.process_time() - began))
    gc.unfreeze()
    spent = sorted(spent[WARM_UP:])
    return Figures(endpoints, views, statistics.median(spent), spent[int(len(spent) * 0.99)], taken)


def memory(endpoints: int, views: int) -> int:
    """Bytes that the whole takes after a few changes."""
    tracemalloc.start()
    rig = Rig(endpoints, views)
    for change in range(5):
        rig.change(a_line(a_slice(0, rig.slices[0], rig.zones, change + 2, change)))
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", action="append", metavar="ENDPOINTSxVIEWS", help="only this, as 1000x10")
    chosen = parser.parse_args().work
    works = [tuple(map(int, each.split("x"))) for each in chosen] if chosen else WORKS
    console = Console()
    found = []
    for endpoints, views in works:
        console.print(f"{endpoints} endpoints, {views} views ...", highlight=False)
        found.append(measure(endpoints, views))
    table = Table("endpoints", "views", "CPU ms, median", "p99", "bytes")
    for each in found:
        table.add_row(*map(str, (each.endpoints, each.views)), f"{each.median:.3f}", f"{each.p99:.3f}", str(each.bytes))
    console.print(table)
    by_work = {(each.endpoints, each.views): each for each in found}
    document: dict[str, Any] = {"changes": CHANGES, "works": [vars_of(each) for each in found]}
    ten, hundred = by_work.get((1000, 10)), by_work.get((1000, 100))
    if ten:
        console.print(f"1,000 endpoints, 10 views: {ten.median:.2f} ms (bar {BAR_MILLISECONDS} ms)")
    if ten and hundred:
        growth = hundred.median / ten.median
        document["growth"] = growth
        console.print(f"100 views cost {growth:.1f} times 10 views (bar {BAR_GROWTH})")
    if not chosen:
        one, ten_views = memory(1000, 1), memory(1000, 10)
        document["memory"] = {"one": one, "ten": ten_views}
        console.print(
            f"memory, 1,000 endpoints: one view {one / 1e6:.2f} MB, ten {ten_views / 1e6:.2f} MB: "
            f"{ten_views / one:.2f} times (bar {BAR_MEMORY})"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "views.json").write_text(json.dumps(document, indent=2) + "\n")


def vars_of(figures: Figures) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in Figures.__slots__}


if __name__ == "__main__":
    main()
