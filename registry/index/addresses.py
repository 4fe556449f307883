"""The one text form of an address, and its family. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from registry.model.facts import AddressType

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
CANONICAL_IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}\Z")
"""Nearly every address there is; ``ipaddress`` takes ten times as long to say that it is one."""


def canonical_address(text: str) -> str | None:
    """The one text form of an IPv4 or IPv6 address (RFC 5952); None for what is no address."""
    return text if CANONICAL_IPV4.match(text) else _canonical_address(text)


def family_of(address: str) -> AddressType:
    """Of an address in its one text form."""
    return AddressType.IPV6 if ":" in address else AddressType.IPV4


@lru_cache(maxsize=1 << 14)
def _canonical_address(text: str) -> str | None:
    try:
        return ip_address(text).compressed
    except ValueError:
        return None
