"""mesh-registry: one live list of the endpoints of every service in many Kubernetes clusters.

Data flows one way: ``sources -> index -> views -> xds -> servers``. ``registry.model`` holds the nouns they
share, ``registry.app`` is the only module that knows them all. ARCHITECTURE.md has the map.
"""

__version__ = "0.1.0"
