"""What somebody who listens to a source may believe (see ``registry.model.events``), and nothing more."""

from __future__ import annotations

from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef


class Listener:
    """``held`` is the old state of a kind until its InitDone, then the new one."""

    def __init__(self) -> None:
        self.held: dict[ObjectRef, Fact] = {}
        self._coming: dict[Kind, dict[ObjectRef, Fact]] = {}

    def hear(self, event: SourceEvent) -> None:
        match event:
            case Init(kind):
                self._coming[kind] = {}
            case InitApply(fact):
                self._coming[fact.ref.kind][fact.ref] = fact
            case InitKeep(ref):
                if ref in self.held:
                    self._coming[ref.kind][ref] = self.held[ref]
            case InitDone(kind):
                others = {ref: fact for ref, fact in self.held.items() if ref.kind is not kind}
                self.held = others | self._coming.pop(kind)
            case Apply(fact):
                for facts in (self.held, self._coming.get(fact.ref.kind, {})):
                    facts[fact.ref] = fact
            case Delete(ref):
                for facts in (self.held, self._coming.get(ref.kind, {})):
                    facts.pop(ref, None)

    def names(self, kind: Kind) -> set[str]:
        return {ref.name for ref in self.held if ref.kind is kind}
