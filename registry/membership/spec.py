"""What is said of one member cluster, and the seam to those who say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.liveness.plan import ProbePlan
from registry.sources.kubernetes.kubeconfig import Kubeconfig


@dataclass(frozen=True, slots=True)
class InCluster:
    """The cluster this program runs in."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """A folder of manifests."""

    folder: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is a member of that name, but how it is to be reached cannot be made out. The message says why."""

    message: str


@dataclass(frozen=True, slots=True)
class Remembered(Unusable):
    """An earlier run knew the member; no place names it, and that is not believed yet."""


Connection = Kubeconfig | InCluster | Manifests
"""How a member is reached. Equal connections lead to the same place with the same proof."""


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One member cluster, as one place says it is.

    ``probe``: how its data plane is probed, None where that place does not say.
    ``origin`` tells people where that is said: ``flag --kubeconfig``, ``folder /x (a.yaml)``, ``Secret ns/name (a)``.
    ``doubt`` tells them why the member counts though that place does not name it now; whoever does comes first.
    """

    name: str
    origin: str
    connection: Connection | Unusable
    network: str = ""
    probe: ProbePlan | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody named a member that is not followed. ``reason`` is one word, ``message`` has the mend."""

    name: str
    origin: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something keeps a provider from saying what the members are now; those it named before stay.

    ``unsure``: what it said may not be all, though it named none that could stay.
    """

    reason: str
    message: str
    unsure: bool = False


class Listener(Protocol):
    """Who a provider talks to. Calls never block and never raise."""

    def members(self, specs: Sequence[MemberSpec]) -> None:
        """All the members there are now, in the order in which they count. Said only on good authority: what is not
        among them any more is removed at once."""

    def trouble(self, trouble: Trouble | None) -> None:
        """What is wrong, or that nothing is any more. It changes no membership."""


class Provider(Protocol):
    """A place that says which clusters are members."""

    @property
    def origin(self) -> str:
        """The place, for people."""

    async def run(self, listener: Listener) -> None:
        """Say which members there are, or what is wrong, soon; then again with each change, until cancelled."""

    def release(self, name: str) -> bool:
        """Somebody decides that the member is gone where that is doubted, which is said soon; whether it was."""
