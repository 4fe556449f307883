"""From Kubernetes JSON to the model's facts, one object, a page of a list or a line of a watch. Pure.

An object that does not fit its struct raises ``DecodeError`` with the path of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from registry.documents.json import repaired
from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef
from registry.sources.kubernetes.bounds import OBJECT_BYTES, PAGE_OBJECTS
from registry.sources.kubernetes.structs import Struct, struct_of

LIST_END_ANNOTATION = "k8s.io/initial-events-end"


class DecodeError(ValueError):
    """An object that is not what its kind says. The text names the field, as ``$.spec.ports[0].port``."""


class TooManyError(DecodeError):
    """A page has more objects than it may."""


_DECODERS = {kind: msgspec.json.Decoder(struct_of(kind)) for kind in Kind}


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on bytes that are not what they should be, down to nesting too deep to follow."""


def decode_object(kind: Kind, document: Mapping[str, Any] | bytes) -> Fact:
    """One object, as JSON or as a mapping already read.

    Raises:
        DecodeError: a field has the wrong type or an impossible value.
    """
    try:
        if isinstance(document, bytes):
            return _DECODERS[kind].decode(document).fact()
        return msgspec.convert(document, struct_of(kind)).fact()
    except _UNREADABLE as error:
        raise DecodeError(str(error)) from error


def compact_object(kind: Kind, document: Mapping[str, Any]) -> tuple[Fact, bytes]:
    """The fact, and JSON of nothing but what is read of the object: ``decode_object`` makes the same fact of it.

    Raises:
        DecodeError: a field has the wrong type or an impossible value.
    """
    try:
        found = msgspec.convert(document, struct_of(kind))
        return found.fact(), msgspec.json.encode(found)
    except _UNREADABLE as error:
        raise DecodeError(str(error)) from error


class _ListMetadata(Struct, frozen=True):
    resource_version: Annotated[str, msgspec.Meta(min_length=1)]
    continue_: str = msgspec.field(default="", name="continue")


class _ListPage(Struct, frozen=True):
    kind: str
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class Page:
    """One page of a list.

    ``continue_token`` is empty on the last page; ``resource_version`` is where a watch begins after it.
    """

    def __init__(self, kind: Kind, page: _ListPage) -> None:
        self._kind = kind
        self._items = page.items or []
        self.resource_version = page.metadata.resource_version
        self.continue_token = page.metadata.continue_

    def __len__(self) -> int:
        return len(self._items)

    def objects(self, object_bytes: int = OBJECT_BYTES) -> Iterator[Fact | Broken]:
        """Each in its turn: to read them all takes time. One of more than ``object_bytes`` is not read."""
        return objects_of(self._kind, map(bytes, self._items), object_bytes)


def objects_of(kind: Kind, bodies: Iterable[bytes], object_bytes: int) -> Iterator[Fact | Broken]:
    """The objects of a list, one after the other; none of more than ``object_bytes`` is read."""
    for body in bodies:
        try:
            if len(body) > object_bytes:
                raise DecodeError(_too_large(len(body), object_bytes))  # noqa: TRY301
            yield decode_object(kind, body)
        except DecodeError as error:
            yield Broken(_ref_of(kind, body), str(error))


class Broken(NamedTuple):
    """An object of a page that cannot be read; ``ref`` is None where it has no name."""

    ref: ObjectRef | None
    reason: str


_PAGE = msgspec.json.Decoder(_ListPage)


def decode_page(kind: Kind, body: bytes, most: int = PAGE_OBJECTS, random: Callable[[], float] | None = None) -> Page:
    """A list response. A single object of it that cannot be read does not spoil the others.

    With numbers in [0, 1) from ``random`` the objects are counted first only where samples show that they may be many.

    Raises:
        DecodeError: the body is no list of this kind with a resourceVersion, or has more than ``most`` objects.
            Anything else that happens to be JSON, say of a proxy's, must not pass for a list of nothing.
    """
    if random is None or _may_be_many(body, random):  # to count takes a sixth of the time that it takes to read them
        _count(body, most)
    page = _decode(_PAGE, body)
    if page.kind != f"{kind}List":
        raise DecodeError(f"Expected a {kind}List, got something else - at `$.kind`")
    if len(page.items or ()) > most:
        raise TooManyError(f"a page of more than {most} objects")
    return Page(kind, page)


UNCOUNTED_BYTES = 1 << 19
"""A page of so few bytes has not so many objects that they need to be counted first."""

COMMON_BYTES = 24
"""Nor has one with fewer commas than one in so many bytes: objects that say anything have one in 30 or more."""

SAMPLES, SAMPLE_BYTES = 64, 64


def _may_be_many(body: bytes, random: Callable[[], float]) -> bool:
    """Whether the body has many commas, by samples: at random, so that nobody can write around them.

    A body with as many commas as would hurt is missed once in thousands of times, and then makes a million objects.
    """
    if len(body) <= UNCOUNTED_BYTES:
        return False
    places = [int(random() * (len(body) - SAMPLE_BYTES)) for _ in range(SAMPLES)]
    commas = sum([body.count(b",", at, at + SAMPLE_BYTES) for at in places])
    return commas * COMMON_BYTES > SAMPLES * SAMPLE_BYTES


class _Countdown:
    """How many more objects the page that is being counted may have. One page is counted at a time: nothing awaits."""

    left = 0


class _Counted(Struct, frozen=True):
    def __post_init__(self) -> None:
        _Countdown.left -= 1
        if _Countdown.left < 0:
            raise ValueError("more objects than a page may have")


class _CountedPage(Struct, frozen=True):
    items: list[_Counted] | None = None


_COUNT = msgspec.json.Decoder(_CountedPage)


def _count(body: bytes, most: int) -> None:
    """Count the objects before any of them is made: of ``{}`` there are five million in 16 MiB.

    Raises:
        DecodeError: there are more than ``most``, or they cannot be counted, since not all of them are objects.
    """
    if len(body) <= UNCOUNTED_BYTES:
        return
    _Countdown.left = most
    try:
        _COUNT.decode(body)
    except _UNREADABLE as error:
        if _Countdown.left < 0:
            raise TooManyError(f"a page of more than {most} objects") from error
        mended = repaired(body)
        if mended is body:
            raise DecodeError(str(error)) from error
        _count(mended, most)


class _AnyMetadata(Struct, frozen=True):
    name: str = ""
    namespace: str | None = None
    resource_version: str = ""


class _AnyObject(Struct, frozen=True):
    metadata: _AnyMetadata = _AnyMetadata()


class _NamesPage(Struct, frozen=True):
    kind: str
    metadata: _ListMetadata
    items: list[_AnyObject] | None = None


class NamesPage(msgspec.Struct, frozen=True):
    """One page of a list of names: the version of each object."""

    versions: dict[ObjectRef, str]
    resource_version: str
    continue_token: str


_NAMES = msgspec.json.Decoder(_NamesPage)


def decode_names(kind: Kind, body: bytes) -> NamesPage:
    """A page of a metadata-only list of ``kind`` (API concepts, "Metadata-only fetches").

    Raises:
        DecodeError: it is none.
    """
    _count(body, PAGE_OBJECTS)
    page = _decode(_NAMES, body)
    if page.kind != "PartialObjectMetadataList":
        raise DecodeError("Expected a PartialObjectMetadataList, got something else - at `$.kind`")
    metadata = (each.metadata for each in page.items or ())
    versions = {ObjectRef(kind, meta.namespace or "", meta.name): meta.resource_version for meta in metadata}
    return NamesPage(versions, page.metadata.resource_version, page.metadata.continue_)


class _BookmarkMetadata(Struct, frozen=True):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Bookmark(Struct, frozen=True):
    metadata: _BookmarkMetadata = _BookmarkMetadata()


class _Status(Struct, frozen=True):
    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch.

    ``type`` is ADDED, MODIFIED, DELETED, BOOKMARK, ERROR, or a word that is not known yet. ``ref`` names the object of
    all but BOOKMARK and ERROR. ``fact`` is set on ADDED and MODIFIED; where it is None, and on an unknown type,
    ``error`` says why. On ERROR, ``code``, ``reason`` and ``error`` are those of the Status. ``ends_list``: the
    BOOKMARK that ends a streaming list.
    """

    type: str
    resource_version: str = ""
    fact: Fact | None = None
    ref: ObjectRef | None = None
    code: int = 0
    reason: str = ""
    error: str = ""
    ends_list: bool = False


_CHANGES: Mapping[Kind, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(
        msgspec.defstruct(f"_{kind}Event", [("type", str), ("object", struct_of(kind))], frozen=True)
    )
    for kind in Kind
}
"""An event whose object is all there, in one pass."""

_EVENT = msgspec.json.Decoder(_Event)
_ANY = msgspec.json.Decoder(_AnyObject)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)
_STATUS = msgspec.json.Decoder(_Status)
_Decoded = TypeVar("_Decoded")


def decode_event(kind: Kind, line: bytes, object_bytes: int = OBJECT_BYTES) -> WatchEvent:
    """One line of a watch of ``kind``. An event whose object has a name, and else cannot be read, is one all the same.

    No more than the name is read of a line of more than ``object_bytes``.

    Raises:
        DecodeError: the line is no watch event, or nobody can say of which object.
    """
    if len(line) > object_bytes:
        return _decode_closely(kind, line, _too_large(len(line), object_bytes))
    return _decode_change(kind, line) or _decode_closely(kind, line)


def _decode_change(kind: Kind, line: bytes) -> WatchEvent | None:
    """An ADDED or MODIFIED whose object can be read; None for all else, which is looked at more closely."""
    try:
        event = _CHANGES[kind].decode(line)
        if event.type not in ("ADDED", "MODIFIED"):
            return None
        fact: Fact = event.object.fact()
    except _UNREADABLE:
        return None
    return WatchEvent(event.type, fact.resource_version, fact=fact, ref=fact.ref)


def _too_large(size: int, most: int) -> str:
    return f"an object of {size} bytes, more than {most} (follow.maxObjectBytes)"


def _decode_closely(kind: Kind, line: bytes, unread: str = "") -> WatchEvent:
    """``unread`` says why the object is not to be read."""
    event = _decode(_EVENT, line)
    body = bytes(event.object)
    if event.type == "ERROR":
        status = _decode(_STATUS, body)
        return WatchEvent("ERROR", code=status.code, reason=status.reason, error=status.message)
    if event.type == "BOOKMARK":
        mark = _decode(_BOOKMARK, body).metadata
        ends_list = (mark.annotations or {}).get(LIST_END_ANNOTATION) == "true"
        return WatchEvent(event.type, mark.resource_version, ends_list=ends_list)
    meta = _decode(_ANY, body).metadata
    if not meta.name:
        raise DecodeError("Object missing required field `name` - at `$.object.metadata`")
    ref = ObjectRef(kind, meta.namespace or "", meta.name)
    if event.type == "DELETED":
        return WatchEvent(event.type, meta.resource_version, ref=ref)
    if event.type not in ("ADDED", "MODIFIED"):
        return WatchEvent(event.type, meta.resource_version, ref=ref, error="an event of an unknown type")
    fact = None
    if not unread:
        try:
            fact = decode_object(kind, body)
        except DecodeError as error:
            unread = str(error)
    return WatchEvent(event.type, meta.resource_version, fact=fact, ref=ref, error=unread)


def decode_status_message(body: bytes) -> str:
    """The message of the ``v1`` Status that an API server answers errors with; empty where it is none."""
    try:
        status = _STATUS.decode(body)
    except _UNREADABLE:
        return ""
    return status.message if status.kind == "Status" else ""


def _decode(decoder: msgspec.json.Decoder[_Decoded], body: bytes) -> _Decoded:
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        mended = repaired(body)
        if mended is not body:
            return _decode(decoder, mended)
        raise DecodeError(str(error)) from error


def _ref_of(kind: Kind, body: bytes) -> ObjectRef | None:
    try:
        meta = _decode(_ANY, body).metadata
    except DecodeError:
        return None
    return ObjectRef(kind, meta.namespace or "", meta.name) if meta.name else None
