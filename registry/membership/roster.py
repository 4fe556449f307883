"""The Secrets that name member clusters, and what they come to. Pure.

Istio's remote secrets: labelled ``istio/multiCluster=true``, each key of ``data`` a cluster's name, each value its
kubeconfig (``istioctl create-remote-secret``). What a watch says is believed; what a list lacks is not, until a later
one lacks it too: the first may be a fault of the home cluster (``absence``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec

from registry.documents.json import repaired
from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.spec import MemberSpec, Trouble, Unusable
from registry.sources.kubernetes.fields import decode_base64
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig

LABEL = "istio/multiCluster=true"
MAX_KUBECONFIG_BYTES = 256 << 10
MAX_KUBECONFIG_VALUES = 2_000
"""A kubeconfig of one context has about 50. So many are read in 10 ms."""

MAX_MEMBERS = 1_000
MAX_BYTES = 64 << 20
"""Members that the Secrets of one namespace may name together, and the text of their kubeconfigs, as base64."""

SECRETS_UNREADABLE = "SecretsUnreadable"
TOO_MANY_MEMBERS = "TooManyMembers"
SHOWN = 5

Shape = TypeVar("Shape")


class SecretsError(Exception):
    """What came is not what the API promises."""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class Secret(msgspec.Struct):
    """As much of a Secret as is used; ``data`` is base64."""

    metadata: _Metadata
    data: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    metadata: _Metadata


class _ListMetadata(_Metadata, rename="camel"):
    continue_: str | None = msgspec.field(name="continue", default=None)


class SecretList(msgspec.Struct):
    """A page of a list. Each Secret is read on its own."""

    metadata: _ListMetadata
    items: list[msgspec.Raw]


class _Typed(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


class Expired(Exception):  # noqa: N818 - no error, a word of the protocol (410)
    """The watch cannot go on from where it was."""


@dataclass(frozen=True, slots=True)
class Found:
    """A Secret that was read: the members it names, or why it cannot be read. Without a name nobody knows which it is.

    ``size`` is that of the text of its kubeconfigs.
    """

    name: str
    members: tuple[MemberSpec, ...] = ()
    size: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list, read. ``token`` continues it, empty on the last."""

    found: tuple[Found, ...]
    version: str
    token: str


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the watch, read. A bookmark has nothing ``found``."""

    version: str
    found: Found | None = None
    deleted: bool = False


class SecretReader:
    """Reads Secrets of ``namespace``: it takes its time, and is made for a thread of its own, one call at a time.

    Without ``around`` their kubeconfigs may use nothing of this machine. What is as before is not read again.
    """

    def __init__(self, namespace: str, around: Surroundings | None) -> None:
        self._namespace = namespace
        self._around = around
        self._read: dict[str, dict[str, tuple[bytes, Kubeconfig | Unusable]]] = {}

    def page(self, body: bytes) -> Page:
        """A page of a list.

        Raises:
            SecretsError: it is no list of Secrets.
        """
        page = _decoded(body, SecretList)
        found = tuple(self._found(bytes(raw)) for raw in page.items)
        return Page(found, page.metadata.resource_version, page.metadata.continue_ or "")

    def line(self, line: bytes) -> Change:
        """One line of the watch.

        Raises:
            Expired: list anew.
            SecretsError: it cannot be read, or says that something is wrong.
        """
        event = _decoded(line, _Typed)
        body = bytes(event.object)
        if event.type == "ERROR":
            failure = _decoded(body, _Failure)
            if failure.code == 410:
                raise Expired
            raise SecretsError(f"{failure.code} {failure.message}")
        metadata = _decoded(body, _Named).metadata
        if event.type == "BOOKMARK":
            return Change(metadata.resource_version)
        if event.type == "DELETED":
            return Change(metadata.resource_version, Found(metadata.name), deleted=True)
        return Change(metadata.resource_version, self._found(body))

    def keep(self, names: Iterable[str]) -> None:
        """Forget the Secrets of other names."""
        self._read = {name: self._read[name] for name in names if name in self._read}

    def origin(self, secret: str) -> str:
        """How the place of each of its keys begins."""
        return f"Secret {self._namespace}/{secret} ("

    def _found(self, body: bytes) -> Found:
        try:
            secret = _decoded(body, Secret)
        except SecretsError as error:
            return Found(_name_in(body), error=str(error))
        name, data = secret.metadata.name, secret.data or {}
        if len(data) > MAX_MEMBERS:
            return Found(name, error=f"{len(data)} keys, more than {MAX_MEMBERS}; each is the name of a cluster")
        before = self._read.pop(name, {})
        read = self._read[name] = {key: self._connection(value, before.get(key)) for key, value in sorted(data.items())}
        members = tuple(MemberSpec(key, f"{self.origin(name)}{key})", way) for key, (_, way) in read.items())
        return Found(name, members, sum(len(value) for value in data.values() if isinstance(value, str)))

    def _connection(
        self, value: Any, before: tuple[bytes, Kubeconfig | Unusable] | None
    ) -> tuple[bytes, Kubeconfig | Unusable]:
        """The kubeconfig of one key, with a hash of the text it was read from."""
        if not isinstance(value, str):
            return b"", Unusable("kubeconfig: not base64; mend the Secret")
        digest = blake2b(value.encode(errors="surrogatepass")).digest()
        # Files that it names may be others by now.
        if before is not None and before[0] == digest and self._around is None:
            return before
        return digest, _connection(value, self._around)


class Roster:
    """The members that the Secrets of ``namespace`` name; without ``around`` they may use nothing of this machine."""

    def __init__(self, namespace: str, around: Surroundings | None, policy: AbsencePolicy) -> None:
        self.reader = SecretReader(namespace, around)
        self._held: dict[str, Found] = {}
        self._broken: dict[str, str] = {}
        """Secrets that cannot be read. What they named before stays."""
        self._excess = ""
        self._absences = Absences(policy, "the list of Secrets", few_seconds=policy.confirm_seconds)

    @property
    def doubtful(self) -> bool:
        """The last list lacked members: list again."""
        return self._absences.doubtful

    @property
    def trouble(self) -> Trouble | None:
        """What is doubted, or cannot be read, for people."""
        doubt = self._absences.trouble
        if doubt is not None:
            return doubt
        if self._excess:
            return Trouble(TOO_MANY_MEMBERS, self._excess)
        if self._broken:
            texts = [f"Secret {name or '?'}: {error}" for name, error in sorted(self._broken.items())]
            more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
            text = f"{'; '.join(texts[:SHOWN])}{more}; what was read before stays; mend the Secret"
            return Trouble(SECRETS_UNREADABLE, text)
        return None

    def listed(self, secrets: Iterable[Found], now: float) -> None:
        """These were listed at ``now``, in seconds of a clock that does not jump."""
        found = list(secrets)
        held = {each.name: each for each in found if not each.error}
        broken = {each.name: each.error for each in found if each.error}
        kept = self._held if "" in broken else broken  # which Secret that is nobody knows
        held = {name: self._held[name] for name in kept if name in self._held} | held
        if not self._fits(held):
            return
        self._held, self._broken = held, broken
        self.reader.keep(held)
        self._absences.listed(self._named(), now)

    def release(self, name: str) -> bool:
        """The member is gone where that is in doubt; whether it was."""
        return self._absences.release(name)

    def take(self, change: Change) -> str:
        """The watch brought this; the resourceVersion to go on from."""
        found = change.found
        if found is None:
            return change.version
        if found.error:
            self._broken[found.name] = found.error
            return change.version
        held = {name: each for name, each in self._held.items() if name != found.name}
        if not change.deleted:
            held[found.name] = found
        if self._fits(held):
            self._held = held
            self._broken.pop(found.name, None)
            self._absences.told(self._named(), self._absences.absent(self.reader.origin(found.name)))
        return change.version

    def line(self, line: bytes) -> str:
        """``take`` of a line that is not read yet."""
        return self.take(self.reader.line(line))

    def specs(self) -> list[MemberSpec]:
        """The members, ordered by Secret and key; those in doubt come last."""
        return self._absences.specs

    def _fits(self, held: Mapping[str, Found]) -> bool:
        """Whether they are not too many. Those that are too many change nothing."""
        self._excess = excess(held.values())
        return not self._excess

    def _named(self) -> list[MemberSpec]:
        return [spec for _, found in sorted(self._held.items()) for spec in found.members]


def excess(found: Iterable[Found]) -> str:
    """Why so many are too many; empty if they are not."""
    count = size = 0
    for each in found:
        count, size = count + len(each.members), size + each.size
    if count > MAX_MEMBERS:
        return f"the Secrets name more than {MAX_MEMBERS} clusters; the members stay as they were"
    if size > MAX_BYTES:
        text = f"the kubeconfigs in the Secrets come to more than {MAX_BYTES >> 20} MiB; the members stay as they were"
        return f"{text}; put one context in each (kubectl config view --flatten --minify)"
    return ""


def _connection(value: str, around: Surroundings | None) -> Kubeconfig | Unusable:
    """The kubeconfig of one key."""
    if len(value) * 3 // 4 > MAX_KUBECONFIG_BYTES:
        text = f"{len(value) * 3 // 4096} KiB, more than {MAX_KUBECONFIG_BYTES >> 10}"
        return Unusable(
            f"kubeconfig: {text}; put one context in (kubectl config view --flatten --minify); mend the Secret"
        )
    try:
        return read_kubeconfig(decode_base64(value), None, around, most=MAX_KUBECONFIG_VALUES)
    except KubeconfigError as error:
        return Unusable(f"kubeconfig: {error}; mend the Secret")
    except ValueError:
        return Unusable("kubeconfig: not base64; mend the Secret")


def _name_in(body: bytes) -> str:
    """The name of a Secret that else cannot be read; empty where there is none."""
    try:
        return _decoded(body, _Named).metadata.name
    except SecretsError:
        return ""


def _decoded(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        mended = repaired(data)
        if mended is not data:
            return _decoded(mended, shape)
        raise SecretsError(str(error)) from error
