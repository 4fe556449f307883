"""The one text form of an address, its family, and which addresses a member may name. Pure.

Every text of a member that becomes an address goes through ``member_address``: of endpoints and of gateways, whether a
watch, a manifest, a snapshot or a peer brought it. Refused is what Kubernetes refuses in an EndpointSlice
(``ValidateEndpointIP``: unspecified, loopback, link-local, link-local multicast), and where no connection leads: other
multicast, broadcast, 0.0.0.0/8. An IPv6 address that stands for an IPv4 one (NAT64, 6to4, Teredo, ISATAP) is judged as
that one.

Allowed are documentation ranges, and 240.0.0.0/4, which clouds give to Pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from registry.model.facts import AddressType

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
CANONICAL_IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}\Z")
"""Nearly every address there is; ``ipaddress`` takes ten times as long to say that it is one."""
_ORDINARY_OCTET = r"(?:1(?:[013-578][0-9]|2[0-689]|6[0-8]|9[0-9])|2(?:[01][0-9]|2[0-3]|4[0-9]|5[0-4])|[1-9][0-9]?)"
ORDINARY_IPV4 = re.compile(rf"{_ORDINARY_OCTET}(?:\.{OCTET}){{3}}\Z")
"""Not in 0/8, 127/8, 169/8, 224/4 or 255/8, where special ones are."""
LONGEST = len("0000:0000:0000:0000:0000:ffff:255.255.255.255")
"""No text of an address is longer, so none is looked at, nor kept by the caches below."""

LOOPBACK = "loopback"
MAPPED = "an IPv4 address in IPv6 form"
_SPECIAL_IPV4 = (
    (IPv4Network("127.0.0.0/8"), LOOPBACK),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
)
_SPECIAL_IPV6 = (
    (IPv6Network("::1/128"), LOOPBACK),
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("::ffff:0:0/96"), MAPPED),
    (IPv6Network("::/96"), MAPPED),
)
"""The last two are the IPv4-compatible and the IPv4-mapped form of an IPv4 address (RFC 4291, 2.5.5): a second text of
it, so that it would count twice."""
_ENDS_IN_IPV4 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"), IPv6Network("::ffff:0:0:0/96"))
"""NAT64 (RFC 6052, RFC 8215) and SIIT (RFC 7915)."""
_ISATAP = (0x00005EFE, 0x02005EFE)


def canonical_address(text: str) -> str | None:
    """The one text form of an IPv4 or IPv6 address (RFC 5952); None for what is no address, or has a zone."""
    if CANONICAL_IPV4.match(text):
        return text
    return _canonical_address(text) if len(text) <= LONGEST and "%" not in text else None


def member_address(text: str, *, loopback: bool = False) -> str | None:
    """The one text form of an address that a member may name; None for what is none, or is special.

    ``loopback``: loopback addresses are meant (``registry.index.join``).
    """
    if ORDINARY_IPV4.match(text):
        return text
    address = canonical_address(text)
    if address is None:
        return None
    special = special_of(address)
    return address if not special or (loopback and special == LOOPBACK) else None


@lru_cache(maxsize=1 << 14)
def special_of(address: str) -> str:
    """Why a member may not name the address, which is in its one text form, in a few words; empty where it may."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return next((word for network, word in _SPECIAL_IPV4 if found in network), "")
    word = next((word for network, word in _SPECIAL_IPV6 if found in network), "")
    return word or next((f"{inner}, as {each}" for each in _embedded(found) if (inner := special_of(str(each)))), "")


def family_of(address: str) -> AddressType:
    """Of an address in its one text form."""
    return AddressType.IPV6 if ":" in address else AddressType.IPV4


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that packets to this one may be sent on to."""
    number = int(address)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield address.teredo[1]
    if any(address in network for network in _ENDS_IN_IPV4) or (number >> 32) & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)


@lru_cache(maxsize=1 << 14)
def _canonical_address(text: str) -> str | None:
    try:
        return ip_address(text).compressed
    except ValueError:
        return None
