"""What ``ingest.py`` measures, the bars, and how both are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ingest_cluster import Fleet


@dataclass(frozen=True, slots=True)
class Work:
    """One cluster, and its bars; ``peer`` is what istiod needed for it."""

    name: str
    fleet: Fleet
    ready_bar: float | None = None
    memory_bar: int | None = None
    pods: bool = False
    relists: bool = False
    changes: bool = False
    peer: str = ""


SMALL, MIDDLE, LARGE, DENSE = Fleet(100, 10), Fleet(1_000, 10), Fleet(10_000, 10), Fleet(2_000, 50)
GROWING = (
    Work("100x10", SMALL, changes=True),
    Work("1000x10", MIDDLE, changes=True),
    Work(
        "10000x10",
        LARGE,
        2.5,
        200,
        relists=True,
        changes=True,
        peer="ready 20-26 s, 360-450 MB, 2,800 us for a change at any size",
    ),
)
THICK = (
    Work("2000x50", DENSE, 2.0, 170, relists=True, changes=True, peer="ready 2.4 s, 282 MB"),
    Work("2000x50+pods", DENSE, 10.0, None, pods=True),
)
"""Works that share an API server, which holds more with each."""

WORKS = (*GROWING, *THICK)
MEBIBYTE = 1 << 20

RELISTS = 10
CHANGE_BAR_US = 300.0
GROWTH_BAR = 1.1
RELIST_BAR = 1.03
POD_BAR_BYTES = 400


@dataclass(slots=True)
class Figures:
    """What came of one work."""

    work: str
    filled_s: float = 0.0
    ready_s: float = 0.0
    startup_cpu_s: float = 0.0
    memory_mib: float = 0.0
    peak_mib: float = 0.0
    relisted_mib: list[float] = field(default_factory=list)
    change_us: float = 0.0
    change_ms: float = 0.0
    flood_written_per_s: float = 0.0
    flood_core_share: float = 0.0
    flood_sustained_per_s: float = 0.0
    flood_lag_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: what it is about, the figure, and the most it may be."""

    about: str
    figure: float
    limit: float

    def __str__(self) -> str:
        verdict = "met" if self.figure <= self.limit else "NOT met"
        return f"{self.about}: {self.figure:.3g} (bar {self.limit:g}): {verdict}"


def bars(found: Mapping[str, Figures]) -> Iterator[Bar]:
    """Those that can be told from what was measured."""
    for work in WORKS:
        figures = found.get(work.name)
        if figures is None:
            continue
        if work.ready_bar is not None:
            yield Bar(f"{work.name} seconds until ready", figures.ready_s, work.ready_bar)
        if work.memory_bar is not None:
            yield Bar(f"{work.name} MiB when ready", figures.memory_mib, work.memory_bar)
        if figures.relisted_mib:
            growth = figures.relisted_mib[-1] / figures.relisted_mib[0]
            yield Bar(f"{work.name} memory after {RELISTS} relists, times that when ready", growth, RELIST_BAR)
        if work.fleet.endpoints == 10:
            yield Bar(f"{work.name} us of CPU for a change", figures.change_us, CHANGE_BAR_US)
    small, large = found.get(GROWING[0].name), found.get(GROWING[-1].name)
    if small and large:
        yield Bar("a change in 10,000 services, times one in 100", large.change_us / small.change_us, GROWTH_BAR)
    bare, peopled = found.get(THICK[0].name), found.get(THICK[1].name)
    if bare and peopled:
        grown = (peopled.memory_mib - bare.memory_mib) * MEBIBYTE
        yield Bar("bytes kept for a Pod (and its share of the Nodes)", grown / DENSE.pods, POD_BAR_BYTES)


def show(found: Mapping[str, Figures]) -> None:
    columns = ("ready_s", "startup_cpu_s", "memory_mib", "peak_mib", "change_us", "change_ms")
    flood = ("flood_written_per_s", "flood_core_share", "flood_sustained_per_s", "flood_lag_ms")
    for names in (columns, flood):
        print("\n" + "".join(f"{name:>22}" for name in ("work", *names)))
        for figures in found.values():
            cells = (f"{getattr(figures, name):.4g}" for name in names)
            print(f"{figures.work:>22}" + "".join(f"{cell:>22}" for cell in cells))
    for work in WORKS:
        if work.peer and work.name in found:
            print(f"istiod, {work.name}: {work.peer}")
    print()
    for bar in bars(found):
        print(bar)
