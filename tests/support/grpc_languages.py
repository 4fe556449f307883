"""The gRPC clients of several languages, and a service in a folder of manifests that they call."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from support import grpc_xds_caller
from support.grpc_client import started_command
from support.kubelet import POD_PORT
from support.missing import missing, tool
from support.processes import until
from support.registry import RunningRegistry

LANGUAGES = ("grpcio", "grpc-go", "grpc-java")


def command(language: str) -> list[str]:
    """The program that calls the target it is given last, and prints each answer; see ``grpc_xds_caller``."""
    if language == "grpcio":
        return [sys.executable, grpc_xds_caller.__file__]
    program = tool(language)
    if language == "grpc-go":
        return [str(program)]
    java = shutil.which("java") or missing("java", "install a JRE, 17 or newer")
    return [java, "-XX:TieredStopAtLevel=1", "-cp", f"{program}/*:{program}", "Caller"]


class Service:
    """The Service ``shop/echo`` of one cluster, as one file of a folder of manifests."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._file = folder / "echo.yaml"

    def put(self, *addresses: str, protocol: str = "grpc") -> None:
        """Make it with these endpoints, or give it these."""
        metadata = {"namespace": "shop", "name": "echo", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
        port = {"name": "grpc", "port": 80, "targetPort": POD_PORT, "protocol": "TCP", "appProtocol": protocol}
        endpoints = [{"addresses": [each], "conditions": {"ready": True}} for each in addresses]
        documents = [
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "name": "echo-1", "labels": {"kubernetes.io/service-name": "echo"}},
                "addressType": "IPv4",
                "ports": [{"name": "grpc", "port": POD_PORT, "protocol": "TCP", "appProtocol": protocol}],
                "endpoints": endpoints,
            },
        ]
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(yaml.safe_dump_all(documents))
        unfinished.rename(self._file)

    def delete(self) -> None:
        self._file.unlink()


class Calls:
    """The calls of a client, one after another, as they come back."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []

    def forget(self) -> None:
        self.answers.clear()
        self.errors.clear()

    async def only(self, *names: str, seconds: float = 10.0) -> None:
        """Wait until these alone answer, without an error between."""

        async def settled() -> bool:
            self.forget()
            await until(lambda: self.errors or sum(self.answers.values()) >= 20, "20 calls came back", seconds)
            return not self.errors and set(self.answers) == set(names)

        await until(settled, f"{sorted(names)} answer every call", seconds)

    async def none(self, seconds: float = 10.0) -> None:
        """Wait until every call fails."""

        async def failing() -> bool:
            self.forget()
            await until(lambda: self.answers or len(self.errors) >= 5, "5 calls came back", seconds)
            return not self.answers

        await until(failing, "every call fails", seconds)


@asynccontextmanager
async def calling(language: str, folder: Path, registry: RunningRegistry, target: str) -> AsyncIterator[Calls]:
    """A client that calls ``target`` while the context lasts."""
    process, requests, replies = await started_command(
        folder, registry, ("--cluster", "a"), [*command(language), target]
    )
    calls = Calls()

    async def read() -> None:
        async for line in replies:
            answer = json.loads(line)
            if "name" in answer:
                calls.answers[answer["name"]] += 1
            else:
                calls.errors.append(answer["error"])

    reader = asyncio.create_task(read())
    try:
        yield calls
    finally:
        requests.close()
        await process.wait()
        await reader
