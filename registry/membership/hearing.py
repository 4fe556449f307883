"""What the places that name members say, and what is wrong with them, as it stands now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial

from registry.membership.reconcile import Membership, unite
from registry.membership.spec import MemberSpec, Provider, Refused, Trouble
from registry.supervision import Supervisor

log = logging.getLogger(__name__)

PROVIDER_FAILED = "InternalError"

Changed = Callable[[Membership, Membership], None]
"""Is told the membership before and the one now."""


class Hearing:
    """Runs the ``providers``, the most important first, and unites what they say. ``changed`` is told each change."""

    def __init__(self, providers: Sequence[Provider], changed: Changed, tasks: Supervisor | None = None) -> None:
        self._providers = tuple(providers)
        self._changed = changed
        self._tasks = tasks or Supervisor()
        self._said: list[Sequence[MemberSpec] | None] = [None] * len(self._providers)
        self._troubles: list[Trouble | None] = [None] * len(self._providers)
        self._membership = Membership({})
        self._when_told: Callable[[], None] | None = None
        self._told = False

    async def run(self, when_told: Callable[[], None]) -> None:
        """Listen until cancelled. ``when_told`` is called when every provider has said who its members are, or what
        keeps it from that, and again when one that was unsure is sure."""
        self._when_told = when_told
        self._check_told()
        await asyncio.gather(*(self._run(position) for position in range(len(self._providers))))

    @property
    def known(self) -> bool:
        """Every provider has said who its members are, and is sure of it."""
        unsure = any(trouble is not None and trouble.unsure for trouble in self._troubles)
        return not unsure and all(said is not None for said in self._said)

    @property
    def unheard(self) -> Sequence[tuple[str, Trouble | None]]:
        """The places that have not said who their members are, or are not sure of it, and what keeps each from it."""
        heard = zip(self._providers, self._said, self._troubles, strict=True)
        return [
            (provider.origin, trouble)
            for provider, said, trouble in heard
            if said is None or (trouble is not None and trouble.unsure)
        ]

    @property
    def refused(self) -> Sequence[Refused]:
        """Those that were named in vain."""
        return self._membership.refused

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """Provider -> what keeps it from saying who its members are."""
        pairs = zip(self._providers, self._troubles, strict=True)
        return {provider.origin: trouble for provider, trouble in pairs if trouble is not None}

    def others_told(self, provider: Provider) -> bool:
        """Every provider but this one has said who its members are, or what keeps it from that."""
        return all(said is not None or trouble is not None for said, trouble in self._others(provider))

    def others_known(self, provider: Provider) -> bool:
        """Every provider but this one has said who its members are."""
        return all(said is not None for said, _ in self._others(provider))

    def others_named(self, provider: Provider) -> Set[str]:
        """The members that the others name; not those that are in doubt."""
        return {spec.name for said, _ in self._others(provider) for spec in said or () if not spec.doubt}

    def release(self, name: str) -> bool:
        """Somebody decides that the member is gone where that is doubted; whether it was anywhere."""
        return True in [provider.release(name) for provider in self._providers]

    def _others(self, provider: Provider) -> Iterator[tuple[Sequence[MemberSpec] | None, Trouble | None]]:
        heard = zip(self._providers, self._said, self._troubles, strict=True)
        return ((said, trouble) for other, said, trouble in heard if other is not provider)

    def members(self, position: int, specs: Sequence[MemberSpec]) -> None:
        """The provider at ``position`` says that these are its members now."""
        trouble = self._troubles[position]
        if trouble is not None and trouble.reason == PROVIDER_FAILED:
            self.trouble(position, None)
        self._said[position] = tuple(specs)
        before = self._membership
        after = self._membership = unite(said for said in self._said if said is not None)
        for refused in after.refused:
            if refused not in before.refused:
                log.warning("%s: cluster %r is refused: %s", refused.origin, refused.name, refused.message)
        self._changed(before, after)
        self._check_told()

    def trouble(self, position: int, trouble: Trouble | None) -> None:
        """Something is wrong with the provider at ``position``, or nothing any more."""
        before = self._troubles[position]
        if trouble != before:
            self._troubles[position] = trouble
            origin = self._providers[position].origin
            if trouble is None:
                log.info("%s: all is well again", origin)
            else:
                log.warning("%s: %s: %s", origin, trouble.reason, trouble.message)
            if before is not None and before.unsure and self._told and self._when_told is not None:
                self._when_told()
        self._check_told()

    def _check_told(self) -> None:
        told = all(a is not None or b is not None for a, b in zip(self._said, self._troubles, strict=True))
        if told and not self._told and self._when_told is not None:
            self._told = True
            self._when_told()

    async def _run(self, position: int) -> None:
        """One provider. A bug in it is reported, and keeps no other from being heard."""
        provider = self._providers[position]

        def failed(error: Exception, wait: float) -> None:
            text = f"{error!r}"[:200]
            text = f"{text}: changes are not noticed for {wait:.0f} s; the log has the details"
            self.trouble(position, Trouble(PROVIDER_FAILED, text))

        run = partial(provider.run, _Ear(self, position))
        await self._tasks.supervise("place", run, subject=provider.origin, may_end=True, failed=failed)


class _Ear:
    """What one provider talks to."""

    def __init__(self, hearing: Hearing, position: int) -> None:
        self._hearing = hearing
        self._position = position

    def members(self, specs: Sequence[MemberSpec]) -> None:
        self._hearing.members(self._position, specs)

    def trouble(self, trouble: Trouble | None) -> None:
        self._hearing.trouble(self._position, trouble)
