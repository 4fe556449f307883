"""What the writer does about the entries of one service, and in which order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.entries import listed

from registry.writers.plan import Action, HeldEntry, held_entry, make_before_break, plan

OURS = {"app.kubernetes.io/managed-by": "mesh-registry"}


def an_entry(name: str, ports: tuple[int, ...], *addresses: str, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "labels": OURS},
        "spec": {
            "ports": [{"number": number, "name": f"http-{number}"} for number in ports],
            "endpoints": [{"address": address} for address in addresses],
            **spec,
        },
    }


def held(document: dict[str, Any], *owned: str, annotations: tuple[str, ...] = ()) -> HeldEntry:
    fields = {
        "f:spec": {f"f:{each}": {} for each in owned},
        "f:metadata": {"f:annotations": {".": {}, **{f"f:{each}": {} for each in annotations}}},
    }
    managed = [{"manager": "mesh-registry", "operation": "Apply", "fieldsV1": fields}]
    return held_entry({**document, "metadata": {**document["metadata"], "uid": "1", "managedFields": managed}})


class TestWhat:
    def test_a_field_that_is_no_longer_wanted_is_taken_back(self) -> None:
        before = held(an_entry("echo", (80,), "10.0.0.1", exportTo=["pay"]), "ports", "endpoints", "exportTo")
        assert plan(an_entry("echo", (80,), "10.0.0.1"), before) is Action.UPDATE

    def test_an_annotation_that_is_no_longer_wanted_is_taken_back(self) -> None:
        before = held(an_entry("echo", (80,)), "ports", annotations=("networking.istio.io/traffic-distribution",))
        assert plan(an_entry("echo", (80,)), before) is Action.UPDATE

    def test_an_annotation_that_is_wanted_is_written(self) -> None:
        wanted = an_entry("echo", (80,))
        wanted["metadata"]["annotations"] = {"networking.istio.io/traffic-distribution": "PreferClose"}
        assert plan(wanted, held(an_entry("echo", (80,)))) is Action.UPDATE

    def test_a_field_that_somebody_else_added_is_theirs(self) -> None:
        before = held(an_entry("echo", (80,), subjectAltNames=["x"], exportTo=["pay"]), "ports", "endpoints")
        assert plan(an_entry("echo", (80,)), before) is Action.NOTHING


NAMES = ("echo", "echo.80", "echo.90")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
PORTS = {"echo": (80, 90), "echo.80": (80,), "echo.90": (90,)}
worlds = st.dictionaries(
    st.sampled_from(ADDRESSES), st.sampled_from([("echo",), ("echo.80",), ("echo.90",), ("echo.80", "echo.90")])
)


def of(world: dict[str, tuple[str, ...]]) -> dict[str, dict[str, Any]]:
    """Its entries by name; those without endpoints are not there, but the first."""
    found = {name: [address for address, names in sorted(world.items()) if name in names] for name in NAMES}
    return {name: an_entry(name, PORTS[name], *there) for name, there in found.items() if there or name == "echo"}


class TestOrder:
    def test_an_endpoint_is_in_its_new_entry_before_it_leaves_the_old(self) -> None:
        before, after = {"10.0.0.1": ("echo.80",)}, {"10.0.0.1": ("echo",)}
        for old, new in ((before, after), (after, before)):
            there = {name: held(each) for name, each in of(old).items()}
            order = [name for name, _ in make_before_break(list(of(new).values()), there)]
            (gains,) = new["10.0.0.1"]
            assert order[0] == gains

    @given(worlds, worlds)
    def test_nothing_that_stays_is_ever_missing_unless_entries_swap(
        self, before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]
    ) -> None:
        current, wanted = of(before), of(after)
        order = make_before_break(list(wanted.values()), {name: held(each) for name, each in current.items()})
        assert sorted(name for name, _ in order) == sorted({*current, *wanted})
        start, end = listed(current.values()), listed(wanted.values())
        stay = {port: set(start[port]) & set(end.get(port, {})) for port in start}
        moves = {(old, new) for address in before for old in before[address] for new in after.get(address, ())}
        swap = any((new, old) in moves for old, new in moves if old != new)
        for name, document in order:
            current.pop(name, None)
            current |= {name: dict(document)} if document is not None else {}
            now = listed(current.values())
            if not swap:
                assert all(there <= set(now.get(port, {})) for port, there in stay.items())
        assert listed(current.values()) == end
