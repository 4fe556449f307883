"""The URLs of API servers and of proxies, and which proxy a request takes. No IO.

Sources: client-go ``rest.DefaultServerURL`` and ``clientcmd``'s ``parseProxyURL`` for the forms that are accepted;
``golang.org/x/net/http/httpproxy`` for ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``.

Passwords are taken out of the URLs. No error shows one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
IPAddress = IPv4Address | IPv6Address


class UrlError(ValueError):
    """It is no URL of the kind that is needed."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server or proxy: ``url`` has neither credentials nor a slash at its end."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]


def shown(text: str) -> str:
    """The text of a URL without what may be credentials: user and password, what stands for a port, and the query."""
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1...@", text, flags=re.DOTALL)
    text = re.sub(r"[?#].*", "?...", text, flags=re.DOTALL)
    return re.sub(r"(?<!:):(?!//)(?![0-9]+(/|$))(?![^\[]*\]).*", ":...", text, count=1, flags=re.DOTALL)


def is_server_name(text: str) -> bool:
    """Whether connections can be made to the name, and TLS can ask for it: no part of it is empty or too long."""
    try:
        return text.isprintable() and " " not in text and bool(text.encode("idna"))
    except UnicodeError:
        return False


def server_address(text: str, *, tls: bool) -> Address:
    """The API server that a kubeconfig names. Without a scheme it is https, but only if ``tls`` is configured.

    Raises:
        UrlError: it is no http or https URL.
    """
    if "://" not in text and tls and "/" not in text.rstrip("/"):
        text = f"https://{text}"
    parts = _split(text, ("https", "http"), "https://10.0.0.1:6443")
    return _address(parts, parts.path.rstrip("/"))


def proxy_address(text: str, schemes: tuple[str, ...] = ("http", "https", "socks5")) -> Address:
    """The proxy that a URL names.

    Raises:
        UrlError: it is none, or of a scheme that is not supported.
    """
    parts = _split(text, schemes, "http://proxy.example:3128")
    port = parts.port or PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return _address(parts._replace(netloc=f"{host}:{port}"), "", parts)


def environment_proxy(server: str, environment: Mapping[str, str]) -> Address | None:
    """The proxy that the environment names for requests to ``server``; None: none.

    Raises:
        UrlError: the variable that counts is no URL of a proxy.
    """
    target = urlsplit(server)
    name = f"{target.scheme}_proxy"
    variable = next((each for each in (name.upper(), name) if environment.get(each)), "")
    if not variable or not _proxied(target, environment.get("NO_PROXY") or environment.get("no_proxy") or ""):
        return None
    text = environment[variable]
    try:
        return proxy_address(text if "://" in text else f"http://{text}", tuple(PORTS))
    except UrlError as error:
        raise UrlError(f"{variable}: {error}") from error


def _split(text: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in schemes and parts.port != 0 and not re.search(r"[\x00-\x20]", text)
        usable = usable and is_server_name(parts.hostname or "")
    except ValueError:
        usable = None
    if not usable:
        raise UrlError(f"expected a URL such as {example} ({', '.join(schemes)}), got {shown(text)!r}")
    return parts


def _address(parts: SplitResult, path: str, credentials: SplitResult | None = None) -> Address:
    of = credentials or parts
    netloc = parts.netloc.rpartition("@")[2]
    return Address(f"{parts.scheme}://{netloc}{path}", unquote(of.username or ""), unquote(of.password or ""))


def _proxied(target: SplitResult, exceptions: str) -> bool:
    """Requests to ``target`` take a proxy at all."""
    host = _ascii((target.hostname or "").lower())
    port = str(target.port or PORTS[target.scheme])
    address = _ip(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    entries = [entry.strip().lower() for entry in exceptions.split(",")]
    return not any(_matches(entry, host, port, address) for entry in entries if entry)


def _matches(entry: str, host: str, port: str, address: IPAddress | None) -> bool:
    """One entry of ``NO_PROXY`` covers the server."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only = _host_and_port(entry)
    if not name or (only and only != port):
        return False
    if (named := _ip(name)) is not None or address is not None:
        return named == address
    suffix = _ascii(name.removeprefix("*"))
    return host.endswith(suffix if suffix.startswith(".") else f".{suffix}") or host == suffix


def _host_and_port(entry: str) -> tuple[str, str]:
    found = re.fullmatch(r"\[(.*)\](?::(\d*))?|([^:]*):(\d*)", entry)
    if found is None:
        return entry, ""
    bracketed, its_port, name, port = found.groups()
    return (bracketed, its_port or "") if bracketed is not None else (name, port)


def _ip(host: str) -> IPAddress | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host
