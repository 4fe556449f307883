"""The user of a kubeconfig: which ways to prove who we are go together, and whom we impersonate. No IO.

Sources: client-go ``clientcmd.validateAuthInfo``, ``transport.HTTPWrappersForConfig`` and
``transport.NewImpersonatingRoundTripper``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry.sources.kubernetes.fields import API_VERSIONS, AuthProvider, ExecConfig, KubeconfigError, User

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN_BYTES = frozenset(b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
"""The bytes of a header's name (RFC 9110 section 5.6.2) that stand for themselves: ``%`` begins an escape."""

_MODES = ("Never", "IfAvailable", "Always")


def check_user(user: User, where: str) -> None:
    """Refuse what Kubernetes' own clients refuse, and what they would leave out without a word.

    Raises:
        KubeconfigError: two fields exclude each other, or one needs another.
    """
    for text in _contradictions(user):
        raise KubeconfigError(f"{where}: {text}")
    if user.exec is not None:
        _check_plugin(user.exec, f"{where}.exec")
    if user.auth_provider is not None:
        _check_provider(user.auth_provider, f"{where}.auth-provider")
    sent = {"token": (user.token or "").strip(), "username": user.username, "password": user.password}
    sent |= {"as": user.as_user, "as-uid": user.as_uid}
    sent |= {f"as-groups[{place}]": group for place, group in enumerate(user.as_groups or ())}
    for key, values in (user.as_user_extra or {}).items():
        sent |= {f"as-user-extra.{key}[{place}]": value for place, value in enumerate(values or ())}
    for name, value in sent.items():
        if value and _CONTROL.search(value):
            raise KubeconfigError(f"{where}.{name}: has a line end or another control character")


def impersonation_headers(user: User) -> tuple[tuple[str, str], ...]:
    """The headers of every request that make it another user's, in the order of the kubeconfig."""
    if not user.as_user:
        return ()
    found = [("Impersonate-User", user.as_user)]
    if user.as_uid:
        found.append(("Impersonate-Uid", user.as_uid))
    found += [("Impersonate-Group", group) for group in user.as_groups or ()]
    for key, values in (user.as_user_extra or {}).items():
        found += [(f"Impersonate-Extra-{_escaped(key)}", value) for value in values or ()]
    return tuple(found)


def _escaped(key: str) -> str:
    """The key as a part of a header's name. API servers take it as lower case, whatever comes."""
    encoded = key.lower().encode()
    return "".join(chr(byte) if byte in _TOKEN_BYTES else f"%{byte:02X}" for byte in encoded)


def _contradictions(user: User) -> Iterable[str]:
    token = "token" if user.token else "tokenFile" if user.token_file else ""
    if token and (user.username or user.password):
        yield f"more than one authentication method: {token}, and username with password; keep one"
    if user.password and not user.username:
        yield "password without username"
    if user.exec is not None and user.auth_provider is not None:
        yield "exec and auth-provider exclude each other; keep one"
    certificate = user.client_certificate or user.client_certificate_data
    key = user.client_key or user.client_key_data
    if certificate and not key:
        yield "client-certificate without client-key; set client-key or client-key-data"
    if key and not certificate:
        yield "client-key without client-certificate; set client-certificate or client-certificate-data"
    if not user.as_user and (user.as_uid or user.as_groups or user.as_user_extra):
        yield "as-uid, as-groups and as-user-extra need a user to impersonate; set as"


def _check_plugin(plugin: ExecConfig, where: str) -> None:
    if plugin.api_version not in API_VERSIONS:
        expected = " or ".join(API_VERSIONS)
        raise KubeconfigError(f"{where}.apiVersion: expected {expected}, got {plugin.api_version!r}")
    if not plugin.command:
        raise KubeconfigError(f"{where}.command: missing")
    if plugin.interactive_mode == "Always":
        raise KubeconfigError(f"{where}.interactiveMode: Always, and there is nobody to ask here")
    if plugin.interactive_mode and plugin.interactive_mode not in _MODES:
        raise KubeconfigError(f"{where}.interactiveMode: expected {', '.join(_MODES)}, got {plugin.interactive_mode!r}")
    if any(not each.name or "=" in each.name for each in plugin.env or ()):
        raise KubeconfigError(f"{where}.env: a variable without a name, or with = in it")
    texts = [plugin.command, *(plugin.args or ())]
    texts += [each.name + (each.value or "") for each in plugin.env or ()]
    if any("\0" in text for text in texts):
        raise KubeconfigError(f"{where}: a NUL in its command, args or env")


def _check_provider(provider: AuthProvider, where: str) -> None:
    if provider.name != "oidc":
        mend = "Kubernetes' clients have it no more either: use an exec plugin (kubelogin, gke-gcloud-auth-plugin, ...)"
        raise KubeconfigError(f"{where}.name: only oidc is supported, got {provider.name!r}; {mend}")
