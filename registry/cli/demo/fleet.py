"""The demo's two clusters: folders of manifests that can be edited, and the four pods behind them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from registry.errors import StartError
from registry.model.names import ServiceKey

SERVICE = ServiceKey("shop", "echo")
POD_PORT = 18080
MANIFESTS = Path(__file__).with_name("clusters")


@dataclass(frozen=True, slots=True)
class DemoPod:
    """A pod as its manifest has it; its HTTP server listens on ``address``, a loopback address of its own."""

    name: str
    cluster: str
    address: str


class Clusters:
    """Copies of the demo's manifests in ``folder``, one folder per cluster, edited as an operator's tool would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(MANIFESTS, folder, dirs_exist_ok=True)
        self.names = sorted(path.name for path in MANIFESTS.iterdir())

    def pods(self) -> tuple[DemoPod, ...]:
        """Every pod of both clusters, in the order of their names."""
        found = [
            DemoPod(pod["metadata"]["name"], cluster, pod["status"]["podIP"])
            for cluster in self.names
            for pod in yaml.safe_load((self.folder / cluster / "pods.yaml").read_text())["items"]
        ]
        return tuple(sorted(found, key=lambda pod: pod.name))

    def make_unready(self, pod: DemoPod) -> None:
        """What the endpointslice controller writes when the pod's readiness probe fails."""

        def edit(document: dict[str, Any]) -> None:
            for endpoint in document["endpoints"]:
                if endpoint["targetRef"]["name"] == pod.name:
                    endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}

        self._edit(pod.cluster, "endpointslices.yaml", edit)

    def delete(self, pod: DemoPod) -> None:
        """What is left when the pod is gone."""

        def drop_endpoint(document: dict[str, Any]) -> None:
            document["endpoints"] = [each for each in document["endpoints"] if each["targetRef"]["name"] != pod.name]

        def drop_pod(document: dict[str, Any]) -> None:
            document["items"] = [each for each in document["items"] if each["metadata"]["name"] != pod.name]

        self._edit(pod.cluster, "endpointslices.yaml", drop_endpoint)
        self._edit(pod.cluster, "pods.yaml", drop_pod)

    def make_unreadable(self, cluster: str) -> None:
        """Take the cluster's folder away, as an unmounted volume would be."""
        self._path(cluster).rename(self._hidden(cluster))

    def make_readable(self, cluster: str) -> None:
        """Bring the folder back."""
        self._hidden(cluster).rename(self._path(cluster))

    def _path(self, cluster: str) -> Path:
        return self.folder / cluster

    def _hidden(self, cluster: str) -> Path:
        return self.folder / f"{cluster}.unmounted"

    def _edit(self, cluster: str, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
        path = self._path(cluster) / name
        document = yaml.safe_load(path.read_text())
        edit(document)
        fresh = path.with_name(f".{name}.new")
        fresh.write_text(yaml.safe_dump(document, sort_keys=False))
        os.replace(fresh, path)


class PodServers:
    """A little HTTP server per pod that answers every request with the pod's name."""

    def __init__(self) -> None:
        self._runners: dict[str, web.AppRunner] = {}

    async def start(self, pod: DemoPod) -> None:
        """Listen on the pod's address.

        Raises:
            StartError: the address or its port cannot be had.
        """

        async def say_name(_request: web.Request) -> web.Response:
            return web.Response(text=f"{pod.name}\n")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", say_name)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, pod.address, POD_PORT).start()
        except OSError as error:
            await runner.cleanup()
            raise StartError(
                f"{pod.name} cannot listen on {pod.address}:{POD_PORT} ({error.strerror}): stop what uses the port, or,"
                f" where only 127.0.0.1 is a loopback address, add it (macOS: sudo ifconfig lo0 alias {pod.address})"
            ) from error
        self._runners[pod.name] = runner

    async def stop(self, pod: DemoPod) -> None:
        """The pod is gone: nothing listens on its address any more."""
        await self._runners.pop(pod.name).cleanup()

    async def stop_all(self) -> None:
        """Every pod that still runs is stopped."""
        while self._runners:
            _, runner = self._runners.popitem()
            await runner.cleanup()
