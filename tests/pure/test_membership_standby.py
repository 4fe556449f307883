"""A source that stands by: when it takes over, the listener believes what it would have believed of it all along."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.facts import A, a_service, a_slice, facts, listing
from support.listener import Listener
from support.recording_sink import RecordingSink

from registry.membership.standby import Relay, Standby
from registry.model.conditions import Condition, ConditionType
from registry.model.events import Apply, Delete, Init, InitApply, InitDone, InitKeep, SourceEvent
from registry.model.facts import Fact
from registry.model.names import Kind, ObjectRef
from registry.model.status import SourceState, SourceStatus

SYNCED = SourceStatus(SourceState.SYNCED)
lists = st.lists(st.tuples(facts, st.booleans()), max_size=4)
changes = st.lists(st.one_of(facts, facts.map(lambda fact: fact.ref)), max_size=6)


def a_list(kind: Kind, content: list[tuple[Fact, bool]]) -> list[SourceEvent]:
    """A list of what of ``content`` is of that kind; what is not readable is kept."""
    events: list[SourceEvent] = [Init(kind)]
    for fact, readable in {fact.ref: (fact, readable) for fact, readable in content}.values():
        if fact.ref.kind is kind:
            events.append(InitApply(fact) if readable else InitKeep(fact.ref))
    return [*events, InitDone(kind)]


def a_change(change: Fact | ObjectRef) -> SourceEvent:
    return Delete(change) if isinstance(change, ObjectRef) else Apply(change)


@given(st.lists(facts, max_size=6), lists, changes, lists, changes, changes)
def test_taking_over_comes_to_what_listening_all_along_comes_to(
    before: list[Fact],
    first: list[tuple[Fact, bool]],
    then: list[Fact | ObjectRef],
    again: list[tuple[Fact, bool]],
    meanwhile: list[Fact | ObjectRef],
    at_last: list[Fact | ObjectRef],
) -> None:
    said: list[SourceEvent] = [event for kind in Kind for event in a_list(kind, first)]
    said += [a_change(change) for change in then]
    relists = {kind: a_list(kind, again) for kind in Kind}
    said += [event for events in relists.values() for event in events[:-1]]
    said += [a_change(change) for change in meanwhile]
    said += [events[-1] for events in relists.values()]
    said += [a_change(change) for change in at_last]
    directly, later, standby = Listener(), Listener(), Standby()
    for event in listing(*before):
        directly.hear(event)
        later.hear(event)
    for event in said:
        directly.hear(event)
        standby.apply(event)
    for event in standby.replay():
        later.hear(event)
    unread = {fact.ref for fact, readable in (*first, *again) if not readable}
    for held in (later.held, directly.held):
        for ref in unread:  # of these something is kept: which content depends on when it was last read
            held.pop(ref, None)
    assert later.held == directly.held


@given(st.lists(facts, max_size=6), lists, lists, changes, lists, changes, st.data())
def test_what_is_said_while_another_is_taken_over_counts_as_if_it_were_said_after(
    before: list[Fact],
    first: list[tuple[Fact, bool]],
    under_way: list[tuple[Fact, bool]],
    changed: list[Fact | ObjectRef],
    again: list[tuple[Fact, bool]],
    at_last: list[Fact | ObjectRef],
    data: st.DataObject,
) -> None:
    said = [event for kind in Kind for event in a_list(kind, first)]
    coming = a_list(Kind.ENDPOINT_SLICE, under_way)
    said += coming[:-1]
    pending = [*map(a_change, changed), coming[-1], *a_list(Kind.ENDPOINT_SLICE, again), *map(a_change, at_last)]
    directly, later = Listener(), RecordingSink(A)
    relay = Relay(A, lambda _status: None)
    for event in listing(*before):
        directly.hear(event)
        later.event(A, event)
    for event in said:
        directly.hear(event)
        relay.event(A, event)
    for event in pending:
        directly.hear(event)
    for may_pause in relay.take_over(later):
        for _ in range(data.draw(st.integers(0, 3)) if may_pause else 0):
            if pending:
                relay.event(A, pending.pop(0))
    assert relay.in_charge
    for event in pending:
        relay.event(A, event)
    unread = {fact.ref for fact, readable in (*first, *under_way, *again) if not readable}
    for held in (later.listener.held, directly.held):
        for ref in unread:  # of these something is kept: which content depends on when it was last read
            held.pop(ref, None)
    assert later.listener.held == directly.held


def test_ends_of_the_lists_are_told_together_and_a_relay_that_is_closed_tells_no_more() -> None:
    relay, sink = Relay(A, lambda _status: None), RecordingSink(A)
    for event in listing(a_service(), a_slice("10.0.0.1")):
        relay.event(A, event)
    pauses = list(relay.take_over(sink))
    ends = [isinstance(event, InitDone) for event in sink.events]
    assert ends == sorted(ends), "all ends come last"
    assert sum(ends) == len(Kind)
    assert pauses[: len(ends)] == [not end for end in ends]
    other, sink = Relay(A, lambda _status: None), RecordingSink(A)
    for event in listing(a_service(), a_slice("10.0.0.1")):
        other.event(A, event)
    steps = other.take_over(sink)
    next(steps)
    other.close()
    list(steps)
    assert len(sink.events) == 1


def test_list_under_way_goes_on_after_the_taking_over() -> None:
    standby, listener = Standby(), Listener()
    one, two, three = (a_service(name) for name in ("one", "two", "three"))
    for event in (*listing(one, kinds=[Kind.SERVICE]), Init(Kind.SERVICE), InitApply(two)):
        standby.apply(event)
    for event in standby.replay():
        listener.hear(event)
    assert listener.held == {one.ref: one}
    for event in (InitApply(three), InitDone(Kind.SERVICE)):
        listener.hear(event)
    assert listener.held == {two.ref: two, three.ref: three}


def test_rewound_list_stays_one() -> None:
    standby = Standby()
    for event in (Init(Kind.POD), InitDone(Kind.POD, rewound=True)):
        standby.apply(event)
    assert list(standby.replay()) == [Init(Kind.POD), InitDone(Kind.POD, rewound=True, retold=True)]


def test_relay_is_silent_then_heard_then_deaf() -> None:
    sink, heard = RecordingSink(A), []
    relay = Relay(A, heard.append)
    condition = Condition(ConditionType.CONSISTENT, True, "Audited")
    for event in listing(a_service(), a_slice("10.0.0.1")):
        relay.event(A, event)
    relay.condition(A, condition)
    relay.status(A, SourceStatus(SourceState.CONNECTING))
    assert (sink.events, sink.statuses, sink.conditions.of(A)) == ([], [], ())
    assert list(relay.take_over(sink)), "one step at least"
    relay.status(A, SYNCED)
    assert sink.addresses() == {"10.0.0.1"}
    assert [each.condition for each in sink.conditions.of(A)] == [condition]
    assert sink.statuses == [SYNCED]
    relay.event(A, Apply(a_slice("10.0.0.1", "10.0.0.2")))
    assert sink.addresses() == {"10.0.0.1", "10.0.0.2"}
    relay.close()
    for event in listing():
        relay.event(A, event)
    relay.status(A, SourceStatus(SourceState.FAILING, "Unreachable", ""))
    assert sink.addresses() == {"10.0.0.1", "10.0.0.2"}
    assert sink.statuses == [SYNCED]
    assert len(heard) == 2
