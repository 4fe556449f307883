"""A small world whose endpoint ``IT`` is explained: the rules that are named, and whether a client has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from support.facts import ECHO, A, B, a_service, a_slice, listing

from registry.index import ExportPolicy, GuardPolicy, Index
from registry.model.events import Apply, Init, InitApply, InitDone
from registry.model.facts import EndpointSlice, Fact, SliceEndpoint
from registry.model.gateways import Gateway, Gateways
from registry.model.names import ClusterId, Kind
from registry.model.reasons import Reason
from registry.model.standing import Standing
from registry.views.explain import explain_ports
from registry.views.names import Names
from registry.views.place import Place
from registry.views.policy import NO_POLICY, TrafficPolicy

IT = "10.0.0.1"
HERE = Place("eu", "eu-1", "a", "home", "n1")
GATE = Gateway("203.0.113.1", 15443)
ECHO_WITH_IT = (a_service(), a_slice(IT))
BESIDE = (a_service(), a_slice("10.0.1.1", name="echo-b"))


@dataclass
class Told:
    """An index, and how a client looks at it. Cluster a is there from the beginning, and has the address."""

    export: ExportPolicy | None = None
    guard: GuardPolicy | None = None
    network: str = ""
    place: Place = HERE
    policy: TrafficPolicy = NO_POLICY
    gateways: Gateways = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = Index(self.export, self.guard)
        self.index.add_cluster(A, self.network)

    def has(self, *facts: Fact) -> Told:
        """Cluster a lists these, by default the service with the address."""
        for event in listing(*(facts or ECHO_WITH_IT)):
            self.index.apply(A, event)
        self.index.commit()
        return self

    def beside(self, *facts: Fact, network: str = "") -> Told:
        """Cluster b has the service too, or these."""
        self.index.add_cluster(B, network)
        for event in listing(*(facts or BESIDE)):
            self.index.apply(B, event)
        self.index.commit()
        return self

    def restored(self) -> Told:
        """Cluster a is known from a snapshot."""
        self.index.restore(A, ECHO_WITH_IT)
        self.index.commit()
        return self

    def relisted(self, kind: Kind, *facts: Fact, rewound: bool = False) -> Told:
        """Cluster a's list of the kind has these, by default nothing."""
        self.index.apply(A, Init(kind))
        for fact in facts:
            self.index.apply(A, InitApply(fact))
        self.index.apply(A, InitDone(kind, rewound))
        self.index.commit()
        return self

    def tell(self, *facts: Fact, cluster: ClusterId = A) -> Told:
        """A watch tells these."""
        for fact in facts:
            self.index.apply(cluster, Apply(fact))
        self.index.commit()
        return self

    def stands(self, standing: Standing) -> Told:
        self.index.set_standing(A, standing)
        self.index.commit()
        return self

    def rules(self, address: str = IT) -> set[Reason]:
        """The rules that are named of the address, those of the client's view too."""
        return {reason for reasons, _ in self._rows(address) for reason in reasons}

    def shown(self, address: str = IT) -> bool:
        """Whether the address of cluster a is in what the client is sent."""
        return any(seated for _, seated in self._rows(address))

    def _rows(self, address: str) -> Iterable[tuple[set[Reason], bool]]:
        explained = self.index.explain(ECHO)
        service = explained.service
        ports = () if service is None else explain_ports(service, Names(), self.place, self.policy, self.gateways)
        for each in explained.endpoints:
            if each.cluster == A and each.address == address:
                views = [port.endpoints[id(each.endpoint)] for port in ports] if each.endpoint is not None else []
                steps = [*each.steps, *(step for view in views for step in view.steps)]
                yield {step.reason for step in steps}, any(view.seat for view in views)


def a_slice_of(
    *, address: str = IT, ready: bool = False, serving: bool = False, terminating: bool = False
) -> EndpointSlice:
    """A slice whose one endpoint is in this condition."""
    return a_slice(SliceEndpoint(IT, ready=ready, serving=serving, terminating=terminating))
