"""What the registry believes: per-cluster facts, joined into services, merged over clusters. No IO.

``store``      one cluster's objects, and the list in progress that will replace them
``lookup``     which services an object matters to
``guard``      what a list lacks and is held all the same
``join``       one cluster's part of a service: Service + EndpointSlices + Pods + Nodes
``member``     one cluster: the four together
``residents``  on which Node the Pods at an address are
``families``   a Pod with an IPv4 and an IPv6 address is one endpoint
``conflicts``  what the clusters agree on, and whose word counts where they do not (KEP-1645)
``merge``      the parts of all clusters as one service
``gateways``   where clients of other networks enter a network
``export``     which services are in the list at all
``refused``    what is exported and can be no service of several clusters
``explain``    one service once more, and what the rules did to each of its endpoints
``index``      all clusters: events in, change sets out
"""

from registry.index.explain import ExplainedCluster, ExplainedEndpoint, ServiceExplanation
from registry.index.export import ExportMode, ExportPolicy
from registry.index.guard import GuardPolicy
from registry.index.held import Held, HeldObjects, HeldService
from registry.index.index import Index
from registry.index.refused import Refused

__all__ = [
    "ExplainedCluster",
    "ExplainedEndpoint",
    "ExportMode",
    "ExportPolicy",
    "GuardPolicy",
    "Held",
    "HeldObjects",
    "HeldService",
    "Index",
    "Refused",
    "ServiceExplanation",
]
