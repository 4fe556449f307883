"""What strangers cost an honest client: each attack of ``tests/support/attacks*.py`` on a registry of 10,000 services.

    python benchmarks/strangers.py [--attack NAME]... [--tree FOLDER] [--services N] [--gib N]

Each attack meets a registry of its own, the command as it is installed, in a memory cgroup; ``--tree`` names a folder
with another revision of the package ``registry`` (a checkout, or what ``make wheel`` leaves in ``.venv/compiled``).
Beside it are a member whose API server works and an honest client (``tests/support/strangers.py`` says how both are
measured, and how what the machine does is told from what the registry does).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support import namespace  # noqa: E402 - the path comes first
from support.strangers import Siege, Stronghold, besieged  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
SERVICES = 10_000
MEMORY_GIB = 1.0
MEBIBYTE = 1 << 20
MOST_SECONDS = 240.0
"""Longer than that no attack may take."""

ATTACKS: Mapping[str, Mapping[str, Any]] = {
    "nobody": {"seconds": 10},
    "connections_come_and_go": {"connections": 60_000},
    "streams_take_nothing": {"rounds": 5},
    "cheap_requests": {"seconds": 15},
    "many_watches": {"seconds": 20},
    "one_watch": {"seconds": 6},
    "one_byte_at_a_time": {"seconds": 10},
    "many_addresses": {"seconds": 8},
    "empty_names": {"seconds": 15},
    "many_names": {"connections": 5, "seconds": 15},
    "unread_reflection": {"seconds": 10},
    "zero_windows": {"connections": 20, "seconds": 15},
    "unfinished_messages": {"seconds": 15},
    "slow_takers": {"seconds": 10},
    "all_connections": {"seconds": 5},
    "whole_list": {"times": 5},
    "slow_readers": {"seconds": 15},
    "pipelined": {"seconds": 10},
    "silent_connections": {"seconds": 100},
    "silent_after_answer": {"seconds": 100},
    "endless_list": {"seconds": 20},
    "endless_pages": {"seconds": 20},
    "gzip_bomb": {"seconds": 10},
    "endless_continue": {"seconds": 10},
    "endless_line": {"seconds": 10},
    "aliases": {"seconds": 10},
}
"""In the issue's order, with what differs from the attack's own defaults."""


@dataclass(slots=True)
class Figures:
    """What came of one attack. Times of the honest client in milliseconds as p50, p99 and longest; memory in MiB."""

    attack: str
    alive: bool = True
    lookup_ms: list[float] = field(default_factory=list)
    healthz_ms: list[float] = field(default_factory=list)
    newcomer_ms: list[float] = field(default_factory=list)
    change_ms: list[float] = field(default_factory=list)
    control_ms: list[float] = field(default_factory=list)
    errors: int = 0
    memory_mib: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    files: list[int] = field(default_factory=list)
    """Open files of the registry, before, at most and after: connections, mostly."""
    stalls: float | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    """By the attacker."""


def figures(name: str, siege: Siege, said: Mapping[str, Any]) -> Figures:
    found = Figures(name, siege.alive, errors=len(siege.served.errors), said=said)
    for what in ("lookup", "healthz", "newcomer", "change", "control"):
        times = [round(siege.served.quantile(what, share) * 1000, 1) for share in (0.5, 0.99, 1.0)]
        setattr(found, f"{what}_ms", times)
    peak = siege.peak or (siege.registry.limit and siege.registry.limit.most()) or 0
    found.memory_mib = [each // MEBIBYTE for each in (siege.before, peak, siege.after)]
    found.cpu_s = round(siege.cpu, 1)
    found.files = [siege.files_before, siege.files_most, siege.files_after]
    found.stalls = siege.stalls
    return found


async def measure(stronghold: Stronghold, name: str, arguments: Mapping[str, Any]) -> Figures:
    await stronghold.restart()
    said: Mapping[str, Any] = {}
    async with besieged(stronghold) as siege:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                if name == "nobody":
                    await asyncio.sleep(arguments["seconds"])
                else:
                    said = await siege.attack(name, **arguments)
        except (TimeoutError, AssertionError) as error:
            said = {"failed": f"{error!r:.200}"}
    return figures(name, siege, said)


HEAD = (
    "| attack | lookup p50/p99/max ms | healthz p99 | newcomer p99 | change p99/max | control p99 | errors | "
    "memory MiB before/most/after | CPU s | files before/most/after | stalls |"
)


def row(each: Figures) -> str:
    def of(times: list[float], *which: int) -> str:
        return "/".join(f"{times[at]:.0f}" if times[at] >= 10 else f"{times[at]:.1f}" for at in which)

    ended = "" if each.alive else " **ended**"
    cells = [
        each.attack + ended,
        of(each.lookup_ms, 0, 1, 2),
        of(each.healthz_ms, 1),
        of(each.newcomer_ms, 1),
        of(each.change_ms, 1, 2),
        of(each.control_ms, 1),
        str(each.errors),
        "/".join(map(str, each.memory_mib)),
        str(each.cpu_s),
        "/".join(map(str, each.files)),
        "-" if each.stalls is None else f"{each.stalls:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


async def run(names: list[str], services: int, tree: Path | None, gib: float) -> list[Figures]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        stronghold = Stronghold(Path(folder), services, tree=tree, memory=int(gib * (1 << 30)))
        try:
            await stronghold.start()
            print(HEAD + "\n|" + " --- |" * HEAD.count(" |"), flush=True)
            for name in names:
                found.append(await measure(stronghold, name, ATTACKS[name]))
                print(row(found[-1]), flush=True)
        finally:
            stronghold.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="this one alone; may be repeated")
    parser.add_argument("--tree", type=Path, help="a folder with the package `registry` to attack")
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--gib", type=float, default=MEMORY_GIB, help="the memory that the registry may have")
    asked = parser.parse_args()
    namespace.enter()
    found = asyncio.run(run(asked.attack or list(ATTACKS), asked.services, asked.tree, asked.gib))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "strangers.json").write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
