"""A manifest file of 33 MB: how long the loop is held up, seconds, and memory of the registry and of its child.

python benchmarks/manifests.py [MEGABYTES]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.model.names import ClusterId
from registry.runtime import run
from registry.sources.manifests import ManifestsSource

TICK_SECONDS = 0.005


class Sink:
    """Counts."""

    events = 0
    said: Any = None

    def event(self, *_: object) -> None:
        self.events += 1

    def status(self, _: ClusterId, status: object) -> None:
        self.said = status

    def condition(self, *_: object) -> None:
        """Nothing."""


def items(megabytes: int) -> Iterator[str]:
    yield "apiVersion: v1\nitems:\n"
    size = n = 0
    while size < megabytes * 1_000_000:
        endpoints = "".join(
            f"  - addresses:\n    - 10.{n % 250}.{n // 250 % 250}.{e}\n    conditions:\n      ready: true\n"
            f"    nodeName: node-{e}\n    targetRef:\n      kind: Pod\n      name: e-{n}-{e}\n    zone: z-{e % 3}\n"
            for e in range(10)
        )
        text = (
            f"- apiVersion: v1\n  kind: Service\n  metadata:\n    name: echo-{n}\n    namespace: shop\n"
            "  spec:\n    ports:\n    - name: http\n      port: 80\n"
            f"- addressType: IPv4\n  apiVersion: discovery.k8s.io/v1\n  endpoints:\n{endpoints}  kind: EndpointSlice\n"
            f"  metadata:\n    labels:\n      kubernetes.io/service-name: echo-{n}\n"
            f"    name: echo-{n}\n    namespace: shop\n"
            "  ports:\n  - name: http\n    port: 8080\n"
        )
        size, n = size + len(text), n + 1
        yield text
    yield "kind: List\n"


def peak_megabytes(process: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) >> 10
    return 0


def peak_of_children() -> int:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return max(map(peak_megabytes, children), default=0)


async def measure(megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "large.yaml").write_text("".join(items(megabytes)))
        before, child, longest = peak_megabytes("self"), 0, 0.0
        sink, began = Sink(), time.monotonic()
        task = asyncio.create_task(ManifestsSource(ClusterId("a"), Path(folder)).run(sink))
        while sink.said is None:
            slept = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            longest = max(longest, time.monotonic() - slept - TICK_SECONDS)
            child = max(child, peak_of_children())
        print(f"{sink.events} events in {time.monotonic() - began:.1f} s, {sink.said.state}")
        print(f"the loop was held up {longest * 1000:.0f} ms at most")
        print(f"memory: {before} MB before, {peak_megabytes('self')} MB at most; the child {child} MB")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 33))
