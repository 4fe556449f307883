"""A real Envoy, started on the registry's own bootstrap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from support.away import whole_answers
from support.missing import envoy
from support.processes import Process, free_port, until
from support.registry import RunningRegistry


class RunningEnvoy:
    """Use as an async context; ready when it has its outbound listener, which is then at ``outbound`` (HOST:PORT).

    ``api_type``: DELTA_GRPC or GRPC (SotW).
    """

    def __init__(
        self,
        folder: Path,
        registry: RunningRegistry,
        api_type: str = "DELTA_GRPC",
        node: Sequence[str] = ("--cluster", "a"),
    ) -> None:
        """``node`` is what ``bootstrap envoy`` is told of where it is."""
        admin = f"127.0.0.1:{free_port()}"
        made = registry.command("bootstrap", "envoy", *node, "--server", registry.grpc, "--admin", admin)
        assert made.returncode == 0, made.stderr
        document = yaml.safe_load(made.stdout)
        document["dynamic_resources"]["ads_config"]["api_type"] = api_type
        path = folder / "envoy.json"
        path.write_text(json.dumps(document))
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
        self.process = Process("envoy", [str(envoy()), "-c", str(path), *options], folder / "envoy.log")
        self._admin = admin
        self._session: aiohttp.ClientSession | None = None
        self.outbound = ""

    async def __aenter__(self) -> RunningEnvoy:
        self._session = aiohttp.ClientSession()
        self.process.start()
        try:
            await until(self._ready, "Envoy has its outbound listener")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._session is not None
        await self._session.close()
        self.process.stop()

    async def _ready(self) -> bool:
        self.process.check()
        listeners = await self.admin("/listeners?format=json")
        works = await self.stat("listener_manager.workers_started")
        for each in listeners.get("listener_statuses", ()):
            if each["name"] == "outbound_http":
                address = each["local_address"]["socket_address"]
                self.outbound = f"{address['address']}:{address['port_value']}"
        return bool(self.outbound and works)  # a listener is told of before a worker takes connections for it

    async def admin(self, path: str) -> Any:
        """JSON of Envoy's admin interface."""
        assert self._session is not None
        with whole_answers("Envoy's admin interface"):
            async with self._session.get(f"http://{self._admin}{path}") as response:
                return await response.json(content_type=None)

    async def hosts(self, cluster: str) -> dict[str, str]:
        """The addresses Envoy has for a cluster, each with its EDS health."""
        document = await self.admin("/clusters?format=json")
        return {
            host["address"]["socket_address"]["address"]: host["health_status"].get("eds_health_status", "")
            for status in document.get("cluster_statuses", ())
            if status["name"] == cluster
            for host in status.get("host_statuses", ())
        }

    async def stat(self, name: str) -> int:
        """One counter or gauge."""
        document = await self.admin(f"/stats?format=json&filter=^{name}$")
        return sum(each["value"] for each in document["stats"] if each.get("name") == name)
