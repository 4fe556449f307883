"""What the registry believes: per-cluster facts, joined into services, merged over clusters. No IO.

``store``   one cluster's objects, and the list in progress that will replace them
``lookup``  which services an object matters to
``join``    one cluster's part of a service: Service + EndpointSlices + Pods + Nodes
``merge``   the parts of all clusters as one service
``export``  which services are in the list at all
``index``   the four together: events in, change sets out
"""

from registry.index.export import ExportPolicy
from registry.index.index import Index

__all__ = ["ExportPolicy", "Index"]
