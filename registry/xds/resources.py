"""Named resources, encoded once for everybody who gets them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from hashlib import blake2b

from registry.xds import wire

_VERSION_BYTES = 8
SHARED_RESPONSES = 16
"""How many responses of a type are kept for those who are to be told the same."""

KEPT_BYTES = 16 << 10
"""Larger encodings are not kept but made anew where they are needed: the response that has them is shared anyway."""


class Resource:
    """The content of one resource: encoded when first needed, then kept.

    ``encode`` gives the bytes of the resource message itself, not wrapped in an Any; it must give the same bytes for
    the same facts. An ``on_demand`` resource is not part of a wildcard subscription but can be subscribed to by its
    name. With a ``version`` the bytes are taken for cheap to put together: large ones are not kept.
    """

    __slots__ = ("_body", "_encode", "_entry", "_size", "_version", "on_demand")

    def __init__(self, encode: Callable[[], bytes], on_demand: bool = False, version: str = "") -> None:
        self._encode = encode
        self._body: bytes | None = None
        self._entry: Entry | None = None
        self._version = version
        self._size = -1
        self.on_demand = on_demand

    @property
    def body(self) -> bytes:
        if self._body is not None:
            return self._body
        body = self._encode()
        self._size = len(body)
        if len(body) <= KEPT_BYTES or not self._version:
            self._body = body
        return body

    @property
    def encoded(self) -> bool:
        """It was encoded once."""
        return self._size >= 0

    @property
    def size(self) -> int:
        """How many bytes it is."""
        if self._size < 0:
            self._size = len(self.body)
        return self._size

    def entry(self, type_url: str, name: str, *, kept: bool = True) -> Entry:
        """The resource under that name; the same object for every group that keeps it, until one ``leaves`` it."""
        entry = self._entry
        if entry is None or entry.name != name:
            entry = Entry(type_url, name, self)
            if kept:
                self._entry = entry
        return entry

    def leave(self, entry: Entry) -> None:
        """A group keeps the entry no more: from now on it goes with the last group, and takes the resource along."""
        if self._entry is entry:
            self._entry = None

    @property
    def version(self) -> str:
        """A short hash of the content: equal bytes have equal versions, in every process."""
        if not self._version:
            self._version = blake2b(self.body, digest_size=_VERSION_BYTES).hexdigest()
        return self._version


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What becomes of one resource. ``resource`` None removes it. Groups are partitions that share nothing."""

    type_url: str
    name: str
    resource: Resource | None
    group: Hashable = ""


class Entry:
    """A resource under its name in the store, with its bytes as each protocol variant sends them."""

    __slots__ = ("_delta", "_digest", "_sotw", "_type_url", "name", "resource")

    def __init__(self, type_url: str, name: str, resource: Resource) -> None:
        self._type_url = type_url
        self._sotw = self._delta = b""
        self._digest = -1
        self.name = name
        self.resource = resource

    @property
    def version(self) -> str:
        return self.resource.version

    @property
    def listed(self) -> bool:
        """Whether a wildcard subscription includes it."""
        return not self.resource.on_demand

    @property
    def digest(self) -> int:
        """Name and version as one number."""
        if self._digest < 0:
            self._digest = digest(self.name, self.version)
        return self._digest

    def prepare(self) -> int:
        """Encode it, if it never was. Returns how much work that was: 1 is some 25 microseconds."""
        if self.resource.encoded and self._digest >= 0:
            return 0
        work = 1 + (self.resource.size >> 10)
        self.digest  # noqa: B018 - computed and kept
        return work

    @property
    def sotw(self) -> bytes:
        """The field of a ``DiscoveryResponse`` that holds it."""
        if self._sotw:
            return self._sotw
        field = wire.sotw_resource(self._type_url, self.resource.body)
        if len(field) <= KEPT_BYTES:
            self._sotw = field
        return field

    @property
    def delta(self) -> bytes:
        """The field of a ``DeltaDiscoveryResponse`` that holds it."""
        if self._delta:
            return self._delta
        field = wire.delta_resource(self._type_url, self.name, self.version, self.resource.body)
        if len(field) <= KEPT_BYTES:
            self._delta = field
        return field


class SharedResponse:
    """One encoded response for all clients that are to be told the same.

    The nonce is made of what is told and of a ``turn``, in which a client's responses of one type alternate; so it is
    the same for all of them, and never that of the response before. ``ack`` is the request that accepts the response
    and says nothing else, as clients encode it.
    """

    __slots__ = ("ack", "data", "nonce", "version")

    def __init__(self, version: str, nonce: str, data: bytes, ack: bytes = b"") -> None:
        self.version = version
        self.nonce = nonce
        self.data = data
        self.ack = ack


class SharedResponses:
    """The last few responses of one type, so that each is put together once."""

    def __init__(self, type_url: str) -> None:
        self._type_url = type_url
        self._found: dict[tuple[object, ...], SharedResponse] = {}

    def delta(self, entries: tuple[Entry, ...], removed: tuple[str, ...], turn: bool, server: bytes) -> SharedResponse:
        """The ``DeltaDiscoveryResponse`` that tells of ``entries`` and of names that are not there."""
        key = (entries, removed, turn, server)
        found = self._found.get(key)
        if found is not None:
            return found
        version = content_version(entries, removed)
        nonce = f"{version}.{turn:d}"
        data = wire.delta_response(
            version, [entry.delta for entry in entries], self._type_url, nonce, server, removed=removed
        )
        return self._keep(key, SharedResponse(version, nonce, data, wire.delta_ack(self._type_url, nonce)))

    def sotw(self, version: str, entries: tuple[Entry, ...], turn: bool, server: bytes) -> SharedResponse:
        """The ``DiscoveryResponse`` that has ``entries``, as ``version``."""
        key = (version, entries, turn, server)
        found = self._found.get(key)
        if found is not None:
            return found
        nonce = f"{version}.{turn:d}"
        data = wire.sotw_response(version, [entry.sotw for entry in entries], self._type_url, nonce, server)
        return self._keep(key, SharedResponse(version, nonce, data))

    def _keep(self, key: tuple[object, ...], made: SharedResponse) -> SharedResponse:
        if len(self._found) >= SHARED_RESPONSES:
            del self._found[next(iter(self._found))]
        self._found[key] = made
        return made


def content_version(entries: Iterable[Entry], removed: Iterable[str] = ()) -> str:
    """The version of what a response tells: the same things have the same version, in every process."""
    number = 0
    for entry in entries:
        number ^= entry.digest
    for name in removed:
        number ^= digest(name, "")
    return f"{number:0{2 * _VERSION_BYTES}x}"


def digest(name: str, version: str) -> int:
    """Name and version as one number."""
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=_VERSION_BYTES).digest())


class SentVersions:
    """Which version of each resource a client was sent last."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._versions

    def get(self, name: str) -> str | None:
        return self._versions.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._versions)

    def clear(self) -> None:
        """The client has nothing."""
        self._versions.clear()

    def record(self, entry: Entry) -> None:
        """``entry`` was sent."""
        self._versions[entry.name] = entry.version

    def assume(self, name: str, version: str) -> None:
        """The client says it has this."""
        self._versions[name] = version

    def forget(self, name: str) -> None:
        """The client has it no longer, or never mind."""
        self._versions.pop(name, None)


class SentState(SentVersions):
    """The same, and the version of them all together.

    The exclusive or of the digests identifies the set, whatever the order it was sent in, and one resource more or
    less changes it at the same small cost however many there are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._digest = 0

    def record(self, entry: Entry) -> None:
        self.forget(entry.name)
        super().record(entry)
        self._digest ^= entry.digest

    def forget(self, name: str) -> None:
        version = self._versions.pop(name, None)
        if version is not None:
            self._digest ^= digest(name, version)

    def clear(self) -> None:
        super().clear()
        self._digest = 0

    @property
    def version(self) -> str:
        """The version of the whole set: equal sets have equal versions, in every process."""
        return f"{self._digest:0{2 * _VERSION_BYTES}x}"
