"""A registry that strangers attack, and what that costs everybody else.

::

    async with besieged(stronghold) as siege:
        await siege.attack("half_requests", connections=3000)      # of support.attacks, in a process of its own
        siege.registry.grpc, siege.registry.http                   # or by the test's own means
    siege.assert_unharmed()

``stronghold`` is a fixture of ``tests/sockets/strangers``: one registry for the whole session, with 2,000 services of a
member whose API server works (``steady_member``) and an honest client beside it (``honest_client``).

Machines are noisy, and these tests share theirs. So each bar is held against what the registry did, as far as that can
be told from what the machine did:

- A stall is a slice of work that took more than 50 ms **of CPU** of the event loop's thread (``registry.stalls``); a
  thread that waits for a CPU does not use any.
- The honest client's 99th percentile, over all its requests, may be 50 ms (a change: and the time for which a burst is
  collected), and what the same client sees at the same time, at the same pace, of
  a server that nobody attacks (the control), and the longest time for which the kernel let the registry wait for a CPU
  while others had it. On a machine with nothing else to do both are a few milliseconds.
- A registry that waits for a CPU longer than it has one (``starved``) is late whatever it does: more requests come than
  it is let answer. Then only the other bars are held.
- Attackers run with the lowest priority (nice 19), so that their work is not what delays the others.
- Memory is resident memory of the registry as the kernel counts it, and has ``CALM_SECONDS`` to come back. A process
  that never met a stranger grows by what Python's allocator keeps for the next ones (``FIRST_SHARE`` at most): so each
  registry meets some of each kind before it is measured, and grows by no more than ``MEMORY_SHARE`` from then on.

Strangers come from 127.6.6.6 and honest clients from 127.0.0.1: what one address may have, the other has its own of.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from support.authorities import Pair
from support.companions import Account, Companion, Registry, Watcher
from support.memory_limit import memory_limit
from support.processes import until

BAR_SECONDS = 0.05
WINDOW_SECONDS = 0.25
MEMORY_SHARE = 0.10
FIRST_SHARE = 0.50
"""How much of its memory a registry may keep of the first strangers that it meets."""

FIRST: Mapping[str, Mapping[str, Any]] = {
    "all_connections": {"connections": 2500, "seconds": 1},
    "many_watches": {"seconds": 2},
    "many_names": {"connections": 2, "seconds": 2},
    "unread_reflection": {"seconds": 1},
    "zero_windows": {"seconds": 1},
    "slow_takers": {"seconds": 1},
    "slow_readers": {"seconds": 2},
    "endless_list": {"seconds": 2},
}
CALM_SECONDS = 10.0
READY_SECONDS = 60.0
STRANGER = "127.6.6.6"
ATTACKER_BYTES = 2 << 30
REQUESTS = ("lookup", "healthz", "newcomer")
SERVED = (*REQUESTS, "change")
COALESCED_SECONDS = 0.1
"""For so long a burst of changes, of whatever member, may be collected (``coalesce.maxMs``)."""

STALLS = "mesh_registry_loop_stall_seconds"


@dataclass(frozen=True, slots=True)
class Served:
    """How the honest client was served for a time: seconds of each request, sorted, by what was asked for."""

    times: Mapping[str, Sequence[float]]
    errors: Sequence[str] = ()

    def quantile(self, what: str, share: float) -> float:
        found = self.times.get(what) or [0.0]
        return found[min(int(len(found) * share), len(found) - 1)]

    def together(self, *what: str, share: float = 0.99) -> float:
        """A quantile over all these requests, whatever was asked for."""
        found = sorted(time for each in what for time in self.times.get(each, ()))
        return found[min(int(len(found) * share), len(found) - 1)] if found else 0.0

    def describe(self, what: str) -> str:
        p50, p99, most = (self.quantile(what, share) * 1000 for share in (0.5, 0.99, 1.0))
        return f"{what}: p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ms of {len(self.times.get(what, ()))}"


class Stronghold:
    """The registry with its member and its honest client, for as many sieges as come. ``start`` it, ``stop`` it.

    A registry that a siege ended is started anew for the next one. ``arguments`` are more of ``mesh-registry serve``;
    kubeconfigs in the folder ``members`` are followed from when they are put there. ``tree`` has the ``registry`` that
    is to run, by default the tests' own. It may have at most ``memory`` bytes. With ``tls``, a pair for 127.0.0.1 that
    signs itself, the gRPC port is asked over TLS.
    """

    def __init__(
        self,
        folder: Path,
        services: int,
        *arguments: str,
        tree: Path | None = None,
        memory: int | None = None,
        tls: Pair | None = None,
    ) -> None:
        self.folder = folder
        self.members = folder / "members"
        self._services = services
        self._memory = memory
        self._arguments = arguments
        self._tls = tls
        self._ca = ""
        self._environment = None if tree is None else {**os.environ, "PYTHONPATH": str(tree)}
        self._member: Companion | None = None
        self._client: Companion | None = None
        self._control = ""
        self.registry: Registry | None = None
        self.first: Siege | None = None
        """That by the first strangers, for a registry that has met some."""

    async def start(self) -> None:
        self.members.mkdir(parents=True, exist_ok=True)
        self._member = Companion(self.folder, "steady_member", str(self._services))
        said = await asyncio.to_thread(self._member.ask)
        self._control = said["control"]
        cluster = {"name": "it", "cluster": {"server": said["server"]}}
        config = {
            "current-context": "it",
            "clusters": [cluster],
            "users": [{"name": "it", "user": {"token": "it"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        (self.members / "steady").write_text(json.dumps(config))
        if self._tls is not None:
            certificate, key = map(str, self._tls.write(self.folder, "served"))
            listen = {"listen": {"tls": {"certificate": certificate, "key": key}}}
            configuration = self.folder / "registry.yaml"
            configuration.write_text(json.dumps(listen))
            self._arguments, self._ca = (*self._arguments, f"--config={configuration}"), certificate
        await self._start_registry()

    async def meet_strangers(self) -> Siege:
        """Have the registry meet the first ones, of each kind that takes memory."""
        async with besieged(self, calm_seconds=1) as siege:
            await siege.attack_together(FIRST)
        return siege

    async def held(self) -> Registry:
        """The registry; another one if the last has ended."""
        if self.registry is None or self.registry.process.returncode is not None:
            await self.restart()
        assert self.registry is not None
        return self.registry

    async def restart(self) -> None:
        """Another registry, and another client of it."""
        self._stop_registry()
        await self._start_registry()

    async def served(self) -> Served:
        """How the honest client was served since this was last asked."""
        assert self._client is not None
        said = await asyncio.to_thread(self._client.ask, "")
        return Served({what: sorted(times) for what, times in said["times"].items()}, said["errors"])

    def stop(self) -> None:
        self._stop_registry()
        if self._member is not None:
            self._member.stop()

    def _stop_registry(self) -> None:
        if self._client is not None:
            self._client.stop()
            self._client = None
        if self.registry is not None:
            self.registry.end()
            self.registry = None

    async def _start_registry(self) -> None:
        arguments = [f"--kubeconfig-dir={self.members}", *self._arguments]
        limit = None if self._memory is None else memory_limit(self._memory)
        registry = self.registry = Registry(self.folder, arguments, self._environment, limit)
        registry.process.start()
        await until(registry.ready, "the registry is ready", timeout=READY_SECONDS)
        self._client = Companion(self.folder, "honest_client", registry.grpc, registry.http, self._control, self._ca)
        await asyncio.to_thread(self._client.ask)
        await registry.text("/metrics")
        await asyncio.sleep(1)


@dataclass(slots=True)
class Siege:
    """What was measured of one siege. Memory in bytes, CPU in seconds."""

    stronghold: Stronghold
    registry: Registry
    account: Account
    before: int
    files_before: int
    stalls_before: float | None
    cpu_before: float
    began: float
    served: Served = field(default_factory=lambda: Served({}))
    without_cpu: float = 0.0
    """How long the registry was ready to run and had no CPU, in the worst ``WINDOW_SECONDS``."""
    starved: bool = False
    """It waited for a CPU longer than it had one: the machine does too much else for times to tell anything."""
    peak: int = 0
    after: int = 0
    files_most: int = 0
    files_after: int = 0
    stalls: float | None = None
    """Slices of work of more than 50 ms; None where the registry does not count them."""
    stall_log: Sequence[str] = ()
    cpu: float = 0.0
    seconds: float = 0.0
    alive: bool = True

    async def attack(self, name: str, **arguments: Any) -> Mapping[str, Any]:
        """Run the attack ``name`` of ``support.attacks`` to its end; what it says."""
        return (await self.attack_together({name: arguments}))[name]

    async def attack_together(self, attacks: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """Run these attacks at once, in one process; what each says."""
        where = {"grpc": self.registry.grpc, "http": self.registry.http, "members": str(self.stronghold.members)}
        attacker = Companion(self.stronghold.folder, "attacks", json.dumps(where), json.dumps(attacks), nice=19)
        attacker.bound_memory(ATTACKER_BYTES)
        try:
            said: Mapping[str, Mapping[str, Any]] = await asyncio.to_thread(attacker.ask)
        finally:
            attacker.stop()
        return said

    def problems(self) -> list[str]:
        """Which bars were not held."""
        found: list[str] = []
        if not self.alive:
            return [f"the registry has ended:\n{self.registry.process.tail()}"]
        noise = self.served.quantile("control", 0.99) + self.without_cpu
        most = math.inf if self.starved else BAR_SECONDS + noise
        requests = self.served.together(*REQUESTS)
        late = [each for each in REQUESTS if self.served.quantile(each, 0.99) > most] if requests > most else []
        late += ["change"] if self.served.quantile("change", 0.99) > most + COALESCED_SECONDS else []
        machine = f"{self.served.describe('control')}, and up to {self.without_cpu * 1000:.0f} ms without a CPU"
        found += [f"{self.served.describe(each)}; beside it {machine}" for each in late]
        found += [f"an error: {each}" for each in self.served.errors]
        if self.stalls:
            found.append(f"{self.stalls:.0f} stalls:\n  " + "\n  ".join(self.stall_log))
        if not self.memory_is_back:
            found.append(self.memory)
        return found

    @property
    def memory_is_back(self) -> bool:
        return self.memory_is_back_at(self.after)

    def memory_is_back_at(self, resident: int) -> bool:
        """Whether so many bytes are as much as there were before, or little more."""
        return resident <= self.before * (1 + MEMORY_SHARE)

    @property
    def memory(self) -> str:
        before, most, after = (each >> 20 for each in (self.before, self.peak, self.after))
        return f"memory: {before} MiB before, {most} at most, {after} after"

    def assert_unharmed(self) -> None:
        """The honest client was served in time and without an error, nothing stalled, and the memory is back."""
        assert not (found := self.problems()), "\n".join(found)


@asynccontextmanager
async def besieged(stronghold: Stronghold, calm_seconds: float = CALM_SECONDS) -> AsyncIterator[Siege]:
    """A siege: what happens inside is measured, and until ``calm_seconds`` later whether the memory comes back."""
    registry = await stronghold.held()
    account = Account(registry.process.pid)
    log_before = registry.process.log.stat().st_size
    stalls = await _stalls(registry)
    account.forget_most()
    await stronghold.served()
    siege = Siege(
        stronghold,
        registry,
        account,
        before=account.resident(),
        files_before=account.open_files(),
        stalls_before=stalls,
        cpu_before=account.cpu_seconds(),
        began=time.monotonic(),
    )
    scheduled = account.scheduled()
    with Watcher(account) as watcher:
        yield siege
        siege.served = await stronghold.served()
    siege.seconds = time.monotonic() - siege.began
    siege.files_most = watcher.open_files
    siege.without_cpu = watcher.longest_wait(WINDOW_SECONDS)
    try:
        await _look_back(siege, log_before, scheduled, calm_seconds)
    except (OSError, IndexError):  # no such process, or one that is ending
        siege.alive = False


async def _look_back(siege: Siege, log_before: int, scheduled: tuple[float, float], calm_seconds: float) -> None:
    registry, account = siege.registry, siege.account
    had, waited = account.scheduled()
    siege.starved = waited - scheduled[1] > had - scheduled[0]
    siege.peak = account.most_resident()
    siege.cpu = account.cpu_seconds() - siege.cpu_before
    siege.files_after = account.open_files()
    deadline = time.monotonic() + calm_seconds
    while not siege.memory_is_back_at(account.resident()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    siege.after = account.resident()
    now = await _stalls(registry)
    if now is not None:
        siege.stalls = now - (siege.stalls_before or 0)
        with registry.process.log.open() as log:
            log.seek(log_before)
            siege.stall_log = [line.strip() for line in log if "stall: " in line]


async def _stalls(registry: Registry) -> float | None:
    """How many slices of work took more than 50 ms of CPU so far; None where nobody says."""
    try:
        text = await registry.text("/metrics")
    except (aiohttp.ClientError, OSError):
        return None
    found = re.findall(rf'^{STALLS}_count{{clock="cpu",work="\w+"}} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found)) if found else None
