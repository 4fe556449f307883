"""The configuration: one file, the flags that add to it, and what is wrong with either.

``addresses``  HOST:PORT
``sections``   what can be said, with the defaults
``problems``   what the types alone cannot say
``reading``    the file and the flags; errors with file and line
"""

from registry.config.addresses import Address, parse_address
from registry.config.problems import CLUSTER_NAME
from registry.config.reading import load, with_flags
from registry.config.sections import ClusterConfig, Config, ListenConfig, RemoteSecretsConfig, TlsConfig

__all__ = [
    "CLUSTER_NAME",
    "Address",
    "ClusterConfig",
    "Config",
    "ListenConfig",
    "RemoteSecretsConfig",
    "TlsConfig",
    "load",
    "parse_address",
    "with_flags",
]
