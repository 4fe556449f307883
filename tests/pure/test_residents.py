"""Which Node an address is on follows the slices, whatever came before."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from support.facts import a_slice

from registry.index.residents import Residents
from registry.model.facts import EndpointSlice, SliceEndpoint

ADDRESSES = ["10.0.0.1", "10.0.0.2", "FD00::1", "fd00:0::1"]
ends = st.builds(
    SliceEndpoint,
    st.sampled_from(ADDRESSES),
    pod=st.sampled_from(["p", "p", ""]),
    node=st.sampled_from(["n1", "n1", "n2", ""]),
)
slices = st.builds(
    lambda name, made: (name, a_slice(*made, name=name)), st.sampled_from(["s1", "s2"]), st.lists(ends, max_size=3)
)
changes = st.lists(st.one_of(slices, st.sampled_from(["s1", "s2"]).map(lambda name: (name, None))), max_size=8)


@given(changes)
def test_it_is_as_if_the_slices_had_been_there_from_the_beginning(
    history: list[tuple[str, EndpointSlice | None]],
) -> None:
    kept, there = Residents(()), dict[str, EndpointSlice]()
    for name, new in history:
        kept.changed(there.pop(name, None), new)
        if new is not None:
            there[name] = new
    nodes = {address: {*nodes_of(there.values(), address)} for address in ("10.0.0.1", "10.0.0.2", "fd00::1")}
    assert {each: kept.node_at(each) for each in nodes} == {
        each: found.pop() if len(found) == 1 else "" for each, found in nodes.items()
    }


def nodes_of(there: Iterable[EndpointSlice], address: str) -> list[str]:
    forms = {"fd00::1": ("FD00::1", "fd00:0::1")}.get(address, (address,))
    return [end.node for each in there for end in each.endpoints if end.address in forms and end.pod and end.node]
