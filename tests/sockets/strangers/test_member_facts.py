"""A member whose objects are as large and as odd as an API server lets them be, and change all the time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fake_apiserver import FakeApiServer
from support.processes import until
from support.strangers import Siege, Stronghold, besieged

from registry.model.names import Kind

PORTS = 8000
SELECTORS = 16_000
ROUNDS = 10
ROUND_SECONDS = 0.25
SPECIAL = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
LISTED = "10.66.0.1"


@contextmanager
def a_member(stronghold: Stronghold, api: FakeApiServer) -> Iterator[None]:
    """The registry follows the API server, under the name ``hostile``."""
    cluster = {"name": "it", "cluster": {"server": api.url}}
    config = {
        "current-context": "it",
        "clusters": [cluster],
        "users": [{"name": "it", "user": {"token": "it"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = stronghold.members / "hostile"
    path.write_text(json.dumps(config))
    try:
        yield
    finally:
        path.unlink()


def a_service(
    name: str, turn: int, ports: int, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    said = [{"name": f"http-{each}", "port": 1 + each} for each in range(ports)]
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"turn": str(turn)},
            "annotations": annotations or {},
            "creationTimestamp": "2001-01-01T00:00:00Z",
        },
        "spec": {"ports": said, **spec},
    }


def a_slice(name: str, addresses: list[str], ports: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        "ports": [{"name": f"http-{each}", "port": 8080} for each in range(ports)],
    }


async def turns(api: FakeApiServer) -> None:
    """Another label of a service of many ports, of one with many selectors, and of one that is another team's."""
    selectors = json.dumps([{"cluster": "a"}] * SELECTORS)
    names = ",".join(f"-{each}" for each in range(20_000))
    notes = {"mesh-registry.io/failover": selectors, "networking.istio.io/exportTo": names}
    for turn in range(ROUNDS):
        await api.put(Kind.SERVICE, a_service("many-ports", turn, PORTS))
        await api.put(Kind.SERVICE, a_service("many-selectors", turn, 1, notes))
        await api.put(Kind.SERVICE, a_service("service-0", turn, 1, internalTrafficPolicy="Local"))
        await asyncio.sleep(ROUND_SECONDS)


async def explained(siege: Siege, name: str) -> dict[str, str]:
    """Address -> the rule that is named first."""
    document = json.loads(await siege.registry.text(f"/api/v1/explain/shop/{name}"))
    return {each["address"]: each["reason"] for each in document["endpoints"] if each["cluster"] == "hostile"}


async def test_member_with_huge_services_costs_its_own_alone(stronghold: Stronghold) -> None:
    async with FakeApiServer() as api:
        api.uid = "uid-hostile"
        api.betray(Kind.NAMESPACE, {"metadata": {"name": "shop"}})
        with a_member(stronghold, api):
            await until(lambda: _in_state(stronghold, "Synced"), "the member is followed")
            async with besieged(stronghold) as siege:
                await api.put(Kind.ENDPOINT_SLICE, a_slice("many-ports", [LISTED, *SPECIAL], PORTS))
                await api.put(Kind.ENDPOINT_SLICE, a_slice("many-selectors", [LISTED], 1))
                await turns(api)
                found = await explained(siege, "many-ports")
                clusters = json.loads(await siege.registry.text("/api/v1/clusters"))["clusters"]
                service = json.loads(await siege.registry.text("/api/v1/services/shop/service-0"))
                metrics = await siege.registry.text("/metrics")
                for name in ("many-ports", "many-selectors", "service-0"):
                    await api.delete(Kind.SERVICE, name)
        await until(lambda: _in_state(stronghold, None), "the member has left")
    siege.assert_unharmed()
    assert found == {LISTED: "Ready"} | dict.fromkeys(SPECIAL, "SpecialAddress")
    assert service["internalTrafficPolicy"] == "Cluster"
    assert {each["cluster"] for each in service["endpoints"]} == {"steady"}
    (member,) = [each for each in clusters if each["name"] == "hostile"]
    (condition,) = [each for each in member["conditions"] if each["type"] == "FactsServed"]
    assert (condition["status"], condition["reason"]) == (False, "TooManyPorts")
    for reason in ("TooManyPorts", "SpecialAddress"):
        assert f'mesh_registry_refused_exports{{cluster="hostile",reason="{reason}"}} 1.0' in metrics


async def _in_state(stronghold: Stronghold, state: str | None) -> bool:
    """Whether the hostile member is; None: it is no member."""
    registry = await stronghold.held()
    clusters = json.loads(await registry.text("/api/v1/clusters"))["clusters"]
    return next((each["state"] for each in clusters if each["name"] == "hostile"), None) == state
