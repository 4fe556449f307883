"""What a real API server and its controllers make of Services of every kind, and what becomes of that in the list."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.kube_api import CORE, DISCOVERY, pod, pod_status
from support.processes import until
from support.registry import RunningRegistry
from support.scene import Planes

LABELS = {"app": "echo"}
PORT = {"name": "http", "port": 80, "targetPort": "web"}


class Namespace:
    """One namespace of the control plane ``a``, and the registry over it."""

    def __init__(self, planes: Planes, registry: RunningRegistry) -> None:
        self._api = planes.a.api
        self._namespace = planes.namespace
        self.registry = registry

    def path(self, kind: str, name: str = "", group: str = CORE) -> str:
        return f"{group}/namespaces/{self._namespace}/{kind}" + (f"/{name}" if name else "")

    async def service(self, name: str, **spec: Any) -> None:
        spec = {"selector": LABELS, "ports": [PORT], **spec}
        await self._api.create(self.path("services"), {"metadata": {"name": name}, "spec": spec})

    async def pod(self, name: str, address: str, *, ready: bool = True, port: int = 8080, **spec: Any) -> None:
        document = pod(name, LABELS, "a-1", port)
        document["spec"].update(spec)
        await self._api.create(self.path("pods"), document)
        await self._api.patch(f"{self.path('pods', name)}/status", pod_status(address, ready=ready))

    async def slice(self, name: str, service: str, kind: str, *endpoints: Mapping[str, Any]) -> None:
        document = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": kind,
            "endpoints": list(endpoints),
            "ports": [{"name": "http", "port": 8080}],
        }
        await self._api.create(self.path("endpointslices", group=DISCOVERY), document)

    async def shown(self, name: str, endpoints: int) -> Any:
        """The service, as soon as it has so many endpoints."""

        async def document() -> Any:
            found = await self.registry.get(f"/api/v1/services/{self._namespace}/{name}")
            return found if found is not None and len(found["endpoints"]) == endpoints else None

        return await until(document, f"{name} has {endpoints} endpoints", timeout=30)


def registry(planes: Planes, folder: Path) -> RunningRegistry:
    return RunningRegistry(folder, f"--kubeconfig=a={planes.a.kubeconfig()}")


async def test_named_target_ports_differ_by_pod(planes: Planes, tmp_path: Path) -> None:
    async with registry(planes, tmp_path) as running:
        there = Namespace(planes, running)
        await there.service("echo", type="NodePort")
        await there.pod("old", "198.18.0.1", port=8080)
        await there.pod("new", "198.18.0.2", port=9090)
        shown = await there.shown("echo", 2)
        targets = {each["address"]: each["ports"] for each in shown["endpoints"]}
        assert targets["198.18.0.1"] == [{"port": 80, "target": 8080, "protocol": "TCP"}]
        assert targets["198.18.0.2"] == [{"port": 80, "target": 9090, "protocol": "TCP"}]
        assert (shown["type"], shown["ipFamilies"]) == ("ClusterSetIP", ["IPv4"])


async def test_headless_endpoints_have_their_hostnames(planes: Planes, tmp_path: Path) -> None:
    async with registry(planes, tmp_path) as running:
        there = Namespace(planes, running)
        await there.service("echo", clusterIP="None")
        for number in (0, 1):
            await there.pod(f"echo-{number}", f"198.18.0.{number + 1}", hostname=f"echo-{number}", subdomain="echo")
        shown = await there.shown("echo", 2)
        assert {each["hostname"] for each in shown["endpoints"]} == {"echo-0", "echo-1"}
        assert shown["type"] == "Headless"


async def test_addresses_that_are_not_ready_are_listed_where_they_are_published(planes: Planes, tmp_path: Path) -> None:
    async with registry(planes, tmp_path) as running:
        there = Namespace(planes, running)
        await there.service("published", publishNotReadyAddresses=True)
        await there.service("strict")
        await there.pod("p1", "198.18.0.1", ready=False)
        shown = await there.shown("published", 1)
        assert (shown["endpoints"][0]["health"], shown["unready"]) == ("HEALTHY", 0)

        async def unready() -> bool:
            strict = await there.shown("strict", 0)
            return bool(strict["unready"] == 1 and [each["endpoints"] for each in strict["expected"]] == [1])

        await until(unready, "the other service counts the Pod as unready, and expects it")


async def test_pod_of_slices_in_both_families_is_one_endpoint(planes: Planes, tmp_path: Path) -> None:
    """The slices are made by hand, as the controller makes them: these control planes have one family."""
    async with registry(planes, tmp_path) as running:
        there = Namespace(planes, running)
        await there.service("echo", selector=None)
        target = {"kind": "Pod", "name": "p1"}
        await there.slice("echo-4", "echo", "IPv4", {"addresses": ["198.18.0.1"], "targetRef": target})
        await there.shown("echo", 1)
        await there.slice("echo-6", "echo", "IPv6", {"addresses": ["2001:db8::1"], "targetRef": target})

        async def both() -> bool:
            (endpoint,) = (await there.shown("echo", 1))["endpoints"]
            return bool([endpoint["address"], *endpoint["additionalAddresses"]] == ["198.18.0.1", "2001:db8::1"])

        await until(both, "the endpoint has both addresses")


async def test_what_a_service_says_of_its_traffic_is_shown(planes: Planes, tmp_path: Path) -> None:
    async with registry(planes, tmp_path) as running:
        there = Namespace(planes, running)
        await there.service(
            "echo",
            sessionAffinity="ClientIP",
            internalTrafficPolicy="Local",
            trafficDistribution="PreferSameZone",
            ports=[PORT, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "s", "port": 54, "protocol": "SCTP"}],
        )
        await there.slice("by-hand", "echo", "FQDN", {"addresses": ["example.org"]})
        shown = await there.shown("echo", 0)
        assert shown["sessionAffinitySeconds"] == 10800
        assert (shown["internalTrafficPolicy"], shown["trafficDistribution"]) == ("Local", "PreferSameZone")
        assert [bool(port["unsupported"]) for port in shown["ports"]] == [True, True, False]
        wide = running.command("get", "services", "-o", "wide", "--server", running.http).stdout
        assert "53/UDP: not in xDS" in wide
