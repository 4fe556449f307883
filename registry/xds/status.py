"""What is known of one client: who it says it is, and how far it has got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2

METADATA_ENTRIES = 256
VALUE_CHARACTERS = 4_096
"""Of each value of a node's metadata; what is beyond is cut off."""

NODE_CHARACTERS = 16 << 10
"""What is kept of a client's node, as long as its stream lasts, is no more. Its list of extensions is not kept."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is. Everything is empty for a client that sent no node.

    ``locality`` is region, zone and sub-zone; ``metadata`` has the top-level entries whose value is a string;
    ``user_agent`` is name and version.
    """

    id: str = ""
    cluster: str = ""
    locality: tuple[str, str, str] = ("", "", "")
    user_agent: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def characters(self) -> int:
        """How much text it is."""
        texts = (self.id, self.cluster, *self.locality, self.user_agent, *self.metadata, *self.metadata.values())
        return sum(map(len, texts))


def decode_node(node: base_pb2.Node) -> Node:
    """The node of a stream's first request; later requests may leave it out ("Basic Protocol Overview")."""
    values = node.metadata.fields
    return Node(
        id=node.id,
        cluster=node.cluster,
        locality=(node.locality.region, node.locality.zone, node.locality.sub_zone),
        user_agent=f"{node.user_agent_name} {_user_agent_version(node)}".strip(),
        metadata={
            key: values[key].string_value[:VALUE_CHARACTERS]
            for key in sorted(values)
            if values[key].HasField("string_value")
        },
    )


def _user_agent_version(node: base_pb2.Node) -> str:
    if node.HasField("user_agent_build_version"):
        version = node.user_agent_build_version.version
        return f"{version.major_number}.{version.minor_number}.{version.patch}"
    return node.user_agent_version


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type on one stream.

    ``names`` counts the names subscribed to, apart from the wildcard. ``acked_version`` is of the last response the
    client accepted, ``nacked_version`` and ``nack_error`` of the last it rejected; the error stays after a later ACK.
    ``waiting``: the last response is neither ACKed nor NACKed yet. The times, in those of the session's clock, are when
    the last response was made for the client, and when it last accepted one, and rejected one; 0: never.
    """

    type_url: str
    short: str
    wildcard: bool
    names: int
    sent_version: str = ""
    sent_nonce: str = ""
    acked_version: str = ""
    nacked_version: str = ""
    nack_error: str = ""
    waiting: bool = False
    sent_at: float = 0.0
    acked_at: float = 0.0
    nacked_at: float = 0.0

    @property
    def nacked(self) -> bool:
        """The client rejected what it was sent last."""
        return bool(self.nack_error) and not self.waiting and self.nacked_version == self.sent_version


@dataclass(frozen=True, slots=True)
class SentResource:
    """One resource on one stream: whether the client subscribes to it, and the version it was sent last, or empty."""

    subscribed: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One stream. ``protocol`` is ``SotW`` or ``Delta``; ``unknown_types`` were asked for and are not served."""

    node: Node
    protocol: str
    types: tuple[TypeStatus, ...]
    unknown_types: tuple[str, ...] = ()
