"""Whose turn it is on an aggregated stream: make before break.

The xDS protocol ("Eventual consistency considerations") asks for additions in the order CDS, EDS, LDS, RDS, so that
nothing is referred to before it is there, and for removals when nothing refers to them any more. Exactly:

1. A request is answered at once, whatever other types are doing. A client that warms a cluster or a listener asks for
   what it needs, and holds back the ACK of what it warms until it has that.
2. Additions and changes go out in the order CDS, EDS, LDS, RDS. Those of LDS and RDS wait until no CDS or EDS response
   is unanswered. EDS does not wait for CDS: Envoy ACKs CDS when its clusters are warm, and EDS is what warms them.
3. Removals go out the other way, RDS, LDS, EDS, CDS, when no type has additions left. Those of EDS and CDS wait until
   RDS and LDS have none left and no response of theirs is unanswered.

A NACK is an answer like an ACK, so a client that rejects what it gets is not kept waiting. A stream of one type has
nothing to wait for.

None of this waits without a bound: a channel that is ``hurried`` sends everything it has, whatever the other types are
doing. The session hurries a channel that rules 2 and 3 held back for ``SessionOptions.patience`` seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry.xds.channel import Channel
from registry.xds.response import Scope
from registry.xds.types import CDS, EDS, LDS, RDS

_TARGETS = (CDS, EDS)
_REFERRERS = (LDS, RDS)


def ready(channels: Sequence[Channel]) -> bool:
    """Whether a channel has something to send and may, as far as its own type goes."""
    for channel in channels:  # noqa: SIM110 - compiled, a loop costs less than a generator
        if not channel.waiting and channel.pending:
            return True
    return False


def next_turn(channels: Sequence[Channel]) -> tuple[Channel, Scope] | None:
    """The channel whose response is next, and what that may say; None when other types hold back all that is ready.

    ``channels`` are in the order in which additions go out.
    """
    if len(channels) == 1:
        return channels[0], Scope.BREAK
    for channel in channels:
        if channel.answering and not channel.waiting:
            return channel, _scope(channel, channels)
    for channel in channels:
        if channel.making and not channel.waiting and _may_make(channel, channels):
            return channel, _scope(channel, channels)
    for channel in reversed(channels):
        if channel.breaking and not channel.waiting and _may_break(channel, channels):
            return channel, Scope.BREAK
    return None


def _scope(channel: Channel, channels: Sequence[Channel]) -> Scope:
    if not _may_make(channel, channels):
        return Scope.ASKED
    return Scope.BREAK if _may_break(channel, channels) else Scope.MAKE


def _may_make(channel: Channel, channels: Sequence[Channel]) -> bool:
    if channel.hurried or channel.kind in _TARGETS:
        return True
    return not any(other.waiting or other.making for other in channels if other.kind in _TARGETS)


def _may_break(channel: Channel, channels: Sequence[Channel]) -> bool:
    if channel.hurried:
        return True
    if any(other.making for other in channels if other is not channel):
        return False
    if channel.kind in _REFERRERS:
        return True
    return not any(other.waiting or other.breaking for other in channels if other.kind in _REFERRERS)
