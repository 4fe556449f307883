"""What a gRPC service is written against: methods that take bytes and streams that are pulled.

A stream is pulled, not pushed: the server asks a handler for its next message only when the client can take one. So a
client that never reads costs what its handler keeps to answer later (a set of names, say), never a queue of messages.
What a handler keeps it charges to its client's connection (``Stream.charge``).

All calls happen on one event loop; no handler method may block.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol


class Code(IntEnum):
    """gRPC status codes (grpc/grpc doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """Ends a call with a status other than OK. Any handler method may raise it."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Who calls. ``peer`` is the transport address, for people; ``metadata`` has lower-case keys, text values only."""

    method: str
    peer: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class Stream(Protocol):
    """The server's side of one open stream, as its handler sees it."""

    def wake(self) -> None:
        """There may be something to send: pull ``next_message`` when the client can take it. Cheap to call often."""

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        """End the stream with this status once nothing more is pulled. Later calls do nothing."""

    def charge(self, size: int) -> None:
        """Say how many bytes the handler keeps for this stream now: names, unread answers. 0 is said by the end.

        The connection has one bound for all its streams (``Limits.connection_bytes``), the process one for all
        connections. Call it within a handler method, so that the error ends the stream.

        Raises:
            RpcError: RESOURCE_EXHAUSTED, the connection is beyond its bound.
        """


class StreamHandler(Protocol):
    """One open stream of a service. Made when the call arrives, dropped after ``closed``."""

    def received(self, message: bytes) -> None:
        """One message of the client. The stream is pulled afterwards, without ``wake``."""

    def half_closed(self) -> None:
        """The client will send no more. Usually answered with ``finish``."""

    def next_message(self) -> bytes | None:
        """The next message to send, or None for nothing now."""

    def closed(self) -> None:
        """The stream is over, however it ended. Called exactly once, last."""


UnaryMethod = Callable[[bytes, CallInfo], Coroutine[Any, Any, bytes]]
"""One request, one response. Work of more than a millisecond yields with ``await asyncio.sleep(0)``: the method goes on
in its connection's next turn. Until it awaits anything else it does not run in a task (no ``asyncio.timeout``)."""

StreamMethod = Callable[[Stream, CallInfo], StreamHandler]
"""Opens a stream: of requests, of responses, or of both; the shapes differ only in who stops when."""


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service: its full name (``package.Service``) and its methods by their short names."""

    name: str
    unary: Mapping[str, UnaryMethod] = field(default_factory=dict)
    streams: Mapping[str, StreamMethod] = field(default_factory=dict)
