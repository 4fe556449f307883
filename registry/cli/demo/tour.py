"""The tour: each step changes one thing, waits until Envoy has it, and checks what requests then see."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import yaml
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from registry.cli.demo.fleet import SERVICE, DemoPod
from registry.cli.demo.stage import Stage
from registry.cli.get import endpoint_table
from registry.errors import RegistryError
from registry.views.names import Names

STEP_SECONDS = 15.0
POLL_SECONDS = 0.01
REQUESTS = 200


class StepFailedError(RegistryError):
    """A step of the tour did not hold."""


class Tour:
    """One run of the tour over a running stage, told on ``console``."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._pods = {pod.name: pod for pod in stage.clusters.pods()}
        self._alive = dict(self._pods)
        names = Names()
        self._host = f"{names.host(SERVICE)}:80"
        self._cluster = names.cluster(SERVICE, 80)

    async def run(self) -> None:
        """Every step in order.

        Raises:
            RegistryError: a step did not hold; the text says which and what was seen instead.
        """
        await self._show_list()
        await self._show_service_entry()
        await self._show_requests("all four pods answer")
        await self._pod_becomes_unready(self._pods["pod2"])
        await self._pod_is_deleted(self._pods["pod3"])
        await self._cluster_becomes_unreadable("b")
        await self._cluster_comes_back("b")

    async def _show_list(self) -> None:
        self._title("One list over both clusters", "mesh-registry get endpoints shop/echo")
        document = await self._stage.registry.get(f"/api/v1/services/{SERVICE}")
        self._console.print("\n".join(endpoint_table([document], False)), soft_wrap=True, highlight=False)
        self._expect_alive({each["address"] for each in document["endpoints"]}, "the merged list has")

    async def _show_service_entry(self) -> None:
        self._title("The same list as an Istio ServiceEntry", "mesh-registry serviceentry shop/echo")
        entry = await self._stage.registry.get(f"/api/v1/serviceentries/{SERVICE}")
        self._console.print(Syntax(yaml.safe_dump(entry, sort_keys=False), "yaml", background_color="default"))
        self._expect_alive({each["address"] for each in entry["spec"]["endpoints"]}, "the ServiceEntry has")

    async def _pod_becomes_unready(self, pod: DemoPod) -> None:
        self._title(f"{pod.name} becomes unready", "its EndpointSlice says ready: false")
        del self._alive[pod.name]
        await self._time_until_envoy_has(lambda: self._stage.clusters.make_unready(pod))
        await self._show_requests(f"none reaches {pod.name}")

    async def _pod_is_deleted(self, pod: DemoPod) -> None:
        self._title(f"{pod.name} is deleted", "pod and endpoint leave the manifests, its server stops")
        del self._alive[pod.name]
        await self._time_until_envoy_has(lambda: self._stage.clusters.delete(pod))
        await self._stage.pods.stop(pod)
        await self._show_requests(f"none reaches {pod.name}, none fails")

    async def _cluster_becomes_unreadable(self, cluster: str) -> None:
        self._title(f"Cluster {cluster} becomes unreadable", "its folder is gone: a fault, not a deletion")
        seconds = await self._time_until_state(
            lambda: self._stage.clusters.make_unreadable(cluster), cluster, {"Failing"}
        )
        state = await self._state(cluster)
        self._console.print(f"  after {seconds * 1000:.0f} ms the registry says {cluster} is {state['state']}")
        self._console.print(f"  {state['reason']}: {state['message']}", soft_wrap=True, highlight=False)
        held = await self._stage.envoy.hosts(self._cluster)
        self._expect_alive(set(held), "Envoy has")
        await self._show_requests(f"the endpoints of {cluster} stay, and answer")

    async def _cluster_comes_back(self, cluster: str) -> None:
        self._title(f"Cluster {cluster} is readable again", "nothing had to be repaired")
        seconds = await self._time_until_state(lambda: self._stage.clusters.make_readable(cluster), cluster, {"Synced"})
        self._console.print(f"  after {seconds * 1000:.0f} ms the registry says {cluster} is Synced")
        self._expect_alive(set(await self._stage.envoy.hosts(self._cluster)), "Envoy has")

    async def _time_until_envoy_has(self, change: Callable[[], None]) -> None:
        """Make the change; tell how long until Envoy has exactly the pods that are alive."""
        began = time.perf_counter()
        change()
        await self._stage.envoy.until_hosts(self._cluster, self._addresses(), STEP_SECONDS)
        self._console.print(
            f"  [green]Envoy had it after {(time.perf_counter() - began) * 1000:.0f} ms[/]", highlight=False
        )

    async def _time_until_state(self, change: Callable[[], None], cluster: str, states: set[str]) -> float:
        began = time.perf_counter()
        change()
        try:
            async with asyncio.timeout(STEP_SECONDS):
                while (await self._state(cluster))["state"] not in states:
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StepFailedError(f"cluster {cluster} is not {states} after {STEP_SECONDS:.0f} s") from None
        return time.perf_counter() - began

    async def _state(self, cluster: str) -> dict[str, str]:
        document = await self._stage.registry.get("/api/v1/clusters")
        found: dict[str, str] = next(each for each in document["clusters"] if each["name"] == cluster)
        return found

    async def _show_requests(self, claim: str) -> None:
        """Send requests through Envoy, show how they fell, and hold the claim to be that only living pods answered."""
        tally = await self._stage.envoy.answers(self._host, REQUESTS)
        self._console.print(f"  {tally.total()} requests through Envoy: {claim}", highlight=False)
        self._console.print(self._tally_table(tally))
        if set(tally) != set(self._alive):
            raise StepFailedError(f"{REQUESTS} requests were answered by {dict(tally)}, not by {sorted(self._alive)}")

    def _tally_table(self, tally: Counter[str]) -> Table:
        table = Table(box=None)
        table.add_column("answered by")
        table.add_column("cluster")
        table.add_column("requests", justify="right")
        table.add_column("")
        for name in sorted(set(tally) | set(self._pods)):
            pod = self._pods.get(name)
            count = tally[name]
            table.add_row(name, pod.cluster if pod else "-", str(count), "■" * round(40 * count / tally.total()))
        return table

    def _addresses(self) -> frozenset[str]:
        return frozenset(pod.address for pod in self._alive.values())

    def _expect_alive(self, seen: set[str], what: str) -> None:
        if seen != self._addresses():
            raise StepFailedError(f"{what} {sorted(seen)}, not {sorted(self._addresses())}")

    def _title(self, title: str, detail: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{title}[/]  [dim]{detail}[/]", align="left")
