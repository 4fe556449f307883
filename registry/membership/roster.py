"""The Secrets that name member clusters, and what they come to. Pure.

Istio's remote secrets: labelled ``istio/multiCluster=true``, each key of ``data`` a cluster's name, each value its
kubeconfig (``istioctl create-remote-secret``). A deletion that was watched is believed, and so is a changed Secret; a
list that lacks a Secret is not, until the next list lacks it too: the first may be a fault of the home cluster.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from registry.membership.spec import MemberSpec, Unusable
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig

LABEL = "istio/multiCluster=true"

Shape = TypeVar("Shape")


class SecretsError(Exception):
    """What came is not what the API promises."""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class Secret(msgspec.Struct):
    """As much of a Secret as is used; ``data`` is base64."""

    metadata: _Metadata
    data: dict[str, str] | None = None


class SecretList(msgspec.Struct):
    """A whole list."""

    metadata: _Metadata
    items: list[Secret]


class _Typed(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


class Expired(Exception):  # noqa: N818 - no error, a word of the protocol (410)
    """The watch cannot go on from where it was."""


def decode_list(body: bytes) -> SecretList:
    """Raises:
    SecretsError: it is no list of Secrets.
    """
    return _decoded(body, SecretList)


class Roster:
    """The members that the Secrets of ``namespace`` name; without ``around`` they may use nothing of this machine."""

    def __init__(self, namespace: str, around: Surroundings | None) -> None:
        self._namespace = namespace
        self._around = around
        self._held: dict[str, tuple[MemberSpec, ...]] = {}
        self._missing: set[str] = set()

    @property
    def doubtful(self) -> bool:
        """The last list lacked Secrets that are held: list again."""
        return bool(self._missing)

    def listed(self, secrets: Iterable[Secret]) -> None:
        """These were listed. What the list before lacked too is gone."""
        found = {secret.metadata.name: secret for secret in secrets}
        for secret in found.values():
            self._put(secret)
        lacking = self._held.keys() - found.keys()
        for name in lacking & self._missing:
            del self._held[name]
        self._missing = lacking - self._missing

    def line(self, line: bytes) -> str:
        """One line of the watch; the resourceVersion to go on from.

        Raises:
            Expired: list anew.
            SecretsError: it cannot be read, or says that something is wrong.
        """
        event = _decoded(line, _Typed)
        if event.type == "ERROR":
            failure = _decoded(bytes(event.object), _Failure)
            if failure.code == 410:
                raise Expired
            raise SecretsError(f"{failure.code} {failure.message}")
        secret = _decoded(bytes(event.object), Secret)
        if event.type == "DELETED":
            self._held.pop(secret.metadata.name, None)
            self._missing.discard(secret.metadata.name)
        elif event.type != "BOOKMARK":
            self._put(secret)
            self._missing.discard(secret.metadata.name)
        return secret.metadata.resource_version

    def specs(self) -> list[MemberSpec]:
        """The members, ordered by Secret and key."""
        return [spec for _, specs in sorted(self._held.items()) for spec in specs]

    def _put(self, secret: Secret) -> None:
        name = secret.metadata.name
        self._held[name] = tuple(
            MemberSpec(key, f"Secret {self._namespace}/{name} ({key})", _connection(value, self._around))
            for key, value in sorted((secret.data or {}).items())
        )


def _connection(value: str, around: Surroundings | None) -> Kubeconfig | Unusable:
    """The kubeconfig of one key."""
    try:
        return read_kubeconfig(b64decode(value, validate=True), None, around)
    except KubeconfigError as error:
        return Unusable(f"kubeconfig: {error}; mend the Secret")
    except ValueError:
        return Unusable("kubeconfig: not base64; mend the Secret")


def _decoded(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.MsgspecError as error:
        raise SecretsError(str(error)) from error
