"""What is used of kubernetes-asyncio: its readers of credentials, without its models.

To import any module of it is to run ``kubernetes_asyncio/__init__.py``, which imports some 800 generated modules: 0.3 s
and 35 MB, more than all else that an idle registry takes, for nothing that is used here. So the packages on the way
stand empty while the readers are imported, and are gone afterwards: who imports the package later gets all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kubernetes_asyncio.client.configuration import Configuration
    from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

PACKAGES = ("kubernetes_asyncio", "kubernetes_asyncio.client")


class Readers(NamedTuple):
    """The classes of that name. What they read goes into a ``Configuration``."""

    Configuration: type[Configuration]
    InClusterConfigLoader: type[InClusterConfigLoader]
    KubeConfigLoader: type[KubeConfigLoader]


@cache
def readers() -> Readers:
    """The readers, imported when first asked for."""
    with _empty_packages():
        from kubernetes_asyncio.client.configuration import Configuration

        client = sys.modules["kubernetes_asyncio.client"]
        vars(client).setdefault("Configuration", Configuration)
        vars(client).setdefault("ApiClient", None)  # is imported along, for functions that are not called here
        from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader
        from kubernetes_asyncio.config.kube_config import KubeConfigLoader
    return Readers(Configuration, InClusterConfigLoader, KubeConfigLoader)


@contextmanager
def _empty_packages() -> Iterator[None]:
    if PACKAGES[0] in sys.modules:
        yield
        return
    try:
        for name in PACKAGES:
            spec = find_spec(name)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            sys.modules[name] = module_from_spec(spec)
        yield
    finally:
        for name in PACKAGES:
            sys.modules.pop(name, None)
