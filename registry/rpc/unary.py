"""Calls of one request and one response, on top of streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, Final

from registry.rpc.seam import CallInfo, Code, RpcError, Service, Stream, StreamHandler, StreamMethod, UnaryMethod

log = logging.getLogger(__name__)

INTERNAL: Final = "internal error; the server's log has the details"


class Unary:
    """Handles a call of one request and one response.

    The method runs when the stream is pulled, so within the time that its connection has. After each
    ``await asyncio.sleep(0)`` it has to wait for the next pull. If it awaits anything else, it goes on as a task.
    """

    def __init__(self, stream: Stream, method: UnaryMethod, info: CallInfo) -> None:
        self._stream = stream
        self._method = method
        self._info = info
        self._request: bytes | None = None
        self._answer: Coroutine[Any, Any, bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._response: bytes | None = None

    def received(self, message: bytes) -> None:
        if self._request is not None:
            raise RpcError(Code.UNIMPLEMENTED, f"{self._info.method} takes one message")
        self._request = message
        self._stream.charge(len(message))

    def half_closed(self) -> None:
        if self._request is None:
            raise RpcError(Code.UNIMPLEMENTED, f"{self._info.method} takes one message, and none came")
        self._answer = self._method(self._request, self._info)

    def next_message(self) -> bytes | None:
        answer = self._answer
        if answer is None:
            response, self._response = self._response, None
            return response
        try:
            awaited = answer.send(None)
        except StopIteration as done:
            self._answer = None
            self._stream.finish()
            made: bytes = done.value
            return made
        if awaited is None:
            self._stream.wake()
        else:
            self._answer = None
            self._task = asyncio.get_running_loop().create_task(self._go_on(answer, awaited))
        return None

    def closed(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _go_on(self, answer: Coroutine[Any, Any, bytes], awaited: object) -> None:
        try:
            response = await _rest(answer, awaited)
            self._stream.charge(len(response))
            self._response = response
        except RpcError as error:
            self._stream.finish(error.code, error.message)
        except Exception:
            log.exception("%s failed", self._info.method)
            self._stream.finish(Code.INTERNAL, INTERNAL)
        else:
            self._stream.finish()
        finally:
            self._task = None


@coroutine
def _rest(begun: Coroutine[Any, Any, bytes], awaited: object) -> Generator[object, object, bytes]:
    """The result of a coroutine that began to await ``awaited``."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - a cancellation too is the coroutine's affair
                awaited = begun.throw(error)
            else:
                awaited = begun.send(sent)
    except StopIteration as done:
        result: bytes = done.value
        return result


def routes(services: tuple[Service, ...]) -> dict[str, StreamMethod]:
    """The method behind each path ``/package.Service/Method``."""
    found: dict[str, StreamMethod] = {}
    for service in services:
        for name, unary in service.unary.items():
            found[f"/{service.name}/{name}"] = _as_stream(unary)
        for name, method in service.streams.items():
            found[f"/{service.name}/{name}"] = method
    return found


def _as_stream(method: UnaryMethod) -> StreamMethod:
    def opened(stream: Stream, info: CallInfo) -> StreamHandler:
        return Unary(stream, method, info)

    return opened
