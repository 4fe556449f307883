"""Whether the API server says itself that it lacks a kind. Pure.

A 404 does not say it: an API server that is starting answers so before it knows its CRDs (``crdHandler`` finds none in
its cache; from Kubernetes 1.23 on it answers 503 as long as it knows that it is starting), and so does a proxy that
leads to nothing. Proven it is by documents that only a whole API server can write, each asked for in turn:

1. ``/readyz`` says ``ok``: the CRDs and the API groups that were there at its start are known (its checks
   ``crd-informer-synced`` and ``autoregister-completion``);
2. ``/apis``, the list of all groups, names a group that every API server has;
3. where it has the kind's group too, the document of each of its versions lacks the resource.

Anything else is no proof. These paths are open to whoever is authenticated (the cluster role ``system:discovery``).
"""

from __future__ import annotations

from collections import deque
from typing import TypeVar

import msgspec

from registry.sources.kubernetes.resources import Resource

READY = "/readyz"
GROUPS = "/apis"
EVERYWHERE = "discovery.k8s.io"
"""The group of the EndpointSlices: a list of groups that lacks it is not whole."""

Document = TypeVar("Document", "_GroupList", "_ResourceList")


class UnprovenError(Exception):
    """The server does not say that it lacks the kind. The text says what it does say."""


class AbsenceProof:
    """``path`` is what is to be asked for next; None when everything was, and the kind is proven to be missing."""

    def __init__(self, resource: Resource) -> None:
        self._resource, _, self._group = resource.name.partition(".")
        self._paths = deque([READY, GROUPS])

    @property
    def path(self) -> str | None:
        return self._paths[0] if self._paths else None

    def told(self, body: bytes) -> None:
        """The document at ``path``.

        Raises:
            UnprovenError: it proves nothing, or that the kind is there.
        """
        match path := self._paths.popleft():
            case "/readyz":
                if body.strip() != b"ok":
                    raise UnprovenError(f"{path} does not say ok")
            case "/apis":
                self._groups(body)
            case _:
                self._resources(path, body)

    def _groups(self, body: bytes) -> None:
        found = _decoded(GROUPS, body, _GroupList)
        groups = {each.name: each.versions for each in found.groups}
        if found.kind != "APIGroupList" or EVERYWHERE not in groups:
            raise UnprovenError(f"{GROUPS} is no list of all API groups")
        self._paths.extend(f"{GROUPS}/{self._group}/{each.version}" for each in groups.get(self._group, ()))

    def _resources(self, path: str, body: bytes) -> None:
        found = _decoded(path, body, _ResourceList)
        if found.kind != "APIResourceList" or f"{GROUPS}/{found.group_version}" != path:
            raise UnprovenError(f"{path} is no list of resources")
        if any(each.name == self._resource for each in found.resources):
            raise UnprovenError(f"{path} has them")


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    """Documents of discovery, as far as they are read (``meta.k8s.io/v1``)."""


class _Version(_Struct, frozen=True):
    version: str


class _Group(_Struct, frozen=True):
    name: str
    versions: tuple[_Version, ...]


class _GroupList(_Struct, frozen=True):
    kind: str
    groups: tuple[_Group, ...]


class _Named(_Struct, frozen=True):
    name: str


class _ResourceList(_Struct, frozen=True):
    kind: str
    group_version: str
    resources: tuple[_Named, ...]


def _decoded(path: str, body: bytes, sort: type[Document]) -> Document:
    try:
        return msgspec.json.decode(body, type=sort)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnprovenError(f"{path} cannot be read: {error}") from None
