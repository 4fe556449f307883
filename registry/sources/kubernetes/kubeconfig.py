"""What one context of a kubeconfig says, taken out of the file so that it stays what it is. No IO: a reader is given.

Certificates and keys that the kubeconfig names by file are taken in. So two values are equal when the same requests
would be made with the same proof, and a member that runs on one is not changed by what is written to disk later. Left
outside are only what is meant to be read again and again: a token's file, and what an exec plugin or an identity
provider answers.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.documents import DocumentError, parse

FILES = ("tokenFile", "client-certificate", "client-key", "certificate-authority")


class KubeconfigError(ValueError):
    """It cannot be used. The text names the place in it and the mend."""


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
    """

    server: str
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    user: str = field(default="{}", repr=False)
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    folder: str = "/"

    def user_section(self) -> dict[str, Any]:
        section: dict[str, Any] = json.loads(self.user)
        return section


def read_kubeconfig(content: bytes, context: str | None, around: Surroundings | None) -> Kubeconfig:
    """What ``context`` (by default the current one) says.

    Without surroundings the kubeconfig may neither run a program nor name a file: it came from somebody who may write
    it, and who must not thereby run programs here, nor have our files sent to a server of his own.

    Raises:
        KubeconfigError: it is none, or asks for what it may not have.
    """
    document = _document(content)
    name = context or document.get("current-context") or ""
    if not name:
        raise KubeconfigError("no current-context: set one, or name a context")
    chosen = _mapping(_named(document, "contexts", name), "context", f"contexts[{name}]")
    cluster_name, user_name = (_text(chosen, key, f"contexts[{name}]") for key in ("cluster", "user"))
    if not user_name:
        raise KubeconfigError(f"contexts[{name}].context: no user")
    cluster = _mapping(_named(document, "clusters", cluster_name), "cluster", f"clusters[{cluster_name}]")
    user = _mapping(_named(document, "users", user_name), "user", f"users[{user_name}]")
    where = f"users[{user_name}].user"
    if around is None:
        _refuse_what_is_local(user, where)
        _refuse_what_is_local(cluster, f"clusters[{cluster_name}].cluster")
    server = _text(cluster, "server", f"clusters[{cluster_name}]")
    if not server.startswith(("https://", "http://")):
        raise KubeconfigError(f"server: expected a URL such as https://10.0.0.1:6443, got {server!r}")
    return Kubeconfig(
        server=server.rstrip("/"),
        ca=_pem(cluster, "certificate-authority", around),
        certificate=_pem(user, "client-certificate", around),
        key=_pem(user, "client-key", around),
        user=json.dumps(_rest_of(user, around), sort_keys=True),
        verify=cluster.get("insecure-skip-tls-verify") is not True,
        server_name=_text(cluster, "tls-server-name", "cluster") or None,
        proxy=_text(cluster, "proxy-url", "cluster") or None,
        folder=around.folder if around is not None and "exec" in user else "/",
    )


def _document(content: bytes) -> dict[str, Any]:
    try:
        documents = parse(content)
    except DocumentError as error:
        raise KubeconfigError(f"line {error.line}: {error}") from error
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise KubeconfigError("not a kubeconfig: expected a mapping with clusters, contexts and users")
    value: dict[str, Any] = documents[0].value
    return value


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    """The entry of that name."""
    entries = document.get(section)
    if not isinstance(entries, list):
        raise KubeconfigError(f"{section}: expected a list")
    found = [each for each in entries if isinstance(each, dict) and each.get("name") == name]
    if len(found) != 1:
        raise KubeconfigError(f"{section}: {'none is' if not found else 'more than one is'} named {name!r}")
    return found[0]


def _mapping(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict):
        raise KubeconfigError(f"{where}.{key}: expected a mapping")
    return value


def _text(section: Mapping[str, Any], key: str, where: str) -> str:
    value = section.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise KubeconfigError(f"{where}.{key}: expected text")
    return value


def _refuse_what_is_local(section: Mapping[str, Any], where: str) -> None:
    provider = section.get("auth-provider")
    provider = provider if isinstance(provider, dict) else {}
    if "exec" in section or provider.get("name") not in (None, "oidc"):
        raise KubeconfigError(f"{where}: a kubeconfig from here may not run a program (allowExec is not set)")
    named = next((key for key in FILES if section.get(key)), None)
    settings = provider.get("config")
    if isinstance(settings, dict) and settings.get("idp-certificate-authority"):
        named = "auth-provider.config.idp-certificate-authority"
    if named:
        text = "a kubeconfig from here may not name a file (allowExec is not set)"
        raise KubeconfigError(f"{where}.{named}: {text}; put its content in: kubectl config view --flatten --minify")


def _pem(section: Mapping[str, Any], key: str, around: Surroundings | None) -> bytes:
    """The content of ``<key>-data``, else of the file ``<key>``."""
    data = _text(section, f"{key}-data", "")
    if data:
        try:
            return b64decode(data, validate=True)
        except ValueError as error:
            raise KubeconfigError(f"{key}-data: not base64") from error
    name = _text(section, key, "")
    if not name or around is None:
        return b""
    try:
        return around.read(name)
    except OSError as error:
        raise KubeconfigError(f"{key}: {around.absolute(name)}: {error.strerror}") from error


def _rest_of(user: Mapping[str, Any], around: Surroundings | None) -> dict[str, Any]:
    """The user's section without what was taken in, and with whole file names."""
    taken = ("client-certificate", "client-certificate-data", "client-key", "client-key-data")
    rest = {key: value for key, value in user.items() if key not in taken}
    if around is not None and _text(rest, "tokenFile", "user"):
        rest["tokenFile"] = around.absolute(rest["tokenFile"])
    provider = rest.get("auth-provider")
    if around is not None and isinstance(provider, dict) and isinstance(provider.get("config"), dict):
        settings = dict(provider["config"])
        authority = _text(settings, "idp-certificate-authority", "auth-provider.config")
        if authority:
            settings["idp-certificate-authority"] = around.absolute(authority)
        rest["auth-provider"] = {**provider, "config": settings}
    return rest
