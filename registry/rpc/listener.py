"""What a connection tells, and whom."""

from __future__ import annotations

from typing import Final, Protocol

from registry.rpc.frames import ErrorCode
from registry.rpc.headers import Header
from registry.rpc.outbox import Sender


class Listener(Sender, Protocol):
    """Is told what happens on a connection, in order, while ``Connection.work`` runs. It may send meanwhile."""

    def on_request(self, stream_id: int, headers: list[Header], ended: bool) -> None:
        """A request began. ``ended``: it has no content."""

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        """Content of a request. ``ended``: it was the last."""

    def on_abort(self, stream_id: int, code: int) -> None:
        """The stream is over before its time: the client reset it, or broke a rule."""

    def on_ping(self) -> None:
        """The client asked for a sign of life, and got it."""

    def on_pong(self, payload: bytes) -> None:
        """The client answered a ping."""

    def on_failure(self, code: ErrorCode, message: str) -> None:
        """The connection is over; once what is to be sent was sent it is to be closed. Nothing more is told."""


class Nobody:
    """Listens when the connection is gone, so that it keeps nobody else."""

    def on_request(self, stream_id: int, headers: list[Header], ended: bool) -> None:
        pass

    def on_content(self, stream_id: int, data: bytes, ended: bool) -> None:
        pass

    def on_abort(self, stream_id: int, code: int) -> None:
        pass

    def on_ping(self) -> None:
        pass

    def on_pong(self, payload: bytes) -> None:
        pass

    def on_failure(self, code: ErrorCode, message: str) -> None:
        pass

    def on_sent(self, stream_id: int) -> None:
        pass


NOBODY: Final = Nobody()
