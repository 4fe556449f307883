"""The bytes of a snapshot: of what many clusters said, at one moment each. Pure.

::

    magic (8 bytes)  version (2)                 checksum (16)
    length (4)       payload: the header         checksum
    length           payload: a cluster          checksum
    length           payload: a batch of facts   checksum     any number, kind by kind
    length           payload: a cluster ...      checksum
    0                (the end)                   checksum

Numbers are big-endian, payloads are MessagePack, and each checksum is the BLAKE2b of *all* bytes before it but the
checksums: the last one is that of the whole, and the first one that differs says where. All versions begin with magic,
version and a checksum, so a file of a newer one is known from one that is damaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from registry.model.facts import Fact
from registry.model.names import ClusterId, Kind
from registry.model.standing import Standing
from registry.snapshot.rows import CODECS

MAGIC = b"\x89MESHRG\n"
"""As PNG's: a first byte that is no text, a last one that a transfer as text would change."""
VERSION = 1
BATCH = 1000
"""About how many endpoints or objects are encoded in one step: a fraction of a millisecond."""
_PREFIX = len(MAGIC) + 2
_CHECKSUM = 16
_LENGTH = 4


class SnapshotError(Exception):
    """These bytes are not used. ``kind`` is one word, fit for a file's suffix."""

    kind = "unusable"


class CorruptError(SnapshotError):
    """Damaged or cut off. The text says where."""

    kind = "corrupt"


class ForeignError(SnapshotError):
    """No snapshot at all, or that of a registry of another domain."""

    kind = "foreign"


class NewerError(SnapshotError):
    """Of a version of the format that this program does not know."""

    kind = "newer"


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What is remembered of one cluster.

    ``uid`` is its identity: that of its ``kube-system``, empty if unknown. ``network`` is where its endpoints are
    where nothing in the facts says otherwise. ``penalty`` and ``suppressed`` are for having come and gone (see
    ``liveness.damping``), as of the snapshot's time. ``age``: so many seconds before that time the cluster had last
    proven to be so.
    """

    cluster: ClusterId
    facts: Mapping[Kind, Sequence[Fact]]
    uid: str = ""
    network: str = ""
    standing: Standing = Standing.CURRENT
    penalty: float = 0.0
    suppressed: bool = False
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file's content. ``created`` is in seconds since the epoch."""

    domain: str
    created: float
    clusters: tuple[ClusterFacts, ...]


class _Header(msgspec.Struct, frozen=True, tag="header"):
    domain: str
    created: float


class _Cluster(msgspec.Struct, frozen=True, tag="cluster"):
    """Written field by name: one that is new, and has a default, is no other version of the format."""

    name: str
    uid: str
    network: str
    standing: Standing
    counts: dict[Kind, int]
    penalty: float = 0.0
    suppressed: bool = False
    age: float = 0.0


class _Batch(msgspec.Struct, frozen=True, tag="facts"):
    """``words`` are the texts that its rows are the first to use."""

    kind: Kind
    words: list[str]
    rows: msgspec.Raw


_DECODER: msgspec.msgpack.Decoder[_Header | _Cluster | _Batch] = msgspec.msgpack.Decoder(_Header | _Cluster | _Batch)


def encode(domain: str, created: float, clusters: Iterable[ClusterFacts]) -> Iterator[bytes]:
    """The file, in pieces that each cost little. ``clusters`` is asked for the next one when that one's turn comes."""
    frames = _Frames()
    yield frames.prefix()
    yield frames.frame(msgspec.msgpack.encode(_Header(domain, created)))
    words = _Words()
    for each in clusters:
        counts = {kind: len(facts) for kind, facts in each.facts.items()}
        judged = each.standing, counts, each.penalty, each.suppressed, each.age
        head = _Cluster(each.cluster, each.uid, each.network, *judged)
        yield frames.frame(msgspec.msgpack.encode(head))
        for kind in Kind:
            codec = CODECS[kind]
            for batch in _batches(each.facts.get(kind, ()), kind):
                rows = msgspec.Raw(codec.encoded(batch, words.number))
                yield frames.frame(msgspec.msgpack.encode(_Batch(kind, words.new(), rows)))
    yield frames.frame(b"")


def decode(data: bytes, domain: str) -> Snapshot:
    """The content of a whole file.

    Raises:
        SnapshotError: one of its three kinds; nothing of the file is to be used.
    """
    reader = _Reader(data)
    reader.prefix()
    header = reader.header(domain)
    clusters: list[ClusterFacts] = []
    while reader.cluster is not None:
        clusters.append(reader.facts(reader.cluster))
    return Snapshot(header.domain, header.created, tuple(clusters))


def _batches(facts: Sequence[Fact], kind: Kind) -> Iterator[Sequence[Fact]]:
    weigh = CODECS[kind].weight
    start = weight = 0
    for position, fact in enumerate(facts):
        weight += weigh(fact)
        if weight >= BATCH:
            yield facts[start : position + 1]
            start, weight = position + 1, 0
    if start < len(facts):
        yield facts[start:]


class _Words:
    """Numbers for texts, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._new: list[str] = []

    def number(self, word: str) -> int:
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self._numbers)
            self._new.append(word)
        return found

    def new(self) -> list[str]:
        """The words numbered since the last call."""
        new, self._new = self._new, []
        return new


class _Frames:
    """Puts the checksum behind each piece."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=_CHECKSUM)

    def prefix(self) -> bytes:
        return self._checked(MAGIC + VERSION.to_bytes(2))

    def frame(self, payload: bytes) -> bytes:
        return self._checked(len(payload).to_bytes(_LENGTH) + payload)

    def _checked(self, piece: bytes) -> bytes:
        self._digest.update(piece)
        return piece + self._digest.digest()


class _Reader:
    """Goes through the frames. ``cluster`` is the one whose facts come next; None: the end was reached."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._digest = hashlib.blake2b(digest_size=_CHECKSUM)
        self._where = "its beginning"
        self._words: list[str] = []
        self.cluster: _Cluster | None = None

    def prefix(self) -> None:
        if self._data[: len(MAGIC)] != MAGIC:
            raise ForeignError("it is no snapshot of a mesh-registry")
        version = int.from_bytes(self._checked(_PREFIX)[len(MAGIC) :])
        if version > VERSION:
            raise NewerError(f"it has version {version} of the format; this program knows up to {VERSION}")
        if version < VERSION:
            raise self._corrupt(f"there was never a version {version}")

    def header(self, domain: str) -> _Header:
        self._where = "its header"
        header = self._frame()
        if not isinstance(header, _Header):
            raise self._corrupt("something else is there")
        if header.domain != domain:
            raise ForeignError(f"it is of the domain {header.domain!r}, this registry's is {domain!r}")
        self._next_cluster(self._frame())
        return header

    def facts(self, cluster: _Cluster) -> ClusterFacts:
        """The facts of ``cluster``; moves on to the cluster after it."""
        facts: dict[Kind, list[Fact]] = {kind: [] for kind in cluster.counts}
        self._where = f"the facts of cluster {cluster.name}"
        while isinstance(batch := self._frame(), _Batch):
            self._words += batch.words
            try:
                facts[batch.kind] += CODECS[batch.kind].decoded(batch.rows, self._words.__getitem__)
            except (ValueError, LookupError) as error:
                raise self._corrupt(f"{batch.kind}: {error}") from error
        for kind, count in cluster.counts.items():
            if len(facts[kind]) != count:
                raise self._corrupt(f"{len(facts[kind])} of {count} objects of the kind {kind} are there")
        self._next_cluster(batch)
        found = {kind: tuple(each) for kind, each in facts.items()}
        return ClusterFacts(
            ClusterId(cluster.name),
            found,
            cluster.uid,
            cluster.network,
            cluster.standing,
            cluster.penalty,
            cluster.suppressed,
            cluster.age,
        )

    def _next_cluster(self, frame: _Header | _Cluster | _Batch | None) -> None:
        if isinstance(frame, _Header | _Batch):
            raise self._corrupt("a cluster's name was to come")
        self.cluster = frame
        if frame is None and self._at != len(self._data):
            raise self._corrupt(f"{len(self._data) - self._at} bytes come after its end")

    def _frame(self) -> _Header | _Cluster | _Batch | None:
        length = int.from_bytes(self._data[self._at : self._at + _LENGTH])
        payload = self._checked(_LENGTH + length)[_LENGTH:]
        if not payload:
            return None
        try:
            return _DECODER.decode(payload)
        except msgspec.MsgspecError as error:
            raise self._corrupt(str(error)) from error

    def _checked(self, length: int) -> memoryview:
        """The next ``length`` bytes, and past the checksum behind them."""
        end = self._at + length
        if end + _CHECKSUM > len(self._data):
            raise self._corrupt("it is cut off or damaged")
        piece = self._data[self._at : end]
        self._digest.update(piece)
        if self._data[end : end + _CHECKSUM] != self._digest.digest():
            raise self._corrupt("the checksum differs")
        self._at = end + _CHECKSUM
        return piece

    def _corrupt(self, what: str) -> CorruptError:
        return CorruptError(f"after byte {self._at} of {len(self._data)}, in {self._where}: {what}")
