"""The objects of one kind are a mapping like any other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.index.objects import Objects
from registry.model.facts import Fact, Pod
from registry.model.names import Kind, ObjectRef

refs = st.builds(ObjectRef, st.just(Kind.POD), st.sampled_from("abc"), st.sampled_from("xyz"))


@given(st.lists(st.tuples(refs, st.booleans())))
def test_what_comes_and_goes_is_what_a_dict_would_have(steps: list[tuple[ObjectRef, bool]]) -> None:
    objects, plain = Objects(Kind.POD), dict[ObjectRef, Fact]()
    for number, (ref, comes) in enumerate(steps):
        if comes:
            objects[ref] = plain[ref] = Pod(ref.namespace, ref.name, resource_version=str(number))
        else:
            assert objects.pop(ref, None) is plain.pop(ref, None)
        assert len(objects) == len(plain)
        assert bool(objects) is bool(plain)
        assert dict(objects) == plain
        assert (ref in objects) is (ref in plain)
        assert objects.find(ref) is plain.get(ref) is objects.get(ref)


def test_a_reference_to_another_kind_is_to_none_of_them() -> None:
    objects = Objects(Kind.POD)
    objects[ObjectRef(Kind.POD, "a", "x")] = Pod("a", "x")
    assert "x" not in objects
    assert list(objects) == [ObjectRef(Kind.POD, "a", "x")]
