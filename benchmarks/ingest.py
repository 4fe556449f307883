"""Ingest: how fast, and with how much memory, a large cluster is taken in; what one change costs, in how large a list.

    python benchmarks/ingest.py [--work NAME]...

A real etcd and kube-apiserver are filled through the API; then the registry is started (the command, in a process of
its own) and told are

- the time from its start until ``/readyz`` says yes, and its resident memory then,
- CPU of the process for one change of an EndpointSlice, from bytes of the watch to bytes on the wire of one xDS
  subscriber, by the scheduler's account: changes one at a time and 20 ms apart, so that each is read, committed and
  sent alone, by a process whose caches others have used meanwhile; the median of batches,
- the same for changes as fast as the API server can be made to write them, of all services: the share of a core they
  take, how many a whole core would sustain, and how long after the last write the subscriber has the last change,
- all that with 100 and with 1,000 services,
- memory after each of ten relists: a proxy tells every watch that its version is too old (410),
- with Pods: the time until ready, and what memory grows by for each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import grpc.aio  # noqa: E402 - the path comes first
import ingest_cluster as cluster  # noqa: E402
from envoy.config.core.v3 import base_pb2  # noqa: E402
from envoy.service.discovery.v3 import discovery_pb2  # noqa: E402
from ingest_cluster import Fleet, Writer  # noqa: E402
from ingest_report import GROWING, RELISTS, THICK, WORKS, Figures, Work, show  # noqa: E402
from support import namespace  # noqa: E402
from support.controlplane import ControlPlane  # noqa: E402
from support.lying_proxy import LyingProxy  # noqa: E402
from support.processes import until  # noqa: E402
from support.registry import RunningRegistry  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
WARM_UP = 20
BATCHES = 5
CHANGES_PER_BATCH = 60
PAUSE_SECONDS = 0.015
"""Between changes one at a time: longer than a burst's quiet time, so that none waits to be coalesced."""
RELIST_SECONDS = 30.0
SETTLE_SECONDS = 1.0
FLOOD_SECONDS = 4.0


class Account:
    """What the kernel says of one process."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def cpu_seconds(self) -> float:
        """On a CPU, all threads together, as the scheduler counts it."""
        threads = (self._folder / "task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def memory_mib(self, name: str = "VmRSS") -> float:
        status = (self._folder / "status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) / 1024


class Subscriber:
    """One xDS client with one subscription on an aggregated Delta stream; it ACKs every response."""

    def __init__(self, address: str, resource: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._call = self._channel.stream_stream(DELTA)()
        self._resource = resource
        self._last = b""
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        subscribe = discovery_pb2.DeltaDiscoveryRequest(
            node=base_pb2.Node(id="sidecar~10.0.0.1~bench.bench~bench.svc.cluster.local"),
            type_url=ASSIGNMENT,
            resource_names_subscribe=[self._resource],
        )
        await self._call.write(subscribe.SerializeToString())
        while True:
            self._last = await self._call.read()
            self._changed.set()
            nonce = discovery_pb2.DeltaDiscoveryResponse.FromString(self._last).nonce
            ack = discovery_pb2.DeltaDiscoveryRequest(type_url=ASSIGNMENT, response_nonce=nonce)
            await self._call.write(ack.SerializeToString())

    async def has(self, address: str, timeout: float = 30.0) -> None:
        """Wait until the last response names ``address``."""
        wanted = b"\x12" + bytes([len(address)]) + address.encode()
        async with asyncio.timeout(timeout):
            while wanted not in self._last:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()


class Bench:
    """One API server, and the works it is filled for, one after the other."""

    def __init__(self, folder: Path, plane: ControlPlane, writer: Writer) -> None:
        self._folder = folder
        self._plane = plane
        self._writer = writer
        self._filled = 0
        self._change = 0

    async def run(self, work: Work) -> Figures:
        began = time.perf_counter()
        await self._fill(work)
        figures = Figures(work.name, filled_s=time.perf_counter() - began)
        began = time.perf_counter()
        async with self._registry(work.name, self._plane.kubeconfig()) as registry:
            figures.ready_s = time.perf_counter() - began
            account = Account(registry.process.pid)
            figures.startup_cpu_s = account.cpu_seconds()
            figures.memory_mib = account.memory_mib()
            figures.peak_mib = account.memory_mib("VmHWM")
            if work.changes:
                await self._changes(work, registry, account, figures)
        if work.relists:
            figures.relisted_mib = await self._relists(work)
        return figures

    def _registry(self, name: str, kubeconfig: Path) -> RunningRegistry:
        return RunningRegistry(self._folder, f"--kubeconfig=a={kubeconfig}", name=name)

    async def _fill(self, work: Work) -> None:
        await self._writer.create_all(cluster.services(work.fleet, self._filled))
        self._filled = work.fleet.services
        if work.pods:
            await self._writer.create_all(cluster.pods(work.fleet))

    async def _changes(self, work: Work, registry: RunningRegistry, account: Account, figures: Figures) -> None:
        number = work.fleet.services // 2
        host = f"{cluster.service_name(number)}.{cluster.namespace_of(number)}.svc.clusterset.local"
        subscriber = Subscriber(registry.grpc, f"outbound|80||{host}")
        try:
            for _ in range(WARM_UP):
                await self._one_change(work.fleet, number, subscriber)
            costs, times = [], []
            for _ in range(BATCHES):
                before = account.cpu_seconds()
                times += [await self._one_change(work.fleet, number, subscriber) for _ in range(CHANGES_PER_BATCH)]
                costs.append((account.cpu_seconds() - before) / CHANGES_PER_BATCH)
            figures.change_us = statistics.median(costs) * 1e6
            figures.change_ms = statistics.median(times) * 1e3
            await self._flood(work.fleet, subscriber, account, figures)
        finally:
            await subscriber.close()

    async def _one_change(self, fleet: Fleet, number: int, subscriber: Subscriber) -> float:
        """Seconds from before the write until the subscriber has it."""
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        address = await self._write_change(fleet, number)
        await subscriber.has(address)
        return time.perf_counter() - began

    async def _write_change(self, fleet: Fleet, number: int) -> str:
        self._change += 1
        document = cluster.endpoint_slice(fleet, number, self._change)
        address: str = document["endpoints"][-1]["addresses"][0]
        await self._writer.write("PUT", f"{cluster.slice_path(number)}/{cluster.slice_name(number)}", document)
        return address

    async def _flood(self, fleet: Fleet, subscriber: Subscriber, account: Account, figures: Figures) -> None:
        """Write changes of all services as fast as the API server takes them."""
        numbers = iter(range(1 << 60))
        written = 0
        before, began = account.cpu_seconds(), time.perf_counter()

        async def work() -> None:
            nonlocal written
            while time.perf_counter() < began + FLOOD_SECONDS:
                await self._write_change(fleet, next(numbers) % fleet.services)
                written += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(cluster.IN_FLIGHT):
                tasks.create_task(work())
        ended = time.perf_counter()
        address = await self._write_change(fleet, fleet.services // 2)
        await subscriber.has(address)
        took, cpu = time.perf_counter() - began, account.cpu_seconds() - before
        figures.flood_written_per_s = written / (ended - began)
        figures.flood_core_share = cpu / took
        figures.flood_sustained_per_s = written / cpu
        figures.flood_lag_ms = (time.perf_counter() - ended) * 1e3

    async def _relists(self, work: Work) -> list[float]:
        """Memory when ready, and after each time everything was listed anew."""
        async with LyingProxy(self._plane.server, self._plane.folder / "ca.crt", self._folder / "proxy") as proxy:
            kubeconfig = self._plane.kubeconfig(server=proxy.url, ca=proxy.ca)
            async with self._registry(f"{work.name}-relists", kubeconfig) as registry:
                account = Account(registry.process.pid)
                found = [account.memory_mib()]
                objects = await events(registry)
                for _ in range(RELISTS):
                    await until(lambda: proxy.watches == KINDS, "every kind is watched")
                    before = await events(registry)
                    await self._touch()
                    await proxy.expire_watches()
                    await until(
                        partial(listed, registry, before + objects), "all is listed anew", RELIST_SECONDS, poll=0.25
                    )
                    await asyncio.sleep(SETTLE_SECONDS)
                    found.append(account.memory_mib())
                return found

    async def _touch(self) -> None:
        """Something of each kind changes: a list begun anew without that is waited with, longer each time."""
        self._change += 1
        await self._writer.write_all(cluster.touches(self._change))


KINDS = 5


async def events(registry: RunningRegistry) -> int:
    """How many objects the source told of so far."""
    text = await registry.text("/metrics")
    line = next(line for line in text.splitlines() if line.startswith("mesh_registry_source_events_total{"))
    return int(float(line.split()[-1]))


async def listed(registry: RunningRegistry, count: int) -> bool:
    return await events(registry) >= count


@asynccontextmanager
async def filled_plane(folder: Path) -> AsyncIterator[tuple[ControlPlane, Writer]]:
    plane = ControlPlane("a", folder / "plane")
    plane.etcd.start()
    plane.apiserver.start()
    writer = Writer(plane)
    try:
        await plane.ready()
        await writer.create_all(cluster.namespaces())
        yield plane, writer
    finally:
        await writer.close()
        await plane.stop()


async def measure(works: tuple[Work, ...]) -> list[Figures]:
    with tempfile.TemporaryDirectory(prefix="mesh-registry-bench-") as name:
        folder = Path(name)
        async with filled_plane(folder) as (plane, writer):
            bench = Bench(folder, plane, writer)
            return [await bench.run(work) for work in works]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=[work.name for work in WORKS], action="append")
    options = parser.parse_args()
    namespace.enter()
    found: dict[str, Figures] = {}
    for works in (GROWING, THICK):
        wanted = tuple(work for work in works if not options.work or work.name in options.work)
        if wanted:
            found |= {figures.work: figures for figures in asyncio.run(measure(wanted))}
    show(found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest.json").write_text(json.dumps([asdict(each) for each in found.values()], indent=2) + "\n")


if __name__ == "__main__":
    main()
