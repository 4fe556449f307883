"""A scripted client in front of a session, without a socket in between."""

from __future__ import annotations

from support.xds_client import NODE, Node, Reply, XdsClient

from registry.xds.session import DeltaSession, SessionOptions, SotwSession
from registry.xds.status import TypeStatus
from registry.xds.store import ResourceStore
from registry.xds.types import MAKE_ORDER, ResourceType


class Dialogue:
    """One stream: the client's requests go in at once, responses are pulled when the test asks."""

    def __init__(
        self,
        store: ResourceStore,
        delta: bool,
        types: tuple[ResourceType, ...] = MAKE_ORDER,
        options: SessionOptions = SessionOptions(),  # noqa: B008 - a frozen value
        node: Node | None = NODE,
    ) -> None:
        self.wakes = 0
        self.client = XdsClient(delta, node)
        self.session = (DeltaSession if delta else SotwSession)(store, types, self._woken, options)

    def _woken(self) -> None:
        self.wakes += 1

    def subscribe(self, kind: ResourceType, *names: str, known: dict[str, str] | None = None) -> None:
        self.session.receive(self.client.subscribe(kind, *names, known=known))

    def unsubscribe(self, kind: ResourceType, *names: str) -> None:
        self.session.receive(self.client.unsubscribe(kind, *names))

    def pull(self) -> Reply | None:
        """The next response, left unanswered."""
        data = self.session.next_response()
        while data is None and self.session.busy:  # it woke its stream
            data = self.session.next_response()
        return None if data is None else self.client.read(data)

    def expect(self) -> Reply:
        """The next response, which must be there, left unanswered."""
        reply = self.pull()
        assert reply is not None, "no response"
        return reply

    def ack(self, reply: Reply) -> Reply:
        self.session.receive(self.client.ack(reply))
        return reply

    def nack(self, reply: Reply, error: str = "rejected") -> Reply:
        self.session.receive(self.client.nack(reply, error))
        return reply

    def take(self) -> Reply:
        """The next response, ACKed."""
        return self.ack(self.expect())

    def settle(self) -> list[str]:
        """Take and ACK everything until nothing is left; what came, in order."""
        came = []
        while (reply := self.pull()) is not None:
            came.append(str(self.ack(reply)))
            assert len(came) < 1000, "the session does not come to rest"
        return came

    def held(self, kind: ResourceType) -> dict[str, str]:
        """What the client has of a type."""
        return self.client.belief(kind).resources

    def status(self, kind: ResourceType) -> TypeStatus:
        (found,) = (each for each in self.session.status().types if each.type_url == kind.url)
        return found
