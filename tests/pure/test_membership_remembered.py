"""Members that an earlier run knew: they count for as long as a place that names members is in trouble."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from support.processes import until
from support.virtual_loop import virtually

from registry.membership.absence import AbsencePolicy
from registry.membership.reconcile import unite
from registry.membership.remembered import RememberedMembers
from registry.membership.spec import InCluster, MemberSpec, Provider, Remembered, Trouble

REAL = MemberSpec("a", "file x", InCluster())
KNOWN = tuple(MemberSpec(name, "snapshot", Remembered("why"), doubt="why") for name in "ab")
POLICY = AbsencePolicy(share=0.3, confirm_seconds=30, doubt_seconds=600)


def remembering(others: Others, forgotten: list[str] | None = None) -> RememberedMembers:
    gone = forgotten if forgotten is not None else []
    return RememberedMembers(
        "snapshot", lambda: KNOWN, lambda: others, policy=POLICY, forget=lambda: gone.append("all")
    )


@dataclass
class Others:
    """What the other places have said, as the test wants it."""

    told: bool = False
    known: bool = False
    named: set[str] = field(default_factory=set)
    heard: list[list[str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def others_told(self, provider: Provider) -> bool:
        return self.told

    def others_known(self, provider: Provider) -> bool:
        return self.known

    def members(self, specs: list[MemberSpec]) -> None:
        self.heard.append([spec.name for spec in specs])

    def others_named(self, provider: Provider) -> set[str]:
        return self.named

    def trouble(self, trouble: Trouble | None) -> None:
        self.troubles.append(trouble.reason if trouble is not None else "")


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


def test_one_that_nobody_names_after_a_restart_is_gone_and_many_are_doubted() -> None:
    async def play() -> None:
        others, forgotten = Others(told=True, known=True, named={"a"}), list[str]()
        await remembering(others, forgotten).run(others)
        assert (others.heard, others.troubles, forgotten) == ([[]], [""], ["all"])
        others = Others(told=True, known=True)
        running = asyncio.create_task(remembering(others).run(others))
        await asyncio.sleep(POLICY.doubt_seconds - 1)
        assert others.heard == [["a", "b"]], "a folder may not be mounted yet"
        assert others.troubles[-1] == "MembersMissing"
        await asyncio.sleep(2)
        assert running.done()
        assert (others.heard[-1], others.troubles[-1]) == ([], "")

    virtually(play())


def test_doubt_after_a_restart_ends_when_they_are_named_or_by_hand() -> None:
    async def play() -> None:
        others, forgotten = Others(told=True, known=True), list[str]()
        place = remembering(others, forgotten)
        running = asyncio.create_task(place.run(others))
        await asyncio.sleep(10)
        assert not place.release("c")
        assert place.release("b")
        await asyncio.sleep(1)
        assert others.heard[-1] == ["a"]
        assert forgotten == [], "what is remembered is needed yet"
        others.named = {"a"}
        await asyncio.sleep(1)
        assert running.done()
        assert (others.heard[-1], forgotten) == ([], ["all"])

    virtually(play())


def test_as_many_members_under_other_names_are_no_shorter_list() -> None:
    async def play() -> None:
        others = Others(told=True, known=True, named={"x", "y"})
        await remembering(others).run(others)
        assert others.heard == [[]]

    virtually(play())
