"""From an API server's write to Envoy having it: 100 changes of one EndpointSlice, one at a time.

    python benchmarks/propagation.py [CHANGES]

A real etcd, kube-apiserver, registry (the command, in a process of its own) and Envoy, in a network namespace. The
clock runs from before the write is sent; it stops when Envoy's admin interface shows the new list of hosts, which is
asked without a pause, so the figure includes one such question (its own time is printed too). Changes are 50 ms apart,
so each is a first change after a quiet time; none waits to be coalesced.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import namespace  # noqa: E402 - the path comes first
from support.controlplane import ControlPlane  # noqa: E402
from support.envoy import RunningEnvoy  # noqa: E402
from support.kube_api import CORE, DISCOVERY  # noqa: E402
from support.processes import until  # noqa: E402
from support.registry import RunningRegistry  # noqa: E402

PAUSE_SECONDS = 0.05
WARM_UP = 10
CLUSTER = "outbound|80||echo.shop.svc.clusterset.local"
SERVICE = {"metadata": {"name": "echo"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
SLICES = f"{DISCOVERY}/namespaces/shop/endpointslices"


def a_slice(last: int) -> dict[str, object]:
    """Ten endpoints, the last of which is told apart by ``last``."""
    addresses = [f"198.18.0.{number}" for number in range(1, 10)] + [f"198.18.1.{last % 250 + 1}"]
    return {
        "metadata": {"name": "echo-1", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


async def measure(folder: Path, changes: int) -> tuple[list[float], list[float]]:
    """Seconds of each change, and seconds that one question to Envoy takes."""
    plane = ControlPlane("a", folder / "a")
    await plane.start()
    try:
        await plane.api.create(f"{CORE}/namespaces", {"metadata": {"name": "shop"}})
        await plane.api.create(f"{CORE}/namespaces/shop/services", SERVICE)
        await plane.api.create(SLICES, a_slice(0))
        async with (
            RunningRegistry(folder, f"--kubeconfig=a={plane.kubeconfig()}") as registry,
            RunningEnvoy(folder, registry) as envoy,
        ):
            await until(lambda: has(envoy, 0), "Envoy has the first list", poll=0)
            took = [await one_change(plane, envoy, last) for last in range(1, changes + WARM_UP + 1)]
            questions = []
            for _ in range(changes):
                began = time.perf_counter()
                await envoy.hosts(CLUSTER)
                questions.append(time.perf_counter() - began)
            return took[WARM_UP:], questions
    finally:
        await plane.stop()


async def one_change(plane: ControlPlane, envoy: RunningEnvoy, last: int) -> float:
    await asyncio.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    write = asyncio.create_task(plane.api.replace(f"{SLICES}/echo-1", a_slice(last)))
    await until(lambda: has(envoy, last), "Envoy has the change", poll=0)
    took = time.perf_counter() - began
    await write
    return took


async def has(envoy: RunningEnvoy, last: int) -> bool:
    return f"198.18.1.{last % 250 + 1}" in await envoy.hosts(CLUSTER)


def main() -> None:
    changes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    namespace.enter()
    with tempfile.TemporaryDirectory(prefix="mesh-registry-bench-") as folder:
        took, questions = asyncio.run(measure(Path(folder), changes))
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    figures = {
        "changes": changes,
        "p50_ms": round(cuts[49] * 1000, 1),
        "p90_ms": round(cuts[89] * 1000, 1),
        "p99_ms": round(cuts[98] * 1000, 1),
        "max_ms": round(max(took) * 1000, 1),
        "question_p50_ms": round(statistics.median(questions) * 1000, 1),
    }
    for name, figure in figures.items():
        print(f"{name.ljust(16)} {figure}")
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "propagation.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
