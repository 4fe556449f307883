"""An HTTP/2 client of the tests' own, as raw as a test needs it: frames by hand, on a state machine or on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from hpack import Decoder, Encoder

from registry.rpc import frames
from registry.rpc.frames import Frame, FrameReader

PATIENCE_SECONDS = 30.0
HELLO = frames.PREFACE + frames.settings({})
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/echo.Echo/Say"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def request(stream_id: int, *, path: str = "/echo.Echo/Say", end: bool = False, **more: str) -> bytes:
    """HEADERS of a gRPC request; ``more`` headers with ``_`` for ``-``."""
    fields = [(name, path if name == ":path" else value) for name, value in REQUEST]
    fields += [(name.replace("_", "-"), value) for name, value in more.items()]
    return frames.headers(stream_id, Encoder().encode(fields), end_stream=end)


def message(body: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(body).to_bytes(4, "big") + body


class RawClient:
    """A connection on which a test sends whatever it likes. Reads everything that comes, into ``frames``.

    It waits without polling: thousands of them in one process leave the server its CPU.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.frames: list[Frame] = []
        self.closed = False
        self._decoder = Decoder()
        self._reading: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> RawClient:
        host, _, port = self._address.rpartition(":")
        self._reader, self.writer = await asyncio.open_connection(host, int(port))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.close()

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def _read(self) -> None:
        reader = FrameReader(1 << 24)
        try:
            while data := await self._reader.read(1 << 16):
                self.frames += reader.feed(data)
                self._came.set()
        except ConnectionError:
            pass
        self.closed = True
        self._came.set()

    def of_kind(self, kind: int) -> list[Frame]:
        return [frame for frame in self.frames if frame[0] == kind]

    def content(self, stream_id: int) -> bytes:
        return b"".join(payload for kind, _, at, payload in self.frames if kind == frames.DATA and at == stream_id)

    def trailers(self, stream_id: int) -> dict[str, str]:
        """The last header block of the stream; asked for once, since decoding has state."""
        found: dict[str, str] = {}
        for kind, _, at, payload in self.frames:
            if kind == frames.HEADERS and at == stream_id:
                found = dict(self._decoder.decode(payload))
        return found

    async def until_ended(self, stream_id: int) -> None:
        await self._until(
            lambda: any(
                at == stream_id and kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM
                for kind, flags, at, _ in self.frames
            ),
            f"stream {stream_id} has ended",
        )

    async def until_goaway(self) -> int:
        """The error code of the GOAWAY that ends the connection."""
        await self._until(lambda: self.closed and self.of_kind(frames.GOAWAY), "the server says GOAWAY and closes")
        return frames.word(self.of_kind(frames.GOAWAY)[-1][3][4:])

    async def until_pong(self) -> None:
        """The server answers a ping sent now, and with it everything sent before."""
        before = len(self.of_kind(frames.PING))
        self.send(frames.ping(b"testping"))
        await self._until(lambda: len(self.of_kind(frames.PING)) > before, "the server answers a ping")

    async def _until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"after {PATIENCE_SECONDS:.0f} s still not: {what}") from None
