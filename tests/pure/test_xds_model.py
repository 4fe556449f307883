"""Whatever the store does and however a client behaves, in the end the client has what it subscribes to.

A random walk drives one store and some clients of each variant. Their responses are on the way for a while, so that
requests and changes cross them; some clients reject what they think bad, some reconnect with what they know, and some
ignore responses of types that they left, as grpc-java does. A plain oracle then says what each should have.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.xds_client import Belief, Reply, read_body, resource
from support.xds_session import Dialogue

from registry.xds.resources import ResourceChange
from registry.xds.store import ResourceStore
from registry.xds.types import CDS, LDS, MAKE_ORDER, ResourceType

BAD = "bad"
NAMES = "abcd"
names = st.sampled_from(NAMES)
kinds = st.sampled_from(MAKE_ORDER)
changes = st.tuples(kinds, names, st.sampled_from([None, "1", "2", "3", BAD]), st.booleans())
which = st.integers(min_value=0, max_value=5)


class Client:
    """A client with its responses on the way to it.

    ``leaves``: it answers nothing of a type of which it wants nothing; "forgets": nor does it know its nonce then.
    """

    def __init__(self, store: ResourceStore, delta: bool, leaves: str = "") -> None:
        self.dialogue = Dialogue(store, delta)
        self.delta = delta
        self.leaves = leaves
        self.arriving: list[Reply] = []
        self.now = 0.0

    def belief(self, kind: ResourceType) -> Belief:
        return self.dialogue.client.belief(kind)

    def transmit(self) -> bool:
        reply = self.dialogue.pull()
        if reply is not None:
            self.arriving.append(reply)
        return reply is not None

    def answer(self) -> None:
        reply = self.arriving.pop(0)
        belief = self.belief(reply.kind)
        if self.leaves and not belief.names and not belief.wildcard:
            belief.nonce = "" if self.leaves == "forgets" else reply.nonce
        elif BAD in reply.resources.values():
            self.dialogue.nack(reply)
        else:
            self.dialogue.ack(reply)

    def unsubscribe(self, kind: ResourceType, name: str) -> None:
        self.dialogue.unsubscribe(kind, name)
        belief = self.belief(kind)
        if self.leaves == "forgets" and not belief.names and not belief.wildcard:
            belief.nonce = ""

    def settle(self) -> None:
        for _ in range(500):
            if self.arriving:
                self.answer()
            elif not self.transmit():
                if not self.dialogue.session.held:
                    return
                self.now += self.dialogue.session.hold(self.now)
        raise AssertionError("the session does not come to rest")

    def reconnect(self, store: ResourceStore) -> None:
        """A new stream, told of what the client wants and has; what was on the way is lost."""
        old, self.dialogue = self.dialogue, Dialogue(store, self.delta)
        self.arriving.clear()
        old.session.close()
        for kind, before in old.client.beliefs.items():
            wanted = [*before.names]
            if before.legacy and wanted:
                wanted.append("*")
            if not wanted and not before.legacy:
                continue
            after = self.belief(kind)
            after.version, after.resources, after.versions = before.version, before.resources, before.versions
            self.dialogue.subscribe(kind, *wanted, known=before.versions)


class Convergence(RuleBasedStateMachine):
    """Two clients of each variant over one store, and two that are as grpc-java is."""

    @initialize()
    def start(self) -> None:
        self.store = ResourceStore()
        self.clients = [Client(self.store, delta=bool(number % 2)) for number in range(4)]
        self.clients += [Client(self.store, delta=False, leaves=leaves) for leaves in ("forgets", "remembers")]

    @rule(batch=st.lists(changes, min_size=1, max_size=6))
    def the_store_changes(self, batch: list[tuple[ResourceType, str, str | None, bool]]) -> None:
        self.store.apply(
            ResourceChange(
                kind.url, name, None if content is None else resource(kind, name, content, lazy and kind.whole)
            )
            for kind, name, content, lazy in batch
        )

    @rule(client=which, kind=kinds, wanted=st.lists(names, unique=True, min_size=1, max_size=3))
    def a_client_subscribes(self, client: int, kind: ResourceType, wanted: list[str]) -> None:
        self.clients[client].dialogue.subscribe(kind, *wanted)

    @rule(client=which, kind=st.sampled_from([CDS, LDS]), explicit=st.booleans())
    def a_client_subscribes_to_everything(self, client: int, kind: ResourceType, explicit: bool) -> None:
        chosen = self.clients[client]
        if explicit:
            chosen.dialogue.subscribe(kind, "*")
        elif kind not in chosen.dialogue.client.beliefs:
            chosen.dialogue.subscribe(kind)

    @rule(client=which, kind=kinds, name=st.sampled_from([*NAMES, "*"]))
    def a_client_unsubscribes(self, client: int, kind: ResourceType, name: str) -> None:
        belief = self.clients[client].belief(kind)
        if name in belief.names or (name == "*" and belief.legacy and self.clients[client].delta):
            self.clients[client].unsubscribe(kind, name)

    @rule(client=which)
    def a_response_is_sent(self, client: int) -> None:
        self.clients[client].transmit()

    @rule(client=which)
    def a_response_is_answered(self, client: int) -> None:
        if self.clients[client].arriving:
            self.clients[client].answer()

    @rule(client=which)
    def a_client_reconnects(self, client: int) -> None:
        self.clients[client].reconnect(self.store)

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        for client in self.clients:
            client.settle()
        # The bad are mended one by one, so nothing good may be missing for having come with something bad.
        for kind in MAKE_ORDER:
            for name in NAMES:
                held = self.store.get(kind.url, name)
                if held is not None and read_body(kind, held.body)[1] == BAD:
                    self.store.set(kind.url, name, resource(kind, name, "mended", held.on_demand))
                    for client in self.clients:
                        client.settle()
        for client in self.clients:
            for kind in MAKE_ORDER:
                self.compare(client, kind)

    def compare(self, client: Client, kind: ResourceType) -> None:
        """What the client has against what the store says it should, by its own idea of its subscription."""
        belief = client.belief(kind)
        for name in NAMES:
            stored = self.store.get(kind.url, name)
            wanted = name in belief.names or (kind.whole and belief.wildcard and not (stored and stored.on_demand))
            if stored is not None and wanted:
                assert belief.resources.get(name) == read_body(kind, stored.body)[1], (kind.short, name, client.delta)
            elif client.delta or kind.whole:
                assert name not in belief.resources, (kind.short, name, client.delta)
            # Else SotW: nothing can say that an EDS or RDS resource is gone.


Convergence.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestConvergence = pytest.mark.timeout(300)(Convergence.TestCase)  # ten seconds of CPU
