"""The configuration: one file, the flags that add to it, and what is wrong with either.

``addresses``  HOST:PORT
``sections``   what can be said, with the defaults
``bounds``     what a field accepts beyond its type
``types``      every key and value that is not of its field
``problems``   what several fields together tell
``schema``     all of these as a JSON schema
``reading``    the file and the flags; errors with file and line
"""

from registry.config.addresses import Address, parse_address
from registry.config.reading import check, load, with_flags
from registry.config.sections import CLUSTER_NAME, ClusterConfig, Config, ListenConfig, RemoteSecretsConfig, TlsConfig

__all__ = [
    "CLUSTER_NAME",
    "Address",
    "ClusterConfig",
    "Config",
    "ListenConfig",
    "RemoteSecretsConfig",
    "TlsConfig",
    "check",
    "load",
    "parse_address",
    "with_flags",
]
