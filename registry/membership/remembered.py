"""Members that an earlier run knew, while a place that names members cannot be heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from registry.membership.spec import Listener, MemberSpec, Provider

LOOK_SECONDS = 0.05


class Others(Protocol):
    """What the other places have said so far: ``Hearing``."""

    def others_told(self, provider: Provider) -> bool:
        """Each of them has said who its members are, or what keeps it from that."""

    def others_known(self, provider: Provider) -> bool:
        """Each of them has said who its members are."""


class RememberedMembers:
    """The least important place: it speaks last, and only for a place that is in trouble.

    Without it a restart while the home cluster is away would take every member away that its Secrets name. As soon as
    all the others have been heard nobody is a member on its word any more.
    """

    def __init__(
        self, origin: str, remembered: Callable[[], Sequence[MemberSpec]], others: Callable[[], Others]
    ) -> None:
        self.origin = origin
        self._remembered = remembered
        self._others = others

    async def run(self, listener: Listener) -> None:
        others = self._others()
        while not others.others_told(self):
            await asyncio.sleep(LOOK_SECONDS)
        if not others.others_known(self):
            listener.members(self._remembered())
            while not others.others_known(self):
                await asyncio.sleep(LOOK_SECONDS)
        listener.members([])
