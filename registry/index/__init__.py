"""What the registry believes: per-cluster facts, joined into services, merged over clusters. No IO.

``store``   one cluster's objects, and the list in progress that will replace them
``lookup``  which services an object matters to
``guard``   what a list lacks and is held all the same
``join``    one cluster's part of a service: Service + EndpointSlices + Pods + Nodes
``member``  one cluster: the four together
``merge``   the parts of all clusters as one service
``export``  which services are in the list at all
``index``   all clusters: events in, change sets out
"""

from registry.index.export import ExportMode, ExportPolicy
from registry.index.guard import GuardPolicy
from registry.index.index import HeldService, Index

__all__ = ["ExportMode", "ExportPolicy", "GuardPolicy", "HeldService", "Index"]
