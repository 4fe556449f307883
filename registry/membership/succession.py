"""A member that goes only when the one that takes its place has come: a cluster that changes its name. Pure.

Whether a new member is the cluster of one that goes is known when it has been reached. Until then it may be, and the
other waits for it; for a bounded time, since an operator who removes a cluster wants its endpoints gone.
"""

from __future__ import annotations

from collections.abc import Iterable


class Succession:
    """Leaving member -> those that may be its heirs."""

    def __init__(self) -> None:
        self._heirs: dict[str, set[str]] = {}

    def leave(self, name: str, heirs: Iterable[str]) -> bool:
        """``name`` is to go, and any of ``heirs`` may be the same cluster; whether it may go now."""
        self._heirs[name] = set(heirs)
        return self._over(name)

    def rule_out(self, heir: str, leaving: str) -> bool:
        """``heir`` is another cluster than ``leaving``, or has come, or gone itself; whether ``leaving`` may go now."""
        if leaving not in self._heirs:
            return False
        self._heirs[leaving].discard(heir)
        return self._over(leaving)

    def expects(self, heir: str) -> tuple[str, ...]:
        """The members that wait for ``heir``."""
        return tuple(sorted(name for name, heirs in self._heirs.items() if heir in heirs))

    def leaving(self, name: str) -> bool:
        return name in self._heirs

    def end(self, name: str) -> None:
        """``name`` waits no longer: it is gone, or is to stay after all."""
        self._heirs.pop(name, None)

    def _over(self, name: str) -> bool:
        if self._heirs[name]:
            return False
        del self._heirs[name]
        return True
