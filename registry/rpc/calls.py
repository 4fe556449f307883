"""One gRPC call on one HTTP/2 stream: messages to its handler, the handler's messages to the client."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from abc import ABC, abstractmethod
from typing import Final

from registry.rpc import messages
from registry.rpc.ledger import Account
from registry.rpc.limits import Limits
from registry.rpc.messages import Head, MessageReader
from registry.rpc.seam import CallInfo, Code, RpcError, StreamHandler, StreamMethod
from registry.rpc.turns import COSTLY, Slice
from registry.rpc.unary import INTERNAL, Unary

log = logging.getLogger(__name__)

LEAST_PROGRESS: Final = 64 << 10
"""How much of a large message a client takes in ``Limits.stalled_seconds`` at least."""


class Wire(ABC):
    """What a call needs of its connection. Streams are named by their numbers.

    A class and not a protocol: compiled, its methods are called for every response without being looked up.
    """

    def __init__(self, account: Account, time: Slice) -> None:
        self.account = account
        self.time = time
        self.paused = False
        """The client does not take what was sent already: make nothing more for it."""

    @abstractmethod
    def now(self) -> float:
        """The time of the loop, in seconds."""

    @abstractmethod
    def awake(self, call: Call) -> None:
        """Pull the call when the client can take something."""

    @abstractmethod
    def undigested(self, call: Call) -> None:
        """Call ``digest`` before anything else comes from the client."""

    @abstractmethod
    def hold(self, change: int) -> None:
        """Unfinished messages have so many bytes more, or less.

        Raises:
            RpcError: RESOURCE_EXHAUSTED, they are too many.
        """

    @abstractmethod
    def watch(self, call: Call, seconds: float) -> None:
        """Call ``check`` after that time, or a little later."""

    @abstractmethod
    def unsent(self, stream_id: int) -> int:
        """Bytes of the stream that wait for the client's windows."""

    @abstractmethod
    def begin(self, stream_id: int) -> None:
        """Send the response's head."""

    @abstractmethod
    def send(self, stream_id: int, message: bytes) -> bool:
        """Send a message; False when no more may be sent until ``Call.sent`` is called."""

    @abstractmethod
    def end(self, stream_id: int, block: bytes) -> None:
        """Send the header block that ends the response, after what still waits."""

    @abstractmethod
    def cancel(self, stream_id: int) -> None:
        """End the stream at once, and what waits for it."""

    @abstractmethod
    def forget(self, call: Call) -> None:
        """The call is over."""


class Call:
    """A call from its head to its end: the ``Stream`` its handler holds."""

    __slots__ = (
        "_begun",
        "_charged",
        "_deadline",
        "_ended",
        "_finished",
        "_handler",
        "_held",
        "_held_since",
        "_limits",
        "_messages",
        "_over",
        "_reader",
        "_size",
        "_unsent",
        "_unsent_since",
        "_waiting",
        "_wire",
        "blocked",
        "path",
        "queued",
        "stream_id",
    )

    def __init__(self, wire: Wire, stream_id: int, head: Head, limits: Limits) -> None:
        self.stream_id = stream_id
        self.path = sys.intern(head.path)
        self.blocked = False
        """A message waits on the client's windows."""
        self.queued = False
        """The wire has it among those that are awake."""
        self._wire = wire
        self._limits = limits
        self._reader = MessageReader(limits.received_message_bytes)
        self._handler: StreamHandler | None = None
        self._messages: list[bytes] = []
        """Received, and not given to the handler yet."""
        self._ended = False
        """The client sends nothing more."""
        self._held = 0
        """Bytes of a message that is not complete, which began to come at ``_held_since``."""
        self._held_since = 0.0
        self._waiting = b""
        """The message that is blocked. ``_unsent`` bytes of it waited at ``_unsent_since``."""
        self._unsent = 0
        self._unsent_since = 0.0
        self._begun = False
        self._size = 0
        self._charged = 0
        self._over = False
        self._finished: tuple[Code, str] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        if head.timeout is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(head.timeout, self._expire)

    def open(self, method: StreamMethod, info: CallInfo, size: int) -> None:
        """Let ``method`` handle the call, which takes ``size`` bytes itself."""
        try:
            self._size = size
            self._wire.account.add(size)
            self._handler = method(self, info)
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)

    def wake(self) -> None:
        self._wire.awake(self)

    def finish(self, code: Code = Code.OK, message: str = "") -> None:
        if self._finished is None:
            self._finished = (code, message)
            self._wire.awake(self)

    def charge(self, size: int) -> None:
        change = size - self._charged
        if self._over or not change:
            return
        self._charged = size
        self._wire.account.add(change)

    def receive(self, data: bytes, ended: bool) -> None:
        """Content of the request."""
        try:
            if self._handler is None or self._finished is not None:
                return
            found = self._reader.feed(data)
            self._hold(bool(found))
            if ended:
                self._reader.close()
                self._ended = True
            self._messages = self._messages + found if self._messages else found
            self.digest()
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)

    def digest(self) -> None:
        """Give the handler the messages that came, as many as there is time for, and send what it has."""
        messages, handler, time = self._messages, self._handler, self._wire.time
        if handler is None:
            return
        try:
            for at in range(len(messages)):  # compiled, an index costs less than ``enumerate``
                handler.received(messages[at])
                time.left -= COSTLY
                if time.left <= 0 and at + 1 < len(messages) and time.over():
                    self._messages = messages[at + 1 :]
                    self._wire.undigested(self)
                    return
            self._messages = []
            if self._ended:
                self._ended = False
                handler.half_closed()
            self.pull()
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)

    def pull(self) -> None:
        """Send what the handler has, as far as the client takes it and there is time."""
        handler, wire = self._handler, self._wire
        if handler is None:
            return
        time = wire.time
        try:
            while not self.blocked:
                if wire.paused or wire.account.waiting > wire.account.limit:
                    wire.awake(self)
                    return
                message = handler.next_message()
                if message is None:
                    break
                self._send(message)
                time.left -= COSTLY
                if time.left <= 0 and time.over():
                    wire.awake(self)
                    return
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its call and no other
            self.fail(error)
            return
        if self._finished is not None and not self.blocked:
            self._end(*self._finished)

    def sent(self) -> None:
        """The message that waited is through."""
        self._unblock()
        self._wire.awake(self)

    def leave(self) -> None:
        """The server is going: a stream ends, which tells its client to go to another; a request is answered still."""
        if not isinstance(self._handler, Unary):
            self.finish(Code.UNAVAILABLE, "the server is shutting down")

    def check(self, now: float) -> float:
        """End the call if its client lets a message wait for too long: one it sends, or one it does not take.

        Returns:
            In how many seconds to check again; infinite: there is no such message.
        """
        left = math.inf
        if self._held:
            left = self._held_since + self._limits.message_seconds - now
            if left <= 0:
                self.fail(RpcError(Code.DEADLINE_EXCEEDED, "the rest of a message did not come in time"))
                return math.inf
        if self.blocked:
            unsent = self._wire.unsent(self.stream_id)
            if unsent <= self._unsent - LEAST_PROGRESS:
                self._unsent, self._unsent_since = unsent, now
            until = self._unsent_since + self._limits.stalled_seconds - now
            if until <= 0:
                log.debug("%s: the client did not take a message in time", self.path)
                self._cancel()
                return math.inf
            left = min(left, until)
        return left

    def fail(self, error: Exception) -> None:
        """End the call now, after what was sent already."""
        if isinstance(error, RpcError):
            self._end(error.code, error.message)
        else:
            log.error("%s failed", self.path, exc_info=error)
            self._end(Code.INTERNAL, INTERNAL)

    def closed(self) -> None:
        """The stream is gone, or has its end."""
        self.charge(0)
        self._wire.account.add(-self._size)
        self._size = 0
        self._unblock()
        if self._held:
            self._wire.hold(-self._held)
            self._held = 0
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._messages = []
        handler, self._handler = self._handler, None
        if handler is not None:
            try:
                handler.closed()
            except Exception:
                log.exception("%s failed when it was closed", self.path)

    def _hold(self, new: bool) -> None:
        """Account for the message that is not complete; ``new``: it is another one than before."""
        change = self._reader.held - self._held
        if not change:
            return
        if new or not self._held:
            self._held_since = self._wire.now()
            self._wire.watch(self, self._limits.message_seconds)
        self._held += change
        self._wire.hold(change)

    def _send(self, message: bytes) -> None:
        wire = self._wire
        if not self._begun:
            self._begun = True
            wire.begin(self.stream_id)
        if not wire.send(self.stream_id, message):
            self.blocked = True
            self._waiting = message
            wire.account.wait(message)
            self._unsent = wire.unsent(self.stream_id)
            self._unsent_since = wire.now()
            wire.watch(self, self._limits.stalled_seconds)

    def _unblock(self) -> None:
        if self.blocked:
            self.blocked = False
            self._wire.account.waited(self._waiting)
            self._waiting = b""

    def _end(self, code: Code, message: str) -> None:
        if self._over:
            return
        encode = messages.trailers if self._begun else messages.trailers_only
        self._wire.end(self.stream_id, encode(code, message))
        self._wire.forget(self)
        self.closed()

    def _cancel(self) -> None:
        """A client whose windows are closed would never learn of a status."""
        self._wire.cancel(self.stream_id)
        self._wire.forget(self)
        self.closed()

    def _expire(self) -> None:
        self._deadline = None
        if self.blocked:
            self._cancel()
        else:
            self._end(Code.DEADLINE_EXCEEDED, "the call's own deadline has passed")
