"""The demo's stage: pods, registry and Envoy, each started, awaited and stopped here."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from registry.cli.demo.envoy import Envoy
from registry.cli.demo.fleet import Clusters, PodServers
from registry.cli.demo.processes import Children, free_port
from registry.errors import StartError

START_SECONDS = 30.0
POLL_SECONDS = 0.05
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything listens, each HOST:PORT: the contract's defaults, or free ports where those are taken."""

    grpc: str
    http: str
    outbound: str
    envoy_admin: str

    @classmethod
    def choose(cls) -> Addresses:
        """The default of each, or a free port instead."""
        return cls(*(f"127.0.0.1:{free_port(port)}" for port in (15010, 15014, 15001, 15000)))


class RegistryApi:
    """The registry's HTTP API, as the tour reads it."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at ``path``, whatever the status."""
        async with self._session.get(f"http://{self._address}{path}") as response:
            document: dict[str, Any] = await response.json()
            return document

    async def ready(self) -> bool:
        """Whether it answers, and says that it is ready."""
        try:
            async with self._session.get(f"http://{self._address}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the tour acts on, running."""

    clusters: Clusters
    pods: PodServers
    registry: RegistryApi
    envoy: Envoy
    addresses: Addresses


@asynccontextmanager
async def stage(folder: Path, envoy_program: str, progress: Progress) -> AsyncIterator[Stage]:
    """Start pods, registry and Envoy, files and logs in ``folder``; at the end all of them are gone.

    Raises:
        StartError: a part did not start; the text says which, and the end of its log.
    """
    addresses = Addresses.choose()
    clusters = Clusters(folder / "clusters")
    children = Children(folder)
    pods = PodServers()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        registry = RegistryApi(session, addresses.http)
        envoy = Envoy(session, addresses.envoy_admin, addresses.outbound)
        try:
            for pod in clusters.pods():
                await pods.start(pod)
            progress(f"{len(clusters.pods())} pods answer")
            config = _registry_config(folder, clusters, addresses)
            await children.start("registry", [*_program(), "serve", "--config", str(config)])
            await _until(registry.ready, children, "registry")
            progress(f"the registry is ready: gRPC {addresses.grpc}, HTTP http://{addresses.http}")
            bootstrap = await _envoy_bootstrap(folder, addresses)
            options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
            await children.start("envoy", [envoy_program, "-c", str(bootstrap), *options])
            await _until(_envoy_ready(session, addresses), children, "envoy")
            progress(f"Envoy is ready: outbound listener {addresses.outbound}, admin {addresses.envoy_admin}")
            yield Stage(clusters, pods, registry, envoy, addresses)
        finally:
            await children.stop_all()
            await pods.stop_all()


def find_envoy() -> str:
    """The Envoy beside this Python, where ``make demo`` puts it, or on PATH.

    Raises:
        StartError: there is none.
    """
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise StartError("no envoy on PATH: `make demo` installs one, or take it from envoyproxy.io")
    return found


def _program() -> list[str]:
    return [sys.executable, "-m", "registry.cli"]


def _registry_config(folder: Path, clusters: Clusters, addresses: Addresses) -> Path:
    document = {
        "clusters": [{"name": name, "manifests": str(clusters.folder / name)} for name in clusters.names],
        "listen": {"grpc": addresses.grpc, "http": addresses.http},
        "envoy": {"listener": addresses.outbound},
    }
    path = folder / "registry.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


async def _envoy_bootstrap(folder: Path, addresses: Addresses) -> Path:
    """What a user does: the output of ``mesh-registry bootstrap envoy``, in a file."""
    command = [*_program(), "bootstrap", "envoy", "--node-id", "sidecar~127.0.0.1~demo.shop~shop.svc.cluster.local"]
    command += ["--cluster", "a", "--region", "eu-west", "--zone", "eu-west-1", "--node-name", "a-node-1"]
    command += ["--server", addresses.grpc, "--admin", addresses.envoy_admin]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(f"bootstrap envoy failed: {done.stderr.strip()}")
    path = folder / "envoy.yaml"
    path.write_text(done.stdout)
    return path


def _envoy_ready(session: aiohttp.ClientSession, addresses: Addresses) -> Callable[[], Any]:
    async def admin(path: str) -> Any:
        async with session.get(f"http://{addresses.envoy_admin}{path}") as response:
            return await response.json(content_type=None)

    async def ready() -> bool:
        """Envoy tells of a listener before a worker takes connections for it, so the workers are asked for too."""
        try:
            listeners = await admin("/listeners?format=json")
            workers = await admin("/stats?format=json&filter=^listener_manager.workers_started$")
        except (aiohttp.ClientError, OSError):
            return False
        works = any(each.get("value") for each in workers.get("stats", ()))
        return works and any(each["name"] == "outbound_http" for each in listeners.get("listener_statuses", ()))

    return ready


async def _until(condition: Callable[[], Any], children: Children, name: str) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await condition():
                children.check(name)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise StartError(f"{name} did not become ready in {START_SECONDS:.0f} s; see its log") from None
