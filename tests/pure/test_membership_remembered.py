"""Members that an earlier run knew: they count for as long as a place that names members is in trouble."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from support.processes import until

from registry.membership.reconcile import unite
from registry.membership.remembered import RememberedMembers
from registry.membership.spec import InCluster, MemberSpec, Provider, Remembered, Trouble

REAL = MemberSpec("a", "file x", InCluster())
KNOWN = (MemberSpec("a", "snapshot", Remembered("why")), MemberSpec("b", "snapshot", Remembered("why")))


@dataclass
class Others:
    """What the other places have said, as the test wants it."""

    told: bool = False
    known: bool = False
    heard: list[list[str]] = field(default_factory=list)

    def others_told(self, provider: Provider) -> bool:
        return self.told

    def others_known(self, provider: Provider) -> bool:
        return self.known

    def members(self, specs: list[MemberSpec]) -> None:
        self.heard.append([spec.name for spec in specs])

    def trouble(self, trouble: Trouble | None) -> None:
        raise AssertionError(trouble)


def test_whoever_else_names_a_member_counts_and_nobody_is_refused() -> None:
    membership = unite([[REAL], KNOWN])
    assert membership.members == {"a": REAL, "b": KNOWN[1]}
    assert membership.refused == ()


async def test_nothing_is_remembered_when_all_places_are_heard() -> None:
    others = Others()
    running = asyncio.create_task(RememberedMembers("snapshot", lambda: KNOWN, lambda: others).run(others))
    await asyncio.sleep(0)
    assert others.heard == []
    others.told = others.known = True
    await asyncio.wait_for(running, 5)
    assert others.heard == [[]]


async def test_members_are_remembered_until_the_last_place_is_heard() -> None:
    others = Others(told=True)
    running = asyncio.create_task(RememberedMembers("snapshot", lambda: KNOWN, lambda: others).run(others))
    await until(lambda: others.heard, "it speaks", 5)
    assert others.heard == [["a", "b"]]
    others.known = True
    await asyncio.wait_for(running, 5)
    assert others.heard == [["a", "b"], []]
