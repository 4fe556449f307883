"""What is held of a kind against a listing of names and versions alone. Pure.

A difference is at first no more than a doubt: the watch may be behind the listing, or ahead of it. Where it is ahead,
the version says so (KEP-5504). Where it is behind, it has caught up when one looks again; what differs then as it did
before, nobody will mend.

Source: Kubernetes API concepts, "Metadata-only fetches".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.bounds import MemberBounds
from registry.sources.kubernetes.decode import DecodeError, decode_names
from registry.sources.kubernetes.versions import older

ACCEPT = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


class Doubt(NamedTuple):
    """The versions of one object; empty where one side lacks it."""

    held: str
    told: str

    def __str__(self) -> str:
        return f"held: {self.held or 'nothing'}, there: {self.told or 'nothing'}"


Doubts = Mapping[ObjectRef, Doubt]


class Listing:
    """Collects a listing, page by page, of ``most`` objects."""

    def __init__(self, kind: Kind, most: int = MemberBounds().objects) -> None:
        self._kind = kind
        self._most = most
        self._told: dict[ObjectRef, str] = {}
        self._version = ""

    def page(self, body: bytes) -> str:
        """Take in one page; the token of the next, empty after the last.

        Raises:
            DecodeError: it is no such page, or it adds nothing, or too much.
        """
        page = decode_names(self._kind, body)
        before = len(self._told)
        self._told.update(page.versions)
        if page.continue_token and not before < len(self._told) <= self._most:
            raise DecodeError("the listing does not come to an end")
        self._version = page.resource_version
        return page.continue_token

    def doubts(self, held: Mapping[ObjectRef, Fact], unreadable: Collection[ObjectRef] = ()) -> Doubts:
        """Where what is held differs, unless it is newer than the listing, of no known version, or cannot be read."""
        found: dict[ObjectRef, Doubt] = {}
        for ref, fact in held.items():
            told, version = self._told.get(ref, ""), fact.resource_version
            if told != version and version and not older(self._version, version):
                found[ref] = Doubt(version, told)
        for ref, told in self._told.items():
            if ref not in held:
                found[ref] = Doubt("", told)
        return {ref: doubt for ref, doubt in found.items() if ref not in unreadable}


def drift(first: Doubts, second: Doubts) -> Doubts:
    """What differed both times with the same version held, and, where nothing is held, the same version told."""
    return {
        ref: doubt
        for ref, doubt in second.items()
        if ref in first and first[ref].held == doubt.held and (doubt.held or first[ref].told == doubt.told)
    }
