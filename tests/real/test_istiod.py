"""What a real istiod gives sidecars out of the ServiceEntries that the registry writes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.controlplane import ControlPlane
from support.entries import listed
from support.istiod import Istiod, Seen
from support.kube_api import CORE, DISCOVERY, ISTIO, ISTIO_CRD_NAMES, install_crds
from support.missing import tool
from support.processes import until
from support.registry import RunningRegistry

WRITE = "--write-service-entries"
HTTP = {"name": "http", "port": 80, "appProtocol": "http"}
GRPC = {"name": "grpc", "port": 9090, "appProtocol": "grpc"}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A cluster ``a`` with Istio."""

    plane: ControlPlane
    istiod: Istiod


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    plane = ControlPlane("a", folder / "a", controllers=False)
    istiod = Istiod(plane, folder)
    try:
        asyncio.run(_start(plane, istiod))
        yield Mesh(plane, istiod)
    finally:
        istiod.stop()
        asyncio.run(plane.stop())


async def _start(plane: ControlPlane, istiod: Istiod) -> None:
    await plane.start()
    await install_crds(plane.api, tool("istio-crds"), ISTIO_CRD_NAMES)
    await plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": "istio-system"}})
    await istiod.start()
    await plane.api.close()


class World:
    """A namespace of cluster ``a``, whose objects an API server has, and of ``b``, whose objects are files."""

    def __init__(self, mesh: Mesh, registry: RunningRegistry, namespace: str, folder: Path) -> None:
        self.istiod = mesh.istiod
        self.api = mesh.plane.api
        self.registry = registry
        self.namespace = namespace
        self._folder = folder

    def host(self, name: str = "echo") -> str:
        return f"{name}.{self.namespace}.svc.clusterset.local"

    async def in_a(self, *documents: dict[str, Any]) -> None:
        kinds = {"Service": (CORE, "services"), "EndpointSlice": (DISCOVERY, "endpointslices")}
        for document in documents:
            group, kind = kinds[document["kind"]]
            await self.api.create(f"{group}/namespaces/{self.namespace}/{kind}", document)

    def in_b(self, *documents: dict[str, Any]) -> None:
        """These are all that there is, from now on."""
        for each in documents:
            each["metadata"]["namespace"] = self.namespace
        written = self._folder / "b.new"
        written.write_text(yaml.safe_dump_all(documents))
        written.replace(self._folder / "b" / "all.yaml")

    async def entries(self, name: str = "echo") -> list[Any]:
        """Those of one service, as the API server has them."""
        items = await self.api.items(f"{ISTIO}/namespaces/{self.namespace}/serviceentries")
        return [each for each in items if each["spec"]["hosts"] == [self.host(name)]]

    async def sidecars_see(self, port: int, *wanted: tuple[str, int], name: str = "echo") -> list[Seen]:
        """Wait until a sidecar has exactly these addresses and ports."""

        async def seen() -> list[Seen] | None:
            found = await self.istiod.endpoints(f"outbound|{port}||{self.host(name)}")
            return found if [each[:2] for each in found] == sorted(wanted) else None

        what = f"sidecars see {wanted} at port {port}"
        found: list[Seen] | None = []
        if wanted:
            found = await until(seen, what)
        else:
            await until(lambda: _is_empty(seen), what)
        return found or []


async def _is_empty(seen: Any) -> bool:
    return await seen() == []


@asynccontextmanager
async def world(mesh: Mesh, folder: Path, *, tcp: bool = False) -> AsyncIterator[World]:
    """A namespace of its own, and the registry over both clusters."""
    namespace = f"shop-{next(_numbers)}"
    (folder / "b").mkdir()
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"serviceEntries": {"write": True, "tcp": tcp}}))
    try:
        await mesh.plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": namespace}})
        flags = (f"--kubeconfig=a={mesh.plane.kubeconfig()}", f"--manifests=b={folder / 'b'}", f"--config={config}")
        async with RunningRegistry(folder, *flags) as registry:
            yield World(mesh, registry, namespace, folder)
    finally:
        await mesh.plane.api.close()


def a_service(*ports: dict[str, Any], name: str = "echo", **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"ports": list(ports)},
    }


def a_slice(address: str, ports: dict[str, int], *, name: str = "echo-1", service: str = "echo", pod: str = "") -> Any:
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port} for name, port in ports.items()],
        "endpoints": [{"addresses": [address], **target}],
    }


def a_pod(name: str, **labels: str) -> Any:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {
        "name": name,
        "labels": {key.replace("__", "/").replace("_", "."): each for key, each in labels.items()},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"serviceAccountName": "echo"},
        "status": status,
    }


async def test_nobody_is_at_a_port_that_it_does_not_offer(mesh: Mesh, tmp_path: Path) -> None:
    async with world(mesh, tmp_path) as on:
        await on.in_a(a_service(HTTP), a_slice("10.0.0.1", {"http": 8080}))
        on.in_b(
            a_service(HTTP, GRPC, {"name": "admin", "port": 7000, "appProtocol": "http"}),
            a_slice("10.1.0.1", {"http": 80, "grpc": 9091}),
            a_slice("10.1.0.2", {"http": 80}, name="echo-2", pod="p2"),
            a_slice("10.1.0.2", {"grpc": 9092}, name="echo-3", pod="p2"),
            a_pod("p2"),
        )
        await on.sidecars_see(80, ("10.0.0.1", 8080), ("10.1.0.1", 80), ("10.1.0.2", 80))
        await on.sidecars_see(9090, ("10.1.0.1", 9091), ("10.1.0.2", 9092))
        await on.sidecars_see(7000)
        assert await on.istiod.clusters(on.host()) == {f"outbound|{port}||{on.host()}" for port in (80, 9090, 7000)}
        read = listed(await on.entries())
        assert {port: len(there) for port, there in read.items()} == {80: 3, 9090: 2, 7000: 0}
        await on.api.patch(
            f"{DISCOVERY}/namespaces/{on.namespace}/endpointslices/echo-1",
            a_slice("10.0.0.1", {"http": 8081}) | {"metadata": {}},
        )
        on.in_b(a_service(HTTP, GRPC), a_slice("10.1.0.1", {"grpc": 9091}))
        await on.sidecars_see(80, ("10.0.0.1", 8081))
        await on.sidecars_see(9090, ("10.1.0.1", 9091))


async def test_mtls_is_spoken_to_those_that_speak_it(mesh: Mesh, tmp_path: Path) -> None:
    async with world(mesh, tmp_path) as on:
        pods = {
            "with": {"security_istio_io__tlsMode": "istio"},
            "without": {},
            "refuses": {"security_istio_io__tlsMode": "disabled"},
        }
        on.in_b(
            a_service(HTTP),
            *(a_slice(f"10.1.0.{n}", {"http": 80}, name=pod, pod=pod) for n, pod in enumerate([*pods, "unknown"], 1)),
            *(a_pod(name, **labels) for name, labels in pods.items()),
        )
        found = await on.sidecars_see(80, *((f"10.1.0.{n}", 80) for n in range(1, 5)))
        assert [each.mtls for each in found] == [True, False, False, False]


@pytest.mark.parametrize("tcp", [False, True])
async def test_ports_that_would_take_all_traffic_are_there_only_if_asked(mesh: Mesh, tmp_path: Path, tcp: bool) -> None:
    protocols = ("tcp", "", "mysql", "mongo", "redis", "http", "http2", "grpc", "grpc-web", "https", "tls")
    ports = [
        {"name": f"p{number}", "port": number, **({"appProtocol": name} if name else {})}
        for number, name in enumerate(protocols, 7001 + 100 * tcp)
    ]
    names = {each["port"]: each.get("appProtocol", "") for each in ports}
    async with world(mesh, tmp_path, tcp=tcp) as on:
        on.in_b(a_service(*ports), a_slice("10.1.0.1", {each["name"]: each["port"] for each in ports}))
        await on.sidecars_see(7011 + 100 * tcp, ("10.1.0.1", 7011 + 100 * tcp))
        taken = {names[port] for port in await on.istiod.takes_all(on.host())}
        assert taken == ({"tcp", "", "mysql", "mongo", "redis"} if tcp else set())
        (entry,) = await on.entries()
        assert len(entry["spec"]["ports"]) == (11 if tcp else 6)
        lacks = (await on.registry.get(f"/api/v1/explain/{on.namespace}/echo"))["serviceEntry"]["unsaid"]
        assert any("serviceEntries.tcp" in each for each in lacks) != tcp
        conditions = (await on.registry.cluster("a"))["conditions"]
        assert any(each["reason"] == "TCPPortsLeftOut" for each in conditions) != tcp


async def test_what_the_service_says_to_istio_is_carried(mesh: Mesh, tmp_path: Path) -> None:
    async with world(mesh, tmp_path) as on:
        on.in_b(
            a_service(
                HTTP,
                **{"networking.istio.io/exportTo": "pay", "networking.istio.io/traffic-distribution": "PreferClose"},
            ),
            a_slice("10.1.0.1", {"http": 80}),
        )
        cluster = {f"outbound|80||{on.host()}"}

        async def exported() -> bool:
            return await on.istiod.clusters(on.host(), namespace="pay") == cluster

        await until(exported, "sidecars of the namespace see it")
        assert await on.istiod.clusters(on.host(), namespace="web") == set()
        (entry,) = await on.entries()
        assert entry["metadata"]["annotations"] == {"networking.istio.io/traffic-distribution": "PreferClose"}
        on.in_b(a_service(HTTP), a_slice("10.1.0.1", {"http": 80}))

        async def everywhere() -> bool:
            return await on.istiod.clusters(on.host(), namespace="web") == cluster

        await until(everywhere, "all sidecars see it")
        (entry,) = await on.entries()
        assert "annotations" not in entry["metadata"]


@pytest.mark.parametrize(("region", "zone"), [("eu", "eu-1"), ("", "z1")])
async def test_traffic_stays_near_where_the_service_asks_for_it(
    mesh: Mesh, tmp_path: Path, region: str, zone: str
) -> None:
    async with world(mesh, tmp_path) as on:
        near, far = a_slice("10.1.0.1", {"http": 80}), a_slice("10.1.0.2", {"http": 80}, name="echo-2")
        near["endpoints"][0] |= {"zone": zone, "nodeName": "n1"}
        far["endpoints"][0] |= {"zone": "z9", "nodeName": "n2"}
        labels = {"topology.kubernetes.io/region": region} if region else {}
        nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": n, "labels": labels}} for n in ("n1", "n2")]
        on.in_b(a_service(HTTP) | {"spec": {"ports": [HTTP], "trafficDistribution": "PreferClose"}}, near, far, *nodes)
        await on.sidecars_see(80, ("10.1.0.1", 80), ("10.1.0.2", 80))
        found = await on.istiod.endpoints(f"outbound|80||{on.host()}", zone=f"{region}/{zone}")
        assert [(each.locality, each.priority) for each in found] == [(f"{region}/{zone}/b", 0), (f"{region}/z9/b", 1)]


def odd_services() -> dict[str, tuple[dict[str, Any], ...]]:
    """By name, services at the limits of Kubernetes and of Istio's custom resource definition."""
    long = "http-" + 57 * "a"
    many = [{"name": f"http-{number}", "port": number} for number in range(1000, 1140)]
    return {
        "long-names": ({"name": long + "a", "port": 1}, {"name": long + "b", "port": 2}, {"name": long, "port": 3}),
        "unnamed": ({"port": 8000, "appProtocol": "http"},),
        "same": ({"name": "http", "port": 80}, {"name": "http-80", "port": 81}, {"name": "http-u", "port": 82}),
        "digits": ({"name": "8080", "port": 8080, "appProtocol": "http"},),
        "many": tuple(many),
        "s" + 62 * "x": (HTTP, GRPC),
    }


async def test_the_api_server_takes_the_entries_of_odd_services(mesh: Mesh, tmp_path: Path) -> None:
    async with world(mesh, tmp_path) as on:
        documents = []
        for name, ports in odd_services().items():
            targets = {each.get("name", ""): each["port"] + 1 for each in ports}
            documents += [a_service(*ports, name=name), a_slice("10.1.0.1", targets, name=name, service=name)]
            fewer = dict(list(targets.items())[1:]) or targets
            documents.append(a_slice("10.1.0.2", fewer, name=f"fewer-{name}", service=name))
        on.in_b(*documents)

        async def written() -> bool:
            report = (await on.registry.cluster("a"))["serviceEntries"]
            assert report["reason"] in ("", "Waiting"), report
            return bool(await on.entries("same")) and report["entries"] >= len(odd_services())

        await until(written, "all are written")
        for name, ports in odd_services().items():
            await on.sidecars_see(
                ports[-1]["port"],
                *{("10.1.0.1", ports[-1]["port"] + 1), ("10.1.0.2", ports[-1]["port"] + 1)},
                name=name,
            )
            assert listed(await on.entries(name)).keys() == {each["port"] for each in ports}
