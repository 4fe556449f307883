"""What one context of a kubeconfig says, taken out of the file so that it stays what it is. No IO: a reader is given.

Certificates and keys that the kubeconfig names by file are taken in. So two values are equal when the same requests
would be made with the same proof, and a member that runs on one is not changed by what is written to disk later. Left
outside are only what is meant to be read again and again: a token's file, and what an exec plugin or an identity
provider answers.

docs/kubeconfig.md says of each field what becomes of it. A field that cannot be honoured is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import msgspec

from registry.documents import DocumentError, parse
from registry.printable import shortened
from registry.sources.kubernetes.fields import (
    AuthProvider,
    Cluster,
    Config,
    Context,
    ExecConfig,
    KubeconfigError,
    User,
    decode_base64,
    read_fields,
    unknown_fields,
)
from registry.sources.kubernetes.urls import Address, UrlError, is_server_name, proxy_address, server_address
from registry.sources.kubernetes.users import check_user, impersonation_headers

__all__ = ["Kubeconfig", "KubeconfigError", "Surroundings", "read_kubeconfig"]

MAX_VALUES = 20_000
"""Values in a kubeconfig, which are read in about 0.2 s: those of some thousand contexts."""

MAX_IGNORED = 20
"""So many of the fields that nobody knows are named."""

MAX_NAME = 253
"""Characters in the name of a context, cluster or user. Errors and fields that are ignored are named by it."""

EXEC_EXTENSION = "client.authentication.k8s.io/exec"
"""The cluster's extension that an exec plugin gets as ``spec.cluster.config``."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a kubeconfig may use of the machine it is read on.

    ``read`` gives the content of a file, whose name may be relative to the kubeconfig's folder; it raises OSError.
    ``absolute`` is that file's whole name. ``folder`` is where a plugin named by a relative path is.
    """

    read: Callable[[str], bytes]
    absolute: Callable[[str], str]
    folder: str


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Where the API server is and how to prove who we are. ``ca``, ``certificate`` and ``key`` are PEM or empty.

    ``user`` is the rest of the user's section, as JSON. ``folder`` is where a plugin named by a relative path is.
    ``headers`` go with every request: whom we impersonate. ``plugin_config`` is JSON, for an exec plugin that asks for
    it. ``ignored`` are the fields that nobody knows.
    """

    server: str
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    user: str = field(default="{}", repr=False)
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    folder: str = "/"
    compress: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    plugin_config: str = "null"
    ignored: tuple[str, ...] = field(default=(), compare=False)

    def user_section(self) -> User:
        return msgspec.json.decode(self.user, type=User)


def read_kubeconfig(
    content: bytes, context: str | None, around: Surroundings | None, most: int = MAX_VALUES
) -> Kubeconfig:
    """What ``context`` (by default the current one) says.

    Without surroundings the kubeconfig may neither run a program nor name a file: it came from somebody who may write
    it, and who must not thereby run programs here, nor have our files sent to a server of his own. ``most`` values
    are read.

    Raises:
        KubeconfigError: it is none, or asks for what it may not have.
    """
    document = _document(content, most)
    config = read_fields(document, Config, "")
    for key, found, expected in (("kind", config.kind, "Config"), ("apiVersion", config.api_version, "v1")):
        if found and found != expected:
            raise KubeconfigError(f"not a kubeconfig: {key}: expected {expected}, got {found!r}")
    name = context or config.current_context or ""
    if not name:
        raise KubeconfigError("no current-context: set one, or name a context")
    _check_name(name, "current-context")
    at = f"contexts[{name}].context"
    chosen = _entry(config.contexts, "contexts", "context", name)
    names = read_fields(chosen, Context, at)
    if not names.cluster:
        raise KubeconfigError(f"{at}: no cluster")
    _check_name(names.cluster, f"{at}.cluster")
    _check_name(names.user or "", f"{at}.user")
    cluster_at, user_at = f"clusters[{names.cluster}].cluster", f"users[{names.user}].user"
    cluster = _entry(config.clusters, "clusters", "cluster", names.cluster)
    user = _entry(config.users, "users", "user", names.user) if names.user else {}
    ignored = chain(
        unknown_fields(document, Config, ""),
        unknown_fields(chosen, Context, at),
        unknown_fields(cluster, Cluster, cluster_at),
        unknown_fields(user, User, user_at),
    )
    parts: tuple[tuple[str, type], ...] = (("exec", ExecConfig), ("auth-provider", AuthProvider))
    for key, shape in parts:
        if isinstance(part := user.get(key), dict):
            read_fields(part, shape, f"{user_at}.{key}")
            ignored = chain(ignored, unknown_fields(part, shape, f"{user_at}.{key}"))
    named = tuple(map(shortened, islice(ignored, MAX_IGNORED)))
    return _kubeconfig(_Section(cluster_at, cluster, around), _Section(user_at, user, around), named)


@dataclass(frozen=True, slots=True)
class _Section:
    """A mapping of the kubeconfig, and where it is."""

    at: str
    value: Mapping[str, Any]
    around: Surroundings | None

    def pem(self, key: str) -> bytes:
        """The content of ``<key>-data``, else of the file ``<key>``."""
        if data := self.value.get(f"{key}-data"):
            try:
                return decode_base64(data)
            except ValueError as error:
                text = "not base64; only line ends may stand in it, so no folded text (>)"
                raise KubeconfigError(f"{self.at}.{key}-data: {text}") from error
        name = self.value.get(key)
        if not name or self.around is None:
            return b""
        try:
            return self.around.read(name)
        except OSError as error:
            raise KubeconfigError(f"{self.at}.{key}: {self.around.absolute(name)}: {error.strerror}") from error
        except ValueError as error:  # a name with a NUL
            raise KubeconfigError(f"{self.at}.{key}: {error}") from error


def _kubeconfig(in_cluster: _Section, in_user: _Section, ignored: tuple[str, ...]) -> Kubeconfig:
    around = in_user.around
    cluster = read_fields(in_cluster.value, Cluster, in_cluster.at)
    user = read_fields(in_user.value, User, in_user.at)
    if around is None:
        _refuse_what_is_local(cluster, user, in_cluster.at, in_user.at)
    check_user(user, in_user.at)
    ca, insecure = in_cluster.pem("certificate-authority"), bool(cluster.insecure_skip_tls_verify)
    if ca and insecure:
        text = "with insecure-skip-tls-verify nothing is checked against a certificate-authority; take out one of them"
        raise KubeconfigError(f"{in_cluster.at}: {text}")
    if cluster.tls_server_name and not is_server_name(cluster.tls_server_name):
        raise KubeconfigError(f"{in_cluster.at}.tls-server-name: no name of a server: {cluster.tls_server_name!r}")
    certificate, key = in_user.pem("client-certificate"), in_user.pem("client-key")
    server = _server(cluster, in_cluster.at, tls=bool(ca or certificate or insecure))
    if server.username or server.password:
        if user.token or user.token_file or user.username:
            raise KubeconfigError(f"{in_cluster.at}.server: has credentials, and {in_user.at} has others; keep one")
        user.username, user.password = server.username, server.password
    return Kubeconfig(
        server=server.url,
        ca=ca,
        certificate=certificate,
        key=key,
        user=msgspec.json.encode(_rest_of(user, around)).decode(),
        verify=not insecure,
        server_name=cluster.tls_server_name or None,
        proxy=_proxy(cluster, in_cluster.at),
        folder=around.folder if around is not None and user.exec is not None else "/",
        compress=not cluster.disable_compression,
        headers=impersonation_headers(user),
        plugin_config=_plugin_config(cluster),
        ignored=ignored,
    )


def _check_name(name: str, where: str) -> None:
    if len(name) > MAX_NAME:
        raise KubeconfigError(f"{where}: a name of {len(name)} characters; {MAX_NAME} at most")


def _document(content: bytes, most: int) -> dict[str, Any]:
    try:
        documents = parse(content, most=most)
    except DocumentError as error:
        raise KubeconfigError(f"line {error.line}: {error}") from error
    if len(documents) > 1:
        raise KubeconfigError(f"not a kubeconfig: {len(documents)} documents in it; keep one")
    if not documents or not isinstance(documents[0].value, dict):
        raise KubeconfigError("not a kubeconfig: expected a mapping with clusters, contexts and users")
    value: dict[str, Any] = documents[0].value
    return value


def _entry(entries: object, section: str, key: str, name: str) -> Mapping[str, Any]:
    """The mapping under ``key`` of the entry of that name; a user that has none is one without credentials."""
    if not isinstance(entries, list):
        raise KubeconfigError(f"{section}: expected a list")
    found = [each for each in entries if isinstance(each, dict) and each.get("name") == name]
    if len(found) != 1:
        raise KubeconfigError(f"{section}: {'none is' if not found else 'more than one is'} named {name!r}")
    value = found[0].get(key)
    if value is None and key == "user":
        return {}
    if not isinstance(value, dict):
        raise KubeconfigError(f"{section}[{name}].{key}: expected a mapping")
    return value


def _server(cluster: Cluster, where: str, *, tls: bool) -> Address:
    if not cluster.server:
        raise KubeconfigError(f"{where}: no server")
    try:
        return server_address(cluster.server, tls=tls)
    except UrlError as error:
        raise KubeconfigError(f"{where}.server: {error}") from error


def _proxy(cluster: Cluster, where: str) -> str | None:
    if not cluster.proxy_url:
        return None
    try:
        proxy_address(cluster.proxy_url)
    except UrlError as error:
        raise KubeconfigError(f"{where}.proxy-url: {error}") from error
    return cluster.proxy_url


def _plugin_config(cluster: Cluster) -> str:
    found = [each.extension for each in cluster.extensions or () if each.name == EXEC_EXTENSION]
    return msgspec.json.encode(found[0] if found else None).decode()


def _refuse_what_is_local(cluster: Cluster, user: User, cluster_at: str, user_at: str) -> None:
    if user.exec is not None:
        raise KubeconfigError(f"{user_at}: a kubeconfig from here may not run a program (allowExec is not set)")
    provider = user.auth_provider.config if user.auth_provider else None
    files = {
        f"{user_at}.tokenFile": user.token_file,
        f"{user_at}.client-certificate": user.client_certificate,
        f"{user_at}.client-key": user.client_key,
        f"{cluster_at}.certificate-authority": cluster.certificate_authority,
        f"{user_at}.auth-provider.config.idp-certificate-authority": (provider or {}).get("idp-certificate-authority"),
    }
    for where, name in files.items():
        if name:
            text = "a kubeconfig from here may not name a file (allowExec is not set)"
            raise KubeconfigError(f"{where}: {text}; put its content in: kubectl config view --flatten --minify")


def _rest_of(user: User, around: Surroundings | None) -> User:
    """How the user proves who it is, without what was taken in, and with whole file names."""
    rest = User(token=user.token or None, username=user.username or None, password=user.password or None)
    rest.exec = user.exec
    if around is not None and user.token_file:
        rest.token_file = around.absolute(user.token_file)
    if provider := user.auth_provider:
        settings = dict(provider.config or {})
        if around is not None and (authority := settings.get("idp-certificate-authority")):
            settings["idp-certificate-authority"] = around.absolute(authority)
        rest.auth_provider = msgspec.structs.replace(provider, config=settings)
    return rest
