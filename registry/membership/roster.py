"""The Secrets that name member clusters, and what they come to. Pure.

Istio's remote secrets: labelled ``istio/multiCluster=true``, each key of ``data`` a cluster's name, each value its
kubeconfig (``istioctl create-remote-secret``). What a watch says is believed; what a list lacks is not, until a later
one lacks it too: the first may be a fault of the home cluster (``absence``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.spec import MemberSpec, Trouble, Unusable
from registry.sources.kubernetes.fields import decode_base64
from registry.sources.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, Surroundings, read_kubeconfig

LABEL = "istio/multiCluster=true"
MAX_KUBECONFIG_BYTES = 256 << 10

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

    def __init__(self, namespace: str, around: Surroundings | None, policy: AbsencePolicy) -> None:
        self._namespace = namespace
        self._around = around
        self._held: dict[str, tuple[MemberSpec, ...]] = {}
        self._absences = Absences(policy, "the list of Secrets", few_seconds=policy.confirm_seconds)

    @property
    def doubtful(self) -> bool:
        """The last list lacked members: list again."""
        return self._absences.doubtful

    @property
    def trouble(self) -> Trouble | None:
        """What is doubted, for people."""
        return self._absences.trouble

    def listed(self, secrets: Iterable[Secret], now: float) -> None:
        """These were listed at ``now``, in seconds of a clock that does not jump."""
        self._held = {}
        for secret in secrets:
            self._put(secret)
        self._absences.listed(self._named(), now)

    def release(self, name: str) -> bool:
        """The member is gone where that is in doubt; whether it was."""
        return self._absences.release(name)

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
        if event.type != "BOOKMARK":
            self._held.pop(secret.metadata.name, None)
            if event.type != "DELETED":
                self._put(secret)
            self._absences.told(self._named(), self._absences.absent(self._origin(secret.metadata.name)))
        return secret.metadata.resource_version

    def specs(self) -> list[MemberSpec]:
        """The members, ordered by Secret and key; those in doubt come last."""
        return self._absences.specs

    def _named(self) -> list[MemberSpec]:
        return [spec for _, specs in sorted(self._held.items()) for spec in specs]

    def _origin(self, secret: str) -> str:
        """How the place of each of its keys begins."""
        return f"Secret {self._namespace}/{secret} ("

    def _put(self, secret: Secret) -> None:
        name = secret.metadata.name
        self._held[name] = tuple(
            MemberSpec(key, f"{self._origin(name)}{key})", _connection(value, self._around))
            for key, value in sorted((secret.data or {}).items())
        )


def _connection(value: str, around: Surroundings | None) -> Kubeconfig | Unusable:
    """The kubeconfig of one key. It is read in one turn of the loop, so its size has a limit."""
    if len(value) * 3 // 4 > MAX_KUBECONFIG_BYTES:
        text = f"{len(value) * 3 // 4096} KiB, more than {MAX_KUBECONFIG_BYTES >> 10}"
        return Unusable(
            f"kubeconfig: {text}; put one context in (kubectl config view --flatten --minify); mend the Secret"
        )
    try:
        return read_kubeconfig(decode_base64(value), None, around)
    except KubeconfigError as error:
        return Unusable(f"kubeconfig: {error}; mend the Secret")
    except ValueError:
        return Unusable("kubeconfig: not base64; mend the Secret")


def _decoded(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SecretsError(str(error)) from error
