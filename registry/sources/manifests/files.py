"""One manifest file: its text as facts, or what is wrong with it and where. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from registry.documents import Document, DocumentError, parse
from registry.model.facts import AddressType, EndpointSlice, Fact
from registry.model.names import Kind
from registry.sources.kubernetes.decode import DecodeError, decode_object

KINDS: Mapping[tuple[str, str], Kind] = {
    ("v1", "Service"): Kind.SERVICE,
    ("discovery.k8s.io/v1", "EndpointSlice"): Kind.ENDPOINT_SLICE,
    ("v1", "Pod"): Kind.POD,
    ("v1", "Node"): Kind.NODE,
    ("v1", "Namespace"): Kind.NAMESPACE,
    ("multicluster.x-k8s.io/v1alpha1", "ServiceExport"): Kind.SERVICE_EXPORT,
    ("multicluster.x-k8s.io/v1beta1", "ServiceExport"): Kind.SERVICE_EXPORT,
}
CLUSTER_SCOPED = frozenset({Kind.NODE, Kind.NAMESPACE})
DEFAULT_NAMESPACE = "default"
_AT_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")


class ManifestError(Exception):
    """The file cannot be used. The text begins with its name and line."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A fact and where it stands, as ``NAME:LINE``."""

    fact: Fact
    place: str


def read_manifest(name: str, content: bytes) -> tuple[Placed, ...]:
    """The facts of the file ``name``, in their order; objects of other kinds are passed over.

    A file is read whole or not at all, since one that is cut off may look like a shorter list.

    Raises:
        ManifestError: the file is empty, is no YAML or JSON, or an object in it is not what its kind says.
    """
    try:
        documents = parse(content, json=name.endswith(".json"))
    except DocumentError as error:
        raise ManifestError(f"{name}:{error.line}: {error}") from error
    if not documents:
        raise ManifestError(f"{name}:1: nothing in it; delete the file to remove its objects")
    return tuple(placed for document in documents for placed in _objects(name, document, "$", document.value))


def _objects(name: str, document: Document, path: str, value: Any) -> Iterator[Placed]:
    """The facts at ``path``: an object, or the items of a list."""
    place = f"{name}:{document.line(path)}"
    if not isinstance(value, dict):
        raise ManifestError(f"{place}: expected an object with apiVersion and kind, got {type(value).__name__}")
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        raise ManifestError(f"{place}: no apiVersion and kind (is the file cut off?)")
    items = value.get("items")
    if kind.endswith("List") and isinstance(items, list):
        item_type = {"kind": kind.removesuffix("List"), "apiVersion": version} if kind != "List" else {}
        for position, item in enumerate(items):
            typed = {**item_type, **item} if isinstance(item, dict) else item
            yield from _objects(name, document, f"{path}.items[{position}]", typed)
        return
    known = KINDS.get((version, kind))
    if known is not None:
        yield Placed(_fact(name, document, path, known, value), place)
    elif kind in {kind for _, kind in KINDS} and version.partition("/")[0] in {"v1", "discovery.k8s.io"}:
        expected = next(version for version, each in KINDS if each == kind)
        raise ManifestError(f"{place}: {kind} of {version} is not read; export it as {expected}")


def _fact(name: str, document: Document, path: str, kind: Kind, value: Mapping[str, Any]) -> Fact:
    try:
        fact = decode_object(kind, value if kind in CLUSTER_SCOPED else _namespaced(value))
        if isinstance(fact, EndpointSlice):
            _check_families(fact)
    except DecodeError as error:
        at = _AT_PATH.search(str(error))
        where = f"{path}{at['path'].removeprefix('$')}" if at else path
        message = _AT_PATH.sub("", str(error))
        raise ManifestError(f"{name}:{document.line(where)}: {kind} {where.removeprefix('$.')}: {message}") from error
    return fact


def _check_families(fact: EndpointSlice) -> None:
    """No API server takes a slice with an address of another family than its type's; from elsewhere the index drops it.

    What is no address at all is passed over there, and said (``NoAddress``).

    Raises:
        DecodeError: the slice has one.
    """
    for position, endpoint in enumerate(fact.endpoints if fact.address_type is not AddressType.FQDN else ()):
        try:
            family = f"IPv{ip_address(endpoint.address).version}"
        except ValueError:
            continue
        if family != fact.address_type:
            raise DecodeError(
                f"Expected an {fact.address_type} address, as addressType says, got {endpoint.address}"
                f" (a slice has one family) - at `$.endpoints[{position}].addresses[0]`"
            )


def _namespaced(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object in the namespace it names, or in the one kubectl would put it in."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("namespace"):
        return value
    return {**value, "metadata": {**metadata, "namespace": DEFAULT_NAMESPACE}}
