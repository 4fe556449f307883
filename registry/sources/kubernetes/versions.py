"""resourceVersions in order (KEP-5504): those of one resource are decimals, of any length, that only grow."""

from __future__ import annotations


def comparable(version: str) -> bool:
    """A decimal without leading zeros. "0" is none: it has a meaning of its own in requests."""
    return version.isascii() and version.isdigit() and not version.startswith("0")


def older(version: str, than: str) -> bool:
    """Whether ``version`` is of an earlier time. False where either is no such decimal: then nobody can say."""
    if not (comparable(version) and comparable(than)):
        return False
    return (len(version), version) < (len(than), than)
