"""The list-watch machine, told what an API server would say."""

from __future__ import annotations

from collections.abc import Iterable

from support.kube_wire import a_page, a_service

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.names import Kind
from registry.sources.kubernetes.listwatch import ListWatch
from registry.sources.kubernetes.steps import GetPage, OpenWatch


def zero() -> float:
    return 0.0


def feed(events: Iterable[SourceEvent]) -> list[str]:
    """What was said, in short."""
    return [short(event) for event in events]


def short(event: SourceEvent) -> str:
    match event:
        case InitApply(fact) | Apply(fact):
            return f"{type(event).__name__} {fact.ref.name}"
        case InitKeep(ref) | Delete(ref):
            return f"{type(event).__name__} {ref.name}"
        case InitDone(_, rewound):
            return "InitDone rewound" if rewound else "InitDone"
        case Init():
            return "Init"


def watching(*names: str, version: str = "10", kind: Kind = Kind.SERVICE) -> ListWatch:
    """A machine that has listed ``names`` in a page, and whose watch is open."""
    made = ListWatch(kind, zero, streams=False)
    feed(made.page(a_page([a_service(name) for name in names], version=version, kind=kind)))
    made.opened()
    return made


def is_first_page(step: object) -> bool:
    return isinstance(step, GetPage) and not step.continues


def is_watch_from(step: object, version: str) -> bool:
    return isinstance(step, OpenWatch) and not step.lists and step.query["resourceVersion"] == version
