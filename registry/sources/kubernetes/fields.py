"""The fields of a kubeconfig (``clientcmd/api/v1``), read as Kubernetes' own clients read them. No IO.

A null is an absent field. Field names have one spelling: a name that differs from a known one only in case or in dashes
is refused, since Kubernetes' clients would ignore it in silence. Other unknown fields are ignored, and named.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from registry.printable import shortened

Shape = TypeVar("Shape")

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class KubeconfigError(ValueError):
    """It cannot be used. The text names the place in it and the mend."""

    def __init__(self, text: str) -> None:
        super().__init__(shortened(text))


class Extension(msgspec.Struct):
    """Data of other programs."""

    name: str | None = None
    extension: Any = None


class Config(msgspec.Struct, rename="kebab"):
    """The document itself. Its lists are read entry by entry."""

    kind: str | None = None
    api_version: str | None = msgspec.field(name="apiVersion", default=None)
    current_context: str | None = None
    clusters: Any = None
    contexts: Any = None
    users: Any = None
    preferences: Any = None
    extensions: Any = None


class Context(msgspec.Struct):
    """``namespace`` is a default for commands; the registry reads every namespace."""

    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None
    extensions: Any = None


class Cluster(msgspec.Struct, rename="kebab"):
    """Where the API server is."""

    server: str | None = None
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    disable_compression: bool | None = None
    extensions: list[Extension] | None = None


class AuthProvider(msgspec.Struct, omit_defaults=True):
    """``config`` is the provider's own."""

    name: str | None = None
    config: dict[str, str | None] | None = None


class Variable(msgspec.Struct):
    """One of the environment."""

    name: str
    value: str | None = None


class ExecConfig(msgspec.Struct, rename="camel", omit_defaults=True):
    """A program that prints a credential. It never has a terminal here, so ``interactiveMode`` only rules some out."""

    api_version: str | None = None
    command: str | None = None
    args: list[str] | None = None
    env: list[Variable] | None = None
    interactive_mode: str | None = None
    provide_cluster_info: bool | None = None
    install_hint: str | None = None


class User(msgspec.Struct, rename="kebab", omit_defaults=True):
    """Who we are (``AuthInfo``)."""

    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    as_user: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str] | None] | None = None
    username: str | None = None
    password: str | None = None
    auth_provider: AuthProvider | None = None
    exec: ExecConfig | None = None
    extensions: Any = None


def read_fields(value: Mapping[str, Any], shape: type[Shape], where: str) -> Shape:
    """The mapping that stands at ``where``.

    Raises:
        KubeconfigError: a field has another type, or a name that is not spelled as it should be.
    """
    names = _names(shape)
    spelled = {_plain(name): name for name in names}
    for key in value:
        meant = spelled.get(_plain(str(key)))
        if meant is not None and key not in names and value.get(meant) is None:
            raise KubeconfigError(f"{_at(where, str(key))}: no such field; it is spelled {meant}")
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        hint = "; write it in quotes" if text.startswith("Expected `str") else ""
        for name, word in _WORDS.items():
            text = text.replace(name, word)
        raise KubeconfigError(f"{where}{path.rstrip('`')}: {text[:1].lower()}{text[1:]}{hint}".lstrip(".")) from error


def unknown_fields(value: Mapping[str, Any], shape: type[object], where: str) -> Iterable[str]:
    """The fields of the mapping that are ignored, with their place."""
    names = _names(shape)
    return (_at(where, str(key)) for key in value if key not in names)


_WORDS = {"`str | null`": "text", "`str`": "text", "`bool | null`": "true or false", "`bool`": "a boolean"}
_WORDS |= {"`array | null`": "a list", "`array`": "a list", "`object | null`": "a mapping", "`object`": "a mapping"}
_WORDS |= {"`int`": "a number", "`float`": "a number", "`null`": "null"}


def decode_base64(text: str) -> bytes:
    """Base64 as Go's ``encoding/base64`` reads it: line ends are ignored, and nothing else.

    Raises:
        ValueError: it is none.
    """
    return b64decode(text.replace("\r", "").replace("\n", ""), validate=True)


def _names(shape: type[object]) -> frozenset[str]:
    """Looked up once: msgspec leaves garbage in cycles each time."""
    found = _NAMES.get(shape)
    if found is None:
        fields = msgspec.structs.fields(shape)  # type: ignore[arg-type]
        found = _NAMES[shape] = frozenset(field.encode_name for field in fields)
    return found


_NAMES: dict[type[object], frozenset[str]] = {}


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
