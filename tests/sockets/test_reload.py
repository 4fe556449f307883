"""A configuration that changes while the registry runs: by SIGHUP, and by the file. And what other signals do."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
import pytest_asyncio
import yaml
from support.processes import free_port, until
from support.registry import PROGRAM, RunningRegistry

from registry.protos import registry_pb2 as pb
from registry.servers.lookup import SERVICE_NAME

DEADLINE = 10.0
SLICE = {"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}]}


def objects(cluster: int, network: str) -> str:
    """``shop/echo`` with an endpoint in each of two zones; that of zone z2 comes first by its address."""
    metadata = {"name": "echo", "namespace": "shop", "labels": {"kubernetes.io/service-name": "echo"}}
    ends = [{"addresses": [f"10.{cluster}.0.{number}"], "zone": f"z{3 - number}"} for number in (1, 2)]
    there: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "http", "port": 80}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "endpoints": ends,
            **SLICE,
        },
    ]
    labels = {"topology.istio.io/network": network} if network else {}
    system = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system", "labels": labels}}
    return yaml.safe_dump_all([*there, system])


BASE = "clusters:\n- {name: a, manifests: a}\n- {name: b, manifests: b}\n"
SAME_ZONE = "traffic:\n- {distribution: PreferSameZone}\n"
GATEWAY = "networks:\n- {name: away, gateways: [{address: 203.0.113.1, port: 15443}]}\n"


@dataclass
class Rig:
    """The registry with its file, and a client in zone z1 of cluster a that watches the service."""

    registry: RunningRegistry
    path: Path
    told: list[pb.WatchResponse] = field(default_factory=list)

    def write(self, text: str, *, atomic: bool = True) -> None:
        other = self.path.with_suffix(".new") if atomic else self.path
        other.write_text(BASE + text)
        if atomic:
            other.replace(self.path)

    async def hup(self, said: str) -> None:
        """Reload, and wait for the log to say what came of it."""
        before = self.log.count(said)
        self.registry.process.signal(signal.SIGHUP)
        await until(lambda: self.log.count(said) > before, f"the log says {said!r}")

    @property
    def log(self) -> str:
        return self.registry.process.log.read_text()

    @property
    def order(self) -> list[list[str]]:
        """The addresses that the client is to use, by priority."""
        if not self.told or not self.told[-1].HasField("service"):
            return []
        groups: dict[int, list[str]] = {}
        for group in self.told[-1].service.ports[0].assignment.groups:
            groups.setdefault(group.priority, []).extend(target.address for target in group.targets)
        return [sorted(each) for _, each in sorted(groups.items())]

    async def until(self, *order: list[str]) -> None:
        await until(lambda: self.order == list(order), f"the order is {order}")

    async def problems(self) -> list[str]:
        document = await self.registry.get("/api/v1/clusters")
        return [f"{each['reason']}: {each['message']}" for each in document["problems"]]

    async def metric(self, outcome: str) -> float:
        text = await self.registry.text("/metrics")
        name = f'mesh_registry_config_reloads_total{{outcome="{outcome}"}} '
        return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


@asynccontextmanager
async def watched(rig: Rig) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(rig.registry.grpc) as channel:
        call = channel.stream_stream(
            f"/{SERVICE_NAME}/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )()
        name = pb.ServiceName(namespace="shop", name="echo")
        client = pb.Client(cluster="a", zone="z1", network="home")
        await call.write(pb.WatchRequest(services=[name], client=client))

        async def read() -> None:
            async for message in call:
                rig.told.append(message)

        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    for number, (name, network) in enumerate((("a", "home"), ("b", "away"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "all.yaml").write_text(objects(number, network))
    path = tmp_path / "registry.yaml"
    path.write_text(BASE)
    async with RunningRegistry(tmp_path, "--config", str(path)) as registry:
        it = Rig(registry, path)
        async with watched(it):
            await it.until(["10.0.0.1", "10.0.0.2"])
            yield it


async def test_sighup_puts_each_section_in_force_at_once(rig: Rig) -> None:
    rig.write(SAME_ZONE)
    await rig.hup("reload: " + str(rig.path) + ": traffic changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1"])
    rig.write(SAME_ZONE + GATEWAY)
    await rig.hup("networks changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1", "203.0.113.1"])
    rig.write(SAME_ZONE + GATEWAY + "export: {excludeNamespaces: [shop]}\n")
    await rig.hup("export changed")
    await until(lambda: rig.told[-1].HasField("absent"), "the service left")
    assert await rig.registry.get("/api/v1/services/shop/echo") is None
    held = await rig.registry.get("/api/v1/guard")
    assert not held["held"]  # the operator said it: that is no list to be doubted
    rig.write("guard: {share: 0.9}\nliveness: {staleSeconds: 60}\ncoalesce: {quietMs: 5}\n")
    await rig.hup("coalesce, export, guard, liveness, networks, traffic changed")
    await rig.until(["10.0.0.1", "10.0.0.2"])
    assert await rig.metric("applied") == 4
    assert await rig.problems() == []


async def test_the_file_alone_does_too_once_it_is_not_written_to_any_more(rig: Rig) -> None:
    rig.write(SAME_ZONE + GATEWAY, atomic=False)
    await rig.until(["10.0.0.2"], ["10.0.0.1", "203.0.113.1"])
    await until(lambda: "took effect: networks, traffic" in rig.log, "it is said")


async def test_a_reload_that_changes_nothing_sends_nothing(rig: Rig) -> None:
    told = len(rig.told)
    await rig.hup("nothing changed")
    rig.write("# other words\ntraffic: []\n")
    await rig.hup("nothing changed")
    rig.write(SAME_ZONE)
    await rig.hup("traffic changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1"])
    assert len(rig.told) == told + 1
    assert await rig.metric("unchanged") == 2


async def test_a_broken_file_leaves_in_force_what_was_and_is_said(rig: Rig) -> None:
    rig.write(SAME_ZONE)
    await rig.hup("traffic changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1"])
    for number, bad in enumerate(("traffic: [", "traffic:\n- {distribution: Nearest}\n", "trafic: []\n"), 1):
        rig.write(bad)
        await rig.hup("reload: " + str(rig.path) + ":")
        (problem,) = await rig.problems()
        assert problem.startswith("ConfigurationInvalid: ")
        assert "what it said before holds" in problem
        assert await rig.metric("invalid") >= number
    assert rig.order == [["10.0.0.2"], ["10.0.0.1"]]
    rig.write("")
    await rig.hup("traffic changed")
    await rig.until(["10.0.0.1", "10.0.0.2"])
    assert await rig.problems() == []


@pytest.mark.parametrize("path", ["~nobody-here/x", "a\\0b"])
async def test_a_path_that_cannot_be_one_ends_nothing(rig: Rig, path: str) -> None:
    rig.write(f'- {{name: c, kubeconfig: "{path}"}}\n')
    await rig.hup("what it said before holds")
    assert any(each.startswith("ConfigurationInvalid") for each in await rig.problems())
    rig.write(SAME_ZONE)
    await rig.hup("took effect: traffic")
    assert not await rig.problems()
    assert "Traceback" not in rig.log


async def test_what_needs_a_restart_is_named_and_the_rest_takes_effect(rig: Rig) -> None:
    rig.write(SAME_ZONE + "limits: {streams: 7}\nexport: {mode: ServiceExport, writeConditions: true}\n")
    await rig.hup("traffic changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1"])
    (problem,) = await rig.problems()
    assert problem.startswith("RestartNeeded: ")
    for name in ("limits", "export.mode: ServiceExport", "export.writeConditions"):
        assert name in problem
    rig.write(SAME_ZONE + "export: {mode: selector, selector: {shared: 'yes'}}\n")
    await rig.hup("export changed")
    await until(lambda: rig.told[-1].HasField("absent"), "the service left")
    assert await rig.problems() == []


async def test_a_file_that_breaks_off_is_not_believed_but_by_sighup(rig: Rig) -> None:
    rig.path.write_text((BASE + SAME_ZONE).rstrip("\n"))
    await until(lambda: "breaks off within its last line, and has other traffic" in rig.log, "it is doubted")
    assert rig.order == [["10.0.0.1", "10.0.0.2"]]
    await rig.hup("traffic changed")
    await rig.until(["10.0.0.2"], ["10.0.0.1"])


async def test_signals_that_mean_nothing_end_nothing(rig: Rig) -> None:
    for signum in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        rig.registry.process.signal(signum)
    await until(lambda: "SIGUSR2 is ignored" in rig.log, "it is said")
    await rig.hup("nothing changed")


async def test_sighup_without_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "all.yaml").write_text(objects(0, ""))
    async with RunningRegistry(tmp_path, f"--manifests=a={tmp_path / 'a'}") as registry:
        registry.process.signal(signal.SIGHUP)
        await until(lambda: "nothing to reload" in registry.process.log.read_text(), "it is said")
        registry.process.check()


class Piped:
    """``serve`` whose standard error we read, and may close."""

    def __init__(self, folder: Path) -> None:
        (folder / "a").mkdir()
        (folder / "a" / "all.yaml").write_text(objects(0, ""))
        self.http = f"127.0.0.1:{free_port()}"
        self.grpc = f"127.0.0.1:{free_port()}"
        listen = [f"--grpc={self.grpc}", f"--http={self.http}"]
        command = [*PROGRAM, "serve", *listen, f"--manifests=a={folder / 'a'}"]
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)

    async def ready(self) -> bool:
        assert self.child.poll() is None
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def ended(self) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.child.wait), DEADLINE)


@pytest.fixture
def piped(tmp_path: Path) -> Any:
    it = Piped(tmp_path)
    yield it
    it.child.kill()
    it.child.wait()
    if it.child.stderr is not None:
        it.child.stderr.close()


async def test_who_reads_the_log_may_go(piped: Piped) -> None:
    await until(piped.ready, "it is ready")
    assert piped.child.stderr is not None
    piped.child.stderr.close()
    for _ in range(3):
        piped.child.send_signal(signal.SIGHUP)
        piped.child.send_signal(signal.SIGUSR1)
        await until(piped.ready, "it goes on")
    piped.child.send_signal(signal.SIGTERM)
    assert await piped.ended() == 0


async def test_sighup_while_it_starts_is_no_end(piped: Piped) -> None:
    """From the moment that the command is chosen; before that Python itself starts."""
    maps = Path(f"/proc/{piped.child.pid}/status")

    def ignored() -> bool:
        masks = dict(line.split(":\t") for line in maps.read_text().splitlines() if line.startswith("Sig"))
        hup = 1 << (signal.SIGHUP - 1)
        return bool((int(masks["SigIgn"], 16) | int(masks["SigCgt"], 16)) & hup)

    await until(ignored, "SIGHUP is taken")
    while not await piped.ready():
        piped.child.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.02)
    piped.child.send_signal(signal.SIGTERM)
    assert await piped.ended() == 0


async def test_a_second_sigterm_ends_it_at_once(piped: Piped) -> None:
    """While it waits for a client that has a stream open."""
    await until(piped.ready, "it is ready")
    stderr = piped.child.stderr
    assert stderr is not None
    async with grpc.aio.insecure_channel(piped.grpc) as channel:
        call = channel.stream_stream(f"/{SERVICE_NAME}/Watch", request_serializer=pb.WatchRequest.SerializeToString)()
        await call.write(pb.WatchRequest(services=[pb.ServiceName(namespace="shop", name="echo")]))
        await asyncio.wait_for(call.read(), DEADLINE)
        piped.child.send_signal(signal.SIGTERM)
        while b"stopping" not in await asyncio.to_thread(stderr.readline):
            pass
        piped.child.send_signal(signal.SIGTERM)
        assert await piped.ended() == -signal.SIGTERM
        call.cancel()
