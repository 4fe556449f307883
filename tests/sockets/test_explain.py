"""``mesh-registry explain`` as users run it: endpoints that are there, those that are not, and what a client has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from envoy_data_plane.envoy.config.core.v3 import Locality, Node
from support.registry import RunningRegistry
from support.xds_stream import Stream

from registry.xds.types import ADS_DELTA_METHOD, ADS_SERVICE, EDS

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = "shop/echo"
NAME = "outbound|80||echo.shop.svc.clusterset.local"


def manifest(name: str, ready: dict[str, bool], zone: str) -> str:
    """A Service, and a slice with these addresses."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "7"},
        "spec": {"ports": [{"name": "http", "port": 80}], "trafficDistribution": "PreferSameZone"},
    }
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "shop",
            "resourceVersion": "9",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": value}, "zone": zone, "nodeName": "n"}
            for address, value in ready.items()
        ],
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n", "resourceVersion": "4", "labels": {"topology.kubernetes.io/region": "eu"}},
    }
    return "\n---\n".join(json.dumps(each) for each in (service, slice_, node))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRegistry]:
    """Two clusters: in ``a`` one of two endpoints is ready, in ``b`` one is. No test changes them."""
    tmp_path = tmp_path_factory.mktemp("running")
    for name, ready in (("a", {"10.0.0.1": True, "10.0.0.2": False}), ("b", {"10.0.1.1": True})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "echo.yaml").write_text(manifest("echo", ready, f"eu-{name}"))
    (tmp_path / "b" / "orphan.yaml").write_text(manifest("orphan", {"10.0.1.9": True}, "eu-b").split("\n---\n")[1])
    flags = [f"--manifests={name}={tmp_path / name}" for name in ("a", "b")]
    async with RunningRegistry(tmp_path, *flags) as it:
        yield it


def document(registry: RunningRegistry, *arguments: str) -> Any:
    done = registry.command("explain", *arguments, "-o", "json", "--server", registry.http)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_every_endpoint_is_told_with_the_rule_and_where_it_is_from(running: RunningRegistry) -> None:
    told = document(running, ECHO)
    said = {each["address"]: (each["cluster"], each["present"], each["reason"]) for each in told["endpoints"]}
    assert said == {
        "10.0.0.1": ("a", True, "Ready"),
        "10.0.0.2": ("a", False, "NotReady"),
        "10.0.1.1": ("b", True, "Ready"),
    }
    first = told["endpoints"][0]
    assert first["slice"] == {"name": "echo-1", "resourceVersion": "9", "held": False}
    assert first["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert first["node"] == {"name": "n", "resourceVersion": "4", "region": "eu", "zone": ""}
    assert told["policy"]["distribution"] == "PreferSameZone"
    assert told["policy"]["from"] == {"distribution": "spec.trafficDistribution"}
    assert [(each["name"], each["standing"], each["reason"]) for each in told["clusters"]] == [
        ("a", "Current", None),
        ("b", "Current", None),
    ]
    text = running.command("explain", ECHO, "--server", running.http).stdout
    assert "its ServiceEntry cannot say" not in text, "PreferSameZone is carried to the entry"
    assert "10.0.0.2  a  not in the list: NotReady" in text
    assert "  dropped  NotReady: the slice says that it is not ready" in text


async def test_one_address_is_told_alone_in_any_of_its_forms(running: RunningRegistry) -> None:
    assert [each["address"] for each in document(running, ECHO, "10.0.1.1")["endpoints"]] == ["10.0.1.1"]


async def test_an_address_that_nobody_knows_is_exit_code_1_and_says_who_was_asked(running: RunningRegistry) -> None:
    done = running.command("explain", ECHO, "10.9.9.9", "--server", running.http)
    assert done.returncode == 1
    assert "no slice of shop/echo has the address 10.9.9.9; asked were a (heard of " in done.stderr


async def test_slices_without_a_service_are_explained(running: RunningRegistry) -> None:
    told = document(running, "shop/orphan")
    assert not told["listed"]
    assert [(each["address"], each["reason"]) for each in told["endpoints"]] == [("10.0.1.9", "NoService")]


async def test_a_service_that_nobody_has_is_said_not_to_be_there(running: RunningRegistry) -> None:
    done = running.command("explain", "shop/nowhere", "--server", running.http)
    assert (done.returncode, "no cluster has a Service shop/nowhere" in done.stderr) == (1, True)


async def test_a_client_that_is_not_connected_is_said_not_to_be(running: RunningRegistry) -> None:
    done = running.command("explain", ECHO, "--client", "nobody", "--server", running.http)
    assert done.returncode == 1
    assert "no client 'nobody' is connected: `mesh-registry get clients` lists those that are" in done.stderr


async def test_what_a_client_has_is_told_with_priority_version_and_ack(running: RunningRegistry) -> None:
    node = Node(id="near-b", locality=Locality(region="eu", zone="eu-b"))
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stream = Stream(channel, f"/{ADS_SERVICE}/{ADS_DELTA_METHOD}", delta=True, node=node)
        await stream.send(stream.client.subscribe(EDS, NAME))
        reply = await stream.expect()
        waiting = document(running, ECHO, "--client", "near-b")
        assert waiting["client"]["answers"]["waiting"]
        assert waiting["client"]["answers"]["ackedAt"] is None
        await stream.send(stream.client.ack(reply))
        await stream.send(stream.client.subscribe(EDS, "outbound|1||nobody"))
        await stream.expect()
        told = document(running, ECHO, "--client", "near-b")
        assert told["client"]["answers"]["ackedAt"] is not None
        (port,) = told["client"]["ports"]
        assert port["subscribed"]
        assert port["upToDate"]
        assert port["sentVersion"] == port["version"] != ""
        assert told["client"]["place"]["zone"] == "eu-b"
        views = {each["address"]: each["views"][0] for each in told["endpoints"] if each["present"]}
        assert {address: view["priority"] for address, view in views.items()} == {"10.0.1.1": 0, "10.0.0.1": 1}
        reasons = {address: [step["reason"] for step in view["steps"]] for address, view in views.items()}
        assert reasons == {"10.0.1.1": ["SameZone"], "10.0.0.1": ["SameRegion"]}
        text = running.command("explain", ECHO, "10.0.1.1", "--client", "near-b", "--server", running.http).stdout
        assert "port 80: priority 0, locality eu/eu-b/b of weight 1, weight 1" in text
        assert "has it" in text
