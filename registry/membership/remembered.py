"""Members that an earlier run knew, while a place that names members cannot be heard, or lacks many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import Protocol

from registry.membership.absence import AbsencePolicy, Absences
from registry.membership.spec import Listener, MemberSpec, Provider

LOOK_SECONDS = 0.05


class Others(Protocol):
    """What the other places have said so far: ``Hearing``."""

    def others_told(self, provider: Provider) -> bool:
        """Each of them has said who its members are, or what keeps it from that."""

    def others_known(self, provider: Provider) -> bool:
        """Each of them has said who its members are."""

    def others_named(self, provider: Provider) -> Set[str]:
        """The members that they name."""


class RememberedMembers:
    """The least important place: it speaks last, and only for a place that is in trouble.

    Without it a restart while the home cluster is away would take every member away that its Secrets name. When all the
    others have been heard those that they do not name are gone, or kept in doubt for a while where these are many: a
    folder may not be mounted yet. Then nobody is a member on its word any more, and nothing is remembered.
    """

    def __init__(
        self,
        origin: str,
        remembered: Callable[[], Sequence[MemberSpec]],
        others: Callable[[], Others],
        *,
        policy: AbsencePolicy | None = None,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        """Without ``policy`` the others are believed: they are flags. ``forget`` is called at the end."""
        self.origin = origin
        self._remembered = remembered
        self._others = others
        self._absences = None if policy is None else Absences(policy, "what is configured")
        self._forget = forget

    async def run(self, listener: Listener) -> None:
        others, remembered = self._others(), self._remembered()
        while not others.others_told(self):
            await asyncio.sleep(LOOK_SECONDS)
        if not others.others_known(self):
            listener.members(remembered)
            while not others.others_known(self):
                await asyncio.sleep(LOOK_SECONDS)
        if self._absences is not None and remembered:
            await self._doubt(self._absences, remembered, others, listener)
        listener.members([])
        self._forget()

    def release(self, name: str) -> bool:
        return self._absences is not None and self._absences.release(name)

    async def _doubt(
        self, absences: Absences, remembered: Sequence[MemberSpec], others: Others, listener: Listener
    ) -> None:
        """Those that the others lack stay as long as that is doubted."""
        clock = asyncio.get_running_loop().time
        absences.listed(remembered, clock())
        before: list[MemberSpec] | None = None
        while True:
            named = others.others_named(self)
            absences.listed([spec for spec in remembered if spec.name in named], clock(), len(named))
            lacking = [spec for spec in absences.specs if spec.name not in named]
            if not lacking:
                break
            if lacking != before:
                before = lacking
                listener.members(lacking)
            listener.trouble(absences.trouble)
            await asyncio.sleep(LOOK_SECONDS)
        listener.trouble(None)
