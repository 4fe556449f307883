"""What is explained of Pods of two real clusters: every one, with the versions that the API servers have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.kube_api import CORE, DISCOVERY
from support.processes import until
from support.scene import Planes, Scene, scene


def explained(on: Scene, *arguments: str) -> Any:
    done = on.registry.command("explain", on.service, *arguments, "-o", "json", "--server", on.registry.http)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_pod_that_is_not_ready_is_explained_by_the_objects_that_say_so(planes: Planes, tmp_path: Path) -> None:
    async with scene(planes, tmp_path) as on:
        name, address = next(iter((await on.a.pods()).items()))
        await on.a.kubelet.set_ready(name, ready=False)

        async def left() -> Any:
            (told,) = explained(on, address)["endpoints"]
            return None if told["present"] else told

        told = await until(left, "it is explained as left out", timeout=30)
        assert (told["cluster"], told["reason"], told["podNamed"]) == ("a", "NotReady", name)
        assert told["conditions"]["ready"] is False
        (fact,) = await on.a.plane.api.items(on.a.path(DISCOVERY, "endpointslices"))
        assert told["slice"]["name"] == fact["metadata"]["name"]
        assert told["slice"]["resourceVersion"] == fact["metadata"]["resourceVersion"]
        service = await on.a.plane.api.get(on.a.path(CORE, "services", "echo"))
        everything = explained(on)
        versions = {each["name"]: each["service"]["resourceVersion"] for each in everything["clusters"]}
        assert versions["a"] == service["metadata"]["resourceVersion"]
        present = {each["address"] for each in everything["endpoints"] if each["present"]}
        assert present == await on.registry.addresses(on.service) == set((await on.pods()).values())
        assert len(everything["endpoints"]) == len(present) + 1
        assert all(each["pod"]["resourceVersion"] and each["node"] for each in everything["endpoints"])
