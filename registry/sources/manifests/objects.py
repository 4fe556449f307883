"""The objects of one manifest file: of each kind that is read, what is read of it. Pure.

Objects of other kinds are passed over without being built. The file is read object by object: what a List holds is
reduced to what is read of it before the next item is looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import msgspec

from registry.documents import Builder, DocumentError, Problem, Source, mended, sources
from registry.documents import json as json_texts
from registry.model.facts import AddressType, EndpointSlice
from registry.model.names import Kind
from registry.printable import shortened
from registry.sources.kubernetes.decode import DecodeError, compact_object

KINDS: Mapping[tuple[str, str], Kind] = {
    ("v1", "Service"): Kind.SERVICE,
    ("discovery.k8s.io/v1", "EndpointSlice"): Kind.ENDPOINT_SLICE,
    ("v1", "Pod"): Kind.POD,
    ("v1", "Node"): Kind.NODE,
    ("v1", "Namespace"): Kind.NAMESPACE,
    ("multicluster.x-k8s.io/v1alpha1", "ServiceExport"): Kind.SERVICE_EXPORT,
    ("multicluster.x-k8s.io/v1beta1", "ServiceExport"): Kind.SERVICE_EXPORT,
}
_NAMES = frozenset(kind for _, kind in KINDS)
_GROUPS = frozenset({"v1", "discovery.k8s.io"})
_LISTS = frozenset({"List", *(f"{kind}List" for kind in _NAMES)})
"""Kinds whose items are objects. Custom kinds end in ``List`` too, with items of their own."""

CLUSTER_SCOPED = frozenset({Kind.NODE, Kind.NAMESPACE})
DEFAULT_NAMESPACE = "default"
MAX_LISTS = 8
"""How deep a List may be in Lists."""

_AT_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")
_SEPARATOR = re.compile(rb"^---(?=[ \t\r\n#]|\Z)", re.MULTILINE)
_ODD_LINES = re.compile(rb"\A\xfe\xff|\A\xff\xfe|\r(?!\n)|\xc2\x85|\xe2\x80[\xa8\xa9]")
"""UTF-16, or what YAML takes for the end of a line beside the line feed."""


class ManifestError(Exception):
    """The file cannot be used. The text begins with its name and line."""

    def __init__(self, text: str) -> None:
        super().__init__(shortened(text))


class Row(msgspec.Struct, frozen=True, gc=False):
    """What is read of one object, as JSON that ``decode_object`` takes, and the line it begins on."""

    kind: Kind
    line: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """Why an object cannot be used. ``line`` is in the file; if it is 0, ``path`` and ``keys`` name the place."""

    message: str
    line: int = 0
    kind: str = ""
    path: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Untyped:
    """An item without a kind: that of its list, which may come after it. ``body`` is JSON."""

    path: str
    line: int
    body: bytes
    problem: Problem | None


Entry = Row | Broken | Untyped | list["Entry"]
"""What stands for an object: a list for a List, an empty one for what is passed over."""


def read_rows(name: str, content: bytes) -> list[Row]:
    """The objects of the file ``name``, in their order.

    A file is read whole or not at all, since one that is cut off may look like a shorter list.

    Raises:
        ManifestError: the file is empty, is no YAML or JSON, or an object in it is not what its kind says.
    """
    try:
        documents = [
            document
            for source in sources(content, json=name.endswith(".json"))
            for document in (_json(source) if source.is_json else _yaml(source))
        ]
    except DocumentError as error:
        raise ManifestError(f"{name}:{error.line}: {error}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ManifestError(f"{name}:1: cannot be read ({type(error).__name__}: {error})") from error
    if not documents:
        raise ManifestError(f"{name}:1: nothing in it; delete the file to remove its objects")
    rows: list[Row] = []
    for source, ordinal, entry in documents:
        for each in _flat(entry):
            if isinstance(each, Broken):
                raise _error(name, source, ordinal, each)
            rows.append(each)
    return rows


def _flat(entry: Entry) -> Iterator[Row | Broken]:
    if isinstance(entry, list):
        for each in entry:
            yield from _flat(each)
    elif not isinstance(entry, Untyped):
        yield entry


def _error(name: str, source: Source, ordinal: int, broken: Broken) -> ManifestError:
    if broken.line:
        return ManifestError(f"{name}:{broken.line}: {broken.message}")
    place = source.place(ordinal, broken.path, *broken.keys)
    where = "".join([broken.path.removeprefix("$."), *(f"[{key}]" for key in broken.keys)])
    what = f"{broken.kind} {where}".strip()
    return ManifestError(f"{name}:{place.line}: {what}: {mended(broken.message, place)}")


def _yaml(source: Source) -> Iterator[tuple[Source, int, Entry]]:
    """The documents of a YAML stream.

    Text that is no YAML in an object of a kind that is not read voids that object alone, if another document follows.
    """
    while True:
        objects = _Objects(source.line)
        builder = Builder(source.content, objects)
        try:
            for tree in builder.trees():
                yield source, tree.ordinal, objects.entry("$", tree.line, tree.value, tree.problem)
        except DocumentError as error:
            rest = _after(source, error) if builder.passing else None
            if rest is None:
                raise DocumentError(str(error), error.line + source.line, error.column) from error
            source = rest
        else:
            return


def _after(source: Source, error: DocumentError) -> Source | None:
    """What follows the document that has the error; None if nothing does, or lines cannot be counted by line feeds."""
    if _ODD_LINES.search(source.content):
        return None
    at = 0
    for _ in range(error.line - 1):
        at = source.content.find(b"\n", at) + 1
    separator = _SEPARATOR.search(source.content, max(at, 1))
    if separator is None or not source.content[separator.end() :].strip():
        return None
    start = separator.start()
    return Source(source.content[start:], source.line + source.content.count(b"\n", 0, start))


def _json(source: Source) -> Iterator[tuple[Source, int, Entry]]:
    yield source, 0, _json_entry(_Objects(source.line), source.content, "$", 1)


def _json_entry(objects: _Objects, text: bytes, path: str, line: int, depth: int = 0) -> Entry:
    """The object in ``text``, which begins on ``line`` of its source."""
    first = line
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        fields = {}
    kind, version = _string(fields.get("kind")), _string(fields.get("apiVersion"))
    if kind and version:
        if objects.skips(version, kind):
            return objects.entry(path, line, {"apiVersion": version, "kind": kind}, None)
        items = memoryview(fields.get("items", b""))
        if kind in _LISTS and items[:1].tobytes() == b"[":
            if depth == MAX_LISTS:
                return Broken(f"lists in more than {MAX_LISTS} lists", line + objects.line)
            entries: list[object] = []
            at, begins = 0, text.find(items)
            for position, raw in enumerate(msgspec.json.decode(items, type=list[msgspec.Raw])):
                begins = text.find(memoryview(raw), begins)
                line += text.count(b"\n", at, begins)
                entries.append(_json_entry(objects, bytes(raw), f"{path}.items[{position}]", line, depth + 1))
                at = begins
                begins += len(memoryview(raw))
            return objects.entry(path, first, {"apiVersion": version, "kind": kind, "items": entries}, None)
    value, problem = json_texts.value_of(text)
    if problem is not None:
        problem = Problem(problem.message, problem.line + line - 1)
    return objects.entry(path, line, value, problem)


def _string(raw: msgspec.Raw | None) -> str:
    """The text in ``raw``; empty if that is no string."""
    try:
        return msgspec.json.decode(raw, type=str) if raw is not None else ""
    except ValueError:
        return ""


class _Objects:
    """Reduces objects to what is read of them (a ``Visitor``). ``line``: how many come before the source's first."""

    def __init__(self, line: int) -> None:
        self.line = line

    def skips(self, version: str, kind: str) -> bool:
        return (version, kind) not in KINDS and kind not in _LISTS

    def item(self, path: str, line: int, value: Any, problem: Problem | None) -> Entry:
        if isinstance(value, dict) and not ("kind" in value and "apiVersion" in value):
            return Untyped(path, line, json.dumps(value, default=str).encode(), problem)
        return self.entry(path, line, value, problem)

    def entry(self, path: str, line: int, value: Any, problem: Problem | None) -> Entry:
        """What stands for the object ``value``, whose kind nothing but itself can tell."""
        broken = Broken(problem.message, problem.line + self.line) if problem is not None else None
        if not isinstance(value, dict):
            text = f"expected an object with apiVersion and kind, got {type(value).__name__}"
            return broken or Broken(text, line + self.line if path == "$" else 0, "", path)
        version, kind = value.get("apiVersion"), value.get("kind")
        if not isinstance(kind, str) or not isinstance(version, str):
            return broken or Broken("no apiVersion and kind (is the file cut off?)", line + self.line)
        if kind in _LISTS and isinstance(value.get("items"), list):
            return broken or [*self._listed(path, line, version, kind, value["items"])]
        return self._object(path, line + self.line, version, kind, value, broken)

    @staticmethod
    def _object(
        path: str, line: int, version: str, kind: str, value: Mapping[str, Any], broken: Broken | None
    ) -> Entry:
        known = KINDS.get((version, kind))
        if known is not None:
            return Broken(f"{kind}: {broken.message}", broken.line) if broken else _row(known, path, line, value)
        if kind in _NAMES and version.partition("/")[0] in _GROUPS:
            expected = next(each for each, name in KINDS if name == kind)
            return Broken(f"{kind} of {version} is not read; export it as {expected}", line)
        return []

    def _listed(self, path: str, line: int, version: str, kind: str, items: list[Any]) -> Iterator[Entry]:
        """The items of a list, some of which are entries already."""
        given = {} if kind == "List" else {"apiVersion": version, "kind": kind.removesuffix("List")}
        for position, each in enumerate(items):
            if isinstance(each, Untyped):
                yield self.entry(each.path, each.line, {**given, **json.loads(each.body)}, each.problem)
            elif isinstance(each, Row | Broken | list):
                yield each
            else:
                value = {**given, **each} if isinstance(each, dict) else each
                yield self.entry(f"{path}.items[{position}]", line, value, None)


def _row(kind: Kind, path: str, line: int, value: Mapping[str, Any]) -> Row | Broken:
    """What is read of the object at ``path``."""
    try:
        fact, body = compact_object(kind, value if kind in CLUSTER_SCOPED else _namespaced(value))
        if isinstance(fact, EndpointSlice):
            _check_families(fact)
    except DecodeError as error:
        match = _AT_PATH.search(str(error))
        inside = match["path"] if match else "$"
        container = inside.removesuffix("[...]")
        keys = _not_strings(value, container) if container != inside else ()
        return Broken(_AT_PATH.sub("", str(error)), 0, kind, path + container.removeprefix("$"), keys)
    return Row(kind, line, body)


def _not_strings(value: Any, path: str) -> tuple[str, ...]:
    """The first key in the map of strings at ``path`` (``$.metadata.labels``) whose value is none."""
    for key in path.split(".")[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    found = [key for key, each in value.items() if not isinstance(each, str | None)] if isinstance(value, dict) else []
    return tuple(found[:1])


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
