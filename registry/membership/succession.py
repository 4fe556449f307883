"""A member that goes only when the one that takes its place has come: a cluster that changes its name. Pure.

Whether a new member is the cluster of one that goes is known when it has been reached. Until then it may be, and the
other waits for it; for a bounded time, since an operator who removes a cluster wants its endpoints gone. And for a
moment every member waits: one that is removed in one place and named in another is heard of in two steps, and has only
moved.
"""

from __future__ import annotations

from collections.abc import Iterable


class Succession:
    """Leaving member -> those that may be its heirs."""

    def __init__(self) -> None:
        self._heirs: dict[str, set[str]] = {}
        self._settling: set[str] = set()

    def leave(self, name: str, heirs: Iterable[str]) -> None:
        """``name`` is to go, not before ``settle``, and any of ``heirs`` may be the same cluster."""
        self._heirs[name] = set(heirs)
        self._settling.add(name)

    @property
    def settling(self) -> tuple[str, ...]:
        """Those whose moment is not over."""
        return tuple(sorted(self._settling))

    def expect(self, heir: str, leaving: str) -> None:
        """``heir``, who came just after, may be the same cluster as ``leaving``."""
        self._heirs[leaving].add(heir)

    def settle(self, name: str) -> bool:
        """The moment is over; whether ``name`` may go now."""
        self._settling.discard(name)
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
        self._settling.discard(name)

    def heirs(self, name: str) -> tuple[str, ...]:
        """Those that ``name`` waits for."""
        return tuple(sorted(self._heirs.get(name, ())))

    def _over(self, name: str) -> bool:
        if self._heirs[name] or name in self._settling:
            return False
        del self._heirs[name]
        return True
